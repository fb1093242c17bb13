"""A first layer that takes topics out of long texts, as where its training begins.

The mean of a long text's states is nearly its topics alone: what is rare in it, spread over its
tokens, counts for less the longer it is, though that is what tells it from other texts of its topics.
Weights of a mean cannot depend on the text's length. One layer can see to that:

1. Attention: a token sees itself e^b times as well as each of the others (b of offset 0 of the
   relative bias, e^b = `tokens`). Of the values, which are the learned dimensions, it adds
   s w_i + (1 - s) w to token i, w being the text's mean and s = e^b / (e^b + n - 1).
2. The feed-forward network works on tokens between words alone (a dimension says which they are, and
   is cleared). Words' rows are never there, so what it finds in the learned dimensions is (1 - s) w,
   and it takes that away, times a factor.

What is left of the learned dimensions falls with n / (n + e^b), from all of it to 1 - `strength`, in
the same direction. A second dimension is 0 in all tokens: in a normed state it holds what the norm
took from every dimension, and gives it back. Norms would weigh every token alike; they leave sizes alone where states are much
smaller than their epsilon, so that all tables are scaled down first, and the norms' gains up.
"""

import math

import numpy as np
import torch

from .. import words
from ..encoder import mean_pool

SHORT, LONG, DOCUMENTS = 500, 12_000, 48  # bytes of the texts that the factor is found with
NOISE = 0.02  # deviation of what begins small
LEAST_EPS, VARIANCE_TO_EPS = 0.01, 3e-4
FLAG = 2.0  # of a token between words, in units of an unscaled state
ZERO, BETWEEN = -2, -1  # the dimensions
SHUT = 80.0  # beyond any word's values, so that gelu of what is left is nothing


@torch.no_grad()
def begin_with_damping(encoder, corpus, recipe, strength, tokens):
    """Makes the encoder's first layer one that damps; strength in (0, 1), tokens above 1. The last two
    of the lexical dimensions become the one that is 0 and the one that tells tokens between words.

    ValueError: the model's layers cannot (all that is wanted is named), or the corpus has no training
    document of LONG bytes.
    """
    config, learned = encoder.config, encoder.config.hidden_size - recipe.lexical_dims
    bias = config.attention.bias
    wanted = {
        "words": config.words is not None,
        "tokens and n-grams with nothing in the learned dimensions (the recipe's `fixed`)": not (
            encoder.embeddings.token.weight[:, :learned].any()
            or encoder.embeddings.ngram_projection.weight[:learned].any()
        ),
        "norm_position pre": config.pre_norm,
        "final_norm false": not config.has_final_norm,
        "use_bias true": config.use_bias,
        "hidden_act gelu": config.hidden_act == "gelu",
        "an attention.bias of kind t5": bias.kind == "t5",
        f"a layer_norm_eps of {LEAST_EPS} or more": config.layer_norm_eps >= LEAST_EPS,
        f"heads of {learned} dimensions together": config.num_attention_heads * config.head_dim
        >= learned,
        f"an intermediate_size above {2 * learned}": config.intermediate_size > 2 * learned,
    }
    missing = [text for text, there in wanted.items() if not there]
    if missing or recipe.lexical_dims < 3:
        raise ValueError(
            f"damping: wanted of config.json: {', '.join(missing) or 'nothing more'}; of the recipe: "
            f"lexical_dims = {recipe.lexical_dims}, at least 3"
        )
    documents = _documents(corpus, recipe.seed)
    layer, generator = encoder.layers[0], torch.Generator().manual_seed(recipe.seed)
    scale = _scale_down(encoder, documents)
    for norm in (layer.attention_norm, layer.ffn_norm):
        norm.weight.fill_(config.layer_norm_eps**0.5 / scale)
        norm.bias.zero_()
    _flag(encoder.embeddings, scale)
    _attention(encoder, layer.attention, learned, tokens, generator)
    layer.attention.output.weight *= scale
    _feed_forward(layer.ffn, learned, scale, generator)
    layer.ffn.down.weight[:learned] *= -_factor(encoder, documents, learned, strength, tokens)


