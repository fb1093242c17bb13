"""Makes a model folder from a configuration: seeded weights, and goldens from the numpy twin.

    python tests/golden/make_model.py --config model/default/config.json --out DIR --seed 1
    python tests/golden/make_model.py --test-models --out DIR      # DIR/tiny_t5, DIR/tiny_table, ...
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time

# One thread: several models are made side by side, and idle BLAS threads would only spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


import goldens
import init_weights
import safetensors_io
import small_models
import twin

TEST_SEED = 1
SERVING_LIMIT = 2 << 20  # bytes of longwave.json

# The byte tokenizer has one version: id = byte, specials from 256.
TOKENIZER = {"kind": "byte", "fingerprint": "byte-v1"}


def _serving_text(serving):
    """JSON with one line for each golden's field, so that a change can be read."""
    head = {k: v for k, v in serving.items() if k != "goldens"}
    lines = [
        "{" + ",\n    ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "}"
        for golden in serving["goldens"]
    ]
    text = json.dumps(head, indent=1)[:-2]
    return text + ',\n "goldens": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def make_model(config_text, folder, seed, name, version="1", provenance=None):
    """Writes config.json, model.safetensors and longwave.json, the last one last.

    Returns the tensor that the goldens notice least, and by how many tolerances.
    """
    config = json.loads(config_text)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "longwave.json").unlink(missing_ok=True)
    (folder / "config.json").write_text(config_text)
    weights_path = folder / "model.safetensors"
    safetensors_io.write(
        weights_path,
        init_weights.init_weights(config, seed),
        config.get("torch_dtype", "float32"),
        {"format": "pt"},
    )
    model = twin.load(folder)  # goldens come from the stored values
    vectors = goldens.make(model, seed)
    least = goldens.check(model, vectors, seed)
    serving = {
        "schema_version": 1,
        "name": name,
        "version": version,
        "tokenizer": TOKENIZER,
        "default_pooling": "mean",
        "default_normalize": True,
        "limits": {"max_tokens": config["max_position_embeddings"]},
        "weights_sha256": hashlib.sha256(weights_path.read_bytes()).hexdigest(),
        "provenance": provenance
        or f"Seeded and untrained: random weights of seed {seed}, for tests.",
        "license": "Apache-2.0",
        "goldens": vectors,
    }
    text = _serving_text(serving)
    if len(text) > SERVING_LIMIT:
        raise ValueError(f"longwave.json would have {len(text)} bytes, limit {SERVING_LIMIT}")
    (folder / "longwave.json").write_text(text)
    return least


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=pathlib.Path, help="a config.json")
    parser.add_argument("--test-models", nargs="*", metavar="NAME", help="these, or all")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--name", default="default")
    parser.add_argument("--provenance")
    options = parser.parse_args(arguments)
    jobs = []
    if options.config:
        jobs.append((options.name, options.out, options.config.read_text()))
    if options.test_models is not None:
        for name in options.test_models or small_models.DIFFERENCES:
            jobs.append((name, options.out / name, json.dumps(small_models.config(name), indent=2)))
    for name, folder, config in jobs:
        begin = time.monotonic()
        tensor, noticed = make_model(
            config, folder, options.seed, name, provenance=options.provenance
        )
        print(
            f"{folder}: {time.monotonic() - begin:.1f} s; least noticed tensor: {tensor}, "
            f"{noticed:.1f} x tolerance (at least {goldens.NOTICED})"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
