"""Writes the table of values into longwave/README.md, from the comments of longwave/values.yaml.

    python3 deploy/helm/make_readme.py            # writes
    python3 deploy/helm/make_readme.py --check    # exit 1 if the table is not current

Plain Python, no packages: a line "# -- text" documents the key on the next line.
"""

import argparse
import pathlib
import re
import sys

CHART = pathlib.Path(__file__).resolve().parent / "longwave"
BEGIN = "<!-- values: begin -->"
END = "<!-- values: end -->"
KEY = re.compile(r"^( *)([A-Za-z0-9._/-]+):(?: (.*))?$")


def rows(text):
    """(key, default, description) of every documented value; raises on one without description."""
    path = []  # (indent, key) of the mappings that we are in
    description = None
    inside = None  # indent of a documented mapping, whose lines are its default
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            inside = None
            if line.lstrip().startswith("# -- "):
                description = line.lstrip()[len("# -- ") :]
            continue
        match = KEY.match(line)
        if not match:
            raise ValueError(f"values.yaml:{number}: not a key and not a comment: {line}")
        indent, key, default = len(match[1]), match[2], match[3]
        if inside is not None and indent > inside:
            found[-1][1].append(f"{key}: {default}")
            continue
        inside = None
        path = [entry for entry in path if entry[0] < indent] + [(indent, key)]
        if description is not None:
            found.append(
                (".".join(name for _, name in path), [default] if default else [], description)
            )
            inside = indent
            description = None
        elif default is not None:
            raise ValueError(f"values.yaml:{number}: {key} has no description")
    return [(key, default_text(lines), text) for key, lines, text in found]


def default_text(lines):
    if len(lines) == 1 and not re.match(r"^[A-Za-z0-9./-]+: ", lines[0]):
        return "" if lines[0] == '""' else f"`{lines[0]}`"
    return ", ".join(f"`{line}`" for line in lines)


def table(text):
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for key, default, description in rows(text):
        cells = (f"`{key}`", default, description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def readme(current, values):
    before, rest = current.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table(values)}\n{END}{after}"


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Writes the table of values into the chart's README."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    check = parser.parse_args(arguments).check
    path = CHART / "README.md"
    current = path.read_text(encoding="utf-8")
    wanted = readme(current, (CHART / "values.yaml").read_text(encoding="utf-8"))
    if current == wanted:
        return 0
    if check:
        print(
            "deploy/helm/longwave/README.md is not current: run deploy/helm/make_readme.py",
            file=sys.stderr,
        )
        return 1
    path.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
