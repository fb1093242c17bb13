"""The C++ operator against the formula as it is written, in double and O(n^2).

Tolerances: in double 1e-11 of the largest value, a thousand times what sums of a thousand terms
lose; in float twice the error (root mean square) of the formula itself evaluated in float, and never
below 16 units of roundoff of the values, since both are a few roundings where nothing is summed.
"""

import os
import subprocess
import sys

import pytest
import torch
from longwave_torch import ops
from longwave_torch.golden import relative_bias

# Where the library is asked for by name it has to be there.
pytestmark = pytest.mark.skipif(
    not ops.available() and "LONGWAVE_TORCH_OPS" not in os.environ,
    reason=f"the operator is not built: {ops.why_unavailable()}",
)

HEADS, HEAD_DIM, FEATURES = 2, 6, 7
BIASES = ("none", "clipped", "t5", "alibi", "both", "table", "longer table", "near table")


def make_bias(kind, n, dtype=torch.double, causal=False):
    """near and slope of a kind, as longwave_torch.bias makes them."""
    generator = torch.Generator().manual_seed(1)

    def draw(columns):
        return torch.randn(HEADS, columns, generator=generator, dtype=torch.double).to(dtype)

    if kind == "none":
        return torch.zeros(HEADS, 1, dtype=dtype), None
    slope = torch.tensor([0.03, 0.2], dtype=dtype)
    if kind == "alibi":
        return torch.zeros(HEADS, 1, dtype=dtype), slope
    if kind == "both":  # no model has it, but the contract does
        return draw(2 * 9 + 1), slope
    if kind == "t5":
        offsets = torch.arange(-20, 21).numpy()
        buckets = relative_bias.t5_buckets(offsets, 16, 20, causal)
        return draw(16)[:, torch.from_numpy(buckets)], None
    reach = {"clipped": 9, "table": n - 1, "longer table": n + 7, "near table": n // 2}[kind]
    return draw(2 * reach + 1), None


def make_rows(batch, n, dtype=torch.double, seed=0, head_dim=HEAD_DIM, heads=HEADS):
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.randn(batch, n, heads, head_dim, generator=generator, dtype=torch.double)
        for _ in range(3)
    ]
    return [x.to(dtype).requires_grad_() for x in rows]


def make_projection(features, dtype=torch.double, head_dim=HEAD_DIM, count=FEATURES, heads=HEADS):
    if features == "elu":
        return None
    generator = torch.Generator().manual_seed(2)
    w = torch.randn(heads, count, head_dim, generator=generator, dtype=torch.double)
    if features == "sphere":
        w = w / w.norm(dim=-1, keepdim=True) * head_dim**0.5
    return w.to(dtype)


def phi(x, projection, features, qk_norm, scale):
    if qk_norm:
        norm = x.norm(dim=-1, keepdim=True)
        x = scale * x / torch.where(norm == 0, 1, norm)
    else:
        x = x * x.shape[-1] ** -0.25
    if features == "elu":
        return torch.nn.functional.elu(x) + 1
    angles = torch.einsum("bnhd,hmd->bnhm", x, projection)
    half_square = (x * x).sum(-1, keepdim=True) / 2
    root = projection.shape[1] ** 0.5
    if features == "trf":
        return torch.cat([angles.sin(), angles.cos()], -1) * half_square.exp() / root
    return (angles - half_square).exp() / root


def dense(q, k, v, projection, near, slope, lengths, features, qk_norm, scale, causal):
    n = q.shape[1]
    reach = near.shape[1] // 2
    offsets = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    inside = offsets.clamp(-reach, reach)
    b = near[:, inside + reach]
    if slope is not None:
        b = b - slope[:, None, None] * (offsets.abs() - inside.abs())
    if causal:
        b = b.masked_fill(offsets > 0, -torch.inf)
    c = (b - b.detach().amax((1, 2), keepdim=True)).exp()
    maps = [phi(x, projection, features, qk_norm, scale) for x in (q, k)]
    w = torch.einsum("bihm,bjhm->bhij", *maps) * c
    if lengths is None:
        return torch.einsum("bhij,bjhd->bihd", w / w.sum(-1, keepdim=True), v)
    valid = torch.arange(n) < lengths[:, None]
    w = w * valid[:, None, None, :]
    z = torch.einsum("bhij,bjhd->bihd", w / w.sum(-1, keepdim=True), v)
    return torch.where(valid[:, :, None, None], z, 0)


