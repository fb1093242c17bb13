"""Replicas behind Envoy (deploy/envoy/balance.yaml): drained, killed, sick, full. Every answer of the
load checks itself."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import re
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
from harness import (
    PATIENCE, ROOT, Server, StreamCall, await_true, error_info, request, service_pb2_grpc, trailer,
)

# Two health checks of the configuration, a second apart, fit into it even on a machine that is busy
# with other things: Envoy has left when the refusals begin. Shipped are 5 s.
DRAIN_DELAY = "--drain_delay=10"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="session")
def replica_client() -> str:
    return _path("LONGWAVE_REPLICA_CLIENT", "tests/integration/replica_client")


class Stack:
    """Replicas and Envoy before them. `tune` changes its configuration, for what takes a large machine
    else."""

    def __init__(
        self, program: str, folder, *flags: str, count: int = 3, tune=lambda config: None, **options
    ):
        self.addresses = replica_addresses(count)
        self.fleet = Fleet(program, *flags, addresses=self.addresses, **options)
        self._folder = folder
        self._config = configuration(self.addresses)
        tune(self._config)

    def __enter__(self) -> Stack:
        self.fleet.__enter__()
        try:
            self.envoy = Envoy(self._folder, self._config)
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


def await_streams(server: Server) -> None:
    """Until the replica has a stream under way."""
    counts = lambda name: server.metric(f"longwave_requests{name}_total", method="EncodeStream")
    await_true(lambda: counts("_started") > counts(""), "it gets no streams", pause=0.02)


def check(result: dict) -> None:
    """Of a Caller: no call failed or got what was not its own, and there were calls of all kinds."""
    assert result["wrong"] == result["mixed"] == 0, result["errors"]
    for kind, entry in result["kinds"].items():
        assert entry["failed"] == 0, (kind, result["errors"])
        assert entry["ok"] > 0, kind


@pytest.mark.parametrize("health_checked", [0, 1])
def test_one_drained_and_one_killed_under_load_lose_nothing(
    stack, replica_client, health_checked
):
    running = stack(PATIENT, DRAIN_DELAY, "--grace=30")
    fleet, envoy = running.fleet, running.envoy
    # Streams are read for so long that one is always under way somewhere.
    # Deadlines are far, since a slow machine would have calls refused for theirs.
    options = {"unary": 6, "streams": 2, "stream_seconds": 2, "timeout": 100,
               "health_checked": health_checked}
    with Caller(replica_client, envoy.target, **options) as caller:
        await_progress(fleet, 15)
        await_streams(fleet.servers[0])
        assert fleet.drain(0) == 0
        assert fleet.servers[0].await_event("stopped")["clean"] is True
        await_progress(fleet, 15)  # the others carry on
        fleet.restart(0)
        envoy.await_usable(*running.addresses)
        await_progress(fleet, 15)
        drained = caller.result()
    sent_again = fleet.total("longwave_requests_retried_total")
    check(drained)
    resumed = drained["kinds"]["stream"]["retries"]
    assert (sent_again, resumed) == (0, 0), "of a replica that drains nobody notices anything"

    with Caller(replica_client, envoy.target, **options) as caller:
        await_progress(fleet, 15)
        # Frozen first, so that calls of both kinds are certainly there when it dies: of streams there
        # are no more than two.
        await_streams(fleet.servers[1])
        fleet.servers[1].signal(signal.SIGSTOP)
        await_true(lambda: envoy.under_way(running.addresses[1]) > 2, "it gets no calls")
        fleet.kill(1)
        await_progress(fleet, 15)
        assert running.addresses[1] not in envoy.usable()
        await_progress(fleet, 15)
        fleet.restart(1)
        envoy.await_usable(*running.addresses)
        await_progress(fleet, 30)
        sent_again = fleet.total("longwave_requests_retried_total")
        killed = caller.result()
    resumed = killed["kinds"]["stream"]["retries"]
    print(json.dumps({
        "health_checked": health_checked,
        "calls": {kind: entry["ok"] + entry["failed"] for kind, entry in killed["kinds"].items()},
        "failed": sum(entry["failed"] for entry in killed["kinds"].values()),
        "sent_again_by_clients": sent_again,
        "streams_resumed": resumed,
        "slowest": {kind: entry["max_seconds"] for kind, entry in killed["kinds"].items()},
        "sent_again_by_envoy": envoy.stat("upstream_rq_retry"),
    }), file=sys.stderr)
    check(killed)
    assert fleet.servers[1].process.poll() is None
    assert sent_again > 0 and resumed > 0, "the kill was noticed by calls of both kinds"


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
    # Least of two at random: even but for chance, and for which process a busy machine lets run.
    assert all(0.15 < share < 0.55 for share in shares), shares


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
        assert codes[code] == 5, "Envoy sends none of them to another"
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


def test_one_of_two_is_ejected_too(stack):
    running = stack(count=2)
    fleet, envoy, address = running.fleet, running.envoy, running.addresses[1]
    fleet.drain(1)
    envoy.await_usable(*running.others(1))
    sick = Scripted(address, grpc.StatusCode.INTERNAL)
    try:
        envoy.await_usable(*running.addresses)
        call_until(envoy, lambda: address not in envoy.usable())
        assert sick.calls >= 5
        # The workers hear of it later than the administration says it.
        twenty = lambda: call_until(envoy, iter([False] * 20 + [True]).__next__)
        await_true(lambda: twenty() == {"OK": 20}, "it gets calls all the same")
    finally:
        sick.stop()


def test_a_replica_that_refuses_costs_no_call(stack, replica_client):
    # Calls of a megabyte each. The client's policy sends them again, and Envoy does not.
    running = stack(PATIENT)
    fleet, envoy, address = running.fleet, running.envoy, running.addresses[2]
    fleet.drain(2)
    envoy.await_usable(*running.others(2))
    with Caller(replica_client, envoy.target, unary=6, streams=0, timeout=100) as caller:
        await_progress(fleet, 15)  # it knows the model
        going = Scripted(address, grpc.StatusCode.UNAVAILABLE)
        try:
            await_true(lambda: going.calls >= 5, "it is not called")
            await_true(lambda: address not in envoy.usable(), "it is not ejected")
            await_progress(fleet, 15)
            result = caller.result()
        finally:
            going.stop()
    sent_again = fleet.total("longwave_requests_retried_total")
    print(f"refused {going.calls}, sent again by clients {sent_again}", file=sys.stderr)
    check(result)
    assert sent_again > 0
    assert envoy.stat("upstream_rq_retry") == 0


def test_a_call_that_breaks_a_device_is_sent_once(stack):
    # Each replica loses its device by the first call that it gets.
    running = stack(env={"LONGWAVE_FAKE_FAULTS": "device_lost@step:0"})
    with pytest.raises(grpc.RpcError) as lost:
        stub(running.envoy).Encode(request([1]), timeout=PATIENCE)
    assert lost.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error_info(lost.value).reason == "DEVICE_LOST"
    line = running.envoy.await_access(lambda line: line["method"].endswith("/Encode"))
    assert line["attempts"] == 1
    assert running.envoy.stat("upstream_rq_retry") == 0
    index = running.addresses.index(line["replica"])
    assert running.fleet.servers[index].wait() == 1
    others = [server for i, server in enumerate(running.fleet.servers) if i != index]
    assert [server.process.poll() for server in others] == [None, None]


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


def proto_methods() -> list[str]:
    """All that proto/ has, as paths."""
    found = []
    for file in sorted((ROOT / "proto").rglob("*.proto")):
        text = file.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE).group(1)
        for part in re.split(r"^service ", text, flags=re.MULTILINE)[1:]:
            service = part.split()[0]
            found += [f"/{package}.{service}/{name}"
                      for name in re.findall(r"^  rpc (\w+)\(", part, re.MULTILINE)]
    return found


def code_of(envoy: Envoy, path: str) -> grpc.StatusCode:
    """How a call of a method ends, with an empty message."""
    try:
        list(envoy.channel().stream_stream(path)(iter([b""]), timeout=PATIENCE))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_each_method_of_the_api_is_routed(stack):
    running = stack()
    methods = proto_methods()
    assert len(methods) == 17, methods
    for path in methods:
        code = code_of(running.envoy, path)
        line = running.envoy.await_access(lambda line, path=path: line["method"] == path)
        # Watch is the one that is refused on purpose.
        routed = path != "/grpc.health.v1.Health/Watch"
        assert (code != grpc.StatusCode.UNIMPLEMENTED) == routed, (path, code)
        assert (line["replica"] in running.addresses) == routed, line


@pytest.mark.parametrize("path", [
    "/longwave.v1.EncoderService/Encod", "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/grpc.health.v1.Health/List", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
])
def test_what_the_api_does_not_have_ends_at_envoy(stack, path):
    running = stack()
    codes = {code_of(running.envoy, path) for _ in range(20)}
    assert codes == {grpc.StatusCode.UNIMPLEMENTED}
    line = running.envoy.await_access(lambda line: line["method"] == path)
    assert line["replica"] not in running.addresses
    assert running.envoy.usable() == set(running.addresses)
    assert running.envoy.stat("outlier_detection.ejections_enforced_total") == 0


def test_headers_that_are_too_large_end_at_envoy(stack):
    running = stack()
    with pytest.raises(grpc.RpcError):
        stub(running.envoy).Encode(
            request([1]), timeout=PATIENCE, metadata=[(f"x-{i}", "a" * 1000) for i in range(20)]
        )
    assert running.fleet.total("longwave_requests_started_total") == 0
    stub(running.envoy).Encode(request([1]), timeout=PATIENCE)


def little_memory(config: dict) -> None:
    """An eighth of what Envoy has as shipped."""
    monitors = config["overload_manager"]["resource_monitors"]
    (heap,) = [each for each in monitors if each["name"] == "envoy.resource_monitors.fixed_heap"]
    assert heap["typed_config"]["max_heap_size_bytes"] == 1536 << 20
    heap["typed_config"]["max_heap_size_bytes"] //= 8


def test_what_envoy_keeps_of_requests_is_bounded(stack):
    # A megabyte each, kept until it is answered: more of them than would fit.
    long = ("--max_wait=1000", "--max_queue_sequences=4096")
    running = stack(*long, tune=little_memory, env={"LONGWAVE_FAKE_BASE_SECONDS": "1"})
    envoy = running.envoy
    api = stub(envoy)
    large = request([7] * 1_000_000)  # a byte an id
    stopped = lambda: envoy.stat(
        "active", of="overload.envoy.overload_actions.stop_accepting_requests")
    calls = []
    await_true(lambda: calls.append(api.Encode.future(large, timeout=PATIENCE)) or stopped(),
               "it takes whatever comes", pause=0.005)
    later = [api.Encode.future(large, timeout=PATIENCE) for _ in range(50)]
    refused = lambda call: call.done() and call.code() == grpc.StatusCode.UNAVAILABLE
    await_true(lambda: any(map(refused, later)), "none is refused")
    resident = envoy.resident_bytes() >> 20
    print(f"calls {len(calls)}, {resident} MiB", file=sys.stderr)
    assert resident < 350
    for call in calls + later:
        call.cancel()
    await_true(lambda: not stopped(), "it stays closed")
    assert api.Encode(request([1]), timeout=PATIENCE)


def test_an_envoy_that_drains_loses_nothing(stack, replica_client, tmp_path):
    running = stack(PATIENT)
    with Envoy(tmp_path / "second", configuration(running.addresses)) as second:
        second.await_usable(*running.addresses)
        target = f"ipv4:{running.envoy.target},{second.target}"
        with Caller(replica_client, target, unary=6, streams=2, timeout=100) as caller:
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
            check(caller.result())


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
