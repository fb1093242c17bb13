"""What the Python client adds to a call: its own CPU time beside the call's wall time.

    LONGWAVE_SERVER=... LONGWAVE_MODEL=... python tests/bench/python_client.py [--json]

Starts the server on a free port, encodes 10 000 short texts of 20 to 120 bytes and one text of
1 MB, and prints for each the wall seconds, the CPU seconds of this process (all its threads, gRPC's
among them), their share of the wall time, and what the server's process used meanwhile. The client
is to take less than 5 % of a call.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import longwave  # noqa: E402
from servers import Server  # noqa: E402

BAR = 0.05


def short_texts(count: int) -> list[str]:
    rng = random.Random(1)
    letters = "etaoin shrdlu ETAOIN,.áß "
    return ["".join(rng.choices(letters, k=rng.randint(20, 110))) for _ in range(count)]


def measure(name: str, server: Server, call: Callable[[], Any], runs: int) -> dict[str, Any]:
    """The run with the median share."""
    found = []
    for _ in range(runs):
        wall, own, theirs = time.perf_counter(), time.process_time(), server.cpu_seconds()
        call()
        wall, own = time.perf_counter() - wall, time.process_time() - own
        found.append(
            {
                "call": name,
                "wall_seconds": round(wall, 4),
                "client_cpu_seconds": round(own, 4),
                "client_share": round(own / wall, 4),
                "server_cpu_seconds": round(server.cpu_seconds() - theirs, 2),
            }
        )
    return sorted(found, key=lambda row: row["client_share"])[len(found) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    texts = short_texts(options.texts)
    document = "".join(short_texts(int(options.megabytes * 2**20 / 60)))
    document = document.encode()[: int(options.megabytes * 1e6)].decode(errors="ignore")
    model = f"--model={os.environ['LONGWAVE_MODEL']}"
    with Server(os.environ["LONGWAVE_SERVER"], model).ready() as server:
        with longwave.Client(server.address, batch_tokens=options.batch_tokens) as client:
            client.encode(texts[:100])
            calls: dict[str, Callable[[], Any]] = {
                f"encode {len(texts)} texts": lambda: client.encode(texts),
                f"encode_iter {len(texts)} texts": lambda: list(client.encode_iter(texts)),
                f"encode 1 text of {len(document.encode())} bytes": lambda: client.encode(document),
            }
            rows = [measure(name, server, call, options.runs) for name, call in calls.items()]
    for row in rows:
        if options.json:
            print(json.dumps(row))
        else:
            own, theirs = row["client_cpu_seconds"], row["server_cpu_seconds"]
            print(
                f"{row['call']:32} {row['wall_seconds']:8.3f} s; client {own:.3f} s of CPU, "
                f"{row['client_share']:.1%} of it (bar {BAR:.0%}); server {theirs:.2f} s of CPU"
            )
    return 0 if all(row["client_share"] < BAR for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
