"""Servers that tests share. ctest says in the environment where the programs and the model are."""

import os
import pathlib

import pytest
from harness import ROOT, Server


def _path(variable: str, otherwise: str) -> str:
    path = os.environ.get(variable, str(ROOT / "build" / "release" / otherwise))
    assert pathlib.Path(path).exists(), f"{variable}: {path} is not there"
    return path


@pytest.fixture(scope="session")
def fake_program() -> str:
    return _path("LONGWAVE_FAKE_SERVER", "server/longwave-fake-server")


@pytest.fixture(scope="session")
def real_program() -> str:
    return _path("LONGWAVE_SERVER", "server/longwave-server")


@pytest.fixture(scope="session")
def model_folder() -> str:
    return _path("LONGWAVE_MODEL", "models/default")


@pytest.fixture
def start_fake(fake_program):
    """Starts servers around FakeEncoder; what is still there at the end is stopped."""
    servers = []

    def start(*flags: str, **env: str) -> Server:
        script = {f"LONGWAVE_FAKE_{name.upper()}": value for name, value in env.items()}
        servers.append(Server(fake_program, *flags, env=script))
        return servers[-1].ready()

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.wait()


@pytest.fixture(scope="session")
def real_server(real_program, model_folder):
    server = Server(real_program, f"--model={model_folder}", "--allow_route_override")
    yield server.ready()
    assert server.stop() == 0
