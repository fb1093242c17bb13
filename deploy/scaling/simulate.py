#!/usr/bin/env python3
"""Replays load through the autoscaling that the chart ships, and says what would come of it.

    python3 deploy/scaling/simulate.py [--values FILE]... [--picture FILE] [--json] [--sweep]

The numbers of the loop are read from the chart (values.yaml, and the query of its ScaledObject).
Prints a table: does it settle, how long is the overload, what share of the work is refused, what it
costs. --sweep tries other targets, start-up times and forms of the metric. Needs PyYAML; draws with
Python alone.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import pathlib
import re
import sys

import traces
from hpa import (
    SYNC_SECONDS,
    Behaviour,
    Fallback,
    Hpa,
    Rule,
    prometheus_answer,
    replicas_for_pods,
    replicas_for_value,
)
from picture import draw
from pods import Replicas, Service

FOLDER = pathlib.Path(__file__).resolve().parent
VALUES = FOLDER.parent / "helm" / "longwave" / "values.yaml"
RECOMMENDED = FOLDER / "recommended.yaml"
SCRAPE_SECONDS = 15.0
# What a replica would be run at by somebody who knew the load beforehand.
IDEAL_SHARE = 0.8
# A burst's overload is over when this many seconds have gone by without a refusal.
QUIET_SECONDS = 60
SETTLED_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The chart's autoscaling section, and what its templates ask Prometheus for."""

    minimum: int = 2
    maximum: int = 10
    target: float = 0.1  # seconds of expected wait
    up: Rule = Rule(0, "Percent", 100, 30)
    down: Rule = Rule(300, "Pods", 1, 300)
    kind: str = "hpa"  # or keda
    busy_target: float | None = None  # second metric: the share of the time that pods compute
    failure_threshold: int = 3
    ignore_null_values: bool = False
    # KEDA's query: the mean of the pods' waits or the worst one; and over how long each is averaged.
    across: str = "avg"
    over_seconds: float = 0.0

    @staticmethod
    def of_chart(file: pathlib.Path, kind: str) -> Scaling:
        import yaml

        section = yaml.safe_load(file.read_text())["autoscaling"]
        up, down, keda = section["scaleUp"], section["scaleDown"], section["keda"]
        busy = section.get("targetBusyPercent")
        if kind == "keda":
            busy = keda.get("targetBusyPercent", busy)
        # Where there is no template beside the values, they say it themselves.
        across, over = keda.get("across", "avg"), keda.get("overSeconds", 0)
        template = file.parent / "templates" / "scaledobject.yaml"
        if template.exists():
            across, over = _query(template.read_text())
        return Scaling(
            minimum=section["minReplicas"],
            maximum=section["maxReplicas"],
            target=section["targetWaitMilliseconds"] / 1000,
            up=Rule(up["stabilizationWindowSeconds"], "Percent", up["percent"],
                    up["periodSeconds"]),
            down=Rule(down["stabilizationWindowSeconds"], "Pods", down["pods"],
                      down["periodSeconds"]),
            kind=kind,
            busy_target=busy / 100 if busy else None,
            failure_threshold=keda["fallbackFailures"],
            across=across,
            over_seconds=over if kind == "keda" else 0,
        )


def _query(template: str) -> tuple[str, float]:
    """Of the chart's ScaledObject: how the pods' waits become one number."""
    line = next(line for line in template.splitlines()
                if "query:" in line and "longwave_expected_wait_seconds" in line)
    across = re.search(r"query:\s*(max|avg)\b", line)
    if across is None:
        raise ValueError(f"neither max nor avg: {line.strip()}")
    over = re.search(r"avg_over_time\(.*\[(\d+)([sm])\]", line)
    seconds = int(over[1]) * {"s": 1, "m": 60}[over[2]] if over else 0
    return across[1], float(seconds)


