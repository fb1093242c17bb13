"""What is printed of a result: tables in Markdown, and whether the model keeps its promises."""

import pathlib

BEGIN, END = "<!-- evaluation -->", "<!-- /evaluation -->"
SPEARMAN_BAR = 0.6
LEAST_CANDIDATES = 1000
OURS = "Longwave"
TRUNCATED = "teacher, truncated"
BEATEN = ("random weights", "hashed byte trigrams")


def _columns(result):
    """[(task's part, metric, heading)]."""
    return [
        (task, metric, f"({letter}) {metric}")
        for letter, task in result["tasks"].items()
        for metric in task["metrics"]
    ]


def _names(result):
    names = [n for task in result["tasks"].values() for n in task["figures"]]
    return [n for n in dict.fromkeys(names) if n != "chance"] + ["chance"]


def _table(heads, rows):
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _figure(figure):
    if figure is None:
        return ""
    return f"{figure['value']:.3f} ({figure['low']:.2f} to {figure['high']:.2f})"


def _value(figure):
    return "" if figure is None else f"{figure['value']:.3f}"


def _difference(figure):
    if figure is None:
        return ""
    verdict = "win" if figure["low"] > 0 else "loss" if figure["high"] < 0 else "even"
    return f"{verdict} {figure['value']:+.3f} ({figure['low']:+.2f} to {figure['high']:+.2f})"


def _cells(result, names, part, form):
    columns = _columns(result)
    return [
        [name] + [form(task[part].get(name, {}).get(metric)) for task, metric, _ in columns]
        for name in names
    ]


def figures_table(result):
    heads = ["", *(heading for _, _, heading in _columns(result))]
    names = _names(result)
    rows = _cells(result, names[:-1], "figures", _figure)
    return _table(heads, rows + _cells(result, names[-1:], "figures", _value))


def differences_table(result):
    heads = [f"{OURS} against", *(heading for _, _, heading in _columns(result))]
    names = [n for n in _names(result)[:-1] if n != OURS]
    return _table(heads, _cells(result, names, "differences", _difference))


def method(result):
    """How the figures came about, in the order of the columns."""
    plan, lines = result["plan"], []
    for letter, task in result["tasks"].items():
        what = _METHODS[letter].format(**{**plan, **task})
        lines.append(f"- **({letter}) {task['title']}**: {what}")
    return "\n".join(lines)


_METHODS = {
    "a": "the second half of a document (at most 4 kB, cut at white space; of a longer document, "
    "of its first 8 kB) against the first halves of {candidates} documents of {packages} source "
    "packages; a hit is the first half of the same document.",
    "b": "the first halves of (a), ranked by similarity to each of {queries} of them; those of the "
    "same Debian section count, those of the same source package are not ranked; first halves of a "
    "section with one package only are ranked but do not ask.",
    "c": "{passages} passages of 300 to 900 bytes, two of a document, which the teacher takes in "
    "whole. Spearman correlation of cosine similarities with the teacher's, over all pairs, and "
    "over as many pairs of one document as of one package, one section and nothing in common "
    "({pairs[Spearman, strata]} together).",
    "d": "as (a), of {candidates} documents of at least 4 kB with halves of up to 8 kB, but before "
    "each first half stand 8 kB of a training document, one of {preambles}, dealt without regard "
    "to what follows. Mean length {mean_candidate_bytes:.0f} bytes; the query is up to 4 kB.",
}


def markdown(result):
    """The whole report."""
    chapters = [figures_table(result)]
    if any(task["differences"] for task in result["tasks"].values()):
        chapters += [
            f"{OURS} less the other, and the 95 % interval of this difference; a win or loss is "
            "one whose interval is on one side of 0:",
            differences_table(result),
        ]
    plan = result["plan"]
    chapters += [
        method(result),
        "All documents are of source packages that no training document is of, taken in turns "
        f"from each package (seed {plan['seed']}). In brackets 95 % intervals of a bootstrap over "
        f"source packages ({result['resamples']} samples; of (c) at most 200). Equal scores count "
        "as in random order. TF-IDF is fitted on training documents. The teacher truncated reads "
        "the first 254 word pieces; the mean of its chunks is over chunks of as many.",
    ]
    return "\n\n".join(chapters) + "\n"


def bars(result):
    """[(what the model must show, whether it does)]; of tasks that were run."""
    tasks, found = result["tasks"], []
    if "a" in tasks:
        count = tasks["a"]["candidates"]
        found.append(
            (f"(a) {count} candidates, at least {LEAST_CANDIDATES}", count >= LEAST_CANDIDATES)
        )
    for letter, task in tasks.items():
        beaten = [n for n in BEATEN if n in task["figures"]]
        if letter == "d" and TRUNCATED in task["figures"]:
            beaten.append(TRUNCATED)
        for other in beaten:
            ours, theirs = (task["figures"][n][task["primary"]]["value"] for n in (OURS, other))
            text = f"({letter}) {task['primary']} {ours:.3f}, above {other}: {theirs:.3f}"
            found.append((text, ours > theirs))
    if "c" in tasks:
        value = tasks["c"]["figures"][OURS][tasks["c"]["primary"]]["value"]
        found.append((f"(c) Spearman {value:.3f}, at least {SPEARMAN_BAR}", value >= SPEARMAN_BAR))
    return found


def write(path, text):
    """Writes a file; of one that has the two marks, what is between them alone."""
    path = pathlib.Path(path)
    old = path.read_text() if path.exists() else ""
    if BEGIN in old and END in old:
        before, _, rest = old.partition(BEGIN)
        _, _, after = rest.partition(END)
        text = f"{before}{BEGIN}\n\n{text}\n{END}{after}"
    path.write_text(text)
