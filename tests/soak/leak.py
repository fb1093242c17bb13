#!/usr/bin/env python3
"""Small calls, cancelled calls and lengths without end: memory, descriptors and threads stay."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time

import driver
import figures
import rows
from harness import PATIENCE

CONNECTIONS = 10
GROWTH_BAR = 8 * 2**20
# Fewer calls than a full run's may grow by as much less; but eight threads whose caches each take
# another 128 KiB are noise, not growth. In the few
# seconds of --short even ten new connections' buffers are a slope, so its bar is that of a full run.
GROWTH_NOISE = 2**20
# What all of it takes with the rates below, warm-ups and the waits for a quiet server included.
FULL_SECONDS = 350
SHORT_SCALE = 0.02
# Of the calls that the client cancelled; the rest were so new that they had not left it.
SEEN_BAR = 0.9
# The server's service where calls are cancelled, all of them before it is over.
CANCELLED_SERVICE = 0.2
QUIET_SAMPLES = 10
# A queue that is never full, nor predicted to last too long.
ROOM = ("--max_queue_sequences=60000", f"--max_wait={PATIENCE:g}")


@dataclasses.dataclass(frozen=True)
class Traffic:
    name: str
    calls: int  # of a full run
    # What one core offers without falling behind its schedule; less where the machine does not do
    # twice as many.
    rate: int
    arguments: tuple[str, ...]
    burst: int = 3  # times the rate, while it warms up
    cancelled: bool = False


SMALL = Traffic("small calls", 1_000_000, 5_000, ("--tokens=16",))
# Ten of each length. The server has to read their ids, so fewer a second.
LENGTHS = Traffic(
    "5000 lengths", 50_000, 1_000, ("--tokens=uniform:1:5000", "--documents=1")
)
# So few a second, and cancelled so late, that nearly all have reached the server by then: one that
# is cancelled before that tests nothing.
CANCELLED = Traffic(
    "cancelled calls", 100_000, 1_500,
    ("--tokens=16", f"--cancel=1@{CANCELLED_SERVICE / 2:g}", "--max-lateness=0.02"),
    burst=1, cancelled=True,
)
# Some of the cancelled calls do not count, since they had not left.
SPARE = 1.1
# Of what the server did in a burst. Nearer to all of it, memory follows whatever waits just then.
SUSTAINED_SHARE = 0.5
BURST_SECONDS = 2


def run(part: rows.Part, server, traffic: Traffic, scale: float) -> None:
    """Offers the calls and checks that nothing grew while they came."""
    process = driver.Process(server.process.pid)
    name = traffic.name
    # Where calls are answered it does not matter how late they left.
    late = f"--max-lateness={PATIENCE:g}"
    common = ("--deadline=30", f"--connections={CONNECTIONS}", late, "--warmup=0",
              *traffic.arguments)
    # Connections, pools and arenas come with the first calls, and a burst leaves its high-water
    # mark, as a pause of this machine would later: both are no growth.
    idle = process.descriptors()
    rate = sustained_rate(server, traffic, (*common, late))
    driver.load(server, *common, f"--rate={rate:g}@2", late)
    # With the warm-up's connections there still, "back to before" would forgive as many.
    descriptors = await_quiet(process.descriptors, idle + CONNECTIONS)
    threads = await_quiet(process.threads)
    calls = int(scale * traffic.calls * (SPARE if traffic.cancelled else 1))
    seen = server.metric("longwave_requests_cancelled_total")
    with driver.Sampler(process, 0.25) as sampler:
        report = driver.load(
            server, *common, f"--rate={rate:g}", f"--seconds={1.2 * calls / rate:g}",
            f"--count={calls}", attempts=1,
        )
    total = report["total"]
    unexpected = total["wrong"] + total["failed"] + total["left"] + total["shed"] + total["expired"]
    if unexpected > 0.001 * total["offered"]:
        raise rows.NotMeasured(f"{unexpected} of {total['offered']} calls failed: {total}")
    server.await_metric("longwave_running_requests", lambda value: value == 0)
    done = total["good"]
    if traffic.cancelled:
        done = server.metric("longwave_requests_cancelled_total") - seen
    amount = rows.Amount(done, traffic.calls, "calls")
    if traffic.cancelled:
        part.at_least(
            f"{name}: seen by the server as cancelled / cancelled", done / total["cancelled"],
            SEEN_BAR, "", amount, cancelled=total["cancelled"], answered=total["good"],
            lateness_p99_ms=report["lateness"]["p99_ms"],
        )
    bar = max(GROWTH_NOISE, GROWTH_BAR * (1.0 if part.short else min(1.0, done / traffic.calls)))
    part.at_most(
        f"{name}: RSS growth by slope", figures.growth(sampler.seconds, sampler.bytes) / 2**20,
        bar / 2**20, "MiB", amount, offered=total["offered"],
        resident_mib=sampler.bytes[-1] / 2**20, seconds=report["seconds"], calls_per_second=rate,
    )
    # A connection may linger for a moment.
    await_back(part, f"{name}: descriptors above before", process.descriptors, descriptors, amount)
    await_back(part, f"{name}: threads above before", process.threads, threads, amount)


def sustained_rate(server, traffic: Traffic, common: tuple[str, ...]) -> float:
    """Offers a burst, and returns how many calls a second the server does without a backlog."""
    begin = time.monotonic()
    total = driver.load(
        server, *common, f"--rate={traffic.burst * traffic.rate}@{BURST_SECONDS}"
    )["total"]
    if traffic.cancelled:
        return traffic.rate  # nothing is computed to its end
    done = total["good"] / (time.monotonic() - begin)
    return min(traffic.rate, SUSTAINED_SHARE * done)


def await_quiet(count, below: float = float("inf")) -> int:
    """The count once it is below that and has stayed the same for a second."""
    pause = threading.Event()
    last, same = count(), 1
    for _ in range(300):
        if same >= QUIET_SAMPLES and last < below:
            return last
        pause.wait(0.1)
        now = count()
        last, same = now, same + 1 if now == last else 1
    raise rows.NotMeasured(f"{count.__name__} did not come to rest behind the warm-up")


def await_back(part: rows.Part, row: str, count, before: int, amount: rows.Amount) -> None:
    pause = threading.Event()
    for _ in range(100):
        if count() <= before:
            break
        pause.wait(0.1)
    part.at_most(row, count() - before, 0, "", amount, before=before)


def scale_of(part: rows.Part) -> float:
    return SHORT_SCALE if part.short else min(1.0, part.seconds / FULL_SECONDS)


def answered(part: rows.Part) -> None:
    # Service below what one core needs for a call.
    with driver.fake_server(*ROOM, base_seconds="0", seconds_per_token="1e-7") as server:
        run(part, server, SMALL, scale_of(part))
        run(part, server, LENGTHS, scale_of(part))


def cancelled(part: rows.Part) -> None:
    with driver.fake_server(
        *ROOM, base_seconds=f"{CANCELLED_SERVICE:g}", seconds_per_token="0"
    ) as server:
        run(part, server, CANCELLED, scale_of(part))


if __name__ == "__main__":
    sys.exit(rows.main("leak", answered, cancelled))
