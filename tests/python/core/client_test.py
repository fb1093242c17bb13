"""A client as a thing: shared by threads, pickled, closed, with keys and TLS, and retried."""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import json
import multiprocessing
import pathlib
import pickle
import signal
import sys
import threading

import fake_rows
import grpc
import longwave
import numpy as np
import pytest
import scripted as script
from servers import PATIENCE

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from certificates import Authority

KEY = "a-key-for-tests"


def test_threads_share_a_client(fake_server):
    with longwave.Client(fake_server.address, batch_tokens=20) as client:

        def work(number: int) -> None:
            texts = [f"{number} {n}" for n in range(30)]
            vectors = client.encode(texts)
            for text, vector in zip(texts, vectors):
                assert np.array_equal(vector, fake_rows.row(list(text.encode()))), text

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(24)))


@pytest.mark.parametrize("kind", [longwave.Client, longwave.AsyncClient])
def test_clients_pickle_as_their_arguments(kind):
    arguments = {
        "api_key": KEY,
        "tls": longwave.Tls(key=None),
        "model": "m",
        "model_version": "1",
        "tokenizer": longwave.AlphabetTokenizer.dna(),
        "timeout": 7.0,
        "priority": "batch",
        "max_in_flight": 3,
        "batch_tokens": 99,
        "service_config": "{}",
        "channel_options": (("grpc.enable_retries", 0),),
        "allow_plaintext_key": True,
    }
    copy = pickle.loads(pickle.dumps(kind("example:1", **arguments)))
    assert isinstance(copy, kind)
    found = copy.__getstate__()
    assert found.pop("tokenizer").fingerprint == arguments.pop("tokenizer").fingerprint
    assert found == {"target": "example:1", **arguments}


def test_a_pickled_client_works_in_another_process(fake_server):
    with longwave.Client(fake_server.address) as client:
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            vector = pool.submit(client.encode, "hello").result(PATIENCE)
    assert np.array_equal(vector, fake_rows.row(list(b"hello")))


def test_a_closed_client_says_so(connect, fake_server):
    client = connect(fake_server)
    client.encode("a")
    client.close()
    for call in (
        lambda: client.encode("a"),
        lambda: client.encode(["a", "b" * 140_000]),
        lambda: client.info(),
        lambda: list(client.encode_iter(["a"])),
        lambda: list(client.stream_rows("a")),
    ):
        with pytest.raises(longwave.Cancelled):
            call()
    client.close()


@pytest.mark.parametrize("call", ["encode", "encode_list", "stream_rows", "encode_iter"])
def test_closing_ends_what_is_under_way(scripted, call):
    under_way, over = threading.Event(), threading.Event()

    def encode(request, context):
        context.add_callback(over.set)
        under_way.set()
        over.wait(PATIENCE)
        return script.reply(request)

    def stream(messages, context):
        answer = script.StreamScript(next(messages))
        context.add_callback(over.set)
        yield answer.accepted()
        under_way.set()
        over.wait(PATIENCE)

    scripted.encode, scripted.encode_stream = encode, stream
    client = longwave.Client(scripted.address, batch_tokens=4)
    calls = {
        "encode": lambda: client.encode("abcd"),
        "encode_list": lambda: client.encode(["abcd"] * 10),
        "stream_rows": lambda: list(client.stream_rows("abcd")),
        # Of an iterator, too, it is the call that fails: an endless one would not end otherwise.
        "encode_iter": lambda: [item.error for item in client.encode_iter(["abcd"] * 10)],
    }
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(calls[call])
        assert under_way.wait(PATIENCE)
        client.close()
        error = future.exception(PATIENCE)
        assert isinstance(error, longwave.Cancelled) and error.reason == "CLIENT_CLOSED"


# Keys and TLS.


