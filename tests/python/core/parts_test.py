"""The small parts: checksums, plans of requests, packing, the progress bar, values."""

from __future__ import annotations

import dataclasses
import io
import pickle
import re

import longwave
import numpy as np
import pytest
import scripted as script
from longwave._crc32c import crc32c
from longwave._job import pack
from longwave._options import POOLINGS, Options
from longwave._plan import STREAM_TOKENS, Planner
from longwave._progress import ProgressBar, render
from longwave.results import Limits, ModelInfo


def slow_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_crc32c_of_known_texts():
    """Of RFC 3720, appendix B.4."""
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("size", [1, 255, 256, 2047, 2048, 2049, 4095, 6000, 65_537])
def test_crc32c_of_any_size(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == slow_crc32c(data)


def model_with(**limits: int) -> ModelInfo:
    return ModelInfo.from_message(script.model(limits=limits).model)


def plan(lengths, model=None, spans=None, in_order=False, **options):
    planner = Planner(Options(**{"batch_tokens": 100, **options}), model or model_with())
    parts = planner.plan(range(len(lengths)), lengths, spans, in_order)
    placed = sorted(index for part in parts for index in part.indices)
    assert placed == list(range(len(lengths)))
    for part in parts:
        assert part.tokens == sum(lengths[index] for index in part.indices)
    return parts


def test_plans_fill_requests_with_the_longest_first_and_keep_equals_in_order():
    parts = plan([10, 60, 10, 60, 40, 10])
    assert [part.indices for part in parts] == [[1], [3, 4], [0, 2, 5]]
    ordered = plan([10, 60, 10, 60, 40, 10], in_order=True)
    assert [part.indices for part in ordered] == [[0, 1, 2], [3, 4], [5]]


def test_a_sequence_above_the_batch_has_a_request_of_its_own():
    assert [part.indices for part in plan([500, 10, 90])] == [[0], [2, 1]]


@pytest.mark.parametrize(
    ("limits", "options", "most"),
    [
        ({"max_sequences_per_request": 4}, {}, 4),
        ({"max_sequences_per_request": 4}, {"batch_size": 3}, 3),
        ({"max_tokens_per_request": 50}, {}, 5),
        ({"max_receive_message_bytes": 65_536 + 70_000}, {"batch_tokens": 10**6}, 7000),
        # 64 KiB for the rest of the reply, then 8 bytes a row and 32 a sequence.
        ({"max_unary_reply_bytes": 65_536 + 400}, {}, 10),
        ({"max_unary_reply_bytes": 65_536 + 400}, {"precision": "int8", "batch_tokens": 1000}, 10),
        ({"max_unary_reply_bytes": 65_536 + 330}, {"precision": "ubinary"}, 10),
    ],
)
def test_plans_obey_every_limit(limits, options, most):
    parts = plan([10] * 20_000 if most > 100 else [10] * 40, model_with(**limits), **options)
    assert max(len(part.indices) for part in parts) == most
    assert not any(part.stream for part in parts)


def test_what_no_unary_call_holds_goes_by_stream():
    model = model_with(max_tokens_per_request=1000, max_unary_reply_bytes=65_536 + 4000)
    assert [part.stream for part in plan([1001, 5], model)] == [True, False]
    rows = plan([9000, 5], model, pooling=POOLINGS["none"], batch_tokens=10**5)
    assert [part.stream for part in rows] == [True, False]
    spans = plan([20, 5], model, spans=[9000, 1], pooling=POOLINGS["spans"])
    assert [part.stream for part in spans] == [True, False]
    assert [part.stream for part in plan([STREAM_TOKENS])] == [True]
    assert [part.stream for part in plan([STREAM_TOKENS - 1])] == [False]


@pytest.mark.parametrize(
    ("sequences", "expected", "width"),
    [
        ([b"ab", b"c"], b"abc", 1),
        ([b"ab", np.array([256, 1], "<u2")], bytes([97, 0, 98, 0, 0, 1, 1, 0]), 2),
        ([np.array([1 << 16], "<u4"), b"\x05"], bytes([0, 0, 1, 0, 5, 0, 0, 0]), 3),
        ([np.array([300], "<u2"), np.array([70_000], "<u4")], None, 3),
    ],
)
def test_ids_are_packed_little_endian_in_the_fewest_bytes(sequences, expected, width):
    packed, found = pack(sequences)
    assert found == width
    if expected is None:
        assert np.frombuffer(packed, "<u4").tolist() == [300, 70_000]
    else:
        assert packed == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_and_taken_away(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("longwave._progress.time.monotonic", lambda: now[0])
    stream = Terminal()
    with ProgressBar(1000, None, stream) as bar:
        bar.update(100)
        assert stream.getvalue() == ""  # not in the first second
        now[0] += 2
        bar.update(500)
        assert "50%" in stream.getvalue() and "2 s left" in stream.getvalue()
        drawn = len(stream.getvalue())
        bar.update(600)
        assert len(stream.getvalue()) == drawn  # not again at once
    assert stream.getvalue().endswith("\r") and "\n" not in stream.getvalue()


def test_progress_is_drawn_nowhere_else_unless_wanted():
    silent, wanted, unwanted = io.StringIO(), io.StringIO(), Terminal()
    for stream, asked in ((silent, None), (wanted, True), (unwanted, False)):
        with ProgressBar(10, asked, stream) as bar:
            bar.update(5)
    assert silent.getvalue() == unwanted.getvalue() == ""
    assert "50%" in wanted.getvalue()


def test_the_line_is_short():
    assert len(render(999_999, 1_000_000, 99_999)) < 80
    assert "100%" in render(0, 0, 1)


def test_calls_show_progress_where_wanted(fake, capsys):
    fake.encode(["a", "b"] * 100, batch_size=10, show_progress_bar=True)
    # After the first reply that is seen, or the first few.
    assert re.search(r"encode +\d+% \[", capsys.readouterr().err)
    fake.encode(["a", "b"] * 100, batch_size=10)
    assert capsys.readouterr().err == ""


def test_values_are_frozen_and_pickle():
    limits = Limits(1, 2, 3, 4, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.max_chunk_bytes = 6
    quantized = longwave.Quantized(np.ones((2, 3), np.int8), np.array([0.5, 2], np.float32))
    copy = pickle.loads(pickle.dumps(quantized))
    assert np.array_equal(copy.dequantize(), [[0.5] * 3, [2.0] * 3])
    assert quantized[1].dequantize().tolist() == [2, 2, 2]
