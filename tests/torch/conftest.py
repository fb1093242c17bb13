"""What the tests of the torch package share: where it is, seeded small models, one thread."""

import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # tests run side by side

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "model" / "torch" / "src"), str(ROOT / "tests" / "golden")]

import init_weights  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import small_models  # noqa: E402
import torch  # noqa: E402

from longwave_torch import Encoder, EncoderConfig  # noqa: E402

SEED = 5
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(SEED)


def seeded_weights(name):
    """Weights of a small test model such that every tensor shows in the output: {name: fp32}."""
    return init_weights.init_weights(small_models.config(name), SEED)


def seeded_encoder(name, backend="torch"):
    encoder = Encoder(EncoderConfig.from_dict(small_models.config(name)), backend=backend)
    encoder.load_state_dict({k: torch.tensor(v) for k, v in seeded_weights(name).items()})
    return encoder.eval()


def some_ids(n, vocabulary=260, seed=SEED):
    return np.random.RandomState([seed, n]).randint(0, vocabulary, n)
