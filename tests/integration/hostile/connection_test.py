"""Rows 37 to 40: connections and HTTP/2 itself as the weapon.

Where gRPC 1.51 has no limit of its own, what is asked is that the others do not notice and that
memory stays within a bound; README.md here says which limit is whose.
"""

import math
import os
import threading
import time

import pytest
from canary import Canary
from harness import PATIENCE, await_true, request
from http2 import (
    ENCODE_STREAM,
    HEALTH_CHECK,
    PREFACE,
    ContinuationFrame,
    DataFrame,
    ErrorCodes,
    HeadersFrame,
    Http2Connection,
    PingFrame,
    RawSocket,
    RstStreamFrame,
    SettingCodes,
    SettingsFrame,
    WindowUpdateFrame,
    call_headers,
    message,
)

OK, DEADLINE_EXCEEDED = 0, 4
GOOD = request([1, 2, 3]).SerializeToString()
MiB = 1 << 20
# A flood that the server does not end itself lasts this long: what matters there is how much comes,
# and a sanitized server works it off many times slower.
FLOOD_SECONDS = 0.15 if os.environ.get("LONGWAVE_SANITIZE") else 1.0
# What one connection may make the process grow by meanwhile. Without the guard and the limits the
# worst of them reach a gigabyte in three seconds.
FLOOD_BYTES = 256 * MiB
# The same where nothing but --max_transport_bytes (1 GiB) stands in the way.
LIBRARY_BYTES = 1280 * MiB


def settle(server) -> None:
    """Waits until the server has worked off what earlier floods left, which is not this one's."""
    seen = [-math.inf]

    def idle() -> bool:
        before, seen[0] = seen[0], server.cpu_seconds()
        return seen[0] - before < 0.05  # the canaries alone

    await_true(idle, "the server is busy with nothing", pause=0.2)


class Flood:
    """Sends what `make` makes (bytes) over one connection until the server closes it."""

    def __init__(self, server, make, seconds: float = FLOOD_SECONDS, reading: bool = True,
                 most: float = math.inf):
        self.peak_growth = 0
        settle(server)
        before = server.resident_bytes()
        with Http2Connection(server.port, reading=reading) as connection:
            connection.socket.settimeout(1)  # a peer that is not read from
            end = time.monotonic() + seconds
            self.closed = False
            sent = 0  # pieces, of which `most` are enough
            while time.monotonic() < end and sent < most:
                sent += 1
                if not connection.send_bytes(make(connection)):
                    self.closed = True
                    break
                self.peak_growth = max(self.peak_growth, server.resident_bytes() - before)
            self.goaway = connection.goaway(patience=10 if self.closed and reading else 0)


def opened(connection, path: str, *frames_after) -> bytes:
    """HEADERS of a new call, and what `frames_after` make of its number."""
    stream = connection.new_stream()
    headers = connection.block(call_headers(path))
    frames = [HeadersFrame(stream, data=headers, flags=["END_HEADERS"])]
    frames += [make(stream) for make in frames_after]
    return b"".join(frame.serialize() for frame in frames)


def body_of(stream):
    return DataFrame(stream, data=message(GOOD), flags=["END_STREAM"])


def reset_of(stream):
    return RstStreamFrame(stream, error_code=ErrorCodes.CANCEL)


def test_37_slowloris(server):
    """Connections that never finish their preface are closed after ten seconds; meanwhile they
    take nothing from the others."""
    peers = [RawSocket(server.port) for _ in range(600)]
    for number, peer in enumerate(peers):
        peer.send(PREFACE[: number % (len(PREFACE) + 1)])
    assert server.stub().Encode(request([1]), timeout=PATIENCE).embeddings.rows == 1
    assert all(peer.await_close() for peer in peers)
    for peer in peers:
        peer.close()


def test_38_a_slow_body_ends_with_its_deadline(start_fake):
    server = start_fake()
    with Canary(server), Http2Connection(server.port) as connection:
        begin = time.monotonic()
        stream = connection.open(call_headers(grpc_timeout="1S"))
        connection.data(stream, message(b"", length=1 << 20), end=False)
        done = threading.Event()

        def drip():
            while not done.wait(0.2):
                connection.data(stream, b"\n", end=False)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert connection.await_end(stream, patience=5), "a body without end keeps its call"
        finally:
            done.set()
            thread.join()
        assert time.monotonic() - begin > 0.9, "ended before its deadline"
        assert connection.status(stream) == DEADLINE_EXCEEDED
        assert connection.status(connection.call(GOOD)) == OK


def test_38_a_body_that_never_ends(server):
    """Without a deadline an unfinished call costs its stream and nothing else."""
    with Http2Connection(server.port) as connection:
        streams = [connection.open(call_headers()) for _ in range(500)]
        for stream in streams:
            connection.data(stream, message(GOOD)[:-1], end=False)
        assert connection.answers()
        assert connection.status(connection.call(GOOD)) == OK


def test_38_a_reader_with_a_window_of_zero(server, sanitized):
    before = server.resident_bytes()
    with Http2Connection(server.port, {SettingCodes.INITIAL_WINDOW_SIZE: 0}) as connection:
        for _ in range(800):
            connection.call(GOOD)
        assert connection.answers()
        assert sanitized or server.resident_bytes() < before + 32 * MiB


