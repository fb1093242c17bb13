#!/usr/bin/env python3
"""Servers, Prometheus and Alertmanager on loopback, under a staged overload: what the rules, alerts
and the dashboard do with a real load. Started by deploy/local-stack.sh.

Everything that is started here ends with this program, and by its own process number.
"""

from __future__ import annotations

import argparse
import ctypes
import http.server
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from typing import Any, Callable, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "deploy" / "grafana"))
import make_dashboard  # noqa: E402

# All times of the rules are divided by this, since nobody wants to wait for an alert's ten minutes:
# a window of 5 minutes becomes 10 seconds. Scraped every second, that is ten samples.
FACTOR = 30
SCRAPE_SECONDS = 1
# Kept of the time for the last queries and the picture.
END_SECONDS = 15
REPLICAS = 2
# On one core of 2026 a request of 2 048 tokens takes about 0.15 s, so 60 a second are several times
# what two replicas of one thread can do, and 2 a second of mixed lengths are little.
NORMAL = ["--rate=2", "--tokens=128:6+1024:2+4096:1", "--deadline=5"]
OVERLOAD = ["--rate=60", "--tokens=128:1+2048:9", "--deadline=1"]
# Stays on after what it waits for, so that the picture shows it.
LINGER_SECONDS = 8
# Alerts that the overload must fire, and its end must resolve.
EXPECTED = ("LongwaveShedding", "LongwaveErrorBudgetBurnFast")
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# Why a query may have no data here, by what its expression names.
NO_DATA = (
    (r"\b(kube_|container_)", "needs kube-state-metrics or cAdvisor"),
    (r"\bDCGM_", "needs NVIDIA's DCGM exporter"),
    (r"tls_certificate_not_after", "no TLS here"),
    (r"longwave_draining", "nothing was draining"),
    (r"longwave_requests_invalid_total", "nothing was refused for what it asks"),
    (r"^count by \(alertname, severity\) \(ALERTS", "no alert fired"),
)


class Failure(Exception):
    """Something did not come about; its text says what."""


# --- the rules, faster ----------------------------------------------------------------------------


def shorter(number: str, unit: str) -> str:
    """A Prometheus duration divided by FACTOR."""
    return f"{max(1, round(int(number) * SECONDS[unit] * 1000 / FACTOR))}ms"


def faster(rules: str) -> str:
    """The rules with every window, offset and `for` divided by FACTOR, and otherwise as they are."""
    part = r"(\d+)(ms|[smhdw])"
    rules = re.sub(
        rf"\[{part}(?::{part})?\]",
        lambda m: f"[{shorter(m[1], m[2])}{':' + shorter(m[3], m[4]) if m[3] else ''}]",
        rules,
    )
    rules = re.sub(rf"\boffset {part}", lambda m: f"offset {shorter(m[1], m[2])}", rules)
    return re.sub(rf"(?m)^(\s+for: ){part}$", lambda m: m[1] + shorter(m[2], m[3]), rules)


def faster_routes(config: str, receiver: str) -> str:
    """Alertmanager's sample with its waits divided, and with our receiver."""
    part = r"(\d+)(ms|[smhdw])"
    config = re.sub(
        rf"(?m)^(\s+group_(?:wait|interval): ){part}$",
        lambda m: m[1] + shorter(m[2], m[3]),
        config,
    )
    return config.replace("http://127.0.0.1:9095", receiver)


# --- processes ------------------------------------------------------------------------------------


