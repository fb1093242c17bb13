"""The relative bias b(o) of offsets o = j - i (key minus query), one head at a time."""

import dataclasses

import numpy as np


def t5_starts(half, max_distance):
    """The smallest distance of each bucket of one direction, in exact integer arithmetic.

    The first half // 2 buckets hold one distance each. From there bucket k of the K others starts
    at the smallest n with n / single >= (max_distance / single) ** (k / K).
    """
    single = half // 2
    wide = half - single
    starts = list(range(single))
    for k in range(wide):
        low, high = single, max(max_distance, single)
        while low < high:
            n = (low + high) // 2
            if n**wide * single**k >= max_distance**k * single**wide:
                high = n
            else:
                low = n + 1
        starts.append(low)
    return np.array(starts)


def t5_buckets(offsets, num_buckets, max_distance, causal):
    """Bucket of each offset: keys up to the query in the lower half, keys after it in the upper.

    Causal: all buckets look back, keys after the query share bucket 0 (and are never seen).
    """
    half = num_buckets if causal else num_buckets // 2
    distance = np.maximum(-offsets, 0) if causal else np.abs(offsets)
    bucket = np.searchsorted(t5_starts(half, max_distance), distance, side="right") - 1
    return bucket if causal else bucket + np.where(offsets > 0, half, 0)


@dataclasses.dataclass
class HeadBias:
    """b of one head. Beyond `reach` it is constant on each side, or falls by `slope` a step."""

    near: np.ndarray  # b(o) for o in [-reach, reach]
    slope: float = 0.0
    causal: bool = False

    @property
    def reach(self):
        return len(self.near) // 2

    def at(self, offsets):
        inside = np.clip(offsets, -self.reach, self.reach)
        b = self.near[inside + self.reach] - self.slope * (np.abs(offsets) - np.abs(inside))
        return np.where(offsets > 0, -np.inf, b) if self.causal else b

    def reversed(self):
        """b(-o)."""
        return HeadBias(self.near[::-1], self.slope, self.causal)

    def table(self, n):
        """b(o) for o in (-n, n)."""
        return self.at(np.arange(1 - n, n))


def head_biases(config, stored):
    """One HeadBias for each head. `stored`: the tensor, or None for kind "none"."""
    attention = config.get("attention", {})
    causal = attention.get("causal", False)
    bias = attention.get("bias", {"kind": "none"})
    heads = config["num_attention_heads"]
    kind = bias.get("kind", "none")
    if kind == "none":
        return [HeadBias(np.zeros(1), causal=causal)] * heads
    if kind == "alibi":
        return [HeadBias(np.zeros(1), slope=float(s), causal=causal) for s in stored]
    if kind in ("table", "clipped"):  # 2 reach + 1 offsets from the most negative on
        return [HeadBias(row, causal=causal) for row in stored]
    if kind == "t5":
        buckets, distance = bias.get("num_buckets", 32), bias.get("max_distance", 128)
        offsets = np.arange(-distance, distance + 1)
        index = t5_buckets(offsets, buckets, distance, causal)
        return [HeadBias(row[index], causal=causal) for row in stored]
    raise ValueError(f"bias kind {kind} is not one of none, table, clipped, t5, alibi")
