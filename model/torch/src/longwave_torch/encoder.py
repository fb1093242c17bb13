"""The whole encoder as a module. Its state_dict has the names and shapes of weight_table.h."""

import numpy as np
import torch
from torch.nn import functional
from torch.utils import checkpoint

from . import bias as relative_bias
from . import words
from .attention import KernelizedAttention
from .ngrams import ngram_buckets


class Embeddings(torch.nn.Module):
    """x_i = token[id_i] + P sum_s ngram[bucket(s, i)] + Q word[word(i)] + position_i, with a norm if
    there is one."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.token = torch.nn.Embedding(config.vocab_size, hidden)
        if config.ngrams is not None:
            self.ngram = torch.nn.Embedding(config.ngrams.buckets, config.ngrams.dim)
            self.ngram_projection = torch.nn.Linear(config.ngrams.dim, hidden, bias=False)
        if config.words is not None:
            keys = words.pack_keys(np.arange(config.words.count))
            self.register_buffer("word_keys", torch.from_numpy(keys))
            self.word = torch.nn.Embedding(config.words.count, config.words.dim)
            self.word_projection = torch.nn.Linear(config.words.dim, hidden, bias=False)
        if config.positions.kind == "learned":
            self.position = torch.nn.Embedding(config.positions.table_length, hidden)
        if config.embedding_norm:
            self.norm = _norm(config)

    def find(self, ids, lengths=None):
        """The table rows of ids [batch, n]: (ngram_buckets or None, [batch, n] rows of words or None;
        -1 where there is none). lengths: [batch]; words end there."""
        buckets = None if self.config.ngrams is None else ngram_buckets(ids, self.config)
        return buckets, None if self.config.words is None else self._word_rows(ids, lengths)

    def _word_rows(self, ids, lengths):
        keys = words.unpack_keys(self.word_keys.cpu())
        batch, n = ids.shape
        between = np.full((batch, n + 1), self.config.vocab_size, np.int64)  # a column that is no byte
        between[:, :n] = ids.cpu().numpy()
        if lengths is not None:
            between[np.arange(n + 1) >= lengths.cpu().numpy()[:, None]] = self.config.vocab_size
        rows = words.rows_of(between.ravel(), keys).reshape(batch, n + 1)[:, :n]
        return torch.from_numpy(np.ascontiguousarray(rows)).to(ids.device)

    def forward(self, ids, lengths=None, found=None):
        """[batch, n, hidden] of ids [batch, n]; found: find(ids, lengths), if at hand."""
        buckets, word_rows = self.find(ids, lengths) if found is None else found
        x = self.token(ids)
        if buckets is not None:
            x = x + self.ngram_projection(_sums(self.ngram.weight, buckets))
        if word_rows is not None:
            x = x + self.word_projection(_sums(self.word.weight, word_rows[..., None]))
        kind = self.config.positions.kind
        if kind == "learned":
            x = x + self.position.weight[: ids.shape[1]]
        if kind == "sinusoidal":
            x = x + sinusoids(ids.shape[1], self.config.hidden_size, ids.device).to(x.dtype)
        return self.norm(x) if self.config.embedding_norm else x


    @property
    def only_sums(self):
        """Whether a sequence's mean depends on how often it has each row alone: no norm, no positions."""
        return not self.config.embedding_norm and self.config.positions.kind == "none"

    def means(self, ids, lengths, found=None):
        """mean_pool(self(ids, lengths), lengths) [batch, hidden], if `only_sums`: projections of the
        means of table rows instead of means of their projections."""
        valid = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        buckets, word_rows = self.find(ids, lengths) if found is None else found
        total = _bags(self.token.weight, ids, valid)
        if buckets is not None:
            bags = _bags(self.ngram.weight, buckets.flatten(1), valid.repeat_interleave(buckets.shape[2], 1))
            total = total + self.ngram_projection(bags)
        if word_rows is not None:
            total = total + self.word_projection(_bags(self.word.weight, word_rows, valid))
        return total / lengths[:, None]


