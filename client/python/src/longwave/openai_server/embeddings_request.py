"""POST /v1/embeddings: from the body's bytes to checked values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from longwave import Truncation
from longwave.openai_server.errors import ApiError, invalid

# OpenAI's own limit, which clients that cut lists into requests know.
MAX_INPUTS = 2048
_MAX_ID = 2**32 - 1
# What the API's field holds.
_MAX_UINT32 = 2**32 - 1

_FIELDS = frozenset(
    (
        "model",
        "input",
        "encoding_format",
        "dimensions",
        "user",
        "truncate_prompt_tokens",
        "truncation_side",
        "priority",
    )
)


@dataclass(frozen=True)
class EmbeddingsRequest:
    """A request that is right as far as it can be said without the model.

    Attributes:
        model: as the caller named it.
        inputs: texts, or token ids as int64 arrays in [0, 2^32).
        single: whether the input was one sequence rather than a list of them.
        base64: whether vectors are wanted as base64 of little-endian float32.
        dimensions: the first values of each vector that are wanted; None: all.
        truncation: None: nothing is cut.
        priority: "interactive" or "batch".
    """

    model: str
    inputs: list[str] | list[npt.NDArray[np.int64]]
    single: bool
    base64: bool
    dimensions: int | None
    truncation: Truncation | None
    priority: str


def parse(body: bytes) -> EmbeddingsRequest:
    """
    Raises:
        ApiError: 400, with the field, its value and what would have been accepted.
    """
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Its `doc` is the input, which does not belong into messages.
        raise invalid(
            f"The body is not JSON: {error.msg} at character {error.pos} "
            f"(line {error.lineno}, column {error.colno}).",
            None,
            "MALFORMED_MESSAGE",
        ) from None
    if not isinstance(fields, dict):
        raise invalid(
            f"The body is {_kind(fields)}; it has to be a JSON object.", None, "MALFORMED_MESSAGE"
        )
    # null is how many clients write "not given".
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in _FIELDS:
            raise _unknown_field(name)
    model = _string(given, "model")
    if model is None:
        raise invalid("model: missing; GET /v1/models has the names.", "model", "MISSING_FIELD")
    _string(given, "user")  # accepted for compatibility; who asks is said by the key
    inputs, single = _inputs(given)
    return EmbeddingsRequest(
        model=model,
        inputs=inputs,
        single=single,
        base64=_choice(given, "encoding_format", ("float", "base64"), "float") == "base64",
        dimensions=_integer(given, "dimensions", 1),
        truncation=_truncation(given),
        priority=_priority(given),
    )


def _unknown_field(name: str) -> ApiError:
    shown = name if len(name) <= 64 else name[:64] + "..."
    known = ", ".join(sorted(_FIELDS))
    return invalid(f"Unknown parameter {shown!r}; known are {known}.", shown)


def _kind(value: Any) -> str:
    """The JSON type of a value, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number with a fraction or beyond 64 bits"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def _string(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{name}: {_kind(value)}; it has to be a string.", name)
    return value


def _choice(given: dict[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    value = given.get(name, default)
    if value not in choices:
        wanted = " or ".join(f'"{choice}"' for choice in choices)
        shown = f"{value[:64]!r}" if isinstance(value, str) else _kind(value)
        raise invalid(f"{name}: {shown}; it has to be {wanted}.", name, "INVALID_ENUM")
    return str(value)


def _integer(given: dict[str, Any], name: str, least: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name}: {_kind(value)}; it has to be an integer.", name)
    if not least <= value <= _MAX_UINT32:
        raise invalid(f"{name}: {value}; it has to be {least} to {_MAX_UINT32}.", name)
    return value


def _truncation(given: dict[str, Any]) -> Truncation | None:
    """vLLM's two fields: -1 tokens stand for the model's limit, and the side that is cut has to be
    named with a number of tokens, since nothing is cut without one."""
    side = _choice(given, "truncation_side", ("left", "right"), "right")
    tokens = _integer(given, "truncate_prompt_tokens", -1)
    if tokens is None:
        if "truncation_side" in given:
            raise invalid(
                "truncation_side: given without truncate_prompt_tokens, so nothing would be cut.",
                "truncation_side",
                "MISSING_FIELD",
            )
        return None
    if tokens == 0:
        raise invalid(
            "truncate_prompt_tokens: 0; it has to be at least 1, or -1 for the model's limit.",
            "truncate_prompt_tokens",
        )
    return Truncation("start" if side == "left" else "end", None if tokens == -1 else tokens)


def _priority(given: dict[str, Any]) -> str:
    """ "interactive" or "batch", or vLLM's integer, where a smaller one goes first: ours has two
    classes, so what is above its default of 0 yields to the rest."""
    value = given.get("priority", 0)
    if isinstance(value, str):
        return _choice(given, "priority", ("interactive", "batch"), "interactive")
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(
            f'priority: {_kind(value)}; it has to be an integer, "interactive" or "batch".',
            "priority",
        )
    return "batch" if value > 0 else "interactive"


def _inputs(given: dict[str, Any]) -> tuple[list[str] | list[npt.NDArray[np.int64]], bool]:
    """The sequences, and whether the input was a single one."""
    value = given.get("input")
    if value is None:
        raise invalid("input: missing.", "input", "MISSING_FIELD")
    if isinstance(value, str):
        return [_text(value, "input")], True
    if not isinstance(value, list):
        raise invalid(
            f"input: {_kind(value)}; it has to be a string, an array of strings, an array of "
            "token ids, or an array of such arrays.",
            "input",
        )
    if not value:
        raise invalid("input: an empty array; it has to have an input.", "input", "EMPTY_REQUEST")
    if isinstance(value[0], (str, list)):
        return _many(value), False
    return [_ids(value, "input")], True


def _many(values: list[Any]) -> list[str] | list[npt.NDArray[np.int64]]:
    if len(values) > MAX_INPUTS:
        raise invalid(
            f"input: {len(values)} inputs; one request takes at most {MAX_INPUTS}.",
            "input",
            "REQUEST_TOO_LARGE",
        )
    kind = type(values[0])
    for index, value in enumerate(values):
        if type(value) is not kind:
            raise invalid(
                f"input[{index}]: {_kind(value)}, while input[0] is {_kind(values[0])}; all inputs "
                "of a request are of one kind.",
                f"input[{index}]",
            )
    if kind is str:
        return [_text(value, f"input[{index}]") for index, value in enumerate(values)]
    return [_ids(value, f"input[{index}]") for index, value in enumerate(values)]


def _text(value: str, name: str) -> str:
    if not value:
        raise invalid(
            f"{name}: an empty string; there is nothing to embed.", name, "EMPTY_SEQUENCE"
        )
    return value


def _ids(values: list[Any], name: str) -> npt.NDArray[np.int64]:
    if not values:
        raise invalid(f"{name}: an empty array; there is nothing to embed.", name, "EMPTY_SEQUENCE")
    if set(map(type, values)) != {int}:  # at the speed of C, and bool is not int here
        at = next(place for place, value in enumerate(values) if type(value) is not int)
        raise invalid(
            f"{name}[{at}]: {_kind(values[at])}; a token id is an integer.", f"{name}[{at}]"
        )
    low, high = min(values), max(values)
    if low < 0 or high > _MAX_ID:
        wrong = low if low < 0 else high
        raise invalid(
            f"{name}[{values.index(wrong)}]: {wrong}; a token id is 0 to {_MAX_ID}.",
            f"{name}[{values.index(wrong)}]",
            "TOKEN_OUT_OF_RANGE",
        )
    return np.array(values, np.int64)
