"""What goes wrong inside the computation, scripted: memory, devices, single jobs, hangs; and what a
drain makes of it."""

import signal
import socket

import grpc
import pytest
from canary import Canary
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, Server, StreamCall, await_true, encode_pb2, error_info, request

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def outcome(call) -> tuple[grpc.StatusCode, str]:
    error = call.exception()
    return (call.code(), "") if error is None else (error.code(), error_info(error).reason)


def test_a_job_that_fails_costs_its_own_request(start_fake):
    server = start_fake("--max_batch_sequences=1", faults="job_error@step:2,job_error@begin:5")
    stub = server.stub()
    outcomes = [
        outcome(stub.Encode.future(request([n + 1] * 5), timeout=PATIENCE)) for n in range(9)
    ]
    failed = [number for number, (code, _) in enumerate(outcomes) if code != grpc.StatusCode.OK]
    assert len(failed) == 2, outcomes
    assert {outcomes[number] for number in failed} == {(grpc.StatusCode.INTERNAL, "INTERNAL")}
    assert server.metric("longwave_ready") == 1
    assert server.stop() == 0


def test_too_little_memory_for_one_is_enough_for_the_others(start_fake):
    server = start_fake(out_of_memory_above_tokens="1000", base_seconds="0.01")
    with Canary(server, slowed="the engine is full of good calls, computed one by one"):
        stub = server.stub()
        # Batches of them do not fit, so each is computed alone; the large ones never fit.
        small = [stub.Encode.future(request([n + 1] * 400), timeout=PATIENCE) for n in range(40)]
        large = [stub.Encode.future(request([n + 1] * 1001), timeout=PATIENCE) for n in range(5)]
        for call in small:
            assert call.result().embeddings.rows == 1
        for call in large:
            assert outcome(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY")
    assert server.metric("longwave_device_errors_total", kind="oom") == 5


def test_a_row_that_is_no_number_ends_its_own_sequence(start_fake):
    server = start_fake(poison_id="666", base_seconds="0.005")
    with Canary(server):
        stub = server.stub()
        calls = [
            stub.Encode.future(request([666 if n % 4 == 0 else 5] * 9), timeout=PATIENCE)
            for n in range(40)
        ]
        for number, call in enumerate(calls):
            expected = (grpc.StatusCode.INTERNAL, "NON_FINITE") if number % 4 == 0 else (
                grpc.StatusCode.OK, "")
            assert outcome(call) == expected
    assert server.metric("longwave_device_errors_total", kind="nonfinite") == 10


def test_a_lost_device_is_the_end_of_the_process(start_fake):
    server = start_fake(
        "--drain_delay=60", "--grace=60", "--max_batch_sequences=1",
        faults="device_lost@step:5", base_seconds="0.02",
    )
    health = health_pb2_grpc.HealthStub(server.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watch).status == SERVING
    stream = StreamCall(server.stub())
    stream.open(1, [1000], output={"pooling": encode_pb2.POOLING_NONE})
    assert stream.read().HasField("accepted")  # its ids never come
    stub = server.stub()
    calls = [stub.Encode.future(request([n + 1] * 5), timeout=PATIENCE) for n in range(20)]
    outcomes = [outcome(call) for call in calls]
    assert set(outcomes) == {
        (grpc.StatusCode.OK, ""), (grpc.StatusCode.UNAVAILABLE, "DEVICE_LOST")
    }
    assert next(watch).status == NOT_SERVING
    # Neither the delay nor the grace is for a device that is gone.
    assert server.process.wait(20) == 1
    server.await_event("device_lost")
    assert server.await_event("stopped")["clean"] is False
    chunks, failed = stream.read_all(1)
    assert chunks == [] and failed.code == grpc.StatusCode.UNAVAILABLE.value[0]


def test_a_slice_that_hangs_is_noticed(start_fake):
    server = start_fake(
        "--hang_limit=1", "--max_batch_sequences=1", faults="hang@step:3", base_seconds="0.02"
    )
    stub = server.stub()
    calls = [stub.Encode.future(request([n + 1] * 5), timeout=PATIENCE) for n in range(10)]
    outcomes = [outcome(call) for call in calls]
    codes = [code for code, _ in outcomes]
    assert codes.count(grpc.StatusCode.OK) == 3
    assert codes.count(grpc.StatusCode.UNAVAILABLE) == 7
    assert server.wait() == 1
    server.await_event("device_hangs")
    assert server.await_event("stopped")["clean"] is False


def test_being_stopped_is_not_hanging(start_fake):
    server = start_fake(
        "--hang_limit=1", seconds_per_token="1e-3", tokens_per_slice="300"  # slices of 0.3 s
    )
    call = server.stub().Encode.future(request([1] * 1200), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    server.freeze(3)  # three times the limit
    assert call.result().embeddings.rows == 1
    assert server.stop() == 0


def test_a_hang_does_not_hold_up_the_end_of_the_grace(start_fake):
    server = start_fake("--grace=0.3", "--max_batch_sequences=1", faults="hang@step:0")
    stub = server.stub()
    calls = [stub.Encode.future(request([n + 1] * 5), timeout=PATIENCE) for n in range(5)]
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    server.await_metric("longwave_requests_started_total", lambda value: value == 5)
    server.signal()
    outcomes = [outcome(call) for call in calls]
    assert set(outcomes) == {(grpc.StatusCode.UNAVAILABLE, "DRAINING")}
    assert server.wait() == 1
    server.await_event("executor_stuck")


def test_at_the_end_of_the_grace_a_stream_says_where_to_go_on(start_fake, fake_program):
    # 200 rows a slice of 0.2 s: some are there when the grace ends.
    slow = {"seconds_per_token": "1e-3", "tokens_per_slice": "200"}
    server = start_fake("--grace=0.5", "--no-refuse_beyond_grace", **slow)
    ids, total = bytes(n % 251 for n in range(20_000)), 20_000
    rows = {"output": {"pooling": encode_pb2.POOLING_NONE}}
    stream = StreamCall(server.stub())
    stream.open(1, [total], **rows)
    stream.data(1, ids)
    stream.end(1)
    while not stream.read().HasField("chunk"):
        pass
    second = StreamCall(server.stub())
    second.open(1, [total], **rows)
    second.data(1, ids)
    second.end(1)
    assert second.read().HasField("accepted")
    server.signal()
    chunks, failed = second.read_all(1)
    assert failed.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert failed.reason == "DRAINING"
    read = sum(chunk.embeddings.rows for chunk in chunks)
    assert failed.next_row == read < total
    with pytest.raises(grpc.RpcError):
        list(second.call)
    assert second.call.code() == grpc.StatusCode.UNAVAILABLE
    assert server.wait() == 1

    # Elsewhere: what was read and the rest are together what one server gives.
    other = start_fake()
    def read_from(row: int) -> bytes:
        call = StreamCall(other.stub())
        call.open(1, [total], resume_from_row=row, **rows)
        call.data(1, ids)
        call.end(1)
        assert call.read().HasField("accepted")
        got, done = call.read_all(1)
        assert done.total_rows == total
        return b"".join(chunk.embeddings.data for chunk in got)

    head = b"".join(chunk.embeddings.data for chunk in chunks)
    assert head + read_from(read) == read_from(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_that_end_it_drain(start_fake, number):
    server = start_fake(base_seconds="0.3")
    call = server.stub().Encode.future(request([1] * 9), timeout=PATIENCE)
    server.await_metric("longwave_requests_started_total", lambda value: value == 1)
    server.signal(number)
    assert call.result().embeddings.rows == 1
    assert server.wait() == 0


def test_a_signal_while_loading_ends_at_once(fake_program):
    with Server(fake_program, env={"LONGWAVE_FAKE_LOAD_SECONDS": "600"}) as server:
        stub = server.stub()
        with pytest.raises(grpc.RpcError) as caught:
            stub.Encode(request([1]), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error_info(caught.value).reason == "LOADING"
        health = health_pb2_grpc.HealthStub(server.channel())
        for name, expected in (("", NOT_SERVING), ("longwave.live", SERVING)):
            status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=PATIENCE).status
            assert status == expected, name
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="no such"), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        server.signal()
        assert server.wait() == 0


def test_the_metrics_port_goes_last(start_fake):
    # Scrapes go on while the calls' port is closed and the last of them end.
    server = start_fake(base_seconds="3")
    call = server.stub().Encode.future(request([1] * 9), timeout=PATIENCE)
    server.await_metric("longwave_requests_started_total", lambda value: value == 1)
    server.signal()
    server.await_event("draining")

    def closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
            return False
        except ConnectionRefusedError:
            return True

    await_true(closed, "the calls' port stays open")
    assert server.metric("longwave_draining") == 1
    assert server.metric("longwave_ready") == 0
    assert not call.done(), "the process is still there for it"
    assert call.result().embeddings.rows == 1
    assert server.wait() == 0
