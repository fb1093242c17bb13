"""The evaluation: metrics against other libraries and by hand, tasks and competitors on a small corpus
whose topics and documents have words of their own."""

import json

import numpy as np
import pytest
import safetensors.torch
import scipy.stats
import sklearn.metrics
import torch

from longwave_torch import evaluate
from longwave_torch.config import AttentionConfig, BiasConfig, EncoderConfig, FeatureConfig
from longwave_torch.corpus import store
from longwave_torch.encoder import Encoder
from longwave_torch.evaluation import competitors, metrics, report, scoring, tasks
from longwave_torch.evaluation.cache import Cache

PLAN = tasks.Plan(documents=40, long_documents=40, passages=40, preambles=4)
TOPICS = ("games", "mail", "math")


# --- metrics ----------------------------------------------------------------------------------------


def test_recall_counts_what_is_above():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    wanted = np.array([0, 1, 2])
    assert metrics.recall_at(scores, wanted, 1).tolist() == [1, 0, 0]
    assert metrics.recall_at(scores, wanted, 2).tolist() == [1, 1, 0]
    assert metrics.recall_at(scores, wanted, 10).tolist() == [1, 1, 1]


def test_equal_scores_count_as_in_random_order():
    scores = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    for wanted, k, chance in [(2, 1, 0), (2, 2, 1 / 3), (2, 3, 2 / 3), (2, 4, 1), (4, 4, 0), (0, 1, 1)]:
        assert metrics.recall_at(scores, np.array([wanted]), k)[0] == pytest.approx(chance)
    nearly = scores + np.array([[0, 0, 1e-7, -1e-7, 0]])  # rounding is no order
    assert metrics.recall_at(nearly, np.array([2]), 2)[0] == pytest.approx(1 / 3)