def weights_of(value):
    """g, the same for every value of a shape."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(value.shape, generator=generator, dtype=torch.double).to(value.dtype)


def differentiate(function, tensors):
    """The value, and the derivatives of its sum weighted by g."""
    value = function(*tensors)
    return [value.detach(), *torch.autograd.grad(value, tensors, weights_of(value))]


NAMES = ("out", "dq", "dk", "dv", "dnear")


def deviations(actual, expected, size):
    """How far each is off, relative to what its terms are made of; `size`: of a tensor.

    A derivative may cancel to zero: by q where there is one key, so that by v, a sum of positive
    weights times g, is the least scale; by b where R = 0, all of whose terms are the g . z of rows.
    """
    assert [x.shape for x in actual] == [x.shape for x in expected]
    scales = [float(size(e)) for e in expected]
    scales[1:] = [max(s, scales[3]) for s in scales[1:]]
    terms = (weights_of(expected[0]) * expected[0]).sum(-1).abs().sum()
    scales[4] = max(scales[4], float(terms) / expected[4].numel())
    return [float(size(a.double() - e)) / s for a, e, s in zip(actual, expected, scales)]


def largest(x):
    return x.abs().max()


def root_mean_square(x):
    return x.square().mean().sqrt()


# Blocks are of 128 tokens; the third is beyond the band of the first.
SHAPES = [(5, None), (131, [131, 0]), (290, [257, 290])]


# Every kind of bias with every shape; features and norms, which know nothing of bias, with two.
DOUBLE_CASES = [
    (kind, features, qk_norm)
    for kind in BIASES
    for features in ops.FEATURES
    for qk_norm in (True, False)
    if (features == "prf" and qk_norm) or kind in ("both", "table")
]


@pytest.mark.parametrize("n, lengths", SHAPES)
@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("kind, features, qk_norm", DOUBLE_CASES)
def test_double_is_the_formula(kind, features, qk_norm, causal, n, lengths):
    near, slope = make_bias(kind, n, causal=causal)
    lengths = None if lengths is None else torch.tensor(lengths)
    projection = make_projection(features)
    options = {"features": features, "qk_norm": qk_norm, "scale": 1.3, "causal": causal}
    tensors = [*make_rows(2, n), near.requires_grad_()]

    def op(q, k, v, b):
        return ops.kernelized_attention(q, k, v, projection, b, slope, lengths=lengths, **options)

    def formula(q, k, v, b):
        return dense(q, k, v, projection, b, slope, lengths, **options)

    if lengths is not None and 0 in lengths:  # the formula divides by zero there
        keep = lengths > 0
        assert not op(*tensors)[~keep].any()
        tensors = [*(x[keep].detach().requires_grad_() for x in tensors[:3]), tensors[3]]
        lengths = lengths[keep]
    expected = differentiate(formula, tensors)
    errors = deviations(differentiate(op, tensors), expected, largest)
    # Signed features cancel: what is lost is in proportion to the largest derivative.
    limit = 1e-8 if features == "trf" else 1e-11
    assert max(errors) < limit, dict(zip(NAMES, errors))


# Sizes of kernels: whole registers, parts of one, one column; lengths around blocks of 48 queries,
# groups of 16 keys and the window of the backward pass.
FLOAT_SHAPES = [(1, 16, 16), (47, 8, 5), (49, 3, 17), (700, 16, 24), (1500, 64, 64)]
# The largest with one bias of each form: a band and constants, falling slopes, a whole table.
FLOAT_CASES = [
    (kind, features, *shape)
    for kind in BIASES
    for features in ("prf", "elu")
    for shape in FLOAT_SHAPES
    if (features == "prf" or kind == "both")
    and (shape[0] < 1500 or (kind in ("clipped", "both", "table") and features == "prf"))
]


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("kind, features, n, head_dim, count", FLOAT_CASES)
def test_float_is_as_good_as_the_formula_in_float(kind, features, causal, n, head_dim, count):
    near, slope = make_bias(kind, n, torch.float, causal)
    projection = make_projection(features, torch.float, head_dim, count)
    options = {"features": features, "qk_norm": True, "scale": 1.0, "causal": causal}
    tensors = [*make_rows(1, n, torch.float, head_dim=head_dim), near.requires_grad_()]

    def op(q, k, v, b):
        return ops.kernelized_attention(q, k, v, projection, b, slope, **options)

    def formula(q, k, v, b):
        w = None if projection is None else projection.to(q.dtype)
        s = None if slope is None else slope.to(q.dtype)
        return dense(q, k, v, w, b, s, None, **options)

    expected = differentiate(formula, [x.detach().double().requires_grad_() for x in tensors])
    errors = deviations(differentiate(op, tensors), expected, root_mean_square)
    plain = deviations(differentiate(formula, tensors), expected, root_mean_square)
    for name, error, bound in zip(NAMES, errors, plain):
        assert error <= max(2 * bound, 16 * 2**-24), (name, error, bound)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("n, fast", [(5, False), (300, True)])
def test_gradcheck(kind, causal, n, fast):
    near, slope = make_bias(kind, n, causal=causal)
    projection = make_projection("prf")
    lengths = torch.tensor([n - 2])
    tensors = [*make_rows(1, n), near.requires_grad_()]

    def op(q, k, v, b):
        return ops.kernelized_attention(
            q, k, v, projection, b, slope, lengths=lengths, causal=causal
        )

    assert torch.autograd.gradcheck(op, tensors, fast_mode=fast, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
@pytest.mark.parametrize("features", ops.FEATURES)
def test_opcheck(features, dtype):
    near, _ = make_bias("clipped", 70, dtype)
    tensors = [*make_rows(2, 70, dtype), make_projection(features, dtype), near.requires_grad_()]
    lengths = torch.tensor([70, 33])
    arguments = (*tensors, None, lengths, features, True, 1.0, False)
    torch.library.opcheck(torch.ops.longwave.kernelized_attention, arguments)


def test_compiled_whole_graph_is_the_same():
    projection = make_projection("prf", torch.float)
    lengths = torch.tensor([90, 40])

    def layer(q, k, v, b):
        z = ops.kernelized_attention(q * 2, k, v, projection, b, lengths=lengths)
        return torch.nn.functional.gelu(z)

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (90, 120):
        near, _ = make_bias("clipped", n, torch.float)
        tensors = [*make_rows(2, n, torch.float), near.requires_grad_()]
        for a, b in zip(differentiate(compiled, tensors), differentiate(layer, tensors)):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", BIASES)
def test_bits_do_not_depend_on_mates_padding_or_threads(kind):
    n, lengths = 700, torch.tensor([400, 130, 700])
    near, slope = make_bias(kind, n, torch.float)
    projection = make_projection("prf", torch.float)
    rows = make_rows(3, n, torch.float)
    weights = torch.randn(3, n, HEADS, HEAD_DIM)
    with torch.no_grad():
        for x in rows:
            for sequence, length in enumerate(lengths):
                x[sequence, length:] = torch.nan

    def run(rows, near, lengths, weights):
        z = ops.kernelized_attention(*rows, projection, near, slope, lengths=lengths)
        return [z, *torch.autograd.grad(z, (*rows, near), weights)]

    near = near.requires_grad_()
    together = run(rows, near, lengths, weights)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for a, b in zip(together, run(rows, near, lengths, weights)):
        assert torch.equal(a, b)
    torch.set_num_threads(threads)
    for sequence, length in enumerate(lengths):
        alone = [x[sequence : sequence + 1, :length].detach().requires_grad_() for x in rows]
        single = run(alone, near, None, weights[sequence : sequence + 1, :length])
        for a, b in zip(together[:4], single[:4]):
            assert torch.equal(a[sequence, :length], b[0])
            assert not a[sequence, length:].any()


def test_strides_do_not_matter():
    rows = make_rows(2, 100, torch.float)
    near, _ = make_bias("clipped", 100, torch.float)
    projection = make_projection("prf", torch.float)
    expected = ops.kernelized_attention(*rows, projection, near)
    by_head = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in rows]
    by_column = [x.detach().transpose(1, 3).contiguous().transpose(1, 3) for x in rows]
    for strided in (by_head, by_column):
        assert torch.equal(ops.kernelized_attention(*strided, projection, near), expected)
    expected.sum().backward()  # a gradient whose strides are zero
    expanded = rows[0].grad.clone()
    rows[0].grad = None
    ops.kernelized_attention(*rows, projection, near).backward(torch.ones_like(expected))
    assert torch.equal(rows[0].grad, expanded)


@pytest.mark.parametrize("dtype", [torch.float, torch.double])
def test_rows_of_zeros_have_no_derivative(dtype):
    rows = make_rows(1, 60, dtype)
    with torch.no_grad():
        for x in rows[:2]:
            x[0, 10:13] = 0
    near, _ = make_bias("clipped", 60, dtype)
    z = ops.kernelized_attention(*rows, make_projection("prf", dtype), near)
    grads = torch.autograd.grad(z.square().sum(), rows)
    assert all(x.isfinite().all() for x in (z, *grads))
    assert not grads[0][0, 10:13].any() and not grads[1][0, 10:13].any()
    assert grads[0][0, 13].any()


def test_a_bias_too_wide_for_float_is_computed_in_double():
    n = 200
    near = torch.zeros(HEADS, 2 * 40 + 1)
    near[:, 0] = 95  # all keys far enough before the query; early rows have none of them
    rows = make_rows(1, n, torch.float)
    projection = make_projection("prf", torch.float)
    tensors = [*rows, near.requires_grad_()]
    options = {"features": "prf", "qk_norm": True, "scale": 1.0, "causal": False}
    actual = differentiate(
        lambda q, k, v, b: ops.kernelized_attention(q, k, v, projection, b), tensors
    )
    expected = differentiate(
        lambda q, k, v, b: dense(q, k, v, projection.double(), b, None, None, **options),
        [x.detach().double().requires_grad_() for x in tensors],
    )
    assert max(deviations(actual, expected, largest)) < 1e-6


def test_large_rows_that_are_not_normalised_do_not_vanish_beside_padding():
    # |x| = 19: exponents of all keys are below -120, where e^x is no float. Their maximum has to be
    # that of tokens, not of padding.
    rows = make_rows(1, 60, torch.float)
    norm = 19 * HEAD_DIM**0.25
    q, k = (norm * torch.nn.functional.normalize(x.detach(), dim=-1) for x in rows[:2])
    rows = [q.requires_grad_(), k.requires_grad_(), rows[2]]
    near, _ = make_bias("clipped", 60, torch.float)
    projection = make_projection("prf", torch.float)
    options = {"features": "prf", "qk_norm": False}
    padded = ops.kernelized_attention(
        *rows, projection, near, lengths=torch.tensor([50]), **options
    )
    alone = ops.kernelized_attention(*(x[:, :50] for x in rows), projection, near, **options)
    torch.testing.assert_close(padded[:, :50], alone)
    assert all(x.isfinite().all() for x in torch.autograd.grad(padded.sum(), rows))


def saved_bytes(n):
    sizes = []
    rows = make_rows(1, n, torch.float)
    near, _ = make_bias("t5", n, torch.float)

    def pack(tensor):
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ops.kernelized_attention(
            *rows, make_projection("prf", torch.float), near.requires_grad_()
        )
    return sum(sizes)


def test_what_is_kept_for_the_derivative_is_linear():
    # q, k, v, z and a denominator.
    per_token = 4 * HEADS * (4 * HEAD_DIM + 1)
    assert saved_bytes(3000) - saved_bytes(1000) == 2000 * per_token


def arguments(**changes):
    q, k, v = make_rows(2, 9, torch.float)
    values = {
        "q": q,
        "k": k,
        "v": v,
        "projection": make_projection("prf", torch.float),
        "near": torch.zeros(HEADS, 3),
        "slope": None,
    }
    values.update(changes)
    return values


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"q": torch.zeros(2, 9, 2)}, ValueError, r"q is \[2, 9, 2\], expected \[batch, n, heads"),
        ({"q": torch.zeros(2, 9, 2, 6).half()}, TypeError, "q is Half, expected float32"),
        ({"k": torch.zeros(2, 8, 2, 6)}, ValueError, r"k is \[2, 8, 2, 6\], expected q's shape"),
        ({"v": torch.zeros(2, 9, 2, 6).double()}, TypeError, "v is Double, expected q's type"),
        ({"near": torch.zeros(2, 4)}, ValueError, r"near is \[2, 4\], expected \[heads, 2 R"),
        ({"near": torch.zeros(3, 3)}, ValueError, r"near is \[3, 3\], expected .* \[2, an odd"),
        ({"slope": torch.zeros(3)}, ValueError, r"slope is \[3\], expected \[heads\] = \[2\]"),
        ({"slope": torch.tensor([0.1, -0.5])}, ValueError, "slope has the value -0.5, .* >= 0"),
        ({"projection": None}, ValueError, 'projection is None, and features "prf" needs one'),
        ({"features": "elu"}, ValueError, 'projection is given, and features "elu" has none'),
        ({"projection": torch.zeros(2, 7, 5)}, ValueError, r"\[2, m, 6\] with m >= 1"),
        ({"lengths": torch.tensor([9, 10])}, ValueError, "lengths has the value 10, .* n = 9"),
        ({"lengths": torch.tensor([9, -1])}, ValueError, "lengths has the value -1"),
        ({"lengths": torch.tensor([9])}, ValueError, r"lengths is \[1\], expected \[batch\]"),
        ({"lengths": torch.tensor([9, 9]).int()}, TypeError, "lengths is Int, expected int64"),
        ({"features": "softmax"}, ValueError, 'features is "softmax", not one of "prf"'),
        ({"scale": 0.0}, ValueError, "scale is 0, expected a finite number > 0"),
        ({"slope": torch.zeros(2).requires_grad_()}, ValueError, "slope requires grad"),
    ],
)
def test_errors_name_argument_value_and_limit(changes, error, message):
    with pytest.raises(error, match=message):
        ops.kernelized_attention(**arguments(**changes))


@pytest.mark.parametrize("named, why", [("0", "none named"), ("/nonexistent.so", "nonexistent")])
def test_without_the_library_the_module_says_so(named, why):
    program = (
        "from longwave_torch import ops; print(ops.available(), ops.library_path());"
        "print(ops.why_unavailable()); ops.kernelized_attention(*[None] * 5)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LONGWAVE_TORCH_OPS": named},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.startswith("False None")
    assert why in result.stdout
    assert "RuntimeError: the operator is not available" in result.stderr
