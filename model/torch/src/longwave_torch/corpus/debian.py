"""Documents out of the documentation that Debian packages ship.

    python -m longwave_torch.corpus.debian --packages recipes/default/packages.txt --out data/corpus

Packages are fetched with `apt-get download` (verified by apt) and read without being installed.
A line of the list: package, source package, topic (the section of what the package documents).
"""

import argparse
import concurrent.futures
import dataclasses
import gzip
import hashlib
import os
import pathlib
import random
import re
import subprocess
import tarfile

from . import store, text
from ..progress import Progress

PAGES = 160  # at most this many of one package, so that none drowns the others
PACKAGE_BYTES = 2_500_000  # of text, likewise
PAGE_BYTES = 400_000  # a longer page is cut there
FILE_BYTES = 16_000_000  # larger files are not looked at
# Dictionaries (dictd's format): the words of ordinary language, which manuals have few of.
ENTRIES_BYTES = 2500  # about so many of neighbouring entries are a document
DICTIONARY_PAGES = 3000

_HTML = (".html", ".htm", ".xhtml")
_PLAIN = (".txt", ".rst", ".md", ".adoc", ".text", ".org")
_MANUAL = re.compile(r"^\./usr/share/man/(man\d|en)/")
_UNWANTED = re.compile(
    r"(changelog|copyright|NEWS\b|genindex|py-modindex|/search\.html|/_sources/|/_static/|"
    r"allclasses|overview-tree|package-tree|index-all|-members\.html|/license|/COPYING|"
    r"_8h_source|_source\.html|/dir_[0-9a-f]+|functions_\w*\.html|globals_\w*\.html|"
    r"/(de|fr|es|it|ja|ru|pl|zh\w*|pt\w*|nl|ko|sv|cs|da|fi|hu|tr|uk|ca|el|ro)/)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    source: str
    topic: str


def read_list(path):
    """The packages of a list; # begins a comment. ValueError names a line that is not three words."""
    packages = []
    for number, line in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if words and len(words) != 3:
            raise ValueError(f"{path}:{number}: '{line}' is not 'package source topic'")
        if words:
            packages.append(Package(*words))
    return packages


def fetch(packages, folder, batch=40):
    """{package name: .deb}, downloaded into `folder` where they are not there yet. Packages that
    the mirror no longer has are left out and printed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = _debs(folder)
    missing = [p.name for p in packages if p.name not in found]
    with Progress("fetching packages", len(missing)) as progress:
        for begin in range(0, len(missing), batch):
            names = missing[begin : begin + batch]
            command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download"]
            done = subprocess.run([*command, *names], cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:  # one unknown name fails all of them: each by itself
                for name in names:
                    subprocess.run([*command, name], cwd=folder, capture_output=True)
            progress.add(len(names))
    found = _debs(folder)
    gone = [p.name for p in packages if p.name not in found]
    if gone:
        print(f"corpus: {len(gone)} packages are not to be had: {' '.join(gone)}")
    return found


def _debs(folder):
    return {path.name.split("_")[0]: path for path in sorted(folder.glob("*.deb"))}


def _kind(name):
    stem = name.removesuffix(".gz")
    if name.startswith("./usr/share/dictd/") and name.endswith(".dict.dz"):
        return "dictionary"
    if _UNWANTED.search(name):
        return None
    if _MANUAL.match(name) and re.search(r"\.\d\w*$", stem):
        return "roff"
    if not name.startswith("./usr/share/"):
        return None
    suffix = os.path.splitext(stem)[1].lower()
    if suffix in _HTML:
        return "html"
    if suffix in _PLAIN or os.path.basename(stem).startswith("README"):
        return "plain"
    return None


def _page(kind, data):
    """(title, text) of one file."""
    if kind == "html":
        return text.from_html(data)
    words = data.decode("utf-8", errors="replace")
    if kind == "roff":
        return text.from_roff(words)
    tidied = text.tidy(words)
    return tidied.split("\n", 1)[0][:100], tidied


def _members(deb, wanted=None):
    """(name, bytes) of the regular files of a .deb that `wanted` takes, in the archive's order."""
    command = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with command, tarfile.open(fileobj=command.stdout, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.size <= FILE_BYTES and wanted(member.name):
                data = archive.extractfile(member).read()
                if member.name.endswith((".gz", ".dz")):  # dictzip is gzip with a directory
                    data = gzip.decompress(data)
                yield member.name, data


def licence(deb):
    """The licences that the package's copyright file names, as one text."""
    names = []
    for _, data in _members(deb, lambda n: n.endswith("/copyright") and "/share/doc/" in n):
        words = data.decode("utf-8", errors="replace")
        names += re.findall(r"^License:[ \t]*(\S.*)$", words, re.MULTILINE)
        if not names:
            names = re.findall(r"common-licenses/([\w.+-]+)", words)
        break
    unique = sorted({name.strip()[:80] for name in names})
    return ", ".join(unique[:12]) or "see its copyright file"


def _dictionary_pages(name, data):
    """(name, title, text) of neighbouring entries. Entries begin where a line is not indented."""
    entries = re.split(r"\n(?=\S)", data.decode("utf-8", errors="replace"))
    pages, page, size = [], [], 0
    for entry in entries:
        page.append(text.tidy(entry))
        size += len(page[-1])
        if size >= ENTRIES_BYTES:
            pages.append((f"{name}/{len(pages)}", page[0].split("\n", 1)[0][:100], "\n".join(page)))
            page, size = [], 0
    return pages


def documents(package, deb):
    """The documents of one package: pages that are prose, without what repeats from page to page."""
    order = random.Random(package.name)
    pages = []
    for name, data in _members(deb, lambda n: _kind(n) is not None):
        if _kind(name) == "dictionary":
            pages += _dictionary_pages(name.removeprefix("./"), data)
            continue
        title, words = _page(_kind(name), data)
        if text.is_prose(words):
            pages.append((name.removeprefix("./"), title, words))
    order.shuffle(pages)
    if any("share/dictd/" in name for name, _, _ in pages):
        pages = pages[:DICTIONARY_PAGES]
        return [
            store.Document(package.name, package.source, package.topic, name, title, words)
            for (name, title, _), words in zip(pages, text.drop_repeated_lines([p[2] for p in pages]))
        ]
    pages = pages[: 4 * PAGES]
    kept, size = [], 0
    for (name, title, _), words in zip(pages, text.drop_repeated_lines([p[2] for p in pages])):
        words = words[:PAGE_BYTES]
        if text.is_prose(words) and len(kept) < PAGES and size < PACKAGE_BYTES:
            kept.append(store.Document(package.name, package.source, package.topic, name, title, words))
            size += len(words)
    return kept


def _read(job):
    package, deb = job
    try:
        return package, licence(deb), documents(package, deb)
    except (OSError, tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        return package, f"unreadable: {error}", []


def build(packages, debs, out, workers=None):
    """Writes the corpus: documents in the order of the list, each text once."""
    jobs = [(p, debs[p.name]) for p in packages if p.name in debs]
    licences, seen, everything = {}, set(), []
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        with Progress("reading packages", len(jobs)) as progress:
            for package, its_licence, its_documents in pool.map(_read, jobs):
                progress.add(1)
                if its_documents:
                    licences[package.name] = its_licence
                for document in its_documents:
                    digest = hashlib.sha256(document.text[:2000].encode()).digest()
                    if digest not in seen:
                        seen.add(digest)
                        everything.append(document)
    return store.write(out, everything, licences)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=pathlib.Path, required=True, help="list of packages")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the corpus")
    parser.add_argument("--debs", type=pathlib.Path, help="where packages lie (default: OUT/debs)")
    parser.add_argument("--jobs", type=int, help="packages read at once (default: cores)")
    options = parser.parse_args(arguments)
    packages = read_list(options.packages)
    debs = fetch(packages, options.debs or options.out / "debs")
    corpus = build(packages, debs, options.out, options.jobs)
    print(f"{options.out}: {len(corpus)} documents, {corpus.total_bytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
