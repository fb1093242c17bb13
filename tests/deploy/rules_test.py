"""Recording rules, alerts and their unit tests: complete, sensitive to every threshold, documented.

The unit tests themselves are deploy/prometheus/tests, for `promtool test rules`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from typing import Any, Callable, Iterator, NamedTuple

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yaml"
RUNBOOK = ROOT / "deploy" / "README.md"

Rule = dict[str, Any]
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
RULE_LIST: list[Rule] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS: dict[str, Rule] = {rule["alert"]: rule for rule in RULE_LIST if "alert" in rule}
RECORDED: dict[str, Rule] = {rule["record"]: rule for rule in RULE_LIST if "record" in rule}
TEST_FILES = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((PROMETHEUS / "tests").glob("*.yaml"))
}


def tool(name: str) -> str:
    """Of the system, or of deploy/tools.sh."""
    found = shutil.which(name) or shutil.which(name, path=ROOT / ".cache" / "tools" / "bin")
    assert found, f"{name} is not there: bash deploy/tools.sh --prometheus"
    return found


def run_promtool(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def checks(name: str) -> Iterator[dict[str, Any]]:
    """The unit tests' checks of an alert."""
    for file in TEST_FILES.values():
        for case in file["tests"]:
            yield from (c for c in case.get("alert_rule_test", []) if c["alertname"] == name)


