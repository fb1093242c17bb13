"""Tables in Markdown and what they say, from the objects in a file of results."""

import statistics

from . import error_curves
from .variants import COMPARED, CONVERTED, SCALES, VARIANTS

LEARNED = 0.99  # accuracy
MARKS = ("<!-- measured: written by --readme -->", "<!-- end of measured -->")


def training_runs(results, task, variant, scale):
    """In the order of their seeds."""
    found = [
        result
        for result in results
        if (result.get("task"), result.get("variant")) == (task, variant)
        and result["init_scale"] == scale
    ]
    return sorted(found, key=lambda result: result["seed"])


def accuracies(results, task, variant, scale):
    return [result["accuracy"] for result in training_runs(results, task, variant, scale)]


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _table(header, rows):
    return "\n".join([_row(header), "|" + "---|" * len(header), *map(_row, rows)])


def training_table(results, task):
    seeds = sorted({r["seed"] for r in results if r.get("task") == task})
    header = ["variant", "init"] + [f"seed {seed}" for seed in seeds]
    header += ["min", "median", "max", "largest gradient", "NaN or infinite"]
    rows = []
    for variant in VARIANTS:
        for scale in SCALES:
            runs = training_runs(results, task, variant, scale)
            if not runs:
                continue
            by_seed = {run["seed"]: f"{run['accuracy']:.4f}" for run in runs}
            values = [run["accuracy"] for run in runs]
            spread = (min(values), statistics.median(values), max(values))
            rows.append(
                [VARIANTS[variant].label, f"×{scale:g}"]
                + [by_seed.get(seed, "") for seed in seeds]
                + [f"{value:.4f}" for value in spread]
                + [f"{max(run['max_gradient_norm'] for run in runs):.1f}"]
                + [str(sum(not run["finite"] for run in runs))]
            )
    return _table(header, rows)


def conversion_table(results):
    header = ["trained with", "exact"] + [f"m = {m}" for m in conversion_features(results)]
    rows = []
    for variant in CONVERTED:
        found = conversions(results, variant)
        if found:
            cells = [
                [curve[name] for curve in found] for name in ["exact", *conversion_features(results)]
            ]
            rows.append(
                [VARIANTS[variant].label]
                + [f"{statistics.median(c):.3f} ({min(c):.3f}–{max(c):.3f})" for c in cells]
            )
    return _table(header, rows)


def conversions(results, variant):
    return [r["converted"] for r in results if r.get("variant") == variant and "converted" in r]


def conversion_features(results):
    """As keys, ascending."""
    names = {name for r in results for name in r.get("converted", ())} - {"exact"}
    return sorted(names, key=int)


def error_table(results):
    header = ["R", "directions"] + [f"m = {m}" for m in error_curves.FEATURES]
    rows = []
    kinds = [r for r in results if "cells" in r]
    for radius in error_curves.RADII:
        for result in kinds:
            cells = [cell for cell in result["cells"] if cell["radius"] == radius]
            texts = [f"{cell['error']:.3f} ± {cell['standard_error']:.3f}" for cell in cells]
            rows.append([str(radius), result["run"].partition("/")[2], *texts])
        expected = [f"{value:.3f}" for value in error_curves.EXPECTED[radius]]
        rows.append([str(radius), "expected, iid", *expected])
    return _table(header, rows)


def _all_pairs(results, task, better, worse, scale):
    """Whether `better` is above `worse` for each seed that both have, and the smallest lead."""
    pairs = [
        {run["seed"]: run["accuracy"] for run in training_runs(results, task, variant, scale)}
        for variant in (better, worse)
    ]
    leads = [pairs[0][seed] - pairs[1][seed] for seed in pairs[0].keys() & pairs[1].keys()]
    return (min(leads) > 0, min(leads)) if leads else (None, None)


