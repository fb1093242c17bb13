"""The log's schema (server/observability/log_schema.json), for every line that a test's server writes."""

from __future__ import annotations

import functools
import json
import pathlib

import fastjsonschema

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "server/observability/log_schema.json"


@functools.cache
def _validators() -> dict:
    """By event: a line that breaks the rules of its event is told which. For readers the schema is
    open, since later versions may add fields; here a field that it does not know is a mistake."""
    schema = json.loads(SCHEMA.read_text())
    return {
        event["title"]: fastjsonschema.compile(
            {**event, "additionalProperties": False, "definitions": schema["definitions"]}
        )
        for event in schema["oneOf"]
    }


def problem(entry: dict) -> str | None:
    """What is wrong with a line of the log; none if nothing is."""
    validate = _validators().get(entry.get("event"))
    if validate is None:
        return f"the schema has no event {entry.get('event')!r}"
    try:
        validate(entry)
    except fastjsonschema.JsonSchemaValueException as error:
        return f"{error.message}: {entry}"
    return None
