"""Offered load over time, in seconds of a replica's work a second: a seeded day with bursts, steps,
and recordings."""

from __future__ import annotations

import json
import math
import pathlib
import random

DAY = 86_400


def step(before: float, after: float, at: int = 600, seconds: int = 3600) -> list[float]:
    return [before if t < at else after for t in range(seconds)]


def day(seed: int = 7, low: float = 1.2, high: float = 5.0) -> list[float]:
    """A day's wave, noise from second to second, and bursts: eight of minutes, to up to twice the
    load, each with edges of seconds, and one hour's plateau."""
    noise = random.Random(seed)
    bursts = [(noise.uniform(0.05, 0.95) * DAY, noise.uniform(120, 900), noise.uniform(0.3, 1.0))
              for _ in range(8)]
    bursts.append((0.6 * DAY, 3600.0, 0.5))
    loads = []
    drift = 0.0
    for t in range(DAY):
        wave = low + (high - low) * (0.5 - 0.5 * math.cos(2 * math.pi * t / DAY)) ** 1.5
        drift += 0.02 * (noise.gauss(0, 0.12) - drift)
        factor = 1.0 + drift + noise.gauss(0, 0.04)
        for begin, length, height in bursts:
            if begin <= t < begin + length:
                factor += height * min(1.0, (t - begin) / 10, (begin + length - t) / 10)
        loads.append(max(0.0, wave * factor))
    return loads


def recorded(file: pathlib.Path) -> tuple[list[float], list[float], dict]:
    """Load and gauge, second by second, of a recording (record.py), and what else it says."""
    content = json.loads(file.read_text())
    return content["load"], content["wait"], content["about"]
