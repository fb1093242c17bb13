"""The arithmetic of autoscaling, by cases worked out by hand, and what the simulation makes of it."""

from __future__ import annotations

import dataclasses
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "scaling"
sys.path.insert(0, str(FOLDER))

import traces  # noqa: E402
from hpa import (  # noqa: E402
    Behaviour,
    Fallback,
    Hpa,
    MetricFailed,
    Rule,
    prometheus_answer,
    replicas_for_pods,
    replicas_for_value,
)
from picture import draw  # noqa: E402
from pods import Replicas, Service  # noqa: E402
from simulate import RECOMMENDED, VALUES, Scaling, _query, run, scenarios  # noqa: E402

UP = Rule(0, "Percent", 100, 30)
DOWN = Rule(300, "Pods", 1, 300)


def hpa(minimum=1, maximum=100, up=UP, down=DOWN) -> Hpa:
    return Hpa(minimum, maximum, Behaviour(up, down))


def says(count: int):
    return [lambda: count]


def follow(loop: Hpa, count: int, wanted, until: int) -> list[int]:
    """The number of pods after each round, where `wanted` says what the metric asks for."""
    seen = []
    for now in range(0, until + 1, 15):
        count = loop.decide(now, count, says(wanted(now)))
        seen.append(count)
    return seen


def fails() -> int:
    raise MetricFailed


@pytest.mark.parametrize(
    ("values", "pending", "wanted"),
    [
        ([0.2, 0.2], 0, 4),  # twice the target
        ([0.1, 0.1, 0.1], 0, 3),
        ([0.109, 0.109], 0, 2),  # within 10 %
        ([0.112, 0.112], 0, 3),  # ceil(2 x 1.12)
        ([0.03, 0.03, 0.03], 0, 1),  # ceil(3 x 0.3)
        # A pod that has no container yet counts as 0 going up: 0.32 / 3 / 0.1 is within 10 %.
        ([0.16, 0.16], 1, 3),
        ([0.2, 0.2], 1, 4),  # 0.4 / 3 / 0.1 = 1.33, of 3
        # And can stop it: 0.26 / 4 / 0.1 = 0.65 is down, where 1.3 was up.
        ([0.13, 0.13], 2, 4),
        # Going down it does not count: ceil(2 x 0.3).
        ([0.03, 0.03], 1, 1),
        # A pod without the metric is at the target going down: (0.02 + 0.1) / 2 / 0.1 = 0.6, of 2.
        ([0.02, None], 0, 2),
        # And at nothing going up: 0.3 / 2 / 0.1 = 1.5, of 2.
        ([0.3, None], 0, 3),
    ],
)
def test_replicas_by_the_pods_metric(values, pending, wanted):
    current = len(values) + pending
    assert replicas_for_pods(values, pending, current, 0.1) == wanted


def test_no_metric_is_not_zero():
    with pytest.raises(MetricFailed):
        replicas_for_pods([None, None], 0, 2, 0.1)


@pytest.mark.parametrize(
    ("value", "ready", "wanted"), [(0.2, 3, 6), (0.105, 3, 4), (0.05, 4, 2), (0.0, 4, 0)]
)
def test_replicas_by_one_value(value, ready, wanted):
    assert replicas_for_value(value, ready, 4, 0.1) == wanted


def test_up_doubles_every_thirty_seconds():
    # From where it was 30 s before: nothing is added at 15 s, since 2 were at 0.
    assert follow(hpa(), 2, lambda now: 50, 90) == [4, 4, 8, 8, 16, 16, 32]


def test_down_goes_by_one_pod_after_the_window():
    seen = follow(hpa(), 6, lambda now: 6 if now == 0 else 2, 900)
    changes = [(15 * i, after) for i, (before, after) in enumerate(zip([6, *seen], seen))
               if after != before]
    # The 6 of time 0 counts for 300 s; then one pod in 300 s.
    assert changes == [(300, 5), (600, 4), (900, 3)]