def required(results):
    """[(statement, whether it holds, figures)] of what a full run has to show; without its runs a
    statement is left out."""
    found = []
    ours = [a for scale in SCALES for a in accuracies(results, "shift", "nprf_rpe", scale)]
    if ours:
        text = "NPRF + RPE learns shift-copy to at least 99 %, every seed, both initialisations"
        found.append((text, min(ours) >= LEARNED, f"lowest {min(ours):.4f} of {len(ours)} runs"))
    plain = [a for scale in SCALES for a in accuracies(results, "shift", "prf_abs", scale)]
    if plain:
        text = "PRF without bias does not, in any run"
        found.append((text, max(plain) < LEARNED, f"highest {max(plain):.4f} of {len(plain)} runs"))
    for result in results:
        if result["run"] == "error/iid":
            found += _error_statements(result["cells"])
    return found


def _error_statements(cells):
    far = [c for c in cells if not error_curves.close(c["error"], c["expected"])]
    text = "error curves as expected: each cell within 10 % or 0.02"
    holds = (text, not far, f"{len(cells) - len(far)} of {len(cells)} cells")
    slope = error_curves.slope([c["error"] for c in cells if c["radius"] == 1])
    text = "at R = 1 the error falls with m, with a slope of about −1/2"
    return [holds, (text, -0.6 <= slope <= -0.3, f"slope {slope:.2f}")]


def expected(results):
    """The same, of the orders that the paper leads one to expect. They hold or they do not."""
    found = []
    for scale in SCALES:
        for other in COMPARED[1:-1]:
            holds, lead = _all_pairs(results, "shift", "nprf_rpe", other, scale)
            if holds is not None:
                text = f"shift-copy, ×{scale:g}: NPRF + RPE above {VARIANTS[other].label}, every seed"
                found.append((text, holds, f"smallest lead {lead:+.4f}"))
        holds, lead = _all_pairs(results, "recall", "softmax_abs", "nprf_rpe", scale)
        if holds is not None:
            text = f"recall, ×{scale:g}: softmax above NPRF + RPE, every seed (footnote 6)"
            found.append((text, holds, f"smallest lead {lead:+.4f}"))
    curves = {variant: conversions(results, variant) for variant in CONVERTED}
    if all(curves.values()):
        found += _conversion_statements(curves, conversion_features(results))
    return found


def _conversion_statements(curves, features):
    """Orders of medians over the seeds: of what is kept of the exact model's accuracy, and of the
    accuracy itself."""
    found = []
    kinds = {
        "accuracy": lambda curve, m: curve[m],
        "share of the exact model's accuracy": lambda curve, m: curve[m] / curve["exact"],
    }
    for kind, value in kinds.items():
        for better, worse in zip(CONVERTED, CONVERTED[1:]):
            medians = [
                [statistics.median(value(curve, m) for curve in curves[v]) for m in features]
                for v in (better, worse)
            ]
            where = [m for m, a, b in zip(features, *medians) if a > b]
            text = f"conversion, {kind}: {VARIANTS[better].label} above {VARIANTS[worse].label}"
            figures = f"at {len(where)} of {len(features)} m" + (f": {', '.join(where)}" if where else "")
            found.append((text, len(where) == len(features), figures))
    return found


def statements(found):
    return "\n".join(
        f"- {'yes' if holds else '**no**'}: {text} ({figures})" for text, holds, figures in found
    )


def text(results):
    """All of it, in Markdown."""
    parts = []
    for title, task in (("Shift-copy", "shift"), ("Associative recall", "recall")):
        if any(r.get("task") == task for r in results):
            parts.append(f"### {title}: accuracy over the last 50 steps\n\n"
                         f"{training_table(results, task)}")
    if any("converted" in r for r in results):
        parts.append("### Conversion: accuracy on shift-copy, median (min–max) over seeds\n\n"
                     f"{conversion_table(results)}")
    if any("cells" in r for r in results):
        parts.append("### Error of PRF against softmax: mean |A − Â|₁ ± its standard error\n\n"
                     f"{error_table(results)}")
    for title, found in (("Required", required(results)), ("Expected", expected(results))):
        if found:
            parts.append(f"### {title}\n\n{statements(found)}")
    return "\n\n".join(parts)


def write_readme(path, results):
    """Puts the tables between the marks of a page. ValueError: it has none."""
    page = path.read_text(encoding="utf-8")
    before, first, rest = page.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not (first and last):
        raise ValueError(f"{path.name} has no {MARKS[0]} … {MARKS[1]}")
    path.write_text(f"{before}{first}\n\n{text(results)}\n\n{last}{after}", encoding="utf-8")
