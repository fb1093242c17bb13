"""Servers and clients that the tests of the package's core share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import longwave
import pytest
from scripted import Proxy, ScriptedServer
from servers import Server


@pytest.fixture
def start_fake(fake_program):
    """Starts servers around FakeEncoder; what is still there at the end is stopped."""
    servers = []

    def start(*flags: str, ready: bool = True, **env: str) -> Server:
        script = {f"LONGWAVE_FAKE_{name.upper()}": value for name, value in env.items()}
        servers.append(Server(fake_program, *flags, env=script))
        return servers[-1].ready() if ready else servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def fake_server(fake_program) -> Iterator[Server]:
    """dim 16, 2 layers, vocabulary 1000, truncate_dim 8; each row says what it belongs to."""
    with Server(fake_program) as server:
        yield server.ready()


@pytest.fixture(scope="session")
def real_server(real_program, model_folder) -> Iterator[Server]:
    """The default model: dim 448, 1 layer, ids are bytes."""
    with Server(real_program, f"--model={model_folder}") as server:
        yield server.ready()


class BlockingAsyncClient:
    """AsyncClient as if it were Client, so that one test is for both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = longwave.AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if inspect.iscoroutinefunction(attribute):
            return lambda *args, **kwargs: self._loop.run_until_complete(attribute(*args, **kwargs))
        if name in ("encode_iter", "stream_rows"):
            return lambda *args, **kwargs: self._iterate(attribute(*args, **kwargs))
        return attribute

    def _iterate(self, generator: Any) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(generator, None)

        try:
            while (value := self._loop.run_until_complete(step())) is not None:
                yield value
        finally:
            self._loop.run_until_complete(generator.aclose())

    def __enter__(self) -> BlockingAsyncClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


KINDS: dict[str, Callable[..., Any]] = {
    "Client": longwave.Client,
    "AsyncClient": BlockingAsyncClient,
}


@pytest.fixture(params=list(KINDS))
def connect(request):
    """Makes clients of both kinds, and closes them."""
    made = []

    def make(server: Server | str, **options: Any) -> Any:
        target = server if isinstance(server, str) else f"127.0.0.1:{server.port}"
        client = KINDS[request.param](target, **options)
        made.append(client)
        return client.__enter__()

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def fake(connect, fake_server) -> Any:
    """A client of the fake server."""
    return connect(fake_server)


@pytest.fixture
def real(connect, real_server) -> Any:
    """A client of the real one."""
    return connect(real_server)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server in this process whose every answer the test decides."""
    server = ScriptedServer()
    yield server
    server.stop()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[Server], Proxy]]:
    """Proxies that cut connections to a server."""
    proxies: list[Proxy] = []

    def make(server: Server) -> Proxy:
        proxies.append(Proxy(server.port))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture(scope="session")
def huggingface_file(tmp_path_factory):
    """Words of a small vocabulary, with a token around each text, truncation and padding on."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "the": 300, "turtle": 70_000, "ran": 5}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    path = tmp_path_factory.mktemp("tokenizers") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def sentencepiece_file(tmp_path_factory):
    """A model of 60 pieces of a text that repeats."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("sentencepiece")
    (folder / "text").write_text("the turtle ran and the hedgehog ran too, not far\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "m"), vocab_size=40,
        minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return folder / "m.model"
