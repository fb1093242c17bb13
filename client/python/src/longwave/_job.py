"""One encode call without its input and output: what to send, and what an answer means.

Both clients drive the same job: they take parts off `waiting`, send `request(part)`, and bring back
`on_reply` or `on_error`. A job is used by one thread at a time.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import numpy as np

from longwave import _api
from longwave._decode import Block, Sink, decode_block
from longwave._inputs import Prepared
from longwave._options import Options
from longwave._plan import Part, Planner
from longwave.errors import LongwaveError, data_loss, model_changed
from longwave.results import ModelInfo, SpanInput
from longwave.tokenizers import Ids

# Errors that one sequence brings upon its request, whose field does not say which.
_BLAMED_ON_ONE = {"NON_FINITE", "DEGENERATE_DENOMINATOR", "OUT_OF_MEMORY", "MISSING_FIELD"}
# What no other request of the call would fare better with: the server is not there, or does not do
# this for us. As errors of single sequences they would make failed rows of an outage.
_OF_THE_CALL = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}
_INDEXED_FIELD = re.compile(r"(tokens\.lengths|tokens\.ids|output\.spans)\[(\d+)\]")


def pack(sequences: Iterable[Ids]) -> tuple[bytes, int]:
    """Ids one after the other as they travel, and their ID_WIDTH."""
    entries = list(sequences)
    arrays = [entry for entry in entries if not isinstance(entry, bytes)]
    if not arrays:
        return b"".join(entries), _api.ID_WIDTH["ID_WIDTH_U8"]  # type: ignore[arg-type]
    wide = any(entry.dtype.itemsize > 2 for entry in arrays)
    kind = "<u4" if wide else "<u2"
    whole = np.concatenate(
        [
            np.frombuffer(entry, np.uint8).astype(kind) if isinstance(entry, bytes) else entry
            for entry in entries
        ]
    )
    return whole.astype(kind).tobytes(), _api.ID_WIDTH["ID_WIDTH_U32" if wide else "ID_WIDTH_U16"]


class EncodeJob:
    """The state of one call.

    Attributes:
        waiting: parts that are to be sent.
        errors: of sequences that failed, by their number (with keep_going).
        tokens: how many tokens of each sequence that is done were encoded.
        finished: how many tokens' sequences are done or failed, for showing progress.
        model_digest: of the weights that all rows come from; empty before the first reply.
        max_open: how many requests may be open; less than the caller allows once the server's queue
            was full of this call's own.
        stale: whether an answer contradicted what the server had said about its model.
    """

    def __init__(self, options: Options, model: ModelInfo, sink: Sink, keep_going: bool) -> None:
        self.options = options
        self.waiting: deque[Part] = deque()
        self.errors: dict[int, LongwaveError] = {}
        self.tokens: dict[int, int] = {}
        self.finished = 0
        self.max_open = options.max_in_flight
        self.model_digest = ""
        self.stale = False
        self._model = model
        self._sink = sink
        self._keep_going = keep_going
        self._planner = Planner(options, model)
        self._fingerprint = ""
        self._sequences: dict[int, Ids] = {}
        self._spans: dict[int, list[SpanInput]] = {}

    @property
    def batch_tokens(self) -> int:
        """How many tokens fill a request."""
        return self._planner.batch_tokens

    def add(
        self,
        prepared: Prepared,
        spans: list[list[SpanInput]] | None = None,
        first: int = 0,
        in_order: bool = False,
    ) -> None:
        """Takes sequences first, first + 1, ... into the call."""
        indices: list[int] = []
        lengths: list[int] = []
        for index, ids in enumerate(prepared.sequences, first):
            if isinstance(ids, LongwaveError):
                self._fail(index, ids)
                continue
            self._sequences[index] = ids
            indices.append(index)
            lengths.append(len(ids))
            if spans is not None:
                self._spans[index] = spans[index - first]
        # A model without one could not say whether it is the right one, and its server refuses any.
        if self._model.tokenizer_fingerprint:
            self._fingerprint = self._fingerprint or prepared.fingerprint
        counts = None if spans is None else [len(self._spans[index]) for index in indices]
        self.waiting.extend(self._planner.plan(indices, lengths, counts, in_order))

    def request(self, part: Part) -> Any:
        """The part's EncodeRequest."""
        request = self._request_without_ids(part)
        ids, width = pack(self._sequences[index] for index in part.indices)
        request.tokens.ids = ids
        request.tokens.id_width = width
        return request

    def stream_request(self, part: Part) -> tuple[Any, bytes]:
        """The part's EncodeRequest for StreamOpen, and the ids that follow it."""
        request = self._request_without_ids(part)
        ids, request.tokens.id_width = pack(self._sequences[index] for index in part.indices)
        return request, ids

    def _request_without_ids(self, part: Part) -> Any:
        request = self.options.request(self._fingerprint)
        request.tokens.lengths.extend([len(self._sequences[index]) for index in part.indices])
        for position, index in enumerate(part.indices):
            for begin, end in self._spans.get(index, ()):
                request.output.spans.add(sequence=position, begin=begin, end=end)
        return request

    def on_reply(self, part: Part, response: Any) -> None:
        """Takes an EncodeResponse.

        Raises:
            LongwaveError: it cannot be part of this call's result; with keep_going only if no other
                reply could be either.
        """
        options = self.options
        try:
            block = decode_block(response.embeddings, options.precision, options.dtype)
            self._take(part, response.sequences, block, response)
        except LongwaveError as error:
            self._on_bad_reply(part, error)

    def on_stream(self, part: Part, block: Block, done: Any) -> None:
        """Takes all rows of a sequence that travelled by EncodeStream, and its StreamDone."""
        try:
            self._take(part, done.sequences, block, done)
        except LongwaveError as error:
            self._on_bad_reply(part, error)

    def _on_bad_reply(self, part: Part, error: LongwaveError) -> None:
        if error.reason == "MODEL_CHANGED":
            raise error
        self.on_error(part, error)

    def _take(self, part: Part, infos: Sequence[Any], block: Block, reply: Any) -> None:
        if len(infos) != len(part.indices):
            raise data_loss(f"a reply describes {len(infos)} of {len(part.indices)} sequences")
        self.model_digest = check_digest(self.model_digest, reply.model_digest)
        if reply.execution.fingerprint != self._model.fingerprint:
            self.stale = True
        self._sink.put(part.indices, [info.rows for info in infos], block)
        self.tokens.update(zip(part.indices, [info.tokens_used for info in infos]))
        for index in part.indices:
            self._forget(index)

    def on_error(self, part: Part, error: LongwaveError, others_open: int = 0) -> None:
        """Takes the failure of a part: sends again what is not to blame, or raises.

        Args:
            others_open: how many other requests of the call are open.

        Raises:
            LongwaveError: the call has failed; with keep_going only if all of its requests would.
        """
        if error.retry_after is not None and others_open > 0:
            # Full with this call's other requests, and gRPC's retries were not enough: fewer.
            self.max_open = min(self.max_open, others_open)
            self.waiting.appendleft(part)
            return
        if error.reason == "REQUEST_TOO_LARGE" or error.field == "tokenizer_fingerprint":
            self.stale = True  # the server has been replaced by one with other limits or model
        if error.reason == "REQUEST_TOO_LARGE" and len(part.indices) > 1:
            self._send_again(_halves(part.indices))
            return
        if error.code in _OF_THE_CALL or error.field == "tokenizer_fingerprint":
            raise error
        blamed = 0 if len(part.indices) == 1 else self._find_blamed(part, error)
        if not self._keep_going:
            raise error if blamed is None else with_index(error, part.indices[blamed])
        if blamed is not None:
            self._fail(part.indices[blamed], error)
            self._send_again([part.indices[:blamed] + part.indices[blamed + 1 :]])
        elif error.reason in _BLAMED_ON_ONE:
            self._send_again(_halves(part.indices))
        else:
            for index in part.indices:
                self._fail(index, error)

    def _find_blamed(self, part: Part, error: LongwaveError) -> int | None:
        """Which sequence of a part its error names; None: none."""
        match = _INDEXED_FIELD.match(error.field)
        if match is None:
            return None
        place = int(match.group(2))
        if match.group(1) == "tokens.lengths":
            return place if place < len(part.indices) else None
        sizes = (
            len(self._sequences[index])
            if match.group(1) == "tokens.ids"
            else len(self._spans.get(index, ()))
            for index in part.indices
        )
        for position, end in enumerate(itertools.accumulate(sizes)):
            if place < end:
                return position
        return None

    def _send_again(self, lists: Iterable[list[int]]) -> None:
        for indices in lists:
            if indices:
                tokens = sum(len(self._sequences[index]) for index in indices)
                self.waiting.appendleft(Part(indices, tokens))

    def _fail(self, index: int, error: LongwaveError) -> None:
        if not self._keep_going:
            raise with_index(error, index)
        self.errors[index] = with_index(error, index)
        self._forget(index)

    def _forget(self, index: int) -> None:
        self.finished += len(self._sequences.pop(index, b""))
        if self._spans:
            self._spans.pop(index, None)


def check_digest(first: str, digest: str) -> str:
    """The one digest of a call's replies."""
    if first and digest != first:
        raise model_changed(
            "model_digest",
            digest,
            first,
            "the server's model changed during the call (or replicas have different weights); "
            "vectors of two models must not be mixed: repeat the call",
        )
    return digest


def with_index(error: LongwaveError, index: int) -> LongwaveError:
    """The same error of one sequence of the caller's."""
    if error.index == index:
        return error
    return error.at(index)


def _halves(indices: list[int]) -> list[list[int]]:
    middle = len(indices) // 2
    return [indices[middle:], indices[:middle]]
