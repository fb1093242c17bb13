"""A model folder with its goldens: config.json, model.safetensors, longwave.json."""

import errno
import hashlib
import json
import os
import pathlib
import shutil

from . import goldens, safetensors_io, twin

CONFIG, WEIGHTS, SERVING = "config.json", "model.safetensors", "longwave.json"
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


def write(
    folder,
    config_text,
    weights,
    seed,
    name,
    provenance,
    progress=None,
    inspect=None,
    **serving_fields,
):
    """Writes config.json, model.safetensors and longwave.json.

    All of it is made in a folder beside, which then becomes `folder`, or replaces the three files
    of a folder that is there, longwave.json last and none in between: what was cut short is no
    model, and a model that is refused leaves the folder as it was.

    config_text: the text of config.json; its torch_dtype is what weights are stored as. weights:
    {name: array} of weight_table.h. seed: of the goldens' inputs. progress: None, or what
    goldens.make and goldens.check are to call. inspect: None, or a function of the goldens that
    raises if it does not like them. serving_fields: further fields of longwave.json, or others than
    the defaults here; None leaves one out. Returns the tensor that the goldens notice least, and by
    how many tolerances. ValueError: a tensor is not noticed, or longwave.json becomes too large.
    """
    folder = pathlib.Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir()
    try:
        (staging / CONFIG).write_text(config_text)
        stored_type = json.loads(config_text).get("torch_dtype", "float32")
        safetensors_io.write(staging / WEIGHTS, weights, stored_type, {"format": "pt"})
        least = _write_serving(staging, seed, name, provenance, progress, inspect, serving_fields)
        _move(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return least


def _write_serving(folder, seed, name, provenance, progress, inspect, serving_fields):
    """longwave.json of a folder that has the other two files."""
    model = twin.load(folder)  # goldens come from the stored values
    longest = model.config["max_position_embeddings"]
    limits = serving_fields.pop("limits", {"max_tokens": longest})
    # The server holds goldens to the limit too.
    model.config = {**model.config, "max_position_embeddings": limits["max_tokens"]}
    vectors = goldens.make(model, seed, progress)
    if inspect is not None:
        inspect(vectors)
    least = goldens.check(model, vectors, seed, progress)
    serving = {
        "schema_version": 1,
        "name": name,
        "version": "1",
        "tokenizer": BYTE_TOKENIZER,
        "default_pooling": "mean",
        "default_normalize": True,
        "limits": limits,
        "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "provenance": provenance,
        "license": "Apache-2.0",
        **serving_fields,
        "goldens": vectors,
    }
    text = _serving_text({key: value for key, value in serving.items() if value is not None})
    if len(text) > SERVING_LIMIT:
        raise ValueError(f"longwave.json would have {len(text)} bytes, limit {SERVING_LIMIT}")
    (folder / SERVING).write_text(text)
    return least


def _move(staging, folder):
    """The staged files into place. An empty or absent folder is replaced at once."""
    try:
        staging.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        (folder / SERVING).unlink(missing_ok=True)
        for name in (CONFIG, WEIGHTS, SERVING):
            os.replace(staging / name, folder / name)
