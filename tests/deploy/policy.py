"""Rules that manifests of Longwave keep beyond what Kubernetes' schemas ask for.

Each rule is a function that yields the problems it finds in the objects of one rendering. What a
schema or the API server refuses anyway is not repeated here.
"""

from __future__ import annotations

import dataclasses
import decimal
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} [{self.rule}]"


@dataclasses.dataclass(frozen=True)
class PodTemplate:
    """A pod that the object leads to: of its own, of a controller, or of KServe."""

    owner: Object
    spec: Object
    labels: dict[str, str]
    # KServe puts a runtime and a service together: fields of the pod as a whole come with the latter.
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


def check(objects: list[Object]) -> list[Problem]:
    return [
        Problem(name, place, text)
        for name, function in RULES.items()
        for place, text in function(objects)
    ]


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
            yield PodTemplate(each, spec.get("predictor", {}), metadata.get("labels", {}), partial=True)


def workloads(objects: list[Object]) -> list[Object]:
    return of_kind(objects, "Deployment", "StatefulSet")


def selects(selector: dict[str, str] | None, labels: dict[str, str]) -> bool:
    """Of labels alone: expressions are not used here, and would be overlooked."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


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
    """The value of --name in the arguments, as gRPC servers take it: --name=value or --name value."""
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
    """Liveness must not see what readiness sees: a pod that is busy or drains is not to be killed."""
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
                    yield pod.where, f"environment variable {entry['name']} has its value in the manifest"


# Availability


def least_replicas(objects: list[Object], workload: Object) -> int:
    for scaler in scalers(objects, workload):
        spec = scaler["spec"]
        return spec.get("minReplicas", 1) if scaler["kind"] == "HorizontalPodAutoscaler" else spec.get("minReplicaCount", 0)
    return workload["spec"].get("replicas", 1)


def scalers(objects: list[Object], workload: Object) -> list[Object]:
    return [
        each
        for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
        if each["spec"]["scaleTargetRef"].get("name") == workload["metadata"]["name"]
    ]


def budgets(objects: list[Object], workload: Object) -> list[Object]:
    labels = workload["spec"]["template"]["metadata"].get("labels", {})
    return [
        each
        for each in of_kind(objects, "PodDisruptionBudget")
        if selects(each["spec"].get("selector", {}).get("matchLabels"), labels)
    ]


def share(value: int | str, of: int, round_up: bool) -> int:
    """A number, or a percentage of the pods."""
    if isinstance(value, int):
        return value
    exact = int(value.rstrip("%")) * of / 100
    return math.ceil(exact) if round_up else math.floor(exact)


@rule
def budgets_leave_pods(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """A budget lets evictions go on, and never lets them take the last pod."""
    for workload in workloads(objects):
        least = least_replicas(objects, workload)
        for budget in budgets(objects, workload):
            spec = budget["spec"]
            if "maxUnavailable" in spec:
                evicted = share(spec["maxUnavailable"], least, round_up=True)
            else:
                evicted = least - share(spec.get("minAvailable", 0), least, round_up=True)
            if evicted >= least:
                yield where(budget), f"lets all {least} pods be evicted"
            if evicted < 1:
                yield where(budget), "lets no pod be evicted: nodes cannot be drained"
            if spec.get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
                yield where(budget), "a pod that never gets ready would block a node's drain"


@rule
def several_pods_have_a_budget(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for workload in workloads(objects):
        if least_replicas(objects, workload) > 1 and not budgets(objects, workload):
            yield where(workload), "several pods and no PodDisruptionBudget"


@rule
def scaling_is_sound(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for workload in workloads(objects):
        found = scalers(objects, workload)
        if found and "replicas" in workload["spec"]:
            yield where(workload), "replicas is given and would undo what the autoscaler did"
        if len(found) > 1:
            yield where(workload), f"{len(found)} autoscalers"
    names = {each["metadata"]["name"] for each in workloads(objects)}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        spec, keda = scaler["spec"], scaler["kind"] == "ScaledObject"
        if spec["scaleTargetRef"].get("name") not in names:
            yield where(scaler), "scales nothing that is here"
        least = spec.get("minReplicaCount", 0) if keda else spec.get("minReplicas", 1)
        most = spec.get("maxReplicaCount", 100) if keda else spec["maxReplicas"]
        if least < 1:
            yield where(scaler), "scales to zero, and nothing holds the calls that come then"
        if least > most:
            yield where(scaler), f"at least {least} pods and at most {most}"
        if keda:
            yield from ((where(scaler), text) for text in keda_problems(spec))


def keda_problems(spec: Object) -> Iterator[str]:
    if spec.get("fallback", {}).get("behavior", "static") == "static":
        yield "without Prometheus it would set a fixed number of pods"
    for trigger in spec.get("triggers", []):
        ignores = trigger.get("metadata", {}).get("ignoreNullValues", "true")
        if trigger.get("type") == "prometheus" and ignores != "false":
            yield "takes no data for no load: ignoreNullValues is not \"false\""


@rule
def rollouts_move(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """A rollout may neither stand still nor take all pods at once."""
    for workload in of_kind(objects, "Deployment"):
        strategy = workload["spec"].get("strategy", {})
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            yield where(workload), "all pods end before new ones start"
            continue
        least = least_replicas(objects, workload)
        rolling = strategy.get("rollingUpdate", {})
        down = share(rolling.get("maxUnavailable", "25%"), least, round_up=False)
        up = share(rolling.get("maxSurge", "25%"), least, round_up=True)
        if down == 0 and up == 0:
            yield where(workload), "maxSurge and maxUnavailable are both 0"
        if down >= least > 1:
            yield where(workload), f"a rollout may take all {least} pods down"


# Network


@rule
def pods_are_fenced(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Without a policy every pod of the cluster reaches ours, the metrics port too."""
    policies = of_kind(objects, "NetworkPolicy")
    for pod in pod_templates(objects):
        if not pod.main() or not pod.serves:
            continue
        mine = [
            each
            for each in policies
            if selects(each["spec"].get("podSelector", {}).get("matchLabels"), pod.labels)
        ]
        kinds = {kind for each in mine for kind in each["spec"].get("policyTypes", [])}
        for kind in ("Ingress", "Egress"):
            if kind not in kinds:
                yield pod.where, f"no NetworkPolicy for {kind.lower()}"
    for policy in policies:
        for rule_ in policy["spec"].get("ingress") or []:
            yield from ((where(policy), text) for text in ingress_problems(rule_))


