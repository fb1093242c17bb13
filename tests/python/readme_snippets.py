"""The code blocks of the integrations' page, by section: what is shown there is run."""

from __future__ import annotations

import pathlib
import re

PAGE = (
    pathlib.Path(__file__).resolve().parents[2]
    / "client/python/src/longwave/integrations/README.md"
)


def snippets() -> dict[str, list[str]]:
    """Section's title -> its blocks of Python, in order."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for section in sections:
        title, _, body = section.partition("\n")
        found[title] = re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    return found


def run(code: str, **names: object) -> None:
    """Runs a block as a program of its own; an assertion of its that fails, fails the test."""
    exec(compile(code, "<snippet of the page>", "exec"), {"__name__": "snippet", **names})
