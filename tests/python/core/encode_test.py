"""encode: what comes back is what was asked for, in order, however it travelled."""

from __future__ import annotations

import fake_rows
import longwave
import numpy as np
import pytest

TEXTS = ["one", "two words", "ü", "x" * 300, "a", "the last one"]


def ids_of(text: str) -> list[int]:
    return list(text.encode())


def requests_seen(server) -> float:
    return server.metric("longwave_requests_total", method="Encode")


def test_one_text_gives_one_vector(fake):
    vector = fake.encode("hello")
    assert vector.shape == (16,) and vector.dtype == np.float32
    assert np.array_equal(vector, fake_rows.row(ids_of("hello")))


def test_a_list_gives_one_array_in_order(fake):
    vectors = fake.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)
    for text, vector in zip(TEXTS, vectors):
        assert np.array_equal(vector, fake_rows.row(ids_of(text))), text


def test_a_list_of_one_is_a_list(fake):
    assert fake.encode(["a"]).shape == (1, 16)


def test_an_empty_list_gives_no_vectors(fake):
    assert fake.encode([]).shape == (0, 16)
    assert fake.encode([], precision="ubinary").shape == (0, 2)
    assert fake.encode([], precision="int8").values.shape == (0, 16)


@pytest.mark.parametrize(
    "ids",
    [
        [5, 999, 300],
        (5, 999, 300),
        np.array([5, 999, 300]),
        np.array([5, 999, 300], np.uint16),
        np.array([5, 99, 30], np.uint8),
        np.array([5, 99, 30], ">i4"),
        np.arange(12)[::3],
    ],
    ids=["list", "tuple", "int64", "uint16", "uint8", "big-endian", "strided"],
)
def test_ids_of_any_integer_type(fake, ids):
    assert np.array_equal(fake.encode(ids), fake_rows.row([int(token) for token in ids]))


def test_bytes_are_ids_of_the_byte_tokenizer(fake):
    assert np.array_equal(fake.encode(b"\xff\x00a"), fake_rows.row([255, 0, 97]))


def test_texts_and_ids_of_all_widths_in_one_list(fake):
    mixed = ["text", [999], b"\x01\x02", np.array([256, 3]), [7]]
    expected = [ids_of("text"), [999], [1, 2], [256, 3], [7]]
    for vector, ids in zip(fake.encode(mixed), expected):
        assert np.array_equal(vector, fake_rows.row(ids))


def test_two_dimensional_ids_are_a_list_of_sequences(fake):
    vectors = fake.encode(np.array([[1, 2], [3, 4]]))
    assert np.array_equal(vectors[1], fake_rows.row([3, 4]))


def test_any_iterable_of_texts(fake):
    expected = fake.encode(["a", "b"])
    for texts in (
        (text for text in ["a", "b"]),
        ("a", "b"),
        np.array(["a", "b"]),
        {"a": 1, "b": 2}.keys(),
    ):
        assert np.array_equal(fake.encode(texts), expected)


class Tensor:
    """As other libraries' arrays are: numpy can read them."""

    def __init__(self, values):
        self._values = np.array(values)

    def __array__(self, dtype=None, copy=None):
        return self._values


def test_arrays_of_other_libraries(fake):
    assert np.array_equal(fake.encode(Tensor([1, 2, 3])), fake_rows.row([1, 2, 3]))
    assert np.array_equal(fake.encode(Tensor([[1, 2], [3, 4]]))[1], fake_rows.row([3, 4]))
    assert np.array_equal(fake.encode([Tensor([1, 2]), "a"])[0], fake_rows.row([1, 2]))


def test_long_lists_are_split_by_tokens_and_put_together_in_order(connect, start_fake):
    server = start_fake()
    client = connect(server, batch_tokens=1000)
    rng = np.random.default_rng(1)
    lists = [rng.integers(0, 256, int(n)).tolist() for n in rng.integers(1, 200, 300)]
    client.encode("warm")  # GetModel
    before = requests_seen(server)
    vectors = client.encode(lists)
    assert all(np.array_equal(v, fake_rows.row(ids)) for v, ids in zip(vectors, lists))
    tokens = sum(map(len, lists))
    assert tokens / 1000 <= requests_seen(server) - before <= 1.3 * tokens / 1000 + 1


