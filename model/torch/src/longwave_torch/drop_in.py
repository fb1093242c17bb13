"""Kernelised attention in place of torch.nn.MultiheadAttention, inside any module."""

import torch
from torch.nn import functional

from . import bias as relative_bias
from .attention import kernelized_attention
from .config import AttentionConfig, BiasConfig, EncoderConfig
from .features import draw_projection

DEFAULT_ATTENTION = AttentionConfig(bias=BiasConfig("t5"))


class HeadMixer(torch.nn.Module):
    """What mixes the heads' values: random directions (`projection` [heads, m, head_dim], a buffer)
    and relative bias (`bias`, as weight_table.h has it) of one layer, without any projections of q,
    k and v.

    attention: an AttentionConfig; its bias is this layer's own. generator: of the random
    directions, on the CPU; None: seeded by attention.features.seed.
    """

    def __init__(self, heads, head_dim, attention=DEFAULT_ATTENTION, *, bias_init="decay",
                 generator=None, backend="auto"):  # fmt: skip
        super().__init__()
        # The sizes beside the heads' are not used: the longest input only bounds a table of biases.
        longest = attention.bias.table_length or 1 << 20
        self.config = EncoderConfig(
            hidden_size=heads * head_dim,
            num_hidden_layers=1,
            num_attention_heads=heads,
            head_dim=head_dim,
            intermediate_size=1,
            vocab_size=1,
            max_position_embeddings=longest,
            attention=attention,
        ).validated()
        self.backend = backend
        if generator is None:
            generator = torch.Generator().manual_seed(attention.features.seed)
        self.register_buffer("projection", draw_projection(self.config, generator))
        relative_bias.register(self, "bias", self.config, bias_init)

    def forward(self, q, k, v, lengths=None, causal=False):
        """[batch, n, heads, head_dim] from q, k, v of that shape. causal: or the
        configuration's."""
        attention = self.config.attention
        near_slope = relative_bias.near_slope(self.config, self.bias, self._bias_index)
        return kernelized_attention(
            q, k, v, self.projection, *near_slope,
            lengths=lengths,
            features=attention.features.kind,
            qk_norm=attention.qk_norm,
            scale=attention.scale,
            causal=causal or attention.causal,
            backend=self.backend,
        )  # fmt: skip

    @torch.no_grad()
    def redraw_features(self, generator=None):
        """New random directions, in place: for training alone."""
        if self.projection is not None:
            self.projection.copy_(draw_projection(self.config, generator))


def lengths_of(padding):
    """[batch] int64 of a padding mask [batch, n]: bool, True for tokens that are none, or floats, 0
    for tokens and -infinity for others. ValueError unless padding is at the end alone."""
    if padding.is_floating_point():
        if not ((padding == 0) | (padding == float("-inf"))).all():
            raise ValueError("a padding mask of floats has values other than 0 and -infinity")
        padding = padding != 0
    if (padding[:, :-1] & ~padding[:, 1:]).any():
        raise ValueError("tokens follow padding: only padding at the end can be left out")
    return (~padding).sum(1)


