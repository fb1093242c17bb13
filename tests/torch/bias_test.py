"""The relative bias: every kind against the numpy twin's, at every offset."""

import dataclasses

import numpy as np
import pytest
import small_models
import torch
from conftest import seeded_weights

from longwave_torch import EncoderConfig, RelativeBias
from longwave_torch.bias import initial_bias, near_slope
from longwave_torch.config import AttentionConfig, BiasConfig
from longwave_torch.golden import relative_bias as twin_bias
from longwave_torch.reference import bias_rows, bias_vector

BIASED = [n for n in small_models.DIFFERENCES if n != "tiny_none"]


def stored_bias(name):
    weights = seeded_weights(name)
    for key in ("attention_bias", "layers.0.attention.bias"):
        if key in weights:
            return weights[key].astype(np.float64)
    return None


@pytest.mark.parametrize("name", BIASED)
@pytest.mark.parametrize("n", [1, 2, 17, 18, 129, 700])
def test_offsets_have_the_twins_bias(name, n):
    config = small_models.config(name)
    stored = stored_bias(name)
    heads = twin_bias.head_biases(config, stored)
    expected = np.stack([head.table(n) for head in heads])
    near, slope = near_slope(EncoderConfig.from_dict(config), torch.tensor(stored))
    ours = bias_vector(near, slope, n).numpy()
    looked_at = np.isfinite(expected)  # the twin's causal heads say -infinity where none looks
    assert np.abs(ours - expected)[looked_at].max() < 1e-14


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("first, end", [(0, 9), (0, 1), (3, 7), (8, 9)])
def test_rows_are_cut_out_of_the_whole(causal, first, end):
    near, slope = torch.randn(2, 7, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    for i, row in enumerate(bias_rows(near, slope, 9, causal, first, end).transpose(0, 1), first):
        for j in range(9):
            offset = j - i
            inside = max(-3, min(3, offset))
            b = near[:, inside + 3] - slope * abs(offset - inside)
            expected = torch.full((2,), -torch.inf) if causal and offset > 0 else b
            assert torch.equal(row[:, j], expected.double())


def config_of(**bias):
    return dataclasses.replace(
        EncoderConfig.from_dict(small_models.config("tiny_t5")),
        max_position_embeddings=64,
        attention=AttentionConfig(bias=BiasConfig(**bias)),
    )


@pytest.mark.parametrize(
    "bias",
    [{"kind": "t5"}, {"kind": "clipped", "max_distance": 9}, {"kind": "table", "table_length": 64}],
)
def test_new_biases_fall_with_distance(bias):
    config = config_of(**bias).validated()
    near, slope = near_slope(config, initial_bias(config))
    assert slope is None
    centre = near.shape[1] // 2
    assert (near[:, centre] == 0).all()
    assert (near[:, centre:].diff(dim=1) <= 0).all() and (
        near[:, : centre + 1].diff(dim=1) >= 0
    ).all()
    assert near.amin(1).tolist() == pytest.approx([-1, -6])
    assert (initial_bias(config, "zeros") == 0).all()
    with pytest.raises(ValueError, match="decay, zeros"):
        initial_bias(config, "uniform")


def test_alibi_begins_with_its_papers_slopes_and_is_not_trained():
    bias = RelativeBias(config_of(kind="alibi"))
    near, slope = bias.near_slope()
    assert near.shape == (2, 1) and slope.tolist() == [2**-4, 2**-8]
    assert not list(bias.parameters()) and list(bias.state_dict()) == ["weight"]


def test_no_bias_has_nothing_stored():
    bias = RelativeBias(config_of(kind="none"))
    near, slope = bias.near_slope()
    assert near.tolist() == [[0.0], [0.0]] and slope is None and not bias.state_dict()
