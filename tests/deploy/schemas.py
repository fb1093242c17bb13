"""Writes the schemas that kubeconform checks manifests by, so that it needs no network.

Kubernetes' own come with the package kubernetes-validate. There they name themselves by addresses,
which kubeconform would fetch; without those, and with references to the file beside them, it reads
them as they are. Those of custom resources are made from their definitions (CRDs).
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import yaml

# Where kubeconform finds what this writes: its own names for the parts of a path.
BUILT_IN = (
    "{{.NormalizedKubernetesVersion}}-standalone{{.StrictSuffix}}"
    "/{{.ResourceKind}}{{.KindSuffix}}.json"
)
CUSTOM = "crds/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"


def without_addresses(node: Any) -> Any:
    """A built-in schema that refers to nothing but files beside it."""
    if isinstance(node, list):
        return [without_addresses(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for key, value in node.items():
        if key == "$id" and isinstance(value, str):
            continue
        if key == "$ref" and isinstance(value, str):
            value = value.removeprefix("/api/")
        kept[key] = without_addresses(value)
    return kept


def write_built_in(version: str, output: pathlib.Path) -> int:
    """All kinds of one Kubernetes version ("1.34"), in strict form: unknown fields are errors."""
    packaged = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    source = packaged / f"v{version}.0-local-strict"
    if not source.is_dir():
        raise SystemExit(f"schemas: kubernetes-validate has no schemas of Kubernetes {version}")
    folder = output / f"v{version}.0-standalone-strict"
    folder.mkdir(parents=True)
    written = 0
    for file in source.iterdir():
        schema = without_addresses(json.loads(file.read_text()))
        (folder / file.name).write_text(json.dumps(schema))
        written += 1
    return written


def strict(schema: dict[str, Any], *, root: bool = False) -> dict[str, Any]:
    """An OpenAPI schema of a definition as JSON schema that refuses fields it does not list.

    The API server drops such fields without a word, so a misspelt one would have no effect.
    """
    made = dict(schema)
    if root:  # what every object has; most definitions leave their form open or do not list them
        made["properties"] = {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            **made.get("properties", {}),
        }
        made["properties"].setdefault("metadata", {"type": "object"})
    if "properties" in made:
        made["properties"] = {name: strict(each) for name, each in made["properties"].items()}
        open_ended = made.get("x-kubernetes-preserve-unknown-fields", False)
        if not open_ended and "additionalProperties" not in made:
            made["additionalProperties"] = False
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = strict(made["additionalProperties"])
    if isinstance(made.get("items"), dict):
        made["items"] = strict(made["items"])
    # What stands in allOf, anyOf, oneOf and not is there to test, not to list fields: it stays.
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


class Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a lone equals sign, a value of some enumerations, is a text."""


Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


def definitions(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """All custom resource definitions below a folder."""
    for file in sorted(folder.rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), Loader=Loader):
            if document and document.get("kind") == "CustomResourceDefinition":
                yield document


def write_custom(crds: pathlib.Path, output: pathlib.Path) -> int:
    written = 0
    for definition in definitions(crds):
        spec = definition["spec"]
        folder = output / "crds" / spec["group"]
        folder.mkdir(parents=True, exist_ok=True)
        for version in spec["versions"]:
            file = folder / f"{spec['names']['kind'].lower()}_{version['name']}.json"
            schema = strict(version["schema"]["openAPIV3Schema"], root=True)
            # Two definitions of one kind would leave it to the order of names which one counts.
            if file.exists():
                raise SystemExit(f"schemas: two definitions of {file.relative_to(output)}")
            file.write_text(json.dumps(schema))
            written += 1
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crds", type=pathlib.Path, required=True, help="folder of definitions")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="is replaced")
    parser.add_argument("versions", nargs="+", help="of Kubernetes, such as 1.34")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.output, ignore_errors=True)
    for version in arguments.versions:
        print(f"Kubernetes {version}: {write_built_in(version, arguments.output)} schemas")
    custom = write_custom(arguments.crds, arguments.output)
    print(f"custom resources: {custom} schemas")
    if custom == 0:
        sys.exit("schemas: no definitions found")


if __name__ == "__main__":
    main()
