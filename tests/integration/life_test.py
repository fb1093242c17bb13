"""Cancellation, deadlines, overload and the end of the process, with scripted compute times."""

import concurrent.futures
import json
import os
import signal
import subprocess

import grpc
import pytest
from canary import Canary
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, Server, StreamCall, encode_pb2, error_info, request, service_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def running_and_queued(server: Server) -> float:
    return server.metric("longwave_running_requests") + server.metric("longwave_queue_requests")


def test_a_cancelled_call_frees_its_place(start_fake):
    server = start_fake(base_seconds="0.05", seconds_per_token="1e-3", tokens_per_slice="20")
    stub = server.stub()
    # 10 s of compute, in slices of 20 ms.
    call = stub.Encode.future(request([1] * 10_000), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    call.cancel()
    server.await_metric("longwave_requests_cancelled_total", lambda value: value == 1)
    server.await_metric("longwave_running_requests", lambda value: value == 0)
    stub.Encode(request([2]), timeout=5)


def test_a_storm_of_cancellations_leaves_nothing_behind(start_fake):
    server = start_fake(base_seconds="0.005")
    with Canary(server):
        stub = server.stub()
        for _ in range(10):
            calls = [stub.Encode.future(request([n + 1] * 10), timeout=9) for n in range(50)]
            for call in calls[::2]:
                call.cancel()
            for call in calls[1::2]:
                call.result()
    server.await_metric("longwave_queue_requests", lambda value: value == 0)
    server.await_metric("longwave_running_requests", lambda value: value == 0)
    server.await_metric("longwave_resident_bytes", lambda value: value == 0)
    started = server.metric("longwave_requests_started_total")
    server.await_metric("longwave_requests_total", lambda value: value == started)


def test_a_deadline_that_passes_ends_the_work(start_fake):
    server = start_fake(base_seconds="0.05", seconds_per_token="1e-3", tokens_per_slice="20")
    with pytest.raises(grpc.RpcError) as caught:
        server.stub().Encode(request([1] * 10_000), timeout=0.3)
    assert caught.value.code() in (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # refused at the door: it could not be met
    )
    server.await_metric("longwave_running_requests", lambda value: value == 0)


def test_the_servers_own_deadline(start_fake):
    server = start_fake(
        "--max_deadline=0.3", base_seconds="0.05", seconds_per_token="1e-3", tokens_per_slice="20"
    )
    with pytest.raises(grpc.RpcError) as caught:
        server.stub().Encode(request([1] * 10_000))  # no deadline of the caller's
    assert error_info(caught.value).reason in ("DEADLINE_EXPIRED", "DEADLINE_UNMEETABLE")


def test_short_requests_pass_a_long_one(start_fake):
    # 20 s in slices of 10 ms, and a thousandth of that beside it.
    server = start_fake(seconds_per_token="1e-5", tokens_per_slice="1000")
    stream = StreamCall(server.stub())
    stream.open(1, [1 << 20], output={"pooling": encode_pb2.POOLING_MEAN}, progress=True)
    assert stream.read().HasField("accepted")
    stream.data(1, b"\1" * (1 << 20))
    stream.end(1)
    assert stream.read().HasField("progress")
    stub = server.stub()
    for number in range(20):
        stub.Encode(request([number + 1] * 100), timeout=2)
    assert stream.read().HasField("progress"), "the long one goes on"
    stream.call.cancel()


def test_a_streams_reader_that_stops_is_told_so(start_fake):
    server = start_fake("--max_stall=0.3")
    stream = StreamCall(server.stub(**{"grpc.http2.lookahead_bytes": 65536}))
    stream.open(1, [1 << 20], output={"pooling": encode_pb2.POOLING_NONE})
    stream.data(1, b"\1" * (1 << 20))
    stream.end(1)
    server.await_metric("longwave_requests_total", lambda value: value == 1)
    with Canary(server):
        with pytest.raises(grpc.RpcError):
            while True:  # what was on its way, then the end
                message = stream.read()
                if message.HasField("failed"):
                    assert message.failed.reason == "SLOW_READER"
                    stream.close()
                    stream.call.cancel()


def test_drain_answers_everything_that_was_accepted(start_fake):
    server = start_fake(
        "--grace=30", "--max_wait=60", base_seconds="0.02", seconds_per_token="1e-4"
    )
    stub = server.stub()
    health = health_pb2_grpc.HealthStub(server.channel())
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watch).status == SERVING

    stream = StreamCall(stub)
    stream.open(1, [2000], output={"pooling": encode_pb2.POOLING_NONE})
    assert stream.read().HasField("accepted")
    calls = [stub.Encode.future(request([n + 1] * 500), timeout=PATIENCE) for n in range(40)]
    # 41 accepted requests, of which the stream's still waits for its ids.
    server.await_metric("longwave_requests_started_total", lambda value: value == 41)
    server.signal()
    server.await_event("draining")
    assert next(watch).status == NOT_SERVING

    stream.data(1, b"\1" * 2000)
    stream.end(1)
    chunks, done = stream.read_all(1)
    assert sum(chunk.embeddings.rows for chunk in chunks) == 2000
    assert done.total_rows == 2000
    for call in calls:
        assert call.result().embeddings.rows == 1
    assert server.wait() == 0
    assert server.await_event("stopped")["clean"] is True
    with pytest.raises(grpc.RpcError):
        list(stream.call)
    assert stream.call.code() == grpc.StatusCode.UNAVAILABLE


