"""`longwave load` as a process, against servers as processes."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from harness import PATIENCE, ROOT

CLI = os.environ.get("LONGWAVE_CLI", str(ROOT / "build" / "release" / "client/cli/longwave"))
# The noise of a busy machine is not what these tests are about.
PATIENT = ["--max-lateness", "10", "--quiet"]


def load(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [CLI, "load", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def report(*arguments: str, code: int = 0) -> dict:
    done = load(*arguments, "--json", *PATIENT)
    assert done.returncode == code, done.stderr
    assert done.stdout.count("\n") == 1, "one object, one line"
    return json.loads(done.stdout)


def target(server) -> str:
    return f"--target=127.0.0.1:{server.port}"


def test_every_call_is_accounted_for_and_the_server_agrees(start_fake):
    server = start_fake()
    before = server.metric("longwave_requests_total", method="Encode", code="OK")
    result = report(
        target(server), "--seconds=1", "--warmup=0", "--deadline=20", "--tokens=lognormal:50:1:500",
        "--group=name=a,rate=100", "--group=name=b,rate=50,priority=batch",
    )
    a, b = result["groups"]
    assert result["valid"] and (a["name"], b["name"]) == ("a", "b")
    assert 50 < a["offered"] < 150 and 15 < b["offered"] < 85
    assert a["good"] == a["offered"] and b["good"] == b["offered"]
    assert result["total"]["good"] == a["good"] + b["good"]
    assert result["total"]["wrong"] == 0 and len(result["models_seen"]) == 1
    assert a["latency"]["count"] == a["good"]
    assert 0 < a["server_compute"]["p50_ms"] <= a["latency"]["max_ms"]
    assert sum(a["intervals"]["offered"]) == a["offered"]
    # The server counts what it has answered when it has answered.
    server.await_metric(
        "longwave_requests_total",
        lambda value: value - before == result["total"]["good"],
        method="Encode",
        code="OK",
    )


def test_the_same_seed_offers_the_same_calls(start_fake):
    server = start_fake()
    arguments = (target(server), "--rate=100", "--seconds=0.5", "--tokens=uniform:1:400")
    first, again, other = (report(*arguments, f"--seed={seed}") for seed in (5, 5, 6))
    offered = [
        (result["total"]["offered"], result["total"]["offered_tokens_per_second"])
        for result in (first, again, other)
    ]
    assert offered[0] == offered[1] != offered[2]


def test_two_servers_share_the_load(start_fake):
    servers = [start_fake(), start_fake()]
    result = report(*map(target, servers), "--rate=100", "--seconds=1", "--warmup=0", "--tokens=9")
    for server in servers:
        server.await_metric(
            "longwave_requests_total", lambda value: value >= 10, method="Encode", code="OK"
        )
    assert result["total"]["good"] == result["total"]["offered"]


def test_cancelled_calls_are_neither_good_nor_failed(start_fake):
    server = start_fake(base_seconds="0.2")
    result = report(target(server), "--rate=50", "--seconds=1", "--warmup=0", "--tokens=9",
                    "--cancel=1@0.05")
    total = result["total"]
    assert total["cancelled"] > 0 and total["failed"] == 0
    assert total["cancelled"] + total["good"] == total["offered"]
    # Nothing of it stays in the server.
    server.await_metric("longwave_running_requests", lambda value: value == 0)


def test_a_run_that_cannot_keep_its_schedule_is_not_reported(start_fake):
    server = start_fake()
    done = load(target(server), "--rate=500", "--seconds=0.5", "--tokens=9", "--json",
                "--max-lateness=0.000001")
    assert done.returncode == 6
    assert "sent late" in done.stderr
    result = json.loads(done.stdout)
    assert not result["valid"] and result["problems"] and "groups" not in result
    text = load(target(server), "--rate=500", "--seconds=0.5", "--tokens=9",
                "--max-lateness=0.000001")
    assert text.returncode == 6 and text.stdout == ""


def test_a_server_that_falls_behind_without_deadlines_is_not_reported(start_fake):
    server = start_fake("--max_wait=1000", base_seconds="1")
    done = load(target(server), "--rate=200", "--seconds=0.5", "--tokens=1024", "--drain=0.2", *PATIENT)
    assert done.returncode == 6
    assert "still in flight" in done.stderr and "had not ended" in done.stderr
    assert server.process.poll() is None


def test_finds_capacity_of_a_server_of_known_speed(start_fake):
    # 1000 tokens take 10 ms: 100 calls a second, less what the server adds.
    server = start_fake(base_seconds="0", seconds_per_token="1e-5")
    result = report(target(server), "--find-capacity", "--rate=50", "--seconds=1", "--tokens=1000",
                    "--deadline=0.1")
    assert 20 < result["capacity_per_second"] < 125
    assert result["steps"]
    assert result["capacity_tokens_per_second"] == pytest.approx(
        1000 * result["capacity_per_second"], rel=0.3
    )


def test_says_what_is_wrong_with_its_arguments(start_fake):
    for arguments, text in (
        (["--rate=x"], "--rate x"),
        (["--tokens=none"], "lognormal:MEDIAN:SIGMA"),
        (["--group=rate=1,colour=red"], "colour=red: is no field of a group"),
        (["--find-capacity"], "needs a --deadline"),
        (["--warmup=10"], "leaves no time"),
        (["--target=example.org:1", "--target=127.0.0.1:1"], "numeric address"),
        (["surplus"], "unexpected argument"),
    ):
        done = load(*arguments)
        assert done.returncode == 2, arguments
        assert text in done.stderr, done.stderr


def test_no_server_is_exit_code_three():
    done = load("--target=127.0.0.1:1", "--seconds=0.1")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
