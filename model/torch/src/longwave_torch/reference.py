"""The attention's sum in plain torch: dense as it is written, and in row blocks for exact softmax.

    z_i = sum_j c(j - i) phi(q_i) . phi(k_j) v_j / sum_j c(j - i) phi(q_i) . phi(k_j)

with c = exp(b): model/reference/attention.h is the definition. Both are differentiated by autograd.
Shapes: q, k, v [batch, n, heads, head_dim]; near [heads, 2 R + 1]; slope [heads] or None; mask
[batch, n] bool, tokens that are none, or None.
"""

import math

import torch
from torch.utils import checkpoint

from .features import feature_map, scaled

SOFTMAX_ROWS = 512  # rows of exact softmax whose logits are held at once


def bias_vector(near, slope, n):
    """b(o) [heads, 2 n - 1] for offsets o in (-n, n)."""
    reach = near.shape[1] // 2
    if n - 1 <= reach:
        return near[:, reach - n + 1 : reach + n]
    offsets = torch.arange(1 - n, n, device=near.device)
    inside = offsets.clamp(-reach, reach)
    b = near[:, inside + reach]
    if slope is not None:
        b = b - slope[:, None] * (offsets - inside).abs()
    return b


def bias_rows(near, slope, n, causal, first=0, end=None):
    """b(j - i) [heads, end - first, n] for rows i in [first, end) and all j; -infinity where a
    causal head looks ahead."""
    end = n if end is None else end
    # Row i is the window of n offsets that begins at -i: windows run from the last row back.
    windows = bias_vector(near, slope, n)[:, n - end : 2 * n - 1 - first].unfold(1, n, 1)
    rows = windows.flip(1)
    if causal:
        j = torch.arange(n, device=near.device)
        rows = rows.masked_fill(
            j > torch.arange(first, end, device=near.device)[:, None], -math.inf
        )
    return rows


def dense(q, k, v, projection, near, slope, mask, features, qk_norm, scale, causal):
    """All kinds in O(n^2) time and memory: the obvious form, for tests and short sequences."""
    x_q, x_k = scaled(q, qk_norm, scale), scaled(k, qk_norm, scale)
    if features == "softmax":
        return _softmax_rows(x_q, x_k, v, near, slope, mask, causal, 0)
    stabilise = (None, None) if qk_norm else ("query", "key")
    phi_q = feature_map(x_q, projection, features, stabilise[0])
    phi_k = feature_map(x_k, projection, features, stabilise[1], mask)
    b = bias_rows(near, slope, q.shape[1], causal)
    c = torch.exp(b - b.detach().amax(2, keepdim=True))  # a factor common to a row changes nothing
    weights = torch.einsum("bihm,bjhm->bhij", phi_q, phi_k) * c
    numerator = torch.einsum("bhij,bjhd->bihd", weights, v)
    return divide(numerator, weights.sum(3).transpose(1, 2)[..., None], mask)


def divide(numerator, denominator, mask):
    """numerator / denominator [batch, n, heads, ...]; 0 in rows of tokens that are none."""
    if mask is None:
        return numerator / denominator
    rows = mask[:, :, None, None]
    # Rows without any key have no denominator, and 0 / 0 would spoil gradients though it is unused.
    return (numerator / denominator.masked_fill(rows, 1.0)).masked_fill(rows, 0.0)


def softmax(q, k, v, near, slope, mask, qk_norm, scale, causal):
    """Exact softmax of x_q . x_k + b in O(n^2) time and O(n) memory: rows of logits are formed
    again in the backward pass."""
    x_q, x_k = scaled(q, qk_norm, scale), scaled(k, qk_norm, scale)
    n = q.shape[1]
    arguments = (x_k, v, near, slope, mask, causal)
    if n <= 2 * SOFTMAX_ROWS:
        return _softmax_rows(x_q, *arguments, 0)
    parts = []
    for first in range(0, n, SOFTMAX_ROWS):
        rows = x_q[:, first : first + SOFTMAX_ROWS]
        parts.append(
            checkpoint.checkpoint(_softmax_rows, rows, *arguments, first, use_reentrant=False)
        )
    return torch.cat(parts, dim=1)


def _softmax_rows(x_q, x_k, v, near, slope, mask, causal, first):
    """Rows from `first` on, x_q being theirs."""
    end = first + x_q.shape[1]
    logits = torch.einsum("bihd,bjhd->bhij", x_q, x_k)
    logits = logits + bias_rows(near, slope, x_k.shape[1], causal, first, end)
    if mask is not None:
        # Not -infinity: a sequence without tokens would get NaN, which masks cannot undo.
        logits = logits.masked_fill(mask[:, None, None, :], torch.finfo(logits.dtype).min)
    z = torch.einsum("bhij,bjhd->bihd", torch.softmax(logits, dim=3), v)
    return z if mask is None else z.masked_fill(mask[:, first:end, None, None], 0.0)
