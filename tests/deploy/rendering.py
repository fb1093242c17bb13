"""The chart rendered by the real helm, and where the tools lie that the checks here use."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import subprocess
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
CHART = pathlib.Path(os.environ.get("LONGWAVE_CHART", ROOT / "deploy" / "helm" / "longwave"))
MANIFESTS = ROOT / "deploy" / "manifests"
RELEASE = "lw"
NAMESPACE = "embeddings"

Object = dict[str, Any]


def tool(name: str) -> str:
    """The program named by the variable NAME, that of deploy/tools.sh, or the system's."""
    named = os.environ.get(name.upper().replace("-", "_"))
    for candidate in (named, CACHE / "tools" / "bin" / name, CACHE / "venv" / "bin" / name):
        if candidate and pathlib.Path(candidate).exists():
            return str(candidate)
    found = shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is not there: bash deploy/tools.sh")
    return found


def value_sets() -> list[pathlib.Path]:
    return sorted((CHART / "ci").glob("*.yaml"))


def plain_manifests() -> list[pathlib.Path]:
    """Those for people without Helm; beside them lie the values that they were rendered from."""
    return sorted(each for each in MANIFESTS.glob("*.yaml") if not each.stem.endswith(".values"))


def run(*command: str | pathlib.Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=120,
    )


@functools.cache
def rendered_text(values: pathlib.Path | None, *arguments: str) -> str:
    """What `helm template` prints for one value set; the chart's own values without one."""
    given: list[str | pathlib.Path] = [] if values is None else ["--values", values]
    result = run(
        tool("helm"), "template", RELEASE, CHART, "--namespace", NAMESPACE, *given, *arguments
    )
    assert result.returncode == 0, f"helm template with {values}:\n{result.stderr}"
    return result.stdout


def objects_of(text: str) -> list[Object]:
    return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]


def rendered(values: pathlib.Path | None, *arguments: str) -> list[Object]:
    return objects_of(rendered_text(values, *arguments))


@functools.cache
def renderings() -> dict[str, str]:
    """The chart as it comes, with each value set, and what no value set asks for."""
    texts = {"defaults": rendered_text(None)}
    texts |= {each.stem: rendered_text(each) for each in value_sets()}
    in_namespace = ("--set", "kserve.clusterScoped=false")
    texts["kserve-in-namespace"] = rendered_text(CHART / "ci" / "kserve.yaml", *in_namespace)
    return texts


def is_built_in(thing: Object) -> bool:
    """Whether Kubernetes itself knows the kind.

    Its groups have no dot, or end in k8s.io and are not those of subprojects with definitions.
    """
    group = thing["apiVersion"].rpartition("/")[0]
    subprojects = ("gateway.networking.k8s.io", "inference.networking.k8s.io")
    return "." not in group or (group.endswith(".k8s.io") and group not in subprojects)
