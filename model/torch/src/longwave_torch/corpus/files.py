"""A corpus out of your own text: files, folders, or lines of JSON.

    python -m longwave_torch.corpus.files --out data/corpus notes/ book.txt articles.jsonl

A line of a .jsonl file is an object with "text", and "topic", "title" and "source" if they are known
(documents of one source are trained on, or held out, together). Every other file is one document of
UTF-8 text; its folder is its topic and its source.
"""

import argparse
import json
import pathlib
import sys

from . import store
from ..progress import Progress

LEAST_BYTES = 200  # shorter documents have nothing to tell apart


def _of_lines(path):
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            try:
                fields = json.loads(line)
                words = fields["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f'{where}: is not an object with "text" ({error})') from None
            if not isinstance(words, str):
                raise ValueError(f'{where}: "text" is a {type(words).__name__}, not a string')
            yield store.Document(
                package=path.stem,
                source=str(fields.get("source", where)),
                topic=str(fields.get("topic", path.stem)),
                path=where,
                title=str(fields.get("title", "")),
                text=words,
            )


def _of_file(path):
    words = path.read_bytes().decode("utf-8", errors="replace")
    folder = path.parent
    yield store.Document(folder.name, str(folder), folder.name, str(path), path.stem, words)


def documents(paths):
    """Documents of all files, folders searched to the bottom, in the order of their names.
    ValueError names the line that is none, FileNotFoundError the path."""
    files = []
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} is neither a file nor a folder")
        files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    with Progress("reading files", len(files)) as progress:
        for path in files:
            for document in _of_lines(path) if path.suffix == ".jsonl" else _of_file(path):
                if len(document.text.encode()) >= LEAST_BYTES:
                    yield document
            progress.add(1)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="longwave_torch.corpus.files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", help="files and folders")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the corpus")
    parser.add_argument("--licence", default="", help="of the text; kept beside the model")
    options = parser.parse_args(arguments)
    try:
        found = list(documents(options.paths))
        if not found:
            raise ValueError(f"no document of at least {LEAST_BYTES} bytes in what was named")
    except (ValueError, FileNotFoundError) as error:
        print(f"longwave_torch.corpus.files: {error}", file=sys.stderr)
        return 2
    licences = {d.package: options.licence or "not given" for d in found}
    corpus = store.write(options.out, found, licences)
    held_out = len(corpus.split(True))
    print(f"{options.out}: {len(corpus)} documents ({held_out} held out), "
          f"{corpus.total_bytes / 1e6:.1f} MB")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
