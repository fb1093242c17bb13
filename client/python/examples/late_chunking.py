"""Late chunking of a document of 300 kB: chunks that know the whole, and chunks that do not.

    python late_chunking.py --server 127.0.0.1:50051

A notebook in a script: editors that know `# %%` run it cell by cell. Without --document it reads
the licences that Debian keeps in /usr/share/common-licenses, and this project's own texts.
"""

# %% What to read, and where the server is
from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np

import longwave
from longwave.late_chunking import split_paragraphs

parser = argparse.ArgumentParser(description="Late chunking beside naive chunking.")
parser.add_argument("--server", default="127.0.0.1:50051")
parser.add_argument("--document", type=pathlib.Path, nargs="*", help="text files, read in order")
parser.add_argument("--characters", type=int, default=300_000, help="repeated or cut to so many")
parser.add_argument("--chunk", type=int, help="most characters of a chunk; none: paragraphs")
parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each call")
parser.add_argument("--query", default="liability for damages")
arguments = parser.parse_args()


def standard_texts() -> list[pathlib.Path]:
    """Texts that are there already: each licence once, though it has several names."""
    licences = pathlib.Path("/usr/share/common-licenses").glob("*")
    found = sorted(path for path in licences if path.is_file() and not path.is_symlink())
    project = pathlib.Path(__file__).resolve().parents[3]
    return found + sorted(project.glob("*.md")) + sorted(project.glob("*/README.md"))


files = arguments.document or standard_texts()
text = "\n\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
if not text.strip():
    parser.error("there is no text to read: name files with --document")
copies = -(-arguments.characters // len(text))
document = "\n\n".join([text] * copies)[: arguments.characters]

# %% One document, cut into paragraphs
client = longwave.Client(arguments.server, timeout=arguments.timeout, priority="batch")
spans = split_paragraphs(arguments.chunk)(document)
chunks = [document[begin:end] for begin, end in spans]
estimate = client.estimate([len(document.encode())])
print(f"document   {len(document.encode()):,} bytes of {len(files)} files, {len(chunks)} chunks")
print(f"estimate   {estimate.seconds:.1f} s, {estimate.peak_bytes / 2**20:.0f} MiB")

# %% Late: one pass over the whole document, then a mean over the tokens of each chunk
begin = time.perf_counter()
late = client.encode_chunks(document, spans, timeout=arguments.timeout)
late_seconds = time.perf_counter() - begin

# %% Naive: each chunk by itself, as if there were no document
begin = time.perf_counter()
naive = client.encode(chunks, show_progress_bar=False)
naive_seconds = time.perf_counter() - begin

# %% How much of a vector is context
same = (late * naive).sum(axis=1)  # cosines: vectors have length 1
print(f"late       {late.shape[0]} x {late.shape[1]} in {late_seconds:.1f} s")
print(f"naive      {naive.shape[0]} x {naive.shape[1]} in {naive_seconds:.1f} s")
print(f"cosine     late with naive: mean {same.mean():.4f}, least {same.min():.4f}")

# %% The same words in two places
# Naive vectors cannot tell them apart. Late ones know what stands around them.
places: dict[str, list[int]] = {}
for number, chunk in enumerate(chunks):
    places.setdefault(chunk, []).append(number)
pairs = [(numbers[0], numbers[1]) for numbers in places.values() if len(numbers) > 1]


def apart(vectors: np.ndarray, pair: tuple[int, int]) -> float:
    """Distance of the vectors of two chunks."""
    return float(np.linalg.norm(vectors[pair[0]] - vectors[pair[1]]))


pairs.sort(key=lambda pair: -apart(late, pair))
print(f"pairs      {len(pairs)} of chunks with the same words; those furthest apart:")
print()
print(f"{'the same words':<44}{'chunks':>14}{'naive':>10}{'late':>10}")
for pair in pairs[:10]:
    words = " ".join(chunks[pair[0]].split())[:40]
    where = f"{pair[0]}, {pair[1]}"
    print(f"{words:<44}{where:>14}{apart(naive, pair):>10.1e}{apart(late, pair):>10.1e}")

# %% A search over both
query = client.encode(arguments.query)
print()
print(f"{'nearest to ' + repr(arguments.query):<58}{'chunk':>10}{'cosine':>10}")
for name, vectors in (("late", late), ("naive", naive)):
    cosines = vectors @ query
    for number in np.argsort(-cosines)[:3]:
        words = " ".join(chunks[number].split())[:46]
        print(f"{name:<8}{words:<50}{number:>10}{cosines[number]:>10.4f}")
client.close()
