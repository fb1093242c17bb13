#!/usr/bin/env python3
"""How much memory does a server need for its longest sequence?

Starts a server, sends one EncodeStream whose token rows all come back, and reads them slowly. The
server's largest resident set has to stay below

  4 x tokens x hidden x 4 bytes + 1 GiB:

x, q, k and v of every token once, and all else that the process is. The rows are fp32, so that the
reply is as large as it can be. After --seconds of reading the call is cancelled, since by then the
peak is past: use --seconds 0 to read all of it (1 GiB at 1 MB/s takes a quarter of an hour).

  memory.py --server build/release/server/longwave-server --model build/release/models/default
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import grpc
from service import long_messages, model_pb2, service_grpc

MIB = 1 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def largest_resident_bytes(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmHWM of process {pid}")


def wait_until_ready(stub, server: subprocess.Popen, seconds: float):
    end = time.monotonic() + seconds
    while True:
        try:
            return stub.GetModel(
                model_pb2.GetModelRequest(), timeout=max(1, end - time.monotonic()), wait_for_ready=True
            ).model
        except grpc.RpcError as error:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"memory: the server did not come up: {error}") from None
            threading.Event().wait(0.2)


def read_slowly(stub, tokens: int, rate: float, seconds: float) -> tuple[int, int, float]:
    """Rows and bytes that were read, and the seconds until the first of them came."""
    begin = time.monotonic()
    first = None
    rows = size = 0
    call = stub.EncodeStream(long_messages(tokens, "DATA_TYPE_FP32"))
    pause = threading.Event()
    for message in call:
        kind = message.WhichOneof("message")
        if kind == "failed":
            raise SystemExit(f"memory: the request failed: {message.failed.message}")
        if kind != "chunk":
            continue
        now = time.monotonic()
        first = now if first is None else first
        rows += message.chunk.embeddings.rows
        size += message.ByteSize()
        if seconds > 0 and now - first > seconds:
            call.cancel()
            break
        pause.wait(max(0.0, first + size / rate - now))
    if first is None:
        raise SystemExit("memory: no rows came")
    return rows, size, first - begin


def measure(options, server: subprocess.Popen, port: int) -> dict:
    channel = grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", 8 * MIB)]
    )
    stub = service_grpc.EncoderServiceStub(channel)
    model = wait_until_ready(stub, server, 120)
    idle = largest_resident_bytes(server.pid)
    rows, size, wait = read_slowly(stub, options.tokens, options.rate, options.seconds)
    peak = largest_resident_bytes(server.pid)
    bound = 4 * options.tokens * model.dim * 4 + (1 << 30)
    return {
        "tokens": options.tokens,
        "hidden": model.dim,
        "idle_bytes": idle,
        "peak_bytes": peak,
        "bound_bytes": bound,
        "rows_read": rows,
        "bytes_read": size,
        "rate_bytes_per_second": options.rate,
        "seconds_to_first_row": wait,
        "pass": peak <= bound,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", required=True, help="the program")
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1e6, help="bytes read a second")
    parser.add_argument("--seconds", type=float, default=60, help="of reading; 0: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    port = free_port()
    server = subprocess.Popen(
        [
            options.server,
            f"--model={options.model}",
            f"--address=127.0.0.1:{port}",
            "--metrics_address=127.0.0.1:0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        result = measure(options, server, port)
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['tokens']} tokens, {result['hidden']} wide: "
            f"peak {result['peak_bytes'] / MIB:.0f} MiB (idle {result['idle_bytes'] / MIB:.0f}), "
            f"bound {result['bound_bytes'] / MIB:.0f} MiB: "
            f"{'held' if result['pass'] else 'BROKEN'}; "
            f"{result['rows_read']} rows read, the first after {result['seconds_to_first_row']:.1f} s"
        )
    return 0 if result["pass"] else 1


if __name__ == "__main__":
    sys.exit(main())
