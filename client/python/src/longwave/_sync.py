"""Calls on a blocking gRPC channel."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import grpc

from longwave import _api
from longwave._channel import Option
from longwave._decode import Block
from longwave._job import EncodeJob
from longwave._plan import Part
from longwave._rows import RowCollector, RowStream
from longwave.errors import Cancelled, LongwaveError, client_closed, from_rpc

Call = tuple[str, Any, Any]
Metadata = tuple[tuple[str, str], ...]


class Deadline:
    """A point in time by the monotonic clock; None: never."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds, at least 0."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def passes_within(self, seconds: float) -> bool:
        left = self.left()
        return left is not None and left <= seconds


class Stop:
    """Ends a stream from another thread: the call that is open, the wait for the next, all."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._call: Any = None

    def attach(self, call: Any) -> None:
        with self._lock:
            self._call = call
            stopped = self._event.is_set()
        if stopped:
            call.cancel()

    def set(self) -> None:
        with self._lock:
            self._event.set()
            call = self._call
        if call is not None:
            call.cancel()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """So long, or until the end."""
        self._event.wait(seconds)


class Transport:
    """A channel and what is open on it. Thread-safe."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: list[Option],
        metadata: Metadata,
    ) -> None:
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._metadata = metadata
        self._lock = threading.Lock()
        # Changed with the lock held. A call that sees `closed` too late finds the channel closed.
        self._closed = False
        self._stops: set[Stop] = set()
        self._encode = self._method(_api.ENCODE)

    def _method(self, call: Call) -> Any:
        path, request, response = call
        return self._channel.unary_unary(path, request.SerializeToString, response.FromString)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            stops = list(self._stops)
        for stop in stops:
            stop.set()
        self._channel.close()

    def call(self, call: Call, request: Any, timeout: float | None) -> Any:
        """A unary call. LongwaveError: it failed."""
        method = self._encode if call is _api.ENCODE else self._method(call)
        return self._begun(lambda: method(request, timeout=timeout, metadata=self._metadata))

    def start_encode(self, request: Any, timeout: float | None) -> Any:
        """Begins an Encode; a gRPC future."""
        return self._begun(
            lambda: self._encode.future(request, timeout=timeout, metadata=self._metadata)
        )

    def _begun(self, begin: Callable[[], Any]) -> Any:
        try:
            return begin()
        except grpc.RpcError as error:
            raise self.error_of(error) from None
        except ValueError as error:  # gRPC's way to say that the channel has been closed
            if self._closed:
                raise client_closed() from None
            raise error

    def error_of(self, call: Any) -> LongwaveError:
        """Why a call has failed."""
        if self._closed and call.code() is grpc.StatusCode.CANCELLED:
            return client_closed()
        return from_rpc(call)

    def read_stream(
        self, stream: RowStream, timeout: float | None, stop: Stop
    ) -> Generator[tuple[int, Block], None, None]:
        """First row and rows, block by block, over all attempts of a stream.

        The end of the client sets `stop` too. Whoever leaves the iterator before its end must close
        it.
        """
        deadline = Deadline(timeout)
        with self._lock:
            if self._closed:
                raise client_closed()
            self._stops.add(stop)
        try:
            while stream.done is None:
                try:
                    yield from self._attempt(stream, deadline, stop)
                except LongwaveError as error:
                    self._check_stop(stop)
                    delay = stream.retry_delay(error)
                    if deadline.passes_within(delay):
                        raise
                    stop.wait(delay)
                    self._check_stop(stop)
        finally:
            with self._lock:
                self._stops.discard(stop)

    def _check_stop(self, stop: Stop) -> None:
        if stop.is_set():
            raise client_closed() if self._closed else Cancelled("the call was cancelled")

    def _attempt(
        self, stream: RowStream, deadline: Deadline, stop: Stop
    ) -> Generator[tuple[int, Block], None, None]:
        admitted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        call = self._begun(lambda: self._open_stream(stream, admitted, deadline.left()))
        try:
            stop.attach(call)
            for message in call:
                first_row = stream.next_row
                block = stream.receive(message)
                if stream.must_send_ids():
                    admitted.put(True)
                if block is not None:
                    yield first_row, block
            if stream.done is None:
                raise stream.ended_early()
        except grpc.RpcError as error:
            # With all rows here, the call's own end changes nothing any more.
            if stream.done is None:
                raise self.error_of(error) from None
        finally:
            admitted.put(False)  # the thread that sends ends
            call.cancel()

    def _open_stream(
        self, stream: RowStream, admitted: queue.SimpleQueue[bool], timeout: float | None
    ) -> Any:
        path, request, response = _api.ENCODE_STREAM
        opening = stream.opening()

        def messages() -> Iterator[Any]:
            yield opening
            if admitted.get():
                yield from stream.id_messages()

        method = self._channel.stream_stream(path, request.SerializeToString, response.FromString)
        return method(messages(), timeout=timeout, metadata=self._metadata)


