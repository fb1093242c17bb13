"""Certificates for tests, made by the openssl program: a root and what it signs, for any time."""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import subprocess

import grpc

_CONFIG = """
[ca]
default_ca = test
[test]
dir = {folder}
database = $dir/index
new_certs_dir = $dir
serial = $dir/serial
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: pathlib.Path, which: str = "both") -> None:
        folder.mkdir(exist_ok=True)
        if which in ("both", "certificate"):
            (folder / "tls.crt").write_bytes(self.certificate)
        if which in ("both", "key"):
            (folder / "tls.key").write_bytes(self.key)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _new_key(path: pathlib.Path) -> None:
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))


class Authority:
    """A root of its own."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        folder.mkdir()
        _new_key(folder / "root.key")
        _openssl(
            *["req", "-x509", "-new", "-key", str(folder / "root.key"), "-days", "2"],
            *["-subj", "/CN=root", "-out", str(folder / "root.crt")],
        )
        (folder / "config").write_text(_CONFIG.format(folder=folder))
        (folder / "index").touch()
        (folder / "serial").write_text("01")
        self.root = (folder / "root.crt").read_bytes()
        self._count = 0

    def issue(self, starts_in_days: float = -1, ends_in_days: float = 1) -> Pair:
        """A certificate for 127.0.0.1, of servers and clients alike."""
        self._count += 1
        stem = self._folder / f"leaf{self._count}"
        key, request, certificate = (stem.with_suffix(s) for s in (".key", ".csr", ".crt"))
        _new_key(key)
        _openssl(
            *["req", "-new", "-key", str(key), "-subj", "/CN=leaf", "-out", str(request)],
        )
        now = datetime.datetime.now(datetime.timezone.utc)
        dates = [
            (now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")
            for days in (starts_in_days, ends_in_days)
        ]
        _openssl(
            *["ca", "-batch", "-notext", "-config", str(self._folder / "config")],
            *["-cert", str(self._folder / "root.crt"), "-keyfile", str(self._folder / "root.key")],
            *["-startdate", dates[0], "-enddate", dates[1], "-extensions", "leaf"],
            *["-in", str(request), "-out", str(certificate)],
        )
        return Pair(certificate.read_bytes(), key.read_bytes())

    def credentials(self, pair: Pair | None = None) -> grpc.ChannelCredentials:
        """What trusts this root, and shows `pair`."""
        if pair is None:
            return grpc.ssl_channel_credentials(self.root)
        return grpc.ssl_channel_credentials(self.root, pair.key, pair.certificate)


class Volume:
    """A folder as Kubernetes mounts it: files behind `..data`, which is swapped as a whole."""

    def __init__(self, path: pathlib.Path, pair: Pair):
        self.path = path
        self._count = 0
        path.mkdir()
        self.swap(pair)
        for name in ("tls.crt", "tls.key"):
            (path / name).symlink_to(f"..data/{name}")

    def swap(self, pair: Pair) -> None:
        self._count += 1
        pair.write(self.path / f"..{self._count}")
        (self.path / "..next").symlink_to(f"..{self._count}")
        os.rename(self.path / "..next", self.path / "..data")

    def tamper(self, name: str, content: bytes | None) -> None:
        """Writes into the folder in use, without care; None removes."""
        file = self.path / "..data" / name
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(content)