def test_39_more_streams_than_allowed(server):
    with Http2Connection(server.port) as connection:
        streams = [connection.open(call_headers()) for _ in range(1200)]
        # The excess is refused or ends the connection.
        assert connection.reset_code(streams[-1]) == ErrorCodes.REFUSED_STREAM or (
            connection.await_close()
        )


@pytest.mark.parametrize("path", [None, ENCODE_STREAM, HEALTH_CHECK, "/no.Service/Method"], ids=str)
@pytest.mark.parametrize("body", [False, True], ids=["headers", "body"])
def test_39_rapid_reset(server, sanitized, path, body):
    """CVE-2023-44487, which 1.51 predates: our own guard cuts the connection."""
    frames = [body_of, reset_of] if body else [reset_of]
    name = path or "/longwave.v1.EncoderService/Encode"

    def many(connection):
        return b"".join(opened(connection, name, *frames) for _ in range(200))

    flood = Flood(server, many, seconds=FLOOD_SECONDS if sanitized else 20)
    assert sanitized or flood.closed, "20 s of resets and the connection still stands"
    assert sanitized or flood.peak_growth < FLOOD_BYTES


def test_40_provoked_resets(server, sanitized):
    """CVE-2025-8671 ("MadeYouReset"): the server is made to reset the streams itself."""

    def overflow(stream):
        return WindowUpdateFrame(stream, window_increment=2**31 - 1)

    def many(connection):
        path = "/longwave.v1.EncoderService/Encode"
        return b"".join(opened(connection, path, body_of, overflow) for _ in range(100))

    flood = Flood(server, many)
    assert sanitized or flood.peak_growth < FLOOD_BYTES


def test_40_data_after_the_end(server, sanitized):
    def late(stream):
        return DataFrame(stream, data=b"x")

    def many(connection):
        path = "/longwave.v1.EncoderService/Encode"
        return b"".join(opened(connection, path, body_of, late) for _ in range(100))

    flood = Flood(server, many)
    assert sanitized or flood.peak_growth < FLOOD_BYTES


PINGS = PingFrame(opaque_data=b"12345678").serialize() * 1000
SETTINGS = SettingsFrame(settings={SettingCodes.INITIAL_WINDOW_SIZE: 65535}).serialize() * 1000


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "deaf"])
def test_40_ping_flood(server, sanitized, reading):
    """CVE-2019-9512. A peer that reads gets to hear why it is cut off."""
    flood = Flood(server, lambda connection: PINGS, seconds=10, reading=reading)
    assert flood.closed
    if flood.goaway is not None:  # a reset on the way may overtake it
        assert flood.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        assert flood.goaway.additional_data == b"too_many_pings"
    assert sanitized or flood.peak_growth < FLOOD_BYTES


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "deaf"])
def test_40_settings_flood(server, sanitized, reading):
    """CVE-2019-9515. 1.51 answers each; a deaf peer is no longer read from."""
    flood = Flood(server, lambda connection: SETTINGS, reading=reading, most=100)
    assert sanitized or flood.peak_growth < FLOOD_BYTES


def test_40_empty_data_flood(server, sanitized):
    """CVE-2019-9518."""
    streams = []

    def many(connection):
        if not streams:
            streams.append(connection.open(call_headers()))
        return DataFrame(streams[0], data=b"").serialize() * 1000

    flood = Flood(server, many)
    assert sanitized or flood.peak_growth < FLOOD_BYTES


@pytest.mark.parametrize("block", [b"", b"\x10\x03x-a\x7f\x81\x01" + b"x" * 256], ids=["empty", "full"])
def test_40_continuation_flood(server, sanitized, block):
    """CVE-2024-27316: a header block without an end."""
    open_streams = []

    def many(connection):
        first = b""
        if not open_streams:
            open_streams.append(connection.new_stream())
            headers = connection.block(call_headers())
            first = HeadersFrame(open_streams[0], data=headers).serialize()
        return first + ContinuationFrame(open_streams[0], data=block).serialize() * 1000

    flood = Flood(server, many)
    assert sanitized or flood.peak_growth < LIBRARY_BYTES


def test_40_hpack_bomb(server, sanitized):
    """CVE-2016-6581: a small block that refers to one large table entry again and again."""
    primed = []

    def many(connection):
        if not primed:
            primed.append(connection.open(call_headers(x_bomb="b" * 3500), end=True))
        block = connection.block(call_headers()) + bytes([0x80 | 62]) * 15000
        stream = connection.new_stream()
        flags = ["END_HEADERS", "END_STREAM"]
        return HeadersFrame(stream, data=block, flags=flags).serialize()

    flood = Flood(server, many)
    assert sanitized or flood.peak_growth < FLOOD_BYTES


def test_40_hpack_table_sizes(server, sanitized):
    """A table of 4 GiB asked for in a header block is a compression error."""

    def many(connection):
        stream = connection.new_stream()
        block = b"\x3f\xe1\xff\xff\xff\x0f" + connection.block(call_headers())
        flags = ["END_HEADERS", "END_STREAM"]
        return HeadersFrame(stream, data=block, flags=flags).serialize()

    flood = Flood(server, many)
    assert flood.closed
    assert sanitized or flood.peak_growth < FLOOD_BYTES
