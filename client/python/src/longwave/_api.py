"""The API's messages, made at import from the descriptors in `api.binpb`.

Generated Python code only loads with the protobuf release that made it and newer ones; descriptors
load with any. They live in a pool of their own, so that another copy of the API (or of google.rpc)
in the same process does not clash with this one.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "longwave.v1.EncoderService"


def _load() -> descriptor_pool.DescriptorPool:
    data = resources.files(__package__).joinpath("api.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load()


def message(name: str) -> Any:
    """The class of the message with this full name, such as `longwave.v1.EncodeRequest`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def enum_values(name: str) -> dict[str, int]:
    """Names and numbers of an enum of `longwave.v1`."""
    return {
        value.name: value.number for value in _POOL.FindEnumTypeByName(f"longwave.v1.{name}").values
    }


EncodeRequest = message("longwave.v1.EncodeRequest")
EncodeResponse = message("longwave.v1.EncodeResponse")
EncodeStreamRequest = message("longwave.v1.EncodeStreamRequest")
EncodeStreamResponse = message("longwave.v1.EncodeStreamResponse")
EstimateEncodeRequest = message("longwave.v1.EstimateEncodeRequest")
EstimateEncodeResponse = message("longwave.v1.EstimateEncodeResponse")
GetModelRequest = message("longwave.v1.GetModelRequest")
GetModelResponse = message("longwave.v1.GetModelResponse")
HealthCheckRequest = message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = message("grpc.health.v1.HealthCheckResponse")
RpcStatus = message("google.rpc.Status")
ErrorInfo = message("google.rpc.ErrorInfo")
BadRequest = message("google.rpc.BadRequest")
RetryInfo = message("google.rpc.RetryInfo")

POOLING = enum_values("Pooling")
DATA_TYPE = enum_values("DataType")
ID_WIDTH = enum_values("IdWidth")
PRIORITY = enum_values("Priority")
TRUNCATION_SIDE = enum_values("TruncationSide")
ROUTE_NAMES = {
    number: name.removeprefix("ROUTE_").lower() for name, number in enum_values("Route").items()
}

# Path, request and reply of each call.
ENCODE = (f"/{SERVICE}/Encode", EncodeRequest, EncodeResponse)
ENCODE_STREAM = (f"/{SERVICE}/EncodeStream", EncodeStreamRequest, EncodeStreamResponse)
ESTIMATE = (f"/{SERVICE}/EstimateEncode", EstimateEncodeRequest, EstimateEncodeResponse)
GET_MODEL = (f"/{SERVICE}/GetModel", GetModelRequest, GetModelResponse)
HEALTH = ("/grpc.health.v1.Health/Check", HealthCheckRequest, HealthCheckResponse)
