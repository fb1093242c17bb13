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
        id_bytes = 1 if 0 < vocabulary <= 0x100 else 2 if 0 < vocabulary <= 0x10000 else 4
        room = (limits.max_receive_message_bytes or _NO_LIMIT) - _FIXED_BYTES
        # A message that holds spans has half of it for them.
        self._max_spans = room // (2 * _SPAN_BYTES)
        most = min(room // id_bytes, limits.max_tokens_per_request or _NO_LIMIT)
        self._max_unary_tokens = min(most, STREAM_TOKENS - 1)
        self._max_reply = limits.max_unary_reply_bytes or _NO_LIMIT
        self._max_sequences = min(
            limits.max_sequences_per_request or _NO_LIMIT, options.batch_size or _NO_LIMIT
        )
        self.batch_tokens = min(options.batch_tokens, most)

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
        order: Sequence[int] = range(len(lengths))
        if not in_order:
            order = np.argsort(-np.asarray(lengths, np.int64), kind="stable").tolist()
        parts: list[Part] = []
        current: Part | None = None
        reply = 0
        for place in order:
            tokens = lengths[place]
            rows = tokens if self._all_rows else spans[place] if spans else 1
            back = rows * self._row_bytes
            too_long = tokens > self._max_unary_tokens or back > self._max_reply
            if too_long or (spans and rows > self._max_spans):
                parts.append(Part([indices[place]], tokens, stream=True))
                current = None
                continue
            back += _SEQUENCE_BYTES
            # A sequence that fits a request alone gets one, whatever the part's own bounds say.
            if (
                current is None
                or len(current.indices) >= self._max_sequences
                or current.tokens + tokens > self.batch_tokens
                or reply + back + _FIXED_BYTES > self._max_reply
            ):
                current = Part([], 0)
                parts.append(current)
                reply = 0
            current.indices.append(indices[place])
            current.tokens += tokens
            reply += back
        return parts
