"""The published arithmetic of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), and of the part
of KEDA that decides what it sees. No clock and no cluster: the caller says what time it is.

What is modelled, by the names of the documentation: the ratio with its tolerance, pods without a
metric and pods that are not ready, several metrics and metrics that fail, stabilisation windows,
and the policies Percent and Pods.
"""

from __future__ import annotations

import dataclasses
import math

SYNC_SECONDS = 15.0  # --horizontal-pod-autoscaler-sync-period
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance


class MetricFailed(Exception):
    """The metric could not be had: not the same as a metric of 0."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How far, and after what time, the number may change in one direction."""

    window_seconds: float  # stabilizationWindowSeconds
    policy: str  # Percent or Pods
    value: float
    period_seconds: float


@dataclasses.dataclass(frozen=True)
class Behaviour:
    up: Rule
    down: Rule


def _within_tolerance(ratio: float) -> bool:
    return abs(1.0 - ratio) <= TOLERANCE + 1e-9


def replicas_for_pods(
    values: list[float | None], pending: int, current: int, target: float
) -> int:
    """Of a metric of type Pods: `values` of the pods that run, None where one has no metric;
    `pending` pods are not scheduled or have no container yet."""
    known = [value for value in values if value is not None]
    missing = len(values) - len(known)
    if not known:
        raise MetricFailed("no pod has the metric")
    ratio = sum(known) / len(known) / target
    unready = pending if ratio > 1 else 0
    if missing == 0 and unready == 0:
        return current if _within_tolerance(ratio) else math.ceil(ratio * len(known) - 1e-9)
    # What is not known argues against the change: at the target going down, at nothing going up.
    filled = sum(known) + (target * missing if ratio < 1 else 0.0)
    count = len(known) + missing + unready
    filled_ratio = filled / count / target
    if _within_tolerance(filled_ratio) or (ratio < 1) != (filled_ratio < 1):
        return current
    wanted = math.ceil(filled_ratio * count - 1e-9)
    return current if (wanted > current) != (filled_ratio > 1) and wanted != current else wanted


def replicas_for_value(value: float, ready: int, current: int, target: float) -> int:
    """Of a metric of type External with a target of type Value: one number for all pods."""
    ratio = value / target
    return current if _within_tolerance(ratio) else math.ceil(ratio * ready - 1e-9)


def prometheus_answer(value: float | None, alive: bool, ignore_null_values: bool) -> float:
    """What KEDA's prometheus scaler makes of an answer; None: an empty one."""
    if not alive:
        raise MetricFailed("Prometheus does not answer")
    if value is None:
        if ignore_null_values:
            return 0.0
        raise MetricFailed("the answer is empty")
    return value


class Fallback:
    """KEDA's fallback with behavior currentReplicas: after so many failed queries in a row the metric
    is whatever keeps the number of pods."""

    def __init__(self, failure_threshold: int):
        self._threshold = failure_threshold
        self._failures = 0

    def replicas(self, wanted, current: int) -> int:
        """`wanted` is a function that may raise MetricFailed."""
        try:
            result = wanted()
        except MetricFailed:
            self._failures += 1
            if self._failures <= self._threshold:
                raise
            return current
        self._failures = 0
        return result


class Hpa:
    """Between what the metrics say and the number of pods: windows, policies, bounds."""

    def __init__(self, minimum: int, maximum: int, behaviour: Behaviour):
        if not 1 <= minimum <= maximum:
            raise ValueError(f"replicas from {minimum} to {maximum}")
        self._bounds = (minimum, maximum)
        self._behaviour = behaviour
        self._recommendations: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, current: int, metrics: list) -> int:
        """The number of pods from now on. `metrics` are functions that give a number of replicas or
        raise MetricFailed. One that fails vetoes going down; if all fail nothing changes."""
        wanted: list[int] = []
        failed = 0
        for metric in metrics:
            try:
                wanted.append(metric())
            except MetricFailed:
                failed += 1
        if not wanted or (failed and max(wanted) < current):
            return current
        result = self._limited(now, current, self._stabilised(now, current, max(wanted)))
        if result != current:
            self._changes.append((now, result - current))
        return result

    def _stabilised(self, now: float, current: int, wanted: int) -> int:
        self._recommendations.append((now, wanted))
        longest = max(self._behaviour.up.window_seconds, self._behaviour.down.window_seconds)
        self._recommendations = [r for r in self._recommendations if r[0] > now - longest - 1e-9]

        def within(rule: Rule) -> list[int]:
            since = now - rule.window_seconds
            return [n for at, n in self._recommendations if at > since] + [wanted]

        least, most = min(within(self._behaviour.up)), max(within(self._behaviour.down))
        return min(max(current, least), most) if least <= most else current

    def _limited(self, now: float, current: int, wanted: int) -> int:
        low, high = self._bounds
        if wanted > current:
            wanted = min(wanted, self._limit(now, current, self._behaviour.up, 1))
            wanted = max(wanted, current)
        elif wanted < current:
            wanted = max(wanted, self._limit(now, current, self._behaviour.down, -1))
            wanted = min(wanted, current)
        return min(max(wanted, low), high)

    def _limit(self, now: float, current: int, rule: Rule, sign: int) -> int:
        """How far the policy lets it go, from where it was at the beginning of the period."""
        recent = [change for at, change in self._changes if at > now - rule.period_seconds]
        begin = current - sum(change for change in recent if change * sign > 0)
        if rule.policy == "Pods":
            return begin + sign * int(rule.value)
        if rule.policy != "Percent":
            raise ValueError(f"not a policy: {rule.policy}")
        if sign > 0:
            return math.ceil(begin * (1 + rule.value / 100) - 1e-9)
        return math.floor(begin * (1 - rule.value / 100) + 1e-9)
