"""A name server for one name, whose addresses change when told: the headless service of a test."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading

_A, _IN = 1, 1
_TTL = 1


class NameServer:
    """Answers A queries (RFC 1035) on loopback; other types get an empty answer."""

    def __init__(self, name: str, hosts: list[str]):
        self.hosts = list(hosts)
        self.queries = 0
        self._name = name.rstrip(".").lower()
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, channel = self.request
                channel.sendto(owner._answer(data), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind, _ = struct.unpack_from(">HH", query, at + 1)
        question = query[12 : at + 5]
        known = ".".join(labels).lower() == self._name
        hosts = self.hosts if known and kind == _A else []
        if known and kind == _A:
            self.queries += 1
        flags = 0x8580 | (0 if known else 3)  # an authority's answer; 3: no such name
        header = query[:2] + struct.pack(">HHHHH", flags, 1, len(hosts), 0, 0)
        records = b"".join(
            struct.pack(">HHHIH", 0xC00C, _A, _IN, _TTL, 4) + socket.inet_aton(host)
            for host in hosts
        )
        return header + question + records

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *exc) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
