#!/usr/bin/env python3
"""Writes an input file for perf_analyzer: token ids of texts, cut to given lengths.

By itself perf_analyzer sends random numbers, which are no tokens of any model. This makes a file for
its --input-data, one request for each length:

    make_input.py README.md --lengths 16,128,1024 > input.json
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys


def positive(text: str) -> list[int]:
    lengths = [int(part) for part in text.split(",")]
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"{text}: lengths are positive numbers, joined by commas")
    return lengths


def steps(data: bytes, lengths: list[int]) -> list[dict]:
    """Consecutive pieces of `data`, from its start again where it ends."""
    result = []
    begin = 0
    for length in lengths:
        repeated = data * ((begin + length) // len(data) + 1)
        ids = list(repeated[begin : begin + length])
        begin = (begin + length) % len(data)
        result.append({"input_ids": {"content": ids, "shape": [length]}})
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("texts", nargs="+", type=pathlib.Path, help="files; a byte is a token")
    parser.add_argument(
        "--lengths",
        type=positive,
        default=[16, 64, 256, 1024],
        help="tokens of each request (default: 16,64,256,1024)",
    )
    arguments = parser.parse_args()
    try:
        data = b"".join(path.read_bytes() for path in arguments.texts)
    except OSError as error:
        print(f"make_input: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    if not data:
        print("make_input: the texts are empty", file=sys.stderr)
        return 2
    json.dump({"data": steps(data, arguments.lengths)}, sys.stdout, separators=(",", ":"))
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
