"""The blocks of Python on the package's page run, in order, as one program."""

import re

import pytest
from conftest import ROOT

PAGE = ROOT / "model" / "torch" / "README.md"


def test_the_pages_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names = {"__name__": "page"}
    for number, block in enumerate(blocks):
        try:
            exec(compile(block, f"<block {number}>", "exec"), names)
        except Exception as error:
            pytest.fail(f"block {number} of the page: {error!r}")
    assert names["states"].shape == (4, 200, 64) and names["embeddings"].shape == (4, 64)
    assert names["saved"].golden_error < 1
    assert (tmp_path / "model" / "longwave.json").exists()
    assert len(names["losses"]) == 20
    assert "layers.1.self_attn" in capsys.readouterr().out
