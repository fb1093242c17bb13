"""LangChain: the standard tests of its own, and what they do not ask."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

from longwave.errors import InvalidArgument
from longwave.integrations._clients import Clients
from longwave.integrations.langchain import LateChunkingSplitter, LongwaveEmbeddings


class _AtServer:
    """The standard tests make the class from parameters that are known only at run time."""

    @pytest.fixture(autouse=True)
    def _at(self, target):
        self._target = target

    @property
    def embeddings_class(self):
        return LongwaveEmbeddings

    @property
    def embedding_model_params(self):
        return {"target": self._target}


class TestStandardUnit(_AtServer, EmbeddingsUnitTests):
    @property
    def init_from_env_params(self):
        return {"LONGWAVE_API_KEY": "secret"}, {}, {"api_key": "secret"}


# Some of them are asynchronous, and those alone need the mark.
@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:.*it is not an async function:pytest.PytestWarning")
class TestStandardIntegration(_AtServer, EmbeddingsIntegrationTests):
    pass


@pytest.fixture
def embeddings(target):
    made = LongwaveEmbeddings(target=target)
    yield made
    made.close()


def test_vectors_are_those_of_the_client(embeddings, client, texts):
    expected = client.encode(texts)
    assert np.array_equal(np.float32(embeddings.embed_documents(texts)), expected)
    assert np.array_equal(np.float32(embeddings.embed_query(texts[3])), expected[3])
    assert embeddings.embed_documents([]) == []


def test_options_reach_the_server(target, client):
    with_options = LongwaveEmbeddings(
        target=target,
        document_prompt="passage: ",
        query_prompt="query: ",
        normalize_embeddings=False,
    )
    document = client.encode("passage: a", normalize_embeddings=False)
    query = client.encode("query: a", normalize_embeddings=False)
    assert np.array_equal(np.float32(with_options.embed_documents(["a"])[0]), document)
    assert np.array_equal(np.float32(with_options.embed_query("a")), query)
    assert not np.array_equal(document, query)


def test_asynchronous_calls_never_block_and_survive_their_loop(
    embeddings, client, texts, monkeypatch
):
    def refused(self):
        raise AssertionError("an asynchronous method used the blocking client")

    monkeypatch.setattr(Clients, "blocking", refused)
    expected = client.encode(texts)

    async def both():
        documents, query = await asyncio.gather(
            embeddings.aembed_documents(texts), embeddings.aembed_query(texts[0])
        )
        assert np.array_equal(np.float32(documents), expected)
        assert np.array_equal(np.float32(query), expected[0])

    async def ended():
        await both()
        await embeddings.aclose()
        await both()  # a closed one opens again
        await embeddings.aclose()

    asyncio.run(both())
    asyncio.run(ended())  # another event loop, for which the first one's channel is of no use


def test_an_error_says_what_is_wrong(embeddings):
    with pytest.raises(InvalidArgument) as caught:
        embeddings.embed_documents(["a", "", "b"])
    assert caught.value.reason == "EMPTY_SEQUENCE" and caught.value.index == 1
    with pytest.raises(InvalidArgument) as caught:
        asyncio.run(embeddings.aembed_query(""))
    assert caught.value.reason == "EMPTY_SEQUENCE"


def test_a_copy_for_another_process_has_connections_of_its_own(embeddings, texts):
    expected = embeddings.embed_query(texts[0])
    copy = pickle.loads(pickle.dumps(embeddings))
    assert copy.clients is not embeddings.clients
    embeddings.close()
    assert copy.embed_query(texts[0]) == expected
    copy.close()


def test_fields_are_checked():
    for wrong in ({"max_in_flight": 0}, {"priority": "urgent"}, {"modle": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LongwaveEmbeddings(**wrong)
    with pytest.raises(ValueError, match="frozen"):
        LongwaveEmbeddings().target = "elsewhere"


# Late chunking.

DOCUMENT = Document(
    page_content="The river rose. It broke the dam.\n\nNobody had expected it. It broke the dam.",
    metadata={"source": "chronicle"},
)


def by_sentence(text):
    """Our own form of a splitter: spans of sentences."""
    spans, begin = [], 0
    for end in [at + 1 for at, character in enumerate(text) if character == "."]:
        while text[begin].isspace():
            begin += 1
        spans.append((begin, end))
        begin = end
    return spans


def splitter(size=40, **options):
    return RecursiveCharacterTextSplitter(
        chunk_size=size, chunk_overlap=0, add_start_index=True, **options
    )


def test_chunks_are_pooled_from_one_pass_over_the_whole(embeddings, client):
    chunks = LateChunkingSplitter(embeddings, by_sentence).split_documents([DOCUMENT])
    text = DOCUMENT.page_content
    assert [chunk.page_content for chunk in chunks.documents] == [
        "The river rose.",
        "It broke the dam.",
        "Nobody had expected it.",
        "It broke the dam.",
    ]
    assert all(chunk.metadata["source"] == "chronicle" for chunk in chunks.documents)
    # The law of late chunking: the mean of the whole document's token rows (bytes, here) over the
    # chunk, brought to length 1. Ten float32 roundings of values below 1.
    rows = client.encode_tokens(text, normalize_embeddings=False)
    for chunk, vector in zip(chunks.documents, chunks.embeddings):
        begin = chunk.metadata["start_index"]
        assert text[begin:].startswith(chunk.page_content)
        mean = rows[begin : begin + len(chunk.page_content)].mean(axis=0, dtype=np.float64)
        assert np.allclose(vector, mean / np.linalg.norm(mean), rtol=0, atol=10 * 2**-24)
    # The same words in two places know where they are; embedded alone they do not.
    assert not np.array_equal(chunks.embeddings[1], chunks.embeddings[3])


def test_a_langchain_splitter_gives_the_same_as_its_spans(embeddings):
    theirs = LateChunkingSplitter(embeddings, splitter()).split_documents([DOCUMENT])
    starts = [chunk.metadata["start_index"] for chunk in theirs.documents]
    spans = [
        (start, start + len(chunk.page_content)) for start, chunk in zip(starts, theirs.documents)
    ]
    ours = LateChunkingSplitter(embeddings, lambda text: spans).split_documents([DOCUMENT])
    assert len(theirs) == 3
    assert ours.documents == theirs.documents
    assert np.array_equal(ours.embeddings, theirs.embeddings)


def test_asynchronous_chunks_are_the_same(embeddings, monkeypatch):
    late = LateChunkingSplitter(embeddings, splitter())
    documents = [DOCUMENT, Document(page_content=""), Document(page_content="One. Two.")]
    expected = late.split_documents(documents)
    monkeypatch.setattr(Clients, "blocking", lambda self: pytest.fail("blocks"))
    chunks = asyncio.run(late.asplit_documents(documents))
    assert chunks.documents == expected.documents
    assert np.array_equal(chunks.embeddings, expected.embeddings)


def test_any_store_holds_the_chunks(embeddings):
    chunks = LateChunkingSplitter(embeddings, by_sentence).split_documents([DOCUMENT])
    store = InMemoryVectorStore(chunks.as_embeddings(embeddings))
    names = store.add_documents(chunks.documents)
    held = [store.store[name]["vector"] for name in names]
    # Of the two chunks with the same words each has its own vector, in the order of the document.
    assert np.array_equal(np.float32(held), chunks.embeddings)
    query = embeddings.embed_query("broke the dam")
    cosines = chunks.embeddings @ np.float32(query)
    found = store.similarity_search("broke the dam", k=4)
    order = np.argsort(-cosines)
    assert [hit.metadata["start_index"] for hit in found] == [
        chunks.documents[place].metadata["start_index"] for place in order
    ]
    again = asyncio.run(store.asimilarity_search("broke the dam", k=1))
    assert again[0].metadata == found[0].metadata


def test_pairs_of_text_and_vector_are_plain(embeddings):
    chunks = LateChunkingSplitter(embeddings, by_sentence).split_documents([DOCUMENT])
    text, vector = chunks.text_embeddings()[2]
    assert text == "Nobody had expected it."
    assert type(vector) is list and type(vector[0]) is float
    assert np.array_equal(np.float32(vector), chunks.embeddings[2])


def test_unknown_chunks_are_refused(embeddings):
    chunks = LateChunkingSplitter(embeddings, by_sentence).split_documents([DOCUMENT])
    with pytest.raises(ValueError, match="'something else' is not one of the 4 chunks"):
        chunks.as_embeddings(embeddings).embed_documents(["It broke the dam.", "something else"])


def test_splitters_that_cannot_be_placed_are_refused(embeddings):
    without = RecursiveCharacterTextSplitter(chunk_size=40, chunk_overlap=0)
    with pytest.raises(ValueError, match="add_start_index=True"):
        LateChunkingSplitter(embeddings, without).split_documents([DOCUMENT])
    # This one joins its pieces by another separator than it found, so its chunks are not the text.
    changing = CharacterTextSplitter(
        separator=r"\s+", is_separator_regex=True, chunk_size=40, chunk_overlap=0,
        add_start_index=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match="leaves the text unchanged"):
        LateChunkingSplitter(embeddings, changing).split_documents([DOCUMENT])


def test_no_documents_give_no_chunks(embeddings):
    chunks = LateChunkingSplitter(embeddings, by_sentence).split_documents([])
    assert len(chunks) == 0 and chunks.text_embeddings() == []
