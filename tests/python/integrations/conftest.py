"""What the tests of the integrations share: a real server, a client of it, and texts."""

from __future__ import annotations

import os

import pytest
from servers import Server

import longwave

# Frameworks that would report to their makers are told not to before they are imported.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(scope="session")
def target(real_program, model_folder):
    """Address of a server of the default model: 448 values a vector, ids are bytes."""
    with Server(real_program, f"--model={model_folder}").ready() as server:
        yield server.address


@pytest.fixture(scope="session")
def client(target):
    with longwave.Client(target) as made:
        yield made


@pytest.fixture(scope="session")
def texts():
    """60 different texts of 15 to 400 bytes."""
    subjects = ["the river", "a dam", "nobody", "the Śląsk archive", "every bridge"]
    verbs = ["rose", "broke", "had been expected", "was measured"]
    ends = [".", ", and the town slept.", " in spring; " + "the water stood for weeks. " * 12]
    return [f"{subject} {verb}{end}" for subject in subjects for verb in verbs for end in ends]
