"""Text out of packages' formats, the corpus on disk, spans for a teacher, and batches."""

import gzip
import json
import subprocess

import numpy as np
import pytest

from longwave_torch import targets as target_sets
from longwave_torch.corpus import debian, files, store, text

PROSE = "The quick brown fox jumps over the lazy dog and goes home again. "


def make_corpus(folder, documents=40, size=6000):
    """Documents of distinct words, one source package each."""
    made = []
    for number in range(documents):
        words = " ".join(f"word{number:03d}x{i % 97:02d} and" for i in range(size // 16))
        made.append(store.Document(f"p{number}", f"s{number}", "net", f"doc/{number}", "", words))
    return store.write(folder, made, {"p0": "MIT"})


def make_targets(corpus, folder, dim=16, chains=60, seed=3):
    """A teacher to whom each document is one direction, so that there is something to learn."""
    folder.mkdir(exist_ok=True)
    directions = np.random.default_rng(seed).standard_normal((len(corpus), dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for number, shard in enumerate(target_sets.shards(corpus, chains, 16, seed)):
        rows = np.concatenate([directions[[c.entry] * len(c.spans)] for c in shard])
        target_sets.save(folder / f"{number:05d}.npz", shard, rows)
    return target_sets.Targets(folder)


def test_html_keeps_text_and_leaves_furniture_out():
    page = b"""<html><head><title>A&nbsp;page</title><style>p {}</style></head><body>
      <nav>Home</nav><div class="sphinxsidebar">Contents</div><h1>Head</h1><p>One <b>bold</b> word.
      <script>var x;</script></p><ul><li>first<li>second</ul><!-- note --></body></html>"""
    title, words = text.from_html(page)
    assert title == "A page"
    lines = [line for line in words.split("\n") if line]
    assert lines == ["Head", "One bold word.", "first", "second"]


def test_roff_becomes_words():
    title, words = text.from_roff(
        '.\\" a comment\n.TH LS 1 "May"\n.SH NAME\nls \\- list \\fBdirectory\\fP contents\n'
        ".PP\n.BR ls (1)\n.in +4n\n"
    )
    assert title == "LS"
    assert words == "NAME\nls - list directory contents\n\nls (1)"


def test_lines_of_many_pages_are_dropped_and_others_kept():
    pages = [f"Copyright notice\nonly here {i}\nend" for i in range(20)]
    assert text.drop_repeated_lines(pages) == [f"only here {i}" for i in range(20)]
    assert text.drop_repeated_lines(pages[:3]) == pages[:3]  # too few to tell


def test_prose_and_lists_are_told_apart():
    assert text.is_prose(PROSE * 20)
    assert not text.is_prose(PROSE)
    assert not text.is_prose("foo_bar_baz(); 0x1234, {};\n" * 100)


def make_deb(path, files):
    """A binary package with the given files, as dpkg-deb reads it."""
    tree = path.parent / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: fox-doc\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: fox\n"
    )
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(path)], check=True, capture_output=True
    )


def test_documents_of_a_package(tmp_path):
    deb = tmp_path / "fox-doc_1_all.deb"
    page = f"<html><title>Fox</title><body><p>{PROSE * 20}</p></body></html>"
    make_deb(
        deb,
        {
            "usr/share/doc/fox/index.html": page.encode(),
            "usr/share/doc/fox/guide.txt.gz": gzip.compress((PROSE * 30).encode()),
            "usr/share/doc/fox/changelog.gz": gzip.compress((PROSE * 30).encode()),
            "usr/share/doc/fox/short.txt": b"short",
            "usr/share/doc/fox/copyright": b"License: GPL-2+\n text\nLicense: MIT\n",
            "usr/bin/fox": (PROSE * 30).encode(),
        },
    )
    package = debian.Package("fox-doc", "fox", "games")
    found = debian.documents(package, deb)
    assert sorted(d.path.rsplit("/", 1)[1] for d in found) == ["guide.txt.gz", "index.html"]
    assert {(d.source, d.topic) for d in found} == {("fox", "games")}
    assert debian.licence(deb) == "GPL-2+, MIT"
    corpus = debian.build([package], {"fox-doc": deb}, tmp_path / "corpus", workers=1)
    assert len(corpus) == 2  # their texts differ
    assert corpus.licences == {"fox-doc": "GPL-2+, MIT"}


def test_entries_of_a_dictionary_stand_together(tmp_path):
    entries = [f"word{i:03d}\n   A thing of {i} parts, " + "said at length, " * 20 for i in range(60)]
    deb = tmp_path / "dict-fox_1_all.deb"
    make_deb(deb, {
        "usr/share/dictd/fox.dict.dz": gzip.compress("\n".join(entries).encode()),
        "usr/share/dictd/fox.index": b"word000\tA\tB\n",
    })  # fmt: skip
    found = debian.documents(debian.Package("dict-fox", "fox", "dictionary"), deb)
    assert len(found) == 7  # of eight entries each; what is left over is no document
    for page in found:
        numbers = [int(line[4:]) for line in page.text.split("\n") if line.startswith("word")]
        assert numbers == list(range(numbers[0], numbers[0] + 8))
        assert f"A thing of {numbers[3]} parts" in page.text and page.title == f"word{numbers[0]:03d}"


def test_a_package_list_names_the_line_that_is_wrong(tmp_path):
    path = tmp_path / "list"
    path.write_text("# packages\nfox-doc fox games\nhen-doc hen\n")
    with pytest.raises(ValueError, match=r"list:3: 'hen-doc hen' is not"):
        debian.read_list(path)


def test_own_files_become_a_corpus(tmp_path, capsys):
    (tmp_path / "sea").mkdir()
    (tmp_path / "sea" / "whales.txt").write_text(PROSE * 5)
    (tmp_path / "sea" / "short.txt").write_text("short")
    lines = [{"text": PROSE * 6, "topic": "land", "source": "a"}, {"text": PROSE * 7}]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "corpus"
    assert files.main([str(tmp_path / "sea"), str(tmp_path / "more.jsonl"), "--out", str(out)]) == 0
    corpus = store.Corpus(out)
    assert [(e.topic, len(e)) for e in corpus.entries] == [
        ("sea", len(PROSE) * 5), ("land", len(PROSE) * 6), ("more", len(PROSE) * 7)
    ]  # fmt: skip
    (tmp_path / "more.jsonl").write_text('{"text": 5}\n')
    assert files.main([str(tmp_path / "more.jsonl"), "--out", str(out)]) == 2
    assert 'more.jsonl:1: "text" is a int, not a string' in capsys.readouterr().err


def test_a_corpus_gives_back_what_was_written(tmp_path):
    corpus = make_corpus(tmp_path)
    again = store.Corpus(tmp_path)
    assert len(again) == len(corpus) == 40
    assert again.bytes_of(again.entries[7]).tobytes().startswith(b"word007x00 and word007x01")
    held_out = {e.source for e in again.split(True)}
    training = {e.source for e in again.split(False)}
    assert not held_out & training and len(held_out | training) == 40
    with pytest.raises(FileNotFoundError, match="holds no corpus"):
        store.Corpus(tmp_path / "nothing")


def test_held_out_share():
    entries = [store.Entry("p", f"s{i}", "t", "x", "", 0, 1) for i in range(4000)]
    share = sum(e.held_out for e in entries) / len(entries)
    assert abs(share - store.HELD_OUT) < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_chains_follow_each_other_inside_training_documents(tmp_path):
    corpus = make_corpus(tmp_path)
    shards = list(target_sets.shards(corpus, 100, 16, 1))
    assert [len(s) for s in shards[:-1]] == [16] * (len(shards) - 1)
    for chain in sum(shards, []):
        entry = corpus.entries[chain.entry]
        assert not entry.held_out
        data = corpus.bytes_of(entry)
        assert all(a[1] == b[0] for a, b in zip(chain.spans, chain.spans[1:]))
        assert chain.spans[-1][1] <= len(data)
        assert all(e == len(data) or data[e] in b" \n" for _, e in chain.spans)
    assert [c.spans for c in sum(target_sets.shards(corpus, 100, 16, 1), [])] == [
        c.spans for c in sum(shards, [])
    ]


def test_targets_keep_products_when_projected(tmp_path):
    corpus = make_corpus(tmp_path / "corpus")
    whole = make_targets(corpus, tmp_path / "targets", dim=16)
    # Rows that lie in 4 of the 16 dimensions lose nothing when projected to 4.
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 4)))[0]
    for path in (tmp_path / "targets").glob("*.npz"):
        shard = dict(np.load(path))
        rows = shard["embeddings"].astype(np.float64) @ basis @ basis.T
        shard["embeddings"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.savez(path, **shard)
    whole = target_sets.Targets(tmp_path / "targets")
    small = target_sets.Targets(tmp_path / "targets", 4)
    expected = whole.embeddings @ whole.embeddings.T
    assert np.abs(small.embeddings @ small.embeddings.T - expected).max() < 1e-5
    assert small.kept == pytest.approx(1, abs=1e-5)
    # More targets, the same directions: what was projected stays where it was.
    last = sorted((tmp_path / "targets").glob("*.npz"))[-1]
    extra = dict(np.load(last))
    extra["embeddings"] = -extra["embeddings"][::-1]
    np.savez(tmp_path / "targets" / "99999.npz", **extra)
    more = target_sets.Targets(tmp_path / "targets", 4)
    assert len(more) > len(small)
    assert np.array_equal(more.embeddings[: len(small.embeddings)], small.embeddings)
    # A span of two parts: their mean, weighted by their bytes.
    sizes = whole.spans[:2, 1] - whole.spans[:2, 0]
    mean = sizes @ whole.embeddings[:2]
    assert whole.mean(0, 2) == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)

