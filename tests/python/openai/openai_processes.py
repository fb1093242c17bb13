"""Processes that the tests here start beside Longwave servers: the sidecar, Envoy."""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from servers import PATIENCE

ALIAS = "text-embedding-3-small"


class Process:
    """A process whose standard error is read by a thread: lines of JSON are events. As a context
    manager it ends with its block, whatever happens there."""

    def __init__(self, command: Sequence[str], cwd: pathlib.Path | None = None) -> None:
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd)
        self.lines: list[str] = []
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def await_event(
        self, name: str, matches: Callable[[dict[str, Any]], bool] = lambda event: True
    ) -> dict[str, Any]:
        """The first event of that name that matches; waits for it."""

        def find() -> dict[str, Any] | None:
            found = (event for event in self.events if event["event"] == name and matches(event))
            return next(found, None)

        with self._changed:
            self._changed.wait_for(lambda: find() or self._ended, PATIENCE)
            event = find()
        assert event, f"no event {name!r} in:\n" + "".join(self.lines[-20:])
        return event

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def sidecar_command(server: str, *flags: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "longwave.openai_server",
        f"--server={server}",
        "--port=0",
        "--log-level=debug",
        *flags,
    ]


class Sidecar(Process):
    """longwave-openai, once it listens."""

    def __init__(self, server: str, *flags: str) -> None:
        super().__init__(sidecar_command(server, *flags))
        try:
            self.port: int = self.await_event("listening")["port"]
        except BaseException:
            self.__exit__()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
