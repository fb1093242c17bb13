"""A fluid model of the replicas: what their queues, and so longwave_expected_wait_seconds, become
under an offered load that a balancer spreads evenly.

Work is measured in seconds of one replica: a load of 3 keeps three of them busy. What exceeds their
rate piles up, as far as --max_wait; beyond that it is refused. On top of the pile lies the wait that
random arrivals make below capacity too (Pollaczek and Khinchine's mean, exponentially distributed),
since the gauge is read at moments and HPA sees that noise.
"""

from __future__ import annotations

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Service:
    """Of one replica and its callers."""

    call_seconds: float = 0.1  # mean work of a call
    variation: float = 1.5  # squared coefficient of variation of it: long calls among short ones
    max_wait_seconds: float = 2.0  # --max_wait
    pending_seconds: float = 10.0  # from the decision to a container that runs
    load_seconds: float = 30.0  # from there to SERVING
    drain_seconds: float = 5.0  # --drain_delay: computes for so long still


class Replicas:
    """Steps of a second. Pods that load say 0: they are scraped, and have no queue."""

    def __init__(self, service: Service, count: int, seed: int = 1):
        self._service = service
        self._capacity = 0  # pods that computed in the last step
        self._random = random.Random(seed)
        self._ready_at = [float("-inf")] * count  # of each pod that was not told to go
        self._leaving: list[float] = []
        self.backlog = 0.0  # seconds of work beyond what is computed, of each ready pod
        self.busy = 0.0  # share of the last step

    @property
    def count(self) -> int:
        return len(self._ready_at)

    def ready(self, now: float) -> int:
        return sum(at <= now for at in self._ready_at)

    def pending(self, now: float) -> int:
        return sum(at - self._service.load_seconds > now for at in self._ready_at)

    def set_count(self, now: float, count: int) -> None:
        delay = self._service.pending_seconds + self._service.load_seconds
        while len(self._ready_at) < count:
            self._ready_at.append(now + delay)
        while len(self._ready_at) > count:
            # As the ReplicaSet does it: first those that are not ready.
            gone = self._ready_at.pop()
            if gone <= now:
                self._leaving.append(now + self._service.drain_seconds)

    def step(self, now: float, load: float, seconds: float = 1.0) -> float:
        """Work that was refused, in seconds of a replica."""
        before = self._capacity
        self._leaving = [at for at in self._leaving if at > now]
        capacity = max(1, self.ready(now) + len(self._leaving))
        if before and capacity != before:
            # A new pod has an empty queue. The balancer fills it first: the same pile, on more.
            self.backlog *= before / capacity
        self._capacity = capacity
        self.busy = min(1.0, load / capacity)
        pile = self.backlog + (load / capacity - 1.0) * seconds
        refused = max(0.0, pile - self._service.max_wait_seconds)
        self.backlog = min(max(0.0, pile), self._service.max_wait_seconds)
        return refused * capacity

    def mean_wait(self) -> float:
        """Of random arrivals at this rate, without the pile."""
        share = min(self.busy, 0.98)
        call = self._service.call_seconds
        return share * call * (1 + self._service.variation) / (2 * (1 - share))

    def expected_wait(self) -> float:
        """The gauge's mean: nothing is taken that would wait for longer than the limit."""
        return min(self.backlog + self.mean_wait(), self._most)

    @property
    def _most(self) -> float:
        return self._service.max_wait_seconds + self._service.call_seconds

    def gauges(self, now: float) -> list[float]:
        """longwave_expected_wait_seconds of each pod that has a container, as a scrape finds it."""
        mean = self.mean_wait()
        values = []
        for at in self._ready_at:
            if at - self._service.load_seconds > now:
                continue
            value = 0.0
            if at <= now:
                value = self.backlog
                if self._random.random() < self.busy:
                    value += self._random.expovariate(self.busy / mean) if mean > 0 else 0.0
                value = min(value, self._most)
            values.append(value)
        return values
