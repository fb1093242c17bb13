"""The schema of the log knows every event of the sources, and refuses what is not of it. That real
lines obey it is checked by the harness, in every test."""

import re

import pytest
from harness import ROOT
from log_lines import problem

LINE = {
    "ts": "2026-01-31T12:00:00.123Z",
    "level": "info",
    "event": "draining",
    "delay_seconds": 5,
    "grace_seconds": 120.5,
}
# Events that are named apart from the call that logs them.
INDIRECT = {"model_refused", "model_failed", "tls_reload", "tenants_reload", "grpc", "protobuf"}


def test_a_line_by_the_rules_passes():
    assert problem(LINE) is None


@pytest.mark.parametrize(
    "change",
    [
        {"event": "unheard_of"},
        {"level": "error"},
        {"ts": "yesterday"},
        {"grace_seconds": "long"},
        {"more": 1},
        {"grace_seconds": None},
    ],
)
def test_a_line_against_the_rules_is_told(change):
    assert problem({**LINE, **change}) is not None


def test_a_missing_field_is_told():
    assert problem({name: LINE[name] for name in LINE if name != "delay_seconds"}) is not None


def events_of_the_sources() -> set[str]:
    call = re.compile(r'log(?:_|\(\))?(?:->|\.)(?:Info|Warning|Error|Log)\([^";{]*"(\w+)"')
    text = "".join(path.read_text() for path in (ROOT / "server").rglob("*.cc"))
    return set(call.findall(text))


def test_the_schema_knows_the_events_of_the_sources():
    found = events_of_the_sources()
    assert {"request", "serving", "connection_cut", "model_switched", "stopped"} <= found
    for event in found | INDIRECT:
        wrong = problem({"event": event})
        assert wrong is not None and "no event" not in wrong, event