@pytest.mark.parametrize("key", ["a b", "ü", "x" * 1025, "tab\t"])
def test_what_cannot_be_a_key_is_refused_without_being_shown(key):
    with pytest.raises(ValueError, match="api_key") as caught:
        longwave.Client("127.0.0.1:1", api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.1.2.3", True),
        ("localhost:1", True),
        ("localhost", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("[::1]:1", True),
        ("ipv6:[::1]:1", True),
        ("unix:/run/longwave", True),
        ("unix-abstract:longwave", True),
        ("10.0.0.1:1", False),
        ("127.example.com:1", False),
        ("localhost.example.com:1", False),
        ("[::1].example:1", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("dns:///example:1", False),
    ],
)
def test_keys_cross_a_network_in_plaintext_only_if_allowed(target, loopback):
    if loopback:
        longwave.Client(target, api_key=KEY).close()
    else:
        with pytest.raises(ValueError, match="plaintext") as caught:
            longwave.Client(target, api_key=KEY)
        assert KEY not in str(caught.value)
        longwave.Client(target, api_key=KEY, allow_plaintext_key=True).close()
        longwave.Client(target, api_key=KEY, tls=longwave.Tls()).close()


def test_the_environment_holds_no_key_of_ours(monkeypatch, scripted):
    monkeypatch.setenv("LONGWAVE_API_KEY", KEY)
    seen = []
    scripted.get_model = lambda request, context: (
        seen.extend(context.invocation_metadata()) or script.model()
    )
    with longwave.Client(scripted.address) as client:
        client.info()
    assert seen and "authorization" not in dict(seen)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ca")


@pytest.fixture
def secure_server(start_fake, authority, tmp_path):
    """TLS, client certificates, and a key."""
    authority.issue().write(tmp_path / "own")
    (tmp_path / "ca.pem").write_bytes(authority.root)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "tenants.json").write_text(
        json.dumps({"tenants": [{"name": "tests", "key_sha256": [digest]}]})
    )
    return start_fake(
        f"--tls_certificate={tmp_path}/own/tls.crt",
        f"--tls_key={tmp_path}/own/tls.key",
        f"--tls_client_ca={tmp_path}/ca.pem",
        f"--tenants={tmp_path}/tenants.json",
    )


def test_tls_with_a_certificate_of_the_clients_own_and_a_key(connect, secure_server, authority):
    pair = authority.issue()
    tls = longwave.Tls(ca=authority.root, certificate=pair.certificate, key=pair.key)
    client = connect(secure_server, tls=tls, api_key=KEY)
    assert np.array_equal(client.encode("hello"), fake_rows.row(list(b"hello")))
    assert len(list(client.stream_rows("hello"))) == 1
    assert pair.key.decode() not in repr(tls)
    with pytest.raises(longwave.Unauthenticated) as caught:
        connect(secure_server, tls=tls).encode("hello")
    assert caught.value.reason == "UNAUTHENTICATED"
    with pytest.raises(longwave.Unauthenticated):
        connect(secure_server, tls=tls, api_key="another").encode("hello")


def test_a_server_whose_certificate_leads_elsewhere_is_not_spoken_to(connect, secure_server):
    once = [("grpc.enable_retries", 0)]
    with pytest.raises(longwave.Unavailable):
        connect(secure_server, tls=longwave.Tls(), channel_options=once).encode("hello")


def replicas(servers) -> str:
    return "ipv4:" + ",".join(server.address for server in servers)


# Retries are gRPC's, by the shipped service config.


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    ],
)
def test_calls_are_tried_again_up_to_four_times(connect, scripted, code):
    tries = itertools.count()

    def encode(request, context):
        if next(tries) < 3:
            script.refuse(context, code, reason="DRAINING", retry_after=0.001)
        return script.reply(request)

    scripted.encode = encode
    assert connect(scripted.address).encode("abc").tolist() == [3, 97]
    assert next(tries) == 4


def test_a_service_config_of_the_callers_own(connect, scripted):
    tries = []

    def encode(request, context):
        tries.append(request)
        script.refuse(context, grpc.StatusCode.UNAVAILABLE, reason="DRAINING")

    scripted.encode = encode
    client = connect(scripted.address, service_config="{}")
    with pytest.raises(longwave.Unavailable):
        client.encode("abc")
    assert len(tries) == 1


def test_a_service_config_that_is_none_is_refused():
    with pytest.raises(ValueError):
        longwave.Client("127.0.0.1:1", service_config="[]")
    with pytest.raises(ValueError):
        longwave.Client("127.0.0.1:1", service_config="{")


def test_a_long_request_is_tried_again_too(connect, scripted):
    """A request above gRPC's own retry buffer."""
    tries = itertools.count()

    def encode(request, context):
        if next(tries) == 0:
            script.refuse(context, grpc.StatusCode.UNAVAILABLE, reason="DRAINING")
        return script.reply(request)

    scripted.encode = encode
    scripted.get_model = lambda request, context: script.model(
        limits={"max_receive_message_bytes": 4 << 20}
    )
    client = connect(scripted.address, batch_tokens=1 << 20)
    assert client.encode(["x" * 100_000] * 10)[:, 0].tolist() == [100_000.0] * 10