def test_rules_are_valid():
    done = run_promtool("check", "rules", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_firing_and_a_silent_case(name):
    outcomes = [bool(check["exp_alerts"]) for check in checks(name)]
    assert True in outcomes, f"no case in which {name} fires"
    assert False in outcomes, f"no case in which {name} is silent"


def test_unit_tests_name_existing_alerts_only():
    named = {
        check["alertname"]
        for file in TEST_FILES.values()
        for case in file["tests"]
        for check in case.get("alert_rule_test", [])
    }
    assert named <= set(ALERTS)


@pytest.mark.parametrize("name", RECORDED)
def test_recording_rule_has_a_case_with_a_value(name):
    exprs = [
        check["expr"]
        for file in TEST_FILES.values()
        for case in file["tests"]
        for check in case.get("promql_expr_test", [])
        if check["exp_samples"]
    ]
    assert any(re.search(rf"{re.escape(name)}(?![\w:])", expr) for expr in exprs)


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_what_it_must(name):
    rule = ALERTS[name]
    assert re.fullmatch(r"Longwave[A-Z]\w+", name)
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert notes["summary"] and not notes["summary"].endswith(".")
    # absent() of no labels has none to tell.
    assert "$labels" in notes["description"] or name == "LongwaveAbsent"
    assert notes["runbook_url"].endswith(f"deploy/README.md#{name.lower()}")


@pytest.mark.parametrize("name", ALERTS)
def test_alert_has_a_section_in_the_runbook(name):
    assert re.search(rf"(?m)^### {name}$", RUNBOOK.read_text(encoding="utf-8"))


def test_runbook_has_no_section_of_an_alert_that_is_gone():
    sections = re.findall(r"(?m)^### (Longwave\w+)$", RUNBOOK.read_text(encoding="utf-8"))
    assert set(sections) <= set(ALERTS)


def test_rules_use_recorded_names_that_exist():
    for rule in RULE_LIST:
        for used in re.findall(r"\blongwave:[\w:]+", rule["expr"]):
            assert used in RECORDED, f"{used} in {rule.get('alert') or rule.get('record')}"


# Every number that an expression compares with is moved, to fire less often and to fire more often,
# and every `for` is dropped and tripled: the unit tests must notice.


class Mutation(NamedTuple):
    alert: str
    what: str
    expr: str
    wait: str  # the rule's `for`
    fires_more: bool

    def __str__(self) -> str:
        return f"{self.alert}: {self.what}"


COMPARISON = re.compile(r"(?P<sign>[<>]=?|==) *(?P<number>\d+(?:\.\d+)?)")
# Changes nothing: what is compared so is never below zero.
SAME = ("== 0", "<= 0")


def moved(sign: str, number: str, forbids: bool, more: bool) -> Iterator[str]:
    """The comparison as it holds less often, or more often; the other way round where it forbids."""
    value = float(number)
    eased = more != forbids
    if sign == "==":
        yield from (f">= {number}", f"<= {number}") if eased else (f"== {value + 2:g}",)
    elif value == 0:
        if eased:
            yield {">": ">= 0", "<": "<= 0", "<=": "<= 1", ">=": ">= -1"}[sign]
        else:
            yield f"{sign} {'1e12' if sign[0] == '>' else '-1e12'}"
    else:
        up = (sign[0] == ">") != eased
        if "." not in number and value < 3:  # of what is counted: the next number
            yield f"{sign} {value + (1 if up else -1):g}"
        else:
            yield f"{sign} {value * 1.3 if up else value / 1.3:.6g}"


def mutations() -> Iterator[Mutation]:
    for name, rule in ALERTS.items():
        expr = re.sub(r"#.*", "", rule["expr"])
        wait = rule.get("for", "0s")
        for found in COMPARISON.finditer(expr):
            # What stands behind the expression's only `unless` forbids.
            forbids = "unless on" in expr[: found.start()] and "count by" not in expr
            for more in (False, True):
                for now in moved(found["sign"], found["number"], forbids, more):
                    if (found[0], now) == SAME:
                        continue
                    changed = expr[: found.start()] + now + expr[found.end() :]
                    what = f"'{found[0]}' at {found.start()} made '{now}'"
                    yield Mutation(name, what, changed, wait, more)
        if "for" in rule:
            number, unit = re.fullmatch(r"(\d+)([smhd])", wait).groups()
            yield Mutation(name, f"'for: {wait}' dropped", expr, "0s", True)
            tripled = f"{3 * int(number)}{unit}"
            yield Mutation(name, f"'for: {wait}' made '{tripled}'", expr, tripled, False)


def needed(expr: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """The recorded names that an expression needs, those of theirs too."""
    for name in set(re.findall(r"\blongwave:[\w:]+", expr)) - known:
        known = needed(RECORDED[name]["expr"], known | {name})
    return known


def run_cases(
    folder: pathlib.Path, alert: str, expr: str, wait: str, outcomes: tuple[bool, ...]
) -> bool:
    """Whether the unit tests of the alert that expect one of the outcomes pass with this rule."""
    folder.mkdir()
    wanted = needed(expr)
    # In the order of the file, so that what is recorded is there when it is used.
    rules = [r for r in RULE_LIST if r.get("record") in wanted]
    rules.append({**ALERTS[alert], "expr": expr, "for": wait})
    (folder / "rules.yaml").write_text(
        json.dumps({"groups": [{"name": "changed", "rules": rules}]})
    )
    paths = []
    for name, file in TEST_FILES.items():
        cases = []
        for case in file["tests"]:
            kept = [
                check
                for check in case.get("alert_rule_test", [])
                if check["alertname"] == alert and bool(check["exp_alerts"]) in outcomes
            ]
            if kept:
                cases.append(
                    {key: case[key] for key in ("interval", "input_series")}
                    | {"alert_rule_test": kept}
                )
        if cases:
            paths.append(folder / name)
            paths[-1].write_text(
                json.dumps(
                    {
                        "rule_files": ["rules.yaml"],
                        "evaluation_interval": file["evaluation_interval"],
                        "tests": cases,
                    }
                )
            )
    assert paths, f"no case of {alert} could notice"
    done = run_promtool("test", "rules", *paths)
    assert "parse" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode == 0


def test_unit_tests_notice_every_changed_threshold_and_wait(tmp_path):
    changed = list(mutations())
    assert {m.alert for m in changed} == set(ALERTS)
    # Unchanged ones must pass, or nothing is proved by those that do not.
    tried = [(n, r["expr"], r.get("for", "0s"), (True, False)) for n, r in ALERTS.items()]
    controls = len(tried)
    # What fires more often is noticed where it is silent.
    tried += [(m.alert, m.expr, m.wait, (not m.fires_more,)) for m in changed]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        passed = list(
            pool.map(lambda i: run_cases(tmp_path / str(i), *tried[i]), range(len(tried)))
        )
    assert all(passed[:controls])
    unnoticed = [str(m) for m, unseen in zip(changed, passed[controls:]) if unseen]
    assert not unnoticed, f"{len(unnoticed)} of {len(changed)}:\n" + "\n".join(unnoticed)


def test_sample_configurations_are_valid(tmp_path):
    shutil.copy(RULES, tmp_path)
    shutil.copy(PROMETHEUS / "prometheus.yml", tmp_path)
    # Debian's promtool is built without Kubernetes: everything but the discovery itself is checked.
    text = (PROMETHEUS / "prometheus-kubernetes.yml").read_text(encoding="utf-8")
    roles = re.findall(r"kubernetes_sd_configs:\n\s+- role: (\w+)", text)
    assert roles and set(roles) <= {"pod", "endpointslice", "service", "node"}
    plain = re.sub(
        r"kubernetes_sd_configs:\n(\s+)- role: \w+", r"static_configs:\n\1- targets: []", text
    )
    (tmp_path / "kubernetes.yml").write_text(plain)
    for name in ("prometheus.yml", "kubernetes.yml"):
        done = run_promtool("check", "config", tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr


def test_sample_routes_page_and_ticket():
    config = f"--config.file={PROMETHEUS / 'alertmanager.yml'}"
    for severity in ("page", "ticket"):
        done = subprocess.run(
            [
                tool("amtool"),
                "config",
                "routes",
                "test",
                config,
                f"severity={severity}",
                f"--verify.receivers={severity}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


# What mutes what, by a real Alertmanager with the sample's inhibitions.


@contextlib.contextmanager
def alertmanager(folder: pathlib.Path) -> Iterator[str]:
    """Its address. Nothing listens where it would send to."""
    config = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8"))
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": "http://127.0.0.1:9/"}]
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        tool("prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        f"--storage.path={folder / 'alerts'}",
    ]
    address = f"http://127.0.0.1:{port}"
    with open(folder / "log", "wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            await_that(lambda: answers(f"{address}/-/ready"), (folder / "log").read_text)
            yield address
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def await_that(what: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.05)  # HTTP tells of nothing by itself


def post(address: str, alerts: list[dict[str, str]]) -> None:
    request = urllib.request.Request(
        f"{address}/api/v2/alerts",
        json.dumps([{"labels": labels} for labels in alerts]).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def muted(address: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{address}/api/v2/alerts", timeout=10) as answer:
        return [a["labels"] for a in json.load(answer) if a["status"]["inhibitedBy"]]


def labelled(what: str, **labels: str) -> dict[str, str]:
    return {"alertname": f"Longwave{what}", "namespace": "emb", "job": "emb/longwave"} | labels


SOON = labelled("CertExpiringSoon", pod="lw-0", instance="a", which="server")
EXPIRING = SOON | {"alertname": "LongwaveCertExpiring"}
DOWN = labelled("TargetDown", pod="lw-0")
ABSENT = {"alertname": "LongwaveAbsent"}


def error_burn(speed: str) -> dict[str, str]:
    return labelled(f"ErrorBudgetBurn{speed}")


def le1k_burn(speed: str) -> dict[str, str]:
    return labelled(f"LatencyBurn{speed}", len_class="le1k")


def le4k_burn(speed: str) -> dict[str, str]:
    return labelled(f"LatencyBurn{speed}", len_class="le4k")


@pytest.mark.parametrize(
    "source, quiet, loud",
    [
        (
            error_burn("Fast"),
            [error_burn("Mid"), error_burn("Slow")],
            [le4k_burn("Mid"), error_burn("Mid") | {"job": "emb/other"}],
        ),
        (
            error_burn("Mid"),
            [error_burn("Slow")],
            [le4k_burn("Slow"), error_burn("Slow") | {"namespace": "other"}],
        ),
        (
            le1k_burn("Fast"),
            [le1k_burn("Mid"), le1k_burn("Slow")],
            [le4k_burn("Mid"), error_burn("Mid")],
        ),
        (le1k_burn("Mid"), [le1k_burn("Slow")], [le4k_burn("Slow"), error_burn("Slow")]),
        (
            labelled("Shedding"),
            [labelled("SheddingLong")],
            [labelled("SheddingLong", job="emb/other"), error_burn("Fast")],
        ),
        (
            SOON,
            [EXPIRING],
            [EXPIRING | {"which": "client_ca"}, EXPIRING | {"instance": "b"}],
        ),
        (ABSENT, [DOWN, DOWN | {"namespace": "other"}], [error_burn("Fast")]),
        (ABSENT | {"namespace": "emb"}, [DOWN], [DOWN | {"namespace": "other"}]),
    ],
    ids=lambda value: value["alertname"] if isinstance(value, dict) else None,
)
def test_sample_mutes_what_says_nothing_more(source, quiet, loud, tmp_path):
    # Alerts are taken in their order: once the last pair is judged, so are those before it.
    last = [SOON | {"namespace": "last"}, EXPIRING | {"namespace": "last"}]
    with alertmanager(tmp_path) as address:
        post(address, [*quiet, *loud, source])
        post(address, last)
        await_that(lambda: last[1] in muted(address), lambda: "the last pair is not judged")
        found = [labels for labels in muted(address) if labels != last[1]]
        assert sorted(found, key=str) == sorted(quiet, key=str)
