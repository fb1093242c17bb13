"""Against the real server and the default model: the vectors that direct calls of the API give."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from longwave import _api, late_chunking

TEXTS = [
    "A sentence.",
    "Żółw i jeż, 亀とハリネズミ.",
    "x",
    "The same words, again and again. " * 40,
    "line\nbreaks\tand tabs",
]


@pytest.fixture(scope="module")
def direct(real_server):
    """Encode as the API has it: a request of one text, without the client."""
    path, request_class, response_class = _api.ENCODE
    with grpc.insecure_channel(real_server.address) as channel:
        method = channel.unary_unary(
            path, request_class.SerializeToString, response_class.FromString
        )

        def encode(text: str, **output) -> np.ndarray:
            request = _api.EncodeRequest(output=output)
            request.tokens.ids_list.extend(text.encode())
            block = method(request, timeout=60).embeddings
            return np.frombuffer(block.data, "<f4").reshape(block.rows, block.dim)

        yield encode


def test_vectors_are_those_of_direct_calls_bit_for_bit(real, direct):
    vectors = real.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors):
        assert np.array_equal(vector, direct(text)[0]), text
        assert np.array_equal(real.encode(text), vector), text


def test_a_list_is_its_singles_whatever_the_batches(connect, real_server):
    texts = [f"{text} {n}" for n in range(12) for text in TEXTS]
    few = connect(real_server, batch_tokens=300, max_in_flight=3).encode(texts)
    many = connect(real_server).encode(texts)
    assert np.array_equal(few, many)
    for index in (0, 3, 58):
        assert np.array_equal(connect(real_server).encode(texts[index]), many[index])


def test_token_rows_spans_and_layers(real, direct):
    text = TEXTS[1]
    none, spans = _api.POOLING["POOLING_NONE"], _api.POOLING["POOLING_SPANS"]
    assert np.array_equal(real.encode_tokens(text), direct(text, pooling=none))
    layers = [0, 1]
    assert np.array_equal(
        real.encode_tokens(text, layers=layers), direct(text, pooling=none, layers=layers)
    )
    ranges = [(0, 3), (2, 9)]
    asked = [{"begin": begin, "end": end} for begin, end in ranges]
    assert np.array_equal(real.encode(text, spans=ranges), direct(text, pooling=spans, spans=asked))


def test_streamed_rows_are_those_of_unary_calls(real):
    text = TEXTS[3]
    rows = np.concatenate([block.values for block in real.stream_rows(text)])
    assert np.array_equal(rows, real.encode_tokens(text))


def test_precisions(real):
    exact = real.encode(TEXTS)
    assert np.array_equal(real.encode(TEXTS, precision="float16"), exact.astype(np.float16))
    quantized = real.encode(TEXTS, precision="int8")
    assert np.abs(quantized.dequantize() - exact).max() <= quantized.scales.max() * 0.5001
    packed = real.encode(TEXTS, precision="ubinary")
    assert np.array_equal(packed, np.packbits(exact > 0, axis=1))
    half = real.encode(TEXTS, precision="bfloat16").view(np.uint16)
    nearest = half.astype(np.uint32) << 16
    assert np.abs(nearest.view(np.float32) - exact).max() <= np.abs(exact).max() * 2**-8


def test_a_sequence_that_goes_by_stream_gives_the_same_bits(real, real_server, monkeypatch):
    long, short = real.encode([TEXTS[3], "short"])
    before = real_server.metric("longwave_requests_total", method="EncodeStream")
    monkeypatch.setattr("longwave._plan.STREAM_TOKENS", 1000)
    streamed = real.encode([TEXTS[3], "short"])
    assert np.array_equal(streamed, [long, short])
    assert real_server.metric("longwave_requests_total", method="EncodeStream") == before + 1


def test_late_chunks_are_the_means_of_their_token_rows(real):
    document = "Żółw szedł. Jeż biegł! Kto był pierwszy? " * 3
    split = late_chunking.split_sentences()
    chunks = split(document)
    vectors = real.encode_chunks(document, split, normalize_embeddings=False)
    rows = real.encode_tokens(document, normalize_embeddings=False)
    assert vectors.shape == (len(chunks), 448) and len(chunks) == 9
    for (begin, end), vector in zip(chunks, vectors):
        first = len(document[:begin].encode())
        last = first + len(document[begin:end].encode())
        mean = rows[first:last].mean(axis=0)
        assert np.abs(vector - mean).max() <= 1e-5 * np.abs(rows).max()
    # They know what surrounds them: alone, a chunk is another vector.
    alone = real.encode(document[slice(*chunks[1])], normalize_embeddings=False)
    assert np.abs(alone - vectors[1]).max() > 1e-3


def test_what_the_model_is(real):
    info = real.info()
    assert (info.name, info.dim, info.layers, info.tokenizer_kind) == ("default", 448, 1, "byte")
    assert info.tokenizer_fingerprint == "byte-v1" and info.default_normalize
    assert len(info.weights_digest) == 64
    estimate = real.estimate([100_000])
    assert estimate.admissible and estimate.seconds > 0 and estimate.routes
