"""Objects of one rendering as the rules of policy.py look at them."""

from __future__ import annotations

import dataclasses
import decimal
import re
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class PodTemplate:
    """A pod that the object leads to: of its own, of a controller, or of KServe."""

    owner: Object
    spec: Object
    labels: dict[str, str]
    # KServe puts a runtime and a service together: fields of the pod as a whole are the latter's.
    partial: bool = False

    @property
    def where(self) -> str:
        return where(self.owner)

    @property
    def serves(self) -> bool:
        """Whether it answers calls, and does not just run to its end."""
        return self.owner["kind"] not in ("Pod", "Job", "CronJob")

    def containers(self) -> Iterator[Object]:
        yield from self.spec.get("initContainers", [])
        yield from self.spec.get("containers", [])

    def main(self) -> list[Object]:
        return self.spec.get("containers", [])


Rule = Callable[[list[Object]], Iterator[tuple[str, str]]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def where(thing: Object) -> str:
    return f"{thing.get('kind')}/{thing.get('metadata', {}).get('name')}"


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each.get("kind") in kinds]


def pod_templates(objects: list[Object]) -> Iterator[PodTemplate]:
    for each in objects:
        kind, spec = each.get("kind"), each.get("spec", {})
        metadata = each.get("metadata", {})
        if kind == "Pod":
            yield PodTemplate(each, spec, metadata.get("labels", {}))
        elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            template = spec["template"]
            yield PodTemplate(each, template["spec"], template["metadata"].get("labels", {}))
        elif kind in ("ServingRuntime", "ClusterServingRuntime"):
            yield PodTemplate(each, spec, spec.get("labels", {}), partial=True)
        elif kind == "InferenceService":
            yield PodTemplate(
                each, spec.get("predictor", {}), metadata.get("labels", {}), partial=True
            )


def workloads(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Deployment", "StatefulSet")


def selects(selector: dict[str, str] | None, labels: dict[str, str]) -> bool:
    """Of labels alone: expressions are not used here, and would be overlooked."""
    return selector is not None and selector != {} and selector.items() <= labels.items()


def quantity(value: str | int | float) -> decimal.Decimal:
    """Kubernetes' notation: 500m, 2, 1.5Gi, 3M, 1e3."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)(m|k|[KMGTPE]i?)?", str(value))
    if not match:
        raise ValueError(f"{value!r} is no quantity")
    number, suffix = decimal.Decimal(match[1]), match[2] or ""
    if suffix == "m":
        return number / 1000
    if suffix.endswith("i"):
        return number * 1024 ** ("KMGTPE".index(suffix[0]) + 1)
    return number * 1000 ** ("kMGTPE".index(suffix) + 1 if suffix else 0)


def flag(container: Object, name: str) -> str | None:
    """The value of --name in the arguments: --name=value or --name value."""
    arguments = [str(each) for each in [*container.get("command", []), *container.get("args", [])]]
    for position, each in enumerate(arguments):
        if each == f"--{name}":
            following = arguments[position + 1 : position + 2]
            return following[0] if following and not following[0].startswith("--") else "true"
        if each.startswith(f"--{name}="):
            return each.partition("=")[2]
    return None


def server_containers(objects: list[Object]) -> Iterator[tuple[PodTemplate, Object]]:
    """Those that run longwave-server: they have a gRPC port."""
    for pod in pod_templates(objects):
        if not pod.serves:
            continue
        for container in pod.main():
            if container.get("ports"):
                yield pod, container
