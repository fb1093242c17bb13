"""The wheel: pure, complete, and enough by itself in an empty environment.

Needs the package index, for the build backend and the dependencies; skipped where there is none.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest

CLIENT = pathlib.Path(__file__).resolve().parents[3] / "client" / "python"
PATIENCE = 600


def pip(python: str, *arguments: str) -> None:
    """Runs pip; skips the test where the index cannot be reached."""
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    lost = ("NewConnectionError", "Temporary failure in name resolution", "ConnectTimeoutError")
    if done.returncode != 0 and any(word in done.stderr + done.stdout for word in lost):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder / "out"), str(source))
    (found,) = (folder / "out").iterdir()
    return found


def test_the_wheel_is_pure_and_complete(wheel):
    assert wheel.name == "longwave_client-0.1.0-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (CLIENT / "src").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(CLIENT / "src")) in names
    assert {"longwave/py.typed", "longwave/api.binpb", "longwave/service_config.json"} <= names
    top = {name.partition("/")[0] for name in names}
    assert top == {"longwave", "longwave_client-0.1.0.dist-info"}
    metadata = zipfile.ZipFile(wheel).read("longwave_client-0.1.0.dist-info/METADATA").decode()
    extras = {
        line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Provides-Ex")
    }
    assert extras == {
        "bf16", "faiss", "haystack", "langchain", "llama-index", "openai-server", "pgvector",
        "qdrant", "ray", "sentencepiece", "spark", "tokenizers",
    }  # fmt: skip
    entry_points = (
        zipfile.ZipFile(wheel).read("longwave_client-0.1.0.dist-info/entry_points.txt").decode()
    )
    assert "longwave-openai = longwave.openai_server.__main__:main" in entry_points


USE = """
import sys, longwave, numpy
with longwave.Client(sys.argv[1]) as client:
    print(client.encode(["hello", "you"]).shape)
    print(client.encode("hello", precision="bfloat16").dtype)
assert not {"tokenizers", "sentencepiece", "ml_dtypes", "torch", "starlette"} & set(sys.modules)
try:
    longwave.HuggingFaceTokenizer(sys.argv[0])
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("versions", ["newest", "oldest"])
def test_an_empty_environment_with_nothing_but_the_wheel(wheel, fake_server, tmp_path, versions):
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    # The oldest that the metadata allow and that have wheels for this Python.
    oldest = ["protobuf==5.26.0", "grpcio==1.62.0", "numpy==1.24.0"]
    constraints = oldest if versions == "oldest" else []
    if constraints and sys.version_info >= (3, 12):
        pytest.skip("the oldest dependencies have no wheels for this Python")
    pip(python, "install", "--only-binary=:all:", str(wheel), *constraints)
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [python, "-W", "error", str(tmp_path / "use.py"), fake_server.address],
        capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["(2, 16)", "uint16"]
    assert "longwave-client[tokenizers]" in lines[2]
