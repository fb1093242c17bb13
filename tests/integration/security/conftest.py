"""Authorities, the files of a mounted volume, and servers that are started with them."""

from __future__ import annotations

import pytest
from certificates import Authority, Volume
from secure_server import KEY, OTHER_KEY, SecureServer, tenants


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger") / "ca")


@pytest.fixture
def volume(tmp_path, authority) -> Volume:
    return Volume(tmp_path / "tls", authority.issue())


@pytest.fixture
def start(fake_program):
    servers = []

    def begin(*flags: str, **access) -> SecureServer:
        servers.append(SecureServer(fake_program, *flags, **access))
        return servers[-1].ready()

    yield begin
    for server in servers:
        # Killed, since leaving in good order takes the metrics port two seconds. The tests of the log
        # stop theirs and look at the exit code.
        if server.process.poll() is None:
            server.process.kill()
        server.wait()


@pytest.fixture
def start_tls(start, volume, authority):
    def begin(*flags: str, pair=None) -> SecureServer:
        files = [f"--tls_certificate={volume.path}/tls.crt", f"--tls_key={volume.path}/tls.key"]
        flags = (*files, "--reload_interval=0.02", *flags)
        return start(*flags, credentials=authority.credentials(pair))

    return begin


@pytest.fixture
def start_with_keys(start, tmp_path):
    def begin(*flags: str) -> SecureServer:
        path = tmp_path / "tenants.json"
        path.write_text(tenants(canary=KEY, other=OTHER_KEY))
        return start(f"--tenants={path}", "--reload_interval=0.02", *flags, key=KEY)

    return begin
