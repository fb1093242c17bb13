"""What users of the official client see."""

from __future__ import annotations

import asyncio
import base64

import httpx
import langchain_openai
import longwave
import numpy as np
import openai
import pytest
from openai_processes import ALIAS, Sidecar
from servers import PATIENCE, Server

TEXTS = ["Hello", "a longer text, with Ümlaut and 漢字", "x" * 3000]


def vectors(reply: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    assert [item.index for item in reply.data] == list(range(len(reply.data)))
    return np.array([item.embedding for item in reply.data], np.float64).astype(np.float32)


def direct(server: Server, inputs: object, **options: object) -> np.ndarray:
    """The same from the library."""
    with longwave.Client(server.address) as client:
        return np.asarray(client.encode(inputs, **options))


@pytest.fixture
def server(sidecar: Sidecar, fake: Sidecar, request: pytest.FixtureRequest) -> Server:
    """The one behind `sidecar`."""
    name = "fake_server" if sidecar is fake else "real_server"
    found: Server = request.getfixturevalue(name)
    return found


def model_name(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def test_texts_get_the_vectors_of_the_library_bit_for_bit(
    client: openai.OpenAI, server: Server
) -> None:
    reply = client.embeddings.create(model=ALIAS, input=TEXTS)
    assert reply.object == "list"
    assert reply.model == ALIAS
    assert reply.usage.prompt_tokens == sum(len(text.encode()) for text in TEXTS)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens
    assert np.array_equal(vectors(reply), direct(server, TEXTS))


def test_one_text_and_its_token_ids_are_the_same(client: openai.OpenAI) -> None:
    text = client.embeddings.create(model=ALIAS, input="Hello")
    ids = client.embeddings.create(model=ALIAS, input=list(b"Hello"))
    lists = client.embeddings.create(model=ALIAS, input=[list(b"Hello"), list(b"x")])
    assert np.array_equal(vectors(text), vectors(ids))
    assert np.array_equal(vectors(text)[0], vectors(lists)[0])
    assert ids.usage.total_tokens == 5
    assert lists.usage.total_tokens == 6


def test_both_formats_have_the_same_bits(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(model=ALIAS, input=TEXTS, encoding_format="float")
    packed = client.embeddings.create(model=ALIAS, input=TEXTS)  # asks for base64
    assert np.array_equal(vectors(plain), vectors(packed))


def test_base64_is_little_endian_float32(fake_client: openai.OpenAI, fake_server: Server) -> None:
    reply = fake_client.embeddings.create(model=ALIAS, input="Hello", encoding_format="base64")
    packed: object = reply.data[0].embedding
    assert isinstance(packed, str)
    unpacked = np.frombuffer(base64.b64decode(packed), "<f4")
    assert np.array_equal(unpacked, direct(fake_server, "Hello"))


def test_the_models_own_name_and_the_alias_are_the_same(client: openai.OpenAI) -> None:
    own = client.embeddings.create(model=model_name(client), input="Hello")
    assert own.model == model_name(client)
    assert np.array_equal(
        vectors(own), vectors(client.embeddings.create(model=ALIAS, input="Hello"))
    )


def test_dimensions_are_the_first_values(fake_client: openai.OpenAI, fake_server: Server) -> None:
    reply = fake_client.embeddings.create(model=ALIAS, input=TEXTS, dimensions=8)
    assert np.array_equal(vectors(reply), direct(fake_server, TEXTS, truncate_dim=8))


def test_undeclared_dimensions_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=ALIAS, input="Hello", dimensions=7)
    assert caught.value.code == "INVALID_FIELD"
    assert caught.value.param == "dimensions"
    assert "7" in caught.value.message


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="text-embedding-ada-002", input="Hello")
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_models(client: openai.OpenAI, server: Server) -> None:
    with longwave.Client(server.address) as library:
        info = library.info()
    listed = client.models.list().data
    assert [model.id for model in listed] == [info.name, ALIAS]
    for name in (info.name, ALIAS):
        model = client.models.retrieve(name)
        assert (model.id, model.object, model.owned_by) == (name, "model", "longwave")
        extra = model.model_extra
        assert extra is not None
        assert extra["max_model_len"] == info.max_tokens
        assert extra["longwave"]["model_digest"] == info.weights_digest
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("a/b")
    assert caught.value.code == "model_not_found"


def test_reply_names_the_weights(client: openai.OpenAI, server: Server) -> None:
    with longwave.Client(server.address) as library:
        digest = library.info().weights_digest
    raw = client.embeddings.with_raw_response.create(model=ALIAS, input="Hello")
    assert raw.headers["longwave-model-digest"] == digest


def test_truncation_as_vllm_spells_it(client: openai.OpenAI, server: Server) -> None:
    def cut(**extra: object) -> openai.types.CreateEmbeddingResponse:
        return client.embeddings.create(model=ALIAS, input="Hello", extra_body=extra)

    right = cut(truncate_prompt_tokens=2)
    assert right.usage.total_tokens == 2
    assert np.array_equal(vectors(right), direct(server, ["He"]))
    left = cut(truncate_prompt_tokens=2, truncation_side="left")
    assert np.array_equal(vectors(left), direct(server, ["lo"]))
    whole = cut(truncate_prompt_tokens=-1)
    assert np.array_equal(vectors(whole), direct(server, ["Hello"]))


@pytest.mark.parametrize("priority", [0, -5, 3, "interactive", "batch"])
def test_priorities_are_accepted(fake_client: openai.OpenAI, priority: object) -> None:
    reply = fake_client.embeddings.create(
        model=ALIAS, input="Hello", user="u", extra_body={"priority": priority}
    )
    assert len(reply.data) == 1


def test_the_most_inputs_of_a_request(fake_client: openai.OpenAI, fake_server: Server) -> None:
    texts = [f"text {number}" for number in range(2048)]  # more than a gRPC request holds
    reply = fake_client.embeddings.create(model=ALIAS, input=texts)
    assert np.array_equal(vectors(reply), direct(fake_server, texts))
    with pytest.raises(openai.BadRequestError) as caught:
        fake_client.embeddings.create(model=ALIAS, input=[*texts, "one more"])
    assert caught.value.code == "REQUEST_TOO_LARGE"
    assert "2049" in caught.value.message and "2048" in caught.value.message


def test_a_sequence_too_long_for_a_unary_call(
    fake_client: openai.OpenAI, fake_server: Server
) -> None:
    ids = [number % 1000 for number in range(1 << 18)]
    reply = fake_client.embeddings.create(model=ALIAS, input=ids)
    assert reply.usage.total_tokens == 1 << 18
    assert np.array_equal(vectors(reply)[0], direct(fake_server, np.array(ids)))


def test_async_clients_at_once(sidecar: Sidecar, server: Server) -> None:
    texts = [f"text {number}" for number in range(64)]

    async def run() -> list[openai.types.CreateEmbeddingResponse]:
        async with openai.AsyncOpenAI(
            api_key="a-key", base_url=f"{sidecar.url}/v1", max_retries=0, timeout=PATIENCE
        ) as client:
            calls = [client.embeddings.create(model=ALIAS, input=text) for text in texts]
            return await asyncio.gather(*calls)

    got = np.concatenate([vectors(reply) for reply in asyncio.run(run())])
    assert np.array_equal(got, direct(server, texts))


def test_request_ids(fake_client: openai.OpenAI, fake: Sidecar, http: httpx.Client) -> None:
    raw = fake_client.embeddings.with_raw_response.create(
        model=ALIAS, input="Hello", extra_headers={"X-Request-ID": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    line = fake.await_event("request", lambda event: event["request_id"] == "mine-1")
    assert (line["status"], line["inputs"], line["tokens"]) == (200, 1, 5)
    made = {http.get("/healthz").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    for unusable in ("x" * 129, "a b"):
        given = http.get("/healthz", headers={"x-request-id": unusable}).headers["x-request-id"]
        assert given != unusable and len(given) == 32


def test_langchain(sidecar: Sidecar, server: Server) -> None:
    """Its default, check_embedding_ctx_length, would send ids of OpenAI's own tokenizer."""
    embeddings = langchain_openai.OpenAIEmbeddings(
        model=ALIAS,
        api_key="a-key",
        base_url=f"{sidecar.url}/v1",
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    got = np.array(embeddings.embed_documents(TEXTS)).astype(np.float32)
    assert np.array_equal(got, direct(server, TEXTS))
    query = np.array(embeddings.embed_query(TEXTS[1])).astype(np.float32)
    assert np.array_equal(query, got[1])
