"""Haystack: the components by themselves, in pipelines, and in pipelines' files."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from longwave.errors import InvalidArgument
from longwave.integrations._clients import Clients
from longwave.integrations.haystack import LongwaveDocumentEmbedder, LongwaveTextEmbedder

MODULE = "longwave.integrations.haystack"


@pytest.fixture
def text_embedder(target):
    made = LongwaveTextEmbedder(target)
    yield made
    made.close()


@pytest.fixture
def document_embedder(target):
    made = LongwaveDocumentEmbedder(target)
    yield made
    made.close()


@pytest.fixture
def documents(texts):
    return [Document(content=text, meta={"place": place}) for place, text in enumerate(texts)]


def test_vectors_are_those_of_the_client(
    text_embedder, document_embedder, documents, client, texts
):
    text_embedder.warm_up()
    expected = client.encode(texts)
    one = text_embedder.run(texts[0])
    assert np.array_equal(np.float32(one["embedding"]), expected[0])
    many = document_embedder.run(documents)
    embedded = many["documents"]
    assert np.array_equal(np.float32([document.embedding for document in embedded]), expected)
    assert [document.id for document in embedded] == [document.id for document in documents]
    assert all(document.embedding is None for document in documents), "the caller's were changed"
    tokens = sum(len(text.encode()) for text in texts)
    assert many["meta"]["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert many["meta"]["model_digest"] == client.info().weights_digest


def test_asynchronous_runs_never_block(text_embedder, document_embedder, documents, monkeypatch):
    expected = document_embedder.run(documents)
    query = text_embedder.run("query")
    monkeypatch.setattr(Clients, "blocking", lambda self: pytest.fail("blocks"))

    async def both():
        await text_embedder.warm_up_async()
        found = await asyncio.gather(
            document_embedder.run_async(documents), text_embedder.run_async("query")
        )
        await text_embedder.close_async()
        await document_embedder.close_async()
        return found

    for _ in range(2):  # in two event loops
        assert asyncio.run(both()) == [expected, query]


def test_texts_are_composed_as_asked(target, client):
    embedder = LongwaveDocumentEmbedder(
        target, prefix="<", suffix=">", meta_fields_to_embed=["title", "year", "absent"],
        embedding_separator=" | ", normalize_embeddings=False,
    )  # fmt: skip
    document = Document(content="body", meta={"title": "T", "year": 1999})
    found = embedder.run([document])["documents"][0].embedding
    expected = client.encode("<T | 1999 | body>", normalize_embeddings=False)
    assert np.array_equal(np.float32(found), expected)
    text = LongwaveTextEmbedder(target, prefix="<", suffix=">").run("body")["embedding"]
    assert np.array_equal(np.float32(text), client.encode("<body>"))


def test_pipelines_index_and_find(target, documents, client, texts):
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    indexing = Pipeline()
    indexing.add_component("embedder", LongwaveDocumentEmbedder(target))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder.documents", "writer.documents")
    assert indexing.run({"embedder": {"documents": documents}})["writer"] == {
        "documents_written": len(texts)
    }
    querying = Pipeline()
    querying.add_component("embedder", LongwaveTextEmbedder(target))
    querying.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=4))
    querying.connect("embedder.embedding", "retriever.query_embedding")
    cosines = client.encode(texts) @ client.encode("the dam")
    wanted = [int(place) for place in np.argsort(-cosines)[:4]]
    found = querying.run({"embedder": {"text": "the dam"}})["retriever"]["documents"]
    assert [document.meta["place"] for document in found] == wanted
    again = asyncio.run(querying.run_async({"embedder": {"text": "the dam"}}))
    places = [document.meta["place"] for document in again["retriever"]["documents"]]
    assert places == wanted


def test_a_pipeline_comes_back_from_its_file(target, documents, monkeypatch):
    monkeypatch.setenv("LONGWAVE_API_KEY", "secret")
    pipeline = Pipeline()
    pipeline.add_component(
        "documents",
        LongwaveDocumentEmbedder(
            target, meta_fields_to_embed=["place"], raise_on_failure=False, timeout=20.0
        ),
    )
    pipeline.add_component("text", LongwaveTextEmbedder(target, prefix="q: "))
    kept = pipeline.dumps()
    assert "secret" not in kept and "LONGWAVE_API_KEY" in kept
    again = Pipeline.loads(kept, allowed_modules=[MODULE])
    assert again.dumps() == kept
    inputs = {"documents": {"documents": documents[:3]}, "text": {"text": "a"}}
    assert again.run(inputs) == pipeline.run(inputs)


def test_every_parameter_comes_back(target):
    given = {
        "target": target, "model": "m", "model_version": "3", "allow_plaintext_key": True,
        "tls_ca_file": "ca.pem", "tls_certificate_file": "me.pem", "tls_key_file": "me.key",
        "tokenizer_file": "tokenizer.json", "timeout": 3.5, "priority": "batch",
        "max_in_flight": 2, "batch_tokens": 77, "prefix": "<", "suffix": ">",
        "normalize_embeddings": False, "truncate_dim": 8,
    }  # fmt: skip
    more = {
        "meta_fields_to_embed": ["a"], "embedding_separator": "-", "progress_bar": True,
        "raise_on_failure": False,
    }  # fmt: skip
    key = Secret.from_env_var("OTHER_KEY")
    for kind, parameters in (
        (LongwaveTextEmbedder, given),
        (LongwaveDocumentEmbedder, {**given, **more}),
    ):
        kept = kind(api_key=key, **parameters).to_dict()
        assert kept["init_parameters"] == {**parameters, "api_key": key.to_dict()}
        assert kind.from_dict(kept).to_dict() == kept


def test_a_key_in_the_program_is_not_kept(target):
    component = LongwaveTextEmbedder(target, api_key=Secret.from_token("secret"))
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        component.to_dict()
    assert "secret" not in repr(component)
    assert (
        LongwaveTextEmbedder(target, api_key=None).to_dict()["init_parameters"]["api_key"] is None
    )


def test_documents_that_fail_are_named(target, texts, caplog):
    documents = [Document(content=texts[0]), Document(content=""), Document(content=texts[1])]
    with pytest.raises(InvalidArgument) as caught:
        LongwaveDocumentEmbedder(target).run(documents)
    assert caught.value.index == 1
    with caplog.at_level(logging.WARNING, logger=MODULE):
        found = LongwaveDocumentEmbedder(target, raise_on_failure=False).run(documents)
    assert [document.embedding is None for document in found["documents"]] == [False, True, False]
    assert documents[1].id in caplog.text and "empty" in caplog.text


def test_wrong_inputs_are_refused(text_embedder, document_embedder):
    with pytest.raises(TypeError, match="LongwaveDocumentEmbedder"):
        text_embedder.run([Document(content="a")])
    with pytest.raises(TypeError, match="LongwaveTextEmbedder"):
        document_embedder.run("a")
    assert document_embedder.run([]) == {"documents": [], "meta": {}}
