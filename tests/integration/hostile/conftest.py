"""Each row of the catalogue runs beside a canary stream on the server that the file shares."""

import os

import pytest
from canary import Canary, current_test
from harness import Server


@pytest.fixture(scope="module")
def server_flags() -> tuple[str, ...]:
    """What a file wants its shared server started with; it overrides this."""
    return ()


@pytest.fixture(scope="module")
def server(fake_program, server_flags):
    with Server(fake_program, *server_flags) as server:
        yield server.ready()
        assert server.stop() == 0


@pytest.fixture(scope="module")
def canary_stream(server):
    with Canary(server).streaming() as stream:
        yield stream


@pytest.fixture(autouse=True)
def canary(request):
    """The canaries must not notice the test; one with a server of its own brings its own."""
    if "server" not in request.fixturenames:
        yield None
        return
    with request.getfixturevalue("canary_stream").beside(current_test()) as stream:
        yield stream


@pytest.fixture(scope="session")
def sanitized() -> bool:
    """A sanitizer keeps freed memory: bounds on it are not held against such a build."""
    return bool(os.environ.get("LONGWAVE_SANITIZE"))
