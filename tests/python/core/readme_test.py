"""The package's page, and the project's: what their Python says is so, against the real server."""

from __future__ import annotations

import doctest
import pathlib
import re

import longwave
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]


def blocks_of(page: pathlib.Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


def run_blocks(blocks: list[str], address: str) -> int:
    """How many examples the blocks have, all of which did what they say."""
    text = "\n".join(blocks).replace("127.0.0.1:50051", address)
    test = doctest.DocTestParser().get_doctest(text, {"np": np}, "README.md", None, 0)
    runner = doctest.DocTestRunner()
    report: list[str] = []
    runner.run(test, out=report.append, clear_globs=False)
    test.globs["client"].close()
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    return len(test.examples)


def test_every_block_does_what_it_says(real_server):
    blocks = blocks_of(ROOT / "client" / "python" / "README.md")
    assert len(blocks) >= 7 and all(block.startswith(">>> ") for block in blocks)
    assert run_blocks(blocks, real_server.address) >= 20


def test_the_projects_page_does_what_it_says(real_server, monkeypatch):
    monkeypatch.chdir(ROOT)
    # Others' clients have a test of their own: tests/integration/readme_test.py.
    blocks = [block for block in blocks_of(ROOT / "README.md") if "longwave.Client" in block]
    assert run_blocks(blocks, real_server.address) >= 4


def test_every_public_name_has_a_docstring():
    for name in longwave.__all__:
        value = getattr(longwave, name)
        if not isinstance(value, str):
            assert value.__doc__, name
    for kind in (longwave.Client, longwave.AsyncClient):
        for name in dir(kind):
            if not name.startswith("_"):
                assert getattr(kind, name).__doc__, f"{kind.__name__}.{name}"


def test_both_clients_have_the_same_calls_with_the_same_arguments():
    import inspect

    names = [name for name in dir(longwave.Client) if not name.startswith("_")]
    assert names == [name for name in dir(longwave.AsyncClient) if not name.startswith("_")]
    for name in names:
        ours = inspect.signature(getattr(longwave.Client, name)).parameters
        theirs = inspect.signature(getattr(longwave.AsyncClient, name)).parameters
        assert list(ours) == list(theirs), name
        for parameter in ours:
            assert ours[parameter].default == theirs[parameter].default, (name, parameter)
