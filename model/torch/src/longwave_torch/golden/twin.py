"""The whole encoder in double with numpy alone: an independent twin of model/reference.

Written from the paper (arXiv 2106.12566) and the texts of model/weights, not from our C++ code. It
makes the golden vectors, and computes sampled rows of inputs of any length:

    python -m longwave_torch.golden.twin --model build/release/models/tiny_t5 --input FILE \
        --rows 0,499999,999999 --tolerance --out rows.npz
"""

import argparse
import json
import math
import pathlib

import numpy as np

from . import mixing, ngrams, relative_bias, safetensors_io, words

DENSE_ROWS = 8192  # rows of a dense layer computed at once
ERF_CHUNK = 1 << 14  # values whose temporaries stay in cache
FEW = 9  # roundings that an operation other than a sum may stand for


def _erf_table():
    """Taylor coefficients of erf about k / 64, k = 0 .. 384, from the recurrence of its derivative."""
    centre = np.arange(385) / 64
    slope = [2 / math.sqrt(math.pi) * np.exp(-(centre**2)), None]
    slope[1] = -2 * centre * slope[0]
    for k in range(1, 7):
        slope.append(-2 * (centre * slope[k] + slope[k - 1]) / (k + 1))
    value = np.array([math.erf(x) for x in centre])
    return np.stack([value] + [a / (k + 1) for k, a in enumerate(slope)])


_ERF = _erf_table()


def erf(x):
    """numpy has none. |error| < 1e-15: |x - k / 64| <= 1 / 128, and degree 8."""
    flat = np.ascontiguousarray(x).reshape(-1)
    result = np.empty_like(flat)
    for begin in range(0, len(flat), ERF_CHUNK):
        chunk = slice(begin, begin + ERF_CHUNK)
        size = np.minimum(np.abs(flat[chunk]), 6.0)
        place = np.rint(size * 64)
        index = place.astype(np.int32)
        step = size - place / 64
        value = _ERF[-1].take(index)
        for coefficients in _ERF[-2::-1]:
            value *= step
            value += coefficients.take(index)
        result[chunk] = np.copysign(value, flat[chunk])
    return result.reshape(np.shape(x))


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x):
    return x / (1 + np.exp(-x))


ACTIVATIONS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "relu": lambda x: np.maximum(x, 0)}


class Exact:
    """No rounding beyond double's own. `rounding.Rounding` disturbs what passes through it."""

    active = False

    def dense(self, y, x, weight):
        return y

    def spread(self, y, size, steps):
        return y


