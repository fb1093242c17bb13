"""Makes src/longwave/api.binpb from proto/: the descriptors of the API and of what it refers to.

    python client/python/make_api.py [OUTPUT]

Needs grpcio-tools and googleapis-common-protos, as in tests/python/requirements.txt.
"""

from __future__ import annotations

import pathlib
import sys

import google.rpc
import grpc_tools
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"


def make(output: pathlib.Path) -> None:
    """Writes a FileDescriptorSet with all imports, each file after those that it imports."""
    google_rpc = pathlib.Path(next(iter(google.rpc.__path__))).resolve()
    include = [PROTO, google_rpc.parents[1], pathlib.Path(grpc_tools.__file__).parent / "_proto"]
    files = [*sorted((PROTO / "longwave" / "v1").glob("*.proto"))]
    files += [PROTO / "grpc" / "health" / "v1" / "health.proto"]
    files += [google_rpc / "status.proto", google_rpc / "error_details.proto"]
    arguments = ["protoc", *(f"-I{folder}" for folder in include), "--include_imports"]
    arguments += [f"--descriptor_set_out={output}", *map(str, files)]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the API's files")


if __name__ == "__main__":
    make(
        pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src" / "longwave" / "api.binpb"
    )
