#!/usr/bin/env python3
"""Measures what a replica costs those around it: memory of connections and of health watches, size and
time of a scrape. The constants of CAPACITY.md.

    python3 deploy/scaling/measure.py --server build/release/server/longwave-fake-server [--connections N]

Starts the fake server on loopback, prints one JSON object, stops it. Needs grpcio and
grpcio-health-checking.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import socket
import statistics
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "integration"))

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, SETTINGS_ACK = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
SCRAPES = 50


def connect(port: int) -> socket.socket:
    """An HTTP/2 connection without calls, as an idle client has it."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=60)
    peer.sendall(PREFACE + SETTINGS)
    got = b""
    while SETTINGS_ACK not in got:  # the server has taken ours
        piece = peer.recv(4096)
        if not piece:
            sys.exit("measure: the server closed a connection")
        got += piece
    peer.sendall(SETTINGS_ACK)
    return peer


def scrapes(server) -> dict:
    times, text = [], ""
    for _ in range(SCRAPES):
        begin = time.monotonic()
        text = server.scrape()
        times.append(time.monotonic() - begin)
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    port = server.await_event("listening")["metrics_port"]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(asked, timeout=60) as reply:
        compressed = len(reply.read())
    return {
        "series": series,
        "scrape_bytes": len(text.encode()),
        "scrape_bytes_gzip": compressed,
        "scrape_ms_median": round(1e3 * statistics.median(times), 1),
    }


def watches(server, count: int) -> dict:
    """How many clients that watch health one server takes, and what a watch with its connection costs."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    request = health_pb2.HealthCheckRequest(service="longwave.v1.EncoderService")
    before = server.resident_bytes()
    calls = []
    refused: set[str] = set()
    for _ in range(count):
        channel = server.channel()
        call = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=600)
        try:
            next(call)
            health_pb2_grpc.HealthStub(channel).Check(request)  # the end of a refused one has come
            if not call.is_active():
                next(call)
        except grpc.RpcError as error:
            refused.add(error.code().name)
        calls.append((channel, call))
    cost = (server.resident_bytes() - before) / count
    held = sum(call.is_active() for _, call in calls)
    for channel, call in calls:
        call.cancel()
        channel.close()
    return {"watches_asked": count, "watches_held": held, "others": sorted(refused),
            "kib_a_watch_and_connection": round(cost / 1024, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="longwave-fake-server")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--watches", type=int, default=300)
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = arguments.connections + 1000
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    from harness import Server

    with Server(arguments.server).ready() as server:
        found = scrapes(server)
        [peer.close() for peer in [connect(server.port) for _ in range(50)]]  # warm
        before = server.resident_bytes()
        cpu = server.cpu_seconds()
        peers = [connect(server.port) for _ in range(arguments.connections)]
        found["connections"] = len(peers)
        found["kib_a_connection"] = round(
            (server.resident_bytes() - before) / len(peers) / 1024, 1)
        found["ms_of_processor_a_connection"] = round(
            1e3 * (server.cpu_seconds() - cpu) / len(peers), 3)
        for peer in peers:
            peer.close()
    with Server(arguments.server).ready() as server:  # whose memory nothing else has stirred
        found.update(watches(server, arguments.watches))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
