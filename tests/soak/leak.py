#!/usr/bin/env python3
"""Small calls, cancelled calls and lengths without end: memory, descriptors and threads stay."""

from __future__ import annotations

import sys
import threading

import driver
import figures
import rows

CALLS = 1_000_000
CANCELLED = 100_000
LENGTHS = 5_000
CONNECTIONS = 10
GROWTH_BAR = 8 * 2**20
# A process that has answered a million calls needs 150 s at what two cores do.
FULL_SECONDS = 400
# What one core offers without falling behind its schedule; of long calls less, since the server has
# to read their ids.
RATE = 5_000
LONG_RATE = 1_000


def run(part: rows.Part, server, name: str, calls: int, rate: int, *arguments: str) -> None:
    """Offers that many calls and checks that nothing grew while they came."""
    process = driver.Process(server.process.pid)
    common = ("--deadline=30", f"--connections={CONNECTIONS}", "--max-lateness=2", "--warmup=0",
              *arguments)
    # Connections, pools and arenas come with the first calls, and a burst leaves its high-water
    # mark, as a pause of this machine would later: both are no growth.
    driver.load(server, *common, f"--rate={3 * rate}@2+{rate}@2")
    descriptors, threads = process.descriptors(), process.threads()
    with driver.Sampler(process, 0.25) as sampler:
        report = driver.load(
            server, *common, f"--rate={rate}", f"--seconds={1.2 * calls / rate:g}",
            f"--count={calls}", attempts=1,
        )
    total = report["total"]
    unexpected = total["wrong"] + total["failed"] + total["left"] + total["shed"] + total["expired"]
    if unexpected > 0.001 * total["offered"]:
        raise rows.NotMeasured(f"{unexpected} of {total['offered']} calls failed: {total}")
    # A connection may linger for a moment.
    server.await_metric("longwave_running_requests", lambda value: value == 0)
    part.at_most(
        f"{name}: RSS growth by slope", figures.growth(sampler.seconds, sampler.bytes) / 2**20,
        GROWTH_BAR / 2**20, "MiB", calls=total["offered"], cancelled=total["cancelled"],
        resident_mib=sampler.bytes[-1] / 2**20, seconds=report["seconds"],
    )
    await_back(part, f"{name}: descriptors above before", process.descriptors, descriptors)
    await_back(part, f"{name}: threads above before", process.threads, threads)


def await_back(part: rows.Part, row: str, count, before: int) -> None:
    pause = threading.Event()
    for _ in range(100):
        if count() <= before:
            break
        pause.wait(0.1)
    part.at_most(row, count() - before, 0, "", before=before)


def measure(part: rows.Part) -> None:
    scale = min(1.0, part.seconds / FULL_SECONDS)
    # Service below what one core needs for a call, and a queue that is never full.
    with driver.fake_server(
        "--max_queue_sequences=60000", base_seconds="0", seconds_per_token="1e-7"
    ) as server:
        run(part, server, "small calls", int(CALLS * scale), RATE, "--tokens=16")
        run(part, server, f"{LENGTHS} lengths", int(CALLS * scale / 20), LONG_RATE,
            f"--tokens=uniform:1:{LENGTHS}", "--documents=1")
    with driver.fake_server(
        "--max_queue_sequences=60000", base_seconds="2e-2", seconds_per_token="0"
    ) as server:
        run(part, server, "cancelled calls", int(1.1 * CANCELLED * scale), RATE, "--tokens=16",
            "--cancel=1@0.01")


if __name__ == "__main__":
    sys.exit(rows.main("leak", measure))
