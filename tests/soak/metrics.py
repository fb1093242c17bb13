#!/usr/bin/env python3
"""What the metrics cost: one record by itself, and the throughput with and without them."""

from __future__ import annotations

import json
import subprocess
import sys

import driver
import figures
import rows

RECORD_BAR = 5
# Calls a second that one processor answers with room to spare.
RATE = 3_000


def record(part: rows.Part) -> None:
    done = subprocess.run(
        [rows.program("LONGWAVE_METRICS_BENCH")], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    part.at_most(
        "metrics: one Record", result["record_us"], RECORD_BAR, "us",
        two_threads_us=result["record_two_threads_us"],
    )


def calls_per_cpu_second(server, seconds: float) -> float:
    process = driver.Process(server.process.pid)
    cpu = process.cpu_seconds()
    report = driver.load(
        server, f"--rate={RATE}", f"--seconds={seconds:g}", "--warmup=0", "--tokens=16",
        "--deadline=5", "--max-lateness=0.1",
    )
    cpu = process.cpu_seconds() - cpu
    if report["total"]["good"] < 0.99 * report["total"]["offered"]:
        raise rows.NotMeasured(f"calls failed: {report['total']['endings']}")
    return report["total"]["good"] / cpu


def throughput(part: rows.Part) -> None:
    # Throughput of a processor that does nothing else: what noise of other programs cannot touch.
    pairs = []
    seconds = max(1.0, min(5.0, part.left / 30))
    rounds = 4 if part.short else 12
    with (
        driver.fake_server(base_seconds="0", seconds_per_token="1e-7") as on,
        driver.fake_server(base_seconds="0", seconds_per_token="1e-7", mute_metrics="1") as off,
    ):
        for server in (on, off):
            calls_per_cpu_second(server, seconds)
        for turn in range(rounds):
            # Each goes first as often as the other.
            order = (on, off) if turn % 2 == 0 else (off, on)
            rate = {server: calls_per_cpu_second(server, seconds) for server in order}
            pairs.append((rate[on], rate[off]))
    mean, low, high = figures.ratio_interval(pairs)
    part.contains(
        "metrics: throughput on / off", low, mean, high, 1, "",
        pairs=len(pairs), on_per_cpu_second=pairs[-1][0], off_per_cpu_second=pairs[-1][1],
    )


if __name__ == "__main__":
    sys.exit(rows.main("metrics", record, throughput))
