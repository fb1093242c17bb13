"""Where the programs and the model are: what all tests of the Python package share.

LONGWAVE_FAKE_SERVER, LONGWAVE_SERVER and LONGWAVE_MODEL say it in the environment (ctest does so);
otherwise they are those of the release build.
"""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# servers.py: server processes, their logs and metrics.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

_BUILT = {
    "LONGWAVE_FAKE_SERVER": "server/longwave-fake-server",
    "LONGWAVE_SERVER": "server/longwave-server",
    "LONGWAVE_MODEL": "models/default",
}
for _name, _path in _BUILT.items():
    os.environ.setdefault(_name, str(ROOT / "build" / "release" / _path))
# A key in the environment of whoever runs the tests is none of theirs.
os.environ.pop("LONGWAVE_API_KEY", None)


def _existing(variable: str) -> str:
    path = os.environ[variable]
    assert pathlib.Path(path).exists(), f"{variable}: {path} is not there"
    return path


@pytest.fixture(scope="session")
def fake_program() -> str:
    return _existing("LONGWAVE_FAKE_SERVER")


@pytest.fixture(scope="session")
def real_program() -> str:
    return _existing("LONGWAVE_SERVER")


@pytest.fixture(scope="session")
def model_folder() -> str:
    return _existing("LONGWAVE_MODEL")
