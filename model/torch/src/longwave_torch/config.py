"""config.json of a model folder, as model/weights/model_config.h has it: same keys, same rules."""

import dataclasses
import json
import pathlib

from .json_fields import ConfigError, Fields, parse_object

# Bounds of model/weights/model_config.cc.
MAX_WIDTH = 1 << 16
MAX_INTERMEDIATE = 1 << 20
MAX_LAYERS = 1 << 10
MAX_HEADS = 1 << 10
MAX_HEAD_DIM = 1 << 12
MAX_FEATURES = 1 << 14
MAX_VOCABULARY = 1 << 24
MAX_TOKENS = 1 << 28
MAX_T5_BUCKETS = 1 << 12
MAX_SCALE = 8  # exp(scale |w|) stays within fp32
MAX_INTERPOLATION_ERROR = 0.1
MAX_NGRAM = 16
MAX_NGRAM_BUCKETS = 1 << 24
MAX_WORDS = 1 << 24
BYTES = 256  # token ids that stand for bytes, in models with words

DTYPES = ("float32", "float16", "bfloat16")
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "swiglu")
NORM_POSITIONS = ("pre", "post")
POSITION_KINDS = ("none", "learned", "sinusoidal")
FEATURE_KINDS = ("prf", "trf", "sphere", "elu", "softmax")
PROJECTED = ("prf", "trf", "sphere")  # feature kinds that have random directions
BIAS_KINDS = ("none", "table", "clipped", "t5", "alibi")


@dataclasses.dataclass(frozen=True)
class PositionConfig:
    """What is added to the token embeddings; `table_length` is for "learned" alone."""

    kind: str = "none"
    table_length: int = 0


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """The feature map phi. `num_features`: rows of the projection, unused by elu and softmax.
    `seed`: of the projections that a new model begins with."""

    kind: str = "prf"
    num_features: int = 64
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class BiasConfig:
    """The relative bias b(j - i) of each head; what is stored: model/weights/weight_table.h."""

    kind: str = "none"
    shared_layers: bool = True
    max_distance: int = 128  # clipped, t5
    num_buckets: int = 32  # t5, both directions together (causal: one direction)
    table_length: int = 0  # table: 2 table_length - 1 offsets
    beyond: str = "refuse"  # table: or "clip"


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """qk_norm: x^ = scale x / |x|; otherwise x^ = x head_dim^(-1/4) and scale is unused."""

    features: FeatureConfig = FeatureConfig()
    qk_norm: bool = True
    scale: float = 1.0
    causal: bool = False
    bias: BiasConfig = BiasConfig()
    interpolation_error: float = 0.0  # attention.interpolation.max_error; 0: not asked for


@dataclasses.dataclass(frozen=True)
class NgramConfig:
    """Hashed n-gram embeddings: for each size the n-gram that ends at a token, all in one table of
    `buckets` rows of `dim` values."""

    sizes: tuple = (3, 4, 5, 6)
    buckets: int = 32768
    dim: int = 64


@dataclasses.dataclass(frozen=True)
class WordConfig:
    """Embeddings of whole words of bytes (words.py): a vocabulary of `count` keys, and as many rows of
    `dim` values, one for each word of it, at the word's last byte."""

    count: int = 32768
    dim: int = 128


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The numbers of one encoder. For a changed copy: dataclasses.replace, then `validated()`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    torch_dtype: str = "float32"  # what weights are stored as
    hidden_act: str = "gelu"
    norm_position: str = "pre"
    final_norm: bool = True  # after the last layer; only with norm_position "pre"
    use_bias: bool = True
    embedding_norm: bool = False
    layer_norm_eps: float = 1e-5
    positions: PositionConfig = PositionConfig()
    attention: AttentionConfig = AttentionConfig()
    ngrams: NgramConfig | None = None
    words: WordConfig | None = None
    matryoshka_dimensions: tuple = ()

    def __post_init__(self):
        if self.head_dim == 0 and self.num_attention_heads > 0:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    @property
    def pre_norm(self):
        return self.norm_position == "pre"

    @property
    def has_final_norm(self):
        return self.pre_norm and self.final_norm

    @classmethod
    def from_dict(cls, values):
        """From the object in config.json. ConfigError lists every problem at once."""
        fields = Fields(values)
        config = _read(cls, fields)
        if fields.problems:
            heading = "the model's configuration has problems:"
            raise ConfigError("\n".join([heading, *fields.problems]))
        return config

    @classmethod
    def from_json(cls, text):
        return cls.from_dict(parse_object(text))

    @classmethod
    def from_file(cls, path):
        """From a config.json, or from the folder that holds one."""
        path = pathlib.Path(path)
        return cls.from_json((path / "config.json" if path.is_dir() else path).read_text())

    def to_dict(self):
        """config.json's object: keys that say nothing for these kinds are left out."""
        result = {"model_type": "longwave-nprf", "architectures": ["LongwaveNprfModel"]}
        plain = dataclasses.asdict(self)
        for key in ("positions", "attention", "ngrams", "words", "matryoshka_dimensions"):
            del plain[key]
        if not self.pre_norm:
            del plain["final_norm"]
        result.update(plain)
        result["positions"] = _kept(self.positions, {"learned": ("table_length",)})
        result["attention"] = _attention_dict(self.attention)
        if self.ngrams is not None:
            result["ngrams"] = {**dataclasses.asdict(self.ngrams), "sizes": [*self.ngrams.sizes]}
        if self.words is not None:
            result["words"] = dataclasses.asdict(self.words)
        if self.matryoshka_dimensions:
            result["matryoshka_dimensions"] = list(self.matryoshka_dimensions)
        return result

    def to_json(self):
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def validated(self):
        """Itself, checked. ConfigError lists every problem at once."""
        return type(self).from_dict(self.to_dict())


