"""The soak's arithmetic, against cases worked out by hand."""

import math

import figures
import pytest


def columns(*pairs):
    return {"offered": [pair[0] for pair in pairs], "good": [pair[1] for pair in pairs]}


def test_recovery_is_the_moment_from_which_all_is_good():
    bad, good = (100, 10), (100, 100)
    assert figures.recovery_seconds(columns(bad, bad, good, good), 0.5, 1.0) == 0
    assert figures.recovery_seconds(columns(bad, bad, bad, good), 0.5, 1.0) == 0.5
    # Good for a while is not recovered.
    assert figures.recovery_seconds(columns(bad, bad, good, bad, good, good), 0.5, 1.0) == 1.0
    assert math.isinf(figures.recovery_seconds(columns(bad, bad, good, bad), 0.5, 1.0))
    assert math.isinf(figures.recovery_seconds(columns(bad, bad), 0.5, 1.0))


def test_recovery_forgives_one_call_but_not_three_in_a_hundred():
    assert figures.recovery_seconds(columns((10, 9)), 1, 0) == 0
    assert math.isinf(figures.recovery_seconds(columns((100, 95)), 1, 0))


def test_recovery_ignores_the_empty_end_of_the_columns():
    assert figures.recovery_seconds(columns((100, 0), (100, 100), (0, 0)), 1, 1) == 0


def test_slope_is_exact_on_a_line_and_has_an_error_off_it():
    seconds = [0.0, 1.0, 2.0, 3.0]
    assert figures.slope(seconds, [5.0, 7.0, 9.0, 11.0]) == pytest.approx((2, 0))
    tilt, error = figures.slope(seconds, [0.0, 1.0, 0.0, 1.0])
    assert tilt == pytest.approx(0.2)
    assert error == pytest.approx(math.sqrt(0.8 / 2 / 5))
    with pytest.raises(ValueError):
        figures.slope([0.0, 1.0], [0.0, 1.0])


def test_growth_leaves_the_warm_up_out():
    seconds = [float(i) for i in range(11)]
    values = [0.0, 50.0, *[100.0] * 9]
    assert figures.growth(seconds, values) == pytest.approx(0)
    assert figures.growth(seconds, [10.0 * i for i in range(11)]) == pytest.approx(80)


def test_ratio_interval_holds_one_where_nothing_differs():
    mean, low, high = figures.ratio_interval([(10, 11), (11, 10), (10, 10), (12, 11), (11, 12)])
    assert low < 1 < high and mean == pytest.approx(1)
    mean, low, high = figures.ratio_interval([(20, 10.1), (20, 10), (20.1, 10)])
    assert 1.9 < low < mean < high < 2.1


def test_percentile_is_a_value_that_was_there():
    assert figures.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert figures.percentile(list(range(1, 101)), 0.99) == 99
    assert figures.percentile([7.0], 0.99) == 7.0
