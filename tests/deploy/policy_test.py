"""The chart's renderings and the plain manifests keep the rules, and each rule refuses what breaks it."""

from __future__ import annotations

import copy
import decimal
import functools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

import policy
import policy_objects
import rendering

SAMPLES = pathlib.Path(__file__).with_name("policy_samples.yaml")
Object = dict[str, Any]


@functools.cache
def parsed() -> list[Object]:
    return rendering.objects_of(SAMPLES.read_text())


def report(problems: list[policy.Problem]) -> str:
    return "\n".join(map(str, problems))


@pytest.mark.parametrize("name", rendering.renderings())
def test_a_rendering_keeps_the_rules(name: str) -> None:
    objects = rendering.objects_of(rendering.renderings()[name])
    assert list(policy_objects.server_containers(objects)), "no server: nothing was checked"
    problems = policy.check(objects)
    assert not problems, report(problems)


@pytest.mark.parametrize("values", rendering.value_sets(), ids=lambda each: each.stem)
def test_a_digest_wins_over_a_tag(values: pathlib.Path) -> None:
    """By another digest for each value set: those that give one already, and those that do not."""
    digest = "sha256:" + "5" * 64
    objects = rendering.rendered(values, "--set", f"image.digest={digest}")
    images = [
        each["image"]
        for pod in policy_objects.pod_templates(objects)
        for each in pod.main()
        if "image" in each
    ]
    assert images and all(each.endswith(f"@{digest}") for each in images), images


@pytest.mark.parametrize("file", rendering.plain_manifests(), ids=lambda each: each.stem)
def test_a_plain_manifest_keeps_the_rules(file: pathlib.Path) -> None:
    objects = rendering.objects_of(file.read_text())
    assert list(policy_objects.server_containers(objects)), "no server: nothing was checked"
    problems = policy.check(objects)
    assert not problems, report(problems)


