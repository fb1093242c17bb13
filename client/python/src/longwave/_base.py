"""What both clients do without input and output."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from longwave import _api, _channel
from longwave._decode import DenseSink, ListSink
from longwave._inputs import Prepared, as_list, is_single, needs_tokenizer, prepare
from longwave._job import EncodeJob
from longwave._options import (
    PRECISIONS,
    PRIORITIES,
    Options,
    TruncationInput,
    check_spans,
    choose,
    pooling_of,
    positive,
    timeout_of,
    truncation_of,
)
from longwave._plan import DEFAULT_BATCH_TOKENS
from longwave._rows import Progress, RowStream
from longwave.errors import InvalidArgument, LongwaveError
from longwave.late_chunking import Chunks, plan_chunks
from longwave.results import (
    EncodeResult,
    Estimate,
    ModelInfo,
    Quantized,
    SequenceInput,
    Tls,
    route_names,
)
from longwave.tokenizers import Tokenizer, tokenizer_for


class EncodeCall:
    """One call of encode: its job, and the shape in which the caller gets the result."""

    def __init__(
        self, model: ModelInfo, options: Options, single: bool, as_array: bool, errors: str
    ) -> None:
        choose("errors", errors, {"raise": None, "return": None})
        self._return_errors = errors == "return"
        self._single = single
        self._as_array = as_array
        self._width = (options.truncate_dim or model.dim) * max(1, len(options.layers))
        self._precision = options.precision
        self.total_tokens = 0
        self._count = 0
        self._dense: DenseSink | None = None
        self._list = ListSink(options.many_rows)
        self._options = options
        self._model = model
        self.job: EncodeJob

    def begin(self, prepared: Prepared, spans: Any) -> None:
        """Plans the requests. LongwaveError: with errors="raise", a sequence that has no ids."""
        self._count = len(prepared.sequences)
        checked = None if spans is None else check_spans(spans, self._count, self._single)
        if not (self._options.many_rows or self._return_errors):
            self._dense = DenseSink(self._count)
        sink = self._dense or self._list
        self.job = EncodeJob(self._options, self._model, sink, keep_going=self._return_errors)
        self.job.add(prepared, checked)
        self.total_tokens = sum(part.tokens for part in self.job.waiting)

    def begin_empty(self) -> None:
        """A call with nothing to ask for, whose result is [0, dim]."""
        self._single = False
        self._dense = DenseSink(0)
        self.job = EncodeJob(self._options, self._model, self._dense, keep_going=False)

    def result(self) -> Any:
        """What encode returns, once all parts are done."""
        if self._dense is not None:
            whole = self._dense.take(self._width, self._precision)
            if self._single:
                return whole[0]
            return whole if self._as_array else [whole[row] for row in range(len(whole))]
        entries = [self._list.take(index) for index in range(self._count)]
        if not self._return_errors:
            return entries[0] if self._single else entries
        tokens = [self.job.tokens.get(index, 0) for index in range(self._count)]
        return EncodeResult(entries, self.job.errors, tokens, self.job.model_digest)


class ClientBase:
    """Arguments, options, planning and results of a client."""

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        api_key: str | None = None,
        tls: Tls | None = None,
        model: str = "",
        model_version: str = "",
        tokenizer: Tokenizer | None = None,
        timeout: float | None = 30.0,
        priority: str = "interactive",
        max_in_flight: int = 4,
        batch_tokens: int | None = None,
        service_config: str | None = None,
        channel_options: Sequence[tuple[str, Any]] = (),
        allow_plaintext_key: bool = False,
    ) -> None:
        """
        Args:
            target: as gRPC names targets: "host:port", "unix:path"; replicas: "dns:///name:port" or
                "ipv4:10.0.0.1:50051,10.0.0.2:50051", which are called in turn.
            api_key: sent with each call as `authorization: Bearer KEY`. Only over TLS or within
                this machine, unless allow_plaintext_key.
            tls: None: plaintext.
            model, model_version: which must be served; empty: whatever is.
            tokenizer: for texts. None: by the model's tokenizer_kind, where that says it all (byte,
                dna, protein).
            timeout: seconds for each request, retries included; None: no deadline. Sequences that
                travel by EncodeStream have none unless a call asks for one. A timeout in a
                service_config of your own holds besides.
            priority: "interactive" or "batch".
            max_in_flight: requests that one call may have open at once.
            batch_tokens: about how many tokens go into a request; None: 32 768, or less where the
                server's limits are lower.
            service_config: JSON, as gRPC defines it; None: the shipped one, with retries.
            channel_options: of gRPC; they win over the client's own.
            allow_plaintext_key: let the key cross a network unencrypted.

        Raises:
            ValueError: an argument is outside what is said here.
        """
        # What the client pickles as.
        self._arguments: dict[str, Any] = {
            "target": target,
            "api_key": api_key,
            "tls": tls,
            "model": model,
            "model_version": model_version,
            "tokenizer": tokenizer,
            "timeout": timeout,
            "priority": priority,
            "max_in_flight": max_in_flight,
            "batch_tokens": batch_tokens,
            "service_config": service_config,
            "channel_options": tuple(channel_options),
            "allow_plaintext_key": allow_plaintext_key,
        }
        if not target:
            raise ValueError("target: is empty")
        self._target = target
        self._metadata = _channel.call_metadata(target, api_key, tls, allow_plaintext_key)
        self._channel_options = _channel.channel_options(target, service_config, channel_options)
        self._credentials = _channel.credentials(tls)
        self._model_name = model
        self._model_version = model_version
        self._tokenizer = tokenizer
        self._timeout = timeout_of(timeout, None)
        self._priority = choose("priority", priority, PRIORITIES)
        self._max_in_flight = positive("max_in_flight", max_in_flight)
        self._batch_tokens = (
            DEFAULT_BATCH_TOKENS if batch_tokens is None else positive("batch_tokens", batch_tokens)
        )
        self._known_model: ModelInfo | None = None
        self._checked_tokenizer: tuple[ModelInfo, Tokenizer] | None = None
        self._open()

    def _open(self) -> None:
        """Sets up what the kind of client needs; connects to nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        ClientBase.__init__(self, **state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    # The model.

    def _model_request(self) -> Any:
        return _api.GetModelRequest(model=self._model_name, model_version=self._model_version)

    def _learn(self, model: Any) -> ModelInfo:
        self._known_model = ModelInfo.from_message(model)
        return self._known_model

    def _distrust(self, job: EncodeJob) -> None:
        """Has the model asked for again, where answers contradict what was said of it."""
        if job.stale:
            self._known_model = None

    def _tokenizer_of(self, model: ModelInfo) -> Tokenizer:
        """The tokenizer for texts to this model.

        Raises:
            InvalidArgument: there is none, or the caller's is not the model's.
        """
        if self._checked_tokenizer is not None and self._checked_tokenizer[0] is model:
            return self._checked_tokenizer[1]
        kind, fingerprint = model.tokenizer_kind, model.tokenizer_fingerprint
        tokenizer = self._tokenizer or tokenizer_for(kind, fingerprint)
        if tokenizer is None:
            raise InvalidArgument(
                f"the model's tokenizer is of kind {kind!r}, which a client must be given: "
                "Client(tokenizer=...)",
                reason="TOKENIZER_UNKNOWN",
                field="tokenizer",
                value="None",
                limit=kind,
            )
        for field, ours, theirs in (
            ("tokenizer_kind", tokenizer.kind, kind),
            ("tokenizer_fingerprint", tokenizer.fingerprint, fingerprint),
        ):
            if ours and theirs and ours != theirs:
                raise InvalidArgument(
                    f"the tokenizer is not the model's; {field} = {ours}, the model has {theirs}",
                    reason="INVALID_FIELD",
                    field=field,
                    value=ours,
                    limit=theirs,
                )
        self._checked_tokenizer = (model, tokenizer)
        return tokenizer

    # Calls.

    def _options(
        self,
        *,
        precision: str,
        layers: Sequence[int] | None,
        truncate_dim: int | None,
        priority: str | None,
        pooling: str | None = None,
        spans: Any = None,
        normalize: bool | None = None,
        truncation: TruncationInput = None,
        timeout: float | None = None,
        batch_size: int | None = None,
    ) -> Options:
        """A call's arguments, checked. InvalidArgument: one is outside its range."""
        choose("precision", precision, PRECISIONS)
        return Options(
            model=self._model_name,
            model_version=self._model_version,
            pooling=pooling_of(pooling, spans),
            layers=tuple(int(layer) for layer in layers or ()),
            precision=precision,
            normalize=normalize,
            truncate_dim=0 if truncate_dim is None else positive("truncate_dim", truncate_dim),
            truncation=truncation_of(truncation),
            priority=choose("priority", priority, PRIORITIES) if priority else self._priority,
            timeout=timeout_of(timeout, self._timeout),
            stream_timeout=timeout_of(timeout, None),
            batch_size=None if batch_size is None else positive("batch_size", batch_size),
            batch_tokens=self._batch_tokens,
            max_in_flight=self._max_in_flight,
        )

    def _prepare(
        self, inputs: Sequence[Any], model: ModelInfo, prompt: str | None, first: int = 0
    ) -> Prepared:
        tokenizer = self._tokenizer_of(model) if needs_tokenizer(inputs) else None
        return prepare(inputs, tokenizer, prompt, first)

    def _new_call(
        self,
        model: ModelInfo,
        options: Options,
        sentences: Any,
        spans: Any,
        prompt: str | None,
        convert_to_numpy: bool,
        errors: str,
    ) -> EncodeCall:
        single = is_single(sentences)
        call = EncodeCall(model, options, single, convert_to_numpy, errors)
        inputs = [sentences] if single else as_list(sentences)
        call.begin(self._prepare(inputs, model, prompt), spans)
        return call

    def _new_stream(
        self,
        model: ModelInfo,
        options: Options,
        sequence: SequenceInput,
        start_row: int,
        progress: Progress | None,
        fingerprint: str | None,
    ) -> RowStream:
        if not is_single(sequence):
            raise TypeError("sequence: one text or one list of token ids")
        if start_row < 0:
            raise ValueError(f"start_row = {start_row}, needs 0 or more")
        job = EncodeJob(options, model, ListSink(True), keep_going=False)
        prepared = self._prepare([sequence], model, None)
        job.add(prepared)
        request, ids = job.stream_request(job.waiting[0])
        return RowStream(request, ids, options, start_row, progress, fingerprint=fingerprint)

    def _new_chunk_call(
        self, model: ModelInfo, options: Options, document: str, chunks: Chunks
    ) -> EncodeCall:
        tokenizer = self._tokenizer_of(model)
        plan = plan_chunks(document, chunks, tokenizer)
        call = EncodeCall(model, options, single=True, as_array=True, errors="raise")
        if plan.spans:
            call.begin(Prepared([plan.ids], tokenizer.fingerprint), plan.spans)
        else:  # a document without chunks has no vectors, and needs no server
            call.begin_empty()
        return call

    # Estimates.

    @staticmethod
    def _counts_tokens(sequences: Any) -> bool:
        """Whether these are sequences, rather than their lengths: a number or a flat list of
        numbers."""
        if isinstance(sequences, numbers.Integral):
            return False
        return isinstance(sequences, (str, bytes)) or not is_single(sequences)

    def _lengths(self, sequences: Any, model: ModelInfo | None) -> list[int]:
        """Tokens of each sequence; without `model` they are given as lengths."""
        if model is None:
            given = [sequences] if isinstance(sequences, numbers.Integral) else sequences
            return [positive("lengths", value) for value in given]
        inputs = [sequences] if is_single(sequences) else as_list(sequences)
        lengths: list[int] = []
        for ids in self._prepare(inputs, model, None).sequences:
            if isinstance(ids, LongwaveError):
                raise ids
            lengths.append(len(ids))
        return lengths

    def _estimate_request(self, options: Options, lengths: list[int]) -> Any:
        request = _api.EstimateEncodeRequest(
            model=self._model_name,
            model_version=self._model_version,
            lengths=lengths,
            priority=options.priority,
        )
        options.fill_output(request.output)
        return request

    def _estimate(self, reply: Any) -> Estimate:
        return Estimate(
            tokens=reply.tokens,
            seconds=reply.predicted_seconds,
            wait_seconds=reply.expected_wait_seconds,
            peak_bytes=reply.peak_bytes,
            slices=reply.slices,
            routes=route_names(reply.routes),
            admissible=reply.admissible,
            reason=reply.reason,
        )

    # Health and vectors.

    @staticmethod
    def _means_unhealthy(error: LongwaveError) -> bool:
        """Whether a failed health check says that the server is not there or not ready, rather than
        that we may not ask."""
        return error.code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.NOT_FOUND,
        )

    @staticmethod
    def _is_serving(reply: Any) -> bool:
        serving: bool = reply.status == _api.HealthCheckResponse.ServingStatus.Value("SERVING")
        return serving

    @staticmethod
    def similarity(a: Any, b: Any) -> npt.NDArray[np.float32]:
        """Cosines of all pairs: [n, dim] and [m, dim] (or [dim], as one) give [n, m], float32.

        Vectors of 8 bits may be Quantized, and uint16 is taken as the bits of bfloat16. A vector of
        zeros is at 0 to all.

        Raises:
            TypeError: other integers, such as packed bits: as numbers they mean nothing.
        """
        left, right = _unit(a), _unit(b)
        return left @ right.T


def _unit(vectors: Any) -> npt.NDArray[np.float32]:
    if isinstance(vectors, Quantized):
        vectors = vectors.dequantize()
    given = np.asarray(vectors)
    if given.dtype == np.uint16:
        given = (given.astype(np.uint32) << 16).view(np.float32)
    elif given.dtype.kind in "iub":
        raise TypeError(
            f"similarity: vectors of {given.dtype} are no numbers to compare: of int8 pass the "
            "Quantized that encode returned, of bits count those that differ"
        )
    rows = np.atleast_2d(np.asarray(given, np.float32))
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms == 0, 1, norms), np.float32)