class Calls:
    """The open requests of one job. As a context manager it leaves none behind.

    To be used by one thread.
    """

    def __init__(self, transport: Transport, job: EncodeJob) -> None:
        self.open = 0
        self._transport = transport
        self._job = job
        self._done: queue.SimpleQueue[tuple[Part, Any]] = queue.SimpleQueue()
        self._cancels: dict[int, Callable[[], Any]] = {}

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *exc: object) -> None:
        for cancel in self._cancels.values():
            cancel()

    @property
    def any_done(self) -> bool:
        return not self._done.empty()

    def send(self) -> None:
        """Sends what is waiting, as far as the bound of open requests allows."""
        while self._job.waiting and self.open < self._job.max_open:
            part = self._job.waiting.popleft()
            self.open += 1
            if part.stream:
                self._start_stream(part)
            else:
                self._start_unary(part)

    def _start_unary(self, part: Part) -> None:
        request = self._job.request(part)
        try:
            future = self._transport.start_encode(request, self._job.options.timeout)
        except LongwaveError as error:
            self._done.put((part, error))
            return
        self._cancels[id(part)] = future.cancel
        future.add_done_callback(lambda ended: self._done.put((part, ended)))

    def _start_stream(self, part: Part) -> None:
        stop = Stop()
        self._cancels[id(part)] = stop.set
        request, ids = self._job.stream_request(part)
        stream = RowStream(request, ids, self._job.options)

        def read() -> None:
            try:
                outcome: Any = collect(self._transport, stream, self._job, stop)
            except LongwaveError as error:
                outcome = error
            except BaseException as error:  # raised again by take_one
                outcome = error
            self._done.put((part, outcome))

        threading.Thread(target=read, name="longwave-stream", daemon=True).start()

    def take_one(self) -> None:
        """Waits until a request ends, and gives the job what came of it."""
        part, outcome = self._done.get()
        self.open -= 1
        self._cancels.pop(id(part), None)
        if isinstance(outcome, LongwaveError):
            self._job.on_error(part, outcome, self.open)
        elif isinstance(outcome, BaseException) and not isinstance(outcome, grpc.Future):
            raise outcome
        elif isinstance(outcome, tuple):
            self._job.on_stream(part, *outcome)
        elif outcome.code() is grpc.StatusCode.OK:
            self._job.on_reply(part, outcome.result())
        else:
            self._job.on_error(part, self._transport.error_of(outcome), self.open)


def collect(
    transport: Transport, stream: RowStream, job: EncodeJob, stop: Stop
) -> tuple[Block, Any]:
    """All rows of a stream, and its StreamDone."""
    collector = RowCollector()
    for first_row, block in transport.read_stream(stream, job.options.stream_timeout, stop):
        collector.put(stream, first_row, block)
    return collector.take(), stream.done
