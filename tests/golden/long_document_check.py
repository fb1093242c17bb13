"""Long documents through the real server against the twin, and against themselves.

usage: long_document_check.py --tree INSTALLED --server HOST:PORT --one-layer-model FOLDER --out FOLDER

INSTALLED is a tree of `cmake --install`, HOST:PORT a server of its default model, FOLDER of --out
holds long.txt, million.txt and million.npy (all token rows of million.txt, not normalised). Checked:

1. default model, long.txt: sampled token rows agree with the twin within the tolerance that the twin
   derives (rounding.py);
2. default model, million.txt: with its first half replaced by one value, the last row moves by more
   than twice the tolerance, which is all that two runs may differ by rounding: so nothing was cut or
   forgotten;
3. one-layer model, million.txt: 64 rows (first, last, tile and slice edges, seeded ones) agree with
   the twin. A server of that model is started for it.
"""

import argparse
import contextlib
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "model" / "torch" / "src"))

from longwave_torch.golden import rounding, twin  # noqa: E402

SAMPLES = 64
SEED = 20
MOVED = 2  # times the tolerance: each of two runs is within it
START_SECONDS = 120
# Both sides of where tiles, chunks and slices of any usual size meet.
EDGES = [0, 1, 127, 128, 255, 256, 257, 1023, 1024, 4095, 4096, 16384, 65535, 65536]


def sampled_rows(n):
    """SAMPLES rows: first, last, edges, the middle's neighbours, the rest seeded."""
    fixed = {row for row in [*EDGES, n // 2 - 1, n // 2, n - 2, n - 1] if 0 <= row < n}
    random = np.random.RandomState(SEED)
    while len(fixed) < min(SAMPLES, n):
        fixed.add(int(random.randint(0, n)))
    return np.array(sorted(fixed))


def tokens(document):
    return np.fromfile(document, np.uint8).astype(np.int64)


class Client:
    def __init__(self, tree, server):
        self.program = tree / "bin" / "longwave"
        self.server = server

    def rows(self, document, pooling, output):
        """The rows that the server gives for a document, not normalised."""
        subprocess.run(
            [self.program, "encode", "--server", self.server, "--pooling", pooling,
             "--no-normalize", "--quiet", "--output", output, document],
            check=True)  # fmt: skip
        return np.load(output, mmap_mode="r")


@contextlib.contextmanager
def running_server(tree, model, folder):
    """A server of another model, stopped at the end; yields its address."""
    port_file = folder / "one_layer_port"
    port_file.unlink(missing_ok=True)
    with open(folder / "one_layer_server.log", "wb") as log:
        server = subprocess.Popen(
            [tree / "bin" / "longwave-server", "--model", model, "--address", "127.0.0.1:0",
             "--metrics_address", "127.0.0.1:0", "--port_file", port_file],
            stdin=subprocess.DEVNULL, stderr=log)  # fmt: skip
        try:
            yield wait_for_health(tree, server, port_file)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait()
    if code != 0:
        sys.exit(f"the one-layer model's server ended with {code}")


def wait_for_health(tree, server, port_file):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        if port_file.exists():
            address = "127.0.0.1:" + port_file.read_text().strip()
            probe = [tree / "bin" / "longwave", "health", "--quiet", "--server", address]
            if subprocess.run(probe, check=False).returncode == 0:
                return address
        time.sleep(0.2)
    sys.exit(f"the one-layer model's server did not become healthy: exit code {server.poll()}")


def compare_with_twin(name, model, document, served):
    """Prints the largest deviation of sampled rows; returns (within tolerance, tolerance)."""
    ids = tokens(document)
    if len(served) != len(ids):
        print(f"  {name}: {len(served)} rows for {len(ids)} tokens: WRONG")
        return False, 0.0
    rows = sampled_rows(len(ids))
    began = time.monotonic()
    exact = model.rows(ids, rows)
    tolerance = rounding.tolerance_of_rows(model, ids, rows, exact)
    deviation = np.abs(np.asarray(served[rows], np.float64) - exact)
    worst = np.unravel_index(deviation.argmax(), deviation.shape)
    good = bool(deviation.max() <= tolerance)
    print(
        f"  {name}: {len(rows)} of {len(ids)} rows, largest deviation {deviation.max():.3g} (row"
        f" {rows[worst[0]]}, value {exact[worst]:.6g}), tolerance {tolerance:.3g}:"
        f" {'good' if good else 'WRONG'}  [twin: {time.monotonic() - began:.0f} s]",
        flush=True,
    )
    return good, tolerance


def tolerance_at(tolerance, n, longer):
    """A tolerance found at n tokens, for more of them: only sums over tokens err more, as the
    square root of their steps; everything else is charged the same factor."""
    return tolerance * np.sqrt(rounding.Rounding.sum_steps(longer) / rounding.Rounding.sum_steps(n))


def check_half_matters(client, out, tolerance):
    document = out / "million.txt"
    text = document.read_bytes()
    half = len(text) // 2
    changed = out / "million_changed.txt"
    changed.write_bytes(b" " * half + text[half:])
    last = np.load(out / "million.npy", mmap_mode="r")[-1]
    moved = float(np.abs(client.rows(changed, "last", out / "changed.npy")[0] - last).max())
    good = moved > MOVED * tolerance
    print(
        f"  default model, first {half} of {len(text)} bytes replaced: the last row moves by"
        f" {moved:.3g}, {moved / tolerance:.1f} times the tolerance {tolerance:.3g}:"
        f" {'good' if good else 'WRONG'}",
        flush=True,
    )
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("tree", "one-layer-model", "out"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--server", required=True)
    options = parser.parse_args()
    out, tree = options.out.resolve(), options.tree.resolve()
    client = Client(tree, options.server)

    served = client.rows(out / "long.txt", "none", out / "long.npy")
    default_model = twin.load(tree / "share" / "longwave" / "models" / "default")
    long_good, tolerance = compare_with_twin(
        "default model, long.txt", default_model, out / "long.txt", served
    )
    million = out / "million.txt"
    tolerance = tolerance_at(tolerance, len(served), million.stat().st_size)
    half_good = check_half_matters(client, out, tolerance)

    with running_server(tree, options.one_layer_model.resolve(), out) as address:
        served = Client(tree, address).rows(million, "none", out / "one_layer.npy")
    one_layer = twin.load(options.one_layer_model)
    one_layer_good, _ = compare_with_twin("one-layer model, million.txt", one_layer, million, served)
    sys.exit(0 if long_good and half_good and one_layer_good else 1)


if __name__ == "__main__":
    main()
