"""Server processes for tests: started on free ports, known to serve, and ended.

tests/integration/harness.py does it for tests that speak the API by generated stubs; those live in
a package `longwave` too, so a process can have either them or the client.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

# Long enough for a loaded machine; only a failing test waits for it.
PATIENCE = 60.0


def await_true(predicate: Callable[[], bool], what: str) -> None:
    """Waits for what no event tells of. `what` says what has not come about if it never does."""
    waiting = threading.Event()
    deadline = time.monotonic() + PATIENCE
    while not predicate():
        assert time.monotonic() < deadline, what
        waiting.wait(0.01)


class Server:
    """One server process. As a context manager it ends with its block, whatever happens there."""

    def __init__(self, program: str, *flags: str, env: dict[str, str] | None = None) -> None:
        given = {flag.partition("=")[0] for flag in flags}
        free = [f"--{name}=127.0.0.1:0" for name in ("address", "metrics_address")]
        command = [program, *(flag for flag in free if flag.partition("=")[0] not in given), *flags]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.lines: list[str] = []
        self._events: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("{"):
                    entry = json.loads(line)
                    self._events[entry["event"]] = entry
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def await_event(self, name: str) -> dict[str, Any]:
        """The log's latest entry of that name; waits for the first."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._events or self._ended, PATIENCE)
            assert name in self._events, f"no event {name!r} in:\n" + "\n".join(self.lines[-20:])
            return self._events[name]

    def ready(self) -> Server:
        """The server, once it serves. One that does not get there is ended: nobody else would."""
        try:
            self.await_event("serving")
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def port(self) -> int:
        return int(self.await_event("listening")["port"])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        """The end of a server that may have ended already."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def cpu_seconds(self) -> float:
        """Of all its threads so far."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that have these labels."""
        url = f"http://127.0.0.1:{self.await_event('listening')['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
            text = reply.read().decode()
        total = 0.0
        for line in text.splitlines():
            match = re.fullmatch(r"([a-zA-Z_:]\w*)(?:\{(.*)\})? (\S+)", line)
            if match is None or match.group(1) != name:
                continue
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
            if all(found.get(key) == value for key, value in labels.items()):
                total += float(match.group(3))
        return total

    def await_metric(self, name: str, wanted: Callable[[float], bool], **labels: str) -> None:
        """Waits until a metric satisfies `wanted`."""
        await_true(
            lambda: wanted(self.metric(name, **labels)),
            f"{name} {labels} is not as wanted",
        )
