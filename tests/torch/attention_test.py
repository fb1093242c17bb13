"""The attention's sum: every backend against the dense form; derivatives, padding, refusals."""

import itertools

import pytest
import torch

from longwave_torch import chunked, kernelized_attention, ops
from longwave_torch.features import orthogonal_projection

HEADS, HEAD_DIM, FEATURES = 2, 4, 6
KINDS = ("prf", "sphere", "elu", "trf", "softmax")
# (R, slope): no bias, ALiBi, within one block, more than one, beyond the sequence.
BIASES = {"none": (0, 0), "alibi": (0, 0.1), "near": (3, 0), "falling": (3, 0.02), "far": (90, 0)}
# Tokens, and whether q and k are normalised: one block, and more than one.
CASES = ((1, True), (2, False), (65, True), (130, False), (200, True))


def inputs(n, kind="prf", reach=3, slope=0.0, batch=2, dtype=torch.float64):
    q, k, v = torch.randn(3, batch, n, HEADS, HEAD_DIM, dtype=dtype).unbind()
    projection = None
    if kind not in ("elu", "softmax"):
        draws = [orthogonal_projection(FEATURES, HEAD_DIM, kind) for _ in range(HEADS)]
        projection = torch.stack(draws).to(dtype)
    near = torch.randn(HEADS, 2 * reach + 1, dtype=dtype)
    slopes = slope * torch.rand(HEADS, dtype=dtype) if slope else None
    for x in (q, k, v, near):
        x.requires_grad_()
    return q, k, v, projection, near, slopes


def results(arguments, backend, **options):
    """z, and the derivatives of a random functional of it by q, k, v and near."""
    z = kernelized_attention(*arguments, backend=backend, **options)
    direction = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(1))
    q, k, v, _, near, _ = arguments
    return (z, *torch.autograd.grad((z * direction).sum(), (q, k, v, near)))