def _documents(corpus, seed):
    """Beginnings [1, LONG] of some training documents."""
    entries = [entry for entry in corpus.split(held_out=False) if len(entry) >= LONG]
    if not entries:
        raise ValueError(f"damping: no training document has {LONG} bytes")
    chosen = np.random.default_rng(seed).permutation(len(entries))[:DOCUMENTS]
    beginnings = (corpus.bytes_of(entries[index])[:LONG] for index in chosen)
    return [torch.from_numpy(data.astype(np.int64))[None] for data in beginnings]


def _scale_down(encoder, documents):
    """Makes the states of layer 0 so small that norms hardly change them; by what factor."""
    variances = [encoder(data[:, :SHORT], num_layers=0).var(-1).mean() for data in documents]
    variance = torch.stack(variances).mean().item()
    scale = (VARIANCE_TO_EPS * encoder.config.layer_norm_eps / variance) ** 0.5
    embeddings = encoder.embeddings
    for table in (embeddings.token, embeddings.ngram, embeddings.word):
        table.weight *= scale
    return scale


def _flag(embeddings, scale):
    embeddings.ngram_projection.weight[[ZERO, BETWEEN]] = 0
    embeddings.token.weight[:, [ZERO, BETWEEN]] = 0
    between = torch.from_numpy(words.KINDS[: words.BYTES] == words.OTHER)
    embeddings.token.weight[: words.BYTES, BETWEEN] = FLAG * scale * between


def _small(parameter, generator):
    noise = torch.randn(parameter.shape, generator=generator)
    parameter.copy_(NOISE * parameter.shape[-1] ** -0.5 * noise)


def _attention(encoder, attention, learned, tokens, generator):
    shared = encoder.config.attention.bias.shared_layers
    stored = encoder.attention_bias if shared else attention.bias
    stored.zero_()
    stored[:, 0] = math.log(tokens)  # the bucket of offset 0 alone
    for projection in (attention.query, attention.key):
        _small(projection.weight, generator)
        projection.bias.fill_(1.0)  # one direction for all: every token is like every other
    for projection in (attention.value, attention.output):
        projection.weight.zero_()  # small would not do: a token's rest is large beside a text's mean
        projection.weight[:learned, :learned] = torch.eye(learned)
        projection.bias.zero_()
    attention.value.weight[:learned, ZERO] = -1


def _feed_forward(ffn, learned, scale, generator):
    """Between words the learned dimensions, as gelu(x) - gelu(-x) = x, elsewhere nothing; and what
    clears the flag."""
    _small(ffn.up.weight, generator)
    ffn.up.bias.zero_()
    ffn.down.weight.zero_()
    ffn.down.bias.zero_()
    pairs = 2 * learned
    up = ffn.up.weight[: pairs + 1].zero_()
    ffn.up.bias[:pairs] = -SHUT
    up[:, BETWEEN], up[:, ZERO] = SHUT / FLAG, -SHUT / FLAG
    for rows, sign in ((slice(0, learned), 1), (slice(learned, pairs), -1)):
        up[rows, :learned] = sign * torch.eye(learned)
        up[rows, ZERO] -= sign
        ffn.down.weight[:learned, rows] = sign * torch.eye(learned)
    ffn.down.weight[BETWEEN, pairs] = -FLAG * scale / SHUT


def _factor(encoder, documents, learned, strength, tokens):
    """Of what the network takes away: such that a text of LONG bytes keeps as much less than one of
    SHORT as it should, in the median of training documents."""
    down = encoder.layers[0].ffn.down.weight
    whole = down.clone()
    shares = {SHORT: [], LONG: []}
    for data in documents:
        for size, found in shares.items():
            means = []
            for factor in (0, 1):
                down[:learned] = factor * whole[:learned]
                means.append(mean_pool(encoder(data[:, :size], num_layers=1))[0, :learned])
            found.append((((means[1] - means[0]) @ means[0]) / (means[0] @ means[0])).item())
    short, long = (np.median(shares[size]) for size in (SHORT, LONG))
    kept = [1 - strength * size / (size + tokens) for size in (SHORT, LONG)]
    ratio = kept[1] / kept[0]
    return (1 - ratio) / (long - ratio * short)