def test_ndcg_by_hand():
    scores = np.array([[0.1, 0.9, 0.8, 0.7]])
    relevant = np.array([[True, False, True, False]])
    everything = np.ones((1, 4), bool)
    # Ranks 4 and 2 of two.
    expected = (1 / np.log2(5) + 1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert metrics.ndcg_at(scores, relevant, everything, 10)[0] == pytest.approx(expected)
    assert metrics.ndcg_at(scores, relevant, everything, 3)[0] == pytest.approx(
        (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    )
    without_best = np.array([[True, False, True, True]])
    assert metrics.ndcg_at(scores, relevant, without_best, 1)[0] == 1
    assert np.isnan(metrics.ndcg_at(scores, np.zeros((1, 4), bool), everything, 10)[0])


@pytest.mark.parametrize("levels", [3, 1000])
def test_ndcg_is_that_of_scikit_learn(levels):
    random = np.random.default_rng(1)
    scores = random.integers(0, levels, (50, 30)) / levels
    relevant = random.random((50, 30)) < 0.2
    relevant[:, 0] = True
    ours = metrics.ndcg_at(scores, relevant, np.ones_like(relevant), 10)
    for row in range(50):
        theirs = sklearn.metrics.ndcg_score(relevant[row : row + 1], scores[row : row + 1], k=10)
        assert ours[row] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("levels", [5, 10**9])
def test_spearman_is_that_of_scipy_with_ties_and_weights(levels):
    random = np.random.default_rng(2)
    x, y = random.integers(0, levels, (2, 300))
    y = y + x
    assert metrics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    weights = random.integers(0, 4, 300)
    w = weights.astype(float)
    weighted = metrics.weighted_correlation(metrics.Ranks(x)(w), metrics.Ranks(y)(w), w)
    repeated = scipy.stats.spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_samples_take_whole_clusters_and_as_many():
    clusters = ["b", "a", "b", "c", "a", "b"]
    weights = metrics.resample(clusters, 500, 3)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()  # three clusters drawn each time
    assert weights.std() > 0.5
    assert (metrics.resample(clusters, 500, 3) == weights).all()


def test_pairs_within_a_cluster_weigh_in_samples_what_they_weigh():
    clusters = np.repeat(np.arange(50), 2)
    i, j = np.triu_indices(100, 1)
    samples = metrics.resample(clusters, 400, 6)
    mean = np.mean([metrics.pair_weights(row, clusters, i, j) for row in samples], axis=0)
    within = clusters[i] == clusters[j]
    # Means over 400 samples of 50 and of 1225 cluster pairs; of the latter 1 - 1 / 50 is expected.
    assert mean[within].mean() == pytest.approx(1)
    assert mean[~within].mean() == pytest.approx(1 - 1 / 50, abs=0.01)
    assert metrics.pair_weights(np.array([2, 2, 3]), [7, 7, 8], [0, 0], [1, 2]).tolist() == [2, 6]


def test_interval_has_the_width_of_the_mean_of_clusters():
    random = np.random.default_rng(4)
    of_cluster = random.normal(size=200)
    values = np.repeat(of_cluster, 5)  # pages of a package that all do alike
    figure = metrics.mean_figure(values, metrics.resample(np.repeat(np.arange(200), 5), 4000, 5))
    width = 2 * 1.96 * of_cluster.std() / np.sqrt(200)
    assert figure.value == pytest.approx(of_cluster.mean())
    # A 2.5 % quantile of 4000 samples is off by 1 / f(q) sqrt(0.025 0.975 / 4000) = 0.042 sigma.
    assert figure.high - figure.low == pytest.approx(width, rel=4 * 0.042 * np.sqrt(2) / (2 * 1.96))


# --- a small corpus ---------------------------------------------------------------------------------


def _word(random, prefix):
    return prefix + "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(4, 9)))


COMMON = [_word(np.random.default_rng(100), "") + str(i) for i in range(30)]
OF_TOPIC = {t: [f"{t}{i}" for i in range(30)] for t in TOPICS}


def _words(random, topic):
    """1400 words: most of them words that no other document has (they begin with "own"), others of the
    topic, others that all have."""
    own = [_word(random, "own") for _ in range(30)]
    pools = [own, OF_TOPIC[topic], COMMON]
    which, place = random.choice(3, 1400, p=[0.8, 0.1, 0.1]), random.integers(0, 30, 1400)
    return " ".join(pools[w][p] for w, p in zip(which, place))


def _document(random, source, topic, number):
    text = _words(random, topic)
    return store.Document(f"{source}-doc", source, topic, f"page{number}.html", "", text)


def _sources(held_out, count):
    names = (f"source{i}" for i in range(10**6))
    kept = (n for n in names if store.Entry("", n, "", "", "", 0, 0).held_out == held_out)
    return [next(kept) for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    random = np.random.default_rng(6)
    documents = []
    for held_out, count in ((True, 9), (False, 12)):
        for place, source in enumerate(_sources(held_out, count)):
            topic = TOPICS[place % 3]
            documents += [_document(random, source, topic, number) for number in range(6)]
    return store.write(tmp_path_factory.mktemp("corpus"), documents, {})


class FakeTeacher:
    """As teacher.Teacher: word pieces are words, vectors are counts of hashed words."""

    def __init__(self):
        self.encoded = 0

    def word_pieces(self, texts):
        return [len(text.split()) + 2 for text in texts]

    def encode(self, texts):
        self.encoded += len(texts)
        rows = np.zeros((len(texts), 512), np.float32)
        for row, text in zip(rows, texts):
            for word in text.split()[:254]:
                row[sum(word.encode()) * 31 % 512] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fake_chunks(cache=None):
    return competitors.TeacherChunks(FakeTeacher(), "teacher:fake", Cache(cache))


class Oracle:
    """Knows what a task asks: equal vectors for what belongs together."""

    name = "oracle"

    def __init__(self, labels):
        self._labels = labels  # {text: what it belongs to}

    def embed(self, texts):
        kinds = list(dict.fromkeys(self._labels.values()))
        return np.eye(len(kinds), dtype=np.float32)[[kinds.index(self._labels[t]) for t in texts]]


def score(task, competitor, teacher=None):
    vectors = {competitor.name: competitors.Vectors(task.texts, competitor.embed(task.texts))}
    if teacher is not None:
        vectors["teacher"] = competitors.Vectors(task.texts, teacher.embed(task.texts))
    part = scoring.score(task, vectors, "teacher", None, 50, 1)
    return {metric: f["value"] for metric, f in part["figures"][competitor.name].items()}


# --- tasks ------------------------------------------------------------------------------------------


def test_halves_share_no_byte_and_are_cut_at_white_space():
    random = np.random.default_rng(7)
    for size in (10, 50, 999, 1000, 1001, 5000):
        data = " ".join("x" * n for n in random.integers(1, 12, size)).encode()
        first, second = tasks.halves(data, 2000)
        assert data.startswith(first) and second in data[len(first) :]
        assert abs(len(first) - len(second)) <= 2 * 12
        assert len(first) < 2000 + 12
        if len(data) <= 4000:
            assert first + b" " + second == data
        else:
            assert len(first) + len(second) >= 4000 - 1
        for half in (first, second):
            assert set(half.split()) <= set(data.split())  # whole words


def test_all_that_is_asked_is_held_out_and_preambles_are_not(corpus):
    for entry in tasks.documents(corpus, PLAN):
        assert entry.held_out
    training = b"".join(corpus.bytes_of(e).tobytes() for e in corpus.split(held_out=False))
    pool = tasks.preambles(corpus, PLAN)
    assert len(set(pool)) == PLAN.preambles
    for preamble in pool:
        assert preamble.rstrip() in training and len(preamble) >= tasks.PREAMBLE_BYTES


def test_documents_come_in_turns_from_each_package(corpus):
    chosen = tasks.documents(corpus, PLAN)
    assert len(chosen) == 54
    for turn in range(6):
        assert len({e.source for e in chosen[9 * turn : 9 * turn + 9]}) == 9
    assert chosen == tasks.documents(corpus, PLAN)


def test_evidence_begins_beyond_the_first_8_k_bytes(corpus):
    task = tasks.long_document(corpus, PLAN)
    beginnings = {candidate[:8192] for candidate in task.candidates}
    assert len(beginnings) == PLAN.preambles  # nothing of the document, and dealt evenly:
    for beginning in beginnings:
        assert sum(c.startswith(beginning) for c in task.candidates) == 10
    for query, candidate in zip(task.queries, task.candidates):
        own = {w for w in query.split() if w.startswith(b"own")}
        assert own & set(candidate[8192:].split()) and not own & set(candidate[:8192].split())


def test_same_topic_ranks_other_packages_alone(corpus):
    task = tasks.same_topic(corpus, PLAN)
    chosen = tasks.documents(corpus, PLAN)[: PLAN.documents]
    assert len(task.queries) == PLAN.documents
    for query in range(PLAN.documents):
        for candidate in range(PLAN.documents):
            same_source = chosen[query].source == chosen[candidate].source
            same_topic = chosen[query].topic == chosen[candidate].topic
            assert task.allowed[query, candidate] == (not same_source)
            assert task.relevant[query, candidate] == (same_topic and not same_source)


def test_a_topic_of_one_package_does_not_ask(corpus):
    chosen = tasks.documents(corpus, PLAN)[:9]
    alone = [e for e in chosen if e.topic == "mail"][:1] + [e for e in chosen if e.topic != "mail"]
    task = tasks.SameTopic("", [str(i).encode() for i in range(len(alone))], alone)
    assert b"0" not in task.queries and len(task.queries) == len(alone) - 1


def test_passages_fit_the_teacher_and_strata_are_even(corpus):
    task = tasks.teacher_agreement(corpus, PLAN, fake_chunks().fits)
    assert len(task.texts) == PLAN.passages
    assert all(300 <= len(p) <= 900 + 60 for p in task.texts)
    i, j = (side[task.strata] for side in task.pairs)
    entries = [e for e in tasks.documents(corpus, PLAN)[:20] for _ in range(2)]
    same = [(entries[a].name == entries[b].name, entries[a].source == entries[b].source,
             entries[a].topic == entries[b].topic) for a, b in zip(i, j)]  # fmt: skip
    for kind in ((True, True, True), (False, True, True), (False, False, True), (False,) * 3):
        assert same.count(kind) == len(same) / 4


def test_documents_with_passages_that_do_not_fit_are_left_out(corpus):
    calls = []

    def fits(passages):
        calls.append(passages)
        return [place != 4 for place in range(len(passages))]

    task = tasks.teacher_agreement(corpus, PLAN, fits)
    flat = calls[0]
    assert task.texts == flat[:4] + flat[6 : PLAN.passages + 2]


def test_an_oracle_gets_everything_right(corpus):
    for make in (tasks.other_half, tasks.long_document):
        task = make(corpus, PLAN)
        labels = {t: i for texts in (task.queries, task.candidates) for i, t in enumerate(texts)}
        assert score(task, Oracle(labels)) == {"recall@1": 1, "recall@10": 1}
    task = tasks.same_topic(corpus, PLAN)
    topics = [e.topic for e in tasks.documents(corpus, PLAN)]
    figures = score(task, Oracle(dict(zip(task.candidates, topics))))
    assert figures == pytest.approx({"nDCG@10": 1}, abs=1e-12)
    chunks = fake_chunks()
    task = tasks.teacher_agreement(corpus, PLAN, chunks.fits)
    figures = score(task, competitors.ChunkedTeacher(chunks), competitors.TruncatedTeacher(chunks))
    # The same vectors but for their last bits, by which pairs that are nearly equal change places.
    assert figures == pytest.approx({m: 1.0 for m in task.metrics}, abs=1e-6)


def test_who_knows_nothing_is_at_chance(corpus):
    class Constant:
        name = "constant"

        def embed(self, texts):
            return np.ones((len(texts), 1), np.float32)

    for make in (tasks.other_half, tasks.same_topic, tasks.long_document):
        task = make(corpus, PLAN)
        chance = {metric: np.mean(values) for metric, values in task.chance().items()}
        assert score(task, Constant()) == pytest.approx(chance)
    assert np.mean(tasks.other_half(corpus, PLAN).chance()["recall@10"]) == 10 / 40


# A method that reads the preambles alone can at best tell them apart: 4 groups of 10 candidates, of
# which those with the preamble nearest to the query get 1 / 10 each. Since preambles are dealt without
# regard to the document, that is the right group for a quarter of the queries: mean 1 / 40, standard
# deviation over the deal sqrt(40 1/4 3/4) / 10 / 40 = 0.0068.
def at_chance(figures):
    return figures["recall@1"] == pytest.approx(1 / 40, abs=4 * 0.0068)


def test_truncating_methods_are_at_chance_on_long_documents_and_others_are_not(corpus):
    task = tasks.long_document(corpus, PLAN)
    chunks = fake_chunks()
    whole = score(task, competitors.Trigrams())
    assert at_chance(score(task, competitors.FirstBytes(competitors.Trigrams(), 8192)))
    assert at_chance(score(task, competitors.TruncatedTeacher(chunks)))
    assert whole["recall@1"] > 0.5 and not at_chance(whole)
    assert not at_chance(score(task, competitors.ChunkedTeacher(chunks)))
    # Where the evidence stands first, truncation loses nothing.
    easy = tasks.other_half(corpus, PLAN)
    assert score(easy, competitors.FirstBytes(competitors.Trigrams(), 8192))["recall@1"] > 0.5


def test_with_one_preamble_truncation_is_exactly_chance(corpus):
    plan = tasks.Plan(documents=40, long_documents=40, preambles=1)
    task = tasks.long_document(corpus, plan)
    figures = score(task, competitors.FirstBytes(competitors.Trigrams(), 8192))
    assert figures == pytest.approx({"recall@1": 1 / 40, "recall@10": 10 / 40})


# --- competitors ------------------------------------------------------------------------------------


def test_trigrams_are_counts():
    texts = [b"abcabc", b"abcd", b"zz", b"zzzzz"]
    product = competitors.Vectors(texts, competitors.Trigrams().embed(texts)).similarities(texts, texts)
    # abc twice, bca, cab; abc, bcd: 2 / (sqrt(6) sqrt(2)). "zz" has none.
    assert product[0, 1] == pytest.approx(2 / np.sqrt(12))
    assert product[0, 3] == 0 and (product[2] == 0).all() and product[3, 3] == pytest.approx(1)


def test_tfidf_knows_training_words_alone(corpus):
    tfidf = competitors.TfIdf(corpus, PLAN)
    texts = [b"mail1 mail2", b"mail2 mail1 unheard", b"unheard"]
    product = competitors.Vectors(texts, tfidf.embed(texts)).similarities(texts, texts)
    assert product[0, 1] == pytest.approx(1) and product[2, 2] == 0


def small_config():
    return EncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        vocab_size=256, max_position_embeddings=1 << 16,
        attention=AttentionConfig(
            features=FeatureConfig(num_features=8), bias=BiasConfig("t5", True, 64, 16)
        ),
    )  # fmt: skip


def test_a_text_has_the_same_vector_beside_others_and_alone():
    encoder = Encoder(small_config(), generator=torch.Generator().manual_seed(3))
    random = np.random.default_rng(8)
    texts = [random.integers(0, 256, n, np.uint8).tobytes() for n in (1, 5, 9, 130, 131, 200, 700, 701)]
    model = competitors.Model("m", encoder, "m", Cache(), batch_tokens=600)
    rows = model.embed(texts[::-1])[::-1]
    for text, row in zip(texts, rows):
        ids = torch.tensor(list(text))[None]
        with torch.no_grad():
            alone = encoder.encode(ids)[0].numpy()
        # fp32: padding changes the order of sums of up to 701 terms.
        assert np.abs(row - alone).max() < 1e-5
    assert competitors.Model("m", encoder, "m", Cache()).embed([b""]).shape == (1, 16)


def test_batches_keep_to_their_tokens():
    encoder = Encoder(small_config())
    sizes = []
    model = competitors.Model("m", encoder, "m", Cache(), batch_tokens=100)
    one = model._batch
    model._batch = lambda texts: sizes.append((len(texts), max(map(len, texts)))) or one(texts)
    model.embed([bytes([65 + i]) * n for i, n in enumerate((10, 20, 30, 40, 45, 48, 250))])
    assert sizes == [(3, 30), (2, 45), (1, 48), (1, 250)]


def test_cache_encodes_each_text_once_even_over_runs(tmp_path):
    asked = []

    def encode(texts):
        asked.append(texts)
        return np.array([[len(t), t[0]] for t in texts], float)

    texts = [b"bb", b"a", b"bb", b"ccc"]
    rows = Cache(tmp_path).embed("k", texts, encode)
    assert rows.tolist() == [[2, 98], [1, 97], [2, 98], [3, 99]]
    assert asked == [[b"a", b"bb", b"ccc"]]  # once each, in order of length
    assert Cache(tmp_path).missing("k", [b"a", b"dddd"]) == 4
    assert Cache(tmp_path).embed("k", [b"ccc", b"e"], encode).tolist() == [[3, 99], [1, 101]]
    assert asked[1:] == [[b"e"]]
    Cache(tmp_path).embed("other", [b"a"], encode)
    assert asked[2:] == [[b"a"]]


def test_what_was_encoded_before_an_interruption_is_kept(tmp_path):
    def encode(texts):
        if texts == [b"ccc"]:
            raise KeyboardInterrupt
        return np.zeros((len(texts), 1))

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).embed("k", [b"a", b"bb", b"ccc"], encode, save_every=2)
    assert Cache(tmp_path).missing("k", [b"a", b"bb", b"ccc"]) == 3


def test_chunks_fit_and_texts_that_begin_alike_share_them():
    chunks = fake_chunks()
    words = [f"w{i}".encode() for i in range(700)]
    parts = chunks.split(b"\n ".join(words))
    assert [n for _, n in parts] == [254, 254, 192]
    assert b" ".join(c for c, _ in parts).split() == words
    other = chunks.split(b" ".join(words[:600] + [b"x"] * 10))
    assert other[:2] == parts[:2] and other[2] != parts[2]
    assert chunks.split(b" ".join(words), most=1) == parts[:1]
    assert chunks.split(b"") == [(b"", 1)]
    assert chunks.fits([b"w " * 254, b"w " * 255]).tolist() == [True, False]


def test_mean_of_chunks_is_weighted_by_their_size():
    chunks = fake_chunks()
    text = b"a " * 254 + b"b " * 127
    row = competitors.ChunkedTeacher(chunks).embed([text, b"a"])[0]
    a, b = chunks.embed([b"a", b"b"])
    expected = 2 * a + b
    assert row == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory):
    """A folder with a BERT of one layer, seeded, that knows some of the small corpus's words, letters,
    and words of a to h."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("teacher")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COMMON, *(w for t in TOPICS for w in OF_TOPIC[t])]
    pieces += [*"abcdefgh", *(f"##{c}" for c in "abcdefgh")]
    tokenizer = tokenizers.BertWordPieceTokenizer(vocab={p: i for i, p in enumerate(pieces)})
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_chunks_are_those_of_the_teacher_itself(small_teacher):
    """Of words of one word piece chunks end where the teacher's do; of others, words stay whole."""
    from longwave_torch.teacher import Teacher

    teacher, chunks = Teacher(small_teacher), competitors.teacher_chunks(small_teacher, Cache())
    letters = np.random.default_rng(9).choice(list("abcdefgh"), 600)
    texts = [" ".join(letters[:n]) for n in (1, 253, 254, 255, 600)]
    data = [t.encode() for t in texts]
    whole = competitors.ChunkedTeacher(chunks).embed(data)
    assert np.abs(whole - teacher.encode_chunked(texts)).max() < 1e-5
    assert np.abs(competitors.TruncatedTeacher(chunks).embed(data) - teacher.encode(texts)).max() < 1e-5
    parts = chunks.split(" ".join("abcde" for _ in range(100)).encode())
    assert [n for _, n in parts] == [250, 250]
    assert teacher.word_pieces([c.decode() for c, _ in parts]) == [252, 252]