class Samples:
    """A copy of the samples, by kind."""

    def __init__(self) -> None:
        # By JSON, since a copy would share what an anchor of YAML shares.
        self.objects: list[Object] = json.loads(json.dumps(parsed()))

    def __getitem__(self, kind: str) -> Object:
        return next(each for each in self.objects if each["kind"] == kind)

    def remove(self, kind: str) -> None:
        self.objects = [each for each in self.objects if each["kind"] != kind]

    @property
    def deployment(self) -> Object:
        return self["Deployment"]["spec"]

    @property
    def pod(self) -> Object:
        return self.deployment["template"]["spec"]

    @property
    def server(self) -> Object:
        return self.pod["containers"][0]

    @property
    def runtime(self) -> Object:
        return self["ClusterServingRuntime"]["spec"]["containers"][0]

    def argument(self, old: str, new: str) -> None:
        arguments = self.server["args"]
        assert old in arguments
        arguments[arguments.index(old)] = new

    def keda(self, **changes: object) -> None:
        """KEDA's object instead of the HPA, in order but for the changes."""
        self.remove("HorizontalPodAutoscaler")
        trigger = {"type": "prometheus", "metadata": {"ignoreNullValues": "false"}}
        spec = {
            "scaleTargetRef": {"name": "lw"},
            "minReplicaCount": 2,
            "maxReplicaCount": 10,
            "fallback": {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicas"},
            "triggers": [trigger],
            **changes,
        }
        self.objects.append({"kind": "ScaledObject", "metadata": {"name": "lw"}, "spec": spec})


def test_the_samples_keep_the_rules() -> None:
    assert not policy.check(Samples().objects), report(policy.check(Samples().objects))
    with_keda = Samples()
    with_keda.keda()
    assert not policy.check(with_keda.objects), report(policy.check(with_keda.objects))


NO_DIGEST = "example.org/fetch:1.0.0"
UNPINNED = [{"name": "weights", "image": {"reference": "example.org/weights:1"}}]

# (rule, part of what it says, what is broken)
BROKEN: list[tuple[str, str, Callable[[Samples], object]]] = [
    ("limits_are_set", "no limit of memory", lambda s: s.runtime["resources"]["limits"].pop("memory") and s.runtime["resources"]["requests"].pop("memory")),
    ("limits_are_set", "no limit of cpu", lambda s: s["Pod"]["spec"]["containers"][0]["resources"]["limits"].pop("cpu")),
    ("limits_are_set", "no limit of cpu", lambda s: s.pod["initContainers"][0]["resources"]["limits"].pop("cpu")),
    ("limits_are_set", "above its limit", lambda s: s.server["resources"]["requests"].update(cpu="4001m")),
    ("memory_is_asked_for", "asks for 1Gi", lambda s: s.server["resources"]["requests"].update(memory="1Gi")),
    ("threads_fit_the_limit", "no --threads", lambda s: s.server["args"].remove("--threads=4")),
    ("threads_fit_the_limit", "no --threads", lambda s: s.argument("--threads=4", "--threads=0")),
    ("threads_fit_the_limit", "--threads=5", lambda s: s.argument("--threads=4", "--threads=5")),
    ("images_are_versions", "longwave:latest", lambda s: s.server.update(image="example.org/longwave:latest")),
    ("images_are_versions", "'example.org/longwave'", lambda s: s.server.update(image="example.org/longwave")),
    ("images_are_versions", "@sha256:123", lambda s: s.server.update(image="example.org/longwave@sha256:123")),
    ("images_are_versions", "longwave:cpu", lambda s: s.runtime.update(image="example.org/longwave:cpu")),
    ("foreign_images_are_pinned", "init container", lambda s: s.pod["initContainers"][0].update(image=NO_DIGEST)),
    ("foreign_images_are_pinned", "image volume", lambda s: s.pod.update(volumes=[s.pod["volumes"][0], *UNPINNED])),
    ("probes_ask_health", "no livenessProbe", lambda s: s.server.pop("livenessProbe")),
    ("probes_ask_health", "no startupProbe", lambda s: s.runtime.pop("startupProbe")),
    ("probes_ask_health", "'longwave.live'", lambda s: s.server.update(livenessProbe={"grpc": {"port": 50051}})),
    ("probes_ask_health", "readinessProbe", lambda s: s.server["readinessProbe"]["grpc"].update(service="longwave.live")),
    ("probes_ask_health", "livenessProbe", lambda s: s.server.update(livenessProbe={"exec": {"command": ["sh", "-c", "longwave health"]}})),
    ("start_may_take_its_time", "60 s only", lambda s: s.server["startupProbe"].update(failureThreshold=30)),
    ("drain_fits_the_grace_period", "the drain takes 135", lambda s: s.pod.update(terminationGracePeriodSeconds=134)),
    ("drain_fits_the_grace_period", "is 30", lambda s: s.pod.pop("terminationGracePeriodSeconds")),
    ("drain_fits_the_grace_period", "takes 136", lambda s: s.argument("--grace=120", "--grace=121")),
    ("drain_fits_the_grace_period", "is 129", lambda s: s["InferenceService"]["spec"]["predictor"].update(terminationGracePeriodSeconds=129)),
    ("drain_fits_the_grace_period", "not both given", lambda s: s.server["args"].remove("--grace=120")),
    ("drain_fits_the_grace_period", "not a sleep", lambda s: s.server.update(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}})),
    ("drain_outlasts_readiness", "shorter than one period", lambda s: s.server["readinessProbe"].update(periodSeconds=11)),
    ("pods_are_restricted", "hostNetwork", lambda s: s.pod.update(hostNetwork=True)),
    ("pods_are_restricted", "sysctls", lambda s: s.pod["securityContext"].update(sysctls=[{"name": "a", "value": "b"}])),
    ("pods_are_restricted", "hostPath", lambda s: s.pod["volumes"][0].update(hostPath={"path": "/"})),
    ("pods_are_restricted", "is privileged", lambda s: s.server["securityContext"].update(privileged=True)),
    ("pods_are_restricted", "allowPrivilegeEscalation", lambda s: s.runtime["securityContext"].pop("allowPrivilegeEscalation")),
    ("pods_are_restricted", "runAsNonRoot", lambda s: s.runtime["securityContext"].pop("runAsNonRoot")),
    ("pods_are_restricted", "runs as root", lambda s: s.pod["securityContext"].update(runAsUser=0)),
    ("pods_are_restricted", "does not drop", lambda s: s["Pod"]["spec"]["containers"][0]["securityContext"].update(capabilities={})),
    ("pods_are_restricted", "adds capabilities", lambda s: s.server["securityContext"]["capabilities"].update(add=["SYS_PTRACE"])),
    ("pods_are_restricted", "seccomp", lambda s: s.pod["securityContext"].pop("seccompProfile")),
    ("pods_are_restricted", "seccomp", lambda s: s.server["securityContext"].update(seccompProfile={"type": "Unconfined"})),
    ("pods_are_restricted", "unmasked", lambda s: s.server["securityContext"].update(procMount="Unmasked")),
    ("pods_are_restricted", "of the host", lambda s: s.server["ports"][0].update(hostPort=50051)),
    ("roots_are_read_only", "can be written", lambda s: s.runtime["securityContext"].pop("readOnlyRootFilesystem")),
    ("pods_have_no_token", "automount", lambda s: s.pod.pop("automountServiceAccountToken")),
    ("pods_have_no_token", "automount", lambda s: s["ServiceAccount"].update(automountServiceAccountToken=True)),
    ("pods_have_no_token", "automount", lambda s: s["InferenceService"]["spec"]["predictor"].pop("automountServiceAccountToken")),
    ("pods_are_fenced", "for ingress", lambda s: s["ClusterServingRuntime"]["spec"].update(labels={})),
    ("secrets_are_references", "makes a secret", lambda s: s.objects.append({"kind": "Secret", "metadata": {"name": "keys"}})),
    ("secrets_are_references", "API_KEY", lambda s: s.server["env"].append({"name": "API_KEY", "value": "a"})),
    ("secrets_are_references", "hf_token", lambda s: s.server["env"].append({"name": "hf_token", "value": "a"})),
    ("budgets_leave_pods", "all 2 pods", lambda s: s["PodDisruptionBudget"]["spec"].update(maxUnavailable=2)),
    ("budgets_leave_pods", "all 2 pods", lambda s: s["PodDisruptionBudget"]["spec"].update(maxUnavailable="51%")),
    ("budgets_leave_pods", "all 1 pods", lambda s: s["HorizontalPodAutoscaler"]["spec"].update(minReplicas=1)),
    ("budgets_leave_pods", "no pod be evicted", lambda s: s["PodDisruptionBudget"]["spec"].update(maxUnavailable=0)),
    ("budgets_leave_pods", "no pod be evicted", lambda s: s["PodDisruptionBudget"]["spec"].pop("maxUnavailable") and s["PodDisruptionBudget"]["spec"].update(minAvailable=2)),
    ("budgets_leave_pods", "never gets ready", lambda s: s["PodDisruptionBudget"]["spec"].pop("unhealthyPodEvictionPolicy")),
    ("several_pods_have_a_budget", "no PodDisruptionBudget", lambda s: s.remove("PodDisruptionBudget")),
    ("scaling_is_sound", "would undo", lambda s: s.deployment.update(replicas=2)),
    ("scaling_is_sound", "2 autoscalers", lambda s: s.objects.append(copy.deepcopy(s["HorizontalPodAutoscaler"]))),
    ("scaling_is_sound", "at most 1", lambda s: s["HorizontalPodAutoscaler"]["spec"].update(maxReplicas=1)),
    ("scaling_is_sound", "to zero", lambda s: (s.remove("PodDisruptionBudget"), s.keda(minReplicaCount=0))),
    ("scaling_is_sound", "a fixed number", lambda s: s.keda(fallback={"failureThreshold": 3, "replicas": 2})),
    ("scaling_is_sound", "no data for no load", lambda s: s.keda(triggers=[{"type": "prometheus", "metadata": {}}])),
    ("rollouts_move", "both 0", lambda s: s.deployment["strategy"]["rollingUpdate"].update(maxSurge=0)),
    ("rollouts_move", "all 2 pods down", lambda s: s.deployment["strategy"]["rollingUpdate"].update(maxUnavailable="100%")),
    ("rollouts_move", "before new ones", lambda s: s.deployment.update(strategy={"type": "Recreate"})),
    ("pods_are_fenced", "for ingress", lambda s: s.remove("NetworkPolicy")),
    ("pods_are_fenced", "for egress", lambda s: s["NetworkPolicy"]["spec"].update(policyTypes=["Ingress"])),
    ("pods_are_fenced", "everyone", lambda s: s["NetworkPolicy"]["spec"]["ingress"][0].pop("from")),
    ("pods_are_fenced", "all namespaces", lambda s: s["NetworkPolicy"]["spec"]["ingress"][0].update({"from": [{"namespaceSelector": {}}]})),
    ("pods_are_fenced", "all ports", lambda s: s["NetworkPolicy"]["spec"]["ingress"][0].pop("ports")),
    ("services_stay_inside", "LoadBalancer", lambda s: s["Service"]["spec"].update(type="LoadBalancer")),
    ("plaintext_is_said", "neither", lambda s: s.server["args"].remove("--allow_plaintext")),
    ("plaintext_is_said", "neither", lambda s: s.server["args"].extend(["--tls_certificate=/a", "--tls_key=/b"])),
    ("plaintext_is_said", "loopback", lambda s: s.argument("--address=0.0.0.0:50051", "--address=127.0.0.1:50051")),
    ("references_lead_somewhere", "its own pods", lambda s: s.deployment["selector"]["matchLabels"].update(more="x")),
    ("references_lead_somewhere", "selects no pods", lambda s: s["Service"]["spec"].update(selector={"app": "other"})),
    ("references_lead_somewhere", "of a test too", lambda s: s["Pod"]["metadata"]["labels"].update(app="lw")),
    ("references_lead_somewhere", "port web", lambda s: s["Service"]["spec"]["ports"][0].update(targetPort="web")),
    ("references_lead_somewhere", "port web", lambda s: s["PodMonitor"]["spec"].update(podMetricsEndpoints=[{"port": "web"}])),
    ("references_lead_somewhere", "selects nothing", lambda s: s["PodMonitor"]["spec"]["selector"]["matchLabels"].update(app="x")),
    ("references_lead_somewhere", "port web", lambda s: s["ServiceMonitor"]["spec"].update(endpoints=[{"port": "web"}])),
    ("references_lead_somewhere", "more than one Service", lambda s: s.objects.append(copy.deepcopy(s["Service"]))),
    ("references_lead_somewhere", "is no volume", lambda s: s.server["volumeMounts"].append({"name": "x", "mountPath": "/x"})),
    ("references_lead_somewhere", "mounted nowhere", lambda s: s.pod["volumes"].append({"name": "x", "emptyDir": {}})),
    ("routes_lead_to_services", "lw:80", lambda s: s["GRPCRoute"]["spec"]["rules"][0]["backendRefs"][0].update(port=80)),
    ("routes_lead_to_services", "InferencePool x", lambda s: s["GRPCRoute"]["spec"]["rules"][0]["backendRefs"][0].update(kind="InferencePool", name="x")),
    ("routes_lead_to_services", "is for GRPCRoute", lambda s: s["BackendTrafficPolicy"]["spec"]["targetRefs"][0].update(name="x")),
    ("routes_lead_to_services", "selects no pods", lambda s: s["InferencePool"]["spec"]["selector"]["matchLabels"].update(app="x")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "text", "break_it"),
    BROKEN,
    ids=[re.sub(r"\W+", "-", f"{rule}-{text}") for rule, text, _ in BROKEN],
)
def test_a_rule_refuses(rule: str, text: str, break_it: Callable[[Samples], object]) -> None:
    samples = Samples()
    break_it(samples)
    problems = policy.check(samples.objects)
    assert any(each.rule == rule and text in each.text for each in problems), report(problems)
    # One fault is not reported by rules that it does not concern.
    others = [each for each in problems if each.rule != rule]
    assert not others, report(others)


def test_each_rule_is_seen_refusing() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(policy.RULES)


def test_a_quantity_is_read_as_kubernetes_reads_it() -> None:
    read: dict[str | int, str] = {
        "500m": "0.5",
        "2": "2",
        4: "4",
        "1.5Gi": str(3 * 2**29),
        "64Mi": str(2**26),
        "3M": "3000000",
        "2k": "2000",
    }
    for written, value in read.items():
        assert policy_objects.quantity(written) == decimal.Decimal(value), written
    with pytest.raises(ValueError, match="no quantity"):
        policy_objects.quantity("much")


def test_the_samples_are_what_kubernetes_writes() -> None:
    """An anchor that is not resolved, or a document that is lost, would make the samples pass by being empty."""
    assert len(parsed()) == len(list(yaml.compose_all(SAMPLES.read_text(), Loader=yaml.SafeLoader)))
    assert all(each["kind"] and each["metadata"]["name"] for each in parsed())
