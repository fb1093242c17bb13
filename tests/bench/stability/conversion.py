"""Fig. 2 of arXiv 2106.12566: a model trained with exact softmax, its softmax then replaced by PRF,
without another training step."""

import torch

from longwave_torch import config

from .tasks import TASKS
from .training import Model, answers
from .variants import VARIANTS, encoder_config

FEATURES = (16, 32, 64, 128, 256, 512)
BATCHES = 4  # sequences of an evaluation: so many batches
DRAWS = 4  # of random directions


def converted(model, variant, recipe, features, seed):
    """The same weights with `features` random directions a head in the place of softmax."""
    kind = config.FeatureConfig("prf", features, seed)
    result = Model(encoder_config(VARIANTS[variant], recipe, kind), recipe)
    missing, unexpected = result.load_state_dict(model.state_dict(), strict=False)
    if unexpected or not all(name.endswith(".projection") for name in missing):
        raise ValueError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return result


@torch.no_grad()
def accuracy(model, task, recipe, seed):
    sequences = torch.Generator().manual_seed(3_000_000 + seed)
    batches = [TASKS[task](recipe, sequences) for _ in range(BATCHES)]
    return sum(answers(model, *batch)[1] for batch in batches) / BATCHES


def curve(model, run, recipe):
    """Accuracy by number of features ("exact": the model as it was trained), on the same sequences,
    PRF's a mean over DRAWS draws."""
    result = {"exact": accuracy(model, run.task, recipe, run.seed)}
    for features in FEATURES:
        drawn = [
            converted(model, run.variant, recipe, features, seed=1000 * run.seed + draw)
            for draw in range(DRAWS)
        ]
        right = [accuracy(each, run.task, recipe, run.seed) for each in drawn]
        result[str(features)] = sum(right) / DRAWS
    return {name: round(value, 5) for name, value in result.items()}
