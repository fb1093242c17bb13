"""What a program lacks of the hardening that ours have, read from the program itself."""

from __future__ import annotations

import pathlib
import platform
import re
import subprocess

ENDBR64 = b"\xf3\x0f\x1e\xfa"
# orq $0, (%rsp): how GCC and Clang touch each page of a large frame.
STACK_PROBE = b"\x48\x83\x0c\x24\x00"


def _readelf(option: str, program: pathlib.Path) -> str:
    command = ["readelf", "--wide", option, str(program)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _segments(headers: str) -> list[tuple[str, int, int, int, str]]:
    """Type, file offset, address, size in the file and flags of each segment."""
    pattern = r"^  (\w+)\s+(0x\w+) (0x\w+) 0x\w+ (0x\w+) 0x\w+ ([RWE ]{3})"
    return [
        (kind, int(offset, 16), int(address, 16), int(size, 16), flags.replace(" ", ""))
        for kind, offset, address, size, flags in re.findall(pattern, headers, re.MULTILINE)
    ]


def _code_at(program: pathlib.Path, symbol: str, segments) -> bytes:
    """The first bytes of a function."""
    found = re.search(rf" (\w{{16}}) +\d+ FUNC .* {symbol}$", _readelf("--symbols", program), re.M)
    if not found:
        return b""
    address = int(found.group(1), 16)
    for kind, offset, start, size, _ in segments:
        if kind == "LOAD" and start <= address < start + size:
            data = program.read_bytes()
            return data[offset + address - start :][:16]
    return b""


def missing(program: pathlib.Path, large_frames: bool = True) -> list[str]:
    """Names of what is not there. `large_frames`: it has frames of more than a page."""
    headers, dynamic = _readelf("--program-headers", program), _readelf("--dynamic", program)
    segments = _segments(headers)
    # Only what is imported: a static function of the name would be another.
    imported = set(re.findall(r"UND (\w+)", _readelf("--dyn-syms", program)))
    stack = [flags for kind, _, _, _, flags in segments if kind == "GNU_STACK"]
    has = {
        "position-independent executable": bool(re.search(r"FLAGS_1.*\bPIE\b", dynamic)),
        "read-only relocations": any(kind == "GNU_RELRO" for kind, *_ in segments),
        "binding at start": bool(re.search(r"BIND_NOW|FLAGS_1.*\bNOW\b", dynamic)),
        "stack that is not executed": bool(stack) and all("E" not in flags for flags in stack),
        "no memory both written and executed": not any(
            kind == "LOAD" and "W" in flags and "E" in flags for kind, *_, flags in segments
        ),
        "no relocations in code": "TEXTREL" not in dynamic,
        "stack protector": "__stack_chk_fail" in imported,
        "fortified library calls": any(re.fullmatch(r"__\w+_chk", name) for name in imported),
    }
    if platform.machine() == "x86_64":
        has["targets of indirect branches"] = _code_at(program, "main", segments).startswith(ENDBR64)
        if large_frames:
            has["stack clash protection"] = STACK_PROBE in program.read_bytes()
    return [name for name, there in has.items() if not there]
