"""A line on standard error that says how far a call is."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_FIRST_DRAWN_AFTER = 1.0  # seconds: a call that is shorter needs no line
_BETWEEN = 0.2
_WIDTH = 30


def render(done: int, total: int, elapsed: float) -> str:
    """ "encode  42 % [####      ]  12 s, 16 s left": one line, below 80 characters."""
    share = min(1.0, done / total) if total else 1.0
    filled = int(share * _WIDTH)
    bar = "#" * filled + " " * (_WIDTH - filled)
    left = f", {elapsed * (1 - share) / share:.0f} s left" if 0 < share < 1 else ""
    return f"encode {share:4.0%} [{bar}] {elapsed:.0f} s{left}"


class ProgressBar:
    """Draws on a terminal; on anything else, or where `wanted` is False, nothing.

    As a context manager it takes its line away at the end.
    """

    def __init__(self, total: int, wanted: bool | None, stream: TextIO | None = None) -> None:
        """`wanted` None: after a second, on a terminal; True: at once, whatever the stream is."""
        self._stream = stream if stream is not None else sys.stderr
        terminal = self._stream is not None and self._stream.isatty()
        self._enabled = wanted or (wanted is None and terminal)
        self._total = total
        self._begin = time.monotonic()
        self._next = self._begin + (0.0 if wanted else _FIRST_DRAWN_AFTER)
        self._drawn = 0

    def update(self, done: int) -> None:
        now = time.monotonic()
        if not self._enabled or now < self._next:
            return
        self._next = now + _BETWEEN
        text = render(done, self._total, now - self._begin)
        self._stream.write("\r" + text.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(text)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._stream.flush()