def test_one_high_recommendation_holds_the_number_for_the_window():
    counts = follow(hpa(), 4, lambda now: 4 if now == 150 else 1, 450)
    # Before it nothing was known either: the first recommendation of all goes down at once.
    assert counts == [3] * 10 + [4] * 20 + [3]


def test_up_waits_for_its_own_window():
    loop = hpa(up=Rule(60, "Percent", 100, 30))
    counts = follow(loop, 4, lambda now: 8 if now >= 30 else 4, 120)
    # The last 4 is of 15 s, and counts until 75.
    assert counts == [4, 4, 4, 4, 4, 8, 8, 8, 8]


def test_bounds_go_before_everything():
    assert hpa(maximum=5).decide(0, 4, says(50)) == 5
    assert hpa(minimum=3).decide(0, 3, says(1)) == 3


def test_the_greatest_of_several_metrics_counts():
    assert hpa().decide(0, 4, says(2) + says(6)) == 6


def test_a_metric_that_fails_forbids_going_down_and_not_up():
    assert hpa().decide(0, 4, says(2) + [fails]) == 4
    assert hpa().decide(0, 4, says(6) + [fails]) == 6
    assert hpa().decide(0, 4, [fails, fails]) == 4


def test_what_keda_makes_of_an_answer():
    assert prometheus_answer(0.3, True, False) == 0.3
    assert prometheus_answer(None, True, ignore_null_values=True) == 0
    with pytest.raises(MetricFailed):
        prometheus_answer(None, True, ignore_null_values=False)
    with pytest.raises(MetricFailed):
        prometheus_answer(0.3, False, ignore_null_values=True)


def test_the_fallback_keeps_the_number_after_so_many_failures():
    fallback = Fallback(3)
    for _ in range(3):
        with pytest.raises(MetricFailed):
            fallback.replicas(fails, 7)
    assert fallback.replicas(fails, 7) == 7
    assert fallback.replicas(lambda: 4, 7) == 4
    with pytest.raises(MetricFailed):  # it counts anew
        fallback.replicas(fails, 7)


def test_the_fluid_model_by_hand():
    service = Service(call_seconds=0.1, variation=1.0, max_wait_seconds=2.0,
                      pending_seconds=5, load_seconds=10)
    pods = Replicas(service, 2)
    # A load of 3 on 2 pods: half a second a second piles up on each, as far as 2 s.
    assert [pods.step(t, 3.0) for t in range(4)] == [0, 0, 0, 0]
    assert pods.backlog == pytest.approx(2.0)
    assert pods.step(4, 3.0) == pytest.approx(1.0)  # 0.5 of each of the two
    pods.set_count(5, 4)
    assert (pods.ready(5), pods.pending(5), pods.count) == (2, 2, 4)
    assert len(pods.gauges(5)) == 2
    assert (pods.pending(11), len(pods.gauges(11)), pods.ready(11)) == (0, 4, 2)
    assert pods.gauges(11)[2:] == [0.0, 0.0], "they load"
    assert pods.ready(20) == 4
    pods.step(20, 2.0)
    assert pods.backlog == pytest.approx(2.0 / 2 - 0.5), "the pile on four, less a half each"
    # Pollaczek and Khinchine at a share of 0.5: 0.5 x 0.1 x (1 + 1) / (2 x 0.5).
    assert pods.mean_wait() == pytest.approx(0.1)


def recommended(kind: str) -> Scaling:
    return Scaling.of_chart(RECOMMENDED, kind)


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_a_burst_settles_within_three_minutes(kind):
    burst = run(kind, traces.step(1.2, 4.0), recommended(kind))
    assert burst.settled_after(600) <= 180
    assert len(burst.overloads()) == 1
    assert burst.overloads()[0] <= 60
    assert burst.oscillations() == 0


@pytest.mark.parametrize("kind", ["hpa", "keda"])
@pytest.mark.parametrize("file", [RECOMMENDED, VALUES], ids=["recommended", "chart"])
def test_a_day_costs_little_more_than_it_must(file, kind):
    if not file.exists():
        pytest.skip(f"{file.name} is not there")
    scaling = Scaling.of_chart(file, kind)
    day = run(kind, traces.day(), scaling)
    assert day.replica_hours / day.ideal_hours(scaling) < 1.25
    assert day.shed_share < 0.001
    assert max(day.overloads()) <= 60
    assert day.oscillations() <= 24, "one an hour"


