"""Longwave in PyTorch: train here, serve there.

Names are imported when they are first used, so that `longwave_torch.golden` needs numpy alone.
"""

import importlib

_HOMES = {
    "Encoder": "encoder",
    "EncoderConfig": "config",
    "KernelizedAttention": "attention",
    "RelativeBias": "bias",
    "__version__": "_version",
    "kernelized_attention": "attention",
    "mean_pool": "encoder",
    "load_for_training": "serving",
    "ngram_buckets": "ngrams",
    "save_for_serving": "serving",
}

__all__ = sorted(_HOMES.keys() - {"__version__"})


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return [*globals(), *__all__]
