"""Canaries: good requests with a known answer beside a test that does its worst."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE, Server, came_true, plain_channel, request, service_pb2_grpc

# Where the soak wants to know how canaries fared (tests/soak/hostile.py).
CANARY_LOG = os.environ.get("LONGWAVE_CANARY_LOG")


class Canaries:
    """Good requests with a known answer, sent by the clock; `sent()` and `ended(seconds, problem)`
    are called for each."""

    def __init__(self, stub, sent, ended, interval: float = 0.05):
        self._stub = stub
        self._sent = sent
        self._tell_end = ended
        self._interval = interval
        self._request = request([1, 2, 3], [5] * 50)
        self._expected = stub.Encode(self._request, timeout=PATIENCE).embeddings.data
        self._changed = threading.Condition()
        self._open = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends no more, and waits for the answers that are due."""
        self._stop.set()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, PATIENCE)

    def _run(self) -> None:
        due = time.monotonic()
        # By the clock, not by the answers: a slow answer holds up no other request.
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += self._interval
            with self._changed:
                self._open += 1
            self._sent()
            begin = time.monotonic()
            call = self._stub.Encode.future(self._request, timeout=PATIENCE)
            call.add_done_callback(lambda done, begin=begin: self._ended(done, begin))

    def _ended(self, call, begin: float) -> None:
        seconds = time.monotonic() - begin
        problem = ""
        if call.code() != grpc.StatusCode.OK:
            problem = f"{call.code()} {call.details()}"
        elif call.result().embeddings.data != self._expected:
            problem = "another answer than before"
        self._tell_end(seconds, problem)
        with self._changed:
            self._open -= 1
            self._changed.notify_all()


class DistantCanaries:
    """Canaries of a process of their own. Beside the load of a test, in one interpreter with it,
    their latencies would be the interpreter's. More of them, since of few there is no p99."""

    INTERVAL = 0.02

    def __init__(self, port: int, sent, ended):
        self._sent = sent
        self._ended = ended
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        for line in self._process.stdout:
            event = json.loads(line)
            if event:
                self._ended(*event)
            else:
                self._sent()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._process.stdin.close()
        self._thread.join()
        self._process.wait(PATIENCE)

    @staticmethod
    def main(port: int) -> None:
        """What the other process does until its input ends: a line for each event."""
        lock = threading.Lock()

        def say(*event) -> None:
            with lock:
                print(json.dumps(event), flush=True)

        stub = service_pb2_grpc.EncoderServiceStub(plain_channel(port))
        canaries = Canaries(stub, say, say, DistantCanaries.INTERVAL)
        canaries.start()
        sys.stdin.read()
        canaries.stop()


class Canary:
    """Good requests with a known answer, 20 a second, while a test does its worst: each must be
    answered, bit by bit as before, within LIMIT seconds; the readiness that a balancer watches
    must not drop, and the process must stay the same one."""

    LIMIT = 5.0
    BASELINE = 50  # canaries
    # What a test leaves behind is its own, and not the baseline of the next.
    AFTERMATH = 10
    # What comes back of memory comes back within this time: connections end in their own, and what
    # the allocator keeps for the next ones goes within seconds (server/allocator.cc).
    SETTLING = 25.0
    SPARE_BYTES = 8 << 20

    def __init__(self, server: Server, slowed: str = ""):
        """`slowed`: why nobody can ask for quick answers beside this test; the soak then looks at
        its memory alone."""
        self._server = server
        self._pid = server.process.pid
        self._slowed = slowed
        self._health = health_pb2_grpc.HealthStub(server.channel())
        self._stopped = False
        self._changed = threading.Condition()
        self._begun = 0
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watched = threading.Event()
        self._block = contextlib.ExitStack()
        self.problems: list[str] = []
        self.seconds: list[float] = []

    def _canaries(self):
        # Credentials do not travel to another process.
        plain = type(self._server).channel is Server.channel
        if CANARY_LOG and plain and not self._slowed:
            return DistantCanaries(self._server.port, self._on_sent, self._on_end)
        return Canaries(self._server.stub(), self._on_sent, self._on_end)

    def _on_sent(self) -> None:
        with self._changed:
            self._begun += 1

    def _on_end(self, seconds: float, problem: str) -> None:
        if not problem and seconds > self.LIMIT:
            problem = f"an answer after {seconds:.1f} s"
        with self._changed:
            self.seconds.append(seconds)
            if problem:
                self.problems.append(problem)
            self._changed.notify_all()

    def _watch(self) -> None:
        """Readiness as balancers see it. A stream that breaks is a drop too."""
        try:
            for answer in self._watching:
                self._watched.set()
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    self.problems.append(f"readiness: {answer.status}")
            ended = "ended"
        except grpc.RpcError as error:
            ended = f"{error.code()} {error.details()}"
        if not self._stopped:
            self.problems.append(f"readiness watch: {ended}")

    @property
    def sent(self) -> int:
        """Canaries altogether; each is of two sequences."""
        return 1 + self._begun

    def await_answers(self, count: int) -> None:
        """Waits until so many have been answered altogether."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seconds) >= count, PATIENCE), "no answer"

    def check(self) -> None:
        """Waits for the answers to what has been sent, then fails if anything was amiss."""
        # One more than those on their way, so that what the test did last has had its effect.
        self.await_answers(self._begun + (not self._stopped))
        assert not self.problems, self.problems[:5]
        assert self._server.process.poll() is None, "the server is gone"
        assert self._server.process.pid == self._pid
        assert self._server.metric("longwave_ready") == 1

    @contextlib.contextmanager
    def streaming(self):
        """The stream of canaries, beside whatever the block does."""
        canaries = self._canaries()
        self._watching = self._health.Watch(health_pb2.HealthCheckRequest())
        self._watcher.start()
        # Before the test begins: one that lets nobody connect is no drop of readiness.
        assert self._watched.wait(PATIENCE), "the readiness watch says nothing"
        canaries.start()
        try:
            yield self
        finally:
            self._stopped = True
            canaries.stop()
            self._watching.cancel()
            self._watcher.join()
        self.check()

    @contextlib.contextmanager
    def beside(self, test: str):
        """One test beside the stream, which has not noticed it afterwards."""
        before = self._baseline() if CANARY_LOG else {}
        begin = len(self.seconds)
        yield self
        self.check()
        if CANARY_LOG:
            self.await_answers(self._begun + self.AFTERMATH)
            self._write_log({"test": test, **before, "beside": self.seconds[begin:]})

    def _baseline(self) -> dict:
        """How the canaries fare and what the server holds before the test."""
        begin = len(self.seconds)
        self.await_answers(begin + self.BASELINE)
        return {"before": self.seconds[begin:], "resident_before": self._server.resident_bytes()}

    def _write_log(self, entry: dict) -> None:
        bound = entry["resident_before"] + self.SPARE_BYTES
        came_true(lambda: self._server.resident_bytes() <= bound, self.SETTLING, pause=0.1)
        entry |= {
            "slowed": self._slowed,
            "server": self._pid,
            "resident_after": self._server.resident_bytes(),
        }
        with open(CANARY_LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def __enter__(self) -> Canary:
        with contextlib.ExitStack() as block:
            block.enter_context(self.streaming())
            block.enter_context(self.beside(current_test()))
            self._block = block.pop_all()
        return self

    def __exit__(self, *exc) -> None:
        self._block.__exit__(*exc)


def current_test() -> str:
    """Name of the test that runs, as pytest has it, without its phase."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


if __name__ == "__main__":
    DistantCanaries.main(int(sys.argv[1]))