def test_a_target_that_is_too_low_oscillates():
    low = dataclasses.replace(recommended("hpa"), target=0.15, busy_target=None)
    good = recommended("hpa")
    flat = traces.step(2.0, 2.0, seconds=4 * 3600)
    oscillating = run("low", flat, low, start=3)
    assert oscillating.oscillations() >= 10
    assert oscillating.settled_after(0) is None
    assert run("good", flat, good, start=3).oscillations() <= 1, "random waits in four hours"


def test_a_slow_start_makes_the_overload_as_long():
    quick, slow = (
        run("", traces.step(1.2, 4.0), recommended("hpa"), Service(load_seconds=seconds))
        for seconds in (5.0, 120.0)
    )
    assert 100 < slow.overloads()[0] - quick.overloads()[0] < 130


@pytest.mark.parametrize("empty", [False, True])
def test_a_dead_prometheus_never_scales_down(empty):
    # It dies when the load is low and would take pods away.
    load = traces.step(4.0, 0.5, at=1200, seconds=7200)
    options = {"start": 6, "dead": (1200.0, 7200.0), "empty_when_dead": empty}
    kept = run("", load, recommended("keda"), **options)
    assert min(kept.replicas[1200:]) == kept.replicas[1200]
    # By KEDA's default an empty answer is a load of nothing.
    deaf = dataclasses.replace(recommended("keda"), ignore_null_values=True)
    lost = run("", load, deaf, **options)
    assert (min(lost.replicas) < kept.replicas[1200]) == empty


def test_the_query_of_the_chart_is_understood():
    line = '        query: max(longwave_expected_wait_seconds{ {{- $pods }} })'
    assert _query(line) == ("max", 0)
    line = "        query: avg(avg_over_time(longwave_expected_wait_seconds{x}[1m]))"
    assert _query(line) == ("avg", 60)
    with pytest.raises(ValueError, match="neither"):
        _query("        query: sum(longwave_expected_wait_seconds)")


def test_all_scenarios_run_with_the_recommended_values():
    names = [outcome.name for outcome, _, _ in scenarios("x", RECOMMENDED)]
    assert len(names) == len(set(names)) == 8


def test_the_picture_is_that_of_the_recommended_values():
    found = scenarios("recommended", RECOMMENDED)
    expected = draw(found[0][0], found[1][0], found[0][1].target)
    assert (FOLDER / "scaling.svg").read_text() == expected, "make it anew: README.md"


def test_the_model_foresees_what_a_real_server_did():
    load, wait, about = traces.recorded(FOLDER / "recorded.json")
    service = Service(call_seconds=about["call_seconds"], variation=0.0,
                      max_wait_seconds=about["max_wait_seconds"])
    pods = Replicas(service, 1)
    model, refused = [], 0.0
    for second, share in enumerate(load):
        refused += pods.step(second, share)
        model.append(pods.expected_wait())
    # Of the overload, which is over after a minute: both rise to the limit, stay there, and fall.
    half, end = about["max_wait_seconds"] / 2, 60
    ours = [t for t, value in enumerate(model[:end]) if value > half]
    real = [t for t, value in enumerate(wait[:end]) if value > half]
    assert abs(ours[0] - real[0]) <= 3
    assert abs(ours[-1] - real[-1]) <= 4
    assert max(wait) == pytest.approx(max(model), rel=0.15)
    # Work that was refused, in calls. Arrivals are random, so the real number is.
    assert refused / about["call_seconds"] == pytest.approx(about["refused"], rel=0.35)
    # Below capacity both are near nothing, by the means.
    quiet = slice(50, 70)
    assert sum(model[quiet]) / 20 < 0.2 and sum(wait[quiet]) / 20 < 0.2
