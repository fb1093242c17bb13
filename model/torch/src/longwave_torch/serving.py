"""Model folders: what longwave-server serves is loaded for training, and written, by these two."""

import dataclasses
import hashlib
import json
import math
import pathlib
import re

import numpy as np
import safetensors.torch
import torch

from . import bias as relative_bias
from .config import EncoderConfig
from .encoder import Encoder, mean_pool
from .golden import folder as golden_folder
from .progress import Progress

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what model/weights/serving_config.cc takes as a name
POOLINGS = ("mean", "first", "last", "max")
ROUTES = ("auto", "direct", "tiles", "chunkwise", "fft", "interpolation")
MAX_RISE = 600  # of b above b(0): beyond, the server's attention refuses the layer


@dataclasses.dataclass(frozen=True)
class Saved:
    """What was written. `golden_error`: the largest deviation of this model in fp32 from its
    goldens, in tolerances. `least_noticed`: the tensor whose disturbance moves the goldens least,
    and by how many tolerances."""

    folder: pathlib.Path
    weights_sha256: str
    golden_error: float
    least_noticed: tuple


def load_for_training(folder, **encoder_options):
    """The Encoder of a model folder, in fp32 on the CPU.

    folder: holds config.json and model.safetensors (F32, F16 or BF16), and longwave.json if it is
    served. encoder_options: Encoder's (dropout, backend). ValueError: the configuration has
    problems (all are named), tensors do not fit it (all are named), or weights are not those of
    longwave.json.
    """
    folder = pathlib.Path(folder)
    config = EncoderConfig.from_file(folder)
    _check_digest(folder)
    stored = safetensors.torch.load_file(folder / golden_folder.WEIGHTS)
    encoder = Encoder(config, **encoder_options)
    expected = {name: list(tensor.shape) for name, tensor in encoder.state_dict().items()}
    problems = [
        f"{name} {shape} is missing" for name, shape in expected.items() if name not in stored
    ]
    for name, tensor in stored.items():
        shape = list(tensor.shape)
        if name not in expected:
            problems.append(f"{name} is not a tensor of this configuration")
        elif shape != expected[name]:
            problems.append(f"{name} has shape {shape}: expected {expected[name]}")
    if problems:
        raise ValueError("\n".join(["the tensors do not fit config.json:", *problems]))
    encoder.load_state_dict(stored)  # copies into fp32
    return encoder


def _check_digest(folder):
    serving = folder / golden_folder.SERVING
    if not serving.exists():
        return
    expected = json.loads(serving.read_text()).get("weights_sha256")
    digest = hashlib.sha256((folder / golden_folder.WEIGHTS).read_bytes()).hexdigest()
    if expected not in (None, "", digest):
        raise ValueError(
            f"{golden_folder.WEIGHTS}: SHA-256 is {digest}, but {golden_folder.SERVING} expects "
            f"{expected}"
        )


def save_for_serving(
    model,
    folder,
    *,
    name,
    version="1",
    dtype=None,
    provenance="",
    license="",
    tokenizer=None,
    default_pooling="mean",
    default_normalize=True,
    max_tokens=None,
    route=None,
    seed=1,
):
    """Writes a folder that longwave-server serves as it is.

    Weights are stored as `dtype`; golden vectors are computed in double from what was stored, by
    the numpy twin, which shares no code with the model; then the model itself must reproduce them
    in fp32. longwave.json carries them and the weights' SHA-256, from which the server makes the
    fingerprint of its replies. Takes a minute or so; shows a bar on a terminal.

    Args:
      model: an Encoder, on any device, or a wrapper of one with `.module`. Random directions are
        saved as they are now.
      folder: made, or replaced whole once everything is known to be sound (golden/folder.py).
      name, version: letters, digits, ".", "_", "-"; at most 64.
      dtype: float32, float16, bfloat16; None: config.torch_dtype.
      provenance, license: texts: where the weights come from, and under which licence.
      tokenizer: {"kind": ..., "fingerprint": ...}; None: bytes.
      default_pooling: mean, first, last, max. default_normalize: replies are of unit length.
      max_tokens: longest input that is served; None: config.max_position_embeddings.
      route: instead of the planner's choice: auto, direct, tiles, chunkwise, fft, interpolation.
      seed: of the goldens' inputs.

    Returns a Saved. ValueError: what cannot be served, all problems at once, or goldens that do not
    notice a tensor; nothing is written then. RuntimeError: the model does not reproduce its
    goldens.
    """
    encoder = getattr(model, "module", model)
    if not isinstance(encoder, Encoder):
        raise TypeError(f"an Encoder is saved, not a {type(encoder).__name__}")
    config = dataclasses.replace(
        encoder.config, torch_dtype=dtype or encoder.config.torch_dtype
    ).validated()
    longest = max_tokens or config.max_position_embeddings
    tokenizer = tokenizer or golden_folder.BYTE_TOKENIZER
    problems = _field_problems(name, version, default_pooling, longest, route, tokenizer, config)
    weights = {k: t.detach().float().cpu() for k, t in encoder.state_dict().items()}
    problems += _weight_problems(weights, config)
    if problems:
        raise ValueError("\n".join(["this model cannot be served:", *problems]))
    stored = _as_stored(encoder, weights, config)
    fields = {
        "version": version,
        "license": license or None,
        "tokenizer": tokenizer,
        "default_pooling": default_pooling,
        "default_normalize": default_normalize,
        "limits": {"max_tokens": longest},
        "route": route,
    }
    return _write(stored, folder, weights, seed, name, provenance, fields)


