"""Makes a page and a picture from what longwave-bench printed.

    python3 tests/bench/report.py --out DIR [--title TEXT] FILE.jsonl ...

DIR/bench.html: the picture, every bar with its times, the machine's rooflines. DIR/bench.svg: time a
token and head against the sequence's length, both axes logarithmic. Only Python's own library.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import pathlib
import sys

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 190, 44, 52
OURS = ["#0b6e4f", "#2f9e6f", "#1f7a8c", "#5c8001", "#3d5a80", "#00838f"]
PEERS = ["#c1121f", "#e07a5f", "#9c6644", "#b5179e", "#7f5539"]
# How lines are named for people.
NAMES = {
    "sdpa": "SDPA, no bias",
    "sdpa_bias": "SDPA, bias as mask",
    "unfused_softmax": "softmax, unfused",
    "textbook_fft": "textbook FFT",
}


def read_lines(paths):
    """Objects of all files in order; a line that is none is an error that names it."""
    objects = []
    for path in paths:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not text.strip():
                continue
            try:
                objects.append(json.loads(text))
            except json.JSONDecodeError as error:
                sys.exit(f"report: {path.name}:{number} is not JSON: {error}")
    return objects


def curves(objects, head_dim, features):
    """name -> (is a peer, [(n, seconds a token and head)], [(n, floor)]), of the grid's points."""
    found = {}
    for point in objects:
        if "point" not in point or "n" not in point or "bias" not in point:
            continue
        if point["head_dim"] != head_dim or point["features"] != features:
            continue
        name, bias = point["point"], point["bias"]
        if point["peer"]:
            label = NAMES.get(name, name)
        elif (bias, name) in {("t5", "chunkwise"), ("t5", "tiles"), ("table", "fft"),
                              ("power_law", "interpolation"), ("log_buckets", "chunkwise")}:
            label = f"{name}, {bias.replace('_', ' ')}"
        else:
            continue
        entry = found.setdefault(label, (point["peer"], [], []))
        token_heads = point["n"] * point["heads"]
        entry[1].append((point["n"], point["seconds_per_token_head"]))
        entry[2].append((point["n"], point["floor_seconds"] / token_heads))
    return {label: (peer, sorted(line), sorted(floor))
            for label, (peer, line, floor) in found.items()}


class Axes:
    """Logarithmic axes around all of `points`: powers of two across, of ten up."""

    def __init__(self, points):
        xs = [math.log2(x) for x, _ in points]
        ys = [math.log10(y) for _, y in points]
        self.x = (math.floor(min(xs)), math.ceil(max(xs)))
        self.y = (math.floor(min(ys)), math.ceil(max(ys)))

    def at(self, x, y):
        across = (math.log2(x) - self.x[0]) / max(1, self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / max(1, self.y[1] - self.y[0])
        return (LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))


def tokens_text(n):
    if n >= 1 << 20:
        return f"{n >> 20}M"
    return f"{n >> 10}k" if n >= 1024 else str(n)


def seconds_text(power):
    units = {-9: "ns", -6: "µs", -3: "ms", 0: "s"}
    base = max(unit for unit in units if unit <= power) if power >= -9 else -9
    return f"{10 ** (power - base):g} {units[base]}"


def grid_lines(axes):
    parts = []
    for power in range(axes.x[0], axes.x[1] + 1):
        x, bottom = axes.at(2.0**power, 10.0 ** axes.y[0])
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom:.1f}" class="g"/>')
        if (power - axes.x[0]) % 2 == 1:
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">'
                         f"{tokens_text(1 << power)}</text>")
    for power in range(axes.y[0], axes.y[1] + 1):
        left, y = axes.at(2.0 ** axes.x[0], 10.0**power)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{seconds_text(power)}</text>")
    return parts


def path_of(axes, line):
    return " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}"
                    for i, (x, y) in enumerate(axes.at(*point) for point in line))


def spread(labels):
    """Moves labels apart that would lie on each other: [(y, ...)] by y."""
    placed = []
    for y, *rest in sorted(labels):
        if placed and y < placed[-1][0] + 14:
            y = placed[-1][0] + 14
        placed.append((y, *rest))
    return placed


