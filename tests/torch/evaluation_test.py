"""The evaluation's tasks, from a corpus to figures, and the program as a whole."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from small_corpus import Oracle, fake_chunks, score, small_config, write_corpus, write_teacher

from longwave_torch import evaluate
from longwave_torch.encoder import Encoder
from longwave_torch.evaluation import competitors, scoring, tasks

PLAN = tasks.Plan(documents=40, long_documents=40, passages=40, preambles=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def small_teacher(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"))


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
    chosen = tasks.documents(corpus, PLAN)[:40]
    for entry, query, candidate in zip(chosen, task.queries, task.candidates):
        first = candidate[candidate.index(b"\n\n") + 2 :]
        whole = corpus.bytes_of(entry).tobytes()
        assert whole.startswith(first) and whole.index(query) >= len(first)
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


def test_intervals_are_around_their_values(corpus):
    chunks = fake_chunks()
    teacher = competitors.TruncatedTeacher(chunks)
    made = [tasks.other_half(corpus, PLAN), tasks.same_topic(corpus, PLAN),
            tasks.teacher_agreement(corpus, PLAN, chunks.fits)]  # fmt: skip
    random = np.random.default_rng(12)
    for task in made:
        noise = random.normal(size=(len(task.texts), 24)).astype(np.float32)
        vectors = {"teacher": competitors.Vectors(task.texts, teacher.embed(task.texts)),
                   "noise": competitors.Vectors(task.texts, noise)}  # fmt: skip
        part = scoring.score(task, vectors, "teacher", "noise", 200, 1)
        for figure in part["figures"]["noise"].values():
            assert figure["low"] < figure["value"] < figure["high"]


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
# which those with the preamble nearest to the query get 1 / 10 each. Since preambles are dealt
# without regard to the document, that is the right group for a quarter of the queries: mean 1 / 40,
# standard deviation over the deal sqrt(40 1/4 3/4) / 10 / 40 = 0.0068.
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


# --- all of it --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    encoder = Encoder(small_config(), generator=torch.Generator().manual_seed(10))
    (folder / "config.json").write_text(small_config().to_json())
    weights = {k: v.contiguous() for k, v in encoder.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    return folder


def small_run(corpus):
    sizes = ["--limit", "12", "--preambles", "3", "--resamples", "20"]
    return ["--corpus", str(corpus.folder), *sizes]


def test_the_program_measures_everyone(corpus, model_folder, small_teacher, tmp_path, capsys):
    whole = [*small_run(corpus), "--device", "cpu", "--cache", str(tmp_path / "cache")]
    whole += ["--model", str(model_folder), "--teacher", str(small_teacher)]
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
    evaluate.main([*small_run(corpus), *files, "--untrained", str(model_folder / "config.json")])
    result = json.loads((tmp_path / "rest.json").read_text())
    assert set(result["tasks"]) == {"a", "b", "d"}
    rest = {"random weights", "hashed byte trigrams", "TF-IDF", "chance"}
    assert set(result["tasks"]["a"]["figures"]) == rest
    assert result["tasks"]["a"]["differences"] == {}


def test_bars_need_a_model(corpus, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--corpus", str(corpus.folder), "--bars"])
    assert "--bars needs --model" in capsys.readouterr().err