def test_a_replica_that_dies_costs_a_retry(connect, start_fake):
    servers = [start_fake(), start_fake()]
    client = connect(replicas(servers), batch_tokens=40)
    done = broken = 0
    while done < 2000:
        try:
            for item in client.encode_iter(f"text {n:04}" for n in range(done, 2000)):
                if done == 100:
                    servers[0].kill()
                assert item.error is None
                done += 1
        except longwave.Unavailable:
            # What had begun to answer as it died is not retried: that call goes on where it was.
            broken += 1
            assert broken == 1
    assert client.health()


def test_a_replica_that_drains_costs_nothing(connect, start_fake):
    servers = [start_fake(), start_fake()]
    client = connect(replicas(servers), batch_tokens=40)
    for item in client.encode_iter(f"text {n:04}" for n in range(3000)):
        if item.index == 100:
            servers[0].signal()
        assert item.error is None
        ids = list(f"text {item.index:04}".encode())
        assert np.array_equal(item.embedding, fake_rows.row(ids))
    assert servers[0].wait() == 0
    assert servers[1].metric("longwave_requests_total", method="Encode", code="OK") > 0


def test_a_stream_goes_on_at_another_replica(connect, start_fake):
    servers = [start_fake(seconds_per_token="5e-6"), start_fake(seconds_per_token="5e-6")]
    client = connect(replicas(servers))
    ids = np.random.default_rng(5).integers(0, 256, 60_000)
    blocks = client.stream_rows(ids)
    rows = [next(blocks).values]
    (busy,) = (
        server
        for server in servers
        if server.metric("longwave_requests_started_total", method="EncodeStream") == 1
    )
    busy.kill()
    rows = np.concatenate([*rows, *(block.values for block in blocks)])
    assert len(rows) == len(ids)
    assert all(np.array_equal(rows[n], fake_rows.row(ids.tolist(), n)) for n in (0, 30_000, 59_999))


def test_a_model_that_is_replaced_ends_the_call_and_serves_the_next(connect, start_fake, tmp_path):
    (tmp_path / "fake").write_text("digest first\n")
    server = start_fake(f"--model={tmp_path}")
    client = connect(server, batch_tokens=20)
    assert client.info().weights_digest == "first"
    with pytest.raises(longwave.FailedPrecondition) as caught:
        for item in client.encode_iter(f"{n:08}" for n in itertools.count()):
            if item.index == 20:
                (tmp_path / "fake").write_text("digest second\nrow_seed 7\n")
                server.signal(signal.SIGHUP)
            ids = list(f"{item.index:08}".encode())
            assert np.array_equal(item.embedding, fake_rows.row(ids))
    assert (caught.value.value, caught.value.limit) == ("second", "first")
    result = client.encode(["a", "b"], errors="return")
    assert result.model_digest == "second" and not result.errors
    assert client.info().weights_digest == "second"


def test_the_clients_defaults_and_a_calls_own(connect, scripted):
    seen = []

    def encode(request, context):
        seen.append((request, context.time_remaining()))
        return script.reply(request)

    scripted.encode = encode
    client = connect(
        scripted.address, model="scripted", model_version="1", priority="batch", timeout=100
    )
    client.encode("a")
    client.encode("a", priority="interactive", timeout=50)
    client.encode("a", timeout=float("inf"))
    (first, first_left), (second, second_left), (_, third_left) = seen
    assert (first.model, first.model_version, first.priority) == ("scripted", "1", 2)
    assert second.priority == 1
    assert 50 < first_left < 101 and second_left < 51
    assert third_left > 1e6
    assert first.tokenizer_fingerprint == "byte-v1"


def test_ids_of_the_callers_own_claim_no_tokenizer(connect, scripted):
    seen = []

    def encode(request, context):
        seen.append(request.tokenizer_fingerprint)
        return script.reply(request)

    scripted.encode = encode
    client = connect(scripted.address)
    client.encode([1, 2])
    client.encode([[1, 2], "text"])
    assert seen == ["", "byte-v1"]
