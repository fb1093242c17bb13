"""What the demo shows: the server's metrics, and a table of what was encoded.

usage: report.py scrape PORT FILE            the metrics endpoint's answer, as it is
       report.py moved BEFORE AFTER          the metric lines that differ between two scrapes
       report.py table FOLDER                what was encoded, from the client's summaries
       report.py topics FOLDER               cosines of documents of some topics; exit code 1 if one's
                                             nearest is of another topic
       report.py peak PID LIMIT_GIB          peak memory of a process; exit code 1 above the limit

FOLDER holds pooled.json (short and long, one vector each; vectors in pooled.npy), million.json (all
token rows, in million.npy) and topics.json (documents named TOPIC-NAME.txt; vectors in topics.npy).
"""

import json
import pathlib
import sys
import urllib.request

import numpy as np

ROWS_AT_ONCE = 65536


def scrape(port, file):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        pathlib.Path(file).write_bytes(answer.read())


def _series(file):
    lines = pathlib.Path(file).read_text(encoding="utf-8").splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _shown(name):
    """Bucket lines would drown the rest, and the exposer speaks of itself."""
    return "_bucket{" not in name and not name.startswith("exposer_")


def moved(before, after):
    old, new = _series(before), _series(after)
    for name in sorted(new):
        if _shown(name) and new[name] != old.get(name, 0.0):
            print(f"  {name}  {old.get(name, 0.0):.12g} -> {new[name]:.12g}")


def mean_of_rows(file):
    """The mean over all rows, in double, without holding them all."""
    rows = np.load(file, mmap_mode="r")
    total = np.zeros(rows.shape[1])
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        total += rows[begin : begin + ROWS_AT_ONCE].sum(axis=0, dtype=np.float64)
    return total / len(rows)


def _documents(folder):
    """(summary, vector) of each document."""
    pooled = json.loads((folder / "pooled.json").read_text())["documents"]
    vectors = np.load(folder / "pooled.npy")
    found = [(summary, vectors[summary["first_row"]]) for summary in pooled]
    for summary in json.loads((folder / "million.json").read_text())["documents"]:
        found.append((summary, mean_of_rows(folder / "million.npy")))
    return found


def table(folder):
    documents = _documents(pathlib.Path(folder))
    names = [pathlib.Path(summary["document"]).name for summary, _ in documents]
    width = max(len(name) for name in names)
    print(
        f"  {'document':{width}} {'tokens':>8} {'rows':>8} {'dim':>4} {'route':10}"
        f" {'queue ms':>9} {'compute ms':>11} {'us/token':>9}  first values of the mean vector"
    )
    for name, (summary, vector) in zip(names, documents):
        values = " ".join(f"{value:9.6f}" for value in vector[:4] / np.linalg.norm(vector))
        print(
            f"  {name:{width}} {summary['tokens_used']:8} {summary['rows']:8} {summary['dim']:4}"
            f" {summary['route']:10} {summary['queue_ms']:9.1f} {summary['compute_ms']:11.1f}"
            f" {summary['compute_ms'] * 1000 / summary['tokens_used']:9.1f}  {values}"
        )


def topics(folder):
    """Cosines in percent; the nearest other document of each row is marked."""
    folder = pathlib.Path(folder)
    found = json.loads((folder / "topics.json").read_text())["documents"]
    names = [pathlib.Path(summary["document"]).stem for summary in found]
    vectors = np.load(folder / "topics.npy")[[summary["first_row"] for summary in found]]
    cosines = vectors @ vectors.T  # of unit vectors
    others = np.where(np.eye(len(names), dtype=bool), -np.inf, cosines)
    nearest = others.argmax(1)
    width = max(map(len, names))
    topic = [name.split("-")[0] for name in names]
    good = 0
    for row, name in enumerate(names):
        if row and topic[row] != topic[row - 1]:
            print()
        cells = [
            f"{round(100 * float(c)):5d}{'*' if column == nearest[row] else ' '}"
            + (" |" if column + 1 < len(names) and topic[column] != topic[column + 1] else "")
            for column, c in enumerate(cosines[row])
        ]
        print(f"  {name:{width}} " + "".join(cells))
        good += topic[nearest[row]] == topic[row]
    print(f"\n  nearest (*) of the same topic: {good} of {len(names)}")
    sys.exit(0 if good == len(names) else 1)


def peak(pid, limit_gib):
    """The highest resident size that the kernel has noted for the process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    gib = kib / 2**20
    below = gib < float(limit_gib)
    print(f"  {gib:.2f} GiB, limit {limit_gib} GiB: {'good' if below else 'TOO MUCH'}")
    sys.exit(0 if below else 1)


COMMANDS = {"scrape": scrape, "moved": moved, "table": table, "topics": topics, "peak": peak}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
