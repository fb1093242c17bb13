"""The attention's sum in plain torch, in O(n) time and memory, with a backward pass of its own.

    mix(c; a, k, v)_i = sum_j c(j - i) (a_i . k_j) v_j

Blocks of up to 128 tokens: within a band of blocks that covers the bias's reach c is formed in
full; beyond it c is constant or exponential on each side, and a block's queries meet the scanned
states sum_j k_j v_j^T of all blocks there. `mix` is linear in a, k and v, so that its derivatives
are sums of the same form, and the backward pass stores its inputs alone.
"""

import dataclasses

import torch

from . import reference
from .features import feature_map, scaled

BLOCK = 128  # tokens; the band's products and the states' cost about the same there
SMALL_BLOCK = 64  # for a reach that is as short
GROUP_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 25}  # products c (a . k) held at once


def attention(q, k, v, projection, near, slope, mask, features, qk_norm, scale, causal):
    """z [batch, n, heads, head_dim]; arguments as those of reference.dense, without softmax."""
    stabilise = (None, None) if qk_norm else ("query", "key")
    phi_q = feature_map(scaled(q, qk_norm, scale), projection, features, stabilise[0])
    phi_k = feature_map(scaled(k, qk_norm, scale), projection, features, stabilise[1], mask)
    ones = torch.nn.functional.pad(v, (0, 1), value=1.0)
    mixed = Mix.apply(phi_q, phi_k, ones, near, slope, causal)
    return reference.divide(mixed[..., :-1], mixed[..., -1:], mask)


class Mix(torch.autograd.Function):
    """mix(exp(b - max b); a, k, v): [batch, n, heads, e] from a, k [batch, n, heads, m] and
    v [batch, n, heads, e]. The shift by max b has no derivative: it cancels in quotients.
    """

    @staticmethod
    def forward(ctx, a, k, v, near, slope, causal):
        ctx.save_for_backward(a, k, v, near, slope)
        ctx.causal = causal
        plan = _Plan(near, slope, causal, a.shape)
        a, k, v = (plan.blocks(x) for x in (a, k, v))
        out = torch.zeros_like(v)
        plan.band_forward(a, k, v, out)
        plan.far_forward(a, k, v, out)
        return plan.rows(out)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        *inputs, near, slope = ctx.saved_tensors
        plan = _Plan(near, slope, ctx.causal, inputs[0].shape)
        a, k, v, g = (plan.blocks(x) for x in (*inputs, grad))
        grads = [torch.zeros_like(x) for x in (a, k, v)]
        near_grad = torch.zeros_like(near) if ctx.needs_input_grad[3] else None
        plan.band_backward(a, k, v, g, grads, near_grad)
        plan.far_backward(a, k, v, g, grads, near_grad)
        return (*(plan.rows(x) for x in grads), near_grad, None, None)


@dataclasses.dataclass
class _Side:
    """All keys more than the band before (after) a query: c = constant decay^(blocks between),
    times weights by the places in the query's and the key's block. [heads, ...]; None: ones."""

    future: bool
    constant: torch.Tensor  # [heads, 1, 1]
    index: int  # of `near`, that it is e^near of
    decay: torch.Tensor | None = None  # [heads, 1, 1]
    query: torch.Tensor | None = None  # [heads, block, 1]
    key: torch.Tensor | None = None


