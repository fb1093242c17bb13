"""Random directions and feature maps: orthogonality, norms, unbiasedness, redraw."""

import math

import pytest
import torch
from conftest import seeded_encoder

from longwave_torch import kernelized_attention
from longwave_torch.features import feature_map, orthogonal_projection, scaled


def blocks(projection, head_dim):
    return [projection[b : b + head_dim] for b in range(0, len(projection), head_dim)]


@pytest.mark.parametrize("kind", ["prf", "trf", "sphere"])
@pytest.mark.parametrize("features, head_dim", [(64, 64), (32, 64), (100, 24), (1, 1)])
def test_directions_are_orthogonal_in_blocks(kind, features, head_dim):
    projection = orthogonal_projection(features, head_dim, kind)
    assert projection.shape == (features, head_dim)
    for block in blocks(projection, head_dim):
        gram = block @ block.T
        assert (gram - torch.diag(torch.diag(gram))).abs().max() < 1e-12 * head_dim
        if kind == "sphere":
            assert (block.norm(dim=1) - math.sqrt(head_dim)).abs().max() < 1e-12


def test_norms_are_those_of_normal_vectors():
    """|w|^2 is chi-squared: mean d, variance 2 d; 4000 of them, five standard errors."""
    head_dim, count = 16, 4000
    squares = orthogonal_projection(count, head_dim).square().sum(1)
    deviation = math.sqrt(2 * head_dim)
    assert abs(squares.mean().item() - head_dim) < 5 * deviation / math.sqrt(count)
    assert abs(squares.std().item() / deviation - 1) < 0.15


def test_directions_prefer_no_direction():
    """The mean of w w^T is the identity: without the sign of R's diagonal it would not be."""
    head_dim, draws = 4, 3000
    total = torch.zeros(head_dim, dtype=torch.float64)
    for _ in range(draws):
        total += orthogonal_projection(1, head_dim)[0]
    # Each mean has standard deviation 1 / sqrt(draws).
    assert (total / draws).abs().max() < 5 / math.sqrt(draws)


@pytest.mark.parametrize("kind", ["prf", "trf"])
def test_features_estimate_the_exponential(kind):
    """E phi(x) . phi(y) = exp(x . y); Lemma 2 gives the variance of prf at m = 1, and independent
    blocks of orthogonal rows do not raise it."""
    x, y = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    x, y = scaled(x, True, 1.0), scaled(y, True, 1.0)
    count = 200_000
    w = orthogonal_projection(count, 8, kind)[None]
    estimate = (feature_map(x, w, kind) * feature_map(y, w, kind)).sum().item()
    exact = math.exp((x * y).sum().item())
    variance = (math.exp((x + y).square().sum().item()) - 1) * exact**2
    assert abs(estimate - exact) < 5 * math.sqrt(max(variance, exact**2) / count)


def test_a_zero_vector_stays_zero_and_has_a_gradient():
    x = torch.zeros(1, 1, 1, 4, dtype=torch.float64, requires_grad=True)
    unit = scaled(x, True, 2.0)
    assert (unit == 0).all()
    unit.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_stabilised_exponents_change_nothing():
    """Without qk_norm, at sizes where plain exponentials overflow."""
    q, k, v = 40 * torch.randn(3, 2, 12, 2, 4, dtype=torch.float64)
    w = torch.stack([orthogonal_projection(8, 4) for _ in range(2)])
    options = {"qk_norm": False, "lengths": [12, 7], "backend": "torch"}
    z = kernelized_attention(q, k, v, w, torch.zeros(2, 1), **options)
    assert torch.isfinite(z).all()
    alone = kernelized_attention(q[1:, :7], k[1:, :7], v[1:, :7], w, torch.zeros(2, 1),
                                 qk_norm=False, backend="torch")  # fmt: skip
    assert (z[1, :7] - alone[0]).abs().max() < 1e-12 * v.abs().max()


def test_redraw_changes_directions_alone():
    encoder = seeded_encoder("tiny_t5")
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.redraw_features(torch.Generator().manual_seed(1))
    first = {k: v.clone() for k, v in encoder.state_dict().items()}
    changed = {k for k in before if not torch.equal(before[k], first[k])}
    assert changed == {"layers.0.attention.projection"}
    encoder.redraw_features(torch.Generator().manual_seed(1))
    assert all(torch.equal(first[k], v) for k, v in encoder.state_dict().items())
