"""A model folder with its goldens: config.json, model.safetensors, longwave.json."""

import hashlib
import json
import pathlib

from . import goldens
from . import safetensors_io
from . import twin

SERVING_LIMIT = 2 << 20  # bytes of longwave.json

# The byte tokenizer has one version: id = byte, specials from 256.
BYTE_TOKENIZER = {"kind": "byte", "fingerprint": "byte-v1"}


def _serving_text(serving):
    """JSON with one line for each golden's field, so that a change can be read."""
    head = {k: v for k, v in serving.items() if k != "goldens"}
    lines = [
        "{" + ",\n    ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "}"
        for golden in serving["goldens"]
    ]
    text = json.dumps(head, indent=1)[:-2]
    return text + ',\n "goldens": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write(folder, config_text, weights, seed, name, provenance, **serving_fields):
    """Writes config.json, model.safetensors and longwave.json, the last one last, so that a folder
    that was cut short is no model.

    config_text: the text of config.json; its torch_dtype is what weights are stored as. weights:
    {name: array} of weight_table.h. seed: of the goldens' inputs. serving_fields: further fields of
    longwave.json, or others than the defaults here. Returns the tensor that the goldens notice
    least, and by how many tolerances. ValueError: a tensor is not noticed, or longwave.json becomes
    too large; there is no longwave.json then.
    """
    config = json.loads(config_text)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "longwave.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(config_text)
    weights_path = folder / "model.safetensors"
    safetensors_io.write(
        weights_path, weights, config.get("torch_dtype", "float32"), {"format": "pt"}
    )
    model = twin.load(folder)  # goldens come from the stored values
    vectors = goldens.make(model, seed)
    least = goldens.check(model, vectors, seed)
    serving = {
        "schema_version": 1,
        "name": name,
        "version": "1",
        "tokenizer": BYTE_TOKENIZER,
        "default_pooling": "mean",
        "default_normalize": True,
        "limits": {"max_tokens": config["max_position_embeddings"]},
        "weights_sha256": hashlib.sha256(weights_path.read_bytes()).hexdigest(),
        "provenance": provenance,
        "license": "Apache-2.0",
        **serving_fields,
        "goldens": vectors,
    }
    text = _serving_text(serving)
    if len(text) > SERVING_LIMIT:
        raise ValueError(f"longwave.json would have {len(text)} bytes, limit {SERVING_LIMIT}")
    (folder / "longwave.json").write_text(text)
    return least
