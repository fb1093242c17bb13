"""Ray and Spark, local ones, and a real server."""

from __future__ import annotations

import os
import sys

import pytest
from servers import Server

import longwave

# Workers are processes of the same environment. Nobody is told of what runs here.
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


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
    """90 different texts."""
    return [f"the river rose {i} hands" + " and fell again" * (i % 9) for i in range(90)]
