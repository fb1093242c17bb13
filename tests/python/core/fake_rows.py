"""What FakeEncoder answers: the rule of model/api/fake_encoder.cc, written from its description.

A row depends on all ids of its sequence, and on which row of it it is, alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DIM = 16
LAYERS = 2
_MASK = 2**64 - 1
MEAN = 1 << 40
MAX = 1 << 41


def _mix(x: int) -> int:
    x = x + 0x9E3779B97F4A7C15 & _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31


def span_row(begin: int, end: int) -> int:
    """The number of the row of a span."""
    return _mix(begin) ^ end


def row(
    ids: Sequence[int],
    number: int = MEAN,
    layers: Sequence[int] = (LAYERS,),
    dim: int = DIM,
    normalize: bool = False,
) -> np.ndarray:
    """float32 [len(layers) * dim]; `number`: a token's position, MEAN, MAX or span_row."""
    seed = len(ids)
    for token in ids:
        seed = _mix(seed ^ token)
    parts = []
    for layer in layers:
        at = _mix(seed ^ _mix(number ^ layer << 48))
        units = [((_mix(at + column) >> 40) - (1 << 23)) * 2.0**-23 for column in range(dim)]
        # One after the other, as the server adds them: the order shows in the last bit.
        squares = 0.0
        for unit in units:
            squares += unit * unit
        scale = 1 / np.sqrt(squares) if normalize else 1.0
        parts.append(np.array(units) * scale)
    return np.concatenate(parts).astype(np.float32)


def rows(ids: Sequence[int], **options) -> np.ndarray:
    """Every token's row, float32 [tokens, dim]."""
    return np.stack([row(ids, number, **options) for number in range(len(ids))])
