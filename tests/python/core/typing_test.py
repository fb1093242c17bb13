"""mypy --strict on the package's core: `mypy` in client/python says the same of all of it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

CLIENT = pathlib.Path(__file__).resolve().parents[3] / "client" / "python"


def test_types_are_strict(tmp_path):
    pytest.importorskip("mypy", reason="mypy is in requirements.txt")
    # What the optional packages would say is a matter of those who have them installed.
    sources = sorted((CLIENT / "src" / "longwave").glob("*.py"))
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}", *map(str, sources)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_users_code_sees_the_types(tmp_path):
    pytest.importorskip("mypy", reason="mypy is in requirements.txt")
    code = tmp_path / "user.py"
    code.write_text(
        "import longwave\n"
        "client = longwave.Client('x')\n"
        "for item in client.encode_iter(['a']):\n"
        "    reveal_type(item.index)\n"
        "client.encode('a', no_such_argument=1)\n"
    )
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}", str(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", "")
    assert "no_such_argument" in done.stdout
    assert "missing library stubs or py.typed" not in done.stdout
