#!/usr/bin/env python3
"""Draws the main panels of the dashboard from what Prometheus answered: draw.py SERIES.json OUT.png.

SERIES.json is written by deploy/prometheus/local_stack.py. Needs matplotlib.
"""

from __future__ import annotations

import json
import math
import pathlib
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Title of the panel, legend by these labels, unit, stacked, factor, logarithmic.
PANELS = (
    ("Rate by code", ("code",), "requests/s", True, 1, False),
    ("Duration, p90", ("len_class",), "s", False, 1, True),
    ("Mean time by stage", ("stage",), "s", True, 1, False),
    ("Expected wait", (), "s", False, 1, False),
    ("Share refused for load", (), "%", False, 100, False),
    ("Tokens a second", ("kind",), "1 000 tokens/s", True, 1e-3, False),
)
COLOURS = ("#1f77b4", "#d9822b", "#3a9a5b", "#7c5cb5", "#b23a48", "#6b7280")
# What has one meaning has one colour, and answers lie below refusals.
OWN_COLOURS = {
    "OK": "#3a9a5b",
    "RESOURCE_EXHAUSTED": "#b23a48",
    "CANCELLED": "#9ca3af",
    "queue": "#d9822b",
    "compute": "#1f77b4",
}
FIRST = ["OK", "compute", "queue"]
# Of a stack, what is thinner than this share of its highest place cannot be seen.
LEAST_SHARE = 0.004
LENGTHS = ["le1k", "le4k", "le16k", "le64k", "le256k", "gt256k"]
EXPECTED_WAIT = ("longest", "mean")
# What was before the first stage is in the first scrapes of it.
SETTLE_SECONDS = 3


def legend(labels: dict[str, str], names: tuple[str, ...]) -> str:
    return " ".join(labels.get(name, "") for name in names)


def curves(
    data: dict[str, Any], title: str, names: tuple[str, ...]
) -> dict[str, dict[float, float]]:
    """Values by time, by legend; what cannot be seen beside others is left out."""
    begin = data["stages"][0]["begin"] + SETTLE_SECONDS
    found: dict[str, dict[float, float]] = {}
    queries = [panel for panel in data["panels"] if panel["title"] == title]
    for number, panel in enumerate(queries):
        for series in panel["series"]:
            text = legend(series["metric"], names)
            if title == "Expected wait":
                text = EXPECTED_WAIT[number] if number < len(EXPECTED_WAIT) else "target"
            found[text] = {at: float(value) for at, value in series["values"] if at >= begin}
    highest = {
        key: max((x for x in line.values() if not math.isnan(x)), default=0)
        for key, line in found.items()
    }
    least = LEAST_SHARE * sum(highest.values())
    seen = [key for key in found if highest[key] > least] or list(found)
    ranks = FIRST + LENGTHS
    seen.sort(key=lambda key: (ranks.index(key) if key in ranks else len(ranks), key))
    return {key: found[key] for key in seen}


def firing(data: dict[str, Any], name: str) -> list[tuple[float, float]]:
    times = sorted(
        {at for s in data["alerts"] if s["metric"]["alertname"] == name for at, _ in s["values"]}
    )
    return [(times[0], times[-1])] if times else []


def colours(lines: dict[str, Any]) -> list[str]:
    spare = (
        colour for colour in COLOURS if colour not in {OWN_COLOURS.get(line) for line in lines}
    )
    return [OWN_COLOURS.get(line) or next(spare, COLOURS[-1]) for line in lines]


def draw_panel(axes: Any, data: dict[str, Any], panel: tuple) -> None:
    title, names, unit, stacked, factor, logarithmic = panel
    began = data["began"]
    lines = curves(data, title, names)
    times = sorted({at for line in lines.values() for at in line})
    values = [[line.get(at, math.nan) * factor for at in times] for line in lines.values()]
    seconds = [at - began for at in times]
    if stacked and lines:
        filled = [[0 if math.isnan(v) else v for v in line] for line in values]
        axes.stackplot(
            seconds, filled, labels=list(lines), colors=colours(lines), alpha=0.85, linewidth=0
        )
    else:
        for line, text, colour in zip(values, lines, colours(lines)):
            axes.plot(seconds, line, label=text or None, color=colour, linewidth=1.6)
    # Room for the legend.
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(top=axes.get_ylim()[1] * 3)
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    axes.set_ylabel(unit, fontsize=9)
    if any(lines):
        columns = 2 if max(map(len, lines)) > 10 else 3
        axes.legend(
            fontsize=8,
            frameon=False,
            loc="upper left",
            ncols=columns,
            columnspacing=1.2,
            handlelength=1.4,
        )


def decorate(axes: Any, data: dict[str, Any]) -> None:
    for stage in data["stages"]:
        if stage["name"] == "overload":
            axes.axvspan(
                stage["begin"] - data["began"],
                stage["end"] - data["began"],
                color="#f3d9b1",
                alpha=0.45,
                linewidth=0,
                zorder=0,
            )
    for begin, end in firing(data, "LongwaveShedding"):
        axes.axvspan(
            begin - data["began"],
            end - data["began"],
            ymin=0,
            ymax=0.022,
            color="#b23a48",
            linewidth=0,
        )
    axes.set_xlim(
        data["stages"][0]["begin"] + SETTLE_SECONDS - data["began"],
        data["stages"][-1]["end"] - data["began"],
    )
    axes.grid(True, color="#e5e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    data = json.loads(pathlib.Path(sys.argv[1]).read_text())
    figure, grid = plt.subplots(2, 3, figsize=(14, 6.4), sharex=True, layout="constrained")
    for axes, panel in zip(grid.flat, PANELS):
        draw_panel(axes, data, panel)
        decorate(axes, data)
    for axes in grid[1]:
        axes.set_xlabel("seconds", fontsize=9)
    figure.suptitle(
        "Two replicas under a staged overload (shaded); the red bar below: LongwaveShedding fires",
        fontsize=11.5,
        x=0.01,
        ha="left",
    )
    figure.savefig(sys.argv[2], dpi=110, facecolor="white")
    return 0


if __name__ == "__main__":
    sys.exit(main())
