"""Which sequences travel together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longwave._options import POOLINGS, Options
from longwave.results import ModelInfo

# Room for the fields beside ids and rows: SequenceInfo, lengths, names.
_FIXED_BYTES = 64 << 10
_SEQUENCE_BYTES = 32
_SPAN_BYTES = 20
# From here on a sequence travels by EncodeStream even where a unary call could hold it: it may take
# longer than unary calls are given, and its rows and its progress come as they are.
STREAM_TOKENS = 131_072
# Tokens of a request, unless the caller says: see client/options.h for why not more, and
# tests/bench/python_client.py for how little it matters.
DEFAULT_BATCH_TOKENS = 1 << 15
_NO_LIMIT = 1 << 62


@dataclass
class Part:
    """Sequences of a call, by their numbers, that travel as one request."""

    indices: list[int]
    tokens: int
    stream: bool = False


def row_bytes(options: Options, model: ModelInfo) -> int:
    """Bytes of one row of the reply."""
    width = (options.truncate_dim or model.dim) * max(1, len(options.layers))
    if options.precision in ("binary", "ubinary"):
        return (width + 7) // 8
    if options.precision == "int8":
        return width + 4
    return width * (4 if options.precision == "float32" else 2)


class Planner:
    """Cuts lists of sequences into requests within the limits that the model's server publishes."""

    def __init__(self, options: Options, model: ModelInfo) -> None:
        limits = model.limits
        self._all_rows = options.pooling == POOLINGS["none"]
        self._row_bytes = row_bytes(options, model)
        # The wire width of ids is not known before they are packed: assume the vocabulary's.
        vocabulary = model.vocab_size
        self._id_bytes = 1 if 0 < vocabulary <= 0x100 else 2 if 0 < vocabulary <= 0x10000 else 4
        self._max_receive = limits.max_receive_message_bytes or _NO_LIMIT
        self._max_reply = limits.max_unary_reply_bytes or _NO_LIMIT
        self._max_request_tokens = limits.max_tokens_per_request or _NO_LIMIT
        self._max_sequences = min(
            limits.max_sequences_per_request or _NO_LIMIT, options.batch_size or _NO_LIMIT
        )
        self.batch_tokens = min(
            options.batch_tokens, self._max_request_tokens, self._max_receive // self._id_bytes
        )

    def needs_stream(self, tokens: int, spans: int) -> bool:
        """Whether a sequence is too long for a unary request or reply, alone."""
        request = tokens * self._id_bytes + spans * _SPAN_BYTES + _FIXED_BYTES
        rows = tokens if self._all_rows else max(1, spans)
        return (
            tokens >= STREAM_TOKENS
            or tokens > self._max_request_tokens
            or request > self._max_receive
            or rows * self._row_bytes > self._max_reply
        )

    def plan(
        self,
        indices: Sequence[int],
        lengths: Sequence[int],
        spans: Sequence[int] | None,
        in_order: bool,
    ) -> list[Part]:
        """Parts for sequences of these lengths (and numbers of spans).

        Sequences of like length ride together, the longest first, so that what is computed last is
        short; the sort is stable. With `in_order` they stay as they are.
        """
        places = (
            range(len(lengths)) if in_order else np.argsort(-np.asarray(lengths), kind="stable")
        )
        parts: list[Part] = []
        current: Part | None = None
        reply = 0
        for place in places:
            tokens = lengths[place]
            rows = tokens if self._all_rows else spans[place] if spans else 1
            if self.needs_stream(tokens, spans[place] if spans else 0):
                parts.append(Part([indices[place]], tokens, stream=True))
                current = None
                continue
            bytes_back = rows * self._row_bytes + _SEQUENCE_BYTES
            # A sequence that fits a request alone gets one, whatever the part's own bounds say.
            if (
                current is None
                or len(current.indices) >= self._max_sequences
                or current.tokens + tokens > self.batch_tokens
                or reply + bytes_back + _FIXED_BYTES > self._max_reply
            ):
                current = Part([], 0)
                parts.append(current)
                reply = 0
            current.indices.append(indices[place])
            current.tokens += tokens
            reply += bytes_back
        return parts
