"""Writes the hand-made part of the corpora: small inputs that reach far. Inputs that once failed
lie beside them as regression-*, and are not made by this; nor are cli_input/journal-*, which are lines
that the program wrote.

Run with the stubs of the API on the path, as tests/integration/harness.py makes them.
"""

import json
import pathlib
import random
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

from harness import encode_pb2, model_pb2  # noqa: E402

from inference import inference_service_pb2 as inference_pb2  # noqa: E402


def write(corpus: str, name: str, data: bytes) -> None:
    folder = HERE / "corpus" / corpus
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def requests() -> dict[str, encode_pb2.EncodeRequest]:
    pb = encode_pb2
    tokens = pb.TokenBatch(ids=bytes(range(1, 9)), id_width=pb.ID_WIDTH_U8, lengths=[3, 5])
    output = pb.OutputSpec
    span = pb.Span
    return {
        "plain": pb.EncodeRequest(tokens=pb.TokenBatch(ids_list=[1, 2, 3])),
        "packed": pb.EncodeRequest(tokens=tokens, model="fake", request_id="r"),
        "wide": pb.EncodeRequest(tokens=pb.TokenBatch(
            ids=struct.pack("<4H", 1, 2, 3, 999), id_width=pb.ID_WIDTH_U16)),
        "spans": pb.EncodeRequest(tokens=tokens, output=output(
            pooling=pb.POOLING_SPANS, spans=[span(sequence=1, begin=1, end=4)])),
        "rows": pb.EncodeRequest(tokens=tokens, output=output(
            pooling=pb.POOLING_NONE, rows=pb.RowSelection(indices=struct.pack("<2I", 0, 2)))),
        "ranges": pb.EncodeRequest(tokens=tokens, output=output(
            pooling=pb.POOLING_NONE, rows=pb.RowSelection(ranges=[span(begin=0, end=2)]))),
        "stride": pb.EncodeRequest(tokens=tokens, output=output(
            pooling=pb.POOLING_NONE, rows=pb.RowSelection(stride=2))),
        "layers": pb.EncodeRequest(tokens=tokens, output=output(
            layers=[0, -1, 2], dtype=pb.DATA_TYPE_INT8, truncate_dim=8, normalize=True)),
        "truncated": pb.EncodeRequest(tokens=tokens, truncation=pb.Truncation(
            side=pb.TRUNCATION_SIDE_START, max_tokens=2), priority=pb.PRIORITY_BATCH),
        "route": pb.EncodeRequest(tokens=tokens, route_override=pb.ROUTE_FFT, tenant="t"),
    }


def wire() -> None:
    pb = encode_pb2
    for name, message in requests().items():
        write("request", name, b"\3" + message.SerializeToString())
        opening = pb.EncodeStreamRequest(tag=1, open=pb.StreamOpen(request=message))
        opening.open.request.tokens.ClearField("ids")
        opening.open.request.tokens.ClearField("ids_list")
        if not opening.open.request.tokens.lengths:
            opening.open.request.tokens.lengths.append(4)
            opening.open.request.tokens.id_width = opening.open.request.tokens.id_width or 1
        ids = bytes([1, 0] * 8)[: sum(opening.open.request.tokens.lengths)
                                * (2 if name == "wide" else 1)]
        parts = [
            opening,
            pb.EncodeStreamRequest(tag=1, data=pb.StreamData(ids=ids[:3])),
            pb.EncodeStreamRequest(tag=1, data=pb.StreamData(ids=ids[3:], offset=3)),
            pb.EncodeStreamRequest(tag=1, end=pb.StreamEnd()),
        ]
        bodies = [part.SerializeToString() for part in parts]
        write("stream", name, b"".join(bytes([len(body)]) + body for body in bodies))
    estimate = model_pb2.EstimateEncodeRequest(
        lengths=[1, 1 << 20], output=pb.OutputSpec(pooling=pb.POOLING_NONE))
    write("request", "estimate", b"\0" + estimate.SerializeToString())
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    write("request", "traceparent", b"\1" + trace)


def inference() -> None:
    pb = inference_pb2.ModelInferRequest
    ids = pb.InferInputTensor(name="input_ids", datatype="INT32", shape=[2, 3])
    raw = struct.pack("<6i", 1, 2, 3, 4, 5, 6)
    lengths = pb.InferInputTensor(name="lengths", datatype="INT64", shape=[2, 1])
    mask = pb.InferInputTensor(name="attention_mask", datatype="BOOL", shape=[2, 3])
    spans = pb.InferInputTensor(name="spans", datatype="UINT32", shape=[1, 3])
    listed = pb.InferInputTensor(name="input_ids", datatype="UINT16", shape=[3])
    listed.contents.uint_contents.extend([7, 8, 9])
    shared = pb(inputs=[ids])
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    asked = pb(inputs=[ids], raw_input_contents=[raw], id="r", model_name="fake",
               outputs=[pb.InferRequestedOutputTensor(name="embeddings")])
    asked.parameters["dtype"].string_param = "int8"
    asked.parameters["timeout"].int64_param = 1000
    asked.parameters["priority"].uint64_param = 2
    asked.parameters["truncate"].bool_param = True
    asked.parameters["truncate_dim"].int64_param = 8
    spanned = pb(inputs=[ids, spans], raw_input_contents=[raw, struct.pack("<3I", 1, 0, 2)])
    spanned.parameters["pooling"].string_param = "spans"
    for name, message in {
        "plain": pb(inputs=[ids], raw_input_contents=[raw]),
        "lengths": pb(inputs=[ids, lengths],
                      raw_input_contents=[raw, struct.pack("<2q", 1, 3)]),
        "mask": pb(inputs=[ids, mask], raw_input_contents=[raw, bytes([1, 1, 0, 0, 1, 1])]),
        "listed": pb(inputs=[listed]),
        "shared": shared,
        "asked": asked,
        "spans": spanned,
        "many": pb(inputs=[pb.InferInputTensor()] * 1200),
    }.items():
        write("infer", name, message.SerializeToString(deterministic=True))