def _bags(table, rows, valid):
    """sum_i table[rows[b, i]] [batch, dim] over the valid i whose row is not -1."""
    chosen = valid & (rows >= 0)
    counts = chosen.sum(1)
    return functional.embedding_bag(rows[chosen], table, counts.cumsum(0) - counts, mode="sum")


def _sums(table, rows):
    """sum_k table[rows[.., k]] [batch, n, dim] of rows [batch, n, k], without those that are -1."""
    flat = rows.flatten(0, 1)
    sums = functional.embedding_bag(
        flat.clamp(min=0), table, mode="sum", per_sample_weights=(flat >= 0).to(table.dtype)
    )
    return sums.view(*rows.shape[:2], -1)


def sinusoids(n, hidden, device=None):
    """[n, hidden] in double: sin(p / 10000^(c / D)) for even c, cos(p / 10000^((c - 1) / D))."""
    channel = torch.arange(hidden, device=device, dtype=torch.float64)
    frequency = 10000.0 ** (-(channel - channel % 2) / hidden)
    phase = torch.arange(n, device=device, dtype=torch.float64)[:, None] * frequency
    return torch.where(channel % 2 == 0, phase.sin(), phase.cos())


class FeedForward(torch.nn.Module):
    """down(act(up x)), or SwiGLU: down(silu(gate x) up x)."""

    def __init__(self, config):
        super().__init__()
        self.kind = config.hidden_act
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.use_bias
        self.up = torch.nn.Linear(hidden, inner, bias=bias)
        if self.kind == "swiglu":
            self.gate = torch.nn.Linear(hidden, inner, bias=bias)
        self.down = torch.nn.Linear(inner, hidden, bias=bias)

    def forward(self, x):
        up = self.up(x)
        if self.kind == "swiglu":
            return self.down(functional.silu(self.gate(x)) * up)
        if self.kind == "relu":
            return self.down(functional.relu(up))
        return self.down(
            functional.gelu(up, approximate="tanh" if self.kind == "gelu_tanh" else "none")
        )


class Layer(torch.nn.Module):
    """Attention and feed-forward network; norms before each, or after each sum."""

    def __init__(self, config, dropout=0.0, **attention_options):
        super().__init__()
        self.pre_norm = config.pre_norm
        self.dropout = dropout
        self.attention_norm = _norm(config)
        self.attention = KernelizedAttention(config, **attention_options)
        self.ffn_norm = _norm(config)
        self.ffn = FeedForward(config)

    def forward(self, x, lengths, near_slope):
        if self.pre_norm:
            x = x + self._drop(self.attention(self.attention_norm(x), lengths, near_slope))
            return x + self._drop(self.ffn(self.ffn_norm(x)))
        x = self.attention_norm(x + self._drop(self.attention(x, lengths, near_slope)))
        return self.ffn_norm(x + self._drop(self.ffn(x)))

    def _drop(self, x):
        return functional.dropout(x, self.dropout, self.training)


def _norm(config):
    return torch.nn.LayerNorm(config.hidden_size, config.layer_norm_eps, bias=config.use_bias)


