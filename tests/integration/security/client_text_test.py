"""What clients write, in the log (rows 50 and 51 of the catalogue), beside a canary stream."""

from __future__ import annotations

import json

import grpc
import pytest
from canary import Canary
from harness import PATIENCE, request

NASTY = [
    "two\r\nlines",
    '{"level":"error","event":"forged"}',
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "nul\0byte",
    '"}\n{"event":"forged"',
    "\u202eright to left\u202c \u2066isolate\u2069",
    "\u2028line\u2029paragraph\u0085next",
    "\x7f\x9b31m",
    "x" * (1 << 20),
]
# What must not be in a line as it is: controls, separators, changes of direction.
RAW = [chr(c) for c in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202A, 0x202E, 0x2066)]


@pytest.mark.parametrize("field", ["model", "model_version", "request_id", "tenant"])
def test_nothing_that_clients_write_leaves_its_line_of_log(start, field):
    server = start("--log_level=debug")
    stub = server.stub()
    with Canary(server):
        for text in NASTY:
            message = request([1])
            setattr(message, field, text)
            try:
                stub.Encode(message, timeout=PATIENCE)
            except grpc.RpcError as error:
                assert error.code() in (
                    grpc.StatusCode.INVALID_ARGUMENT,
                    grpc.StatusCode.NOT_FOUND,
                )
    assert server.stop() == 0
    for line in server.lines:
        entry = json.loads(line)  # one event a line
        assert entry["event"] != "forged", line
        assert len(line) < 2048, line[:200]
        assert not [repr(c) for c in RAW if c in line], line


def test_metadata_is_not_logged(start):
    server = start("--log_level=debug")
    server.stub().Encode(
        request([1]),
        timeout=PATIENCE,
        metadata=[("x-custom", "seen-nowhere"), ("x-bin-bin", b"\r\n\x1b"), ("user", "x" * 4000)],
    )
    assert server.stop() == 0
    assert not [line for line in server.lines if "seen-nowhere" in line or "x" * 100 in line]


TRACE = "0af7651916cd43dd8448eb211c80319c"
GOOD_PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BAD_PARENTS = {
    "empty": [""],
    "short": [GOOD_PARENT[:-1]],
    "long": [GOOD_PARENT + "0"],
    "zero trace": [f"00-{'0' * 32}-b7ad6b7169203331-01"],
    "zero parent": [f"00-{TRACE}-{'0' * 16}-01"],
    "upper case": [GOOD_PARENT.upper()],
    "version ff": ["ff" + GOOD_PARENT[2:]],
    "no hex": ["zz" + GOOD_PARENT[2:]],
    "4 KiB": ["0" * 4096],
}


def test_a_bad_traceparent_begins_a_trace_and_is_served(start):
    server = start("--log_level=debug")
    stub = server.stub()
    with Canary(server):
        for name, values in {"good": [GOOD_PARENT], **BAD_PARENTS}.items():
            message = request([1])
            message.request_id = name
            metadata = [("traceparent", value) for value in values]
            stub.Encode(message, timeout=PATIENCE, metadata=metadata)
    assert server.stop() == 0
    entries = [json.loads(line) for line in server.lines]
    requests = {e["request_id"]: e for e in entries if e.get("request_id")}
    good = requests["good"]
    assert (good["parent_span_id"], good["sampled"]) == ("b7ad6b7169203331", True)
    assert len({e["span_id"] for e in requests.values()}) == len(requests)
    assert all(not e["sampled"] and not e["parent_span_id"] for e in requests.values() if e != good)
    traces = {name: e["trace_id"] for name, e in requests.items()}
    assert traces.pop("good") == TRACE
    assert traces.keys() == BAD_PARENTS.keys()
    for name, trace in traces.items():
        assert len(trace) == 32 and trace != TRACE and int(trace, 16), name
    assert len(set(traces.values())) == len(traces)
