#!/usr/bin/env python3
"""A tenant at ten times its share beside one that stays within it. Fake engine."""

from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import tempfile

import driver
import rows

# Two equal tenants have half of the engine each. B uses 0.3 of its half.
B_SHARE = 0.3


def write_tenants(folder: pathlib.Path) -> pathlib.Path:
    tenants = []
    for name in ("a", "b"):
        key = f"soak-key-of-{name}"
        (folder / f"{name}.key").write_text(key + "\n")
        digest = hashlib.sha256(key.encode()).hexdigest()
        tenants.append({"name": name, "key_sha256": [digest], "share": 1})
    path = folder / "tenants.json"
    path.write_text(json.dumps({"tenants": tenants}))
    return path


def measure(part: rows.Part) -> None:
    seconds = max(6.0, min(60.0, part.seconds / 5))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with driver.fake_server(f"--tenants={write_tenants(folder)}") as server:
            common = [f"--tokens={driver.TOKENS}", f"--deadline={driver.DEADLINE}"]
            key_b = f"--api-key-file={folder / 'b.key'}"
            capacity = driver.capacity(server, *common, key_b, step=max(1.5, seconds / 10))
            half = capacity / 2
            b = f"--group=name=b,rate={B_SHARE * half:g},api_key_file={folder / 'b.key'}"
            a = f"--group=name=a,rate={10 * half:g},api_key_file={folder / 'a.key'}"
            common += [f"--seconds={seconds:g}"]
            alone = driver.load(server, *common, b)["groups"][0]
            beside, other = driver.load(server, *common, b, a)["groups"]
    detail = {
        "capacity_per_second": capacity, "b_offered": beside["offered"], "b_good": beside["good"],
        "b_endings": {name: value["count"] for name, value in beside["endings"].items()},
        "a_goodput_per_second": other["goodput_per_second"], "a_shed": other["shed"],
    }
    # A call of B's that is refused, or ends too late, is in no percentile: the first row counts it.
    lost = 1 - beside["good"] / beside["offered"]
    part.at_most("tenant A at 10 x its share: B loses", lost * 100, 1, "%", **detail)
    part.at_most(
        "tenant A at 10 x its share: B's p99 / alone",
        beside["latency"]["p99_ms"] / alone["latency"]["p99_ms"], 1.5, "",
        alone_p99_ms=alone["latency"]["p99_ms"], beside_p99_ms=beside["latency"]["p99_ms"],
        alone_p50_ms=alone["latency"]["p50_ms"], beside_p50_ms=beside["latency"]["p50_ms"],
    )


if __name__ == "__main__":
    sys.exit(rows.main("fairness", measure))
