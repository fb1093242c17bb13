"""A name that stands for replicas, as a headless service does: one that joins it gets its share of
the calls of clients that were there before. No proxy."""

from __future__ import annotations

import sys
import time

import pytest
from balancer import replica_addresses
from conftest import _path
from fleet import PATIENT, Caller, Fleet, await_progress
from harness import await_true
from name_server import NameServer

NAME = "longwave-headless.test"
# Seconds after which the server closes a connection; in production 300.
AGE = 2
# What the clients leave between two look-ups of a name, at least.
LOOK_UPS_APART = 5


@pytest.fixture(scope="session")
def replica_client() -> str:
    return _path("LONGWAVE_REPLICA_CLIENT", "tests/integration/replica_client")


def test_a_replica_that_joins_the_name_gets_its_share(fake_program, replica_client):
    addresses = replica_addresses()
    hosts = [address.partition(":")[0] for address in addresses]
    port = addresses[0].rpartition(":")[2]
    flags = (PATIENT, f"--max_connection_age={AGE}")
    with NameServer(NAME, hosts[:2]) as names, Fleet(
        fake_program, *flags, addresses=addresses
    ) as fleet:
        target = f"dns://127.0.0.1:{names.port}/{NAME}:{port}"
        with Caller(
            replica_client, target, unary=6, streams=1, unary_tokens=1000, stream_seconds=3
        ) as caller:
            await_progress(fleet, 60)
            served = lambda: [
                server.metric("longwave_requests_total", code="OK", method="Encode")
                for server in fleet.servers
            ]
            assert min(served()[:2]) > 0
            assert served()[2] == 0, "nobody knows it"
            names.hosts = hosts
            joined = time.monotonic()
            await_true(lambda: served()[2] > 0, "it gets no calls", pause=0.05)
            found = time.monotonic() - joined
            before = served()
            await_progress(fleet, 150)
            gained = [after - old for after, old in zip(served(), before, strict=True)]
            names.hosts = hosts[1:]  # and one that leaves it, and drains, is missed by nobody
            assert fleet.drain(0) == 0
            await_progress(fleet, 60)
            result = caller.result()
    share = gained[2] / sum(gained)
    print(f"found after {found:.1f} s, share {share:.2f}, look-ups {names.queries}",
          file=sys.stderr)
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == 0, (kind, result["errors"])
    # A connection's end, the time between look-ups, and much more that a busy machine may add.
    assert found < AGE + LOOK_UPS_APART + 20
    assert 0.15 < share < 0.55
