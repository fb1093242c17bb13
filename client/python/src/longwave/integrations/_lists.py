"""Vectors as the plain lists that frameworks pass around."""

from __future__ import annotations

from typing import Any


def as_list(vector: Any) -> list[float]:
    """A float vector [dim] as Python floats."""
    values: list[float] = vector.tolist()
    return values


def as_lists(vectors: Any) -> list[list[float]]:
    """Float vectors [n, dim] as lists of Python floats."""
    rows: list[list[float]] = vectors.tolist()
    return rows
