"""Deadlines, cancellation and floods (rows 28 to 36 and 71 of the catalogue), beside callers who
notice nothing."""

import os
import random
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, PromptCanary, StreamCall, encode_pb2, error_info, request, trailer


# A sanitizer keeps what was freed: memory is then not the server's.
SANITIZED = bool(os.environ.get("LONGWAVE_SANITIZE"))


def await_quiet(server) -> None:
    """Everything that was begun has been given its status, once."""
    for gauge in ("queue_requests", "running_requests", "resident_bytes", "queue_tokens"):
        server.await_metric(f"longwave_{gauge}", lambda value: value == 0)
    name = "longwave_requests_started_total"
    server.await_metric("longwave_requests_total", lambda value: value == server.metric(name))


def test_deadlines_that_are_too_short(start_fake):
    server = start_fake(base_seconds="0.05")
    with PromptCanary(server):
        stub = server.stub()
        computed = server.metric("longwave_tokens_total", kind="real")
        for timeout in (1e-6, 1e-4, 1e-3, 0.005):
            for _ in range(20):
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Encode(request([1] * 1000), timeout=timeout)
                assert caught.value.code() in (
                    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED
                )
                if caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    assert error_info(caught.value).reason == "DEADLINE_UNMEETABLE"
                    assert trailer(caught.value, "grpc-retry-pushback-ms") == "-1"
        # None of the 80 000 tokens; the canaries have 53 each.
        assert server.metric("longwave_tokens_total", kind="real") - computed < 20_000
    await_quiet(server)


def test_deadlines_that_are_missing_or_enormous(start_fake):
    server = start_fake("--max_deadline=2", seconds_per_token="1e-3", tokens_per_slice="20")
    with PromptCanary(server):
        stub = server.stub()
        for timeout in (None, 86400.0, 3.0e9):  # the last: a century
            assert stub.Encode(request([1] * 5), timeout=timeout).embeddings.rows == 1
            with pytest.raises(grpc.RpcError) as caught:
                stub.Encode(request([1] * 10_000), timeout=timeout)  # ten seconds
            assert error_info(caught.value).reason in ("DEADLINE_EXPIRED", "DEADLINE_UNMEETABLE")
    await_quiet(server)


def test_a_deadline_that_passes_in_the_queue_and_while_computing(start_fake):
    # Scripted to be four times as slow as foreseen would be refused by a server that has learned;
    # the first calls of all are not.
    server = start_fake("--max_batch_sequences=1", seconds_per_token="1e-4", tokens_per_slice="100")
    stub = server.stub()
    with PromptCanary(server):
        computing = [stub.Encode.future(request([n + 1] * 9000), timeout=1.5) for n in range(6)]
        ends = {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.RESOURCE_EXHAUSTED}
        codes = [call.code() for call in computing]
        assert set(codes) <= ends and codes.count(grpc.StatusCode.OK) < 6
        stub.Encode(request([7] * 10), timeout=PATIENCE)
    await_quiet(server)


def test_a_storm_of_ten_thousand_cancellations(start_fake):
    server = start_fake(base_seconds="0.001")
    generator = random.Random(5)
    stubs = [server.stub() for _ in range(4)]
    for stub in stubs:
        stub.Encode(request([1]), timeout=PATIENCE)
    base, done = server.resident_bytes(), 0
    with PromptCanary(server):
        while done < 10_000:
            calls = [
                stubs[n % 4].Encode.future(request([n % 900] * 30), timeout=PATIENCE)
                for n in range(500)
            ]
            for call in generator.sample(calls, 450):
                call.cancel()
            for call in calls:
                if call.cancelled():
                    continue
                assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
            done += len(calls)
    await_quiet(server)
    assert SANITIZED or server.resident_bytes() - base < 64 << 20