def ingress_problems(entry: Object) -> Iterator[str]:
    if not entry.get("from"):
        yield "lets everyone in"
    if not entry.get("ports"):
        yield "opens all ports"
    for peer in entry.get("from") or []:
        if peer.get("namespaceSelector") == {}:
            yield "lets all namespaces in"


@rule
def services_stay_inside(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for service in of_kind(objects, "Service"):
        kind = service["spec"].get("type", "ClusterIP")
        if kind != "ClusterIP":
            yield where(service), f"type {kind} opens it outside the cluster"


@rule
def plaintext_is_said(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """The server refuses to start on an open address without one of the two."""
    for pod, container in server_containers(objects):
        tls = flag(container, "tls_certificate") and flag(container, "tls_key")
        if bool(tls) == (flag(container, "allow_plaintext") not in (None, "false")):
            yield pod.where, "neither TLS alone nor --allow_plaintext alone"
        if re.match(r"(127\.|localhost|\[::1\])", flag(container, "address") or "127.0.0.1"):
            yield pod.where, "listens on its own loopback, where nobody reaches it"


# What names something must name something that is there


@rule
def references_lead_somewhere(objects: list[Object]) -> Iterator[tuple[str, str]]:
    pods = [each for each in pod_templates(objects) if each.main()]
    for workload in workloads(objects):
        labels = workload["spec"]["template"]["metadata"].get("labels", {})
        if not selects(workload["spec"]["selector"].get("matchLabels"), labels):
            yield where(workload), "does not select its own pods"
    for service in of_kind(objects, "Service"):
        chosen = [each for each in pods if selects(service["spec"].get("selector"), each.labels)]
        if not any(each.serves for each in chosen):
            yield where(service), "selects no pods"
        if any(not each.serves for each in chosen):
            yield where(service), "selects the pods of a test too"
        for port in service["spec"].get("ports", []):
            target = port.get("targetPort", port["port"])
            if any(each.serves and not has_port(each, target) for each in chosen):
                yield where(service), f"port {target} is not one of the pods'"
    for monitor in of_kind(objects, "PodMonitor", "ServiceMonitor"):
        yield from monitor_problems(objects, pods, monitor)
    for budget in of_kind(objects, "PodDisruptionBudget", "NetworkPolicy"):
        selector = budget["spec"].get("selector") or budget["spec"].get("podSelector") or {}
        if not any(selects(selector.get("matchLabels"), each.labels) for each in pods):
            yield where(budget), "selects no pods"
    for pod in pods:
        yield from ((pod.where, text) for text in mount_problems(pod))


def has_port(pod: PodTemplate, port: str | int) -> bool:
    return any(
        port in (each.get("name"), each.get("containerPort"))
        for container in pod.main()
        for each in container.get("ports", [])
    )


def monitor_problems(
    objects: list[Object], pods: list[PodTemplate], monitor: Object
) -> Iterator[tuple[str, str]]:
    selector = monitor["spec"].get("selector", {}).get("matchLabels")
    if monitor["kind"] == "PodMonitor":
        chosen: list[Any] = [each for each in pods if each.serves and selects(selector, each.labels)]
        names = [each["port"] for each in monitor["spec"].get("podMetricsEndpoints", [])]
        missing = [name for name in names if any(not has_port(each, name) for each in chosen)]
    else:
        chosen = [
            each
            for each in of_kind(objects, "Service")
            if selects(selector, each["metadata"].get("labels", {}))
        ]
        names = [each["port"] for each in monitor["spec"].get("endpoints", [])]
        have = [{port.get("name") for port in each["spec"].get("ports", [])} for each in chosen]
        missing = [name for name in names if not any(name in ports for ports in have)]
        if sum(name in ports for ports in have for name in names) > 1:
            yield where(monitor), "scrapes each pod by more than one Service"
    if not chosen:
        yield where(monitor), "selects nothing"
    for name in missing:
        yield where(monitor), f"port {name} is not there"


def mount_problems(pod: PodTemplate) -> Iterator[str]:
    volumes = {each["name"] for each in pod.spec.get("volumes", [])}
    used = set()
    for container in pod.containers():
        for mount in container.get("volumeMounts", []):
            used.add(mount["name"])
            if mount["name"] not in volumes:
                yield f"mounts {mount['name']}, which is no volume"
    for name in sorted(volumes - used):
        yield f"volume {name} is mounted nowhere"


@rule
def routes_lead_to_services(objects: list[Object]) -> Iterator[tuple[str, str]]:
    services = {
        each["metadata"]["name"]: {port["port"] for port in each["spec"].get("ports", [])}
        for each in of_kind(objects, "Service")
    }
    pools = {each["metadata"]["name"] for each in of_kind(objects, "InferencePool")}
    for route in of_kind(objects, "GRPCRoute", "HTTPRoute"):
        for entry in route["spec"].get("rules", []):
            for backend in entry.get("backendRefs", []):
                name, kind = backend["name"], backend.get("kind", "Service")
                if kind == "InferencePool" and name not in pools:
                    yield where(route), f"leads to InferencePool {name}, which is not here"
                if kind == "Service" and backend.get("port") not in services.get(name, ()):
                    yield where(route), f"leads to {name}:{backend.get('port')}, which is not here"
    routes = {(each["kind"], each["metadata"]["name"]) for each in of_kind(objects, "GRPCRoute", "HTTPRoute")}
    for policy in of_kind(objects, "BackendTrafficPolicy"):
        for target in policy["spec"].get("targetRefs", []):
            if target["kind"].endswith("Route") and (target["kind"], target["name"]) not in routes:
                yield where(policy), f"is for {target['kind']} {target['name']}, which is not here"
    pods = [each for each in pod_templates(objects) if each.serves]
    for pool in of_kind(objects, "InferencePool"):
        if not any(selects(pool["spec"]["selector"].get("matchLabels"), each.labels) for each in pods):
            yield where(pool), "selects no pods"
