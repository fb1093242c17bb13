"""How much time the sidecar adds to a call: python openai_overhead.py [--calls N]

Against the fake server, whose computation takes 1 ms and nothing more, so that the rest is what is
measured. Callers and sidecar share the machine's processors. Median and 99th percentile in
milliseconds, one call after the other; then calls a second of 16 callers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import longwave
import orjson

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from openai_processes import ALIAS, Sidecar
from servers import Server

Call = Callable[[], Awaitable[Any]]
# Opens what a caller needs for itself, and returns what it does again and again.
Way = Callable[[], Awaitable[Call]]
_CALLERS = 16


async def latencies(way: Way, calls: int) -> tuple[float, float]:
    call = await way()
    times = []
    for number in range(calls + calls // 10):
        begin = time.perf_counter()
        await call()
        if number >= calls // 10:  # the first ones open connections
            times.append((time.perf_counter() - begin) * 1000)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


async def rate(way: Way, calls: int) -> float:
    async def caller() -> None:
        call = await way()
        for _ in range(calls // _CALLERS):
            await call()

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return calls // _CALLERS * _CALLERS / (time.perf_counter() - begin)


def through_sidecar(port: int, value: Any, encoding: str) -> Way:
    """Plain HTTP on a connection, since a client library's own time is none of the sidecar's."""
    body = orjson.dumps({"model": ALIAS, "input": value, "encoding_format": encoding})
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )

    async def way() -> Call:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)

        async def call() -> None:
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            length = re.search(rb"content-length: (\d+)", answer)
            assert length is not None
            await reader.readexactly(int(length.group(1)))

        return call

    return way


async def measure(server: Server, sidecar: Sidecar, calls: int) -> None:
    inputs: dict[str, tuple[Any, int]] = {
        "1 text of 100 bytes": ("x" * 100, calls),
        "1 x 10 000 ids": ([number % 1000 for number in range(10_000)], calls // 4),
        "256 texts of 100 bytes": (["x" * 100] * 256, calls // 4),
    }
    print(f"{'input':24} {'way':16} {'p50 ms':>8} {'p99 ms':>8} {'calls/s':>8}")
    async with longwave.AsyncClient(server.address) as client:
        for name, (value, count) in inputs.items():

            async def direct(value: Any = value) -> Call:
                return lambda: client.encode(value)

            ways = {"gRPC": direct}
            for encoding in ("base64", "float"):
                ways[f"sidecar {encoding}"] = through_sidecar(sidecar.port, value, encoding)
            for way, call in ways.items():
                half, most = await latencies(call, count)
                throughput = await rate(call, count)
                print(f"{name:24} {way:16} {half:8.2f} {most:8.2f} {throughput:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800)
    calls = parser.parse_args().calls
    with (
        Server(os.environ["LONGWAVE_FAKE_SERVER"]) as server,
        Sidecar(server.ready().address, f"--model-alias={ALIAS}", "--log-level=info") as sidecar,
    ):
        asyncio.run(measure(server, sidecar, calls))


if __name__ == "__main__":
    main()
