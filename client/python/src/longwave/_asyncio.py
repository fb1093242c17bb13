"""Calls on a gRPC channel of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from longwave import _api
from longwave._channel import Option
from longwave._decode import Block
from longwave._job import EncodeJob
from longwave._plan import Part
from longwave._rows import RowCollector, RowStream
from longwave._sync import Call, Deadline, Metadata
from longwave.errors import LongwaveError, Unavailable, client_closed, from_rpc

_Made = TypeVar("_Made")
# Threads that work for the tasks of one event loop. A thread cannot be cancelled, and keeps what it
# works on: those of callers that have left are these at most, and what waits for one goes at once.
_THREADS = 4
_threads: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def _free_threads(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    if loop not in _threads:
        for old in list(_threads):
            if old.is_closed():
                _threads.pop(old, None)
        _threads[loop] = asyncio.Semaphore(_THREADS)
    return _threads[loop]


async def in_thread(work: Callable[[], _Made]) -> _Made:
    """What `work` returns or raises, done beside the event loop."""
    loop = asyncio.get_running_loop()
    free = _free_threads(loop)
    await free.acquire()
    try:
        future = loop.run_in_executor(None, work)
    except BaseException:
        free.release()
        raise
    # Shielded, it is done when its thread is, and not when its caller leaves.
    future.add_done_callback(lambda done: free.release())
    return await asyncio.shield(future)


class AsyncTransport:
    """A channel of the event loop that runs; of another one, should the client be used there."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: list[Option],
        metadata: Metadata,
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._options = options
        self._metadata = metadata
        self._channel: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._closed = False

    def _open(self) -> Any:
        if self._closed:
            raise client_closed()
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            self._loop = loop
            self._closing = asyncio.Event()
            self._channel = (
                grpc.aio.insecure_channel(self._target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, self._options)
            )
        return self._channel

    async def close(self) -> None:
        self._closed = True
        if self._loop is asyncio.get_running_loop() and self._closing is not None:
            self._closing.set()
            await self._channel.close()

    async def call(self, call: Call, request: Any, timeout: float | None) -> Any:
        """A unary call. LongwaveError: it failed."""
        path, kind, response = call
        method = self._open().unary_unary(path, kind.SerializeToString, response.FromString)
        try:
            return await method(request, timeout=timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from None
        except asyncio.CancelledError:
            raise self._cancelled() from None

    def _cancelled(self) -> BaseException:
        """What a cancelled call raises: only a client that was closed makes an error of it, for the
        task that waits has not been cancelled."""
        task = asyncio.current_task()
        own = getattr(task, "cancelling", lambda: 0)() == 0  # since Python 3.11
        if self._closed and own:
            return client_closed()
        return asyncio.CancelledError()

    async def read_stream(
        self, stream: RowStream, timeout: float | None
    ) -> AsyncGenerator[tuple[int, Block], None]:
        """First row and rows, block by block, over all attempts of a stream.

        Whoever leaves the iterator before its end must close it.
        """
        deadline = Deadline(timeout)
        while stream.done is None:
            try:
                async with contextlib.aclosing(self._attempt(stream, deadline)) as rows:
                    async for row in rows:
                        yield row
            except LongwaveError as error:
                delay = stream.retry_delay(error)
                if deadline.passes_within(delay):
                    raise
                await self._wait(delay, error)

    async def _wait(self, delay: float, error: LongwaveError) -> None:
        assert self._closing is not None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), delay)
            raise client_closed() from error

    async def _attempt(
        self, stream: RowStream, deadline: Deadline
    ) -> AsyncGenerator[tuple[int, Block], None]:
        admitted = asyncio.Event()
        ended = False
        opening = stream.opening()

        async def messages() -> AsyncIterator[Any]:
            yield opening
            await admitted.wait()
            if ended:
                return
            for message in stream.id_messages():
                yield message

        path, request, response = _api.ENCODE_STREAM
        method = self._open().stream_stream(path, request.SerializeToString, response.FromString)
        call = method(messages(), timeout=deadline.left(), metadata=self._metadata)
        try:
            async for message in call:
                first_row = stream.next_row
                block = stream.receive(message)
                if stream.must_send_ids():
                    admitted.set()
                if block is not None:
                    yield first_row, block
            if stream.done is None:
                raise stream.ended_early()
        except grpc.aio.AioRpcError as error:
            # With all rows here, the call's own end changes nothing any more.
            if stream.done is None:
                raise _stream_error(error) from None
        except asyncio.CancelledError:
            raise self._cancelled() from None
        finally:
            # Cancelling a call that has ended does not reach the task that reads messages().
            ended = True
            admitted.set()
            call.cancel()


def _stream_error(error: grpc.aio.AioRpcError) -> LongwaveError:
    """The error of a stream that broke.

    Where a message could not be sent because the stream had broken, grpc.aio makes up an INTERNAL
    of its own, and the true status is lost. What the server has to say another attempt will tell.
    """
    made_up = error.code() is grpc.StatusCode.INTERNAL and not error.trailing_metadata()
    if made_up and "from Core" in (error.details() or ""):
        return Unavailable("the stream broke while ids were being sent")
    return from_rpc(error)


class AsyncCalls:
    """The open requests of one job. As a context manager it leaves none behind."""

    def __init__(self, transport: AsyncTransport, job: EncodeJob) -> None:
        self._transport = transport
        self._job = job
        self._open: dict[asyncio.Task[Any], Part] = {}

    async def __aenter__(self) -> AsyncCalls:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def open(self) -> int:
        return len(self._open)

    def send(self) -> None:
        """Sends what is waiting, as far as the bound of open requests allows."""
        while self._job.waiting and self.open < self._job.max_open:
            part = self._job.waiting.popleft()
            if part.stream:
                task = asyncio.ensure_future(self._stream(part))
            else:
                task = asyncio.ensure_future(self._unary(part))
            self._open[task] = part

    async def _unary(self, part: Part) -> Callable[[], None]:
        request = self._job.request(part)
        reply = await self._transport.call(_api.ENCODE, request, self._job.options.timeout)
        return lambda: self._job.on_reply(part, reply)

    async def _stream(self, part: Part) -> Callable[[], None]:
        request, ids = self._job.stream_request(part)
        stream = RowStream(request, ids, self._job.options)
        collector = RowCollector()
        rows = self._transport.read_stream(stream, self._job.options.stream_timeout)
        async with contextlib.aclosing(rows):
            async for first_row, block in rows:
                collector.put(stream, first_row, block)
        return lambda: self._job.on_stream(part, collector.take(), stream.done)

    async def take(self, other: asyncio.Task[Any] | None = None) -> None:
        """Waits until a request ends, or the other task, and gives the job what came of it."""
        waited = set(self._open) if other is None else {*self._open, other}
        done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task is other:
                continue
            part = self._open.pop(task)
            try:
                take = task.result()
            except LongwaveError as error:
                self._job.on_error(part, error, self.open)
            else:
                take()
