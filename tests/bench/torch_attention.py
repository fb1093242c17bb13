#!/usr/bin/env python3
"""How long is a training step, and how much memory does it take, beside PyTorch's own attention?

Ours (the C++ operator of longwave_torch.ops with T5's relative bias, which learns) against
torch.nn.functional.scaled_dot_product_attention with a bias as its mask, forward and backward:

  core    the attention alone, q, k and v as each side likes them laid out. The frozen mask is the
          better one of a mask for each head and one for all; the learned mask requires a gradient.
  layer   a whole pre-norm layer and its optimiser: norms, projections, feed-forward of 4 x hidden.
  memory  how the largest resident set of one step grows from n to 4 n tokens (ours).

Prints a JSON object a row with bar, value, limit, direction, pass, repeats, error, seconds and the
shape. Contenders take turns, round by round; values are ratios of medians. A row whose rounds
disagree by more than --limit after --retries is not printed, and the exit code is 3; if a result
is wrong it is 1. `error`: the largest deviation from double relative to the largest value, of z
and its derivatives. --clock=cpu counts processor time instead, for a machine that others use: give
it --threads=1, since waiting threads count too.

  PYTHONPATH=model/torch/src .venv-torch/bin/python tests/bench/torch_attention.py --rows=core
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from longwave_torch import ops
from longwave_torch.golden import relative_bias
from torch.nn import functional

BUCKETS = 32
# Of fp32 beside double: largest deviation relative to the largest value. Sums of some 1e4 terms in
# blocks lose about sqrt(1e4) 2^-24; a wrong result is off by orders of magnitude.
LARGEST_ERROR = 2e-5


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", default=["core", "layer", "memory"])
    parser.add_argument("--n", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--reach", type=int, default=128, help="T5's max_distance")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="3 for bodies of a second and more")
    parser.add_argument("--limit", type=float, default=0.25, help="largest disagreement of rounds")
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--learned-limit", type=int, default=4096, help="longest n of that mask")
    parser.add_argument("--step-memory", type=int, help=argparse.SUPPRESS)  # of a child process
    return parser.parse_args()


class Unstable(Exception):
    """Rounds disagree."""


def sample(body, clock, seconds=0.05):
    """Seconds of a call, from as many as fill `seconds`."""
    calls, begin = 0, clock()
    while calls == 0 or clock() - begin < seconds:
        body()
        calls += 1
    return (clock() - begin) / calls


def disagreement(warm_up, values):
    """max(|warm_up / median - 1|, quartiles' distance / median), as tests/bench/measure.h."""
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return max(abs(warm_up / median - 1), (high - low) / median)


def measure(contenders, args):
    """Median seconds by name, and the number of rounds. Raises Unstable."""
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    for body in contenders.values():
        body()
    for _ in range(args.retries + 1):
        warm_up = {name: sample(body, clock) for name, body in contenders.items()}
        rounds = 3 if max(warm_up.values()) > 1 else args.rounds
        values = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, body in contenders.items():
                values[name].append(sample(body, clock))
        worst = {name: disagreement(warm_up[name], values[name]) for name in contenders}
        if max(worst.values()) <= args.limit:
            return {name: statistics.median(v) for name, v in values.items()}, rounds
    raise Unstable(f"rounds disagree by {max(worst.values()):.0%}: {worst}")


class Bias:
    """T5's bias of every head, as a table of buckets."""

    def __init__(self, args):
        self.args = args
        self.table = torch.randn(args.heads, BUCKETS) * 0.5

    def _columns(self, offsets):
        return torch.from_numpy(
            relative_bias.t5_buckets(offsets.numpy(), BUCKETS, self.args.reach, False)
        )

    def near(self):
        offsets = torch.arange(-self.args.reach, self.args.reach + 1)
        return self.table[:, self._columns(offsets)]

    def mask(self, n, heads):
        """[1, heads, n, n]: of all heads, or of the first alone."""
        by_offset = self.table[:heads, self._columns(torch.arange(1 - n, n))]
        windows = by_offset.unfold(1, n, 1)  # row n - 1 - i begins at offset -i
        return windows.flip(1).contiguous().unsqueeze(0)


class Core:
    """The attention alone."""

    def __init__(self, n, args):
        self.n, self.args = n, args
        torch.manual_seed(0)
        shape = (1, n, args.heads, args.hidden // args.heads)
        self.rows = [torch.randn(shape).requires_grad_() for _ in range(3)]
        self.by_head = [
            x.detach().transpose(1, 2).contiguous().requires_grad_() for x in self.rows
        ]
        self.grad = torch.randn(shape)
        self.grad_by_head = self.grad.transpose(1, 2).contiguous()
        self.projection = torch.randn(args.heads, args.features, shape[3])
        self.bias = Bias(args)
        self.near = self.bias.near().requires_grad_()

    def ours(self):
        z = ops.kernelized_attention(*self.rows, self.projection, self.near)
        return z, torch.autograd.grad(z, (*self.rows, self.near), self.grad)

    def softmax(self, mask):
        leaves = (*self.by_head, mask) if mask.requires_grad else self.by_head
        z = functional.scaled_dot_product_attention(*self.by_head, attn_mask=mask)
        return torch.autograd.grad(z, leaves, self.grad_by_head)

    def error(self):
        """Of z and its derivatives against the formula in double, some rows at a time."""
        z, grads = self.ours()
        rows = [x.detach().double().requires_grad_() for x in (*self.rows, self.near)]
        expected = torch.cat(
            [self._formula(rows, b, min(b + 256, self.n)) for b in range(0, self.n, 256)], 1
        )
        pairs = [(z.detach(), expected), *zip(grads, [x.grad for x in rows])]
        return max(float((a - e).abs().max() / e.abs().max()) for a, e in pairs)

    def _formula(self, rows, begin, end):
        q, k, v, near = rows
        reach = self.args.reach
        offsets = torch.arange(self.n)[None, :] - torch.arange(begin, end)[:, None]
        c = near[:, offsets.clamp(-reach, reach) + reach].exp()
        w = c * torch.einsum("bihm,bjhm->hij", self._phi(q[:, begin:end]), self._phi(k))
        z = torch.einsum("hij,bjhd->bihd", w / w.sum(-1, keepdim=True), v)
        z.backward(self.grad[:, begin:end].double())
        return z.detach()

    def _phi(self, x):
        x = functional.normalize(x, dim=-1)
        return torch.einsum("bnhd,hmd->bnhm", x, self.projection.double()).exp()

    def rows_of_results(self):
        """Bar, contenders and limit of each comparison."""
        frozen = {
            "mask": self.bias.mask(self.n, self.args.heads),
            "shared_mask": self.bias.mask(self.n, 1),
        }
        peers = {name: lambda mask=mask: self.softmax(mask) for name, mask in frozen.items()}
        limit = 1 / 15 if self.n >= 16384 else 1
        yield "torch_core_frozen", {"ours": self.ours, **peers}, limit
        if self.n <= self.args.learned_limit:
            learned = self.bias.mask(self.n, self.args.heads).requires_grad_()
            yield "torch_core_learned", {"ours": self.ours, "learned": lambda: self.softmax(learned)}, 1


class AttentionLayer(torch.nn.Module):
    """Pre-norm: x + W_o attention(norm x), then x + W_down gelu(W_up norm x)."""

    def __init__(self, args, attend):
        super().__init__()
        hidden = args.hidden
        self.heads, self.attend = args.heads, attend
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(hidden) for _ in range(2))
        self.inputs = torch.nn.Linear(hidden, 3 * hidden)
        self.output = torch.nn.Linear(hidden, hidden)
        self.up, self.down = torch.nn.Linear(hidden, 4 * hidden), torch.nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        qkv = self.inputs(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).unbind(2)
        x = x + self.output(self.attend(*qkv).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class Layer:
    """A training step of a layer: forward, backward, AdamW."""

    def __init__(self, n, args):
        self.n, self.args = n, args
        self.core = Core(n, args)
        self.x = torch.randn(1, n, args.hidden)

    def _step(self, attend, parameters=()):
        torch.manual_seed(1)
        layer = AttentionLayer(self.args, attend)
        optimizer = torch.optim.AdamW([*layer.parameters(), *parameters], lr=1e-4)

        def step():
            layer(self.x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def error(self):
        return self.core.error()

    def rows_of_results(self):
        def ours(q, k, v):
            return ops.kernelized_attention(q, k, v, self.core.projection, self.core.near)

        def softmax(mask):
            def attend(*rows):
                by_head = [x.transpose(1, 2) for x in rows]
                z = functional.scaled_dot_product_attention(*by_head, attn_mask=mask)
                return z.transpose(1, 2)

            return attend

        bias = self.core.bias
        limit = 1 / 6 if self.n >= 16384 else 1
        own = {"ours": self._step(ours, [self.core.near])}
        masks = {"mask": bias.mask(self.n, self.args.heads), "shared_mask": bias.mask(self.n, 1)}
        peers = {name: self._step(softmax(mask)) for name, mask in masks.items()}
        yield "torch_layer_frozen", {**own, **peers}, limit
        if self.n <= self.args.learned_limit:
            mask = bias.mask(self.n, self.args.heads).requires_grad_()
            yield "torch_layer_learned", {**own, "learned": self._step(softmax(mask), [mask])}, 1


def status_bytes(field):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def step_memory(n, args):
    """Bytes that the resident set of this process grows by in one step of the core."""
    small = argparse.Namespace(**vars(args))
    Core(1024, small).ours()  # threads, code
    core = Core(n, args)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = status_bytes("VmRSS")
    core.ours()
    return status_bytes("VmHWM") - before


def memory_row(n, args):
    def child(tokens):
        command = [sys.executable, *sys.argv, "--step-memory", str(tokens)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    small, large = child(n), child(4 * n)
    # Four times and what pages and thread buffers may add.
    return row("torch_step_memory", large / small, 4.4, args, n=n, bytes={n: small, 4 * n: large})


def row(bar, value, limit, args, **more):
    return {
        "bar": bar,
        "value": value,
        "limit": limit,
        "direction": "<=",
        "pass": value <= limit,
        **more,
        "hidden": args.hidden,
        "heads": args.heads,
        "features": args.features,
        "reach": args.reach,
        "threads": args.threads,
        "clock": args.clock,
        "torch": torch.__version__,
    }


def run_rows(kind, n, args):
    """Yields the rows of one kind and length; raises Unstable after the last of them."""
    contest = (Core if kind == "core" else Layer)(n, args)
    error = contest.error()
    unstable = None
    for bar, contenders, limit in contest.rows_of_results():
        try:
            seconds, rounds = measure(contenders, args)
        except Unstable as problem:
            unstable = Unstable(f"{bar}, n = {n}: {problem}")
            continue
        best = min(s for name, s in seconds.items() if name != "ours")
        yield row(
            bar,
            seconds["ours"] / best,
            limit,
            args,
            n=n,
            repeats=rounds,
            error=error,
            seconds=seconds,
        )
    if unstable:
        raise unstable


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    if not ops.available():
        sys.exit(f"torch_attention: {ops.why_unavailable()}")
    if args.step_memory:
        print(step_memory(args.step_memory, args))
        return 0
    code = 0
    for kind in args.rows:
        for n in args.n:
            try:
                rows = [memory_row(n, args)] if kind == "memory" else run_rows(kind, n, args)
                for line in rows:
                    if line.get("error", 0) > LARGEST_ERROR:
                        print(f"{line['bar']}: error {line['error']}", file=sys.stderr)
                        return 1
                    print(json.dumps(line), flush=True)
            except Unstable as problem:
                print(f"torch_attention: {problem}", file=sys.stderr)
                code = 3
    return code


if __name__ == "__main__":
    sys.exit(main())
