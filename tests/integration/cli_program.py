"""The program `longwave` as tests call it."""

from __future__ import annotations

import os
import subprocess

from harness import PATIENCE, ROOT

CLI = os.environ.get("LONGWAVE_CLI", str(ROOT / "build" / "release" / "client/cli/longwave"))


def target(server) -> str:
    return f"--server=127.0.0.1:{server.port}"


def run(*arguments: str, data: bytes = b"", code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [CLI, *arguments], input=data, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code, done.stderr.decode()
    return done
