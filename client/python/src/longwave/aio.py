"""AsyncClient: the client for asyncio, with the names and meanings of Client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from longwave import _api
from longwave._asyncio import AsyncCalls, AsyncTransport, in_thread
from longwave._base import ClientBase
from longwave._inputs import Prepared, as_list, check_ordered, is_single
from longwave._job import EncodeJob
from longwave._options import Options, TruncationInput
from longwave._progress import ProgressBar
from longwave._rows import Progress
from longwave._windows import Windows
from longwave.errors import LongwaveError
from longwave.late_chunking import Chunks
from longwave.results import Estimate, Item, ModelInfo, RowBlock, SequenceInput
from longwave.tokenizers import AlphabetTokenizer, ByteTokenizer

_END = object()
_LATER = object()
# What is shorter costs less to tokenize than the way to a thread and back is worth.
_INLINE_CHARACTERS = 4096
# Tokens after which reading a plain iterable lets the event loop have a turn.
_TURN_TOKENS = 4096
_Made = TypeVar("_Made")


def _characters(sentences: Any) -> int:
    """Of texts among these sequences, or of the one that they are."""
    if isinstance(sentences, str):
        return len(sentences)
    if is_single(sentences):
        return 0
    return sum(len(value) for value in sentences if isinstance(value, str))


class AsyncClient(ClientBase):
    """A connection to Longwave servers, for one event loop at a time.

    It connects at the first call, and pickles as Client does. Cancelling a task that waits for a
    call cancels its requests, also on the server. Long texts for a tokenizer of the caller's are
    tokenized in threads, four at most, which such a tokenizer must be ready for.
    """

    def _open(self) -> None:
        self._transport = AsyncTransport(
            self._target, self._credentials, self._channel_options, self._metadata
        )

    async def close(self) -> None:
        """Ends the connection; calls under way end with Cancelled."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def info(self) -> ModelInfo:
        """As Client.info."""
        return await self._ask_model(self._timeout)

    async def _ask_model(self, timeout: float | None) -> ModelInfo:
        reply = await self._transport.call(_api.GET_MODEL, self._model_request(), timeout)
        return self._learn(reply.model)

    async def _model(self, options: Options) -> ModelInfo:
        return self._known_model or await self._ask_model(options.timeout)

    async def health(self) -> bool:
        """As Client.health."""
        request = _api.HealthCheckRequest(service=_api.SERVICE)
        try:
            reply = await self._transport.call(_api.HEALTH, request, self._timeout)
        except LongwaveError as error:
            if self._means_unhealthy(error):
                return False
            raise
        return self._is_serving(reply)

    async def get_sentence_embedding_dimension(self) -> int:
        """As Client.get_sentence_embedding_dimension."""
        return (self._known_model or await self.info()).dim

    async def estimate(
        self,
        sequences: Any,
        *,
        pooling: str | None = None,
        precision: str = "float32",
        layers: Sequence[int] | None = None,
        truncate_dim: int | None = None,
        priority: str | None = None,
    ) -> Estimate:
        """As Client.estimate."""
        options = self._options(
            pooling=pooling,
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            priority=priority,
        )
        if self._counts_tokens(sequences):
            model = await self._model(options)
            if not is_single(sequences):
                sequences = as_list(sequences)  # of what can be read but once
            lengths = await self._tokenized(sequences, lambda: self._lengths(sequences, model))
        else:
            lengths = self._lengths(sequences, None)
        request = self._estimate_request(options, lengths)
        return self._estimate(await self._transport.call(_api.ESTIMATE, request, options.timeout))

    async def encode(
        self,
        sentences: Any,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        precision: str = "float32",
        truncate_dim: int | None = None,
        pooling: str | None = None,
        spans: Any = None,
        layers: Sequence[int] | None = None,
        convert_to_numpy: bool = True,
        prompt: str | None = None,
        truncation: TruncationInput = None,
        priority: str | None = None,
        timeout: float | None = None,
        errors: str = "raise",
    ) -> Any:
        """As Client.encode."""
        options = self._options(
            pooling=pooling,
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
            truncation=truncation,
            priority=priority,
            timeout=timeout,
            batch_size=batch_size,
            spans=spans,
        )
        model = await self._model(options)
        if not is_single(sentences):
            sentences = as_list(sentences)  # of what can be read but once
        call = await self._tokenized(
            sentences,
            lambda: self._new_call(
                model, options, sentences, spans, prompt, convert_to_numpy, errors
            ),
        )
        with ProgressBar(call.total_tokens, show_progress_bar) as bar:
            await self._run(call.job, bar.update)
        return call.result()

    async def encode_tokens(
        self,
        sentences: Any,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool | None = None,
        precision: str = "float32",
        truncate_dim: int | None = None,
        layers: Sequence[int] | None = None,
        prompt: str | None = None,
        truncation: TruncationInput = None,
        priority: str | None = None,
        timeout: float | None = None,
        errors: str = "raise",
    ) -> Any:
        """As Client.encode_tokens."""
        return await self.encode(
            sentences,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=normalize_embeddings,
            precision=precision,
            truncate_dim=truncate_dim,
            pooling="none",
            layers=layers,
            prompt=prompt,
            truncation=truncation,
            priority=priority,
            timeout=timeout,
            errors=errors,
        )

    def encode_iter(
        self,
        sentences: Iterable[SequenceInput] | AsyncIterable[SequenceInput],
        *,
        batch_size: int | None = None,
        normalize_embeddings: bool | None = None,
        precision: str = "float32",
        truncate_dim: int | None = None,
        pooling: str | None = None,
        layers: Sequence[int] | None = None,
        prompt: str | None = None,
        truncation: TruncationInput = None,
        priority: str | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Item, None]:
        """As Client.encode_iter, of an iterable or an asynchronous one.

        Where an asynchronous source pauses and nothing is under way, what it has given so far is
        sent: elements that come one by one need no batch_size. Leave the iterator before its end
        through contextlib.aclosing.
        """
        options = self._options(
            pooling=pooling,
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
            truncation=truncation,
            priority=priority,
            timeout=timeout,
            batch_size=batch_size,
        )
        check_ordered(sentences)
        return self._iterate(_Source(sentences), options, prompt)

    async def _iterate(
        self, source: _Source, options: Options, prompt: str | None
    ) -> AsyncGenerator[Item, None]:
        windows = Windows(await self._model(options), options)
        read = 0  # tokens since others had their turn
        async with AsyncCalls(self._transport, windows.job) as calls, source:
            while not windows.finished:
                while windows.wants_more and (value := source.take()) is not _LATER:
                    if value is _END:
                        windows.end()
                    else:
                        windows.push(await self._prepare_next(windows, value, prompt))
                        read += windows.last_tokens
                        if read >= _TURN_TOKENS:  # an iterable that never waits lets nobody else
                            read = 0
                            await asyncio.sleep(0)
                    calls.send()
                if not calls.open:
                    windows.flush()
                    calls.send()
                # An element that nobody would take yet must not end the wait for an answer.
                pause = source.waiting if windows.wants_more else None
                if calls.open or pause is not None:
                    await calls.take(pause)
                calls.send()
                self._distrust(windows.job)
                for item in windows.ready():
                    yield item

    async def _prepare_next(self, windows: Windows, value: Any, prompt: str | None) -> Prepared:
        return await self._tokenized(
            [value], lambda: self._prepare([value], windows.model, prompt, windows.next_index)
        )

    def stream_rows(
        self,
        sequence: SequenceInput,
        *,
        precision: str = "float32",
        layers: Sequence[int] | None = None,
        start_row: int = 0,
        fingerprint: str | None = None,
        progress: Progress | None = None,
        normalize_embeddings: bool | None = None,
        truncate_dim: int | None = None,
        priority: str | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[RowBlock, None]:
        """As Client.stream_rows. Leave it before its end through contextlib.aclosing."""
        options = self._options(
            pooling="none",
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
            priority=priority,
            timeout=timeout,
        )
        return self._blocks(sequence, options, start_row, progress, fingerprint)

    async def _blocks(
        self,
        sequence: SequenceInput,
        options: Options,
        start_row: int,
        progress: Progress | None,
        fingerprint: str | None,
    ) -> AsyncGenerator[RowBlock, None]:
        model = await self._model(options)
        stream = await self._tokenized(
            sequence,
            lambda: self._new_stream(model, options, sequence, start_row, progress, fingerprint),
        )
        rows = self._transport.read_stream(stream, options.stream_timeout)
        async with contextlib.aclosing(rows):
            async for first_row, block in rows:
                values = block.embedding(0, len(block.values))
                yield RowBlock(first_row, values, stream.fingerprint)

    async def encode_chunks(
        self,
        document: str,
        chunks: Chunks,
        *,
        normalize_embeddings: bool | None = None,
        precision: str = "float32",
        truncate_dim: int | None = None,
        layers: Sequence[int] | None = None,
        priority: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As Client.encode_chunks."""
        options = self._options(
            pooling="spans",
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
            priority=priority,
            timeout=timeout,
            spans=chunks,
        )
        model = await self._model(options)
        call = await self._tokenized(
            document, lambda: self._new_chunk_call(model, options, document, chunks)
        )
        await self._run(call.job, lambda done: None)
        return call.result()

    async def _tokenized(self, texts: Any, make: Callable[[], _Made]) -> _Made:
        """What `make` makes, which tokenizes `texts`, without holding up the event loop: with a
        tokenizer from a file that takes about a second for a million characters."""
        fast = type(self._tokenizer) in (type(None), AlphabetTokenizer, ByteTokenizer)
        if fast or _characters(texts) < _INLINE_CHARACTERS:
            return make()
        return await in_thread(make)

    async def _run(self, job: EncodeJob, update: Callable[[int], None]) -> None:
        try:
            async with AsyncCalls(self._transport, job) as calls:
                calls.send()
                while calls.open:
                    await calls.take()
                    update(job.finished)
                    calls.send()
        finally:
            self._distrust(job)


class _Source:
    """Elements of an iterable, or of an asynchronous one without waiting for it."""

    def __init__(self, elements: Iterable[Any] | AsyncIterable[Any]) -> None:
        # The task that waits for the next element; None: take() has one at once.
        self.waiting: asyncio.Task[Any] | None = None
        self._later = elements.__aiter__() if isinstance(elements, AsyncIterable) else None
        self._now = None if isinstance(elements, AsyncIterable) else iter(elements)

    def take(self) -> Any:
        """The next element, _END after the last, _LATER if it is not there yet."""
        if self._now is not None:
            return next(self._now, _END)
        if self.waiting is None:
            self.waiting = asyncio.ensure_future(self._next())
        if not self.waiting.done():
            return _LATER
        task, self.waiting = self.waiting, None
        return task.result()

    async def _next(self) -> Any:
        assert self._later is not None
        try:
            return await self._later.__anext__()
        except StopAsyncIteration:
            return _END

    async def __aenter__(self) -> _Source:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            await asyncio.wait({self.waiting})