def test_drain_under_load_loses_nothing(start_fake):
    server = start_fake(base_seconds="0.002")
    stop = []

    def client(number: int) -> tuple[int, list[str]]:
        stub, good, strange = server.stub(), 0, []
        expected = None
        while not stop:
            try:
                answer = stub.Encode(request([number + 1] * 20), timeout=PATIENCE)
                expected = expected or answer.embeddings.data
                if answer.embeddings.data != expected:
                    strange.append("another answer")
                good += 1
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    break  # not accepted: the server is going
                strange.append(f"{error.code()} {error.details()}")
        return good, strange

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(client, number) for number in range(16)]
        server.await_metric("longwave_requests_total", lambda value: value >= 200, code="OK")
        server.signal()
        code = server.wait()
        stop.append(True)
        results = [result.result() for result in clients]
    assert code == 0
    assert [strange for _, strange in results if strange] == []
    assert sum(good for good, _ in results) >= 200


def test_calls_are_taken_while_balancers_move_away(start_fake):
    server = start_fake("--drain_delay=30")
    health = health_pb2_grpc.HealthStub(server.channel())
    server.signal()
    server.await_event("draining")
    assert health.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING
    live = health_pb2.HealthCheckRequest(service="longwave.live")
    assert health.Check(live).status == SERVING
    assert server.stub().Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
    server.signal(signal.SIGINT)  # no more waiting
    assert server.wait() == 0


def test_the_end_of_the_grace_is_told(start_fake):
    server = start_fake(
        "--grace=0.2", "--no-refuse_beyond_grace", seconds_per_token="1e-3", tokens_per_slice="20"
    )
    call = server.stub().Encode.future(request([1] * 40_000), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    server.signal()
    error = call.exception()
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(error).reason == "DRAINING"
    assert server.wait() == 1
    assert server.await_event("stopped")["clean"] is False


def test_a_second_signal_ends_the_waiting(start_fake):
    server = start_fake("--grace=600", seconds_per_token="1e-3", tokens_per_slice="20")
    call = server.stub().Encode.future(request([1] * 40_000), timeout=PATIENCE)
    server.await_metric("longwave_running_requests", lambda value: value == 1)
    server.signal()
    server.await_event("draining")
    server.signal()
    assert call.exception().code() == grpc.StatusCode.UNAVAILABLE
    assert server.wait() == 1


def test_hangup_and_closed_log_do_not_matter(fake_program):
    ours, theirs = os.pipe()
    command = [fake_program, "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=theirs)
    os.close(theirs)
    with open(ours, encoding="utf-8") as log:
        port = json.loads(log.readline())["port"]
        assert json.loads(log.readline())["event"] == "serving"
    # Nobody reads the log from here on.
    process.send_signal(signal.SIGHUP)
    stub = service_pb2_grpc.EncoderServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
    for _ in range(3):
        with pytest.raises(grpc.RpcError):
            stub.Encode(request([5000]), timeout=PATIENCE)  # would write a line
    assert stub.Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    "flags, code",
    [
        (["--nonsense"], 2),
        (["--threads=-1", "--grace=x"], 2),
        (["--address=203.0.113.1:1"], 2),  # others could reach it, and there is no TLS
        (["--address=203.0.113.1:1", "--allow_plaintext"], 1),
        (["--tls_certificate=/nonexistent", "--tls_key=/nonexistent"], 2),
        (["--tenants=/nonexistent"], 2),
        (["--metrics_address=203.0.113.1:1"], 1),
    ],
)
def test_a_start_that_fails_says_why(fake_program, flags, code):
    named = {flag.split("=")[0] for flag in flags}
    free = [f"{name}=127.0.0.1:0" for name in ("--address", "--metrics_address")]
    command = [fake_program, *[flag for flag in free if flag.split("=")[0] not in named], *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == code, result.stderr
    plain = [line for line in result.stderr.splitlines() if line.startswith("longwave-server:")]
    for name in named - {"--allow_plaintext"}:
        assert any(name in line for line in plain), result.stderr
