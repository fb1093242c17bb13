"""The small models that tests encode with: every kind of bias, feature map, block, embedding and
stored type at least once."""

import copy

BASE = {
    "model_type": "longwave-nprf",
    "architectures": ["LongwaveNprfModel"],
    "torch_dtype": "float32",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 260,
    "max_position_embeddings": 1048576,
    "attention": {
        "features": {"kind": "prf", "num_features": 32, "seed": 1},
        "bias": {"kind": "t5", "num_buckets": 32, "max_distance": 128},
    },
}

CLIPPED = {"kind": "clipped", "max_distance": 16}

# What differs from BASE. Dictionaries are merged.
DIFFERENCES = {
    "tiny_t5": {"num_hidden_layers": 1, "matryoshka_dimensions": [16, 32]},
    "tiny_table": {
        "max_position_embeddings": 4097,
        "attention": {"bias": {"kind": "table", "table_length": 4097}},
    },
    "tiny_clipped": {
        "hidden_act": "gelu_tanh",
        "attention": {"bias": {**CLIPPED, "shared_layers": False}},
    },
    "tiny_alibi": {
        "torch_dtype": "float16",
        "hidden_act": "relu",
        "attention": {"bias": {"kind": "alibi"}},
    },
    "tiny_none": {
        "torch_dtype": "bfloat16",
        "use_bias": False,
        "positions": {"kind": "sinusoidal"},
        "attention": {"scale": 1.5, "bias": {"kind": "none"}},
    },
    "tiny_causal": {"attention": {"causal": True}},
    "post_norm_swiglu": {
        "head_dim": 24,
        "hidden_act": "swiglu",
        "norm_position": "post",
        "embedding_norm": True,
        "layer_norm_eps": 1e-6,
    },
    "tiny_trf": {
        "attention": {"features": {"kind": "trf", "num_features": 64}, "bias": CLIPPED},
    },
    "tiny_elu": {
        "attention": {
            "features": {"kind": "elu"},
            "scale": 8,
            "causal": True,
            "bias": CLIPPED,
        },
    },
    "tiny_softmax": {
        "max_position_embeddings": 8192,
        "attention": {"features": {"kind": "softmax"}, "qk_norm": False},
    },
    "tiny_sphere": {
        "attention": {
            "features": {"kind": "sphere"},
            "bias": {"kind": "alibi", "shared_layers": False},
        },
    },
    "tiny_unnormalised": {"attention": {"qk_norm": False, "bias": CLIPPED}},
    "tiny_learned": {
        "max_position_embeddings": 4200,
        "positions": {"kind": "learned", "table_length": 4200},
        "attention": {"bias": {"kind": "table", "table_length": 300, "beyond": "clip"}},
    },
    "tiny_ngram": {
        "torch_dtype": "bfloat16",
        "ngrams": {"sizes": [2, 3, 5], "buckets": 509, "dim": 24},
        "embedding_norm": True,
        "final_norm": False,
        "positions": {"kind": "sinusoidal"},
    },
    # All words of one byte, which inputs at random have.
    "tiny_words": {
        "torch_dtype": "float16",
        "words": {"count": 164, "dim": 20},
        "ngrams": {"sizes": [3], "buckets": 251, "dim": 12},
    },
}

# Keys of BASE that only some kinds know.
KEYS_BY_KIND = {
    "features": {"elu": {"kind"}, "softmax": {"kind"}},
    "bias": {
        "none": {"kind"},
        "table": {"kind", "shared_layers", "table_length", "beyond"},
        "clipped": {"kind", "shared_layers", "max_distance"},
        "alibi": {"kind", "shared_layers"},
    },
}


def _merge(base, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def config(name):
    """The config.json of one test model."""
    result = copy.deepcopy(BASE)
    _merge(result, DIFFERENCES[name])
    for part, kinds in KEYS_BY_KIND.items():
        fields = result["attention"][part]
        known = kinds.get(fields["kind"], set(fields))
        result["attention"][part] = {k: v for k, v in fields.items() if k in known}
    return result
