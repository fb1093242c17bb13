"""The evaluation's parts: metrics by hand and against other libraries, competitors, report."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from small_corpus import fake_chunks, small_config, write_corpus, write_teacher

from longwave_torch.encoder import Encoder
from longwave_torch.evaluation import competitors, metrics, report, tasks
from longwave_torch.evaluation.cache import Cache


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"))


def test_recall_counts_what_is_above():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    wanted = np.array([0, 1, 2])
    assert metrics.recall_at(scores, wanted, 1).tolist() == [1, 0, 0]
    assert metrics.recall_at(scores, wanted, 2).tolist() == [1, 1, 0]
    assert metrics.recall_at(scores, wanted, 10).tolist() == [1, 1, 1]


def test_equal_scores_count_as_in_random_order():
    scores = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]])
    for wanted, k, chance in [
        (2, 1, 0),
        (2, 2, 1 / 3),
        (2, 3, 2 / 3),
        (2, 4, 1),
        (4, 4, 0),
        (0, 1, 1),
    ]:
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


# --- competitors ------------------------------------------------------------------------------


def test_trigrams_are_counts():
    texts = [b"abcabc", b"abcd", b"zz", b"zzzzz", b"bacb", b"acbc"]
    product = competitors.Vectors(texts, competitors.Trigrams().embed(texts)).similarities(
        texts, texts
    )
    # abc twice, bca, cab; abc, bcd: 2 / (sqrt(6) sqrt(2)). "zz" has none.
    assert product[0, 1] == pytest.approx(2 / np.sqrt(12))
    assert product[0, 3] == 0 and (product[2] == 0).all() and product[3, 3] == pytest.approx(1)
    assert (product[:4, 4:] == 0).all()  # other orders of the same letters


def test_tfidf_knows_training_words_alone(corpus):
    tfidf = competitors.TfIdf(corpus, tasks.Plan())
    texts = [b"mail1 mail2", b"mail2 mail1 unheard", b"unheard"]
    product = competitors.Vectors(texts, tfidf.embed(texts)).similarities(texts, texts)
    assert product[0, 1] == pytest.approx(1) and product[2, 2] == 0


def test_a_text_has_the_same_vector_beside_others_and_alone():
    encoder = Encoder(small_config(), generator=torch.Generator().manual_seed(3))
    random = np.random.default_rng(8)
    texts = [
        random.integers(0, 256, n, np.uint8).tobytes() for n in (1, 5, 9, 130, 131, 200, 700, 701)
    ]
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


def test_chunks_are_those_of_the_teacher_itself(small_teacher):
    """Of words of one word piece chunks end where the teacher's do; of others, words stay whole."""
    from longwave_torch.teacher import Teacher

    teacher, chunks = Teacher(small_teacher), competitors.teacher_chunks(small_teacher, Cache())
    letters = np.random.default_rng(9).choice(list("abcdefgh"), 600)
    texts = [" ".join(letters[:n]) for n in (1, 253, 254, 255, 600)]
    data = [t.encode() for t in texts]
    whole = competitors.ChunkedTeacher(chunks).embed(data)
    assert np.abs(whole - teacher.encode_chunked(texts)).max() < 1e-5
    assert (
        np.abs(competitors.TruncatedTeacher(chunks).embed(data) - teacher.encode(texts)).max()
        < 1e-5
    )
    parts = chunks.split(" ".join("abcde" for _ in range(100)).encode())
    assert [n for _, n in parts] == [250, 250]
    assert teacher.word_pieces([c.decode() for c, _ in parts]) == [252, 252]


# --- the report -------------------------------------------------------------------------------


def part(figures, differences=None, primary="recall@1", **sizes):
    def plain(values):
        return {
            k: {primary: {"value": v, "low": v - 0.01, "high": v + 0.01}} for k, v in values.items()
        }

    return {"title": "", "metrics": [primary], "primary": primary, "packages": 5, "queries": 1000,
            "candidates": 1000, "passages": 10, "mean_candidate_bytes": 1.0,
            "pairs": {"Spearman, strata": 1},
            "figures": plain(figures), "differences": plain(differences or {}),
            **sizes}  # fmt: skip


def all_parts(**changes):
    good = {
        "Longwave": 0.7,
        "random weights": 0.2,
        "hashed byte trigrams": 0.3,
        "teacher, truncated": 0.1,
    }
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
    differences = {"TF-IDF": -0.2, "random weights": 0.2, "hashed byte trigrams": -0.005}
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
