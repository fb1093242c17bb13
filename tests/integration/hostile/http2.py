"""A client that speaks HTTP/2 frame by frame, and so can send what no library would.

Frames are those of `hyperframe`, header blocks those of `hpack` (both come with `h2`); no state
machine stands between a test and the wire.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

import hpack
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENCODE = "/longwave.v1.EncoderService/Encode"
ENCODE_STREAM = "/longwave.v1.EncoderService/EncodeStream"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def message(body: bytes, length: int | None = None, compressed: int = 0) -> bytes:
    """A gRPC message: its flag, its length (or another one) and its bytes."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def varint(number: int) -> bytes:
    """A number as protobuf spells it."""
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def call_headers(path: str = ENCODE, **changes: str | None) -> list[tuple[str, str]]:
    """The headers of a call. `changes` replace or (None) leave out; `_` stands for `-`."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    fields.update({name.replace("_", "-"): value for name, value in changes.items()})
    return [(name, value) for name, value in fields.items() if value is not None]


class RawSocket:
    """A TCP connection without any protocol."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            pass  # the server was first

    def finish(self) -> None:
        """Says that nothing more comes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server was first

    def await_close(self, patience: float = 60) -> bool:
        """Whether the server closes the connection, whatever it says before."""
        deadline = time.monotonic() + patience
        try:
            while True:
                self._socket.settimeout(max(0.01, deadline - time.monotonic()))
                if not self._socket.recv(1 << 16):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True


class Http2Connection:
    """One connection. A thread reads all that comes, unless the test wants a peer that reads
    nothing."""

    def __init__(self, port: int, settings: dict[int, int] | None = None, reading: bool = True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._changed = threading.Condition()
        self._frames: list[Frame] = []
        self._headers: dict[int, dict[str, str]] = {}
        self._closed = False
        self._next_stream = 1
        self._initial_window = 65535
        self._windows = {0: 0}  # what WINDOW_UPDATE added, by stream
        self._sent = {0: 0}  # bytes of DATA, by stream
        self.send_bytes(PREFACE)
        self.send(SettingsFrame(settings=settings or {}))
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reading:
            self._thread.start()

    def __enter__(self) -> Http2Connection:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server was first
        if self._thread.is_alive():
            self._thread.join()
        self.socket.close()

    # What is sent.

    def send_bytes(self, data: bytes) -> bool:
        """False: the server has closed the connection, which many tests are after."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def send(self, *frames: Frame) -> bool:
        return self.send_bytes(b"".join(frame.serialize() for frame in frames))

    def block(self, headers: list[tuple[str, str]]) -> bytes:
        return self._encoder.encode(headers)

    def new_stream(self) -> int:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        return stream

    def open(self, headers: list[tuple[str, str]], end: bool = False) -> int:
        """Sends HEADERS on a new stream; returns its number."""
        stream = self.new_stream()
        flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
        self.send(HeadersFrame(stream, data=self.block(headers), flags=flags))
        return stream

    def data(self, stream: int, body: bytes, end: bool = True) -> bool:
        """Sends DATA in frames of at most 16 KiB, without a look at flow control."""
        pieces = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
        frames = [DataFrame(stream, data=piece) for piece in pieces]
        self._sent[stream] = self._sent.get(stream, 0) + len(body)
        self._sent[0] += len(body)
        if end:
            frames[-1].flags.add("END_STREAM")
        return self.send(*frames)

    def push(self, stream: int, more: int, body: bytes = b"", patience: float = 5) -> int:
        """Sends `body` and `more` further bytes as fast as the windows allow and ends the stream,
        or stops where the server lets nothing more in. Returns the bytes sent."""
        total, sent = len(body) + more, 0
        while sent < total:
            self._await(lambda: self._room(stream) > 0 or self._ended(stream), patience)
            size = min(self._room(stream), total - sent, 16384)
            if size <= 0 or self._closed or self._ended(stream):
                return sent
            piece = body[sent : sent + size] or b"\1" * size
            if not self.data(stream, piece, end=sent + len(piece) == total):
                return sent
            sent += len(piece)
        return sent

    def _room(self, stream: int) -> int:
        """What both windows leave."""
        initial = self._initial_window + self._windows.get(stream, 0)
        return min(initial - self._sent.get(stream, 0), 65535 + self._windows[0] - self._sent[0])

    def call(self, body: bytes, path: str = ENCODE, **changes: str | None) -> int:
        """A whole unary call whose one message is `body`."""
        stream = self.open(call_headers(path, **changes))
        self.data(stream, message(body))
        return stream

    # What came.

    def _read(self) -> None:
        buffer = b""
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            buffer = self._take_frames(buffer + data)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take_frames(self, buffer: bytes) -> bytes:
        while len(buffer) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(buffer[:9]))
            if len(buffer) < 9 + length:
                break
            frame.parse_body(memoryview(buffer[9 : 9 + length]))
            buffer = buffer[9 + length :]
            self._take(frame)
        return buffer

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.send(SettingsFrame(flags=["ACK"]))
        with self._changed:
            if isinstance(frame, HeadersFrame):
                fields = self._headers.setdefault(frame.stream_id, {})
                fields.update(self._decoder.decode(frame.data))
            elif isinstance(frame, WindowUpdateFrame):
                added = self._windows.get(frame.stream_id, 0) + frame.window_increment
                self._windows[frame.stream_id] = added
                return self._changed.notify_all()  # many, and of no other interest
            elif isinstance(frame, SettingsFrame):
                window = frame.settings.get(SettingCodes.INITIAL_WINDOW_SIZE)
                self._initial_window = window or self._initial_window
            self._frames.append(frame)
            self._changed.notify_all()

    def _await(self, wanted, patience: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: wanted() or self._closed, patience)

    def frames(self, kind: type) -> list[Frame]:
        with self._changed:
            return [frame for frame in self._frames if isinstance(frame, kind)]

    def await_end(self, stream: int, patience: float = 60) -> bool:
        """Whether the server ends the call, by trailers or by a reset, and not the connection."""
        self._await(lambda: self._ended(stream), patience)
        with self._changed:
            return self._ended(stream)

    def trailers(self, stream: int, patience: float = 60) -> dict[str, str]:
        """Headers and trailers of a call once it has ended; {} if it was reset or cut off."""
        self._await(lambda: self._ended(stream), patience)
        with self._changed:
            return dict(self._headers.get(stream, {}))

    def status(self, stream: int, patience: float = 60) -> int | None:
        """The gRPC status that a call ended with; None if it was reset or cut off."""
        code = self.trailers(stream, patience).get("grpc-status")
        return None if code is None else int(code)

    def reset_code(self, stream: int, patience: float = 60) -> ErrorCodes | None:
        """The code of the RST_STREAM that the server sent."""
        self._await(lambda: self._reset(stream) is not None, patience)
        with self._changed:
            reset = self._reset(stream)
        return None if reset is None else ErrorCodes(reset.error_code)

    def _reset(self, stream: int) -> RstStreamFrame | None:
        for frame in self._frames:
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return frame
        return None

    def _ended(self, stream: int) -> bool:
        for frame in self._frames:
            if frame.stream_id == stream and (
                isinstance(frame, RstStreamFrame) or "END_STREAM" in frame.flags
            ):
                return True
        return False

    def await_close(self, patience: float = 60) -> bool:
        """Whether the server has closed the connection."""
        self._await(lambda: False, patience)
        return self._closed

    def goaway(self, patience: float = 60) -> GoAwayFrame | None:
        """The GOAWAY that the server sent, if it did."""
        self._await(lambda: any(isinstance(f, GoAwayFrame) for f in self._frames), patience)
        found = self.frames(GoAwayFrame)
        return found[0] if found else None

    def answers(self, patience: float = 60) -> bool:
        """Whether the connection still answers a PING."""
        before = len(self.frames(PingFrame))
        if not self.send(PingFrame(opaque_data=b"answers?")):
            return False
        pings = lambda: sum(isinstance(f, PingFrame) for f in self._frames) > before
        return self._await(pings, patience) and not self._closed


__all__ = [
    "ENCODE", "ENCODE_STREAM", "HEALTH_CHECK", "PREFACE", "ContinuationFrame", "DataFrame",
    "ErrorCodes", "Frame",
    "HeadersFrame", "Http2Connection", "PingFrame", "RawSocket", "RstStreamFrame", "SettingCodes",
    "SettingsFrame", "WindowUpdateFrame", "call_headers", "message", "varint",
]
