"""A corpus on disk: the bytes of all documents in one file, and what they are beside it.

    corpus.bin         the documents' bytes, one after another
    documents.jsonl    for each: package, source, topic, path, title, begin, end
    licences.json      {package: licences}
"""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np

HELD_OUT = 0.1  # of the source packages


@dataclasses.dataclass(frozen=True)
class Document:
    package: str
    source: str
    topic: str
    path: str
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """A document of a corpus: corpus.bytes_of(entry) are its bytes."""

    package: str
    source: str
    topic: str
    path: str
    title: str
    begin: int
    end: int

    def __len__(self):
        return self.end - self.begin

    @property
    def name(self):
        return f"{self.package}:{self.path}"

    @property
    def held_out(self):
        """Whether this document is for evaluation only. Whole source packages are held out, by a
        hash of their name, so that no page has a sister in training."""
        digest = hashlib.sha256(self.source.encode()).digest()
        return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


class Corpus:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        if not (self.folder / "documents.jsonl").exists():
            raise FileNotFoundError(f"{folder} holds no corpus (documents.jsonl is missing)")
        self.bytes = np.memmap(self.folder / "corpus.bin", np.uint8, "r")
        with (self.folder / "documents.jsonl").open() as lines:
            self.entries = [Entry(**json.loads(line)) for line in lines]
        self.licences = json.loads((self.folder / "licences.json").read_text())

    def __len__(self):
        return len(self.entries)

    @property
    def total_bytes(self):
        return len(self.bytes)

    def bytes_of(self, entry):
        """uint8 [length]."""
        return np.asarray(self.bytes[entry.begin : entry.end])

    def split(self, held_out):
        return [entry for entry in self.entries if entry.held_out == held_out]


def write(folder, documents, licences):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "documents.jsonl").unlink(missing_ok=True)
    lines, place = [], 0
    with (folder / "corpus.bin").open("wb") as out:
        for document in documents:
            data = document.text.encode()
            out.write(data)
            fields = dataclasses.asdict(document)
            del fields["text"]
            lines.append(json.dumps({**fields, "begin": place, "end": place + len(data)}))
            place += len(data)
    (folder / "licences.json").write_text(json.dumps(licences, indent=1, sort_keys=True))
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n")  # last: now it is a corpus
    return Corpus(folder)