@dataclasses.dataclass
class Outcome:
    name: str
    load: list[float]
    replicas: list[int]
    ready: list[int]
    wait: list[float]
    refused: list[float]
    changes: list[tuple[float, int]]

    @property
    def shed_share(self) -> float:
        return sum(self.refused) / max(1e-9, sum(self.load))

    def overloads(self) -> list[float]:
        """Lengths in seconds of the times in which work was refused."""
        lengths, begin, last = [], None, 0
        for t, refused in enumerate(self.refused):
            if refused > 1e-9:
                begin, last = t if begin is None else begin, t
            elif begin is not None and t - last >= QUIET_SECONDS:
                lengths.append(last - begin + 1.0)
                begin = None
        if begin is not None:
            lengths.append(last - begin + 1.0)
        return lengths

    def settled_after(self, at: float) -> float | None:
        """Seconds from `at` to the last change upwards behind it; None if it never settles: the
        number goes up again after it has gone down, without that the load has."""
        later = [(t, change) for t, change in self.changes if t >= at]
        ups = [t for t, change in later if change > 0]
        downs = [t for t, change in later if change < 0]
        if not ups:
            return 0.0
        if downs and downs[0] < ups[-1]:
            return None
        return ups[-1] - at

    def oscillations(self, slack: float = 0.1) -> int:
        """Times at which pods were taken away and given back (or the other way round) within half an
        hour, though the load, in means of five minutes, was the same but for `slack`."""
        def mean(t: float) -> float:
            window = self.load[max(0, int(t) - 300):int(t) + 1]
            return sum(window) / len(window)

        found = 0
        for (t0, before), (t1, after) in zip(self.changes, self.changes[1:]):
            if before * after < 0 and t1 - t0 <= 1800 and abs(mean(t1) / mean(t0) - 1) <= slack:
                found += 1
        return found

    @property
    def replica_hours(self) -> float:
        return sum(self.replicas) / 3600

    def ideal_hours(self, scaling: Scaling) -> float:
        def ideal(load: float) -> int:
            return min(max(math.ceil(load / IDEAL_SHARE), scaling.minimum), scaling.maximum)

        smooth, hours = 0.0, 0.0
        for t, load in enumerate(self.load):
            smooth += load
            if t >= 60:
                smooth -= self.load[t - 60]
            hours += ideal(smooth / min(t + 1, 60)) / 3600
        return hours


class Watched:
    """What Prometheus has: the gauge of each pod as scraped, and how busy they were."""

    def __init__(self, scaling: Scaling):
        self._scaling = scaling
        self._scrapes: collections.deque = collections.deque()
        self._busy: collections.deque = collections.deque(maxlen=60)

    def scrape(self, now: float, gauges: list[float]) -> None:
        self._scrapes.append((now, gauges))
        while self._scrapes[0][0] < now - max(self._scaling.over_seconds, 1e-9):
            self._scrapes.popleft()

    def second(self, busy: float) -> None:
        self._busy.append(busy)

    def pods(self) -> list[float]:
        """avg_over_time of each pod's gauge; of a new pod since it came."""
        count = len(self._scrapes[-1][1])
        result = []
        for pod in range(count):
            values = [gauges[pod] for _, gauges in self._scrapes if pod < len(gauges)]
            result.append(sum(values) / len(values))
        return result

    def worst(self) -> float:
        return max(self.pods())

    def mean(self) -> float:
        values = self.pods()
        return sum(values) / len(values)

    def busy(self) -> float:
        return sum(self._busy) / max(1, len(self._busy))


def run(
    name: str, load: list[float], scaling: Scaling, service: Service = Service(), *,
    start: int | None = None, seed: int = 1, dead: tuple[float, float] | None = None,
    empty_when_dead: bool = False,
) -> Outcome:
    """`dead`: from when to when Prometheus is; it then gives no answer, or an empty one."""
    first = load[0]
    begin = start or min(max(math.ceil(first / IDEAL_SHARE), scaling.minimum), scaling.maximum)
    replicas = Replicas(service, begin, seed)
    hpa = Hpa(scaling.minimum, scaling.maximum, Behaviour(scaling.up, scaling.down))
    watched = Watched(scaling)
    fallbacks = [Fallback(scaling.failure_threshold) for _ in range(2)]
    outcome = Outcome(name, load, [], [], [], [], [])
    # The loop and the scrapes have nothing to do with each other: half a period apart.
    for t in range(len(load)):
        outcome.refused.append(replicas.step(t, load[t]))
        watched.second(replicas.busy)
        alive = dead is None or not dead[0] <= t < dead[1]
        if t % SCRAPE_SECONDS == 0 and alive:
            watched.scrape(t, replicas.gauges(t))
        if t % SYNC_SECONDS == SYNC_SECONDS // 2:
            wanted = decide(hpa, t, replicas, watched, scaling, fallbacks, alive, empty_when_dead)
            if wanted != replicas.count:
                outcome.changes.append((t, wanted - replicas.count))
                replicas.set_count(t, wanted)
        outcome.replicas.append(replicas.count)
        outcome.ready.append(replicas.ready(t))
        outcome.wait.append(replicas.expected_wait())
    return outcome


def decide(hpa, now, replicas, watched, scaling, fallbacks, alive, empty) -> int:
    """One round of the loop."""
    current, ready = replicas.count, replicas.ready(now)

    def ask(value) -> float:
        if not alive and empty:
            return prometheus_answer(None, True, scaling.ignore_null_values)
        return prometheus_answer(value() if alive else None, alive, scaling.ignore_null_values)

    pending = replicas.pending(now)

    def of_pods(value, target: float) -> int:
        """Of type Pods: the adapter has each pod's number from Prometheus."""
        ask(watched.mean)
        values: list[float | None] = list(value())
        running = current - pending
        values = values[:running] + [None] * (running - len(values))
        return replicas_for_pods(values, pending, current, target)

    def busy_of_pods() -> list[float]:
        return [watched.busy()] * ready + [0.0] * (current - pending - ready)

    if scaling.kind == "hpa":
        metrics = [lambda: of_pods(watched.pods, scaling.target)]
        if scaling.busy_target:
            metrics.append(lambda: of_pods(busy_of_pods, scaling.busy_target))
        return hpa.decide(now, current, metrics)

    across = watched.worst if scaling.across == "max" else watched.mean

    def wait_trigger() -> int:
        return replicas_for_value(ask(across), ready, current, scaling.target)

    def busy_trigger() -> int:
        return replicas_for_value(ask(watched.busy), ready, current, scaling.busy_target)

    metrics = [lambda: fallbacks[0].replicas(wait_trigger, current)]
    if scaling.busy_target:
        metrics.append(lambda: fallbacks[1].replicas(busy_trigger, current))
    return hpa.decide(now, current, metrics)


