"""Trains an encoder: config, recipe and data in; checkpoints, logs and a model folder out.

    python -m longwave_torch.train --config config.json --recipe recipe.toml \
        --corpus data/corpus --targets data/targets --out runs/default
    torchrun --nproc-per-node 8 -m longwave_torch.train ...        # data-parallel

Started again with the same arguments, it goes on from its newest checkpoint. When the recipe ends
(or with --export), OUT/model is a folder that longwave-server takes.
"""

import argparse
import pathlib
import sys
import time

import torch

from .. import serving
from ..config import EncoderConfig
from ..corpus.store import Corpus
from ..encoder import Encoder
from ..targets import Targets
from . import recipe as recipes
from .batches import Batches
from .initial import balance, begin_with_words, weight_by_rarity
from .trainer import Trainer, process_group


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="longwave_torch.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=pathlib.Path, required=True, help="config.json of the model")
    add("--recipe", type=pathlib.Path, required=True, help="phases and objectives (TOML)")
    add("--corpus", type=pathlib.Path, required=True, help="folder of longwave_torch.corpus")
    add("--targets", type=pathlib.Path, help="folder of longwave_torch.teacher, for distillation")
    add("--out", type=pathlib.Path, required=True, help="checkpoints, logs, model")
    add("--init", type=pathlib.Path, help="begin with the weights of this model folder")
    add("--set", action="append", default=[], metavar="KEY=VALUE",
        help="change the recipe: seed=2, phases.0.steps=10")  # fmt: skip
    add("--steps", type=int, help="at most so many steps more")
    add("--minutes", type=float, help="stop (with a checkpoint) after so many minutes")
    add("--device", default="auto", help="cpu, cuda, cuda:0 (default: a GPU if there is one)")
    add("--threads", type=int, help="of torch, a process (default: torch's)")
    add("--export", action="store_true", help="write OUT/model even if the recipe has not ended")
    add("--dtype", default="float16", choices=("float32", "float16", "bfloat16"),
        help="of the weights in OUT/model (default: float16)")  # fmt: skip
    add("--name", default="default", help="the served model's name")
    return parser.parse_args(arguments)


def make_encoder(options, recipe, corpus, targets):
    if options.init:
        return serving.load_for_training(options.init)
    generator = torch.Generator().manual_seed(recipe.seed)
    encoder = Encoder(
        EncoderConfig.from_file(options.config),
        residual_scale=recipe.residual_scale,
        generator=generator,
    )
    if recipe.idf_documents:
        weight_by_rarity(encoder, corpus, recipe)
    if encoder.config.words is not None:
        begin_with_words(encoder, corpus, targets, recipe)
    return encoder


def train(options, recipe, process):
    corpus = Corpus(options.corpus)
    targets = None
    if recipe.needs_targets():
        if options.targets is None:
            raise ValueError("this recipe distills: --targets is needed")
        hidden = EncoderConfig.from_file(options.config).hidden_size
        targets = Targets(options.targets, hidden - recipe.lexical_dims)
    encoder = make_encoder(options, recipe, corpus, targets)
    writer = None
    if process.first:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(options.out / "tensorboard")
    batches = Batches(corpus, targets, encoder.config, recipe.seed)
    trainer = Trainer(encoder, recipe, batches, options.out, process, writer)
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    trainer.run(options.steps, end)
    if process.first and (options.export or trainer.step == recipe.steps):
        if recipe.lexical_dims:
            balance(encoder, corpus, recipe)
        export(encoder, recipe, trainer.step, corpus, targets, options)
    if writer is not None:
        writer.close()
    return trainer


def export(encoder, recipe, step, corpus, targets, options):
    ended = "" if step == recipe.steps else f" (of {recipe.steps})"
    taught = "" if targets is None else ", distilled from all-MiniLM-L6-v2 (Apache-2.0)"
    packages = ", ".join(f"{name} ({words})" for name, words in sorted(corpus.licences.items()))
    serving.save_for_serving(
        encoder,
        options.out / "model",
        name=options.name,
        dtype=options.dtype,
        provenance=f"Trained by longwave_torch.train: recipe {recipe.name}, {step} steps{ended}, "
        f"seed {recipe.seed}{taught}, on the documentation of these Debian packages, as far as it "
        f"was not held out: {packages}.",
    )
    print(f"{options.out / 'model'}: written", file=sys.stderr)


def main(arguments=None):
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        recipe = recipes.read(options.recipe, options.set)
        with process_group(options.device) as process:
            train(options, recipe, process)
    except (ValueError, FileNotFoundError) as error:
        print(f"longwave_torch.train: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