class KernelizedMultiheadAttention(torch.nn.Module):
    """torch.nn.MultiheadAttention with kernelised attention and relative bias in O(n).

    Constructor, parameters (`in_proj_weight`, `in_proj_bias`, `out_proj`) and forward are those of
    the original, so that its state_dict loads with strict=False; `mixer` holds what is new. Beyond
    it: attention (an AttentionConfig), bias_init, generator, backend. What has no counterpart here
    is refused with the reason: add_bias_kv, add_zero_attn, kdim, vdim, masks other than padding at
    the end and causal ones, weights as a result (they are never formed). `dropout` acts on the
    mixed values, since there are no weights to drop. Rows of padding are out_proj's bias, and mean
    as little as the original's.
    """

    def __init__(
        self,
        embed_dim,
        num_heads,
        dropout=0.0,
        bias=True,
        add_bias_kv=False,
        add_zero_attn=False,
        kdim=None,
        vdim=None,
        batch_first=False,
        device=None,
        dtype=None,
        **mixer_options,
    ):
        super().__init__()
        if add_bias_kv or add_zero_attn:
            raise ValueError("add_bias_kv and add_zero_attn add keys that have no position")
        if kdim not in (None, embed_dim) or vdim not in (None, embed_dim):
            raise ValueError(f"kdim and vdim = {kdim}, {vdim}: accepted: embed_dim = {embed_dim}")
        if embed_dim % num_heads != 0:
            raise ValueError(f"embed_dim = {embed_dim}: accepted: a multiple of {num_heads} heads")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.head_dim = embed_dim // num_heads
        self.batch_first = batch_first
        # nn.TransformerEncoderLayer would otherwise read our weights in evaluation and compute
        # softmax attention by itself.
        self._qkv_same_embed_dim = False
        options = {"device": device, "dtype": dtype}
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * embed_dim, embed_dim, **options))
        if bias:
            self.in_proj_bias = torch.nn.Parameter(torch.zeros(3 * embed_dim, **options))
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = torch.nn.Linear(embed_dim, embed_dim, bias=bias, **options)
        self.mixer = HeadMixer(num_heads, self.head_dim, **mixer_options).to(device)
        torch.nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            torch.nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=False,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        """(output, None). Shapes as the original's; query, key and value have one length."""
        if need_weights:
            raise ValueError("need_weights: attention weights are never formed here")
        if query.shape != key.shape or query.shape != value.shape:
            shapes = ", ".join(str(list(x.shape)) for x in (query, key, value))
            raise ValueError(f"query, key, value have shapes {shapes}: offsets need one length")
        single = query.dim() == 2
        inputs = [self._batch_first(x) for x in (query, key, value)]
        if key_padding_mask is not None and key_padding_mask.dim() == 1:
            key_padding_mask = key_padding_mask[None]
        lengths = None if key_padding_mask is None else lengths_of(key_padding_mask)
        causal = is_causal or _is_causal(attn_mask, inputs[0].shape[1])
        z = self.mixer(*self._heads(inputs), lengths, causal).flatten(2)
        out = self.out_proj(functional.dropout(z, self.dropout, self.training))
        if single:
            return out[0], None
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _batch_first(self, x):
        if x.dim() == 2:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _heads(self, inputs):
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        for x, weight, bias in zip(inputs, weights, biases):
            yield functional.linear(x, weight, bias).unflatten(2, (self.num_heads, self.head_dim))


def _is_causal(mask, n):
    """Whether an attn_mask is the causal one; False for none. ValueError: any other."""
    if mask is None:
        return False
    later = torch.ones(n, n, dtype=torch.bool, device=mask.device).triu(1)
    expected = later
    if mask.is_floating_point():
        expected = torch.zeros(n, n, dtype=mask.dtype, device=mask.device)
        expected = expected.masked_fill(later, float("-inf"))
    if mask.shape == expected.shape and torch.equal(mask, expected):
        return True
    raise ValueError("attn_mask: only the causal mask can be had; weights follow j - i alone")


def replace_attention(module, attention=DEFAULT_ATTENTION, **mixer_options):
    """Replaces every torch.nn.MultiheadAttention in a module, in place; its weights are kept.

    attention, mixer_options: HeadMixer's (bias_init, generator, backend); each layer gets random
    directions and a relative bias of its own. Returns the names of what was replaced. ValueError:
    there is none, or one that cannot be (nothing is changed then).
    """
    generator = mixer_options.pop("generator", None)
    generator = generator or torch.Generator().manual_seed(attention.features.seed)
    made = {}
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            try:
                made[name] = _replacement(part, attention, generator, mixer_options)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    if not made or "" in made:
        raise ValueError("no torch.nn.MultiheadAttention inside this module")
    for name, part in made.items():
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, part)
    for part in module.modules():
        if isinstance(part, torch.nn.TransformerEncoder):
            part.use_nested_tensor = False  # as it would have set itself, had it seen our layers
    return list(made)


def _replacement(original, attention, generator, mixer_options):
    if original.bias_k is not None or original.add_zero_attn:
        raise ValueError("add_bias_kv and add_zero_attn add keys that have no position")
    if not original._qkv_same_embed_dim:
        raise ValueError("kdim or vdim differ from embed_dim")
    weight = original.in_proj_weight
    part = KernelizedMultiheadAttention(
        original.embed_dim,
        original.num_heads,
        original.dropout,
        original.in_proj_bias is not None,
        batch_first=original.batch_first,
        device=weight.device,
        dtype=weight.dtype,
        attention=attention,
        generator=generator,
        **mixer_options,
    )
    part.load_state_dict(original.state_dict(), strict=False)
    return part.train(original.training)
