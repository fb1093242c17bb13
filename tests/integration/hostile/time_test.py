"""Rows 28 to 36: deadlines, cancellations and more load than there is room for.

Where a test needs a server that is slow, its slices are short beside the 5 ms that the soak grants a
canary (README.md), so that what it measures is the server and not the script.
"""

import concurrent.futures
import random
import threading
import time

import grpc
import pytest
from canary import Canary
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, StreamCall, await_true, encode_pb2, error_info, request, trailer
from http2 import Http2Connection, call_headers, message

SERVING = health_pb2.HealthCheckResponse.SERVING
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
GOOD = request([1, 2, 3]).SerializeToString()
# 100 000 tokens a second, in slices of a millisecond.
SLOW = {"base_seconds": "0.0005", "seconds_per_token": "1e-5", "tokens_per_slice": "100"}


def long_request(tokens: int, **fields) -> encode_pb2.EncodeRequest:
    """A sequence of so many tokens."""
    ids = encode_pb2.TokenBatch(ids=b"\1" * tokens, id_width=encode_pb2.ID_WIDTH_U8)
    return encode_pb2.EncodeRequest(tokens=ids, **fields)


def show_a_long_one(server) -> None:
    """What a long sequence takes cannot be told from canaries, which are all of one length: their
    noise on a busy machine would have the long ones refused."""
    server.stub().Encode(long_request(20_000), timeout=PATIENCE)


def await_quiet(server) -> None:
    """Everything that was begun has been given its status, once."""
    for gauge in ("queue_requests", "running_requests", "resident_bytes", "queue_tokens"):
        server.await_metric(f"longwave_{gauge}", lambda value: value == 0)
    started = server.metric("longwave_requests_started_total")
    server.await_metric("longwave_requests_total", lambda value: value == started)


def test_28_a_deadline_that_has_passed(start_fake):
    """What cannot be done in time is not begun: it takes 100 ms."""
    server = start_fake(**SLOW)
    stub = server.stub()
    computed = server.metric("longwave_tokens_total", kind="real")
    with Canary(server) as canary:
        for timeout in (0, 1e-6, 1e-4, 1e-3, 0.005):
            for _ in range(20):
                with pytest.raises(grpc.RpcError) as caught:
                    stub.Encode(long_request(10_000), timeout=timeout)
                assert caught.value.code() in (EXCEEDED, EXHAUSTED)
                if caught.value.code() == EXHAUSTED:
                    assert error_info(caught.value).reason == "DEADLINE_UNMEETABLE"
                    assert trailer(caught.value, "grpc-retry-pushback-ms") == "-1"
    await_quiet(server)
    # Of a million tokens; a canary has 53.
    computed = server.metric("longwave_tokens_total", kind="real") - computed
    assert computed <= 53 * (len(canary.seconds) + 1)


@pytest.mark.parametrize("timeout", [None, 86400.0, 3.0e9])  # the last: a century
def test_29_the_servers_own_deadline(start_fake, timeout):
    server = start_fake("--max_deadline=0.5", **SLOW)
    stub = server.stub()
    with Canary(server):
        assert stub.Encode(request([1] * 5), timeout=timeout).embeddings.rows == 1
        with pytest.raises(grpc.RpcError) as caught:
            stub.Encode(long_request(1_000_000), timeout=timeout)  # ten seconds
        assert error_info(caught.value).reason == "DEADLINE_UNMEETABLE"
    await_quiet(server)


@pytest.mark.parametrize("text", ["99999999H", "99999999S", "99999999n", "0n", "-1S", "1X", "9" * 40])
def test_30_timeouts_of_every_kind(server, text):
    """Enormous ones are capped, wrong ones ignored: there is an answer at once either way."""
    with Http2Connection(server.port) as connection:
        status = connection.status(connection.call(GOOD, grpc_timeout=text))
        assert status in (0, 4)
        assert status == 0 or text.endswith("n")
        assert connection.answers()


def test_31_a_deadline_that_passes_in_the_queue_and_while_computing(start_fake):
    """Two of the class that may wait are let in, since there is time for both, and then short calls
    of the other class take nine tenths of the engine: one is given up while it is computed, the
    other is never begun."""
    # Slices of 10 ms: of shorter ones a busy machine makes much longer ones, and nothing long would
    # be let in.
    server = start_fake(
        "--max_stream_deadline=5.5", "--max_deadline=4", "--max_paused_jobs=1",
        **{**SLOW, "tokens_per_slice": "1000"},
    )
    stop = threading.Event()

    def hurry() -> None:
        own = server.stub()
        while not stop.is_set():
            own.Encode(long_request(1000), timeout=PATIENCE)

    full = Canary(server, slowed="the engine is kept full of calls as good as theirs")
    with full, concurrent.futures.ThreadPoolExecutor() as pool:
        show_a_long_one(server)
        size, patient = 80_000, {"priority": encode_pb2.PRIORITY_BATCH}
        stream = StreamCall(server.stub())
        stream.open(1, [size], progress=True, **patient)
        stream.data(1, b"\1" * size)
        stream.end(1)
        assert stream.read().HasField("accepted")
        assert stream.read().HasField("progress"), "it is computed"
        waiting = server.stub().Encode.future(long_request(size, **patient), timeout=PATIENCE)
        queued = lambda: server.metric("longwave_queue_tokens") >= size
        await_true(lambda: waiting.done() or queued(), "it does not wait")
        assert not waiting.done(), waiting.exception()
        rush = [pool.submit(hurry) for _ in range(3)]
        try:
            error = waiting.exception()
            chunks, failed = stream.read_all(1)
        finally:
            stop.set()
        for hurried in rush:
            hurried.result()
    assert error_info(error).reason == "DEADLINE_EXPIRED"
    assert error.details() == "the deadline passed in the queue"
    assert failed.reason == "DEADLINE_EXPIRED" and not chunks, failed
    await_quiet(server)