def test_a_storm_of_retries(start_fake):
    # Clients that come back at once, whatever the server says. They fill the queue, so there is no
    # canary among them: the control calls stand for it.
    server = start_fake("--max_queue_sequences=8", base_seconds="0.05")
    stop = threading.Event()
    told = []

    def insist(number: int) -> None:
        stub = server.stub()
        while not stop.is_set():
            try:
                stub.Encode(request([number + 1] * 5, [number + 2] * 5), timeout=PATIENCE)
            except grpc.RpcError as error:
                told.append((error.code(), error_info(error).reason,
                             trailer(error, "grpc-retry-pushback-ms")))

    threads = [threading.Thread(target=insist, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    try:
        health = health_pb2_grpc.HealthStub(server.channel())
        deadline = time.monotonic() + PATIENCE
        while len(told) < 500:
            assert time.monotonic() < deadline
            start = time.monotonic()
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 1
            assert time.monotonic() - start < PromptCanary.SECONDS
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {(code, reason) for code, reason, _ in told} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    }
    waits = {int(pushback) for _, _, pushback in told}
    assert min(waits) > 0 and len(waits) > 1, "spread"
    await_quiet(server)
    assert server.stub().Encode(request([1]), timeout=5).embeddings.rows == 1


def test_watches_that_are_never_closed_and_a_flood_of_checks(start_fake):
    server = start_fake()
    channels = [server.channel() for _ in range(4)]
    stubs = [health_pb2_grpc.HealthStub(channel) for channel in channels]
    live = health_pb2.HealthCheckRequest()
    with PromptCanary(server):
        watches = [stubs[n % 4].Watch(live, timeout=PATIENCE) for n in range(1500)]
        told = [next(watch).status for watch in watches[:100]]
        assert set(told) == {1}
        checks = [stubs[n % 4].Check.future(live, timeout=PATIENCE) for n in range(2000)]
        assert {check.result().status for check in checks} == {1}
        refused = 0
        for watch in watches[-100:]:
            try:
                next(watch)
                next(watch)  # after its state a refused one says why
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                refused += 1
        assert refused == 100, "their number is bounded"
        for watch in watches:
            watch.cancel()
    assert server.stop() == 0


def test_slow_readers_hold_a_bounded_buffer_and_not_the_device(start_fake):
    server = start_fake("--max_stall=60", tokens_per_slice="20000", seconds_per_token="1e-7")
    server.stub().Encode(request([1]), timeout=PATIENCE)
    base, tags = server.resident_bytes(), 8
    # 64 MB of rows each, of which nobody takes more than a window.
    stream = StreamCall(server.stub(**{"grpc.http2.lookahead_bytes": 65536}))
    with PromptCanary(server):
        for tag in range(1, tags + 1):
            stream.open(tag, [1 << 20], output={"pooling": encode_pb2.POOLING_NONE})
            stream.data(tag, bytes([tag]) * (1 << 20))
            stream.end(tag)
        server.await_metric("longwave_paused_jobs", lambda value: value == tags)
        # A tag's mistake is its own: the others' rows still come, in order.
        stream.data(99, b"1")
        # Per tag: ids as they arrive and as they are computed (4 MB each), the buffer (4 MB), and what
        # the allocator keeps of both; half of the rows, 512 MB altogether, at most.
        assert SANITIZED or server.resident_bytes() - base < 256 << 20
        stub = server.stub()
        for number in range(20):
            stub.Encode(request([number + 1] * 100), timeout=PromptCanary.SECONDS)
        rows, failed = dict.fromkeys(range(1, tags + 1), 0), []
        for tag in range(3, tags + 1):
            stream.cancel_tag(tag)
        done = set()
        while done < {1, 2}:
            message = stream.read()
            if message.HasField("chunk"):
                assert message.chunk.first_row == rows[message.tag]
                rows[message.tag] += message.chunk.embeddings.rows
            elif message.HasField("done"):
                done.add(message.tag)
            elif message.HasField("failed"):
                failed.append((message.tag, message.failed.reason))
        assert rows[1] == rows[2] == 1 << 20
        assert (99, "PROTOCOL_VIOLATION") in failed
    stream.close()
    await_quiet(server)
