"""Figures of merit and their uncertainty, on numpy arrays alone."""

import dataclasses

import numpy as np

# Scores closer than this are equal. Vectors of one text differ by rounding when it was encoded
# beside others: a product of two unit vectors in fp32 is off by about sqrt(384) 2^-24 = 1.2e-6.
TIE = 2e-6


@dataclasses.dataclass(frozen=True)
class Figure:
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def recall_at(scores, wanted, k, tie=TIE):
    """For each query, whether the wanted candidate is among the k best: [queries] in [0, 1].

    scores: [queries, candidates]. wanted: [queries], the index of the one that counts. Among equal
    scores the order is taken to be random, and the value is the chance to be among the k best: a
    method that cannot tell any candidates apart gets k / candidates, not 0 or 1.
    """
    own = scores[np.arange(len(scores)), wanted][:, None]
    above = (scores > own + tie).sum(1)
    equal = (np.abs(scores - own) <= tie).sum(1)  # itself among them
    return np.clip((k - above) / equal, 0.0, 1.0)


def ndcg_at(scores, relevant, allowed, k, tie=TIE):
    """nDCG@k with relevance 0 or 1: [queries], NaN where nothing that is allowed is relevant.

    scores, relevant, allowed: [queries, candidates]; what is not allowed is not ranked. Equal
    scores share the mean of their gains, which is what a random order of them is worth (McSherry
    and Najork, ECIR 2008).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    result = np.full(len(scores), np.nan)
    for query, mask in enumerate(allowed):
        gains = relevant[query, mask].astype(float)
        if not gains.any():
            continue
        values = scores[query, mask]
        order = np.argsort(-values, kind="stable")
        group = np.concatenate([[0], np.cumsum(-np.diff(values[order]) > tie)])
        shared = (np.bincount(group, gains[order]) / np.bincount(group))[group][:k]
        best = discounts[: int(gains.sum())].sum()  # all that is relevant first, k at most
        result[query] = shared @ discounts[: len(shared)] / best
    return result


def random_ndcg_at(relevant, allowed, k):
    """What ndcg_at gives for scores that are all equal."""
    return ndcg_at(np.zeros(relevant.shape), relevant, allowed, k)


class Ranks:
    """Ranks of a fixed list of values under changing weights: a value of weight 2 stands twice."""

    def __init__(self, values):
        _, self._group = np.unique(values, return_inverse=True)

    def __call__(self, weights):
        """Mean ranks [n], counted from 0.5."""
        size = np.bincount(self._group, weights)
        return (np.cumsum(size) - 0.5 * size)[self._group]


def weighted_correlation(x, y, weights):
    """Pearson's; 0 if x or y is constant."""
    total = weights.sum()
    x = x - (weights @ x) / total
    y = y - (weights @ y) / total
    product = weights @ (x * y)
    sizes = (weights @ (x * x)) * (weights @ (y * y))
    return float(product / np.sqrt(sizes)) if sizes > 0 else 0.0


def spearman(x, y):
    """Spearman's rank correlation of two lists."""
    ones = np.ones(len(x))
    return weighted_correlation(Ranks(x)(ones), Ranks(y)(ones), ones)


def resample(clusters, resamples, seed):
    """How often each item is drawn in each bootstrap sample, [resamples, items].

    clusters: [items], any labels. Whole clusters are drawn, since pages of one package succeed or
    fail together; drawing pages would make intervals too narrow. The same for the same clusters and
    seed, so that differences of two competitors can be had from the same samples.
    """
    _, of_item = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(of_item.max()) + 1
    random = np.random.default_rng(seed)
    return random.multinomial(count, np.full(count, 1.0 / count), size=resamples)[:, of_item]


def pair_weights(weights, clusters, i, j):
    """How often the pairs (i, j) of items stand in one sample of resample, [pairs].

    weights: [items]. A cluster that is drawn twice stands for two clusters, in each of which its
    pairs occur once: pairs within a cluster count as often as it was drawn, not as the square of
    that, which would make them heavier in samples than they are.
    """
    _, of_item = np.unique(np.asarray(clusters), return_inverse=True)
    return np.where(of_item[i] == of_item[j], weights[i], weights[i] * weights[j]).astype(float)


def interval(value, samples):
    low, high = np.percentile(samples, [2.5, 97.5])
    return Figure(float(value), float(low), float(high))


def mean_figure(values, weights):
    """The mean of values [items] with the interval from resample's weights [resamples, items]."""
    return interval(np.mean(values), weights @ values / np.maximum(weights.sum(1), 1))
