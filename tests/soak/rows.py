"""What every part of the soak shares: its flags, its rows, its exit code.

    import rows

    def measure(part: rows.Part) -> None:
        done = rows.Amount(repeats, 50, "drains")
        part.at_most("drain under full load: lost", lost, 0, "calls", done)

    if __name__ == "__main__":
        sys.exit(rows.main("drain", measure))
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
import traceback
from typing import Callable, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

EXIT_MISSED = 1
EXIT_NOT_MEASURED = 3

_PROGRAMS = {
    "LONGWAVE_FAKE_SERVER": "server/longwave-fake-server",
    "LONGWAVE_SERVER": "server/longwave-server",
    "LONGWAVE_MODEL": "models/default",
    "LONGWAVE_CLI": "client/cli/longwave",
    "LONGWAVE_REPLICA_CLIENT": "tests/integration/replica_client",
    "LONGWAVE_METRICS_BENCH": "tests/soak/longwave-metrics-bench",
    "LONGWAVE_BARE_ENCODER": "tests/soak/longwave-bare-encoder",
    "LONGWAVE_ONE_CALLER": "tests/soak/longwave-one-caller",
}


class Amount(NamedTuple):
    """How much a figure was measured with, and how much its row asks for: with less, a bar that is
    held proves too little to be a pass."""

    n: float
    wanted: float  # 0: the row asks for none
    of: str


class NotMeasured(Exception):
    """A row has no figure, and why."""


def program(variable: str) -> str:
    """The path of a program or of the model; NotMeasured if there is none."""
    path = os.environ.get(variable) or str(ROOT / "build" / "release" / _PROGRAMS[variable])
    if not pathlib.Path(path).exists():
        raise NotMeasured(f"{variable}: {path} is not there")
    return path


class Part:
    """One part of the soak at work: how long it may take, and the rows it has printed."""

    def __init__(self, name: str, seconds: float, short: bool):
        self.name = name
        self.seconds = seconds
        self.short = short
        self.rows: list[dict] = []
        self._begin = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that this part still has."""
        return self.seconds - (time.monotonic() - self._begin)

    def say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def at_most(self, row: str, figure: float, limit: float, unit: str,
                amount: Amount | None = None, **detail) -> None:
        self._add(row, figure, limit, unit, "max", figure <= limit, amount, detail)

    def at_least(self, row: str, figure: float, limit: float, unit: str,
                 amount: Amount | None = None, **detail) -> None:
        self._add(row, figure, limit, unit, "min", figure >= limit, amount, detail)

    def contains(self, row: str, low: float, figure: float, high: float, limit: float,
                 unit: str, amount: Amount | None = None, **detail) -> None:
        """The interval [low, high] around the figure must hold the limit."""
        detail = {"low": low, "high": high, **detail}
        self._add(row, figure, limit, unit, "interval", low <= limit <= high, amount, detail)

    def not_measured(self, row: str, problem: str) -> None:
        self.rows.append({"row": row, "figure": None, "pass": False, "problem": problem})
        self._print()

    def _add(self, row, figure, limit, unit, direction, held, amount, detail) -> None:
        short = bool(held and amount and amount.n < amount.wanted)
        self.rows.append(
            {
                "row": row,
                "figure": figure,
                "limit": limit,
                "unit": unit,
                "direction": direction,
                "amount": amount and amount._asdict(),
                "pass": bool(held and not short),
                "short": short,
                "detail": detail,
            }
        )
        self._print()

    def _print(self) -> None:
        print(json.dumps(self.rows[-1]), flush=True)

    def exit_code(self) -> int:
        if any(row["figure"] is None for row in self.rows):
            return EXIT_NOT_MEASURED
        return 0 if all(good_enough(row, self.short) for row in self.rows) else EXIT_MISSED


def good_enough(row: dict, short_run: bool) -> bool:
    """Whether the row lets its run succeed: a short run promises less."""
    return row["pass"] or (short_run and row.get("short", False))


def main(name: str, *measures: Callable[[Part], None]) -> int:
    """Runs the measures one after another; one that fails costs its own rows only."""
    parser = argparse.ArgumentParser(prog=name, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=60, help="about how long it may take")
    parser.add_argument("--short", action="store_true", help="the least that exercises all of it")
    options = parser.parse_args()
    part = Part(name, options.seconds, options.short)
    for measure in measures:
        try:
            measure(part)
        except NotMeasured as reason:
            part.not_measured(f"{name}: {measure.__name__}", str(reason))
        except Exception as error:  # a broken part must not silence the others
            traceback.print_exc()
            part.not_measured(f"{name}: {measure.__name__}", f"{type(error).__name__}: {error}")
    return part.exit_code()
