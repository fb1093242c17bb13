"""A real Kubernetes API server on loopback.

There is nothing behind it: no controller, no scheduler, no kubelet. Objects are stored, defaulted,
validated and admitted as in a cluster, and no pod ever runs.
"""

from __future__ import annotations

import base64
import ctypes
import os
import pathlib
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import yaml

import rendering

START_SECONDS = 90
CALL_SECONDS = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def dies_with_its_parent() -> None:
    """Runs in the child before its program: a parent that was killed cannot stop it any more."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def openssl(*arguments: str | pathlib.Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


class ApiServer:
    """etcd and kube-apiserver on loopback, with everything they keep in one folder."""

    def __init__(self, folder: pathlib.Path, logs: pathlib.Path) -> None:
        self.folder = folder
        self.logs = logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self._make_certificates()
        self._write_kubeconfig()

    def _make_certificates(self) -> None:
        self.certificate, key = self.folder / "tls.crt", self.folder / "tls.key"
        openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", "/CN=apiserver", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", self.certificate),
        )
        openssl("genrsa", "-out", self.folder / "accounts.key", "2048")
        (self.folder / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")

    def _run(self, name: str, *command: str) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    preexec_fn=dies_with_its_parent,
                )
            )

    def start(self) -> None:
        store = f"http://127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd",
            rendering.tool("etcd"),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        self._run(
            "kube-apiserver",
            rendering.tool("kube-apiserver"),
            f"--etcd-servers={store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.certificate}",
            f"--tls-private-key-file={self.folder / 'tls.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.0.0.0/20",
            # This plugin refuses pods whose service account is not there. The default one of a
            # namespace is made by the controller manager, which does not run here.
            "--disable-admission-plugins=ServiceAccount",
            # On by default from Kubernetes 1.35. Without it 1.34 drops the field, as it would in a
            # cluster where the gate is off.
            "--feature-gates=ImageVolume=true",
        )
        self._await_ready()

    def _await_ready(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.certificate))
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/readyz",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        end = time.monotonic() + START_SECONDS
        while True:
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended: see {self.logs}")
            try:
                with urllib.request.urlopen(request, timeout=5, context=trust):
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > end:
                    raise RuntimeError(
                        f"not ready after {START_SECONDS} s: see {self.logs}"
                    ) from error
            time.sleep(0.1)  # readiness can only be asked for

    def _write_kubeconfig(self) -> None:
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority-data": authority,
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))

    def stop(self) -> None:
        """The server before its store, so that it does not complain."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(
        self, *command: str | pathlib.Path, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A program that talks to this server, and reads and writes nothing of the user's."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
        }
        return subprocess.run(
            [rendering.tool(str(command[0])), *map(str, command[1:])],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=environment,
            timeout=CALL_SECONDS,
        )