def test_32_a_storm_of_cancellations(start_fake, sanitized):
    """10 000 calls, nine tenths of them left at a random moment, in the queue or while computing:
    nothing stays behind. They are of the class that may wait: the canaries do not wait for them."""
    server = start_fake("--max_batch_sequences=16", **SLOW)
    chance = random.Random(32)
    stubs = [server.stub() for _ in range(4)]
    for stub in stubs:
        stub.Encode(request([1]), timeout=PATIENCE)
    resident, left = server.resident_bytes(), 0
    with Canary(server):
        for _ in range(20):
            messages = [long_request(n + 1, priority=encode_pb2.PRIORITY_BATCH) for n in range(500)]
            calls = [
                stubs[n % 4].Encode.future(message, timeout=PATIENCE)
                for n, message in enumerate(chance.sample(messages, 500))
            ]
            # Some have been answered, some are computed, the others wait.
            server.await_metric("longwave_queue_requests", lambda value: value > 0)
            for call in chance.sample(calls, 450):
                call.cancel()
            left += sum(call.cancelled() for call in calls)
            for call in calls:
                if not call.cancelled():
                    assert call.result().embeddings.rows == 1
    await_quiet(server)
    cancelled = server.metric("longwave_requests_cancelled_total")
    assert 0.5 * left < cancelled <= left, "what was answered on its way"
    assert sanitized or server.resident_bytes() - resident < 64 << 20


def test_33_a_full_queue_tells_when_to_come_back(start_fake):
    server = start_fake("--max_queue_sequences=1", base_seconds="0.3")
    stub = server.stub()
    calls = [stub.Encode.future(request([1]), timeout=PATIENCE) for _ in range(20)]
    refusals = [call.exception() for call in calls if call.exception() is not None]
    assert refusals, "20 requests found room in a queue of one"
    for error in refusals:
        assert error.code() == EXHAUSTED
        assert error_info(error).reason == "QUEUE_FULL"
        assert 10 <= int(trailer(error, "grpc-retry-pushback-ms")) <= 5000


def answered(stub, message, seconds: float) -> bytes:
    """The answer of a client that does as it is told: it comes back when the pushback is over."""
    end = time.monotonic() + seconds
    while True:
        try:
            return stub.Encode(message, timeout=max(0.001, end - time.monotonic())).embeddings.data
        except grpc.RpcError as error:
            pushback = int(trailer(error, "grpc-retry-pushback-ms") or -1)
            assert error.code() == EXHAUSTED and pushback >= 0, error
            assert time.monotonic() + pushback / 1000 < end, "no answer in time"
            time.sleep(pushback / 1000)


def test_35_clients_that_ignore_the_pushback(start_fake):
    """A retry storm at a queue that is full, which refuses canaries too: instead, callers who wait
    as told are answered within 5 s, and health at once."""
    server = start_fake("--max_queue_sequences=8", base_seconds="0.005")
    polite = server.stub()
    health = health_pb2_grpc.HealthStub(server.channel())
    expected = polite.Encode(request([7] * 9), timeout=PATIENCE).embeddings.data
    stop = time.monotonic() + 3

    def rude(number: int) -> tuple[int, list[grpc.RpcError]]:
        stub, good, refusals = server.stub(), 0, []
        while time.monotonic() < stop:
            calls = [stub.Encode.future(request([number]), timeout=PATIENCE) for _ in range(8)]
            errors = [call.exception() for call in calls]
            refusals += [error for error in errors if error is not None]
            good += errors.count(None)
        return good, refusals

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        storm = [pool.submit(rude, number + 1) for number in range(4)]
        while time.monotonic() < stop:
            assert answered(polite, request([7] * 9), 5) == expected
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING
        results = [result.result() for result in storm]
    assert sum(good for good, _ in results) > 0
    refusals = [error for _, errors in results for error in errors]
    assert {error_info(error).reason for error in refusals} == {"QUEUE_FULL"}
    waits = {int(trailer(error, "grpc-retry-pushback-ms")) for error in refusals}
    assert min(waits) > 0 and len(waits) > 1, "they all come back at once"
    await_quiet(server)


def test_36_short_requests_beside_the_longest(start_fake):
    """The canaries are short; ten seconds of one sequence lie beside them."""
    server = start_fake("--no-refuse_beyond_grace", **SLOW)
    with Canary(server):
        show_a_long_one(server)
        call = server.stub().Encode.future(long_request(1 << 20), timeout=PATIENCE)
        server.await_metric("longwave_slice_seconds_count", lambda value: value > 1000)
        assert not call.done(), call.exception()
        call.cancel()