# --- the report -------------------------------------------------------------------------------------


def part(figures, differences=None, primary="recall@1", **sizes):
    def plain(values):
        return {k: {primary: {"value": v, "low": v - 0.01, "high": v + 0.01}} for k, v in values.items()}

    return {"title": "", "metrics": [primary], "primary": primary, "packages": 5, "queries": 1000,
            "candidates": 1000, "passages": 10, "mean_candidate_bytes": 1.0,
            "pairs": {"Spearman, strata": 1},
            "figures": plain(figures), "differences": plain(differences or {}), **sizes}  # fmt: skip


def all_parts(**changes):
    good = {"Longwave": 0.7, "random weights": 0.2, "hashed byte trigrams": 0.3, "teacher, truncated": 0.1}
    return {k: part({**good, **changes.get(k, {})}) for k in "abcd"}


@pytest.mark.parametrize(
    "changes, missed",
    [
        ({}, 0),
        ({"a": {"hashed byte trigrams": 0.7}}, 1),
        ({"b": {"random weights": 0.8}}, 1),
        ({"c": {"Longwave": 0.59}}, 1),
        ({"d": {"teacher, truncated": 0.9}}, 1),
        ({"a": {"teacher, truncated": 0.9}}, 0),  # nowhere promised
    ],
)
def test_bars_are_those_of_the_model(changes, missed):
    found = report.bars({"tasks": all_parts(**changes)})
    assert [kept for _, kept in found].count(False) == missed


