"""The results as one picture."""

import statistics

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

from . import error_curves, report  # noqa: E402
from .variants import COMPARED, CONVERTED, SCALES, VARIANTS  # noqa: E402

COLOURS = {1.0: "#1f7a8c", 4.0: "#c1121f"}
CONVERTED_COLOURS = ("#0b6e4f", "#1f7a8c", "#e07a5f", "#c1121f")


def accuracy_panel(axes, results, task, title):
    """A point a run; bars span a variant's seeds."""
    for scale, offset in zip(SCALES, (-0.14, 0.14)):
        for place, variant in enumerate(COMPARED):
            values = report.accuracies(results, task, variant, scale)
            if values:
                at = [place + offset] * len(values)
                label = f"q, k ×{scale:g}" if place == 0 else None
                axes.vlines(at[0], min(values), max(values), COLOURS[scale], linewidth=1)
                axes.plot(at, values, "o", color=COLOURS[scale], markersize=5, label=label)
    axes.set_xticks(range(len(COMPARED)))
    labels = ["softmax\n+ abs.", "PRF\n+ abs.", "NPRF\n+ abs.", "PRF\n+ RPE", "NPRF\n+ RPE"]
    axes.set_xticklabels(labels)
    axes.set_ylim(-0.03, 1.05)
    axes.axhline(report.LEARNED, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_ylabel("accuracy, last 50 steps")
    axes.set_title(title)
    axes.legend(frameon=False)


def conversion_panel(axes, results):
    features = [int(name) for name in report.conversion_features(results)]
    for variant, colour in zip(CONVERTED, CONVERTED_COLOURS):
        curves = report.conversions(results, variant)
        if not curves:
            continue
        for curve in curves:
            axes.plot(features, [curve[str(m)] for m in features], color=colour, linewidth=0.5)
        medians = [statistics.median(curve[str(m)] for curve in curves) for m in features]
        exact = statistics.median(curve["exact"] for curve in curves)
        label = f"{VARIANTS[variant].label} (exact: {exact:.2f})"
        axes.plot(features, medians, "o-", color=colour, markersize=4, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("m, features a head")
    axes.set_ylabel("accuracy, PRF put in")
    axes.set_ylim(-0.03, 1.05)
    axes.set_title("Conversion without fine-tuning, shift-copy")
    axes.legend(frameon=False, fontsize=7)


def error_panel(axes, results):
    shades = ("#0b6e4f", "#1f7a8c", "#e07a5f", "#c1121f")
    for result in results:
        if result["run"] != "error/iid":
            continue
        for radius, colour in zip(error_curves.RADII, shades):
            cells = [cell for cell in result["cells"] if cell["radius"] == radius]
            at = [cell["features"] for cell in cells]
            axes.errorbar(
                at,
                [cell["error"] for cell in cells],
                [cell["standard_error"] for cell in cells],
                color=colour,
                marker="o",
                markersize=4,
                label=f"|q| = |k| = {radius}",
            )
            axes.plot(at, [cell["expected"] for cell in cells], "x", color="black", markersize=5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("m, features (×: expected)")
    axes.set_ylabel("|A − Â|₁")
    axes.set_title("Error of PRF against softmax")
    axes.legend(frameon=False, fontsize=7)


def draw(results, path):
    """The format is the name's."""
    with matplotlib.rc_context({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "stability"}):
        figure, axes = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
        accuracy_panel(axes[0, 0], results, "shift", "Shift-copy: position alone")
        accuracy_panel(axes[0, 1], results, "recall", "Associative recall: content alone")
        conversion_panel(axes[1, 0], results)
        error_panel(axes[1, 1], results)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata)
        pyplot.close(figure)