def _kept(part, keys_by_kind):
    """A part's fields as a dictionary: its kind, and the keys that this kind knows."""
    return {key: getattr(part, key) for key in ("kind", *keys_by_kind.get(part.kind, ()))}


def _attention_dict(attention):
    projected = ("num_features", "seed")
    result = {
        "features": _kept(attention.features, {kind: projected for kind in PROJECTED}),
        "qk_norm": attention.qk_norm,
    }
    if attention.qk_norm:
        result["scale"] = attention.scale
    result["causal"] = attention.causal
    result["bias"] = _kept(
        attention.bias,
        {
            "table": ("shared_layers", "table_length", "beyond"),
            "clipped": ("shared_layers", "max_distance"),
            "t5": ("shared_layers", "num_buckets", "max_distance"),
            "alibi": ("shared_layers",),
        },
    )
    if attention.interpolation_error:
        result["interpolation"] = {"max_error": attention.interpolation_error}
    return result


def _read(cls, fields):
    fields.choice("model_type", None, ("longwave-nprf",))
    if fields.values.get("architectures", []) not in ([], ["LongwaveNprfModel"]):
        fields.refuse("architectures", '["LongwaveNprfModel"]')
    fields.known.add("architectures")
    values = {
        "torch_dtype": fields.choice("torch_dtype", "float32", DTYPES),
        "hidden_size": fields.integer("hidden_size", None, 1, MAX_WIDTH),
        "num_hidden_layers": fields.integer("num_hidden_layers", None, 1, MAX_LAYERS),
        "num_attention_heads": fields.integer("num_attention_heads", None, 1, MAX_HEADS),
        "intermediate_size": fields.integer("intermediate_size", None, 1, MAX_INTERMEDIATE),
        "vocab_size": fields.integer("vocab_size", None, 1, MAX_VOCABULARY),
        "max_position_embeddings": fields.integer("max_position_embeddings", None, 1, MAX_TOKENS),
        "hidden_act": fields.choice("hidden_act", "gelu", ACTIVATIONS),
        "norm_position": fields.choice("norm_position", "pre", NORM_POSITIONS),
        "use_bias": fields.boolean("use_bias", True),
        "embedding_norm": fields.boolean("embedding_norm", False),
        "layer_norm_eps": fields.number("layer_norm_eps", 1e-5, 0.1),
    }
    if values["norm_position"] == "pre":
        values["final_norm"] = fields.boolean("final_norm", True)
    else:
        fields.unused("final_norm", "unless norm_position is pre")
    values["head_dim"] = _read_head_dim(fields, values)
    values["positions"] = _read_positions(fields.object("positions"), values)
    values["attention"] = _read_attention(fields.object("attention"), values)
    values["ngrams"] = _read_ngrams(fields, values["hidden_size"])
    values["words"] = _read_words(fields, values)
    values["matryoshka_dimensions"] = _read_matryoshka(fields, values["hidden_size"])
    fields.refuse_unknown()
    return cls(**values)


def _read_head_dim(fields, values):
    given = fields.integer("head_dim", 0, 1, MAX_HEAD_DIM)
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    if fields.has("head_dim") or hidden == 0 or heads == 0:
        return given
    if hidden % heads != 0:
        fields.problems.append(
            f"hidden_size = {hidden}: accepted without head_dim: a multiple of "
            f"num_attention_heads = {heads}"
        )
    return hidden // heads


def _read_positions(fields, values):
    kind = fields.choice("kind", "none", POSITION_KINDS)
    length = 0
    if kind == "learned":
        length = fields.integer("table_length", None, 1, MAX_TOKENS)
        _longest(fields, values, "learned positions", "positions.table_length", length)
    else:
        fields.unused("table_length", "unless positions.kind is learned")
    if kind == "sinusoidal" and values["hidden_size"] % 2 != 0:
        fields.problems.append(
            f"hidden_size = {values['hidden_size']}: accepted with sinusoidal positions: an even "
            "number"
        )
    fields.refuse_unknown()
    return PositionConfig(kind, length)


def _longest(fields, values, what, key, length):
    """A problem if the model takes longer inputs than a table of this length is for."""
    longest = values["max_position_embeddings"]
    if 0 < length < longest:
        fields.problems.append(
            f"max_position_embeddings = {longest}: accepted with {what}: at most {key} = {length}"
        )