def test_a_bar_is_the_number_of_candidates():
    few = {"tasks": {"a": part({"Longwave": 1.0}, candidates=999)}}
    assert [kept for _, kept in report.bars(few)] == [False]


def test_wins_and_losses_are_intervals_on_one_side():
    differences = {"TF-IDF": -0.2, "random weights": 0.2, "hashed byte trigrams": 0.005}
    result = {"tasks": {"a": part({"Longwave": 0.5, **differences}, differences)}}
    lines = report.differences_table(result).split("\n")
    assert lines[2] == "| TF-IDF | loss -0.200 (-0.21 to -0.19) |"
    assert lines[3].startswith("| random weights | win +0.200")
    assert lines[4].startswith("| hashed byte trigrams | even")


def test_a_file_with_marks_keeps_what_is_around_them(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# Model\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n")
    for text in ("new\n", "newer\n"):
        report.write(path, text)
        assert path.read_text() == f"# Model\n\n{report.BEGIN}\n\n{text}\n{report.END}\n\nMore.\n"
    report.write(tmp_path / "other.md", "all")
    assert (tmp_path / "other.md").read_text() == "all"


# --- all of it --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encoder = Encoder(small_config(), generator=torch.Generator().manual_seed(10))
    (folder / "config.json").write_text(small_config().to_json())
    weights = {k: v.contiguous() for k, v in encoder.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder


def test_the_program_measures_everyone(corpus, model_folder, small_teacher, tmp_path, capsys):
    common = ["--corpus", str(corpus.folder), "--limit", "12", "--preambles", "3", "--resamples", "20",
              "--device", "cpu", "--cache", str(tmp_path / "cache")]  # fmt: skip
    whole = [*common, "--model", str(model_folder), "--teacher", str(small_teacher)]
    files = ["--json", str(tmp_path / "all.json"), "--markdown", str(tmp_path / "all.md")]
    assert evaluate.main([*whole, *files, "--bars"]) == evaluate.BAR_MISSED  # 12 are not 1000
    result = json.loads((tmp_path / "all.json").read_text())
    everyone = {"Longwave", "random weights", "hashed byte trigrams", "TF-IDF", "chance",
                "teacher, truncated", "teacher, mean of chunks"}  # fmt: skip
    short = "Longwave, first 8192 bytes"
    assert set(result["tasks"]["a"]["figures"]) == everyone
    assert set(result["tasks"]["b"]["figures"]) == everyone
    assert set(result["tasks"]["d"]["figures"]) == everyone | {short}
    trained_here = {"Longwave", "random weights", "hashed byte trigrams", "TF-IDF"}
    assert set(result["tasks"]["c"]["figures"]) == trained_here
    for task in result["tasks"].values():
        for figures in task["figures"].values():
            for figure in figures.values():
                assert -1 <= figure["low"] <= figure["high"] <= 1 + 1e-12
    assert result["tasks"]["a"]["candidates"] == 12 and result["tasks"]["c"]["passages"] == 12
    report_text = (tmp_path / "all.md").read_text()
    assert report_text in capsys.readouterr().out and short in report_text

    again = tmp_path / "again.json"
    assert evaluate.main([*whole, "--json", str(again)]) == 0
    assert json.loads(again.read_text())["tasks"] == result["tasks"]


def test_without_model_and_teacher_the_rest_is_measured(corpus, model_folder, tmp_path):
    files = ["--json", str(tmp_path / "rest.json")]
    evaluate.main(["--corpus", str(corpus.folder), "--limit", "12", "--preambles", "2", *files,
                   "--resamples", "20", "--untrained", str(model_folder / "config.json")])  # fmt: skip
    result = json.loads((tmp_path / "rest.json").read_text())
    assert set(result["tasks"]) == {"a", "b", "d"}
    rest = {"random weights", "hashed byte trigrams", "TF-IDF", "chance"}
    assert set(result["tasks"]["a"]["figures"]) == rest
    assert result["tasks"]["a"]["differences"] == {}


def test_bars_need_a_model(corpus, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--corpus", str(corpus.folder), "--bars"])
    assert "--bars needs --model" in capsys.readouterr().err
