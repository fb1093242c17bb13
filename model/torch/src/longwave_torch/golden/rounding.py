"""How far fp32 arithmetic may carry a result from the exact one: README.md, "tolerance"."""

import dataclasses

import numpy as np

from . import twin

UNIT = 2.0**-24  # fp32's unit roundoff
# A route may sum n terms as blocks of at least this many, then the blocks' sums.
SUM_BLOCK = 64
SAFETY = 2
SEEDS = range(4)


class Rounding:
    """Disturbs each result of an operation by a random error of the size that fp32 makes there.

    Each of the k steps of a sum is off by up to UNIT times the partial sum, evenly spread; partial
    sums are about as large as the result or as the 2-norm of the terms, whichever dominates. Errors
    of many steps add up as their square root does (Higham and Mary, SIAM J. Sci. Comput. 41(5),
    2019): sqrt(k / 3) UNIT (|y| + 2-norm), in any order of summation. Other operations are off by a
    few units of the sizes that go in.
    """

    active = True

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)

    def spread(self, y, size, steps):
        """y, disturbed as `steps` roundings of a value of this size would."""
        deviation = UNIT * np.sqrt(steps / 3) * size
        return y + deviation * self.random.standard_normal(np.shape(y))

    def dense(self, y, x, weight):
        size = np.abs(y) + np.sqrt((x**2) @ (weight**2).T)
        return self.spread(y, size, weight.shape[1])

    @staticmethod
    def sum_steps(n):
        """Steps that the error of a sum over n tokens goes through, in blocks and then over them."""
        return min(n, SUM_BLOCK + n / SUM_BLOCK)

    def bias(self, bias):
        depth = np.abs(bias.near - bias.near.max())
        return dataclasses.replace(
            bias,
            near=self.spread(bias.near, depth + 2, 3),
            slope=float(self.spread(bias.slope, bias.slope, 3)),
        )

    def attention(self, z, sizes, v, bias, features):
        """`sizes`: sum of |w| |v| plus |z| times the sum of |w|, over |denominator|."""
        n = len(v)
        z = self.spread(z, sizes, features + self.sum_steps(n))
        return self.spread(z, _fft_units(bias, n) * np.abs(v).max(), 3)


def _fft_units(bias, n):
    """The FFT route's own error in units of max |v|: the spread of c's row sums (design: rho).

    Above 1e-6 / UNIT the route computes in double, whose error does not count here.
    """
    b = bias.table(n)
    total = np.concatenate([[0], np.cumsum(np.exp(b - b.max()))])
    sums = total[n:] - total[:-n]
    ratio = sums.max() / sums.min()
    return ratio if UNIT * ratio <= 1e-6 else 0.0


def tolerance(compute):
    """The tolerance for what `compute(rounding)` yields: SAFETY times the largest deviation that
    disturbed evaluations show in any value."""
    exact = compute(None)
    deviations = [np.abs(compute(Rounding(seed)) - exact).max() for seed in SEEDS]
    return SAFETY * float(max(deviations))


def tolerance_of_rows(model, ids, rows, exact):
    """The tolerance for rows of the last layer of a long input, from one disturbed evaluation: as
    many values as a long input's rows have sample the deviations well enough."""
    values = disturbed(model, Rounding(SEEDS[0])).rows(ids, rows)
    return SAFETY * float(np.abs(values - exact).max())


def disturbed(model, rounding):
    """The same model, with this rounding."""
    return twin.Twin(model.config, model.weights, rounding)
