"""Rows 28 to 36: deadlines, cancellations and more load than there is room for."""

import concurrent.futures
import random
import time

import grpc
import pytest
from harness import PATIENCE, Canary, encode_pb2, error_info, request, trailer
from http2 import Http2Connection, call_headers, message

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
GOOD = request([1, 2, 3]).SerializeToString()
# Slices of 20 ms; a canary takes 6 ms, 10 000 tokens a second.
SLOW = {"base_seconds": "0.001", "seconds_per_token": "1e-4", "tokens_per_slice": "200"}


@pytest.mark.parametrize("seconds", [0, 1e-6, 1e-3])
def test_28_a_deadline_that_has_passed(start_fake, seconds):
    server = start_fake(base_seconds="0.02")  # never done within a millisecond
    with Canary(server):
        with pytest.raises(grpc.RpcError) as caught:
            server.stub().Encode(request([1] * 10), timeout=seconds)
        assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, EXHAUSTED)


def test_29_no_deadline_is_the_servers_own(start_fake):
    server = start_fake("--max_deadline=0.5", **SLOW)
    with Canary(server):
        with pytest.raises(grpc.RpcError) as caught:
            server.stub().Encode(request([1] * 10_000))
        assert error_info(caught.value).reason in ("DEADLINE_EXPIRED", "DEADLINE_UNMEETABLE")


@pytest.mark.parametrize("text", ["99999999H", "99999999S", "99999999n", "0n", "-1S", "1X", "9" * 40])
def test_30_timeouts_of_every_kind(server, text):
    """Enormous ones are capped, wrong ones ignored: there is an answer at once either way."""
    with Http2Connection(server.port) as connection:
        status = connection.status(connection.call(GOOD, grpc_timeout=text))
        assert status in (0, 4)
        assert status == 0 or text.endswith("n")
        assert connection.answers()


def test_30_an_enormous_deadline(server):
    server.stub().Encode(request([1]), timeout=1e9)


def test_31_a_deadline_that_passes_while_computing(start_fake):
    server = start_fake(**SLOW)
    with Canary(server):
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                server.stub().Encode(request([1] * 10_000), timeout=0.2)
        server.await_metric("longwave_queue_requests", lambda value: value == 0)


def test_32_a_storm_of_cancellations(server):
    """2000 calls, half of them left at a random moment: nothing stays behind."""
    before = server.metric("longwave_requests_cancelled_total")
    chance = random.Random(32)
    stub = server.stub()
    for _ in range(20):
        calls = [stub.Encode.future(request([n + 1] * 10), timeout=PATIENCE) for n in range(100)]
        for call in chance.sample(calls, 50):
            call.cancel()
        for call in calls:
            if not call.cancelled():
                assert call.result().embeddings.rows == 1
    assert server.metric("longwave_requests_cancelled_total") >= before
    started = server.metric("longwave_requests_started_total")
    # The canaries go on meanwhile.
    server.await_metric("longwave_requests_total", lambda value: value >= started)
    server.await_metric("longwave_resident_bytes", lambda value: value == 0)


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
    """A retry storm at a queue that is full; those who wait as told are answered within 5 s."""
    server = start_fake("--max_queue_sequences=8", base_seconds="0.005")
    polite = server.stub()
    expected = polite.Encode(request([7] * 9), timeout=PATIENCE).embeddings.data
    stop = time.monotonic() + 3

    def rude(number: int) -> tuple[int, int]:
        stub, good, refused = server.stub(), 0, 0
        while time.monotonic() < stop:
            calls = [stub.Encode.future(request([number]), timeout=PATIENCE) for _ in range(8)]
            codes = [call.code() for call in calls]
            good += codes.count(grpc.StatusCode.OK)
            refused += codes.count(EXHAUSTED)
            assert good + refused > 0 and set(codes) <= {grpc.StatusCode.OK, EXHAUSTED}, codes
        return good, refused

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        storm = [pool.submit(rude, number + 1) for number in range(4)]
        while time.monotonic() < stop:
            assert answered(polite, request([7] * 9), 5) == expected
        results = [result.result() for result in storm]
    assert sum(good for good, _ in results) > 0
    assert sum(refused for _, refused in results) > 0, "the queue was never full"
    server.await_metric("longwave_queue_requests", lambda value: value == 0)


def test_36_short_requests_beside_the_longest(start_fake):
    """The canaries are short; 20 s of one sequence lie beside them, in slices of 10 ms."""
    server = start_fake(seconds_per_token="2e-5", tokens_per_slice="500")
    with Canary(server):
        longest = encode_pb2.EncodeRequest(
            tokens=encode_pb2.TokenBatch(ids=b"\1" * (1 << 20), id_width=encode_pb2.ID_WIDTH_U8)
        )
        call = server.stub().Encode.future(longest, timeout=PATIENCE)
        server.await_metric("longwave_slice_seconds_count", lambda value: value > 100)
        assert not call.done()
        call.cancel()