def _read_features(fields):
    kind = fields.choice("kind", "prf", FEATURE_KINDS)
    features = FeatureConfig(kind)
    if kind in PROJECTED:
        features = FeatureConfig(
            kind,
            fields.integer("num_features", 64, 1, MAX_FEATURES),
            fields.integer("seed", 0, 0, (1 << 63) - 1),
        )
    else:
        for key in ("num_features", "seed"):
            fields.unused(key, f"by features of kind {kind}")
    fields.refuse_unknown()
    return features


def _read_bias(fields, values, causal):
    kind = fields.choice("kind", "none", BIAS_KINDS)
    bias = {"kind": kind}
    if kind != "none":
        bias["shared_layers"] = fields.boolean("shared_layers", True)
    if kind == "table":
        length = fields.integer("table_length", None, 1, MAX_TOKENS)
        bias["table_length"] = length
        bias["beyond"] = fields.choice("beyond", "refuse", ("refuse", "clip"))
        if bias["beyond"] == "refuse":
            what = "attention.bias.beyond refuse"
            _longest(fields, values, what, "attention.bias.table_length", length)
    if kind == "t5":
        bias["num_buckets"] = fields.integer("num_buckets", 32, 2 if causal else 4, MAX_T5_BUCKETS)
    if kind in ("t5", "clipped"):
        bias["max_distance"] = fields.integer("max_distance", 128, 1, MAX_TOKENS)
    if kind == "t5":
        _check_t5(fields, bias, causal)
    for key in ("shared_layers", "table_length", "beyond", "num_buckets", "max_distance"):
        if key not in fields.known:
            fields.unused(key, f"by a bias of kind {kind}")
    fields.refuse_unknown()
    return BiasConfig(**bias)


def _check_t5(fields, bias, causal):
    if bias["num_buckets"] % 2 != 0:
        fields.refuse("num_buckets", "an even number")
    single = bias["num_buckets"] // (2 if causal else 4)
    if bias["max_distance"] <= single:
        suffix = ", causal" if causal else ""
        fields.refuse(
            "max_distance",
            f"more than {single} with num_buckets = {bias['num_buckets']}{suffix}",
        )


def _read_attention(fields, values):
    features = _read_features(fields.object("features"))
    qk_norm = fields.boolean("qk_norm", True)
    scale = 1.0
    if qk_norm:
        scale = fields.number("scale", 1.0, MAX_SCALE)
    else:
        fields.unused("scale", "unless attention.qk_norm is true")
    causal = fields.boolean("causal", False)
    bias = _read_bias(fields.object("bias"), values, causal)
    error = 0.0
    if features.kind in ("trf", "softmax"):
        fields.unused("interpolation", f"by features of kind {features.kind}")
    elif not qk_norm:
        fields.unused("interpolation", "unless attention.qk_norm is true")
    elif fields.has("interpolation"):
        interpolation = fields.object("interpolation")
        error = interpolation.number("max_error", None, MAX_INTERPOLATION_ERROR)
        interpolation.refuse_unknown()
    fields.known.add("interpolation")
    fields.refuse_unknown()
    return AttentionConfig(features, qk_norm, scale, causal, bias, error)


def _read_ngrams(fields, hidden_size):
    if fields.values.get("ngrams") is None:
        fields.known.add("ngrams")
        return None
    ngrams = fields.object("ngrams")
    sizes = ngrams.integers("sizes", 2, MAX_NGRAM)
    if not sizes or any(b <= a for a, b in zip(sizes, sizes[1:])):
        ngrams.refuse("sizes", f"increasing integers from 2 to {MAX_NGRAM}, at least one")
    buckets = ngrams.integer("buckets", None, 1, MAX_NGRAM_BUCKETS)
    dim = ngrams.integer("dim", None, 1, max(1, hidden_size))
    ngrams.refuse_unknown()
    return NgramConfig(tuple(sizes), buckets, dim)


def _read_words(fields, values):
    if fields.values.get("words") is None:
        fields.known.add("words")
        return None
    words = fields.object("words")
    count = words.integer("count", None, 1, MAX_WORDS)
    dim = words.integer("dim", None, 1, max(1, values["hidden_size"]))
    words.refuse_unknown()
    if 0 < values["vocab_size"] < BYTES:
        fields.refuse("vocab_size", f"with words: at least {BYTES}, since ids below are bytes")
    if values["attention"].causal:
        fields.problems.append(
            "attention.causal = true: accepted with words: false, since only what follows a word "
            "tells that it has ended"
        )
    return WordConfig(count, dim)


def _read_matryoshka(fields, hidden_size):
    dims = fields.integers("matryoshka_dimensions", 1, MAX_WIDTH)
    increasing = all(a < b for a, b in zip(dims, dims[1:]))
    if dims and (not increasing or (hidden_size and dims[-1] > hidden_size)):
        fields.refuse("matryoshka_dimensions", "increasing widths up to hidden_size")
    return tuple(dims)