class _Plan:
    """How a sequence is cut, and c in each part. Tensors in blocks are [blocks, batch, heads,
    block, width]."""

    def __init__(self, near, slope, causal, shape):
        self.batch, self.n, self.heads, _ = shape
        self.near, self.slope, self.causal = near, slope, causal
        self.reach = near.shape[1] // 2
        longest = SMALL_BLOCK if self.reach <= SMALL_BLOCK else BLOCK
        self.count = -(-self.n // longest)
        self.block = -(-self.n // self.count)
        self.band = min(-(-self.reach // self.block), self.count - 1)
        used = min(self.reach, self.n - 1)
        last = self.reach + (1 if causal else used + 1)
        self.peak = near[:, self.reach - used : last].amax(1, keepdim=True)
        elements = GROUP_ELEMENTS["cuda" if near.is_cuda else "cpu"]
        self.group = max(1, elements // (self.batch * self.heads * self.block**2))
        place = torch.arange(self.block, device=near.device)
        self.offsets = place[None, :] - place[:, None]  # key minus query
        self.place = place[None, :, None].to(near.dtype)

    # --- blocks ----------------------------------------------------------------------------------

    def blocks(self, x):
        """From [batch, n, heads, width], with zeros at the end."""
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, self.count * self.block - self.n))
        x = x.unflatten(1, (self.count, self.block))
        return x.permute(1, 0, 3, 2, 4).contiguous()

    def rows(self, x):
        """Back again."""
        return x.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, : self.n]

    # --- band ------------------------------------------------------------------------------------

    def _weights(self, shift):
        """c [heads, block, block] between a block's queries and the keys `shift` blocks on, and the
        indices of `near` that it comes from."""
        offsets = self.offsets + shift * self.block
        inside = offsets.clamp(-self.reach, self.reach)
        index = inside + self.reach
        b = self.near[:, index] - self.peak[:, :, None]
        if self.slope is not None:
            b = b - self.slope[:, None, None] * (offsets - inside).abs()
        c = torch.exp(b)
        return (c.masked_fill(offsets > 0, 0.0) if self.causal else c), index

    def _pairs(self, shift):
        """(queries' blocks, keys' blocks) of one shift, in groups."""
        first, last = max(0, -shift), min(self.count, self.count - shift)
        for begin in range(first, last, self.group):
            end = min(begin + self.group, last)
            yield slice(begin, end), slice(begin + shift, end + shift)

    def _shifts(self):
        return range(-self.band, 1 if self.causal else self.band + 1)

    def band_forward(self, a, k, v, out):
        for shift in self._shifts():
            c, _ = self._weights(shift)
            for here, there in self._pairs(shift):
                scores = a[here] @ k[there].transpose(-1, -2)
                out[here] += scores.mul_(c) @ v[there]

    def band_backward(self, a, k, v, g, grads, near_grad):
        grad_a, grad_k, grad_v = grads
        for shift in self._shifts():
            c, index = self._weights(shift)
            total = torch.zeros_like(c)
            for here, there in self._pairs(shift):
                scores = a[here] @ k[there].transpose(-1, -2)
                weighted = (g[here] @ v[there].transpose(-1, -2)).mul_(c)
                grad_a[here] += weighted @ k[there]
                grad_k[there] += weighted.transpose(-1, -2) @ a[here]
                if near_grad is not None:
                    total += (weighted.mul_(scores)).sum((0, 1))
                grad_v[there] += scores.mul_(c).transpose(-1, -2) @ g[here]
            if near_grad is not None:  # of b, not of c: c is in `weighted`
                near_grad.index_add_(1, index.flatten(), total.flatten(1))

    # --- what lies beyond ------------------------------------------------------------------------

    def _sides(self):
        if self.count <= self.band + 1:
            return []
        sides = [_Side(False, self._edge(0), 0)]
        if not self.causal:
            sides.append(_Side(True, self._edge(-1), 2 * self.reach))
        if self.slope is not None:
            slope = self.slope[:, None, None]
            beyond = 1 + self.band * self.block - self.reach
            from_end = self.block - 1 - self.place
            for side in sides:
                side.decay = torch.exp(-slope * self.block)
                query, key = (from_end, self.place) if side.future else (self.place, from_end)
                side.query = torch.exp(-slope * (query + beyond))
                side.key = torch.exp(-slope * key)
        return sides

    def _edge(self, index):
        return torch.exp(self.near[:, index] - self.peak[:, 0])[:, None, None]

    def _scan(self, states, side, backwards=False):
        """Sum over t >= 0 of decay^t times the state band + 1 + t blocks before each block, after
        it for the future's side; the other way round for `backwards`."""
        skip = self.band + 1
        later = side.future != backwards
        states = states.flip(0) if later else states
        if side.decay is None:
            sums = states[:-skip].cumsum(0)
        else:
            sums = states[:-skip].clone()
            step, decay = 1, side.decay
            while step < len(sums):  # after each turn: the sums over the last 2 step blocks
                sums[step:] = sums[step:] + decay * sums[:-step]
                step, decay = 2 * step, decay * decay
        result = torch.nn.functional.pad(sums, (0, 0) * 4 + (skip, 0)).mul_(side.constant)
        return result.flip(0) if later else result

    def far_forward(self, a, k, v, out):
        for side in self._sides():
            states = _weighted(k, side.key).transpose(-1, -2) @ v
            out += _weighted(a, side.query) @ self._scan(states, side)

    def far_backward(self, a, k, v, g, grads, near_grad):
        grad_a, grad_k, grad_v = grads
        for side in self._sides():
            queries, keys = _weighted(a, side.query), _weighted(k, side.key)
            states = self._scan(keys.transpose(-1, -2) @ v, side)
            products = queries.transpose(-1, -2) @ g  # [.., m, e]: of the queries of each block
            grad_a += _weighted(g @ states.transpose(-1, -2), side.query)
            back = self._scan(products, side, backwards=True)
            grad_k += _weighted(v @ back.transpose(-1, -2), side.key)
            grad_v += keys @ back
            if near_grad is not None:
                near_grad[:, side.index] += (states * products).sum((0, 1, 3, 4))


def _weighted(x, weights):
    return x if weights is None else x * weights