class Encoder(torch.nn.Module):
    """An encoder for training: what longwave-server computes from the same folder.

    config: an EncoderConfig; ConfigError if the server would not take it. residual_scale: of the
    initial attention.output and ffn.down (None: 1 / sqrt(2 layers), so that the sum over all layers
    begins at the size of one; 0: layers begin as the identity). bias_init: "decay" or "zeros".
    generator: of the CPU, for initial weights; random directions come from the config's seed.
    dropout and gradient_checkpointing (an attribute: layers are computed again in the backward pass
    instead of kept) are training's alone. backend: kernelized_attention's.
    """

    def __init__(
        self,
        config,
        *,
        residual_scale=None,
        bias_init="decay",
        generator=None,
        dropout=0.0,
        backend="auto",
    ):
        super().__init__()
        self.config = config = config.validated()
        self.gradient_checkpointing = False
        self.embeddings = Embeddings(config)
        if config.attention.bias.shared_layers:
            relative_bias.register(self, "attention_bias", config, bias_init)
        directions = torch.Generator().manual_seed(config.attention.features.seed)
        options = {"backend": backend, "bias_init": bias_init, "generator": directions}
        self.layers = torch.nn.ModuleList(
            Layer(config, dropout, **options) for _ in range(config.num_hidden_layers)
        )
        if config.has_final_norm:
            self.final_norm = _norm(config)
        self._initialise(residual_scale, generator)

    @torch.no_grad()
    def _initialise(self, residual_scale, generator):
        """Linear weights with variance 1 / inputs, so that sizes keep by layers; biases 0;
        token and n-gram embeddings each of about unit size, positions of half that."""
        if residual_scale is None:
            residual_scale = (2 * self.config.num_hidden_layers) ** -0.5
        for name, module in self.named_modules():
            if isinstance(module, torch.nn.Linear):
                size = module.in_features**-0.5
                if name.endswith(("attention.output", "ffn.down")):
                    size *= residual_scale
                module.weight.normal_(0.0, 1.0, generator=generator).mul_(size)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, torch.nn.Embedding):
                size = {"ngram": 1.0, "position": 0.5}.get(name.rpartition(".")[2], 1.0)
                if name.endswith(".ngram"):
                    size = len(self.config.ngrams.sizes) ** -0.5  # of a sum of that many
                module.weight.normal_(0.0, size, generator=generator)

    def forward(self, ids, lengths=None, all_layers=False, num_layers=None, found=None):
        """The last states [batch, n, hidden], after the final norm if there is one.

        ids: [batch, n] int64. lengths: [batch], tokens of each sequence; later states are noise.
        all_layers: a list instead, of the embeddings and each layer's states, the last one with the
        final norm. num_layers: only the first so many layers (0: embeddings and final norm).
        found: embeddings.find(ids, lengths), where it was computed before.
        """
        if ids.shape[1] > self.config.max_position_embeddings:
            raise ValueError(
                f"{ids.shape[1]} tokens: at most {self.config.max_position_embeddings} "
                "(max_position_embeddings)"
            )
        x = self.embeddings(ids, lengths, found)
        states = [x]
        near_slope = self._shared_near_slope()
        for layer in self.layers[:num_layers]:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint.checkpoint(layer, x, lengths, near_slope, use_reentrant=False)
            else:
                x = layer(x, lengths, near_slope)
            if all_layers:
                states.append(x)
        x = self.final_norm(x) if self.config.has_final_norm else x
        return states[:-1] + [x] if all_layers else x

    def _shared_near_slope(self):
        if not self.config.attention.bias.shared_layers:
            return None
        return relative_bias.near_slope(self.config, self.attention_bias, self._bias_index)

    def encode(self, ids, lengths=None, normalize=True, **options):
        """Embeddings [batch, hidden]: means of each sequence's states, of unit length if asked."""
        pooled = mean_pool(self(ids, lengths, **options), lengths)
        return functional.normalize(pooled, dim=-1) if normalize else pooled

    @torch.no_grad()
    def redraw_features(self, generator=None):
        """New random directions in every layer: for training alone, every so many steps. What is
        saved last is what is served. generator: of the CPU; the same in all data-parallel
        processes."""
        for layer in self.layers:
            layer.attention.redraw_features(generator)


def mean_pool(states, lengths=None):
    """[batch, hidden]: means over each sequence's first `lengths` states (None: all)."""
    if lengths is None:
        return states.mean(1)
    lengths = torch.as_tensor(lengths, device=states.device)
    beyond = torch.arange(states.shape[1], device=states.device) >= lengths[:, None]
    sums = states.masked_fill(beyond[..., None], 0.0).sum(1)
    return sums / lengths.clamp(min=1)[:, None].to(states.dtype)
