"""The committed descriptors and the service config are those of the repository."""

from __future__ import annotations

import importlib.util
import pathlib

from google.protobuf import descriptor_pb2
from longwave import _api

ROOT = pathlib.Path(__file__).resolve().parents[3]
CLIENT = ROOT / "client" / "python"


def files(data: bytes) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    return {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}


def test_the_descriptors_are_those_of_proto(tmp_path):
    spec = importlib.util.spec_from_file_location("make_api", CLIENT / "make_api.py")
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    make_api.make(tmp_path / "api.binpb")
    fresh = files((tmp_path / "api.binpb").read_bytes())
    committed = files((CLIENT / "src" / "longwave" / "api.binpb").read_bytes())
    ours = {name for name in fresh if name.startswith(("longwave/", "grpc/"))}
    assert len(ours) == 4 and ours <= set(committed)
    for name in ours:
        assert fresh[name] == committed[name], f"{name}: run client/python/make_api.py"


def test_another_copy_of_the_api_in_the_process_is_no_matter():
    """Descriptors of the same names in the default pool, as of generated code."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.Default()
    for file in files((CLIENT / "src" / "longwave" / "api.binpb").read_bytes()).values():
        pool.AddSerializedFile(file.SerializeToString())
    assert pool.FindMessageTypeByName("longwave.v1.Span") is not _api.message("longwave.v1.Span")
    assert _api.message("longwave.v1.Span")(begin=1, end=2).end == 2


def test_the_version_is_the_cpp_clients():
    from longwave import __version__

    assert f'"{__version__}"' in (ROOT / "client" / "version.h").read_text()
