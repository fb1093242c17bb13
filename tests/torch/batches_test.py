"""What a step learns from: pairs of spans, their targets, neighbours and preambles."""

import dataclasses

import numpy as np
import pytest
import torch

from longwave_torch import EncoderConfig
from longwave_torch.corpus import store
from longwave_torch.train import batches as batch_maker
from longwave_torch.train import recipe, trainer
from small_training import CONFIG, RECIPE, data  # noqa: F401


@pytest.mark.parametrize("teacher_share", [0.0, 1.0])
@pytest.mark.parametrize("length", [64, 300, 900, 4000])
def test_pairs_are_two_parts_of_one_training_document(data, length, teacher_share):
    corpus, targets = data
    maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), 1)
    phase = recipe.parse(RECIPE).phases[1]
    phase = trainer.dataclasses.replace(
        phase, lengths=(length,), shares=(1,), teacher_share=teacher_share, batch_bytes=8 * length
    )
    training = [corpus.bytes_of(e).tobytes() for e in corpus.split(False)]
    batch = maker.make(phase, 3)
    pairs = len(batch.ids) // 2
    assert pairs == 4 and bool(batch.has_target.all()) == (teacher_share == 1)
    for p in range(pairs):
        first, second = (
            bytes(batch.ids[r, : batch.lengths[r]].tolist()) for r in (p, pairs + p)
        )
        holding = [document for document in training if first in document and second in document]
        assert holding and first != second
        assert max(len(first), len(second)) <= 2 * length
        begin = holding[0].find(first)
        assert holding[0].find(second, begin + len(first)) >= begin + len(first)


def test_a_batch_is_a_function_of_seed_step_and_process(data):
    corpus, targets = data
    phase = recipe.parse(RECIPE).phases[1]

    def make(seed, step, rank):
        maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), seed)
        return maker.make(phase, step, rank).ids

    same = make(1, 2, 0)
    assert torch.equal(same, make(1, 2, 0))
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        different = make(*other)
        assert different.shape != same.shape or not torch.equal(different, same)


def test_the_target_of_a_part_is_the_mean_of_its_spans(data):
    corpus, targets = data
    maker = batch_maker.Batches(corpus, targets, EncoderConfig.from_dict(CONFIG), 1)
    chain = int(np.argmax(np.diff(targets.first)))
    begin = int(targets.first[chain])
    span, target = maker._taught(chain, begin, begin + 2, 10**6)
    assert len(span) == targets.spans[begin + 1, 1] - targets.spans[begin, 0]
    assert target == pytest.approx(targets.mean(begin, begin + 2))


def test_neighbours_are_of_one_package(tmp_path):
    made = [
        store.Document(f"p{i % 4}", f"s{i % 4}", "net", f"doc/{i}", "", f"w{i:02d} " * 400)
        for i in range(40)
    ]
    corpus = store.write(tmp_path, made, {})
    phase = recipe.parse(RECIPE).phases[1]
    maker = batch_maker.Batches(corpus, None, EncoderConfig.from_dict(CONFIG), 1)
    packages = {e.package for e in corpus.split(False)}
    assert len(packages) > 1

    def changes(share):
        phase_of = trainer.dataclasses.replace(
            phase, lengths=(64,), shares=(1,), batch_bytes=20_000, neighbours=share
        )
        ids = maker.make(phase_of, 0).ids
        numbers = [int(bytes(row.tolist()).split(b"w")[2][:2]) % 4 for row in ids[: len(ids) // 2]]
        return sum(a != b for a, b in zip(numbers, numbers[1:])) / len(numbers)

    assert changes(0.95) < 0.15 < 0.5 < changes(0.0)


def test_preambles_are_of_two_other_documents(tmp_path):
    made = [
        store.Document(f"p{i}", f"s{i}", "net", f"doc/{i}", "", f"w{i:03d} " * 700)
        for i in range(60)
    ]
    corpus = store.write(tmp_path, made, {})
    phase = dataclasses.replace(
        recipe.parse(RECIPE).phases[1], lengths=(400,), shares=(1,),
        batch_bytes=20_000, teacher_share=0.0,
    )  # fmt: skip
    maker = batch_maker.Batches(corpus, None, EncoderConfig.from_dict(CONFIG), 1)

    def words(share):
        batch = maker.make(dataclasses.replace(phase, preambles=share), 0)
        rows = [set(bytes(row[:n].tolist())[4:-4].split()) for row, n in zip(batch.ids, batch.lengths)]
        full = [{w for w in row if len(w) == 4} for row in rows]
        return full[: len(full) // 2], full[len(full) // 2 :], batch.has_target

    first, second, _ = words(0.0)
    assert all(a == b and len(a) == 1 for a, b in zip(first, second))
    first, second, _ = words(0.5)
    assert all(len(a) == 1 and a <= b for a, b in zip(first, second))
    before = [b - a for a, b in zip(first, second) if b - a]
    assert 0.2 < len(before) / len(first) < 0.8 and len(set.union(*before)) == 2
