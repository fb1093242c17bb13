"""Makes the default model's weights and goldens. They are seeded and untrained for now.

    python model/default/make_default_model.py [--out DIR]

The relative bias damps far keys by e^-2 to e^-8, head by head (init_weights.py): at a few hundred
tokens rows follow their neighbours, and at a million every head gives most of its weight to the far
field, so that the last row depends on the first half of the document by far more than rounding.
"""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "golden"))

import make_model  # noqa: E402

SEED = 20210623


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    make_model.main(
        [
            "--config", str(HERE / "config.json"),
            "--out", str(parser.parse_args().out),
            "--seed", str(SEED),
            "--name", "default",
            "--provenance",
            f"Seeded and untrained: random weights of seed {SEED}, made by "
            "model/default/make_default_model.py. Embeddings are exact and reproducible, and mean "
            "nothing yet.",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
