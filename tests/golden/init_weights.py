"""Seeded weights for a configuration: untrained, but such that every tensor and every part of an
input shows in the output."""

import numpy as np

from longwave_torch.golden.words import stored_keys


def _orthogonal_projection(random, features, dim, sphere):
    """[features, dim]: blocks of orthogonal rows with the norms of normal vectors (or sqrt(dim))."""
    blocks = []
    for begin in range(0, features, dim):
        q, r = np.linalg.qr(random.standard_normal((dim, dim)))
        q *= np.sign(np.diag(r))  # uniform over all rotations
        norms = np.sqrt((random.standard_normal((dim, dim)) ** 2).sum(axis=1))
        blocks.append(q.T * (np.full(dim, np.sqrt(dim)) if sphere else norms)[:, None])
    return np.concatenate(blocks)[:features]


def _relative_bias(random, config):
    """[heads, ...] as weight_table.h has it, or None.

    Far keys are damped but never lost: over a million tokens even the most local head gives more
    weight to the far field than to its neighbours, and at a few hundred it does not.
    """
    bias = config["attention"].get("bias", {"kind": "none"})
    heads = config["num_attention_heads"]
    depth = np.linspace(2, 8, heads)[:, None]
    kind = bias["kind"]
    if kind == "t5":
        buckets = bias.get("num_buckets", 32)
        half = buckets if config["attention"].get("causal") else buckets // 2
        place = np.arange(buckets) % half / (half - 1)
    elif kind == "clipped":
        reach = bias.get("max_distance", 128)
        place = np.abs(np.arange(-reach, reach + 1)) / reach
        depth = depth / 2
    elif kind == "table":
        length = bias["table_length"]
        place = np.log1p(np.abs(np.arange(1 - length, length)))
        depth = np.full((heads, 1), 0.5)
    elif kind == "alibi":
        return 4.0 ** -np.arange(1, heads + 1) * (1 + 0.1 * random.standard_normal(heads))
    else:
        return None
    return -depth * place + 0.3 * random.standard_normal((heads, len(place)))


class _Maker:
    def __init__(self, config, seed):
        self.config = config
        self.random = np.random.RandomState(seed)  # its streams are frozen, unlike Generator's
        self.weights = {}

    def normal(self, name, shape, size, mean=0.0):
        self.weights[name] = mean + size * self.random.standard_normal(shape)

    def norm(self, name):
        self.normal(name + ".weight", self.config["hidden_size"], 0.1, mean=1.0)
        if self.config.get("use_bias", True):
            self.normal(name + ".bias", self.config["hidden_size"], 0.1)

    def linear(self, name, rows, columns, bias_size=0.1):
        self.normal(name + ".weight", (rows, columns), 1 / np.sqrt(columns))
        if self.config.get("use_bias", True):
            self.normal(name + ".bias", rows, bias_size)

    def ngrams(self):
        """Rows of the table such that all sizes together weigh about as much as a token."""
        ngrams, width = self.config["ngrams"], self.config["hidden_size"]
        size = 1 / np.sqrt(len(ngrams["sizes"]))
        self.normal("embeddings.ngram.weight", (ngrams["buckets"], ngrams["dim"]), size)
        self.normal("embeddings.ngram_projection.weight", (width, ngrams["dim"]),
                    1 / np.sqrt(ngrams["dim"]))  # fmt: skip

    def words(self):
        """A vocabulary of all words of one byte, and rows of about a token's weight."""
        words, width = self.config["words"], self.config["hidden_size"]
        lower = [bytes([byte]) for byte in (*b"abcdefghijklmnopqrstuvwxyz0123456789", *range(128, 256))]
        self.weights["embeddings.word_keys"] = stored_keys(lower[: words["count"]])
        self.normal("embeddings.word.weight", (words["count"], words["dim"]), 1.0)
        self.normal("embeddings.word_projection.weight", (width, words["dim"]),
                    1 / np.sqrt(words["dim"]))  # fmt: skip

    def relative_bias(self, name):
        values = _relative_bias(self.random, self.config)
        if values is not None:
            self.weights[name] = values

    def projections(self, name, head_dim):
        features = self.config["attention"].get("features", {})
        kind = features.get("kind", "prf")
        if kind in ("prf", "trf", "sphere"):
            count = features.get("num_features", 64)
            self.weights[name] = np.stack(
                [
                    _orthogonal_projection(self.random, count, head_dim, kind == "sphere")
                    for _ in range(self.config["num_attention_heads"])
                ]
            )

    def layer(self, layer, shared):
        name = f"layers.{layer}."
        width, inner = self.config["hidden_size"], self.config["intermediate_size"]
        heads = self.config["num_attention_heads"]
        head_dim = self.config.get("head_dim", width // heads)
        self.norm(name + "attention_norm")
        for part, bias_size in (("query", 0.5), ("key", 0.5), ("value", 0.1)):
            self.linear(f"{name}attention.{part}", heads * head_dim, width, bias_size)
        self.linear(name + "attention.output", width, heads * head_dim)
        self.projections(name + "attention.projection", head_dim)
        if not shared:
            self.relative_bias(name + "attention.bias")
        self.norm(name + "ffn_norm")
        self.linear(name + "ffn.up", inner, width)
        if self.config.get("hidden_act") == "swiglu":
            self.linear(name + "ffn.gate", inner, width)
        self.linear(name + "ffn.down", width, inner)


def init_weights(config, seed):
    """All tensors of weight_table.h for this config.json, in fp32."""
    maker = _Maker(config, seed)
    width = config["hidden_size"]
    maker.normal("embeddings.token.weight", (config["vocab_size"], width), 1.0)
    if config.get("ngrams"):
        maker.ngrams()
    if config.get("words"):
        maker.words()
    positions = config.get("positions", {"kind": "none"})
    if positions["kind"] == "learned":
        maker.normal("embeddings.position.weight", (positions["table_length"], width), 0.3)
    if config.get("embedding_norm", False):
        maker.norm("embeddings.norm")
    shared = config["attention"].get("bias", {}).get("shared_layers", True)
    if shared:
        maker.relative_bias("attention_bias")
    for layer in range(config["num_hidden_layers"]):
        maker.layer(layer, shared)
    if config.get("norm_position", "pre") == "pre" and config.get("final_norm", True):
        maker.norm("final_norm")
    return {name: values.astype(np.float32) for name, values in maker.weights.items()}
