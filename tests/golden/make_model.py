"""Makes a model folder from a configuration: seeded weights, and goldens from the numpy twin.

    python tests/golden/make_model.py --config model/default/config.json --out DIR --seed 1
    python tests/golden/make_model.py --test-models --out DIR      # DIR/tiny_t5, DIR/tiny_table, ...
"""

import argparse
import json
import os
import pathlib
import sys
import time

# One thread: several models are made side by side, and idle BLAS threads would only spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "model" / "torch" / "src"))

from longwave_torch.golden import folder as model_folder  # noqa: E402
from longwave_torch.golden import goldens  # noqa: E402

import init_weights  # noqa: E402
import small_models  # noqa: E402

TEST_SEED = 1


def make_model(config_text, folder, seed, name, provenance=None):
    """A folder of seeded weights; what it returns is folder.write's."""
    return model_folder.write(
        folder,
        config_text,
        init_weights.init_weights(json.loads(config_text), seed),
        seed,
        name,
        provenance or f"Seeded and untrained: random weights of seed {seed}, for tests.",
    )


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
