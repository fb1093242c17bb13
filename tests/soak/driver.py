"""Servers, the load generator and what /proc says of a process, for all parts of the soak."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import subprocess
import threading
import time
from typing import Iterator

import rows
from harness import Server

# The fake engine of the tables: a call of 512 tokens takes 5.12 ms, so about 195 calls a second are
# its capacity, and ten times that is what one core can offer. A slice is half of a call, about as on
# the real engine.
TOKENS = 512
SECONDS_PER_TOKEN = 1e-5
DEADLINE = 0.1
FAKE_ENGINE = {
    "LONGWAVE_FAKE_BASE_SECONDS": "0",
    "LONGWAVE_FAKE_SECONDS_PER_TOKEN": repr(SECONDS_PER_TOKEN),
    "LONGWAVE_FAKE_TOKENS_PER_SLICE": "256",
}


def pin(pid: int, processors: set[int]) -> None:
    """Keeps a process and all its threads to some processors."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), processors)


def processors() -> tuple[set[int], set[int]]:
    """Those of the generator and those of the server; the same ones if there is one only."""
    ours = sorted(os.sched_getaffinity(0))
    return ({ours[-1]}, set(ours[:-1])) if len(ours) > 1 else ({ours[0]}, {ours[0]})


@contextlib.contextmanager
def server(program: str, *flags: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """A ready server that is stopped in the end."""
    running = Server(program, *flags, env=env)
    try:
        yield running.ready()
    finally:
        if running.process.poll() is None:
            running.stop()


@contextlib.contextmanager
def fake_server(*flags: str, **script: str) -> Iterator[Server]:
    """A server around the fake engine, on processors of its own where there are several."""
    env = {**FAKE_ENGINE, **{f"LONGWAVE_FAKE_{key.upper()}": value for key, value in script.items()}}
    with server(rows.program("LONGWAVE_FAKE_SERVER"), *flags, env=env) as running:
        pin(running.process.pid, processors()[1])
        yield running


@contextlib.contextmanager
def real_server(*flags: str) -> Iterator[Server]:
    model = rows.program("LONGWAVE_MODEL")
    with server(rows.program("LONGWAVE_SERVER"), f"--model={model}", *flags) as running:
        yield running


def load(running: Server, *arguments: str, pinned: bool = True, attempts: int = 3) -> dict:
    """The report of `longwave load --json`. A run that is not valid is made again; NotMeasured if
    that does not help. Replies that contradict each other are an error."""
    command = [rows.program("LONGWAVE_CLI"), "load", f"--target=127.0.0.1:{running.port}"]
    ours = processors()[0]
    prepare = (lambda: os.sched_setaffinity(0, ours)) if pinned else None
    for attempt in range(attempts):
        done = subprocess.run(
            [*command, *arguments, "--json", "--quiet"],
            capture_output=True, text=True, check=False, preexec_fn=prepare,
        )
        if done.returncode != 6:
            break
    if done.returncode == 6:
        raise rows.NotMeasured(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"longwave load: exit code {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def capacity(running: Server, *arguments: str, step: float, **options) -> float:
    """Calls a second that the server can do."""
    report = load(
        running, "--find-capacity", f"--seconds={step:g}", "--rate=100", *arguments, **options
    )
    return report["capacity_per_second"]


class Process:
    """What /proc says of a process."""

    def __init__(self, pid: int):
        self._folder = pathlib.Path(f"/proc/{pid}")

    def cpu_seconds(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        text = (self._folder / "status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def descriptors(self) -> int:
        return len(list((self._folder / "fd").iterdir()))

    def threads(self) -> int:
        return len(list((self._folder / "task").iterdir()))


class Sampler:
    """Resident bytes of a process again and again, while the block runs."""

    def __init__(self, process: Process, every: float):
        self._process = process
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds: list[float] = []
        self.bytes: list[int] = []

    def _run(self) -> None:
        begin = time.monotonic()
        while True:
            self.seconds.append(time.monotonic() - begin)
            self.bytes.append(self._process.resident_bytes())
            if self._stop.wait(self._every):
                return

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._stop.set()
        self._thread.join()
