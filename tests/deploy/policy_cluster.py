"""Rules on what stands around pods: availability, network, and names that must lead somewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from policy_objects import (
    Object,
    PodTemplate,
    flag,
    of_kind,
    pod_templates,
    rule,
    selects,
    server_containers,
    where,
    workloads,
)

# Availability


def least_replicas(objects: list[Object], workload: Object) -> int:
    for scaler in scalers(objects, workload):
        spec = scaler["spec"]
        return (
            spec.get("minReplicas", 1)
            if scaler["kind"] == "HorizontalPodAutoscaler"
            else spec.get("minReplicaCount", 0)
        )
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
            yield 'takes no data for no load: ignoreNullValues is not "false"'


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
        chosen: list[Any] = [
            each for each in pods if each.serves and selects(selector, each.labels)
        ]
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
    routes = {
        (each["kind"], each["metadata"]["name"])
        for each in of_kind(objects, "GRPCRoute", "HTTPRoute")
    }
    for policy in of_kind(objects, "BackendTrafficPolicy"):
        for target in policy["spec"].get("targetRefs", []):
            if target["kind"].endswith("Route") and (target["kind"], target["name"]) not in routes:
                yield where(policy), f"is for {target['kind']} {target['name']}, which is not here"
    pods = [each for each in pod_templates(objects) if each.serves]
    for pool in of_kind(objects, "InferencePool"):
        if not any(
            selects(pool["spec"]["selector"].get("matchLabels"), each.labels) for each in pods
        ):
            yield where(pool), "selects no pods"
