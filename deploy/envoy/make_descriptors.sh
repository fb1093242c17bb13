#!/usr/bin/env bash
# Writes longwave.binpb beside this script: the descriptors that Envoy transcodes by. Beside the API
# they hold google.rpc's error details, without which Envoy could not print why a call failed.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
proto="$here/../../proto"
output="${1:-$here/longwave.binpb}"
python="${PYTHON:-python3}"

# The folder above google/rpc of the package googleapis-common-protos, and protobuf's compiler.
if ! googleapis="$("$python" -c '
import pathlib
import grpc_tools
from google.rpc import error_details_pb2
print(pathlib.Path(error_details_pb2.__file__).parents[2])')"; then
  echo "make_descriptors: $python needs: pip install grpcio-tools googleapis-common-protos" >&2
  exit 1
fi

"$python" -m grpc_tools.protoc "-I$proto" "-I$googleapis" --include_imports \
  "--descriptor_set_out=$output" longwave/v1/encoder_service.proto google/rpc/error_details.proto
echo "make_descriptors: wrote $output" >&2
