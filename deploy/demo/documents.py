"""Makes the demo's three documents from real text of this machine or of this repository.

usage: documents.py OUT_FOLDER

Writes short.txt (a paragraph of the README), long.txt (100 000 bytes or more) and million.txt
(exactly 1 000 000 bytes), and prints what each was made of.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONG_BYTES = 100_000
MILLION = 1_000_000

# Manuals, licences and readable sources that a Debian machine has; the repository's own are last,
# so that there is always something.
PLACES = [
    ("/usr/share/perl", "*.pod"),
    ("/usr/share/common-licenses", "*"),
    ("/usr/share/doc", "*.txt"),
    ("/usr/share/vim", "*.txt"),
    ("/usr/lib/python3.11", "*.py"),
    (ROOT / "proto", "*.proto"),
    (ROOT / "model", "*.h"),
    (ROOT / "server", "*.cc"),
    (ROOT / "client", "*.cc"),
    (ROOT / "tests", "*.cc"),
]


def texts():
    """Yields (path, bytes) of every readable text, in a fixed order, each file once."""
    seen = set()
    for place, pattern in PLACES:
        for path in sorted(pathlib.Path(place).rglob(pattern)):
            real = path.resolve()
            if real in seen or not real.is_file():
                continue
            seen.add(real)
            try:
                data = real.read_bytes()
                data.decode("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            yield real, data


def short_document():
    """The first paragraph below the title of the README."""
    paragraphs = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")
    return paragraphs[1].encode(), "the first paragraph of README.md"


def long_document():
    """The smallest file of at least LONG_BYTES, so that checks against a slow twin end soon."""
    fitting = [(len(data), path, data) for path, data in texts() if len(data) >= LONG_BYTES]
    if fitting:
        _, path, data = min(fitting)
        return data, str(path)
    collected = b"".join(data for _, data in texts())
    return collected[:LONG_BYTES], "several files, one after the other"


def million_document():
    collected = bytearray()
    files = 0
    for _, data in texts():
        collected += data
        files += 1
        if len(collected) >= MILLION:
            return bytes(collected[:MILLION]), f"{files} files, one after the other"
    if not collected:
        sys.exit("documents: no text found on this machine")
    whole = bytes(collected)
    while len(collected) < MILLION:
        collected += whole
    return bytes(collected[:MILLION]), f"{files} files, repeated"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    makers = {"short": short_document, "long": long_document, "million": million_document}
    for name, make in makers.items():
        data, source = make()
        (out / f"{name}.txt").write_bytes(data)
        print(f"  {name + '.txt':12} {len(data):9} bytes  {source}")


if __name__ == "__main__":
    main()
