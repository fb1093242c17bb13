"""The feature maps phi and their random directions W (arXiv 2106.12566, Eq. 4 and 5)."""

import math

import torch

from .config import PROJECTED


def orthogonal_projection(num_features, head_dim, kind="prf", generator=None):
    """W [num_features, head_dim] in double: blocks of head_dim orthogonal rows, uniform over all
    rotations, with the norms of normal vectors; kind "sphere": all of norm sqrt(head_dim)."""
    count = -(-num_features // head_dim)
    shape = (count, head_dim, head_dim)
    options = {"generator": generator, "dtype": torch.float64}
    q, r = torch.linalg.qr(torch.randn(shape, **options))
    q = q * torch.sign(torch.diagonal(r, dim1=1, dim2=2))[:, None, :]
    if kind == "sphere":
        norms = torch.full(shape[:2], math.sqrt(head_dim), dtype=torch.float64)
    else:
        norms = torch.linalg.vector_norm(torch.randn(shape, **options), dim=2)
    rows = q.transpose(1, 2) * norms[:, :, None]
    return rows.reshape(-1, head_dim)[:num_features]


def draw_projection(config, generator=None):
    """A new layer's W [heads, num_features, head_dim] in fp32 on the CPU for an EncoderConfig; None
    for features without directions. `generator`: of the CPU."""
    features = config.attention.features
    if features.kind not in PROJECTED:
        return None
    heads = [
        orthogonal_projection(features.num_features, config.head_dim, features.kind, generator)
        for _ in range(config.num_attention_heads)
    ]
    return torch.stack(heads).float()


def scaled(x, qk_norm, scale):
    """x^ [..., head_dim]: scale x / |x| (0 where |x| = 0), or x head_dim^(-1/4) without qk_norm."""
    if not qk_norm:
        return x * x.shape[-1] ** -0.25
    square = (x * x).sum(-1, keepdim=True)
    # Both branches of a `where` are differentiated: neither may divide by zero.
    present = square > 0
    inverse = torch.where(present, torch.where(present, square, 1.0).rsqrt(), 0.0)
    return x * (inverse * scale)


def feature_map(x, projection, kind, stabilise=None, mask=None):
    """phi(x^) [batch, n, heads, features] of x^ [batch, n, heads, head_dim].

    projection: [heads, m, head_dim] or None for elu; trf yields 2 m features. stabilise: None, or
    "query" or "key": exponents are lowered by a row's maximum, or by the maximum over all keys of a
    sequence and head, which changes no output (without qk_norm exponents have no bound). mask:
    [batch, n] bool, tokens that are none: phi = 0 there.
    """
    if kind == "elu":
        phi = torch.where(x > 0, x + 1, torch.exp(x.clamp(max=0)))
    else:
        angle = torch.einsum("bnhd,hmd->bnhm", x, projection)
        half_square = (x * x).sum(-1, keepdim=True) / 2
        norm = projection.shape[1] ** -0.5
        if kind == "trf":
            factor = torch.exp(half_square - _shift(half_square, stabilise, mask)) * norm
            phi = torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1) * factor
        else:
            exponent = angle - half_square
            phi = torch.exp(exponent - _shift(exponent, stabilise, mask)) * norm
    return phi if mask is None else phi.masked_fill(mask[:, :, None, None], 0.0)


def _shift(exponent, stabilise, mask):
    """What is taken from the exponents. It cancels in every output, so no gradient goes through."""
    if stabilise is None:
        return 0.0
    exponent = exponent.detach()
    if stabilise == "query":
        return exponent.amax(-1, keepdim=True)
    if mask is not None:
        exponent = exponent.masked_fill(mask[:, :, None, None], -math.inf)
    highest = exponent.amax((1, 3), keepdim=True)
    return torch.where(torch.isfinite(highest), highest, 0.0)  # a sequence without tokens
