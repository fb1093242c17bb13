"""The service's API from its proto files, and the long request that measurements send."""

import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_api():
    folder = tempfile.mkdtemp(prefix="longwave-stubs-")
    files = [str(path) for path in (ROOT / "proto" / "longwave" / "v1").glob("*.proto")]
    arguments = [f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *arguments, *files]) != 0:
        sys.exit("protoc refused the API's files")
    sys.path.insert(0, folder)
    return (
        importlib.import_module("longwave.v1.encode_pb2"),
        importlib.import_module("longwave.v1.model_pb2"),
        importlib.import_module("longwave.v1.encoder_service_pb2_grpc"),
    )


encode_pb2, model_pb2, service_grpc = load_api()


def long_messages(tokens: int, dtype: str = "DATA_TYPE_FP16"):
    """One request whose token rows all come back, as stream messages."""
    message = encode_pb2.EncodeRequest(
        tokens=encode_pb2.TokenBatch(id_width=encode_pb2.ID_WIDTH_U8, lengths=[tokens]),
        output=encode_pb2.OutputSpec(
            pooling=encode_pb2.POOLING_NONE, dtype=encode_pb2.DataType.Value(dtype)
        ),
    )
    yield encode_pb2.EncodeStreamRequest(tag=1, open=encode_pb2.StreamOpen(request=message))
    ids = bytes((i * 131 + 7) % 256 for i in range(256)) * (tokens // 256 + 1)
    for offset in range(0, tokens, 1 << 20):
        data = encode_pb2.StreamData(
            ids=ids[offset : min(offset + (1 << 20), tokens)], offset=offset
        )
        yield encode_pb2.EncodeStreamRequest(tag=1, data=data)
    yield encode_pb2.EncodeStreamRequest(tag=1, end=encode_pb2.StreamEnd())