def tenants() -> None:
    digest = "0123456789abcdef" * 4
    one = {"name": "search", "key_sha256": [digest], "share": 3, "max_compute_share": 0.5,
           "burst_seconds": 10}
    other = {"name": "a.b-c_d", "key_sha256": [digest[::-1], "f" * 64]}
    write("tenants", "one", json.dumps({"tenants": [one]}).encode())
    write("tenants", "two", json.dumps({"tenants": [one, other]}).encode())
    write("tenants", "none", b'{"tenants": []}')
    write("tenants", "twice", json.dumps({"tenants": [one, one]}).encode())
    write("tenants", "nested", b'{"tenants": ' + b"[" * 200 + b"]" * 200 + b"}")


def weights() -> None:
    header = {"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
              "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]},
              "__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    data = struct.pack("<2f", 1.0, -2.0) + b"\x80\x3f"
    write("safetensors", "sound", struct.pack("<Q", len(text)) + text + data)
    write("safetensors", "short", b"L" + struct.pack("<H", len(text)) + text + data[:5])
    write("safetensors", "zip", b"PK\3\4" + bytes(40))
    write("safetensors", "huge", struct.pack("<Q", 2**63) + text)
    overlap = json.dumps({"a": header["a"], "b": header["a"]}).encode()
    write("safetensors", "overlap", struct.pack("<Q", len(overlap)) + overlap + data)


def configs() -> None:
    config = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
              "intermediate_size": 16, "vocab_size": 260, "max_position_embeddings": 64,
              "attention": {"features": {"kind": "positive", "num_features": 4, "seed": 1},
                            "bias": {"kind": "clipped", "max_distance": 4}}}
    write("model_config", "config", b"\0" + json.dumps(config).encode())
    for kind in ("none", "t5", "alibi", "table"):
        config["attention"]["bias"] = {"kind": kind}
        write("model_config", kind, b"\0" + json.dumps(config).encode())
    config.pop("attention")
    config = {"model_type": "longwave-nprf", **config,
              "ngrams": {"sizes": [2, 3, 16], "buckets": 1 << 24, "dim": 8},
              "words": {"count": 1 << 24, "dim": 8}}
    write("model_config", "ngrams", b"\0" + json.dumps(config).encode())
    serving = {"schema_version": 1, "tokenizer": {"kind": "bytes"}, "default_pooling": "mean"}
    write("model_config", "serving", b"\1" + json.dumps(serving).encode())


def cli_inputs() -> None:
    formats = ["text", "lines", "jsonl", "ids", "fasta", "npy"]
    units = ["none", "lines", "sentences", "paragraphs"]

    def add(name: str, form: str, data: bytes, unit: str = "none", step: int | None = None) -> None:
        way = 0 if step is None else 12 + 4 * step + units.index(unit)
        write("cli_input", name, bytes([formats.index(form) + 6 * way]) + data)

    prose = "A title\n\nDr. One came. Two (e.g. this)!\nThree\u2026 \u3042\u3002\u3044".encode()
    for unit in units[1:]:
        add(f"text-{unit}", "text", prose, unit, 0)
        add(f"text-{unit}-packed", "text", prose, unit, 2)
    add("lines", "lines", b"one\r\n\ntwo", "none", 1)
    add("jsonl", "jsonl", b'{"id": 7, "text": "na\xc3\xafve", "char_spans": [[0, 3]]}\n'
        b'{"token_ids": [1, 2, 3], "spans": [[0, 2], [1, 3]]}\n', "none", 1)
    add("jsonl-nested", "jsonl", b'{"text": ' + b"[" * 300 + b"]" * 300 + b"}")
    add("ids", "ids", b"1 2,3\n4294967295\n", "none", 1)
    add("fasta", "fasta", b";c\n>a b\nAC GT*\n>\n>c\nA1\nMK-.*\n", "none", 1)
    add("fasta-gzip", "fasta", b"\x1f\x8b\x08\n")

    def npy(header: str, data: bytes) -> bytes:
        text = header.encode()
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data

    for name, descr, shape, data in (
        ("npy", "|u1", "(5,)", b"hello"), ("npy-rows", "<u2", "(2, 2)", bytes(8)),
        ("npy-signed", "<i8", "(2,)", bytes(8) + b"\xff" * 8),
        ("npy-huge", "<u8", "(4611686018427387904, 2)", b""), ("npy-cut", "<u4", "(3,)", bytes(7)),
    ):  # fmt: skip
        header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"
        add(name, "npy", npy(header, data), "none", 1)
    metrics = (b'longwave_requests_total{method="Encode",code="OK"} 3\nlongwave_ready 1\n'
               b'longwave_request_queue_seconds_bucket{le="0.1"} 1\n'
               b'longwave_request_queue_seconds_bucket{le="+Inf"} 2\n'
               b"process_start_time_seconds 1e9\n")
    write("cli_input", "metrics", b"\xff" + metrics + b"\0" + metrics)


def schedules() -> None:
    for number in range(12):
        chance = random.Random(number)
        size = 40 + 60 * number
        write("scheduler", f"random-{number:02d}", bytes(chance.randrange(256) for _ in range(size)))


if __name__ == "__main__":
    wire()
    inference()
    tenants()
    weights()
    configs()
    cli_inputs()
    schedules()
