"""Three replicas of the fake server on ports that they keep, and a client that calls them all the time."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess

from harness import PATIENCE, Server, await_true, own_ports

# A unary call of 2^20 ids takes about a tenth of a second here, and so does a stream's compute.
SCRIPT = {
    "LONGWAVE_FAKE_BASE_SECONDS": "0.03",
    "LONGWAVE_FAKE_SECONDS_PER_TOKEN": "5e-8",
    "LONGWAVE_FAKE_TOKENS_PER_SLICE": "65536",
}


# Two replicas with the load of three: a loaded machine would have some calls refused (QUEUE_FULL) and
# sent again, which is no cost of a replica that has gone.
PATIENT = "--max_wait=60"

# Of the model that replicas have unless told otherwise, and of another one: fingerprint and seed of
# the rows, as replica_client and the fake server take them.
MODEL = ("fake-1", 0)
OTHER_MODEL = ("fake-2", 2)
ROW_SEEDS = ",".join(f"{name}:{seed}" for name, seed in (MODEL, OTHER_MODEL))


def other_model(folder: pathlib.Path) -> str:
    """The flag for a replica with OTHER_MODEL, which is put into the folder."""
    fingerprint, row_seed = OTHER_MODEL
    (folder / "fake").write_text(f"digest {fingerprint}\nrow_seed {row_seed}\n")
    return f"--model={folder}"


class Fleet:
    """Replicas that are killed or drained, and started again where they were."""

    def __init__(
        self, program: str, *flags: str, count: int = 3, env: dict | None = None,
        own: dict[int, str] | None = None, own_env: dict[int, dict] | None = None,
        addresses: list[str] | None = None,
    ):
        """`own` and `own_env` are flags and variables of single replicas; `addresses` are given where
        they must be certain ones."""
        self._program = program
        self._flags = flags
        self._env = {**SCRIPT, **(env or {})}
        self._own = own or {}
        self._own_env = own_env or {}
        if addresses is None:
            host, ports = own_ports(count)
            addresses = [f"{host}:{port}" for port in ports]
        self._addresses = addresses
        self.servers: list[Server] = []

    def _start(self, index: int) -> Server:
        flags = [f"--address={self._addresses[index]}", *self._flags]
        if index in self._own:
            flags.append(self._own[index])
        env = {**self._env, **self._own_env.get(index, {})}
        return Server(self._program, *flags, env=env).ready()

    @property
    def target(self) -> str:
        return "ipv4:" + ",".join(self._addresses)

    def restart(self, index: int) -> None:
        """Starts the replica, which has gone, once more."""
        self.servers[index] = self._start(index)

    def kill(self, index: int) -> None:
        self.servers[index].process.kill()
        self.servers[index].wait()

    def drain(self, index: int) -> int:
        """The exit code."""
        self.servers[index].signal(signal.SIGTERM)
        return self.servers[index].wait()

    def total(self, name: str, **labels: str) -> float:
        """Of a metric, over the replicas that are there."""
        there = [server for server in self.servers if server.process.poll() is None]
        return sum(server.metric(name, **labels) for server in there)

    def __enter__(self) -> Fleet:
        try:
            for index in range(len(self._addresses)):
                self.servers.append(self._start(index))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc) -> None:
        for server in self.servers:
            server.kill()


class Caller:
    """replica_client, running until it is asked for its result."""

    def __init__(self, program: str, target: str, **options):
        flags = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [program, f"--target={target}", *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def result(self) -> dict:
        output, _ = self._process.communicate(timeout=2 * PATIENCE)
        assert self._process.returncode == 0, self._process.returncode
        return json.loads(output)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def await_progress(fleet: Fleet, calls: int, **labels: str) -> None:
    """Until the replicas have answered so many more calls (that have these labels)."""
    name = "longwave_requests_total"
    labels = {"code": "OK", **labels}
    start = fleet.total(name, **labels)
    done = lambda: fleet.total(name, **labels) >= start + calls
    await_true(done, "no progress", pause=0.02)
