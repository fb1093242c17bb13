"""From an encoder trained with softmax to one with kernelised attention (arXiv 2106.12566, Fig. 2).

`convert` keeps all weights and replaces the attention; `distill` then teaches the copy to give the
original's states again. From Hugging Face: hugging_face.to_encoder first.
"""

import dataclasses
import itertools

import torch

from . import bias as relative_bias
from .config import BiasConfig, FeatureConfig
from .encoder import Encoder
from .reference import bias_rows

# Beyond, random features say little: the variance of an estimate grows with exp(4 scale^2).
MAX_INITIAL_SCALE = 2.0
WARM_UP = 0.1  # of the steps


def convert(original, samples, *, num_features=64, bias=None, seed=0, backend="auto"):
    """An Encoder with the original's weights and attention over l2-normalised positive features.

    Scale and bias begin where they lose least, measured on the samples, layers and heads apart
    where
    the configuration allows it: scale^2 is the mean of |q| |k| / sqrt(head_dim), so that
    scale^2 q^ . k^ has the size of the logits q . k / sqrt(head_dim) (at most MAX_INITIAL_SCALE);
    b(o) is the original's own bias, if it has one, and the mean over pairs at offset o of what then
    is missing from the logits.

    Args:
      original: an Encoder with features "softmax", bidirectional, on the CPU.
      samples: [(ids [batch, n], lengths [batch] or None), ...]: a few are enough.
      num_features: random features a head. bias: a BiasConfig of kind t5, clipped or none; None: t5
        of 32 buckets to 128 tokens, a bias in each layer. seed: of the random directions.

    ValueError: the original is no softmax encoder, or the bias is of another kind.
    """
    attention = original.config.attention
    if attention.features.kind != "softmax" or attention.causal:
        raise ValueError("only encoders with bidirectional softmax attention are converted")
    bias = bias or BiasConfig("t5", shared_layers=False)
    if bias.kind not in ("none", "t5", "clipped"):
        raise ValueError(f"bias of kind {bias.kind!r}: accepted: none, t5, clipped")
    statistics = _Statistics(original, bias)
    statistics.measure(samples)
    scale = attention.scale if attention.qk_norm else statistics.scale()
    config = dataclasses.replace(
        original.config,
        attention=dataclasses.replace(
            attention,
            features=FeatureConfig("prf", num_features, seed),
            qk_norm=True,
            scale=scale,
            bias=bias,
        ),
    )
    converted = Encoder(config, bias_init="zeros", backend=backend)
    kept = {k: t for k, t in original.state_dict().items() if not _is_bias(k)}
    converted.load_state_dict(kept, strict=False)
    statistics.set_biases(converted, scale)
    return converted


def _is_bias(name):
    return name.rpartition(".")[2] == "attention_bias" or name.endswith("attention.bias")


