"""What all integrations do alike: keys, connections, packages that are not there."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pathlib
import pickle
import subprocess
import sys

import pytest
from haystack.utils import Secret
from servers import Server

import longwave
from longwave.integrations._clients import Clients
from longwave.integrations._columns import ColumnSettings
from longwave.integrations._extras import missing, require
from longwave.integrations.haystack import LongwaveTextEmbedder
from longwave.integrations.langchain import LongwaveEmbeddings
from longwave.integrations.llama_index import LongwaveEmbedding
from longwave.integrations.ray import LongwaveMapper

KEY = "key-of-the-tests"
EXTRAS = {
    "langchain": ("langchain_core", "langchain"),
    "llama_index": ("llama_index", "llama-index"),
    "haystack": ("haystack", "haystack"),
    "faiss": ("faiss", "faiss"),
    "qdrant": ("qdrant_client", "qdrant"),
    "pgvector": ("psycopg", "pgvector"),
    "spark": ("pyspark", "spark"),
}


@pytest.fixture(scope="module")
def guarded(real_program, model_folder, tmp_path_factory):
    """Address of a server that only the owner of KEY may call."""
    path = tmp_path_factory.mktemp("keys") / "tenants.json"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    path.write_text(json.dumps({"tenants": [{"name": "tests", "key_sha256": [digest]}]}))
    with Server(real_program, f"--model={model_folder}", f"--tenants={path}").ready() as server:
        yield server.address


# Each takes a target and a key or None, and gives functions that embed one text.


def with_langchain(target, key):
    made = LongwaveEmbeddings(target=target, api_key=key)
    return made, made.embed_query, made.aembed_query


def with_llama_index(target, key):
    made = LongwaveEmbedding(target=target, api_key=key)
    return made, made.get_query_embedding, made.aget_query_embedding


def with_haystack(target, key):
    made = LongwaveTextEmbedder(target, api_key=Secret.from_token(key) if key else None)
    return made, made.run, made.run_async


FRAMEWORKS = [with_langchain, with_llama_index, with_haystack]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_key_travels_and_is_never_shown(guarded, framework):
    made, blocking, asynchronous = framework(guarded, KEY)
    assert blocking("a") == asyncio.run(asynchronous("a"))
    shown = [repr(made), str(made), repr(vars(made)), repr(made._clients)]
    if hasattr(made, "model_dump_json"):
        shown += [made.model_dump_json(), repr(made.model_dump())]
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("key", [None, "a-wrong-key"])
def test_without_the_key_the_server_refuses(guarded, framework, key):
    _, blocking, asynchronous = framework(guarded, key)
    with pytest.raises(longwave.Unauthenticated) as caught:
        blocking("a")
    assert caught.value.reason == "UNAUTHENTICATED"
    with pytest.raises(longwave.Unauthenticated):
        asyncio.run(asynchronous("a"))


def test_the_environment_has_the_key(guarded, monkeypatch):
    monkeypatch.setenv("LONGWAVE_API_KEY", KEY)
    assert LongwaveEmbeddings(target=guarded).embed_query("a")
    assert LongwaveEmbedding(target=guarded).get_query_embedding("a")
    assert LongwaveTextEmbedder(guarded).run("a")["embedding"]
    assert LongwaveMapper(guarded)({"text": ["a"]})["embedding"].shape == (1, 448)


def test_workers_read_the_key_from_the_variable_that_is_named(guarded, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    settings = ColumnSettings(guarded, api_key_variable="MY_KEY")
    assert KEY.encode() not in pickle.dumps(settings)
    with settings.connect() as client:
        assert client.encode("a").shape == (448,)
    with ColumnSettings(guarded).connect() as client, pytest.raises(longwave.Unauthenticated):
        client.encode("a")


def test_clients_are_made_once_and_again_after_close(target):
    clients = Clients(target, {"max_in_flight": 2})
    first = clients.blocking()
    assert clients.blocking() is first
    clients.close()
    clients.close()
    assert clients.blocking() is not first
    assert clients.blocking().encode("a").shape == (448,)
    clients.close()

    async def once():
        mine = clients.asynchronous()
        assert clients.asynchronous() is mine
        await clients.aclose()
        await clients.aclose()
        assert clients.asynchronous() is not mine
        return clients.asynchronous()

    one, other = asyncio.run(once()), asyncio.run(once())
    assert one is not other
    # Of loops that are closed nothing is kept, however many there were.
    assert len(clients._async_clients) == 1
    with pytest.raises(RuntimeError, match="no running event loop"):
        clients.asynchronous()


def test_copies_of_clients_share_no_connection(target):
    clients = Clients(target, {"api_key": KEY})
    first = clients.blocking()
    for twin in (copy.deepcopy(clients), copy.copy(clients), pickle.loads(pickle.dumps(clients))):
        assert twin.blocking() is not first
        twin.close()
    assert KEY not in repr(clients)
    clients.close()


def test_options_of_the_client_are_checked_where_they_are_used(target):
    with pytest.raises(TypeError, match="colour"):
        Clients(target, {"colour": "blue"}).blocking()


# Where the module itself does without the package: what first needs it.
FIRST_USES = {
    "faiss": "module.FaissIndex.load('absent')",
    "qdrant": "module.QdrantCollection('a', info)._config()",
    "pgvector": "module.PgVectorTable('a', info)",
    "spark": "module.embedding_udf()",
}


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_package_is_named_with_its_extra(module):
    package, extra = EXTRAS[module]
    # In a process of its own, in which the package cannot be imported.
    program = f"""
import sys, types
sys.modules[{package!r}] = None
info = types.SimpleNamespace(dim=8, weights_digest="")
try:
    import longwave.integrations.{module} as module
    {FIRST_USES.get(module, "print('imported without it')")}
except ImportError as error:
    print(error)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert f'pip install "longwave-client[{extra}]"' in found.stdout, found.stdout + found.stderr


def test_another_error_inside_a_package_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import something_that_is_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        require("broken_package", "faiss")
    other = ImportError("cannot import name 'x'", name="langchain_core")
    assert missing("langchain_core", "langchain", other) is other


def test_importing_the_integrations_imports_no_framework():
    program = "import sys, longwave.integrations, longwave; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(found.stdout.split())
    assert "longwave.integrations" in loaded
    assert not loaded & {package for package, _ in EXTRAS.values()} | loaded & {"ray", "pandas"}


def test_every_integration_has_its_extra():
    root = pathlib.Path(__file__).resolve().parents[3] / "client" / "python"
    text = (root / "pyproject.toml").read_text()
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    named = {line.partition(" =")[0] for line in extras.splitlines() if " = " in line}
    folder = root / "src" / "longwave" / "integrations"
    modules = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    assert {name.replace("_", "-") for name in modules} <= named
    assert {name.replace("_", "-") for name in EXTRAS} <= named