def ends_with_parent() -> None:
    """In the child: if this program is killed outright, so is the child."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Processes:
    """What was started here, and its end."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.running: list[tuple[str, subprocess.Popen]] = []

    def start(self, name: str, *command: str) -> subprocess.Popen:
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=ends_with_parent,
            )
        self.running.append((name, process))
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def check(self) -> None:
        """Servers and watchers must not end by themselves; the load may."""
        for name, process in self.running:
            if not name.startswith("load") and process.poll() is not None:
                raise Failure(
                    f"{name} ended with code {process.returncode}:\n{self.log(name)[-2000:]}"
                )

    def end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self) -> None:
        for _, process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
        for _, process in reversed(self.running):
            self.end(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read(url: str, **query: Any) -> Any:
    if query:
        url += "?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(url, timeout=20) as answer:
        body = answer.read()
    return json.loads(body) if "/api/" in url else body


class Notifications:
    """What Alertmanager sends: the receiver of its webhooks."""

    def __init__(self):
        self.seen: set[tuple[str, str, str]] = set()
        notes = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    notes.seen.add(
                        (self.path.strip("/"), alert["labels"]["alertname"], alert["status"])
                    )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def has(self, name: str, status: str) -> bool:
        return any(alert == name and state == status for _, alert, state in self.seen)


# --- the run --------------------------------------------------------------------------------------


class Row(NamedTuple):
    what: str
    figure: str
    good: bool


class Stack:
    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path):
        self.arguments = arguments
        self.folder = folder
        self.began = time.time()
        self.processes = Processes(folder)
        self.notes = Notifications()
        self.stages: list[dict[str, Any]] = []
        self.rows: list[Row] = []

    def say(self, text: str) -> None:
        print(f"local-stack: {time.time() - self.began:5.1f} s  {text}", flush=True)

    def left(self) -> float:
        return self.began + self.arguments.seconds - time.time()

    def until(self, what: Callable[[], bool], seconds: float) -> bool:
        """Whether it becomes true within the time. Ends early if a process did."""
        end = time.monotonic() + seconds
        while True:
            self.processes.check()
            if what():
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.2)  # nothing tells of what is asked for by HTTP

    def answers(self, url: str) -> bool:
        try:
            read(url)
            return True
        except OSError:
            return False

    def start(self) -> None:
        tree = self.arguments
        for number in range(REPLICAS):
            self.processes.start(
                f"server-{number}",
                str(tree.server),
                f"--model={tree.model}",
                "--threads=1",
                "--device=cpu",
                "--address=127.0.0.1:0",
                "--metrics_address=127.0.0.1:0",
                f"--port_file={self.folder / f'port-{number}'}",
            )
        alertmanager = free_port()
        (self.folder / "alertmanager.yml").write_text(
            faster_routes((HERE / "alertmanager.yml").read_text(), self.notes.url)
        )
        self.processes.start(
            "alertmanager",
            "prometheus-alertmanager",
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
            f"--storage.path={self.folder / 'alerts'}",
        )
        self.alertmanager = f"http://127.0.0.1:{alertmanager}"
        serving = self.until(
            lambda: all(
                '"event":"serving"' in self.processes.log(f"server-{n}") for n in range(REPLICAS)
            ),
            60,
        )
        if not serving:
            raise Failure("the servers do not come up")
        logs = [self.processes.log(f"server-{n}") for n in range(REPLICAS)]
        self.targets = [
            f"127.0.0.1:{(self.folder / f'port-{n}').read_text().strip()}" for n in range(REPLICAS)
        ]
        scraped = [re.search(r'"metrics_port":(\d+)', log)[1] for log in logs]
        self.start_prometheus(alertmanager, scraped)

    def start_prometheus(self, alertmanager: int, scraped: list[str]) -> None:
        port = free_port()
        (self.folder / "rules.yaml").write_text(faster((HERE / "rules.yaml").read_text()))
        targets = [
            {
                "targets": [f"127.0.0.1:{at}"],
                "labels": {"namespace": "local", "pod": f"longwave-{n}"},
            }
            for n, at in enumerate(scraped)
        ]
        # JSON is YAML.
        (self.folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {
                        "scrape_interval": f"{SCRAPE_SECONDS}s",
                        "evaluation_interval": "1s",
                    },
                    "rule_files": ["rules.yaml"],
                    "alerting": {
                        "alertmanagers": [
                            {"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}
                        ]
                    },
                    "scrape_configs": [{"job_name": "longwave", "static_configs": targets}],
                }
            )
        )
        self.processes.start(
            "prometheus",
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
        )
        self.prometheus = f"http://127.0.0.1:{port}"
        if not self.until(lambda: self.answers(self.prometheus + "/-/ready"), 30):
            raise Failure("Prometheus does not come up")
        if not self.until(lambda: self.count("up == 1") == REPLICAS, 20):
            raise Failure("the servers are not scraped")

    # Queries.

    def query(self, expr: str) -> list[dict[str, Any]]:
        return read(self.prometheus + "/api/v1/query", query=expr)["data"]["result"]

    def count(self, expr: str) -> int:
        return len(self.query(expr))

    def history(self, expr: str) -> list[dict[str, Any]]:
        """Over the whole run, each second."""
        return read(
            self.prometheus + "/api/v1/query_range",
            query=expr,
            start=self.began,
            end=time.time(),
            step=1,
        )["data"]["result"]

    def fires(self, name: str) -> bool:
        return self.count(f'ALERTS{{alertname="{name}", alertstate="firing"}}') > 0

    # Stages.

    def load(self, name: str, options: list[str], seconds: float) -> subprocess.Popen:
        """Load to all replicas. How late its calls are is no matter here: nothing is measured by it."""
        return self.processes.start(
            f"load-{name}",
            str(self.arguments.cli),
            "load",
            *(f"--target={t}" for t in self.targets),
            *options,
            f"--seconds={seconds:.0f}",
            "--max-lateness=60",
            "--max-backlog=1",
            "--warmup=0",
            "--json",
            "--quiet",
        )

    def stage(
        self, name: str, options: list[str], seconds: float, done: Callable[[], bool]
    ) -> bool:
        """Load for so long, or until done. Whether it was."""
        self.say(f"{name}: longwave load {' '.join(options)}")
        begin = time.time()
        process = self.load(name.replace(" ", "-"), options, max(seconds, 1))
        came = self.until(done, seconds)
        if came:
            self.until(lambda: False, min(LINGER_SECONDS, begin + seconds - time.time()))
        self.processes.end(process)
        self.stages.append({"name": name, "begin": begin, "end": time.time()})
        return came

    def stream(self) -> None:
        """A document by EncodeStream, all its rows, so that the panels of streams have something. Before
        the stages, which it would disturb."""
        document = self.folder / "document.txt"
        document.write_text("The quick brown fox jumps over the lazy dog. " * 400)
        process = self.processes.start(
            "load-stream",
            str(self.arguments.cli),
            "stream",
            str(document),
            f"--server={self.targets[0]}",
            "--output",
            str(self.folder / "rows.npy"),
            "--quiet",
        )
        if not self.until(lambda: process.poll() is not None, 15) or process.returncode != 0:
            raise Failure(f"longwave stream failed:\n{self.processes.log('load-stream')[-2000:]}")

    def run_stages(self) -> None:
        spare = self.left() - END_SECONDS
        normal, overload = 0.2 * spare, 0.5 * spare
        self.stage("normal", NORMAL, normal, lambda: False)
        fired = self.stage(
            "overload",
            OVERLOAD,
            overload,
            lambda: all(self.fires(n) and self.notes.has(n, "firing") for n in EXPECTED),
        )
        if not fired:
            self.say("the overload ended before all alerts had fired")
        self.stage(
            "normal again",
            NORMAL,
            self.left() - END_SECONDS,
            lambda: all(not self.fires(n) and self.notes.has(n, "resolved") for n in EXPECTED),
        )

    # What came of it.

    def row(self, what: str, figure: str, good: bool) -> None:
        self.rows.append(Row(what, figure, good))

    def judge(self) -> None:
        up = self.count("up == 1")
        self.row("targets up", f"{up} of {REPLICAS}", up == REPLICAS)
        groups = read(self.prometheus + "/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        written = len(
            re.findall(r"(?m)^\s+- (?:record|alert): ", (HERE / "rules.yaml").read_text())
        )
        good = sum(rule["health"] == "ok" for rule in rules)
        self.row(
            "rules loaded and evaluated without an error", f"{good} of {written}", good == written
        )
        for name in EXPECTED:
            fired = bool(self.history(f'ALERTS{{alertname="{name}", alertstate="firing"}}'))
            resolved = fired and not self.fires(name)
            self.row(
                f"{name}: fired, then resolved, in Prometheus",
                f"{fired}, {resolved}",
                fired and resolved,
            )
            told = self.notes.has(name, "firing"), self.notes.has(name, "resolved")
            self.row(f"{name}: both told by Alertmanager", f"{told[0]}, {told[1]}", all(told))
        self.judge_other_alerts()
        self.judge_dashboard()

    def judge_other_alerts(self) -> None:
        """Nothing may fire under the normal load. What the overload fires besides is told."""
        first: dict[str, float] = {}
        for series in self.history('ALERTS{alertstate="firing"}'):
            name = series["metric"]["alertname"]
            at = float(series["values"][0][0])
            first[name] = min(at, first.get(name, at))
        began = next(s["begin"] for s in self.stages if s["name"] == "overload")
        early = sorted(name for name, at in first.items() if at < began)
        self.row("alerts before the overload", ", ".join(early) or "none", not early)
        listed = (f"{name} (after {at - self.began:.0f} s)" for name, at in sorted(first.items()))
        self.row("all alerts that fired", ", ".join(listed) or "none", bool(first))

    def judge_dashboard(self) -> None:
        board = json.loads(make_dashboard.FILE.read_text())
        make_dashboard.DEFAULTS["$__rate_interval"] = "10s"
        answered, zero, explained, missing = 0, [], [], []
        queries = list(make_dashboard.expressions(board))
        for title, expr in queries:
            found = self.history(expr)
            if found:
                answered += 1
                if all(float(value) == 0 for series in found for _, value in series["values"]):
                    zero.append(title)
                continue
            reasons = [reason for pattern, reason in NO_DATA if re.search(pattern, expr)]
            (explained if reasons else missing).append(
                f"{title}: {reasons[0] if reasons else expr}"
            )
        self.row(
            "queries of the dashboard that have data", f"{answered} of {len(queries)}", answered > 0
        )
        self.row("of these, always 0", str(len(zero)), True)
        self.row("queries without data, with a reason", str(len(explained)), True)
        self.row("queries without data, without one", str(len(missing)), not missing)
        for title in sorted(set(zero)):
            self.say(f"always 0: {title}")
        for line in sorted(set(explained)) + [f"MISSING {line}" for line in missing]:
            self.say(f"no data: {line}")

    def draw(self) -> None:
        data = {"stages": self.stages, "began": self.began, "panels": []}
        for title, expr in make_dashboard.expressions(json.loads(make_dashboard.FILE.read_text())):
            data["panels"].append({"title": title, "expr": expr, "series": self.history(expr)})
        data["alerts"] = self.history('ALERTS{alertstate="firing"}')
        series = self.folder / "series.json"
        series.write_text(json.dumps(data))
        png = self.arguments.png
        drawn = subprocess.run(
            [self.arguments.plot_python, ROOT / "deploy" / "grafana" / "draw.py", series, png],
            check=False,
            capture_output=True,
            text=True,
        )
        fresh = drawn.returncode == 0 and png.exists() and png.stat().st_mtime >= self.began
        if not fresh:
            self.say(f"no picture: {drawn.stderr.strip()}")
        self.row("picture", f"{png} ({png.stat().st_size // 1024} KiB)" if fresh else "none", fresh)

    def table(self) -> bool:
        self.say("what came of it:")
        width = max(len(row.what) for row in self.rows)
        for row in self.rows:
            print(f"  {'pass' if row.good else 'MISS'}  {row.what:{width}}  {row.figure}")
        return all(row.good for row in self.rows)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--png", type=pathlib.Path, required=True)
    parser.add_argument("--plot-python", required=True)
    parser.add_argument("--keep", type=pathlib.Path, help="copy logs and series here")
    for name in ("server", "cli", "model"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    def leave(number: int, _: Any) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    with tempfile.TemporaryDirectory(prefix="longwave-stack-") as name:
        stack = Stack(arguments, pathlib.Path(name))
        try:
            stack.say(
                f"the rules of deploy/prometheus with windows, offsets and 'for' divided by {FACTOR}"
            )
            stack.start()
            stack.say(
                f"servers, Prometheus and Alertmanager are up: {REPLICAS} replicas of one thread"
            )
            stack.stream()
            stack.run_stages()
            stack.judge()
            stack.draw()
            return 0 if stack.table() else 1
        except Failure as failure:
            print(f"local-stack: {failure}", file=sys.stderr)
            return 1
        finally:
            stack.processes.stop()
            if arguments.keep:
                shutil.copytree(
                    name, arguments.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tsdb")
                )


if __name__ == "__main__":
    sys.exit(main())