def largest_error(found, expected):
    return max(((a - b).abs().max() / (1 + b.abs().max())).item() for a, b in zip(found, expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("causal", [False, True])
def test_linear_form_and_its_derivatives_are_the_dense_forms(kind, bias, causal):
    for n, qk_norm in CASES:
        options = {"features": kind, "causal": causal, "qk_norm": qk_norm, "scale": 1.3}
        arguments = inputs(n, kind, *BIASES[bias])
        lengths = torch.tensor([n, n - n // 3])
        linear, dense = (
            results(arguments, backend, lengths=lengths, **options)
            for backend in ("torch", "dense")
        )
        # Signed features may cancel in a denominator, which magnifies rounding.
        assert largest_error(linear, dense) < (1e-8 if kind == "trf" else 1e-11), n


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", BIASES)
def test_the_operator_is_chosen_where_it_can_be_had(kind, bias):
    """And computes the same: everything but softmax, which goes to plain torch."""
    if not ops.available():
        pytest.skip(f"the operator is not loaded: {ops.why_unavailable()}")
    lengths = torch.tensor([65, 40])
    for causal in (False, True):
        arguments = inputs(65, kind, *BIASES[bias])
        options = {"features": kind, "causal": causal, "lengths": lengths}
        auto, dense = (results(arguments, backend, **options) for backend in ("auto", "dense"))
        assert largest_error(auto, dense) < (1e-8 if kind == "trf" else 1e-11)
        if kind == "softmax":
            with pytest.raises(RuntimeError, match="it does not know 'softmax'"):
                results(arguments, "op", **options)
        else:
            assert torch.equal(results(arguments, "op", **options)[0], auto[0])


def test_without_the_operator_plain_torch_is_taken(monkeypatch):
    monkeypatch.setattr(ops, "supports", lambda q, features: False)
    arguments = inputs(30)
    auto, plain = (results(arguments, backend) for backend in ("auto", "torch"))
    assert torch.equal(auto[0], plain[0])
    with pytest.raises(RuntimeError, match="backend 'op' cannot be had"):
        results(arguments, "op")


def test_blocks_and_groups_do_not_matter(monkeypatch):
    arguments = inputs(200, reach=20)
    expected = results(arguments, "dense")
    for block, elements in itertools.product((16, 50, 128), (1, 1 << 30)):
        monkeypatch.setattr(chunked, "BLOCK", block)
        monkeypatch.setattr(chunked, "SMALL_BLOCK", block)
        monkeypatch.setattr(chunked, "GROUP_ELEMENTS", {"cpu": elements, "cuda": elements})
        assert largest_error(results(arguments, "torch"), expected) < 1e-11


@pytest.mark.parametrize("kind", ["prf", "elu"])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("causal", [False, True])
def test_gradcheck(monkeypatch, kind, bias, causal):
    monkeypatch.setattr(chunked, "BLOCK", 4)
    monkeypatch.setattr(chunked, "SMALL_BLOCK", 4)
    q, k, v, projection, near, slope = inputs(13, kind, *BIASES[bias], batch=1)

    def function(q, k, v, near):
        return kernelized_attention(
            q, k, v, projection, near, slope,
            features=kind, causal=causal, lengths=[12], backend="torch",
        )  # fmt: skip

    assert torch.autograd.gradcheck(function, (q, k, v, near), fast_mode=True)


def test_softmax_in_row_blocks_is_softmax_at_once():
    arguments = inputs(1100, "softmax", 20)
    lengths = torch.tensor([1100, 400])
    blocks, dense = (
        results(arguments, backend, features="softmax", lengths=lengths)
        for backend in ("torch", "dense")
    )
    assert largest_error(blocks, dense) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_matter(kind):
    q, k, v, *rest = inputs(80, kind)
    whole = kernelized_attention(q, k, v, *rest, features=kind, lengths=[80, 33], backend="torch")
    alone = kernelized_attention(
        q[1:, :33], k[1:, :33], v[1:, :33], *rest, features=kind, backend="torch"
    )
    assert (whole[1, :33] - alone[0]).abs().max() < 1e-12
    assert (whole[1, 33:] == 0).all()


@pytest.mark.parametrize("backend", ["torch", "dense"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_without_tokens_is_zero_and_spoils_no_gradient(backend, kind):
    arguments = inputs(9, kind)
    found = results(arguments, backend, features=kind, lengths=[9, 0])
    assert (found[0][1] == 0).all()
    assert all(torch.isfinite(x).all() for x in found)


def test_strides_do_not_matter():
    q, k, v, *rest = inputs(40)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    assert not turned[0].is_contiguous()
    same = kernelized_attention(q, k, v, *rest, backend="torch")
    assert torch.equal(kernelized_attention(*turned, *rest, backend="torch"), same)


def test_lower_types_are_computed_in_fp32():
    q, k, v, projection, near, slope = inputs(50, dtype=torch.float32)
    halves = [x.detach().bfloat16() for x in (q, k, v)]
    z = kernelized_attention(*halves, projection, near, slope, backend="torch")
    full = kernelized_attention(*(x.float() for x in halves), projection, near, slope,
                                backend="torch")  # fmt: skip
    assert z.dtype == torch.bfloat16
    assert torch.equal(z, full.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        inside = kernelized_attention(q, k, v, projection, near, slope, backend="torch")
    outside = kernelized_attention(q, k, v, projection, near, slope, backend="torch")
    assert torch.equal(inside, outside)


def test_what_is_kept_for_the_backward_pass_grows_with_n():
    """Elements that autograd keeps: doubling n doubles them."""

    def kept(n):
        seen = {}
        arguments = inputs(n, reach=8, batch=1)

        def note(tensor):
            seen[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            kernelized_attention(*arguments, backend="torch")
        return sum(seen.values())

    assert kept(4096) < 2.1 * kept(2048)
    assert kept(4096) < 4096 * 8 * HEADS * (20 * HEAD_DIM + 6 * FEATURES)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"backend": "cuda"}, "backend 'cuda' is not one of auto, op, torch, dense"),
        ({"features": "rbf"}, "features 'rbf' is not one of"),
        ({"projection": None}, "need random directions"),
        ({"features": "elu"}, "have no random directions"),
        ({"projection": torch.zeros(HEADS, 3, HEAD_DIM + 1)}, "projection has shape"),
        ({"near": torch.zeros(HEADS, 4)}, "near has shape"),
        ({"near": torch.zeros(HEADS + 1, 3)}, "near has shape"),
        ({"slope": torch.zeros(HEADS + 1)}, "slope has shape"),
        ({"slope": torch.zeros(HEADS, requires_grad=True)}, "slope requires a gradient"),
        ({"k": torch.zeros(2, 6, HEADS, HEAD_DIM)}, "expected one"),
    ],
)
def test_refusals(change, problem):
    names = ("q", "k", "v", "projection", "near", "slope")
    arguments = dict(zip(names, inputs(5)))
    with pytest.raises(ValueError, match=problem):
        kernelized_attention(**{**arguments, **change})
