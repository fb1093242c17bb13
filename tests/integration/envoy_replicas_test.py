"""Replicas behind Envoy (deploy/envoy/balance.yaml): drained, killed, sick, full. Every answer of the
load checks itself."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import pytest
from balancer import CONFIG, Envoy, configuration, envoy_program, replica_addresses
from conftest import _path
from fleet import PATIENT, Caller, Fleet, await_progress
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from harness import PATIENCE, ROOT, Server, StreamCall, await_true, request, service_pb2_grpc, trailer

# Two health checks of the configuration, a second apart, fit into it: Envoy has left when the
# refusals begin.
DRAIN_DELAY = "--drain_delay=4"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="session")
def replica_client() -> str:
    return _path("LONGWAVE_REPLICA_CLIENT", "tests/integration/replica_client")


class Stack:
    """Three replicas on 127.0.0.2-4 and Envoy before them."""

    def __init__(self, program: str, folder, *flags: str, **options):
        self.addresses = replica_addresses()
        self.fleet = Fleet(program, *flags, addresses=self.addresses, **options)
        self._folder = folder

    def __enter__(self) -> Stack:
        self.fleet.__enter__()
        try:
            self.envoy = Envoy(self._folder, configuration(self.addresses))
            self.envoy.await_usable(*self.addresses)
        except BaseException:
            self.fleet.__exit__()
            raise
        return self

    def __exit__(self, *exc) -> None:
        self.envoy.__exit__()
        self.fleet.__exit__()

    def others(self, *gone: int) -> list[str]:
        return [address for index, address in enumerate(self.addresses) if index not in gone]


@pytest.fixture
def stack(fake_program, tmp_path):
    started = []

    def start(*flags: str, **options) -> Stack:
        started.append(Stack(fake_program, tmp_path / str(len(started)), *flags, **options))
        return started[-1].__enter__()

    yield start
    for each in started:
        each.__exit__()


def stub(envoy: Envoy, **options):
    return service_pb2_grpc.EncoderServiceStub(envoy.channel(**options))


def served(server: Server) -> float:
    return server.metric("longwave_requests_total", code="OK", method="Encode")


def test_the_shipped_configuration_is_valid():
    done = subprocess.run(
        [envoy_program(), "--mode", "validate", "--config-path", CONFIG],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stderr
    # Nothing that the next release of Envoy takes away.
    assert "deprecat" not in (done.stderr + done.stdout).lower()


@pytest.mark.parametrize("health_checked", [0, 1])
def test_one_drained_and_one_killed_under_load_lose_nothing(
    stack, replica_client, health_checked
):
    running = stack(PATIENT, DRAIN_DELAY, "--grace=30")
    fleet, envoy = running.fleet, running.envoy
    options = {"unary": 6, "streams": 2, "health_checked": health_checked}
    with Caller(replica_client, envoy.target, **options) as caller:
        await_progress(fleet, 15)
        assert fleet.drain(0) == 0
        assert fleet.servers[0].await_event("stopped")["clean"] is True
        await_progress(fleet, 15)  # the others carry on
        fleet.restart(0)
        envoy.await_usable(*running.addresses)
        await_progress(fleet, 15)
        resumed = fleet.total("longwave_requests_retried_total")
        assert resumed == 0, "of a replica that drains nobody notices anything"
        # Frozen first, so that calls are certainly there when it dies.
        fleet.servers[1].signal(signal.SIGSTOP)
        await_true(lambda: envoy.under_way(running.addresses[1]) > 1, "it gets no calls")
        fleet.kill(1)
        await_progress(fleet, 15)
        assert running.addresses[1] not in envoy.usable()
        await_progress(fleet, 15)
        fleet.restart(1)
        envoy.await_usable(*running.addresses)
        await_progress(fleet, 30)
        retried = fleet.total("longwave_requests_retried_total")
        result = caller.result()
    print(json.dumps({
        "health_checked": health_checked,
        "calls": {kind: entry["ok"] + entry["failed"] for kind, entry in result["kinds"].items()},
        "failed": sum(entry["failed"] for entry in result["kinds"].values()),
        "sent_again_by_clients": retried,
        "streams_resumed": result["kinds"]["stream"]["retries"],
        "slowest": {kind: entry["max_seconds"] for kind, entry in result["kinds"].items()},
        "sent_again_by_envoy": envoy.stat("upstream_rq_retry"),
    }), file=sys.stderr)
    assert result["wrong"] == result["mixed"] == 0, result["errors"]
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == 0, (kind, result["errors"])
        assert entry["ok"] > 0, kind
        assert entry["most_retries"] <= 1, (kind, entry)
    assert fleet.servers[1].process.poll() is None
    assert retried + result["kinds"]["stream"]["retries"] > 0, "the kill was noticed"


def test_load_spreads_over_the_replicas(stack):
    running = stack(PATIENT, env={"LONGWAVE_FAKE_BASE_SECONDS": "0.005"})
    api = stub(running.envoy)  # one connection, which TCP balancing would leave at one replica
    # The workers of Envoy hear of the replicas one after another.
    await_true(lambda: api.Encode(request([1])) and all(map(served, running.fleet.servers)),
               "not all get calls")
    before = [served(server) for server in running.fleet.servers]
    pending = set()
    calls = 300
    for _ in range(calls):
        while len(pending) >= 12:
            await_true(lambda: any(call.done() for call in pending), "no call ends", pause=0.001)
            pending = {call for call in pending if not call.done() or call.result() is None}
        pending.add(api.Encode.future(request([1, 2, 3]), timeout=PATIENCE))
    for call in pending:
        call.result()
    after = [served(server) for server in running.fleet.servers]
    shares = [(end - begin) / calls for begin, end in zip(before, after, strict=True)]
    print(f"shares {shares}", file=sys.stderr)
    assert sum(shares) == pytest.approx(1)
    # Least of two at random: even but for chance.
    assert all(0.25 < share < 0.42 for share in shares), shares


class Scripted:
    """A replica that says SERVING and answers calls with one status, but for every n-th."""

    def __init__(self, address: str, code: grpc.StatusCode, good_every: int = 1 << 30):
        self.calls = 0
        self._code = code
        self._good_every = good_every
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        servicer = health.HealthServicer()
        servicer.set("longwave.v1.EncoderService", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        handler = grpc.unary_unary_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers([
            grpc.method_handlers_generic_handler(
                "longwave.v1.EncoderService", {"Encode": handler, "GetModel": handler})
        ])
        assert self._server.add_insecure_port(address)
        self._server.start()

    def _answer(self, _, context) -> bytes:
        self.calls += 1
        if self.calls % self._good_every == 0:
            return b""
        context.abort(self._code, "scripted")

    def stop(self) -> None:
        self._server.stop(None).wait()


def call_until(envoy: Envoy, done, limit: int = 400) -> collections.Counter:
    """The codes of calls that are made one after another until `done`."""
    api = stub(envoy)
    codes: collections.Counter = collections.Counter()
    while not done():
        try:
            api.Encode(request([1]), timeout=PATIENCE)
            codes["OK"] += 1
        except grpc.RpcError as error:
            codes[error.code().name] += 1
        assert codes.total() < limit, codes
    return codes


@pytest.mark.parametrize("code", ["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])
def test_a_replica_that_fails_is_ejected(stack, code):
    running = stack()
    fleet, envoy, address = running.fleet, running.envoy, running.addresses[2]
    fleet.drain(2)
    envoy.await_usable(*running.others(2))
    sick = Scripted(address, grpc.StatusCode[code])
    try:
        envoy.await_usable(*running.addresses)
        codes = call_until(envoy, lambda: address not in envoy.usable())
        print(f"{code}: {dict(codes)} until it is ejected", file=sys.stderr)
        assert sick.calls == 5  # consecutive_5xx
        # What fails in a computation is not tried again by Envoy; what a replica cannot take is.
        assert codes[code] == (0 if code == "UNAVAILABLE" else 5)
        assert codes["OK"] + codes[code] == codes.total()
        assert envoy.stat("outlier_detection.ejections_enforced_total") == 1
        # Its health says SERVING all the while, which does not bring it back.
        checks = envoy.stat("health_check.success")
        await_true(lambda: envoy.stat("health_check.success") >= checks + 9, "no health checks")
        assert call_until(envoy, iter([False] * 20 + [True]).__next__) == {"OK": 20}
        assert sick.calls == 5
        if code == "INTERNAL":  # back after base_ejection_time; and out again, if it has not mended
            envoy.await_usable(*running.addresses)
            call_until(envoy, lambda: address not in envoy.usable())
            assert sick.calls == 10
    finally:
        sick.stop()


def test_a_replica_that_refuses_costs_the_client_nothing(stack, replica_client):
    # Calls of a megabyte each: Envoy keeps them until they are taken, and sends them to the others.
    running = stack(PATIENT)
    fleet, envoy, address = running.fleet, running.envoy, running.addresses[2]
    fleet.drain(2)
    envoy.await_usable(*running.others(2))
    going = Scripted(address, grpc.StatusCode.UNAVAILABLE)
    try:
        envoy.await_usable(*running.addresses)
        with Caller(replica_client, envoy.target, unary=6, streams=0) as caller:
            await_progress(fleet, 30)
            await_true(lambda: address not in envoy.usable(), "it is not ejected")
            retried = fleet.total("longwave_requests_retried_total")
            result = caller.result()
        entry = result["kinds"]["unary"]
        print(f"calls {entry['ok']}, sent again by Envoy {envoy.stat('upstream_rq_retry')}, "
              f"by clients {retried}", file=sys.stderr)
        assert (entry["failed"], retried) == (0, 0), result["errors"]
        assert envoy.stat("upstream_rq_retry_success") > 0
    finally:
        going.stop()


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"])
def test_what_callers_do_wrong_ejects_nobody(stack, code):
    running = stack()
    fleet, envoy, address = running.fleet, running.envoy, running.addresses[2]
    fleet.drain(2)
    envoy.await_usable(*running.others(2))
    # A deadline that passed counts as a failure to Envoy: until another caller's call ends well.
    every = 4 if code == "DEADLINE_EXCEEDED" else 1 << 30
    strict = Scripted(address, grpc.StatusCode[code], every)
    try:
        envoy.await_usable(*running.addresses)
        codes = call_until(envoy, lambda: strict.calls >= 20)
        assert codes[code] == 20 - 20 // every, "no call was made twice"
        assert envoy.usable() == set(running.addresses)
        assert envoy.stat("outlier_detection.ejections_enforced_total") == 0
    finally:
        strict.stop()


@contextlib.contextmanager
def full_replicas(stack) -> Iterator[Stack]:
    """Each has a call of 2 s, and one that waits for it: another would wait for too long."""
    running = stack(
        "--max_wait=0.5", "--max_batch_sequences=1", env={"LONGWAVE_FAKE_BASE_SECONDS": "2"}
    )
    servers = running.fleet.servers
    channels = [grpc.insecure_channel(address) for address in running.addresses]
    stubs = [service_pb2_grpc.EncoderServiceStub(channel) for channel in channels]
    calls = [api.Encode.future(request([1]), timeout=PATIENCE) for api in stubs for _ in range(2)]
    waiting = lambda server: server.metric("longwave_queue_requests")
    await_true(lambda: all(waiting(server) == 1 for server in servers), "the replicas are not full")
    yield running
    for call in calls:
        call.result()


def test_pushback_reaches_the_client_unchanged(stack):
    with full_replicas(stack) as running, pytest.raises(grpc.RpcError) as refused:
        stub(running.envoy).Encode(request([1]), timeout=PATIENCE)
    error = refused.value
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback = int(trailer(error, "grpc-retry-pushback-ms"))
    retry = error_details_pb2.RetryInfo()
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(retry)
    assert pushback > 100
    assert pushback == pytest.approx(retry.retry_delay.ToMilliseconds(), abs=1)
    # Asked once, and one replica only.
    assert running.fleet.total("longwave_admission_total", decision="shed") == 1
    assert running.envoy.stat("upstream_rq_retry") == 0


def test_the_shipped_policy_obeys_pushback_through_envoy(stack):
    policy = (ROOT / "client" / "service_config.json").read_text()
    with full_replicas(stack) as running:
        api = stub(running.envoy, **{"grpc.enable_retries": 1, "grpc.service_config": policy})
        begin = time.monotonic()
        api.Encode(request([1]), timeout=PATIENCE)
        waited = time.monotonic() - begin
        sheds = running.fleet.total("longwave_admission_total", decision="shed")
    print(f"waited {waited:.2f} s, refused {sheds}", file=sys.stderr)
    # The policy's own backoff, 0.05 to 0.2 s, would have spent its four attempts long before.
    assert waited > 1
    assert 1 <= sheds <= 3


def test_traceparent_goes_through(stack):
    running = stack("--log_level=debug")
    stub(running.envoy).Encode(request([1]), metadata=[("traceparent", TRACEPARENT)])
    line = running.envoy.await_access(lambda line: line["traceparent"] == TRACEPARENT)
    assert line["method"] == "/longwave.v1.EncoderService/Encode"
    assert line["grpc_status"] == "OK"
    assert line["attempts"] == 1
    assert line["replica"] in running.addresses
    (index,) = [i for i, address in enumerate(running.addresses) if address == line["replica"]]
    server = running.fleet.servers[index]
    await_true(lambda: any(TRACEPARENT.split("-")[1] in entry for entry in server.lines), "no trace")


def test_health_is_answered_and_not_watched(stack):
    running = stack()
    api = health_pb2_grpc.HealthStub(running.envoy.channel())
    assert api.Check(health_pb2.HealthCheckRequest()).status == 1
    with pytest.raises(grpc.RpcError) as refused:
        next(api.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_what_the_api_does_not_have_ends_at_envoy(stack):
    running = stack()
    strange = running.envoy.channel().unary_unary("/grpc.reflection.v1.ServerReflection/X")
    with pytest.raises(grpc.RpcError) as refused:
        strange(b"", timeout=PATIENCE)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError):
        stub(running.envoy).Encode(
            request([1]), timeout=PATIENCE, metadata=[(f"x-{i}", "a" * 1000) for i in range(20)]
        )
    assert running.fleet.total("longwave_requests_started_total") == 0
    stub(running.envoy).Encode(request([1]), timeout=PATIENCE)


def test_an_envoy_that_drains_loses_nothing(stack, replica_client, tmp_path):
    running = stack(PATIENT)
    with Envoy(tmp_path / "second", configuration(running.addresses)) as second:
        second.await_usable(*running.addresses)
        target = f"ipv4:{running.envoy.target},{second.target}"
        with Caller(replica_client, target, unary=6, streams=2) as caller:
            await_progress(running.fleet, 30)
            assert running.envoy.stat("upstream_rq_total") > 0
            running.envoy.admin("/drain_listeners?graceful&skip_exit", b"")
            listening = lambda: json.loads(running.envoy.admin(
                "/stats?format=json&filter=downstream_cx_active$"))
            await_true(lambda: all(entry["value"] == 0 for entry in listening()["stats"]
                                   if entry["name"].startswith("http.grpc.")), "connections stay")
            await_progress(running.fleet, 30)
            running.envoy.stop()
            await_progress(running.fleet, 30)
            result = caller.result()
    assert result["wrong"] == result["mixed"] == 0, result["errors"]
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == 0, (kind, result["errors"])
        assert entry["ok"] > 0, kind


def test_a_stream_outlives_the_time_of_a_call(stack):
    # Envoy's own default would end it after 15 s.
    running = stack("--max_stall=60")
    call = StreamCall(stub(running.envoy))
    call.open(1, [16])
    time_is_up = call.call.done  # nothing ends it while the ids are outstanding
    with pytest.raises(AssertionError):
        await_true(time_is_up, "goes on", limit=17, pause=0.1)
    call.data(1, bytes(16))
    call.end(1)
    call.close()
    _, done = call.read_all(1)
    assert done.DESCRIPTOR.name == "StreamDone"