def draw(found, title):
    """The picture as SVG; None if there is nothing to draw."""
    points = [point for _, line, floor in found.values() for point in line + floor]
    if not points:
        return None
    axes = Axes(points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">',
        "<style>text{font:12px sans-serif;fill:#222}.g{stroke:#ddd}.t{font-size:14px;"
        "font-weight:bold}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" class="t">{html.escape(title)}</text>',
        *grid_lines(axes),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        "tokens in the sequence (dashed: operations at the rate of sgemm)</text>",
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        'text-anchor="middle">time a token and head</text>',
    ]
    labels = []
    colours = {True: iter(PEERS * 3), False: iter(OURS * 3)}
    for label, (peer, line, floor) in found.items():
        colour = next(colours[peer])
        width = 1.5 if peer else 2.5
        if not peer:
            parts.append(f'<path d="{path_of(axes, floor)}" fill="none" stroke="{colour}" '
                         'stroke-dasharray="3 4"/>')
        parts.append(f'<path d="{path_of(axes, line)}" fill="none" stroke="{colour}" '
                     f'stroke-width="{width}"/>')
        for point in line:
            x, y = axes.at(*point)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>')
        x, y = axes.at(*line[-1])
        labels.append((y, x, label, colour))
    for y, x, label, colour in spread(labels):
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" style="fill:{colour}">'
                     f"{html.escape(label)}</text>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def number(value):
    return "none" if value is None else f"{value:.3g}"


def bars_table(objects):
    rows = []
    for bar in objects:
        if "bar" not in bar:
            continue
        times = ", ".join(f"{html.escape(name)} {1e3 * seconds:.4g} ms"
                          for name, seconds in bar["seconds"].items())
        passed = bar["pass"]
        rows.append(
            f'<tr class="{"ok" if passed else "miss"}"><td>{"reached" if passed else "missed"}</td>'
            f'<td>{html.escape(bar["bar"])}<br><small>{html.escape(bar["what"])}</small></td>'
            f'<td>{number(bar["value"])}</td><td>{html.escape(bar["direction"])} {bar["limit"]:g}'
            f'</td><td>{number(bar["error"])}</td><td>{bar["repeats"]}</td><td>{times}</td></tr>')
    if not rows:
        return "<p>No bars were measured.</p>"
    return ("<table><tr><th></th><th>bar</th><th>value</th><th>limit</th><th>error</th>"
            "<th>runs</th><th>times</th></tr>" + "\n".join(rows) + "</table>")


def rooflines_text(objects):
    items = []
    for line in objects:
        if "rooflines" not in line:
            continue
        roof = line["rooflines"]
        items.append(
            f"<li>{line['threads']} threads, {html.escape(line['target'])}: sgemm "
            f"{roof['sgemm_gflops']:.0f} GFLOP/s (best: {roof['sgemm_best_gflops']:.0f}), copy "
            f"{roof['copy_gb_per_second']:.1f} GB/s, exp {roof['exp_per_second'] / 1e9:.2f} G/s</li>")
    return "<ul>" + "\n".join(items) + "</ul>"


def page(objects, svg, title):
    picture = svg or "<p>No points were measured: the picture needs the suite grid.</p>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:14px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}}
table{{border-collapse:collapse}}td,th{{padding:.3em .6em;border-bottom:1px solid #ddd;
text-align:left;vertical-align:top}}.ok td:first-child{{color:#0b6e4f}}
.miss td:first-child{{color:#c1121f;font-weight:bold}}svg{{max-width:100%}}</style></head>
<body><h1>{html.escape(title)}</h1>
{picture}
<h2>Rooflines of the runs</h2>
{rooflines_text(objects)}
<h2>Bars</h2>
<p>Every value is a ratio of medians of one run. Errors are against double precision.</p>
{bars_table(objects)}
</body></html>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="what longwave-bench printed")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the report")
    parser.add_argument("--title", default="Longwave: attention on the CPU")
    parser.add_argument("--head_dim", type=int, default=64, help="of the curves")
    parser.add_argument("--features", type=int, default=64, help="of the curves")
    arguments = parser.parse_args()
    objects = read_lines(arguments.files)
    svg = draw(curves(objects, arguments.head_dim, arguments.features), arguments.title)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if svg is not None:
        (arguments.out / "bench.svg").write_text(svg, encoding="utf-8")
    (arguments.out / "bench.html").write_text(page(objects, svg, arguments.title), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
