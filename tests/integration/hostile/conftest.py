"""Each row of the catalogue runs beside a canary stream on the server that the file shares."""

import os

import pytest
from harness import Canary, Server


@pytest.fixture(scope="module")
def server_flags() -> tuple[str, ...]:
    """What a file wants its shared server started with; it overrides this."""
    return ()


@pytest.fixture(scope="module")
def server(fake_program, server_flags):
    server = Server(fake_program, *server_flags).ready()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def canary_stream(server):
    with Canary(server) as canary:
        yield canary


@pytest.fixture(autouse=True)
def canary(request):
    """The canaries must not notice the test; a file that shares no server makes its own."""
    if "server" not in request.fixturenames:
        yield None
        return
    stream = request.getfixturevalue("canary_stream")
    yield stream
    stream.check()


@pytest.fixture(scope="session")
def sanitized() -> bool:
    """A sanitizer keeps freed memory: bounds on it are not held against such a build."""
    return bool(os.environ.get("LONGWAVE_SANITIZE"))
