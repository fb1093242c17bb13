"""Kernelised attention as an operator of PyTorch, computed by the library of our C++ kernels.

The library, liblongwave_torch_ops.so, is built with the server (CMake target longwave_torch_ops,
model/torch/csrc) for the LibTorch of this package's torch version. Importing this module looks for
it in this order and loads the first that is there:

1. the file that the environment variable LONGWAVE_TORCH_OPS names ("0" or "" for none at all),
2. beside this file, where a wheel or an installed tree may hold it,
3. in build/release of the checkout that this file lies in.

Without it everything else of the package works: `available()` is False, and
`longwave_torch.attention` takes pure torch.
"""

import os
import pathlib

import torch

LIBRARY_NAME = "liblongwave_torch_ops.so"

# Feature maps that the operator computes; the rest is left to pure torch.
FEATURES = ("prf", "sphere", "elu", "trf")

_loaded_from = None
_problem = None


def _candidates():
    """Files to try, best first."""
    named = os.environ.get("LONGWAVE_TORCH_OPS")
    if named is not None:
        return [] if named in ("", "0") else [pathlib.Path(named)]
    here = pathlib.Path(__file__).resolve()
    checkout = here.parents[4] if len(here.parents) > 4 else here.parent
    return [
        here.parent / LIBRARY_NAME,
        checkout / "build" / "release" / "model" / "torch" / LIBRARY_NAME,
    ]


def _load():
    """Loads the library and tells autograd of it. Sets _loaded_from or _problem."""
    global _loaded_from, _problem
    candidates = _candidates()
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        _problem = "none of these is a file: " + (", ".join(map(str, candidates)) or "(none named)")
        return
    try:
        torch.ops.load_library(str(found))
    except OSError as error:  # another torch, another machine
        _problem = f"{found} cannot be loaded: {error}"
        return
    torch.library.register_autograd(
        "longwave::kernelized_attention", _backward, setup_context=_setup_context
    )
    _loaded_from = str(found)


def _setup_context(ctx, inputs, output):
    q, k, v, projection, near, slope, lengths, *rest = inputs
    out, denominator = output
    ctx.mark_non_differentiable(denominator)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, out, denominator, projection, near, slope, lengths)
    ctx.rest = rest


def _backward(ctx, grad, _):
    saved = ctx.saved_tensors
    nothing = (None,) * 11
    if grad is None:
        return nothing
    dq, dk, dv, dnear = torch.ops.longwave.kernelized_attention_backward(grad, *saved, *ctx.rest)
    return (dq, dk, dv, None, dnear, *nothing[5:])


def available():
    """Whether the C++ operator is loaded."""
    return _loaded_from is not None


def why_unavailable():
    """None, or what was looked for and did not work."""
    return _problem


def library_path():
    """The file that was loaded, or None."""
    return _loaded_from


def supports(q, features="prf"):
    """Whether the operator computes this: a feature map other than softmax, float32 or float64."""
    return (
        available()
        and features in FEATURES
        and q.dtype in (torch.float32, torch.float64)
        and q.device.type in ("cpu", "cuda", "meta")
    )


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
):
    """z_i = sum_j w_ij v_j / sum_j w_ij with w_ij = c(j - i) phi(q_i) . phi(k_j), c = exp(b).

    q, k, v: [batch, n, heads, head_dim], float32 or float64, any strides.
    projection: [heads, m, head_dim] for prf, sphere and trf; None for elu. Not differentiated.
    near: [heads, 2 R + 1], b(o) for offsets o = j - i (key minus query) in [-R, R]; constant beyond.
    slope: None, or [heads] >= 0: what b falls by a token beyond R. Not differentiated.
    lengths: None, or [batch] int64: tokens beyond are padding, neither seen nor computed (rows of
        zeros).
    scale: norm of q and k under qk_norm. causal: no key after the query is seen.
    Returns z, of q's shape and type. The derivative by q, k, v and near is exact and needs
    memory O(n): it keeps its inputs, z and the denominators, and forms features anew. There is no
    second derivative.

    Raises RuntimeError if the library is not loaded; ValueError or TypeError naming the argument,
    its value and what is accepted.
    Source: arXiv 2106.12566, Eq. 10 and Algorithm 1; model/attention/README.md.
    """
    if not available():
        raise RuntimeError(f"the operator is not available: {why_unavailable()}")
    for name, constant in (("slope", slope), ("projection", projection)):
        if constant is not None and constant.requires_grad:
            raise ValueError(f"{name} requires grad, and the operator has no derivative by {name}")
    return torch.ops.longwave.kernelized_attention(
        q,
        k,
        v,
        None if projection is None else projection.to(q.dtype),
        near.to(q.dtype),
        None if slope is None else slope.to(q.dtype),
        lengths,
        features,
        qk_norm,
        float(scale),
        causal,
    )[0]


_load()
