"""Arithmetic of the soak, without servers: tested by itself in figures_test.py."""

from __future__ import annotations

import math
import statistics


def recovery_seconds(intervals: dict, width: float, switch: float, kept: float = 0.97) -> float:
    """Seconds from `switch` until goodput is what is offered and stays it.

    `intervals` are the columns of `longwave load --json`, `width` seconds each. Recovered is the
    first interval from which on each one answers at least `kept` of its calls, but for what one
    call more or less is worth. Infinite if the last interval does not.
    """
    first = math.ceil(switch / width - 1e-9)
    columns = list(zip(intervals["offered"], intervals["good"]))[first:]
    while columns and columns[-1][0] == 0:
        columns.pop()
    bad = [i for i, (offered, good) in enumerate(columns) if good < kept * offered - 1]
    if not columns or (bad and bad[-1] == len(columns) - 1):
        return math.inf
    return (bad[-1] + 1) * width if bad else 0.0


def slope(seconds: list[float], values: list[float]) -> tuple[float, float]:
    """Least-squares slope of the values, and its standard error."""
    mean_x = statistics.fmean(seconds)
    mean_y = statistics.fmean(values)
    spread = sum((x - mean_x) ** 2 for x in seconds)
    if len(seconds) < 3 or spread == 0:
        raise ValueError("a slope needs three different moments")
    tilt = sum((x - mean_x) * (y - mean_y) for x, y in zip(seconds, values)) / spread
    rest = sum((y - mean_y - tilt * (x - mean_x)) ** 2 for x, y in zip(seconds, values))
    return tilt, math.sqrt(rest / (len(seconds) - 2) / spread)


def growth(seconds: list[float], values: list[float], skipped: float = 0.2) -> float:
    """What the values grow over the last part of the time, by their slope."""
    begin = seconds[0] + skipped * (seconds[-1] - seconds[0])
    kept = [(x, y) for x, y in zip(seconds, values) if x >= begin]
    tilt, _ = slope([x for x, _ in kept], [y for _, y in kept])
    return tilt * (kept[-1][0] - kept[0][0])


# Two-sided 95 % points of Student's t by degrees of freedom; beyond 30, the last.
_STUDENT = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13,
    2.12, 2.11, 2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04,
)


def ratio_interval(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Mean and 95 % interval of the ratio of interleaved pairs, on the logarithm."""
    logs = [math.log(a / b) for a, b in pairs]
    if len(logs) < 2:
        raise ValueError("an interval needs two pairs")
    mean = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = _STUDENT[min(len(logs) - 1, len(_STUDENT)) - 1] * error
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def percentile(values: list[float], share: float) -> float:
    """The least value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
