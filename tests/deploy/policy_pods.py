"""Rules on pods: what they may use, what runs in them, how they start and end, what they may do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from policy_objects import (
    Object,
    PodTemplate,
    flag,
    of_kind,
    pod_templates,
    quantity,
    rule,
    server_containers,
    where,
)

# Resources


@rule
def limits_are_set(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Without limits one pod takes a node's memory, and its neighbours go with it."""
    for pod in pod_templates(objects):
        for container in pod.containers():
            place = f"{pod.where} {container.get('name')}"
            resources = container.get("resources", {})
            limits, requests = resources.get("limits", {}), resources.get("requests", {})
            for name in ("cpu", "memory"):
                if name not in limits:
                    yield place, f"no limit of {name}"
                    continue
                asked = requests.get(name, limits[name])  # the API server's default
                if quantity(asked) > quantity(limits[name]):
                    yield place, f"asks for {asked} of {name}, above its limit {limits[name]}"


@rule
def memory_is_asked_for(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """The server fills what it was given: what it may use must be its own, or the node runs out."""
    for pod, container in server_containers(objects):
        resources = container.get("resources", {})
        limit = resources.get("limits", {}).get("memory")
        asked = resources.get("requests", {}).get("memory", limit)
        if limit is not None and quantity(asked) != quantity(limit):
            yield pod.where, f"asks for {asked} of memory and may use {limit}"


@rule
def threads_fit_the_limit(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """The server does not see a container's limit; more threads than processors are throttled."""
    for pod, container in server_containers(objects):
        limit = container.get("resources", {}).get("limits", {}).get("cpu")
        threads = flag(container, "threads")
        if threads in (None, "0"):
            yield pod.where, "no --threads: one per processor of the node"
        elif limit is not None and int(threads) > math.ceil(quantity(limit)):
            yield pod.where, f"--threads={threads} with {limit} processors"


# Images

DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
VERSION_TAG = re.compile(r"[^@\s]+:v?\d+\.\d+\.\d+[\w.-]*")


@rule
def images_are_versions(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """By digest, or by the tag of a version: what latest means changes between two pods."""
    for pod in pod_templates(objects):
        for container in pod.containers():
            image = container.get("image", "")
            if pod.partial and not image:
                continue
            pattern = DIGEST if "@" in image else VERSION_TAG
            if not pattern.fullmatch(image):
                yield pod.where, f"image {image!r} has neither a sha256 digest nor a version's tag"


@rule
def foreign_images_are_pinned(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """What is fetched for its content, weights above all, is named by that content."""
    for pod in pod_templates(objects):
        for volume in pod.spec.get("volumes", []):
            reference = volume.get("image", {}).get("reference")
            if reference is not None and not DIGEST.fullmatch(reference):
                yield pod.where, f"image volume {reference!r} has no sha256 digest"
        own = {repository(each.get("image", "")) for each in pod.main()}
        for container in pod.spec.get("initContainers", []):
            image = container.get("image", "")
            if repository(image) not in own and not DIGEST.fullmatch(image):
                yield pod.where, f"init container's image {image!r} has no sha256 digest"


def repository(image: str) -> str:
    name = image.partition("@")[0]
    head, _, last = name.rpartition("/")
    return f"{head}/{last.partition(':')[0]}"


# Probes and the end of a pod

PROBES = {
    "startupProbe": "longwave.startup",
    "readinessProbe": "",
    "livenessProbe": "longwave.live",
}


def asks_for(probe: Object) -> str | None:
    """The name that a probe asks the health service for; None: it does not."""
    if "grpc" in probe:
        return probe["grpc"].get("service", "")
    command = probe.get("exec", {}).get("command", [])
    if len(command) >= 2 and command[0].rpartition("/")[2] == "longwave" and command[1] == "health":
        return flag({"command": command}, "service") or ""
    return None


@rule
def probes_ask_health(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Liveness must not see what readiness sees: who is busy or drains is not to be killed."""
    for pod, container in server_containers(objects):
        for kind, service in PROBES.items():
            if kind not in container:
                yield pod.where, f"no {kind}"
            elif asks_for(container[kind]) != service:
                yield pod.where, f"{kind} does not ask health for {service!r}"


@rule
def start_may_take_its_time(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Reading, hashing and warming up large weights takes more than a minute."""
    for pod, container in server_containers(objects):
        probe = container.get("startupProbe")
        if probe is None:
            continue
        seconds = probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10)
        if seconds < 120:
            yield pod.where, f"the start may take {seconds} s only"


@rule
def drain_fits_the_grace_period(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """SIGKILL comes after what the server needs to end: preStop + drain_delay + grace + 5 s."""
    for pod, container in server_containers(objects):
        given = grace_period(objects, pod)
        if given is None:
            continue
        hook = container.get("lifecycle", {}).get("preStop", {})
        sleep = hook.get("sleep", {}).get("seconds", 0)
        if hook and "sleep" not in hook:
            yield pod.where, "preStop is not a sleep, whose length is known"
        delay, grace = flag(container, "drain_delay"), flag(container, "grace")
        if delay is None or grace is None:
            yield pod.where, "--drain_delay and --grace are not both given"
            continue
        needed = sleep + float(delay) + float(grace) + 5
        if given < needed:
            yield pod.where, f"terminationGracePeriodSeconds is {given}, the drain takes {needed:g}"


def grace_period(objects: list[Object], pod: PodTemplate) -> int | None:
    """Of a runtime of KServe: said by the service that names it. None: there is no such service."""
    if pod.owner["kind"] not in ("ServingRuntime", "ClusterServingRuntime"):
        return pod.spec.get("terminationGracePeriodSeconds", 30)
    for service in of_kind(objects, "InferenceService"):
        predictor = service["spec"]["predictor"]
        if predictor.get("model", {}).get("runtime") == pod.owner["metadata"]["name"]:
            return predictor.get("terminationGracePeriodSeconds", 30)
    return None


@rule
def drain_outlasts_readiness(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Calls are taken until balancers have seen that the pod is not ready."""
    for pod, container in server_containers(objects):
        probe, delay = container.get("readinessProbe"), flag(container, "drain_delay")
        if probe is None or delay is None:
            continue
        hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if hook + float(delay) < probe.get("periodSeconds", 10):
            yield pod.where, "preStop and --drain_delay are shorter than one period of readiness"


# Pod Security Standards, restricted, and what we ask for on top

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
    "image",  # allowed since Kubernetes has it: read-only content
}


@rule
def pods_are_restricted(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, level restricted."""
    for pod in pod_templates(objects):
        yield from ((pod.where, text) for text in pod_level_problems(pod.spec))
        inherited = pod.spec.get("securityContext", {})
        for container in pod.containers():
            if pod.partial and "image" not in container:
                continue  # merged by KServe into the runtime's
            for text in container_problems(container, inherited):
                yield f"{pod.where} {container.get('name')}", text


def pod_level_problems(spec: Object) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is on"
    if spec.get("securityContext", {}).get("sysctls"):
        yield "sets sysctls"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(sorted(kinds - VOLUMES))}"


def container_problems(container: Object, pod: Object) -> Iterator[str]:
    own = container.get("securityContext", {})
    effective = {**pod, **own}
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if effective.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if effective.get("runAsUser") == 0:
        yield "runs as root"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "does not drop all capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "mounts /proc unmasked"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"takes port {port['hostPort']} of the host"


@rule
def roots_are_read_only(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for pod in pod_templates(objects):
        for container in pod.containers():
            if pod.partial and "image" not in container:
                continue
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{pod.where} {container.get('name')}", "its root can be written"


@rule
def pods_have_no_token(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Nothing here asks the API server for anything."""
    for pod in pod_templates(objects):
        if pod.partial and pod.owner["kind"] != "InferenceService":
            continue  # the field is not there
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield pod.where, "automountServiceAccountToken is not false"
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield where(account), "automountServiceAccountToken is not false"


SECRET_NAME = re.compile(r"(?i)passw|secret|token(?!s\b)|api_?key|private|credential")


@rule
def secrets_are_references(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """A value in a manifest is read by whoever reads the manifest, and kept by helm's history."""
    for secret in of_kind(objects, "Secret"):
        yield where(secret), "the chart makes a secret"
    for pod in pod_templates(objects):
        for container in pod.containers():
            for entry in container.get("env", []):
                if "value" in entry and SECRET_NAME.search(entry["name"]):
                    yield (
                        pod.where,
                        f"environment variable {entry['name']} has its value in the manifest",
                    )