class Twin:
    def __init__(self, config, weights, rounding=None):
        self.config = config
        self.weights = weights
        self.rounding = rounding or Exact()
        self.attention = config.get("attention", {})
        features = self.attention.get("features", {})
        self.kind = features.get("kind", "prf")
        self.heads = config["num_attention_heads"]
        self.width = config["hidden_size"]
        self.head_dim = config.get("head_dim", self.width // self.heads)
        self.layers = config["num_hidden_layers"]
        self.pre_norm = config.get("norm_position", "pre") == "pre"
        self.has_final_norm = self.pre_norm and config.get("final_norm", True)

    # --- parts -----------------------------------------------------------------------------------

    def _bias(self, name):
        return self.weights.get(name + ".bias", 0.0)

    def linear(self, name, x):
        weight = self.weights[name + ".weight"]
        y = x @ weight.T
        return self.rounding.dense(y, x, weight) + self._bias(name)

    def norm(self, name, x):
        mean = x.mean(axis=1, keepdims=True)
        centred = x - mean
        eps = self.config.get("layer_norm_eps", 1e-5)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)
        gain = self.weights[name + ".weight"]
        y = centred / deviation * gain + self._bias(name)
        if self.rounding.active:
            size = (np.abs(x) + np.abs(mean)) / deviation * np.abs(gain) + np.abs(y)
            y = self.rounding.spread(y, size, FEW)
        return y

    def embed(self, ids):
        x = self.weights["embeddings.token.weight"][ids]
        if self.config.get("ngrams"):
            x = x + self.ngrams(ids)
            x = self.rounding.spread(x, np.abs(x), 1)
        if self.config.get("words"):
            x = x + self.words(ids)
            x = self.rounding.spread(x, np.abs(x), 1)
        kind = self.config.get("positions", {}).get("kind", "none")
        if kind == "learned":
            x = x + self.weights["embeddings.position.weight"][: len(ids)]
        if kind == "sinusoidal":
            channel = np.arange(self.width)
            frequency = 10000.0 ** (-(channel - channel % 2) / self.width)
            phase = np.arange(len(ids))[:, None] * frequency
            x = x + np.where(channel % 2 == 0, np.sin(phase), np.cos(phase))
        if kind != "none":
            x = self.rounding.spread(x, np.abs(x), FEW)
        if self.config.get("embedding_norm", False):
            x = self.norm("embeddings.norm", x)
        return x

    def ngrams(self, ids):
        """What the n-grams that end at each id add to its embedding: [n, width]."""
        sizes = self.config["ngrams"]["sizes"]
        rows = ngrams.buckets_of(ids, sizes, self.config["ngrams"]["buckets"])
        return self._from_table("embeddings.ngram", rows)

    def words(self, ids):
        """What the words that end at each id add to its embedding: [n, width]."""
        rows = words.rows_of(ids, self.weights["embeddings.word_keys"])
        return self._from_table("embeddings.word", rows)

    def _from_table(self, name, rows):
        total, size = ngrams.sums(self.weights[name + ".weight"], rows)
        total = self.rounding.spread(total, size, rows.shape[1])
        weight = self.weights[name + "_projection.weight"]
        return self.rounding.dense(total @ weight.T, total, weight)

    def feed_forward(self, name, x):
        up = self.linear(name + "up", x)
        kind = self.config.get("hidden_act", "gelu")
        if kind == "swiglu":
            gate = self.linear(name + "gate", x)
            hidden = silu(gate) * up
            size = np.abs(gate * up)
        else:
            hidden = ACTIVATIONS[kind](up)
            size = np.abs(up)
        return self.linear(name + "down", self.rounding.spread(hidden, size, FEW))

    # --- attention -------------------------------------------------------------------------------

    def unit(self, x):
        """x^: on the sphere of radius `scale`, or plainly scaled."""
        if not self.attention.get("qk_norm", True):
            return x * self.head_dim**-0.25
        length = np.sqrt((x**2).sum(axis=1, keepdims=True))
        scaled = self.attention.get("scale", 1.0) * x / np.where(length == 0, 1, length)
        return self.rounding.spread(scaled, np.abs(scaled), FEW)

    def features(self, x, projection, shift):
        """phi(x^), its exponents lowered by shift(exponents)."""
        if self.kind == "elu":
            phi = np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
            return self.rounding.spread(phi, phi, FEW)
        angle = self.rounding.dense(x @ projection.T, x, projection)
        half_square = (x**2).sum(axis=1, keepdims=True) / 2
        norm = 1 / math.sqrt(len(projection))
        if self.kind == "trf":
            factor = np.exp(half_square - shift(half_square)) * norm
            phi = np.concatenate([np.sin(angle), np.cos(angle)], axis=1) * factor
            return self.rounding.spread(phi, factor, FEW)
        exponent = angle - half_square
        phi = np.exp(exponent - shift(exponent)) * norm
        return self.rounding.spread(phi, phi * (1 + np.abs(exponent)), FEW)

    def _head(self, layer, h):
        """Weights of one head: q, k, v matrices and biases, projection."""
        name = f"layers.{layer}.attention."
        part = slice(h * self.head_dim, (h + 1) * self.head_dim)
        matrices = []
        for kind in ("query", "key", "value"):
            bias = self._bias(name + kind)
            bias = bias if np.isscalar(bias) else bias[part]
            matrices.append((self.weights[f"{name}{kind}.weight"][part], bias))
        projection = self.weights.get(name + "projection")
        return matrices, None if projection is None else projection[h]

    def _mix(self, form, queries, keys, values, bias, rows):
        if self.kind == "softmax":
            return mixing.softmax(queries, keys, values, bias, rows)
        if form == "linear":
            return mixing.linear(queries, keys, values, bias, rows)
        return mixing.quadratic(queries, keys, values, bias, rows)

    def head_rows(self, layer, h, bias, x, form, rows):
        """One head's output for the given rows, all tokens being keys."""
        matrices, projection = self._head(layer, h)
        # The linear form works on all rows at once and picks afterwards.
        x_query = x if form == "linear" else x[rows]
        q, k, v = (
            self.rounding.dense(source @ weight.T, source, weight) + shift
            for source, (weight, shift) in zip((x_query, x, x), matrices)
        )
        q, k = self.unit(q), self.unit(k)
        if self.kind != "softmax":
            stabilise = not self.attention.get("qk_norm", True)
            q = self.features(
                q, projection, lambda e: e.max(axis=1, keepdims=True) if stabilise else 0
            )
            k = self.features(k, projection, lambda e: e.max() if stabilise else 0)
        bias = self.rounding.bias(bias) if self.rounding.active else bias
        ones = np.ones((len(v), 1))
        mixed = self._mix(form, q, k, np.concatenate([v, ones], axis=1), bias, rows)
        denominator = mixed[:, -1:]
        z = mixed[:, :-1] / denominator
        if not self.rounding.active:
            return z
        sizes = np.concatenate([np.abs(v), ones], axis=1)
        signless = (q, k) if self.kind == "softmax" else (np.abs(q), np.abs(k))
        sizes = self._mix(form, *signless, sizes, bias, rows) / np.abs(denominator)
        return self.rounding.attention(
            z, sizes[:, :-1] + np.abs(z) * sizes[:, -1:], v, bias, q.shape[1]
        )

    def attend(self, layer, x, form, rows):
        stored = self.weights.get("attention_bias")
        if stored is None:
            stored = self.weights.get(f"layers.{layer}.attention.bias")
        biases = relative_bias.head_biases(self.config, stored)
        heads = [
            self.head_rows(layer, h, biases[h], x, form, rows) for h in range(self.heads)
        ]
        return self.linear(f"layers.{layer}.attention.output", np.concatenate(heads, axis=1))

    # --- the whole -------------------------------------------------------------------------------

    def layer(self, layer, x, form, rows=None):
        """The layer's output for the given rows (None: all)."""
        rows = np.arange(len(x)) if rows is None else np.asarray(rows)
        name = f"layers.{layer}."
        source = x
        if self.pre_norm:
            source = self._by_rows(lambda r: self.norm(name + "attention_norm", r), x)
        attended = self.attend(layer, source, form, rows)
        x = x[rows] + attended
        x = self.rounding.spread(x, np.abs(x), 1)
        return self._by_rows(lambda r: self._second_half(name, r), x)

    def _second_half(self, name, x):
        if not self.pre_norm:
            x = self.norm(name + "attention_norm", x)
        source = self.norm(name + "ffn_norm", x) if self.pre_norm else x
        x = x + self.feed_forward(name + "ffn.", source)
        x = self.rounding.spread(x, np.abs(x), 1)
        return x if self.pre_norm else self.norm(name + "ffn_norm", x)

    @staticmethod
    def _by_rows(function, x):
        parts = [function(x[b : b + DENSE_ROWS]) for b in range(0, len(x), DENSE_ROWS)]
        return np.concatenate(parts)

    def final(self, x):
        return self.norm("final_norm", x) if self.has_final_norm else x

    def raw_states(self, ids, form="quadratic", known=()):
        """States of layers 0 (embeddings) to the last, without the final norm. `known`: the first
        of them, if they have been computed before."""
        states = list(known) or [self.embed(np.asarray(ids))]
        for layer in range(len(states) - 1, self.layers):
            states.append(self.layer(layer, states[-1], form))
        return states

    def states(self, ids, form="quadratic", known=()):
        """The same, the last one with the final norm: what an encoder shows."""
        states = self.raw_states(ids, form, known)
        return states[:-1] + [self.final(states[-1])]

    def rows(self, ids, rows):
        """Rows of the last layer of a long input: all rows of the layers below in O(n), and these
        rows of the last one by the O(n) sum that defines each."""
        x = self.embed(np.asarray(ids))
        for layer in range(self.layers - 1):
            x = self.layer(layer, x, "linear")
        return self.final(self.layer(self.layers - 1, x, "quadratic", rows))


