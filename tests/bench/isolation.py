#!/usr/bin/env python3
"""Does a short request wait for a long one?

While one long EncodeStream runs, short unary requests come at fixed times. Two promises are
measured, and the exit status says whether both held:

  the short ones' p99 is at most 3 x max_slice_seconds + 2 x their idle latency (median);
  the long one takes at most 1.5 x its time alone.

Latencies count from the moment a request was due, so a request that waits for a free thread counts
in full. Start a server, then: isolation.py --target 127.0.0.1:50051
"""

import argparse
import concurrent.futures
import json
import statistics
import sys
import threading
import time

import grpc
from service import encode_pb2, long_messages, model_pb2, service_grpc

LATENESS_LIMIT = 0.05  # a generator that is later than this measures itself


def run_long(stub, tokens: int, running: threading.Event) -> float:
    """Seconds from the Open to the Done."""
    start = time.monotonic()
    rows = 0
    for message in stub.EncodeStream(long_messages(tokens)):
        kind = message.WhichOneof("message")
        if kind == "accepted":
            running.set()
        elif kind == "chunk":
            rows += message.chunk.embeddings.rows
        elif kind == "failed":
            sys.exit(f"isolation: the long request failed: {message.failed.message}")
    if rows != tokens:
        sys.exit(f"isolation: {rows} of {tokens} rows came")
    return time.monotonic() - start


def run_short(stub, count: int, rate: float, tokens: int, go_on) -> tuple[list[float], float]:
    """Latency of each request since it was due, and how late the latest was sent."""
    message = encode_pb2.EncodeRequest()
    message.tokens.ids = bytes(i % 256 for i in range(tokens))
    message.tokens.id_width = encode_pb2.ID_WIDTH_U8
    lateness = 0.0

    def call(due: float) -> float:
        nonlocal lateness
        lateness = max(lateness, time.monotonic() - due)
        stub.Encode(message, timeout=120)
        return time.monotonic() - due

    pause = threading.Event()
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        calls = []
        for number in range(count):
            due = begin + number / rate
            pause.wait(max(0.0, due - time.monotonic()))
            if not go_on():
                break
            calls.append(pool.submit(call, due))
        return [result.result() for result in calls], lateness


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(options) -> dict:
    stub = service_grpc.EncoderServiceStub(grpc.insecure_channel(options.target))
    model = stub.GetModel(model_pb2.GetModelRequest(), timeout=30).model

    idle, _ = run_short(stub, 40, 10, options.short_tokens, lambda: True)
    idle_latency = statistics.median(idle)
    alone = run_long(stub, options.long_tokens, threading.Event())

    beside = 0.0
    latencies: list[float] = []
    lateness = 0.0
    # A long one is over before enough short ones have come: begin the next.
    while len(latencies) < options.count:
        running = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            other_stub = service_grpc.EncoderServiceStub(
                grpc.insecure_channel(
                    options.target, options=[("grpc.use_local_subchannel_pool", 1)]
                )
            )
            long_one = pool.submit(run_long, other_stub, options.long_tokens, running)
            running.wait(60)
            missing = options.count - len(latencies)
            more, late = run_short(
                stub, missing, options.rate, options.short_tokens, lambda: not long_one.done()
            )
            latencies += more
            lateness = max(lateness, late)
            beside = max(beside, long_one.result())

    bound = 3 * model.max_slice_seconds + 2 * idle_latency
    result = {
        "target": options.target,
        "device": model.device,
        "long_tokens": options.long_tokens,
        "short_tokens": options.short_tokens,
        "short_requests": len(latencies),
        "rate": options.rate,
        "max_slice_seconds": model.max_slice_seconds,
        "idle_seconds": idle_latency,
        "short_p50_seconds": percentile(latencies, 0.50),
        "short_p99_seconds": percentile(latencies, 0.99),
        "short_max_seconds": max(latencies),
        "short_bound_seconds": bound,
        "long_alone_seconds": alone,
        "long_beside_seconds": beside,
        "long_ratio": beside / alone,
        "generator_lateness_seconds": lateness,
    }
    result["short_ok"] = result["short_p99_seconds"] <= bound
    result["long_ok"] = result["long_ratio"] <= options.max_ratio
    result["valid"] = lateness <= LATENESS_LIMIT
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--long_tokens", type=int, default=1_000_000)
    parser.add_argument("--short_tokens", type=int, default=128)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2.0, help="short requests a second")
    parser.add_argument("--max_ratio", type=float, default=1.5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['short_requests']} requests of {options.short_tokens} tokens at "
            f"{options.rate:g}/s beside {options.long_tokens} tokens on {result['device']}\n"
            f"  short: idle {result['idle_seconds'] * 1e3:.1f} ms, "
            f"p50 {result['short_p50_seconds'] * 1e3:.1f} ms, "
            f"p99 {result['short_p99_seconds'] * 1e3:.1f} ms, "
            f"bound {result['short_bound_seconds'] * 1e3:.1f} ms: "
            f"{'held' if result['short_ok'] else 'BROKEN'}\n"
            f"  long: alone {result['long_alone_seconds']:.1f} s, "
            f"beside {result['long_beside_seconds']:.1f} s, "
            f"ratio {result['long_ratio']:.2f}, bound {options.max_ratio:g}: "
            f"{'held' if result['long_ok'] else 'BROKEN'}"
        )
    if not result["valid"]:
        print(
            f"isolation: the generator was {result['generator_lateness_seconds'] * 1e3:.0f} ms "
            "late, so the latencies are its own: use a quieter machine",
            file=sys.stderr,
        )
        return 3
    return 0 if result["short_ok"] and result["long_ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