def row(outcome: Outcome, scaling: Scaling, at: float | None = None) -> dict:
    overloads = outcome.overloads()
    ideal = outcome.ideal_hours(scaling)
    settled = None if at is None else outcome.settled_after(at)
    return {
        "run": outcome.name,
        "settles_seconds": settled if at is not None else "",
        "overloads": len(overloads),
        "longest_overload_seconds": max(overloads, default=0.0),
        "refused_percent": round(100 * outcome.shed_share, 3),
        "oscillations": outcome.oscillations(),
        "most_replicas": max(outcome.replicas),
        "replica_hours": round(outcome.replica_hours, 1),
        "over_ideal": round(outcome.replica_hours / ideal, 2),
    }


def table(rows: list[dict]) -> str:
    names = list(rows[0])
    cells = [names] + [["never" if r[n] is None else str(r[n]) for n in names] for r in rows]
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "---|" * len(names), *lines[1:]])


def scenarios(name: str, file: pathlib.Path) -> list[tuple[Outcome, Scaling, float | None]]:
    """Both kinds of autoscaler with these values."""
    day, step = traces.day(), traces.step(1.2, 4.0)
    flat = traces.step(3.0, 3.0, seconds=7200)
    found: list[tuple[Outcome, Scaling, float | None]] = []
    for kind in ("hpa", "keda"):
        scaling = Scaling.of_chart(file, kind)
        start = f"{name}, {kind}"
        found.append((run(f"{start}: day", day, scaling), scaling, None))
        found.append((run(f"{start}: burst 1.2 to 4", step, scaling), scaling, 600))
        found.append((run(f"{start}: steady 3", flat, scaling, start=5), scaling, 0))
    # Of the last kind, KEDA.
    deaf = dataclasses.replace(scaling, ignore_null_values=True)
    dead = {"start": 5, "dead": (1800.0, 3600.0)}
    found.append((run(f"{start}: Prometheus dead for 30 min", flat, scaling, **dead),
                  scaling, None))
    found.append((run(f"{start}: empty answers, ignoreNullValues=true", flat, deaf,
                      empty_when_dead=True, **dead), deaf, None))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=pathlib.Path, action="append",
                        help="values.yaml of the chart, or a file with its section autoscaling; "
                        "may be repeated [the chart's and recommended.yaml]")
    parser.add_argument("--picture", type=pathlib.Path, help="SVG of the first file's HPA to write")
    parser.add_argument("--json", action="store_true", help="rows as JSON lines")
    parser.add_argument("--sweep", action="store_true", help="other targets and start-up times too")
    arguments = parser.parse_args()
    files = arguments.values or [file for file in (VALUES, RECOMMENDED) if file.exists()]
    rows = []
    for place, file in enumerate(files):
        try:
            found = scenarios("chart" if file.name == "values.yaml" else file.stem, file)
        except (OSError, KeyError, TypeError, ValueError) as error:
            print(f"simulate: {file}: {error!r}", file=sys.stderr)
            return 2
        rows += [row(outcome, of, at) for outcome, of, at in found]
        if place == 0 and arguments.picture:
            arguments.picture.write_text(draw(found[0][0], found[1][0], found[0][1].target))
    if arguments.sweep:
        rows += sweep(Scaling.of_chart(files[0], "keda"))
    print("\n".join(map(json.dumps, rows)) if arguments.json else table(rows))
    return 0


def sweep(scaling: Scaling) -> list[dict]:
    """One day with other numbers: each row differs from the file's in what it names."""
    day = traces.day()
    rows = []

    def add(name: str, service: Service = Service(), **changes) -> None:
        tried = dataclasses.replace(scaling, **changes)
        rows.append(row(run(name, day, tried, service), tried))

    for across in ("avg", "max"):
        for target in (0.1, 0.5, 1.0):
            for busy in (None, 0.7):
                add(f"{across} wait {target:g} s, busy {busy}", across=across, target=target,
                    busy_target=busy)
    for load_seconds in (5.0, 120.0, 600.0):
        add(f"a model that loads for {load_seconds:g} s", Service(load_seconds=load_seconds))
    for call in (0.02, 0.5, 2.0):
        add(f"calls of {call:g} s", Service(call_seconds=call))
    return rows


if __name__ == "__main__":
    sys.exit(main())
