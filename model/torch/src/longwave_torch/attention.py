"""Kernelised attention with relative bias (arXiv 2106.12566): a function, and a layer's module."""

import torch

from . import bias as relative_bias
from . import chunked, reference
from .config import FEATURE_KINDS, PROJECTED
from .features import draw_projection

BACKENDS = ("auto", "op", "torch", "dense")


def kernelized_attention(
    q,
    k,
    v,
    projection,
    near,
    slope=None,
    *,
    lengths=None,
    features="prf",
    qk_norm=True,
    scale=1.0,
    causal=False,
    backend="auto",
):
    """z_i = sum_j c(j - i) phi(q_i) . phi(k_j) v_j / sum_j c(j - i) phi(q_i) . phi(k_j), c =
    exp(b).

    Args:
      q, k, v: [batch, n, heads, head_dim], float32 or float64 (lower types are computed in
      float32).
      projection: random directions [heads, m, head_dim] of prf, trf, sphere; else None. A buffer:
      it
        gets no gradient.
      near: [heads, 2 R + 1], b(o) at offsets o = j - i from -R to R. Beyond R b is constant on each
        side, or falls by slope a step. Where n - 1 < R the centre is used.
      slope: [heads] or None; gets no gradient.
      lengths: [batch], tokens of each sequence; keys beyond are not seen, rows beyond are 0.
      features: prf, sphere, elu, trf (signed), or softmax: exp(x_q . x_k) in place of features.
      qk_norm: x = scale q / |q|; False: x = q head_dim^(-1/4).
      causal: keys after the query are not seen.
      backend: "auto" (the C++ operator where it is loaded and knows the case, else "torch"), "op",
        "torch" (O(n); exact softmax O(n^2) time, O(n) memory), "dense" (O(n^2), the obvious form).

    Returns [batch, n, heads, head_dim] of q's type. ValueError: shapes or kinds that do not fit.
    """
    _check(q, k, v, projection, near, slope, features, backend)
    compute = torch.promote_types(q.dtype, torch.float32)
    options = {"device": q.device, "dtype": compute}
    with torch.autocast(q.device.type, enabled=False):
        x_q = q.to(compute)
        z = _implementation(backend, x_q, features)(
            x_q,
            k.to(compute),
            v.to(compute),
            None if projection is None else projection.detach().to(**options),
            near.to(**options),
            None if slope is None else slope.detach().to(**options),
            lengths=None if lengths is None else _lengths(lengths, q),
            features=features,
            qk_norm=qk_norm,
            scale=scale,
            causal=causal,
        )
    return z.to(q.dtype)


def _lengths(lengths, q):
    return torch.as_tensor(lengths, device=q.device, dtype=torch.int64)


def _implementation(backend, q, features):
    """A function like kernelized_attention, without its `backend`."""
    if backend in ("auto", "op"):
        from . import ops  # loads the library: not before somebody computes

        if ops.supports(q, features):
            return ops.kernelized_attention
        if backend == "op":
            case = f"it does not know {features!r} of {q.dtype} on {q.device}"
            raise RuntimeError(f"backend 'op' cannot be had: {ops.why_unavailable() or case}")
    return _dense if backend == "dense" else _plain


def _mask(q, lengths):
    """[batch, n] bool, tokens that are none."""
    if lengths is None:
        return None
    return torch.arange(q.shape[1], device=q.device) >= lengths[:, None]


def _plain(q, k, v, projection, near, slope, *, lengths, features, qk_norm, scale, causal):
    mask = _mask(q, lengths)
    if features == "softmax":
        return reference.softmax(q, k, v, near, slope, mask, qk_norm, scale, causal)
    return chunked.attention(
        q, k, v, projection, near, slope, mask, features, qk_norm, scale, causal
    )


def _dense(q, k, v, projection, near, slope, *, lengths, features, qk_norm, scale, causal):
    mask = _mask(q, lengths)
    return reference.dense(q, k, v, projection, near, slope, mask, features, qk_norm, scale, causal)


def _check(q, k, v, projection, near, slope, features, backend):
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if features not in FEATURE_KINDS:
        raise ValueError(f"features {features!r} is not one of {', '.join(FEATURE_KINDS)}")
    if q.dim() != 4 or q.shape != k.shape or q.shape != v.shape:
        shapes = ", ".join(str(list(x.shape)) for x in (q, k, v))
        raise ValueError(f"q, k, v have shapes {shapes}: expected one [batch, n, heads, head_dim]")
    heads, head_dim = q.shape[2:]
    if near.dim() != 2 or near.shape[0] != heads or near.shape[1] % 2 == 0:
        raise ValueError(f"near has shape {list(near.shape)}: expected [{heads}, 2 R + 1]")
    if slope is not None and slope.shape != (heads,):
        raise ValueError(f"slope has shape {list(slope.shape)}: expected [{heads}]")
    if slope is not None and slope.requires_grad:
        raise ValueError("slope requires a gradient, and has none here: ALiBi's slopes are fixed")
    if (features in PROJECTED) != (projection is not None):
        needed = "need" if features in PROJECTED else "have no"
        raise ValueError(f"features {features!r} {needed} random directions (projection)")
    if projection is not None and (
        projection.dim() != 3 or projection.shape[::2] != (heads, head_dim)
    ):
        raise ValueError(
            f"projection has shape {list(projection.shape)}: expected [{heads}, m, {head_dim}]"
        )


class KernelizedAttention(torch.nn.Module):
    """The attention of one layer: projections, the sum, and the output's projection.

    Names are weight_table.h's: query, key, value, output, `projection` (a buffer: random
    directions, redrawn in training by `redraw_features`), and `bias` where layers do not share
    theirs.
    """

    def __init__(self, config, *, backend="auto", bias_init="decay", generator=None):
        """config: an EncoderConfig. generator: of the random directions, on the CPU."""
        super().__init__()
        self.config = config
        self.backend = backend
        attention, hidden = config.attention, config.hidden_size
        inner = config.num_attention_heads * config.head_dim
        self.query = torch.nn.Linear(hidden, inner, bias=config.use_bias)
        self.key = torch.nn.Linear(hidden, inner, bias=config.use_bias)
        self.value = torch.nn.Linear(hidden, inner, bias=config.use_bias)
        self.output = torch.nn.Linear(inner, hidden, bias=config.use_bias)
        self.register_buffer("projection", draw_projection(config, generator))
        if not attention.bias.shared_layers:
            relative_bias.register(self, "bias", config, bias_init)

    def forward(self, x, lengths=None, near_slope=None):
        """[batch, n, hidden] from the same. near_slope: the layers' shared bias, where they share
        one."""
        config, attention = self.config, self.config.attention
        if near_slope is None:
            index = getattr(self, "_bias_index", None)
            stored = getattr(self, "bias", None)
            near_slope = relative_bias.near_slope(config, stored, index)
        shape = (*x.shape[:2], config.num_attention_heads, config.head_dim)
        q, k, v = (layer(x).view(shape) for layer in (self.query, self.key, self.value))
        z = kernelized_attention(
            q,
            k,
            v,
            self.projection,
            *near_slope,
            lengths=lengths,
            features=attention.features.kind,
            qk_norm=attention.qk_norm,
            scale=attention.scale,
            causal=attention.causal,
            backend=self.backend,
        )
        return self.output(z.flatten(2))

    @torch.no_grad()
    def redraw_features(self, generator=None):
        """New random directions, in place: for training alone. A served model keeps its own."""
        if self.projection is not None:
            self.projection.copy_(draw_projection(self.config, generator))
