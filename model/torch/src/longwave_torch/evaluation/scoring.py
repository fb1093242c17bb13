"""Figures of every competitor in a task, and differences between one of them and the others."""

import numpy as np

from . import metrics
from .tasks import TeacherAgreement

# Of the rank correlation: each sorts half a million pairs anew.
MAX_AGREEMENT_RESAMPLES = 200


def score(task, vectors, teacher, ours, resamples, seed):
    """One task's part of the result, as plain data.

    vectors: {competitor: Vectors}. teacher: the name in vectors whose similarities TeacherAgreement
    compares with, or None. ours: the name that others are compared with, or None.
    """
    if isinstance(task, TeacherAgreement):
        values, samples = _agreement(task, vectors, teacher, resamples, seed)
    else:
        values, samples = _retrieval(task, vectors, resamples, seed)
    differences = {}
    if ours in values:
        differences = _figures(_less(values, ours), _less(samples, ours))
    return {
        "title": task.title,
        "metrics": list(task.metrics),
        "primary": task.primary,
        "packages": len(set(task.clusters)),
        **_sizes(task),
        "figures": _figures(values, samples),
        "differences": differences,
    }


def _less(values, ours):
    """{other: {metric: ours less the other's}}."""
    mine = values[ours]
    return {k: {m: mine[m] - v[m] for m in v} for k, v in values.items() if k != ours}


def _figures(values, samples):
    return {
        name: {m: vars(metrics.interval(values[name][m], samples[name][m])) for m in values[name]}
        for name in values
    }


def _sizes(task):
    if isinstance(task, TeacherAgreement):
        pairs = {metric: len(chosen) for metric, chosen in task.selections().items()}
        return {"passages": len(task.texts), "pairs": pairs}
    return {
        "queries": len(task.queries),
        "candidates": len(task.candidates),
        "mean_candidate_bytes": float(np.mean([len(t) for t in task.candidates])),
    }


def _retrieval(task, vectors, resamples, seed):
    weights = metrics.resample(task.clusters, resamples, seed)
    measured = {name: task.measure(v) for name, v in vectors.items()}
    measured["chance"] = task.chance()
    values = {k: {m: float(np.mean(x)) for m, x in each.items()} for k, each in measured.items()}
    totals = weights.sum(1)
    samples = {
        k: {m: weights @ x / np.maximum(totals, 1) for m, x in each.items()}
        for k, each in measured.items()
    }
    return values, samples


def _agreement(task, vectors, teacher, resamples, seed):
    similarities = {name: task.measure(v) for name, v in vectors.items()}
    wanted = similarities.pop(teacher)
    weights = metrics.resample(task.clusters, min(resamples, MAX_AGREEMENT_RESAMPLES), seed)
    values = {name: {} for name in similarities}
    samples = {name: {} for name in similarities}
    for metric, chosen in task.selections().items():
        truth = metrics.Ranks(wanted[chosen])
        ranks = {name: metrics.Ranks(s[chosen]) for name, s in similarities.items()}
        i, j = (side[chosen] for side in task.pairs)
        rows = np.concatenate([np.ones((1, weights.shape[1]), weights.dtype), weights])
        correlations = []
        for row in rows:  # the first is the sample itself
            w = metrics.pair_weights(row, task.clusters, i, j)
            expected = truth(w)
            correlations.append(
                [metrics.weighted_correlation(expected, r(w), w) for r in ranks.values()]
            )
        for name, column in zip(ranks, np.array(correlations).T):
            values[name][metric], samples[name][metric] = float(column[0]), column[1:]
    return values, samples