class _Statistics:
    """Sums over all pairs of tokens of the samples, by layer, head and place in the stored bias."""

    def __init__(self, original, bias):
        self.original = original
        config = original.config
        attention = dataclasses.replace(config.attention, bias=bias)
        self.config = dataclasses.replace(config, attention=attention)
        shape = relative_bias.bias_shape(self.config) or (config.num_attention_heads, 1)
        layers = config.num_hidden_layers
        self.places = shape[1]
        self.logits = torch.zeros(layers, *shape, dtype=torch.float64)
        self.cosines = torch.zeros_like(self.logits)
        self.pairs = torch.zeros(shape[1], dtype=torch.float64)
        self.norms = []  # mean of |q| |k| / sqrt(head_dim), for each layer and sample

    def measure(self, samples):
        recorded = [{} for _ in self.original.layers]
        handles = []
        for layer, record in zip(self.original.layers, recorded):
            for part in ("query", "key"):
                handles.append(getattr(layer.attention, part).register_forward_hook(
                    lambda module, args, out, record=record, part=part: record.update({part: out})
                ))  # fmt: skip
        try:
            with torch.no_grad():
                for ids, lengths in samples:
                    self.original(ids, lengths)
                    for row in range(len(ids)):
                        n = ids.shape[1] if lengths is None else int(lengths[row])
                        self._add(recorded, row, n)
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, recorded, row, n):
        place = self._place(n)
        self.pairs += torch.bincount(place, minlength=self.places)
        heads = (n, self.config.num_attention_heads, self.config.head_dim)
        for layer, record in enumerate(recorded):
            q, k = (record[p][row, :n].view(heads).transpose(0, 1) for p in ("query", "key"))
            logits, cosines, size = self._products(q.double(), k.double())
            own = self._own_bias(layer, n)
            self.logits[layer].index_add_(1, place, (logits + own).flatten(1))
            self.cosines[layer].index_add_(1, place, cosines.flatten(1))
            self.norms.append(size)

    def _products(self, q, k):
        """The original's logits [heads, n, n] without its bias, the cosines, and the logits'
        size."""
        lengths_q, lengths_k = (x.norm(dim=2) for x in (q, k))
        sizes = lengths_q[:, :, None] * lengths_k[:, None, :]
        products = q @ k.transpose(1, 2)
        cosines = products / sizes.clamp(min=1e-30)
        attention = self.config.attention
        if attention.qk_norm:
            return attention.scale**2 * cosines, cosines, attention.scale**2
        root = self.config.head_dim**0.5
        return products / root, cosines, (sizes.mean() / root).item()

    def _place(self, n):
        """[n n]: where in the stored bias each pair (i, j) belongs."""
        offsets = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        bias = self.config.attention.bias
        if bias.kind == "none":
            return torch.zeros(n * n, dtype=torch.int64)
        index = offsets.clamp(-bias.max_distance, bias.max_distance) + bias.max_distance
        if bias.kind == "t5":
            index = relative_bias.t5_index(self.config)[index]
        return index.flatten()

    def _own_bias(self, layer, n):
        """The original's own bias [heads, n, n]."""
        config = self.original.config
        attention = self.original.layers[layer].attention
        if config.attention.bias.shared_layers:
            stored = self.original.attention_bias
        else:
            stored = attention.bias
        near, slope = relative_bias.near_slope(config, stored)
        return bias_rows(near, slope, n, False).detach().double()

    def scale(self):
        return min(MAX_INITIAL_SCALE, (sum(self.norms) / len(self.norms)) ** 0.5)

    def set_biases(self, converted, scale):
        """The mean of what scale^2 times the cosine leaves of the logits; 0 where no pair was seen
        (of the nearest place that was). Each head's mean over pairs is 0: it would cancel."""
        if self.config.attention.bias.kind == "none":
            return
        seen = self.pairs > 0
        missing = (self.logits - scale**2 * self.cosines) / self.pairs.clamp(min=1)
        missing = missing - (missing * self.pairs).sum(2, keepdim=True) / self.pairs.sum()
        missing = missing[:, :, _nearest(seen)]
        with torch.no_grad():
            if self.config.attention.bias.shared_layers:
                converted.attention_bias.copy_(missing.mean(0))
            else:
                for layer, values in zip(converted.layers, missing):
                    layer.attention.bias.copy_(values)


def _nearest(seen):
    """For each place the nearest one that was seen."""
    places = torch.arange(len(seen))
    distance = (places[:, None] - places[None, :]).abs().float()
    return distance.masked_fill(~seen[None, :], float("inf")).argmin(1)


def distill(
    original,
    converted,
    batches,
    steps,
    *,
    learning_rate=3e-4,
    redraw_every=0,
    clip=1.0,
    generator=None,
    show=None,
):
    """Trains `converted` in place to give the original's states, layer by layer.

    The loss is the mean over layers of the squared distance of states, over the variance of the
    original's: 1 would be a copy that knows nothing. AdamW with warm-up and a linear decline.

    batches: an iterable of (ids [batch, n], lengths [batch] or None), gone through again as often
    as needed. redraw_every: steps after which random directions are drawn anew (0: never), from
    `generator`. show: None, or a function of (step, loss). Returns the losses, one a step.
    """
    original.eval()
    converted.train()
    trained = [p for p in converted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0)
    warm_up = max(1, int(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))
    )
    losses = []
    for step, (ids, lengths) in enumerate(itertools.islice(itertools.cycle(batches), steps)):
        if redraw_every and step > 0 and step % redraw_every == 0:
            converted.redraw_features(generator)
        with torch.no_grad():
            targets = original(ids, lengths, all_layers=True)
        loss = state_loss(converted(ids, lengths, all_layers=True), targets, lengths)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if show is not None:
            show(step, losses[-1])
    converted.eval()
    return losses


def state_loss(states, targets, lengths=None):
    """The mean over layers of |state - target|^2 over the variance of the targets, tokens that are
    none left out. states, targets: one [batch, n, hidden] for each layer, the embeddings first;
    they are the same in both and not counted."""
    total = 0.0
    for state, target in zip(states[1:], targets[1:]):
        if lengths is not None:
            there = torch.arange(state.shape[1], device=state.device) < lengths[:, None]
            state, target = state[there], target[there]
        else:
            state, target = state.flatten(0, 1), target.flatten(0, 1)
        total = total + (state - target).square().mean() / target.var(0).mean()
    return total / (len(states) - 1)
