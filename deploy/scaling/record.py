#!/usr/bin/env python3
"""Records what a real server's gauge does under a load that rises above its capacity and falls again.

    python3 deploy/scaling/record.py --server build/release/server/longwave-fake-server \\
        --cli build/release/client/cli/longwave --out deploy/scaling/recorded.json

Starts the server on loopback, offers load with `longwave load`, reads /metrics once a second, stops
the server. The test replays the recording. Two minutes. With --model the server is longwave-server,
which needs a machine without neighbours: their work changes its rate, which a recording takes as
constant. The fake one is the whole server around an engine that waits 0.1 s a call.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# Seconds, and the rate as a share of capacity.
PHASES = [(20, 0.4), (25, 1.7), (30, 0.3), (20, 0.8), (15, 0.2)]
TOKENS = 1024
PATIENCE = 60.0


class Server:
    """longwave-server with ports of its own; its log's line says which."""

    def __init__(self, program: pathlib.Path, model: pathlib.Path | None, log: pathlib.Path):
        command = [program, "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0",
                   "--max_batch_sequences=1"]
        if model is not None:
            command.append(f"--model={model}")
        self._log = log.open("w")
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "LONGWAVE_FAKE_BASE_SECONDS": "0.1"})
        self._events: dict[str, dict] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        listening = self._await("listening")
        self.port, self._metrics = listening["port"], listening["metrics_port"]
        self._await("serving")

    def _read(self) -> None:
        for line in self.process.stderr:
            self._log.write(line)
            if line.startswith("{"):
                entry = json.loads(line)
                with self._changed:
                    self._events[entry["event"]] = entry
                    self._changed.notify_all()
        with self._changed:
            self._events["ended"] = {}
            self._changed.notify_all()

    def _await(self, event: str) -> dict:
        with self._changed:
            self._changed.wait_for(lambda: event in self._events or "ended" in self._events, PATIENCE)
            if event not in self._events:
                sys.exit(f"record: the server did not get to {event!r}: see {self._log.name}")
            return self._events[event]

    def sample(self) -> dict[str, float]:
        url = f"http://127.0.0.1:{self._metrics}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
            text = reply.read().decode()

        def total(name: str, labels: str = "") -> float:
            found = re.findall(rf"^{name}(?:{{[^}}]*{labels}[^}}]*}})? (\S+)$", text, re.M)
            return sum(map(float, found))

        return {
            "wait": total("longwave_expected_wait_seconds"),
            "busy": total("longwave_slice_seconds_sum"),
            "ended": total("longwave_requests_total", 'method="Encode"'),
            "refused": total("longwave_admission_total", 'decision="shed"'),
        }

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self._log.close()


def offer(program: pathlib.Path, port: int, rate: str) -> dict:
    done = subprocess.run(
        [program, "load", f"--target=127.0.0.1:{port}", f"--tokens={TOKENS}", f"--rate={rate}",
         "--warmup=0", "--max-lateness=1", "--json", "--quiet"],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"record: longwave load: {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=pathlib.Path, required=True)
    parser.add_argument("--cli", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, help="of longwave-server")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.server, arguments.model, pathlib.Path(folder) / "log")
        try:
            content = record(server, arguments.cli)
        finally:
            server.stop()
    arguments.out.write_text(json.dumps(content) + "\n")
    print(json.dumps(content["about"]))
    return 0


def record(server: Server, program: pathlib.Path) -> dict:
    before = server.sample()
    offer(program, server.port, "4@10")
    after = server.sample()
    call = (after["busy"] - before["busy"]) / max(1, after["ended"] - before["ended"])
    capacity = 1 / call
    plan = "+".join(f"{share * capacity:.3g}@{seconds}" for seconds, share in PHASES)
    samples = [server.sample()]
    worker = threading.Thread(target=offer, args=(program, server.port, plan))
    begin = time.monotonic()
    worker.start()
    while worker.is_alive():
        worker.join(max(0.0, begin + len(samples) - time.monotonic()))
        if worker.is_alive():
            samples.append(server.sample())
    busy = samples[-1]["busy"] - samples[0]["busy"]
    refused = samples[-1]["refused"] - samples[0]["refused"]
    ended = samples[-1]["ended"] - samples[0]["ended"]
    load = [share for seconds, share in PHASES for _ in range(seconds)]
    # As it was under this load, beside the neighbours that it had.
    real_call = busy / max(1, ended - refused)
    return {
        "about": {
            "tokens": TOKENS,
            "call_seconds_alone": round(call, 5),
            "call_seconds": round(real_call, 5),
            "calls": int(ended),
            "refused": int(refused),
            "max_wait_seconds": 2,
        },
        "load": [round(share * real_call / call, 4) for share in load],
        "wait": [round(sample["wait"], 4) for sample in samples],
        "refused": [int(b["refused"] - a["refused"]) for a, b in zip(samples, samples[1:])],
    }


if __name__ == "__main__":
    sys.exit(main())
