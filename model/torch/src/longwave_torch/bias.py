"""The relative bias b(j - i): from what is stored to (near, slope), for every kind.

near [heads, 2 R + 1] is b(o) at offsets o = -R .. R; beyond R it is constant on each side, or falls
by slope [heads] a step.
"""

import math

import numpy as np
import torch

from .golden import relative_bias


def bias_shape(config):
    """The shape of the stored tensor for an EncoderConfig, or None for kind "none"."""
    bias, heads = config.attention.bias, config.num_attention_heads
    return {
        "none": None,
        "table": (heads, 2 * bias.table_length - 1),
        "clipped": (heads, 2 * bias.max_distance + 1),
        "t5": (heads, bias.num_buckets),
        "alibi": (heads,),
    }[bias.kind]


def initial_bias(config, init="decay"):
    """What a new model begins with, in fp32, or None for kind "none".

    alibi: slopes 2^(-8 (h + 1) / heads), those of its paper. Others: zeros, or for "decay" a fall
    with the logarithm of the distance down to -1 (first head) .. -6 (last head), so that heads
    begin with reaches of their own: normalised features alone cannot prefer near tokens.
    """
    bias, heads = config.attention.bias, config.num_attention_heads
    shape = bias_shape(config)
    if shape is None:
        return None
    if bias.kind == "alibi":
        return torch.tensor([2.0 ** (-8 * (h + 1) / heads) for h in range(heads)])
    if init == "zeros":
        return torch.zeros(shape)
    if init != "decay":
        raise ValueError(f"bias_init {init!r} is not one of decay, zeros")
    if bias.kind == "t5":
        half = bias.num_buckets if config.attention.causal else bias.num_buckets // 2
        place = torch.arange(bias.num_buckets) % half / max(1, half - 1)
    else:
        reach = shape[1] // 2
        distance = torch.arange(-reach, reach + 1).abs()
        place = torch.log1p(distance.double()) / math.log1p(max(1, reach))
    return (-torch.linspace(1, 6, heads)[:, None] * place).float()


def t5_index(config, device=None):
    """The bucket [2 R + 1] of each offset in -R .. R, R being max_distance."""
    bias = config.attention.bias
    offsets = np.arange(-bias.max_distance, bias.max_distance + 1)
    buckets = relative_bias.t5_buckets(
        offsets, bias.num_buckets, bias.max_distance, config.attention.causal
    )
    return torch.as_tensor(buckets, dtype=torch.int64, device=device)


def near_slope(config, stored, index=None):
    """(near [heads, 2 R + 1], slope [heads] or None) of a stored tensor, differentiable in it.

    stored: as weight_table.h has it; None for kind "none". index: t5_index(config), if at hand.
    """
    kind = config.attention.bias.kind
    heads = config.num_attention_heads
    if kind == "none":
        return torch.zeros(heads, 1), None
    if kind == "alibi":
        return stored.new_zeros(heads, 1), stored
    if kind == "t5":
        index = t5_index(config, stored.device) if index is None else index
        return stored[:, index], None
    return stored, None


def register(module, name, config, init="decay"):
    """Gives a module the stored bias under this name: a parameter, ALiBi's slopes a buffer (they
    are not trained), or None for kind "none"; and `_bias_index`, T5's buckets, that is not
    stored."""
    initial = initial_bias(config, init)
    if config.attention.bias.kind in ("none", "alibi"):
        module.register_buffer(name, initial)
    else:
        module.register_parameter(name, torch.nn.Parameter(initial))
    index = t5_index(config) if config.attention.bias.kind == "t5" else None
    module.register_buffer("_bias_index", index, persistent=False)


class RelativeBias(torch.nn.Module):
    """The bias of one layer, or of all layers, as a module of its own: for attention outside of an
    Encoder. `weight` is what weight_table.h stores."""

    def __init__(self, config, init="decay"):
        super().__init__()
        self.config = config
        register(self, "weight", config, init)

    def near_slope(self):
        """(near [heads, 2 R + 1], slope [heads] or None)."""
        return near_slope(self.config, self.weight, self._bias_index)