def _write(stored, folder, weights, seed, name, provenance, fields):
    arrays = {key: tensor.numpy() for key, tensor in weights.items()}
    errors = []

    def reproduce(vectors):
        errors.append(golden_error(stored, vectors))
        if errors[-1] > 1:
            raise RuntimeError(
                f"the model is {errors[-1]:.3g} tolerances from its goldens: model or twin is wrong"
            )

    with _Bars() as bars:
        least = golden_folder.write(
            folder, stored.config.to_json(), arrays, seed, name, provenance,
            progress=bars.show, inspect=reproduce, **fields,
        )  # fmt: skip
    serving = json.loads((pathlib.Path(folder) / golden_folder.SERVING).read_text())
    return Saved(pathlib.Path(folder), serving["weights_sha256"], errors[0], least)


def _as_stored(encoder, weights, config):
    """A copy of the encoder in fp32 on the CPU with weights rounded to the stored type."""
    copy = Encoder(config, backend="torch")
    stored_type = getattr(torch, config.torch_dtype)
    copy.load_state_dict({key: tensor.to(stored_type) for key, tensor in weights.items()})
    return copy.eval()


class _Bars:
    """One bar after another, as goldens.make and goldens.check tell of their steps."""

    def __init__(self):
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.__exit__(None, None, None)

    def show(self, what, count):
        if what is None:
            self._bar.add(count)
            return
        self.__exit__()
        self._bar = Progress(what, count)


def _field_problems(name, version, pooling, longest, route, tokenizer, config):
    problems = []
    for key, value in (
        ("name", name),
        ("version", version),
        ("tokenizer.kind", tokenizer.get("kind")),
    ):
        if not isinstance(value, str) or not NAME.fullmatch(value):
            problems.append(f"{key} = {value!r}: accepted: 1 to 64 of a-z A-Z 0-9 . _ -")
    if unknown := set(tokenizer) - {"kind", "fingerprint"}:
        problems.append(f"tokenizer has {sorted(unknown)}: accepted: kind, fingerprint")
    if pooling not in POOLINGS:
        problems.append(f"default_pooling = {pooling!r}: accepted: {', '.join(POOLINGS)}")
    if route is not None and route not in ROUTES:
        problems.append(f"route = {route!r}: accepted: {', '.join(ROUTES)}")
    if not 1 <= longest <= config.max_position_embeddings:
        problems.append(
            f"max_tokens = {longest}: accepted: 1 to max_position_embeddings = "
            f"{config.max_position_embeddings}"
        )
    return problems


def _weight_problems(weights, config):
    """What the server would refuse, or make nonsense of."""
    largest = torch.finfo(getattr(torch, config.torch_dtype)).max
    problems = []
    for name, tensor in weights.items():
        size = tensor.abs().max().item()
        if not math.isfinite(size):
            problems.append(f"{name} has values that are not finite")
        elif size > largest:
            problems.append(
                f"{name} has values up to {size:.3g}: {config.torch_dtype} ends at {largest:.3g}"
            )
        elif name.endswith("attention_bias") or name.endswith("attention.bias"):
            problems += _bias_problems(name, tensor, config)
    return problems


def _bias_problems(name, stored, config):
    near, slope = relative_bias.near_slope(config, stored)
    if slope is not None:
        return [] if (slope >= 0).all() else [f"{name} has slopes below 0: far keys would grow"]
    rise = (near.amax(1) - near[:, near.shape[1] // 2]).max().item()
    if rise <= MAX_RISE:
        return []
    return [f"{name} rises {rise:.0f} above its value at offset 0: at most {MAX_RISE} is served"]


# --- goldens
# ---------------------------------------------------------------------------------------


@torch.no_grad()
def golden_error(encoder, goldens):
    """The largest deviation of an encoder from golden vectors (longwave.json's `goldens`), in units
    of each one's tolerance: at most 1 is right for fp32."""
    device = next(encoder.parameters()).device
    worst = 0.0
    for golden in goldens:
        ids = torch.tensor(golden["token_ids"], device=device)[None]
        states = [s[0].double().cpu() for s in encoder(ids, all_layers=True)]
        rows = _output_rows(states, golden["output"])[golden["rows"]]
        deviation = np.abs(rows.numpy() - np.array(golden["values"])).max()
        worst = max(worst, float(deviation / golden["tolerance"]))
    return worst


def _output_rows(states, output):
    """What an output specification of longwave.json makes of one sequence's states: [rows, dim]."""
    parts = []
    for layer in output.get("layers") or [len(states) - 1]:
        part = _pool(states[layer], output)
        if output.get("truncate_dim"):
            part = part[:, : output["truncate_dim"]]
        if output.get("normalize"):
            part = torch.nn.functional.normalize(part, dim=1)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _pool(x, output):
    pooling = output["pooling"]
    if pooling == "mean":
        return mean_pool(x[None])
    if pooling == "spans":
        return torch.cat([mean_pool(x[None, begin:end]) for begin, end in output["spans"]])
    if pooling in ("first", "last", "max"):
        return {"first": x[:1], "last": x[-1:], "max": x.amax(0, keepdim=True)}[pooling]
    stride = output.get("row_stride", 1)
    ranges = output.get("row_ranges") or [[0, len(x)]]
    return torch.cat([x[begin:end:stride] for begin, end in ranges])
