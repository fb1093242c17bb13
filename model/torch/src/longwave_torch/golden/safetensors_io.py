"""Safetensors files with numpy alone: just enough to write a model and to read it back."""

import json
import struct

import numpy as np


def _bfloat16(values):
    """The upper halves of fp32 numbers, rounded to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


# Names in config.json's torch_dtype: name in the file, and how to get there.
ENCODERS = {
    "float32": ("F32", lambda values: values.astype("<f4")),
    "float16": ("F16", lambda values: values.astype("<f2")),
    "bfloat16": ("BF16", _bfloat16),
}


def write(path, tensors, dtype="float32", metadata=None):
    """Writes tensors, by name, in the order of their names."""
    stored_type, encode = ENCODERS[dtype]
    header = {"__metadata__": metadata} if metadata else {}
    contents = []
    offset = 0
    for name in sorted(tensors):
        contents.append(encode(tensors[name]).tobytes())
        header[name] = {
            "dtype": stored_type,
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(contents[-1])],
        }
        offset += len(contents[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(contents))


def _decode(raw, dtype):
    if dtype == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float64)
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float64)
    if dtype == "BF16":
        bits = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)
    raise ValueError(f"type {dtype} is not one of F32, F16, BF16")


def read(path):
    """All tensors of a file, by name, in double."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = _decode(data[begin:end], entry["dtype"]).reshape(entry["shape"])
    return tensors
