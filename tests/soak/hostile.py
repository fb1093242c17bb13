#!/usr/bin/env python3
"""The hostile catalogue beside canaries, held to the stricter bars: latency and memory."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import figures
import rows

LATENCY_BAR = 2
GROWTH_BYTES = 8 * 2**20
GROWTH_SHARE = 0.01
CATALOGUE = rows.ROOT / "tests/integration/hostile"


def run_catalogue(log: pathlib.Path) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "LONGWAVE_CANARY_LOG": str(log),
        "LONGWAVE_FAKE_SERVER": rows.program("LONGWAVE_FAKE_SERVER"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CATALOGUE)],
        env=environment, stdout=sys.stderr, check=False,
    )


def measure(part: rows.Part) -> None:
    baseline: list[float] = []
    beside: list[float] = []
    growths: list[tuple[float, str]] = []
    failed = runs = 0
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "canaries.jsonl"
        while True:
            runs += 1
            begin = part.left
            failed += run_catalogue(log).returncode != 0
            if part.short or part.left < begin - part.left:
                break
        if not log.exists():
            raise rows.NotMeasured("no canary was heard of")
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            baseline += entry["baseline"]
            beside += entry["seconds"]
            allowed = max(GROWTH_BYTES, GROWTH_SHARE * entry["resident_before"])
            growth = entry["resident_after"] - entry["resident_before"]
            growths.append((growth / allowed, entry["test"]))
    part.at_most("hostile catalogue: runs that failed", failed, 0, "", runs=runs)
    alone, p99 = figures.percentile(baseline, 0.99), figures.percentile(beside, 0.99)
    part.at_most(
        "hostile catalogue: canaries' p99 / before", p99 / alone, LATENCY_BAR, "",
        before_ms=alone * 1e3, beside_ms=p99 * 1e3, canaries=len(beside),
    )
    growths.sort(reverse=True)
    worst, test = growths[0]
    part.at_most(
        "hostile catalogue: RSS growth / max(1 %, 8 MiB)", worst, 1, "", test=test,
        tests=len(growths), above=[f"{growth:.2f} {name}" for growth, name in growths if growth > 1],
    )


if __name__ == "__main__":
    sys.exit(rows.main("hostile", measure))
