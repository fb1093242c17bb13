"""Client: sequences in, embeddings out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from longwave import _api
from longwave._base import ClientBase
from longwave._inputs import check_ordered
from longwave._job import EncodeJob
from longwave._options import Options, TruncationInput
from longwave._progress import ProgressBar
from longwave._rows import Progress, RowStream
from longwave._sync import Calls, Stop, Transport
from longwave._windows import Windows
from longwave.errors import LongwaveError
from longwave.late_chunking import Chunks
from longwave.results import Estimate, Item, ModelInfo, RowBlock, SequenceInput

# Seconds that an element may take to be read before results go out first.
_SLOW_SOURCE = 0.01


class Client(ClientBase):
    """A connection to Longwave servers. Thread-safe; one per process and target is enough.

    It connects at the first call. It pickles as its constructor's arguments (an API key among
    them), so that workers of Ray, Spark or multiprocessing each get a connection of their own; a
    connection does not survive a fork.
    """

    def _open(self) -> None:
        self._transport = Transport(
            self._target, self._credentials, self._channel_options, self._metadata
        )

    def close(self) -> None:
        """Ends the connection; calls under way end with Cancelled."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Calls without sequences.

    def info(self) -> ModelInfo:
        """What the server's model is, takes and promises; asked anew each time."""
        return self._ask_model(self._timeout)

    def _ask_model(self, timeout: float | None) -> ModelInfo:
        request = self._model_request()
        return self._learn(self._transport.call(_api.GET_MODEL, request, timeout).model)

    def _model(self, options: Options) -> ModelInfo:
        """The same, asked once as long as no answer contradicts it."""
        return self._known_model or self._ask_model(options.timeout)

    def health(self) -> bool:
        """Whether the server is there and ready to serve."""
        request = _api.HealthCheckRequest(service=_api.SERVICE)
        try:
            return self._is_serving(self._transport.call(_api.HEALTH, request, self._timeout))
        except LongwaveError as error:
            if self._means_unhealthy(error):
                return False
            raise

    def get_sentence_embedding_dimension(self) -> int:
        """Values of a vector, as sentence-transformers calls it."""
        return (self._known_model or self.info()).dim

    def estimate(
        self,
        sequences: Any,
        *,
        pooling: str | None = None,
        precision: str = "float32",
        layers: Sequence[int] | None = None,
        truncate_dim: int | None = None,
        priority: str | None = None,
    ) -> Estimate:
        """What a call would cost now, without doing it.

        Args:
            sequences: a number of tokens, a list of such, or what encode takes. A flat list of
                integers is lengths.
            pooling, precision, layers, truncate_dim, priority: as of encode.
        """
        options = self._options(
            pooling=pooling,
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            priority=priority,
        )
        model = self._model(options) if self._counts_tokens(sequences) else None
        request = self._estimate_request(options, self._lengths(sequences, model))
        return self._estimate(self._transport.call(_api.ESTIMATE, request, options.timeout))

    # Encoding.

    def encode(
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
        """Embeddings of one sequence or of a list.

        Args:
            sentences: a text, bytes (byte tokenizer only) or token ids; or a list of such.
            batch_size: most sequences of a request; None: as many as fit `batch_tokens`. Requests
                are cut by tokens, and the longest sequences travel first.
            show_progress_bar: on standard error; None: on a terminal, after a second.
            normalize_embeddings: to length 1; None: the model's default.
            precision: "float32", "float16", "bfloat16" (type of ml_dtypes if that is installed,
                else its 16 bits as uint16), "int8" (gives Quantized), "binary" or "ubinary" (one
                bit a value, packed as numpy.packbits: int8 minus 128, or uint8).
            truncate_dim: only the first values of each vector (Matryoshka), before normalisation.
            pooling: "mean", "cls", "last", "max", "none" (all token rows), "spans"; None: the
                model's default.
            spans: a vector for each of these half-open ranges of tokens, [(begin, end), ...]; of a
                list of sequences one such list for each.
            layers: 0 = embeddings, negative from the end; several lie side by side in a vector.
            convert_to_numpy: False: a list of vectors in place of one array.
            prompt: put before each text.
            truncation: "end", "start" or longwave.Truncation: cut what is too long. None: refuse.
                It is ids that are cut: a [SEP] or [CLS] that the tokenizer put there goes first.
            priority: "interactive" or "batch"; None: the client's.
            timeout: seconds for each request; None: the client's; math.inf: none. Sequences of
                131 072 tokens and more have no deadline but this one.
            errors: "return": sequences that fail cost nobody else, and the result is an
                EncodeResult.

        Returns:
            Of one sequence [dim], with spans [spans, dim], with pooling "none" [tokens, dim]; of a
            list [n, dim], or a list of arrays where sequences have several rows. With several
            layers dim is that of all of them together.

        Raises:
            LongwaveError: with errors="raise", the first failure; what is under way is cancelled.
                With errors="return", only what concerns the call as a whole: no server, no right,
                no such model, another model than before.
            TypeError: something is neither text nor ids.
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
            spans=spans,
        )
        call = self._new_call(
            self._model(options), options, sentences, spans, prompt, convert_to_numpy, errors
        )
        with ProgressBar(call.total_tokens, show_progress_bar) as bar:
            self._run(call.job, bar.update)
        return call.result()

    def encode_tokens(
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
        """Every token's row of one sequence, [tokens, dim], or of a list, a list of such arrays.

        Arguments and errors are those of encode. Rows of a sequence that are larger than memory:
        stream_rows.
        """
        return self.encode(
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
        sentences: Iterable[SequenceInput],
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
    ) -> Generator[Item, None, None]:
        """Embeddings of an iterable of any length, in its order.

        At most max_in_flight requests are open, and at most max_in_flight x batch_tokens tokens
        have been read and not yet been yielded, so that memory does not grow. Elements are read
        until they fill a request: for a source that has pauses, batch_size says after how many a
        request is sent all the same.

        An element that fails yields an Item with its error and costs nobody else; `Item.index` of
        the last one says where to go on after an interruption.

        Raises:
            FailedPrecondition: MODEL_CHANGED: the server went over to another model; all items
                before come from one.
            LongwaveError: what concerns the call as a whole: no server, no right, no such model.
            TypeError: an element is neither text nor ids.
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
        return self._iterate(iter(sentences), options, prompt)

    def _iterate(
        self, source: Iterator[SequenceInput], options: Options, prompt: str | None
    ) -> Generator[Item, None, None]:
        windows = Windows(self._model(options), options)
        with Calls(self._transport, windows.job) as calls:
            while not windows.finished:
                waited = 0.0
                # Enough is under way while the caller is busy with what is yielded; but what has
                # come back does not wait for a slow source.
                while windows.wants_more and not (waited > _SLOW_SOURCE and calls.any_done):
                    begin = time.monotonic()
                    self._read_one(windows, source, prompt)
                    waited = time.monotonic() - begin
                    calls.send()
                if calls.open:
                    calls.take_one()
                calls.send()
                self._distrust(windows.job)
                yield from windows.ready()

    def _read_one(self, windows: Windows, source: Iterator[Any], prompt: str | None) -> None:
        try:
            value = next(source)
        except StopIteration:
            windows.end()
        else:
            windows.push(self._prepare([value], windows.model, prompt, windows.next_index))

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
    ) -> Generator[RowBlock, None, None]:
        """Token rows of one sequence, as they are computed: for rows larger than memory.

        Each block's CRC-32C is checked. A stream that breaks is taken up again at the next row, on
        a server with the same fingerprint; FailedPrecondition with reason MODEL_CHANGED if only
        others answer.

        Args:
            start_row: the first row wanted; those before it are computed and not sent.
            fingerprint: RowBlock.fingerprint of the rows before start_row, where an earlier call
                fetched them: rows of any other are refused (MODEL_CHANGED). None: of whatever
                serves.
            progress: called with the share of the computation done, 0 to 1.
            timeout: seconds for the whole; None: no limit.
        """
        options = self._options(
            pooling="none",
            precision=precision,
            layers=layers,
            truncate_dim=truncate_dim,
            normalize=normalize_embeddings,
            priority=priority,
            timeout=timeout,
        )
        stream = self._new_stream(
            self._model(options), options, sequence, start_row, progress, fingerprint
        )
        return self._blocks(stream, options)

    def _blocks(self, stream: RowStream, options: Options) -> Generator[RowBlock, None, None]:
        rows = self._transport.read_stream(stream, options.stream_timeout, Stop())
        with contextlib.closing(rows):
            for first_row, block in rows:
                values = block.embedding(0, len(block.values))
                yield RowBlock(first_row, values, stream.fingerprint)

    def encode_chunks(
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
        """Late chunking: a vector for each chunk of a document, each the mean over its tokens' rows
        of ONE pass over the whole document, so that it knows what surrounds it.

        Args:
            document: the text.
            chunks: (begin, end) in characters of the text, in any order, overlapping or not; or a
                splitter that finds them (longwave.late_chunking).

        Returns:
            [chunks, dim].
        """
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
        call = self._new_chunk_call(self._model(options), options, document, chunks)
        self._run(call.job, lambda done: None)
        return call.result()

    def _run(self, job: EncodeJob, update: Callable[[int], None]) -> None:
        """Sends a job's requests until there are none left."""
        try:
            if len(job.waiting) == 1 and not job.waiting[0].stream:
                self._run_one(job)
            with Calls(self._transport, job) as calls:
                calls.send()
                while calls.open:
                    calls.take_one()
                    update(job.finished)
                    calls.send()
        finally:
            self._distrust(job)

    def _run_one(self, job: EncodeJob) -> None:
        """The only request of a job, in this thread: the way with the least latency."""
        part = job.waiting.popleft()
        try:
            reply = self._transport.call(_api.ENCODE, job.request(part), job.options.timeout)
        except LongwaveError as error:
            job.on_error(part, error)
        else:
            job.on_reply(part, reply)