def output_rows(states, output, rounding=None):
    """What an output specification (longwave.json's form) makes of the states: [rows, dim]."""
    rounding = rounding or Exact()
    n = len(states[0])
    parts = []
    for layer in output.get("layers") or [len(states) - 1]:
        part = _pool(states[layer], n, output)
        if rounding.active and output["pooling"] in ("mean", "spans"):
            part = rounding.spread(part, _pool(np.abs(states[layer]), n, output), rounding.sum_steps(n))
        if output.get("truncate_dim"):
            part = part[:, : output["truncate_dim"]]
        if output.get("normalize"):
            length = np.sqrt((part**2).sum(axis=1, keepdims=True))
            part = part / np.where(length == 0, 1, length)
            part = rounding.spread(part, np.abs(part), FEW)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _pool(x, n, output):
    pooling = output["pooling"]
    if pooling == "mean":
        return x.mean(axis=0, keepdims=True)
    if pooling == "first":
        return x[:1]
    if pooling == "last":
        return x[-1:]
    if pooling == "max":
        return x.max(axis=0, keepdims=True)
    if pooling == "spans":
        return np.stack([x[begin:end].mean(axis=0) for begin, end in output["spans"]])
    ranges = output.get("row_ranges") or [[0, n]]
    stride = output.get("row_stride", 1)
    return np.concatenate([x[begin:end:stride] for begin, end in ranges])


def load(folder, rounding=None):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    return Twin(config, safetensors_io.read(folder / "model.safetensors"), rounding)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a model folder")
    parser.add_argument("--input", required=True, help="a file whose bytes are the token ids")
    parser.add_argument("--rows", required=True, help="row numbers, with commas between")
    parser.add_argument("--tolerance", action="store_true", help="also derive the tolerance")
    parser.add_argument("--out", required=True, help="npz: rows, values[, tolerance]")
    options = parser.parse_args()
    model = load(options.model)
    ids = np.fromfile(options.input, np.uint8).astype(np.int64)
    rows = [int(row) for row in options.rows.split(",")]
    result = {"rows": np.array(rows), "values": model.rows(ids, rows)}
    if options.tolerance:
        from . import rounding

        result["tolerance"] = rounding.tolerance_of_rows(model, ids, rows, result["values"])
    np.savez(options.out, **result)


if __name__ == "__main__":
    main()