def test_batch_size_bounds_the_sequences_of_a_request(connect, start_fake):
    server = start_fake()
    client = connect(server)
    client.encode("warm")
    before = requests_seen(server)
    assert client.encode(["a"] * 10, batch_size=3).shape == (10, 16)
    assert requests_seen(server) - before == 4


def test_more_sequences_than_a_request_may_hold(connect, start_fake):
    client = connect(start_fake("--max_sequences=7"))
    vectors = client.encode(["a", "b"] * 20)
    assert np.array_equal(vectors[39], fake_rows.row(ids_of("b")))


@pytest.mark.parametrize(
    ("pooling", "number"),
    [("mean", fake_rows.MEAN), ("max", fake_rows.MAX), ("cls", 0), ("last", 4)],
)
def test_poolings(fake, pooling, number):
    vector = fake.encode("hello", pooling=pooling)
    assert np.array_equal(vector, fake_rows.row(ids_of("hello"), number))


def test_normalisation_is_the_models_unless_asked(fake):
    ids = ids_of("hello")
    assert not fake.info().default_normalize
    for asked, done in ((None, False), (False, False), (True, True)):
        vector = fake.encode("hello", normalize_embeddings=asked)
        assert np.array_equal(vector, fake_rows.row(ids, normalize=done)), asked


def test_truncate_dim_cuts_before_normalising(fake):
    vector = fake.encode("hello", truncate_dim=8, normalize_embeddings=True)
    assert np.array_equal(vector, fake_rows.row(ids_of("hello"), dim=8, normalize=True))
    assert fake.encode(["hello"], truncate_dim=8, precision="ubinary").shape == (1, 1)


def test_layers_lie_side_by_side(fake):
    vector = fake.encode("hello", layers=[0, -1, 1])
    assert np.array_equal(vector, fake_rows.row(ids_of("hello"), layers=(0, 2, 1)))


def test_spans_of_one_sequence(fake):
    rows = fake.encode("hello", spans=[(0, 2), (1, 5)])
    ids = ids_of("hello")
    numbers = [fake_rows.span_row(0, 2), fake_rows.span_row(1, 5)]
    assert np.array_equal(rows, np.stack([fake_rows.row(ids, number) for number in numbers]))


def test_spans_of_each_sequence_of_a_list(connect, fake_server):
    client = connect(fake_server, batch_tokens=6)  # several requests, sorted by length
    texts = ["ab", "abcdef", "abc"]
    spans = [[(0, 1), (1, 2)], [(2, 6)], [(0, 3), (0, 1), (2, 3)]]
    for text, pairs, rows in zip(texts, spans, client.encode(texts, spans=spans)):
        numbers = [fake_rows.span_row(*pair) for pair in pairs]
        expected = [fake_rows.row(ids_of(text), number) for number in numbers]
        assert np.array_equal(rows, np.stack(expected)), text


def test_token_rows(fake):
    assert np.array_equal(fake.encode_tokens("hello"), fake_rows.rows(ids_of("hello")))
    ragged = fake.encode_tokens(TEXTS)
    assert [len(rows) for rows in ragged] == [len(ids_of(text)) for text in TEXTS]
    assert np.array_equal(ragged[2], fake_rows.rows(ids_of("ü")))
    assert np.array_equal(fake.encode("ab", pooling="none"), fake_rows.rows(ids_of("ab")))


def test_lists_of_vectors_own_their_memory(fake):
    vectors = fake.encode(["a", "b"], convert_to_numpy=False)
    assert isinstance(vectors, list) and vectors[0].shape == (16,)
    assert vectors[0].flags.writeable  # torch.from_numpy wants that
    rows = fake.encode_tokens(["ab", "c"])
    assert rows[0].flags.writeable and rows[0].base is None


