"""Rows of replies as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from longwave.errors import data_loss
from longwave.results import Array, Embedding, Quantized

try:
    from ml_dtypes import bfloat16 as _bfloat16

    BFLOAT16: Any = np.dtype(_bfloat16)
except ImportError:
    # The same 16 bits: the upper half of a float32.
    BFLOAT16 = np.dtype("<u2")

_DTYPES: dict[str, Any] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": BFLOAT16,
    "int8": np.dtype("i1"),
    "binary": np.dtype("u1"),
    "ubinary": np.dtype("u1"),
}


@dataclass(frozen=True)
class Block:
    """Rows: values [rows, width]; of int8 also scales, float32 [rows]."""

    values: Array
    scales: Array | None

    def embedding(self, begin: int, end: int) -> Embedding:
        """A copy of some rows, so that no reader of one keeps a whole reply in memory."""
        return _embedding(self.values[begin:end].copy(), self._some_scales(slice(begin, end)))

    def vector(self, row: int) -> Embedding:
        """A copy of one row, [width]."""
        return _embedding(self.values[row].copy(), self._some_scales(row))

    def _some_scales(self, where: Any) -> Array | None:
        return None if self.scales is None else np.array(self.scales[where], np.float32)


def _embedding(values: Array, scales: Array | None) -> Embedding:
    return values if scales is None else Quantized(values, scales)


def decode_block(message: Any, precision: str, dtype: int) -> Block:
    """An EmbeddingBlock as a view of its bytes (read-only).

    Raises:
        LongwaveError: DATA_LOSS, its parts do not fit together or are not what was asked for.
    """
    kind = _DTYPES[precision]
    rows, dim = message.rows, message.dim
    packed = precision in ("binary", "ubinary")
    width = (dim + 7) // 8 if packed else dim
    data = message.data
    if message.dtype != dtype or len(data) != rows * width * kind.itemsize:
        raise data_loss(
            f"a reply has {len(data)} bytes of type {message.dtype} for {rows} rows of {dim} "
            f"values of type {dtype}"
        )
    values = np.frombuffer(data, kind).reshape(rows, width)
    if precision == "binary":
        values = (values ^ 0x80).view(np.int8)  # minus 128
    if precision != "int8":
        return Block(values, None)
    scales = np.array(message.scales, np.float32)
    if len(scales) != rows:
        raise data_loss(f"a reply has {len(scales)} scales for {rows} rows")
    return Block(values, scales)


class Sink(Protocol):
    """Where rows of replies go. Replies come in any order."""

    def put(self, indices: Sequence[int], rows: Sequence[int], block: Block) -> None:
        """Takes the rows of these sequences, which lie in `block` one sequence after the other."""
        ...


class DenseSink:
    """One vector of each of `count` sequences, as one array."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._values: Array | None = None
        self._scales: Array | None = None

    def put(self, indices: Sequence[int], rows: Sequence[int], block: Block) -> None:
        if len(block.values) != len(indices) or any(count != 1 for count in rows):
            raise data_loss(f"{len(block.values)} rows came for {len(indices)} sequences")
        if self._values is None:
            self._values = np.empty((self._count, block.values.shape[1]), block.values.dtype)
            if block.scales is not None:
                self._scales = np.empty(self._count, np.float32)
        if self._values.shape[1] != block.values.shape[1]:
            raise data_loss(
                f"replies of one call have {self._values.shape[1]} and {block.values.shape[1]} "
                "values a row"
            )
        where = np.asarray(indices)
        self._values[where] = block.values
        if self._scales is not None:
            self._scales[where] = block.scales

    def take(self, width: int, precision: str) -> Embedding:
        """All vectors. `width`: of a vector in values, used where there was none to see."""
        if self._values is not None:
            return _embedding(self._values, self._scales)
        packed = precision in ("binary", "ubinary")
        kind = np.dtype(np.int8) if precision == "binary" else _DTYPES[precision]
        empty = np.empty((0, (width + 7) // 8 if packed else width), kind)
        return _embedding(empty, np.empty(0, np.float32) if precision == "int8" else None)


class ListSink:
    """Vectors or rows of each sequence, as arrays of their own, until somebody takes them."""

    def __init__(self, many_rows: bool) -> None:
        self._many_rows = many_rows
        self._entries: dict[int, Embedding] = {}

    def put(self, indices: Sequence[int], rows: Sequence[int], block: Block) -> None:
        if sum(rows) != len(block.values):
            raise data_loss(f"{len(block.values)} rows came for {sum(rows)} of the sequences")
        begin = 0
        for index, count in zip(indices, rows):
            if self._many_rows:
                self._entries[index] = block.embedding(begin, begin + count)
            elif count == 1:
                self._entries[index] = block.vector(begin)
            else:
                raise data_loss(f"{count} rows came for one vector")
            begin += count

    def take(self, index: int) -> Embedding | None:
        """What there is of a sequence; it is forgotten here."""
        return self._entries.pop(index, None)
