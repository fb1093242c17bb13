"""All that the chart renders fits the schemas of Kubernetes and of the definitions of others."""

from __future__ import annotations

import copy
import functools
import json
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

import rendering
import schemas

SCHEMAS = rendering.CACHE / "schemas"
Object = dict[str, Any]


def versions() -> list[str]:
    """Those that deploy/tools.sh wrote: the promised one and the newest."""
    found = [
        re.fullmatch(r"v(\d+\.\d+)\.0-standalone-strict", each.name) for each in SCHEMAS.glob("v*")
    ]
    return sorted((each[1] for each in found if each), key=lambda each: int(each.partition(".")[2]))


def sources() -> dict[str, str]:
    """Every text to check, by its name."""
    plain = {f"plain-{each.stem}": each.read_text() for each in rendering.plain_manifests()}
    return rendering.renderings() | plain


def kubeconform(texts: dict[str, str], version: str) -> dict[str, list[dict[str, str]]]:
    """What it says to each object of each text. One run for all: reading schemas takes time."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (pathlib.Path(folder) / f"{name}.yaml").write_text(text)
        done = rendering.run(
            *(rendering.tool("kubeconform"), "-strict", "-verbose", "-output", "json"),
            *("-kubernetes-version", f"{version}.0"),
            *("-schema-location", f"{SCHEMAS}/{schemas.BUILT_IN}"),
            *("-schema-location", f"{SCHEMAS}/{schemas.CUSTOM}"),
            folder,
        )
    found: dict[str, list[dict[str, str]]] = {name: [] for name in texts}
    for each in json.loads(done.stdout)["resources"]:
        found[pathlib.Path(each["filename"]).stem].append(each)
    return found


@functools.cache
def verdicts(version: str) -> dict[str, list[dict[str, str]]]:
    return kubeconform(sources(), version)


def one(thing: Object, version: str = "1.34") -> dict[str, str]:
    (verdict,) = kubeconform({"one": yaml.safe_dump(thing)}, version)["one"]
    return verdict


def test_the_promised_and_the_newest_kubernetes_are_there() -> None:
    assert len(versions()) >= 2 and "1.34" in versions()
    assert versions()[-1] == kubernetes_validate.latest_version().removesuffix(".0")


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("source", sources())
def test_everything_is_valid_and_nothing_skipped(source: str, version: str) -> None:
    """A kind without a schema is an error to kubeconform: nothing passes by being unknown."""
    found = verdicts(version)[source]
    wrong = [each for each in found if each["status"] != "statusValid"]
    assert not wrong, "\n".join(f"{each['kind']}/{each['name']}: {each['msg']}" for each in wrong)
    assert len(found) == len(rendering.objects_of(sources()[source])) > 0


@pytest.mark.parametrize("source", sources())
def test_a_second_validator_agrees(source: str) -> None:
    """kubernetes-validate reads the same schemas in its own way, for built-in kinds only."""
    built_in = [
        each for each in rendering.objects_of(sources()[source]) if rendering.is_built_in(each)
    ]
    assert built_in
    for each in built_in:
        kubernetes_validate.validate(each, versions()[-1], strict=True)


@functools.cache
def one_of_each_kind() -> dict[str, Object]:
    found: dict[str, Object] = {}
    for text in sources().values():
        for each in rendering.objects_of(text):
            found.setdefault(each["kind"], each)
    return found


def with_unknown_field(thing: Object) -> Object:
    made = copy.deepcopy(thing)
    (made["spec"] if "spec" in made else made)["misspelt"] = True
    return made


def with_wrong_type(thing: Object) -> Object:
    made = copy.deepcopy(thing)
    if "spec" in made or "data" in made:
        made["spec" if "spec" in made else "data"] = "text"
    else:
        made["metadata"]["finalizers"] = "text"
    return made


FAULTS: list[Callable[[Object], Object]] = [with_unknown_field, with_wrong_type]


@functools.cache
def verdicts_on_faults(version: str) -> dict[str, list[dict[str, str]]]:
    return kubeconform(
        {
            f"{kind}-{fault.__name__}": yaml.safe_dump(fault(thing))
            for kind, thing in one_of_each_kind().items()
            for fault in FAULTS
        },
        version,
    )


@pytest.mark.parametrize("version", versions())
@pytest.mark.parametrize("kind", one_of_each_kind())
@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
def test_a_fault_in_any_kind_is_found(
    kind: str, fault: Callable[[Object], Object], version: str
) -> None:
    (verdict,) = verdicts_on_faults(version)[f"{kind}-{fault.__name__}"]
    assert verdict["status"] == "statusInvalid", verdict


def test_a_fault_deep_in_a_custom_resource_is_found() -> None:
    for field, value in (("intervall", "15s"), ("interval", "soon")):
        monitor = copy.deepcopy(one_of_each_kind()["PodMonitor"])
        monitor["spec"]["podMetricsEndpoints"][0][field] = value
        verdict = one(monitor)
        assert verdict["status"] == "statusInvalid" and field in verdict["msg"], verdict


def test_a_kind_without_a_schema_is_an_error() -> None:
    unknown = {
        "apiVersion": "example.org/v1",
        "kind": "Unknown",
        "metadata": {"name": "x"},
        "spec": {},
    }
    assert one(unknown)["status"] == "statusError"


def open_objects(schema: Any, path: str = "") -> Iterator[str]:
    """Where a made schema lists fields and lets others through all the same."""
    if not isinstance(schema, dict):
        return
    if "properties" in schema and "additionalProperties" not in schema:
        yield path
    for name, each in schema.get("properties", {}).items():
        yield from open_objects(each, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        yield from open_objects(schema.get(part), f"{path}.{part}")


def test_schemas_are_open_only_where_definitions_say_so() -> None:
    files = list(pathlib.Path(SCHEMAS / "crds").rglob("*.json"))
    assert len(files) > 20
    for file in files:
        for path in open_objects(json.loads(file.read_text())):
            node = json.loads(file.read_text())
            for part in filter(None, path.split(".")):
                node = (
                    node[part]
                    if part in ("items", "additionalProperties") and part in node
                    else node["properties"][part]
                )
            assert node["x-kubernetes-preserve-unknown-fields"], f"{file.name}: {path}"
