"""Does it train? Shift-copy and recall from scratch, conversion, error curves.

Finished runs are read back from the file of results, so that a run which was stopped goes on where it
was, and a second one with all runs in the file writes tables and plot alone. Exit code 1: something
that README.md calls required does not hold.
"""

import argparse
import dataclasses
import os
import pathlib
import sys

# One thread a process: what a step does is too small for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2] / "model" / "torch" / "src")]

from stability import report, runs  # noqa: E402
from stability.variants import Recipe  # noqa: E402


def _seeds(text):
    return [int(part) for part in text.split(",")]


def arguments(argv=None):
    parser = argparse.ArgumentParser(
        prog="python tests/bench/stability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=HERE / "results.jsonl", help="results, an object a line")
    add("--only", action="append", default=[], metavar="PATTERN",
        help="runs of such names (as in a shell), several times for several: error/iid, 'error/*', "
        "'shift/nprf_rpe/*' (task/variant/initialisation/seed), 'recall/*/x4/*'")
    add("--seeds", type=_seeds, default=[0, 1, 2], help="of the training runs; default 0,1,2")
    add("--steps", type=int, default=Recipe.steps, help="of a training run; default %(default)s")
    add("--bias-init", choices=("zeros", "decay"), default=Recipe.bias_init,
        help="initial relative bias; default %(default)s")
    add("--positions", choices=("learned", "sinusoidal"), default=Recipe.positions,
        help="of variants without relative bias; default %(default)s")
    add("--processes", type=int, default=2, help="at once; default %(default)s")
    add("--list", action="store_true", help="print the names of the runs that are not done, and end")
    add("--plot", type=pathlib.Path, help="draw the picture: .svg or .png")
    add("--readme", type=pathlib.Path, help="put the tables into this page, between its marks")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    recipe = dataclasses.replace(
        Recipe(), steps=args.steps, bias_init=args.bias_init, positions=args.positions
    )
    if args.list:
        print("\n".join(runs.missing(runs.read(args.out), args.seeds, recipe, args.only)))
        return 0
    runs.run_all(args.out, args.seeds, recipe, args.only, args.processes)
    results = runs.of_recipe(runs.read(args.out), recipe)
    print(report.text(results))
    if args.readme:
        report.write_readme(args.readme, results)
    if args.plot:
        from stability import plot  # takes a second to load

        plot.draw(results, args.plot)
    return 0 if all(holds for _, holds, _ in report.required(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
