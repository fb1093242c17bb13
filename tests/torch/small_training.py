"""A small model, recipe and corpus to train with, and a trainer of them."""

import pytest
import torch

import corpus_test
from longwave_torch import Encoder, EncoderConfig
from longwave_torch.train import batches as batch_maker
from longwave_torch.train import recipe, trainer

CONFIG = {
    "model_type": "longwave-nprf",
    "architectures": ["LongwaveNprfModel"],
    "torch_dtype": "float32",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 8,
    "intermediate_size": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "vocab_size": 260,
    "max_position_embeddings": 4096,
    "norm_position": "pre",
    "use_bias": True,
    "embedding_norm": False,
    "positions": {"kind": "none"},
    "ngrams": {"sizes": [3, 5], "buckets": 512, "dim": 8},
    "attention": {
        "features": {"kind": "prf", "num_features": 8, "seed": 1},
        "qk_norm": True,
        "scale": 1.0,
        "causal": False,
        "bias": {"kind": "t5", "shared_layers": True, "num_buckets": 8, "max_distance": 16},
    },
}

RECIPE = """
name = "tiny"
seed = 5
checkpoint_every = 3

[[phases]]
name = "first"
steps = 4
layers = 0
lr = 1e-2
warmup = 2
lengths = [100]
shares = [1]
batch_bytes = 800
[phases.objectives]
distill = 1.0
rank = 0.5
negatives = 8

[[phases]]
name = "second"
steps = 5
lr = 3e-3
warmup = 2
lengths = [64, 200]
shares = [1, 1]
batch_bytes = 800
teacher_share = 0.5
redraw_every = 2
[phases.objectives]
distill = 1.0
contrastive = 0.5
masked = 0.1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    corpus = corpus_test.make_corpus(folder / "corpus")
    return corpus, corpus_test.make_targets(corpus, folder / "targets")


def make_trainer(data, folder, text=RECIPE, **options):
    corpus, targets = data
    its_recipe = recipe.parse(text)
    config = EncoderConfig.from_dict(CONFIG)
    encoder = Encoder(
        config, residual_scale=0.0, generator=torch.Generator().manual_seed(its_recipe.seed)
    )
    maker = batch_maker.Batches(corpus, targets, config, its_recipe.seed)
    return trainer.Trainer(encoder, its_recipe, maker, folder, **options)


def weights_of(its_trainer):
    return {k: v.clone() for k, v in its_trainer.encoder.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different
