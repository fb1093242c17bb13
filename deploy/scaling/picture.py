"""The picture of two runs, as SVG, with Python alone."""

from __future__ import annotations

import html

WIDTH, LEFT, RIGHT, PANEL, GAP, TOP = 860, 60, 150, 150, 34, 40
LOAD, PODS, READY, WAIT, SHED = "#1f7a8c", "#0b6e4f", "#7fb69f", "#9c6644", "#c1121f"


def _path(values, seconds: int, top: float, high: float) -> str:
    """At most as many points as are seen: of each stretch the greatest."""
    stretch = max(1, seconds // 600)
    parts = []
    for begin in range(0, seconds, stretch):
        value = max(values[begin:begin + stretch])
        x = LEFT + (WIDTH - LEFT - RIGHT) * begin / seconds
        y = top + PANEL * (1 - min(value, high) / high)
        parts.append(f"{'M' if begin == 0 else 'L'}{x:.1f} {y:.1f}")
    return "".join(parts)


def _panel(top: float, high: float, unit: str, title: str, lines, seconds: int) -> list[str]:
    right = WIDTH - RIGHT
    parts = [f'<text x="{LEFT}" y="{top - 8}" class="t">{html.escape(title)}</text>']
    for part in range(5):
        y = top + PANEL * part / 4
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{right}" y2="{y}" class="g"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">'
                     f"{high * (4 - part) / 4:g}{unit}</text>")
    hours = seconds / 3600
    for part in range(7):
        x = LEFT + (right - LEFT) * part / 6
        text = f"{hours * part / 6:g} h" if hours > 2 else f"{60 * hours * part / 6:g} min"
        parts.append(f'<text x="{x}" y="{top + PANEL + 15}" text-anchor="middle">{text}</text>')
    for place, (name, colour, values) in enumerate(lines):
        parts.append(f'<path d="{_path(values, seconds, top, high)}" fill="none" '
                     f'stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{right + 8}" y="{top + 14 + 16 * place}" '
                     f'style="fill:{colour}">{html.escape(name)}</text>')
    return parts


def draw(day, burst, target: float) -> str:
    """A day and a burst: pods above, waits below."""
    parts, top = [], float(TOP)
    for outcome, title in ((day, "a day with bursts"), (burst, "a burst from 1.2 to 4 replicas' work")):
        seconds = len(outcome.load)
        most = max(max(outcome.replicas), *outcome.load)
        high = next(n for n in (2, 4, 8, 12, 16, 20, 40, 100, 1000) if n >= most)
        parts += _panel(top, high, "", f"{title}: load and pods", [
            ("load, in replicas", LOAD, outcome.load),
            ("pods", PODS, outcome.replicas),
            ("ready", READY, outcome.ready),
        ], seconds)
        top += PANEL + GAP
        share = [refused / max(load, 1e-9) for refused, load in zip(outcome.refused, outcome.load)]
        parts += _panel(top, 2.4, " s", f"{title}: expected wait and refused share", [
            ("expected wait", WAIT, outcome.wait),
            (f"target, {target:g} s", "#555", [target] * seconds),
            ("refused share × 2.4", SHED, [2.4 * s for s in share]),
        ], seconds)
        top += PANEL + GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img" '
        'aria-label="Autoscaling, simulated">',
        "<style>text{font:12px sans-serif;fill:#222}.g{stroke:#ddd}.t{font-weight:bold}</style>",
        f'<rect width="{WIDTH}" height="{top:.0f}" fill="white"/>', *parts, "</svg>",
    ]) + "\n"