def test_prompt_goes_before_each_text(fake):
    vectors = fake.encode(["a", "b"], prompt="query: ")
    assert np.array_equal(vectors[1], fake_rows.row(ids_of("query: b")))
    with pytest.raises(TypeError, match="sequence 1"):
        fake.encode(["a", [1, 2]], prompt="query: ")


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        (longwave.Truncation("end", 3), "abc"),
        (longwave.Truncation("start", 3), "efg"),
        ("end", "abcdefg"),
    ],
)
def test_truncation_cuts_where_it_is_told(fake, truncation, kept):
    vector = fake.encode("abcdefg", truncation=truncation)
    assert np.array_equal(vector, fake_rows.row(ids_of(kept)))


def test_truncation_of_what_no_unary_request_holds(connect, start_fake, tmp_path):
    (tmp_path / "fake").write_text("max_tokens 1000\n")
    client = connect(start_fake(f"--model={tmp_path}", "--max_request_tokens=1000"))
    ids = [n % 251 for n in range(3000)]
    long, short = client.encode([ids, [1, 2]], truncation="start")
    assert np.array_equal(long, fake_rows.row(ids[-1000:]))
    assert np.array_equal(short, fake_rows.row([1, 2]))


def test_int8_comes_with_scales(fake):
    quantized = fake.encode(TEXTS, precision="int8")
    exact = fake.encode(TEXTS)
    assert quantized.values.dtype == np.int8 and quantized.scales.shape == (len(TEXTS),)
    assert np.allclose(quantized.scales, np.abs(exact).max(axis=1) / 127, rtol=1e-6)
    error = np.abs(quantized.dequantize() - exact)
    assert (error <= quantized.scales[:, None] * 0.5001).all()
    one = fake.encode(TEXTS[0], precision="int8")
    assert one.values.shape == (16,) and np.array_equal(one.dequantize(), quantized.dequantize()[0])
    assert len(quantized[1:3]) == 2


def test_bits_are_packed_as_numpy_packs_them(fake):
    exact = fake.encode(TEXTS)
    packed = fake.encode(TEXTS, precision="ubinary")
    assert packed.dtype == np.uint8 and np.array_equal(packed, np.packbits(exact > 0, axis=1))
    signed = fake.encode(TEXTS, precision="binary")
    assert signed.dtype == np.int8
    assert np.array_equal(signed.astype(int), packed.astype(int) - 128)


def test_half_precisions_round_to_nearest(fake):
    exact = fake.encode(TEXTS)
    assert np.array_equal(fake.encode(TEXTS, precision="float16"), exact.astype(np.float16))
    bits = exact.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    half = fake.encode(TEXTS, precision="bfloat16")
    assert np.array_equal(half.view(np.uint16), rounded.astype(np.uint16))
    ragged = fake.encode_tokens(["ab", "c"], precision="bfloat16")
    assert ragged[0].dtype == half.dtype


def test_similarity_is_the_cosine(fake):
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    cosines = fake.similarity(a, np.array([0.0, 2.0]))
    assert np.allclose(cosines, [[0.0], [np.sqrt(0.5)], [0.0]])
    quantized = fake.encode(["a", "b"], precision="int8")
    assert np.allclose(fake.similarity(quantized, quantized).diagonal(), 1)


def test_estimates_by_length_and_by_sequence(fake):
    by_length = fake.estimate([5, 2])
    assert by_length.tokens == 7 and by_length.admissible and by_length.seconds > 0
    assert fake.estimate(["hello", "ab"]).tokens == 7
    assert fake.estimate("hello").tokens == 5
    assert fake.estimate(9).tokens == 9
    assert fake.estimate([[1, 2, 3]]).tokens == 3
    with pytest.raises(longwave.InvalidArgument) as caught:
        fake.estimate(10**7)
    assert caught.value.reason == "SEQUENCE_TOO_LONG"


def test_what_the_model_is(fake):
    info = fake.info()
    assert (info.name, info.dim, info.layers, info.vocab_size) == ("fake", 16, 2, 1000)
    assert info.default_pooling == "mean" and info.truncate_dims == (8,)
    assert info.tokenizer_kind == "byte" and info.limits.max_tokens_per_request > 0
    assert "fft" in info.routes
    assert fake.get_sentence_embedding_dimension() == 16
    assert fake.health()
