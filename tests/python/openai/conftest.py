from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai_processes import ALIAS, Sidecar
from servers import PATIENCE, Server


@pytest.fixture(scope="session")
def fake_server(fake_program: str) -> Iterator[Server]:
    """dim 16, vocabulary 1000, truncate_dim 8."""
    with Server(fake_program) as server:
        yield server.ready()


@pytest.fixture(scope="session")
def real_server(real_program: str, model_folder: str) -> Iterator[Server]:
    """The default model: dim 448, ids are bytes."""
    with Server(real_program, f"--model={model_folder}") as server:
        yield server.ready()


@pytest.fixture(scope="session")
def fake(fake_server: Server) -> Iterator[Sidecar]:
    with Sidecar(fake_server.address, f"--model-alias={ALIAS}") as sidecar:
        yield sidecar


@pytest.fixture(scope="session")
def real(real_server: Server) -> Iterator[Sidecar]:
    with Sidecar(real_server.address, f"--model-alias={ALIAS}") as sidecar:
        yield sidecar


@pytest.fixture(scope="session", params=["fake", "real"])
def sidecar(request: pytest.FixtureRequest) -> Sidecar:
    """Before each of both servers."""
    found: Sidecar = request.getfixturevalue(request.param)
    return found


def make_client(sidecar: Sidecar) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="a-key", base_url=f"{sidecar.url}/v1", max_retries=0, timeout=PATIENCE
    )


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[openai.OpenAI]:
    """The official client."""
    with make_client(sidecar) as made:
        yield made


@pytest.fixture
def fake_client(fake: Sidecar) -> Iterator[openai.OpenAI]:
    with make_client(fake) as made:
        yield made


@pytest.fixture
def http(fake: Sidecar) -> Iterator[httpx.Client]:
    """Plain HTTP to the sidecar of the fake server."""
    with httpx.Client(base_url=fake.url, timeout=PATIENCE) as made:
        yield made
