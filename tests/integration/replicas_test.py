"""Replicas behind the client library: drained, killed, replaced. Every answer checks itself."""

import pytest
from conftest import _path
from fleet import (
    MODEL,
    OTHER_MODEL,
    PATIENT,
    ROW_SEEDS,
    Caller,
    Fleet,
    await_progress,
    other_model,
)

REPEATS = 3
ONE_PRINT = [MODEL[0]]


@pytest.fixture(scope="session")
def replica_client() -> str:
    return _path("LONGWAVE_REPLICA_CLIENT", "tests/integration/replica_client")


def check(result: dict, *, retries: int = 1) -> None:
    """Nothing is lost, and no stream needed more attempts than one and `retries`."""
    assert result["wrong"] == 0, result["errors"]
    assert result["mixed"] == 0, result["errors"]
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == 0, (kind, result["errors"])
        assert entry["ok"] > 0, kind
        assert entry["most_retries"] <= retries, (kind, entry)


@pytest.mark.parametrize("health_checked", [1, 0])
def test_drain_under_full_load_loses_nothing(fake_program, replica_client, health_checked):
    # Whoever watches health is away before the refusals begin; whoever does not hears one.
    delay = 0.3 if health_checked else 0
    with Fleet(fake_program, PATIENT, f"--drain_delay={delay}", "--grace=30") as fleet:
        with Caller(
            replica_client, fleet.target, unary=6, streams=2, health_checked=health_checked
        ) as caller:
            for repeat in range(REPEATS):
                await_progress(fleet, 15)
                assert fleet.drain(repeat % 3) == 0
                assert fleet.servers[repeat % 3].await_event("stopped")["clean"] is True
                fleet.restart(repeat % 3)
                # Both streams have ended, so none of them meets the next one that goes as well.
                await_progress(fleet, 4, method="EncodeStream")
            await_progress(fleet, 15)
            result = caller.result()
        # Round robin may choose the replica that is going twice. Then its client waits until the
        # port has closed.
        check(result, retries=0 if health_checked else 2)
        assert list(result["fingerprints"]) == ONE_PRINT


def test_killed_replicas_cost_one_retry_or_resume(fake_program, replica_client):
    with Fleet(fake_program, PATIENT) as fleet:
        with Caller(replica_client, fleet.target, unary=6, streams=2) as caller:
            for repeat in range(REPEATS):
                await_progress(fleet, 15)
                fleet.kill(repeat % 3)
                await_progress(fleet, 15)  # the others carry on
                again = [
                    server.metric("longwave_requests_retried_total", attempts=attempts)
                    for server in fleet.servers if server.process.poll() is None
                    for attempts in ("2", "3plus")
                ]
                assert sum(again) == 0, "one retry was enough"
                fleet.restart(repeat % 3)
            result = caller.result()
        check(result)
        assert list(result["fingerprints"]) == ONE_PRINT


def test_a_megabyte_is_sent_again(fake_program, replica_client):
    # The replica that computes it is killed half-way. With gRPC's own retry buffer the same call
    # would be lost: the second half of the test.
    slow = {"LONGWAVE_FAKE_BASE_SECONDS": "1"}
    for buffer, failed in (("8388608", 0), ("262144", 1)):
        with Fleet(fake_program, count=2, env=slow) as fleet:
            options = {"unary": 1, "streams": 0, "retry_buffer": buffer}
            with Caller(replica_client, fleet.target, **options) as caller:
                busy = None
                while busy is None:
                    running = [server.metric("longwave_running_requests") for server in fleet.servers]
                    busy = running.index(1) if 1 in running else None
                fleet.kill(busy)
                entry = caller.result()["kinds"]["unary"]
                retried = fleet.total("longwave_requests_retried_total", attempts="1")
        assert entry["failed"] == failed
        assert retried == 1 - failed


def test_a_stream_goes_on_only_where_the_fingerprint_is_the_same(
    fake_program, replica_client, tmp_path
):
    with Fleet(fake_program, count=2, own={1: other_model(tmp_path)}) as fleet:
        options = {"unary": 0, "streams": 1, "stream_seconds": 20, "timeout": 60}
        with Caller(replica_client, fleet.target, row_seeds=ROW_SEEDS, **options) as caller:
            chunks = [0.0, 0.0]
            while max(chunks) < 2:
                chunks = [server.metric("longwave_stream_chunks_total") for server in fleet.servers]
            fleet.kill(chunks.index(max(chunks)))  # only other weights are left
            result = caller.result()
    assert result["wrong"] == result["mixed"] == 0
    entry = result["kinds"]["stream"]
    assert (entry["failed"], entry["model_changed"]) == (1, 1)
    error = result["changes"][0]
    assert "must not be mixed" in error
    assert f"'{MODEL[0]}'" in error and f"'{OTHER_MODEL[0]}'" in error


def test_no_call_mixes_models_while_replicas_are_killed(fake_program, replica_client, tmp_path):
    with Fleet(fake_program, PATIENT, own={2: other_model(tmp_path)}) as fleet:
        options = {
            "unary": 2, "streams": 4, "stream_seconds": 1, "batches": 2, "row_seeds": ROW_SEEDS,
        }
        with Caller(replica_client, fleet.target, **options) as caller:
            for repeat in range(REPEATS):
                await_progress(fleet, 15)
                fleet.kill(repeat)
                await_progress(fleet, 15)
                fleet.restart(repeat)
            await_progress(fleet, 15)
            result = caller.result()
    assert result["wrong"] == result["mixed"] == 0, result["errors"]
    # Each call is of one model or fails for just that reason; both models have answered.
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == entry["model_changed"], (kind, result["errors"])
    assert set(result["fingerprints"]) == {MODEL[0], OTHER_MODEL[0]}
    assert result["kinds"]["batch"]["model_changed"] > 0, "batches did meet both models"
