"""LlamaIndex: embeddings by themselves and in an index."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from longwave.errors import InvalidArgument
from longwave.integrations._clients import Clients
from longwave.integrations.llama_index import LongwaveEmbedding


@pytest.fixture
def embedding(target):
    made = LongwaveEmbedding(target=target)
    yield made
    made.close()


def test_vectors_are_those_of_the_client(embedding, client, texts):
    expected = client.encode(texts)
    assert np.array_equal(np.float32(embedding.get_text_embedding_batch(texts)), expected)
    assert np.array_equal(np.float32(embedding.get_text_embedding(texts[1])), expected[1])
    assert np.array_equal(np.float32(embedding.get_query_embedding(texts[2])), expected[2])


def test_batches_do_not_change_vectors(target, client, texts):
    small = LongwaveEmbedding(target=target, embed_batch_size=7)
    assert len(texts) % 7 != 0
    assert np.array_equal(np.float32(small.get_text_embedding_batch(texts)), client.encode(texts))


def test_asynchronous_calls_never_block_and_survive_their_loop(
    embedding, client, texts, monkeypatch
):
    monkeypatch.setattr(Clients, "blocking", lambda self: pytest.fail("blocks"))
    expected = client.encode(texts)

    async def all_three():
        batch, text, query = await asyncio.gather(
            embedding.aget_text_embedding_batch(texts),
            embedding.aget_text_embedding(texts[1]),
            embedding.aget_query_embedding(texts[2]),
        )
        assert np.array_equal(np.float32(batch), expected)
        assert np.array_equal(np.float32(text), expected[1])
        assert np.array_equal(np.float32(query), expected[2])
        await embedding.aclose()

    asyncio.run(all_three())
    asyncio.run(all_three())


def test_instructions_and_options_reach_the_server(target, client):
    made = LongwaveEmbedding(
        target=target,
        text_instruction="passage: ",
        query_instruction="query: ",
        normalize_embeddings=False,
    )
    text = client.encode("passage: a", normalize_embeddings=False)
    query = client.encode("query: a", normalize_embeddings=False)
    assert np.array_equal(np.float32(made.get_text_embedding("a")), text)
    assert np.array_equal(np.float32(made.get_text_embedding_batch(["a"])[0]), text)
    assert np.array_equal(np.float32(made.get_query_embedding("a")), query)


def test_an_index_finds_what_is_nearest(embedding, client, texts, tmp_path):
    nodes = [TextNode(text=text, id_=str(place)) for place, text in enumerate(texts)]
    index = VectorStoreIndex(nodes, embed_model=embedding)
    query = texts[5] + " and more"
    cosines = client.encode(texts) @ client.encode(query)
    wanted = [str(place) for place in np.argsort(-cosines)[:4]]
    found = index.as_retriever(similarity_top_k=4).retrieve(query)
    assert [hit.node.node_id for hit in found] == wanted
    assert np.allclose([hit.score for hit in found], np.sort(cosines)[::-1][:4], atol=1e-6)
    again = asyncio.run(index.as_retriever(similarity_top_k=4).aretrieve(query))
    assert [hit.node.node_id for hit in again] == wanted
    # The vectors are in the index's file; another process needs the embedding for queries only.
    index.storage_context.persist(str(tmp_path))
    loaded = load_index_from_storage(
        StorageContext.from_defaults(persist_dir=str(tmp_path)), embed_model=embedding
    )
    hits = loaded.as_retriever(similarity_top_k=4).retrieve(query)
    assert [hit.node.node_id for hit in hits] == wanted


def test_a_pipeline_embeds_the_nodes_it_makes(embedding, client):
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=32, chunk_overlap=0), embedding],
        disable_cache=True,
    )
    text = "The river rose. It broke the dam. " * 20
    nodes = pipeline.run(documents=[Document(text=text)])
    assert len(nodes) > 1
    expected = client.encode([node.get_content() for node in nodes])
    assert np.array_equal(np.float32([node.embedding for node in nodes]), expected)


def test_a_cache_is_asked_first(target, client, texts):
    made = LongwaveEmbedding(target=target, embeddings_cache=SimpleKVStore())
    first = made.get_text_embedding_batch(texts[:3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clients, "blocking", lambda self: pytest.fail("asked the server again"))
        assert made.get_text_embedding_batch(texts[:3]) == first


def test_an_error_says_what_is_wrong(embedding):
    with pytest.raises(InvalidArgument) as caught:
        embedding.get_text_embedding_batch(["a", ""])
    assert caught.value.reason == "EMPTY_SEQUENCE" and caught.value.index == 1


def test_it_is_kept_in_files_without_the_key(target, texts):
    made = LongwaveEmbedding(target=target, api_key="secret", truncate_dim=None, timeout=20.0)
    kept = made.to_json()
    assert "secret" not in kept
    again = LongwaveEmbedding.from_json(kept)
    assert (again.target, again.timeout, again.api_key) == (target, 20.0, None)
    assert "secret" not in str(made.to_payload())


def test_a_copy_for_another_process_has_connections_of_its_own(embedding, texts):
    expected = embedding.get_query_embedding(texts[0])
    copy = pickle.loads(pickle.dumps(embedding))
    embedding.close()
    assert copy.get_query_embedding(texts[0]) == expected
    copy.close()
