"""The runs of the whole benchmark, what of them is already in a file of results, and the rest."""

import concurrent.futures
import dataclasses
import fnmatch
import json
import multiprocessing
import time

import torch

from longwave_torch.progress import Progress

from . import conversion, error_curves, training
from .variants import COMPARED, CONVERTED, SCALES

ERROR_KINDS = ("iid", "orthogonal")
POLL_SECONDS = 0.5  # of the progress bar
_steps_done = None  # in a worker: steps of all workers together


def planned(seeds):
    """All training runs. Seeds stand outermost, so that what is stopped half-way has whole seeds."""
    runs = []
    for seed in seeds:
        for task in ("shift", "recall"):
            for scale in SCALES:
                runs += [training.Run(task, name, scale, seed) for name in COMPARED]
        runs += [training.Run("shift", name, 1.0, seed) for name in CONVERTED]
        # Normalised like NPRF and without its noise: which of the two costs it recall?
        runs.append(training.Run("recall", "nsoftmax_rpe", 1.0, seed))
    return list(dict.fromkeys(runs))


def wanted(name, patterns):
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def read(path):
    """Objects of a file of results. A last line that was cut off in the middle is taken away, so that
    what is appended next stands on a line of its own."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


def of_recipe(results, recipe):
    """Those of this recipe (error curves have none), one of each name: the last."""
    same = (None, dataclasses.asdict(recipe))
    return list({r["run"]: r for r in results if r.get("recipe") in same}.values())


def missing(results, seeds, recipe, patterns=()):
    """Names of what is planned, wanted and not among these results."""
    done = {result["run"] for result in of_recipe(results, recipe)}
    names = [f"error/{kind}" for kind in ERROR_KINDS] + [run.name for run in planned(seeds)]
    return [name for name in names if wanted(name, patterns) and name not in done]


def append(path, result):
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def train_one(run, recipe, on_step=lambda: None):
    """The object that is kept of a run."""
    start = time.process_time()
    model, history = training.train(run, recipe, on_step)
    result = {
        "run": run.name,
        **dataclasses.asdict(run),
        **history.summary(recipe.steps),
    }
    if run.task == "shift" and run.variant in CONVERTED and run.init_scale == 1.0:
        result["converted"] = conversion.curve(model, run, recipe)
    result["cpu_seconds"] = round(time.process_time() - start, 1)
    result["recipe"] = dataclasses.asdict(recipe)
    return result


def error_curve(kind):
    return {"run": f"error/{kind}", "draws": error_curves.DRAWS, "cells": error_curves.curves(kind)}


def _start_worker(counter):
    global _steps_done  # a process's own; pools hand nothing else to a task
    _steps_done = counter
    torch.set_num_threads(1)


def _work(run, recipe):
    def count():
        with _steps_done.get_lock():
            _steps_done.value += 1

    return train_one(run, recipe, count)


def run_all(path, seeds, recipe, patterns=(), processes=2):
    """Does what is not in the file yet, and appends an object as soon as it is there. Processes have
    one thread each."""
    names = missing(read(path), seeds, recipe, patterns)
    for kind in ERROR_KINDS:
        if f"error/{kind}" in names:
            append(path, error_curve(kind))
    todo = [run for run in planned(seeds) if run.name in names]
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    options = {"initializer": _start_worker, "initargs": (counter,)}
    with (
        concurrent.futures.ProcessPoolExecutor(processes, context, **options) as pool,
        Progress("training", recipe.steps * len(todo), " steps") as bar,
    ):
        try:
            _collect({pool.submit(_work, run, recipe) for run in todo}, path, bar, counter)
        except BaseException:  # an interrupt too: what runs ends, what waits does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _collect(waiting, path, bar, counter):
    shown = 0
    while waiting:
        ended, waiting = concurrent.futures.wait(
            waiting, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED
        )
        for future in ended:
            append(path, future.result())
        bar.add(counter.value - shown)
        shown = counter.value
