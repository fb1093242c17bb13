#!/usr/bin/env python3
"""Ten times the capacity: goodput, refusals, and the way back. Fake engine with sleeping service."""

from __future__ import annotations

import sys

import driver
import figures
import rows

# Offered in parts of the capacity; the last one is what the bars are about.
LOADS = (1.0, 2.0, 5.0, 10.0)
OVERLOAD_SECONDS = 60
RECOVERY_SECONDS = 20
UNANSWERED_BAR = 1
RECOVERY_BAR = 5
AFTER = 0.7
# What the search for the capacity, the lower loads and the overload take together.
FULL_SECONDS = 200


def traffic(*arguments: str) -> tuple[str, ...]:
    return (f"--tokens={driver.TOKENS}", f"--deadline={driver.DEADLINE}", *arguments)


def measure(part: rows.Part) -> None:
    scale = 0.05 if part.short else min(1.0, part.seconds / FULL_SECONDS)
    step = max(1.5, 6 * scale)
    with driver.fake_server() as server:
        peak = capacity = driver.capacity(server, *traffic(), step=step)
        part.say(f"capacity {capacity:.1f} calls/s")
        for load in LOADS[:-1]:
            report = driver.load(
                server, *traffic(f"--rate={load * capacity:g}", f"--seconds={step * 2:g}")
            )
            goodput = report["total"]["goodput_per_second"]
            part.say(f"{load:g} x C: goodput {goodput:.1f}/s, {report['total']['shed']} shed")
            # Below 2 C goodput cannot pass what is offered, and Poisson may offer a little more.
            peak = max(peak, goodput)
        overload_then_less(part, server, capacity, peak, scale)


def overload_then_less(part, server, capacity: float, peak: float, scale: float) -> None:
    overload = max(5.0, OVERLOAD_SECONDS * scale)
    after = max(8.0, RECOVERY_SECONDS * scale)
    process = driver.Process(server.process.pid)
    cpu = process.cpu_seconds()
    report = driver.load(
        server,
        *traffic(
            f"--rate={LOADS[-1] * capacity:g}@{overload:g}+{AFTER * capacity:g}@{after:g}",
            "--interval=0.5", "--warmup=1",
        ),
    )
    cpu = process.cpu_seconds() - cpu
    group = report["groups"][0]
    # The first seconds fill the queue; whole intervals of the overload behind them count.
    begin, end = 4, int(overload / 0.5)
    seconds = (end - begin) * 0.5
    goodput = sum(group["intervals"]["good"][begin:end]) / seconds
    detail = {
        "capacity_per_second": capacity, "peak_per_second": peak,
        "goodput_per_second": goodput, "seconds": overload,
        "offered_per_second": sum(group["intervals"]["offered"][begin:end]) / seconds,
        "expired": group["expired"], "failed": group["failed"], "wrong": group["wrong"],
        "good_p99_ms": group["latency"]["p99_ms"], "server_cpu_seconds": cpu,
    }
    amount = rows.Amount(overload, OVERLOAD_SECONDS, "s")
    part.at_least("goodput at 10 x C / peak", goodput / peak, 0.95, "", amount, **detail)
    if group["shed"] == 0:
        part.not_measured("refusal p99 at 10 x C", "nothing was refused")
    else:
        part.at_most(
            "refusal p99 at 10 x C", group["shed_latency"]["p99_ms"], 10, "ms", amount,
            p50_ms=group["shed_latency"]["p50_ms"], refusals=group["shed"],
            lateness_p99_ms=report["lateness"]["p99_ms"],
            reasons={name: value["count"] for name, value in group["endings"].items()},
        )
    # A refusal that takes as long as the deadline is none to its caller, and not among the above.
    unanswered = group["expired"] + group["failed"] + group["late"] + group["left"]
    part.at_most(
        "neither answered nor refused in time / offered at 10 x C",
        100 * unanswered / group["offered"], UNANSWERED_BAR, "%", amount, expired=group["expired"],
        failed=group["failed"], late=group["late"], left=group["left"], offered=group["offered"],
    )
    recovered = figures.recovery_seconds(group["intervals"], 0.5, overload)
    part.at_most(
        "after 10 x, back to 0.7 x: offered goodput within", min(recovered, 1e9), RECOVERY_BAR,
        "s", amount, after_seconds=after,
    )


if __name__ == "__main__":
    sys.exit(rows.main("overload", measure))
