"""Who may include what: the table of the design, as data, and the check of it.

Run as a program it checks a source tree and prints each violation:
    python3 tests/unit/layering/layers.py [root]
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

# Third-party headers by library. The first pattern that fits decides.
LIBRARIES = [
    ("libtorch", r"(ATen|c10|torch|caffe2)/"),
    ("cuda", r"(cuda|cufft|cublas|curand|cusolver|cusparse|nvtx3?)[\w/.]*\.(h|hpp|cuh)$|cub/|thrust/"),
    ("protobuf", r"google/(protobuf|rpc)/|(longwave|inference|grpc/health|grpc/reflection)/.*\.pb\.h$"),
    ("grpc", r"(grpc|grpcpp|grpc\+\+)/"),
    ("prometheus", r"prometheus/|civetweb|Civet"),
    ("absl-mutex", r"absl/synchronization/|absl/log/"),
    ("absl", r"absl/"),
    ("json", r"nlohmann/"),
    ("openssl", r"openssl/"),
    ("curl", r"curl/"),
    ("highway", r"hwy/"),
    ("sentencepiece", r"sentencepiece"),
    ("testing", r"(gtest|gmock|benchmark)/"),
    # The compiler's and the system's own: no folder, or one of Linux's.
    ("system", r"[^/]+$|(sys|netinet|arpa|linux|bits)/"),
]

# Generated from proto/: names without a folder of ours.
_GENERATED = r"(longwave|inference|grpc|google)/.*\.pb\.h$"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row: what the files under `folder` may include."""

    folder: str
    ours: tuple[str, ...]  # folders of ours besides its own
    libraries: tuple[str, ...]  # besides system and absl
    source_only: tuple[str, ...] = ()  # libraries that only .cc files may name
    subfolders: bool = True  # False: only files that lie in the folder itself


_SEAM = ("model/base", "model/api")
_CORE = _SEAM + (
    "server/scheduling",
    "server/admission",
    "server/observability",
    "server/security",
)

# The most specific folder that holds a file decides. A folder without a row is a violation.
LAYERS = [
    Layer("model/base", (), ()),
    Layer("model/api", ("model/base",), ()),
    Layer("model/weights", _SEAM, ("json", "openssl")),
    Layer("model/reference", _SEAM + ("model/weights",), ()),
    Layer("model/kernels", ("model/base",), ("highway", "cuda")),
    Layer(
        "model/attention",
        _SEAM + ("model/weights", "model/reference", "model/kernels"),
        ("libtorch", "highway", "cuda"),
    ),
    Layer(
        "model/encoder",
        _SEAM + ("model/weights", "model/reference", "model/kernels", "model/attention"),
        ("libtorch", "openssl", "cuda"),
    ),
    Layer(
        "model/torch",
        _SEAM + ("model/weights", "model/kernels", "model/attention"),
        ("libtorch",),
    ),
    Layer("server/scheduling", _SEAM + ("server/admission",), ()),
    Layer("server/admission", _SEAM, ()),
    Layer("server/observability", ("model/base",), (), source_only=("prometheus",)),
    # Certificates and keys: checked by the library that gRPC's TLS is made of, and a file of JSON.
    Layer(
        "server/security",
        ("model/base", "server/admission", "server/observability"),
        (),
        source_only=("openssl", "json"),
    ),
    # The mutexes inside gRPC are Abseil's; one file tells them something.
    Layer("server/rpc", _CORE, ("grpc", "protobuf"), source_only=("absl-mutex",)),
    # The composition root: the only place that names both sides, and neither LibTorch nor
    # Prometheus by their own headers.
    Layer("server", ("model", "server"), ("grpc", "protobuf"), subfolders=False),
    Layer(
        "client",
        (),
        ("grpc", "protobuf", "json", "sentencepiece"),
        source_only=("absl-mutex", "curl"),  # as above; one file reads a metrics page
    ),
    Layer("tests", ("model", "server", "client"), tuple(name for name, _ in LIBRARIES)),
]

_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
_SUFFIXES = (".h", ".cc", ".cu", ".cuh")
_TOP_FOLDERS = ("model", "server", "client", "tests")
_EVERYWHERE = ("system", "absl")


def library_of(header: str) -> str:
    for name, pattern in LIBRARIES:
        if re.match(pattern, header):
            return name
    return "unknown"


def layer_of(path: str) -> Layer | None:
    """The row of a file: of the longest folder that holds it."""
    parent = path.rpartition("/")[0]
    holding = [
        row
        for row in LAYERS
        if parent == row.folder or (row.subfolders and _within(parent, row.folder))
    ]
    return max(holding, key=lambda row: len(row.folder), default=None)


def is_ours(header: str) -> bool:
    return header.split("/")[0] in _TOP_FOLDERS and not re.match(_GENERATED, header)


def _within(header: str, folder: str) -> bool:
    return header == folder or header.startswith(folder + "/")


def _sources(root: pathlib.Path) -> dict[str, list[str]]:
    """Path -> headers it includes, for every source file."""
    files = {}
    for top in _TOP_FOLDERS:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in _SUFFIXES and path.is_file():
                text = path.read_text(encoding="utf-8")
                names = [match.group(2) for match in _INCLUDE.finditer(text)]
                files[path.relative_to(root).as_posix()] = names
    return files


def _check_include(path: str, row: Layer, header: str, files: dict[str, list[str]]) -> str | None:
    if is_ours(header):
        if header not in files:
            return f"{path}: includes {header}, which is not in the tree"
        if not any(_within(header, folder) for folder in (row.folder, *row.ours)):
            return f"{path}: {row.folder} may not include {header}"
        return None
    library = library_of(header)
    if library == "unknown":
        return f"{path}: includes {header}, which belongs to no library of the table"
    if library in row.source_only:
        if path.endswith((".h", ".cuh")):
            return f"{path}: {library} only in .cc files of {row.folder}, not in a header: {header}"
        return None
    if library not in row.libraries and library not in _EVERYWHERE:
        return f"{path}: {row.folder} may not use {library}: {header}"
    return None


def _libraries_reached(path: str, files: dict[str, list[str]]) -> dict[str, str]:
    """Library -> the file through which the translation unit `path` reaches it."""
    reached: dict[str, str] = {}
    seen = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for header in files.get(current, []):
            if is_ours(header):
                waiting.append(header)
            else:
                reached.setdefault(library_of(header), current)
    return reached


def violations(root: pathlib.Path) -> list[str]:
    """Every include of the tree under `root` that breaks the table, one line each."""
    files = _sources(root)
    found = []
    for path, headers in files.items():
        row = layer_of(path)
        if row is None:
            found.append(f"{path}: its folder has no row in the table")
            continue
        for header in headers:
            problem = _check_include(path, row, header, files)
            if problem:
                found.append(problem)
        reached = _libraries_reached(path, files)
        # Their headers clash: LibTorch ships an older protobuf.
        for other in ("protobuf", "grpc"):
            if "libtorch" in reached and other in reached:
                found.append(
                    f"{path}: sees libtorch (through {reached['libtorch']}) and {other} "
                    f"(through {reached[other]}) in one translation unit"
                )
    return found


def main() -> int:
    default = pathlib.Path(__file__).resolve().parents[3]
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    found = violations(root)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
