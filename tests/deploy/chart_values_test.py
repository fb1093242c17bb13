"""Wrong values are refused, and the message names the field."""

import re

import pytest

from chart_rendering import merged, nested, template

DIGEST = "registry.example.com/a@sha256:" + "0" * 64
KEDA = {"kind": "keda", "keda": {"prometheusAddress": "http://prometheus:9090"}}
INIT = {
    "source": "initContainer",
    "initContainer": {"image": DIGEST, "reference": DIGEST, "sha256": {"config.json": "0" * 64}},
}
EGRESS = {"extraEgress": [{"ports": [{"port": 443}]}]}
KSERVE = {"mode": "kserve", "kserve": {"inferenceService": {"storageUri": "pvc://claim"}}}
TLS = {"enabled": True, "secretName": "s"}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "g"}]}

# Refused by the schema: (field, value).
UNLIKE_THE_SCHEMA = [
    ("mode", "daemonset"),
    ("device", "tpu"),
    ("replicaCount", 0),
    ("replicaCount", "2"),
    ("replicas", 2),
    ("fullnameOverride", "Upper"),
    ("image.digest", "sha256:abc"),
    ("image.repository", "UPPER/name"),
    ("image.pullPolicy", "Sometimes"),
    ("image.Tag", "1"),
    ("resources.limits.cpu", 1.5),
    ("resources.limits.cpu", "500m"),
    ("resources.limits.memory", "8 GB"),
    ("resources.limits.memory", 8589934592),
    ("resources.limits.nvidia.com/gpu", 1),
    ("resources.requests.cpu", "100m"),
    ("gpu.memory", "much"),
    ("memory.host", ""),
    ("memory.weights", "0"),
    ("model.source", "s3"),
    ("model.directory", "../etc"),
    ("model.imageVolume.reference", "registry.example.com/model:latest"),
    ("model.initContainer.image", "oras:latest"),
    ("model.initContainer.sha256", {"config.json": "abc"}),
    ("model.initContainer.sha256", {"../config.json": "0" * 64}),
    # The metrics port has no IPv6.
    ("server.listen", "[::]"),
    ("fullnameOverride", "1lw"),
    ("fullnameOverride", "x" * 47),
    ("memory.host", "9999999Ti"),
    ("memory.resident", "1000Ti"),
    ("resources.limits.memory", "1234567890123456"),
    ("server.cpuTarget", "sse4"),
    ("server.logLevel", "verbose"),
    ("server.logRequests", "some"),
    ("server.maxConnectionAgeSeconds", -1),
    ("server.maxWaitSeconds", 0),
    ("server.unknown", 1),
    ("extraArgs", ["max_paused_jobs=8"]),
    ("extraArgs", ["--ok=1", "&& sh"]),
    ("tls.secretName", "not a name"),
    ("tls.caKey", "../key"),
    ("tenants.keys", ["secret"]),
    ("drain.graceSeconds", "2m"),
    ("drain.graceSeconds", 0),
    ("probes.startup.maxSeconds", 0),
    ("probes.liveness.service", "x"),
    ("rollout.maxUnavailable", "25%"),
    ("pdb.maxUnavailable", 0),
    ("pdb.minAvailable", 1),
    ("autoscaling.kind", "vpa"),
    ("autoscaling.minReplicas", 0),
    ("autoscaling.keda.prometheusAddress", "prometheus:9090"),
    ("autoscaling.targetBusyPercent", 101),
    ("service.port", 70000),
    ("service.type", "LoadBalancer"),
    ("networkPolicy.clientNamespaces", [{"a": 1}]),
    ("networkPolicy.clientNamespaces", {"a": "b"}),
    ("gateway.parentRefs", [{"namespace": "x"}]),
    ("gateway.hostnames", ["under_score"]),
    ("inferencePool.failureMode", "FailSoft"),
    ("monitoring.runbookBase", "https://example.com/guide#anchor"),
    ("monitoring.intervalSeconds", "15s"),
    ("kserve.inferenceService.storageUri", "models/base"),
    ("podLabels", {"app.kubernetes.io/name": "other"}),
    ("nodeSelector", {"gpu": True}),
    ("topologySpread.zone", "Sometimes"),
    ("tests.enabled", "yes"),
]

# Each good by itself, but not together: (field, values).
NOT_TOGETHER = [
    ("server.computeDtype", nested("server.computeDtype", "bf16")),
    ("resources.limits.memory", nested("resources.limits.memory", "2Gi")),
    (
        "resources.limits.memory",
        {"device": "cuda", "gpu": {"memory": "80Gi"}, "memory": {"base": "8Gi"}},
    ),
    ("resources.requests.cpu", nested("resources.requests.cpu", 5)),
    ("resources.requests.memory", nested("resources.requests.memory", "9Gi")),
    ("memory.resident", nested("memory.resident", "7Gi")),
    ("memory.resident", {"device": "cuda"}),
    (
        "memory.resident",
        {"device": "cuda", "gpu": {"memory": "80Gi"}, "memory": {"resident": "80Gi"}},
    ),
    ("memory.transport", nested("memory.transport", "63Mi")),
    ("gpu.memory", {"device": "cuda", "gpu": {"memory": "1Gi"}}),
    ("model.imageVolume.reference", nested("model.source", "imageVolume")),
    ("model.pvc.claimName", nested("model.source", "pvc")),
    ("model.initContainer.image", nested("model.source", "initContainer")),
    ("model.initContainer.reference", nested("model.source", "initContainer")),
    ("model.initContainer.sha256", nested("model.source", "initContainer")),
    ("networkPolicy.extraEgress", {"model": INIT}),
    ("tls.secretName", nested("tls.enabled", True)),
    ("tls.enabled", nested("tls.secretName", "s")),
    ("tls.enabled", nested("tls.clientCASecretName", "s")),
    ("tls.probeClientSecretName", {"tls": {**TLS, "clientCASecretName": "ca"}}),
    # 5 + 5 + 120, and 5 to end.
    ("drain.terminationGracePeriodSeconds", nested("drain.terminationGracePeriodSeconds", 134)),
    (
        "resources.limits.ephemeral-storage",
        nested("resources.limits", {"ephemeral-storage": "191Mi"}),
    ),
    (
        "resources.limits.ephemeral-storage",
        {"model": merged(INIT, nested("initContainer.sizeLimit", "20Gi")), "networkPolicy": EGRESS},
    ),
    (
        "model.initContainer.sizeLimit",
        {"model": INIT, "networkPolicy": EGRESS, "memory": {"weights": "513Mi"}},
    ),
    ("server.maxDeadlineSeconds", nested("drain.graceSeconds", 119)),
    ("drain.drainDelaySeconds", {"drain": {"preStopSeconds": 0, "drainDelaySeconds": 4}}),
    ("extraArgs", {"extraArgs": ["--grace=10"]}),
    ("extraArgs", {"extraArgs": ["--max-wait=10"]}),
    ("extraArgs", {"extraArgs": ["--no-refuse_beyond_grace"]}),
    ("extraArgs", {"extraArgs": ["--check_config"]}),
    ("extraArgs", {"extraArgs": ["--max_paused_jobs=8", "--max-paused-jobs=9"]}),
    ("pdb.maxUnavailable", nested("replicaCount", 1)),
    ("pdb.maxUnavailable", {"autoscaling": {"kind": "hpa", "minReplicas": 1}}),
    ("autoscaling.maxReplicas", {"autoscaling": {"kind": "hpa", "maxReplicas": 1}}),
    (
        "autoscaling.targetWaitMilliseconds",
        {"autoscaling": {"kind": "hpa", "targetWaitMilliseconds": 2000}},
    ),
    ("autoscaling.keda.prometheusAddress", nested("autoscaling.kind", "keda")),
    ("rollout.maxSurge", nested("rollout.maxSurge", 0)),
    ("rollout.progressDeadlineSeconds", nested("probes.startup.maxSeconds", 590)),
    # 455 + 10 + 135: without surge the old pod ends first.
    (
        "rollout.progressDeadlineSeconds",
        merged(
            nested("rollout", {"maxSurge": 0, "maxUnavailable": 1}),
            nested("probes.startup.maxSeconds", 455),
        ),
    ),
    ("rollout.maxUnavailable", nested("rollout.maxUnavailable", 2)),
    ("rollout.maxUnavailable", {"rollout": {"maxSurge": 0, "maxUnavailable": 2}}),
    (
        "rollout.maxUnavailable",
        {"replicaCount": 1, "pdb": {"enabled": False}, "rollout": {"maxUnavailable": 1}},
    ),
    ("gateway.parentRefs", nested("gateway.enabled", True)),
    (
        "gateway.backendCAConfigMap",
        {"tls": TLS, "gateway": {"enabled": True, "parentRefs": [{"name": "g"}]}},
    ),
    (
        "tls.clientCASecretName",
        {
            "tls": {**TLS, "clientCASecretName": "ca", "probeClientSecretName": "probe"},
            "gateway": {**GATEWAY, "backendCAConfigMap": "ca"},
        },
    ),
    (
        "inferencePool.enabled",
        {"tls": TLS, "inferencePool": {"enabled": True, "endpointPicker": "epp"}},
    ),
    ("gateway.envoy.enabled", nested("gateway.envoy.enabled", True)),
    ("inferencePool.endpointPicker", nested("inferencePool.enabled", True)),
    ("monitoring.serviceMonitor", {"monitoring": {"podMonitor": True, "serviceMonitor": True}}),
    (
        "monitoring.serviceMonitor",
        {"monitoring": {"serviceMonitor": True}, "service": {"headless": False}},
    ),
    (
        "fullnameOverride",
        {
            "fullnameOverride": "embeddings",
            "autoscaling": {"kind": "hpa"},
            "monitoring": {"prometheusRule": True},
        },
    ),
    ("kserve.inferenceService.storageUri", {"mode": "kserve"}),
    (
        "networkPolicy.extraEgress",
        {"mode": "kserve", "kserve": {"inferenceService": {"storageUri": "s3://bucket/model"}}},
    ),
    ("tls.enabled", merged(KSERVE, {"tls": TLS})),
    ("model.source", merged(KSERVE, {"model": {"source": "pvc"}})),
    ("gateway.enabled", merged(KSERVE, {"gateway": {"enabled": True}})),
    ("autoscaling.kind", merged(KSERVE, {"autoscaling": {"kind": "hpa"}})),
    ("autoscaling.maxReplicas", merged(KSERVE, {"autoscaling": {"maxReplicas": 1}})),
    ("pdb.maxUnavailable", merged(KSERVE, {"autoscaling": {"minReplicas": 1}})),
    ("rollout.maxSurge", merged(KSERVE, {"rollout": {"maxSurge": 0}})),
    ("fullnameOverride", merged(KSERVE, {"fullnameOverride": "x" * 37})),
]

# The nearest good ones: they show that it is the value that is refused, not the rest.
GOOD = [
    {},
    nested("resources.limits.memory", "3Gi"),
    nested("memory.resident", "6Gi"),
    nested("memory.transport", "64Mi"),
    {"device": "cuda", "gpu": {"memory": "80Gi"}, "server": {"computeDtype": "bf16"}},
    {"device": "cuda", "memory": {"resident": "10Gi"}},
    {"model": INIT, "networkPolicy": EGRESS},
    {"model": INIT, "networkPolicy": {"enabled": False}},
    {"tls": TLS},
    {"tls": {**TLS, "clientCASecretName": "ca", "probeClientSecretName": "probe"}},
    nested("drain.terminationGracePeriodSeconds", 135),
    nested("resources.limits", {"ephemeral-storage": "192Mi"}),
    {
        "model": merged(INIT, nested("initContainer.sizeLimit", "20Gi")),
        "networkPolicy": EGRESS,
        "resources": {"limits": {"ephemeral-storage": "21Gi"}},
    },
    {"model": INIT, "networkPolicy": EGRESS, "memory": {"weights": "512Mi"}},
    merged(
        nested("rollout", {"maxSurge": 0, "maxUnavailable": 1}),
        nested("probes.startup.maxSeconds", 454),
    ),
    # One GPU, one pod: it must go before the next one comes.
    {
        "replicaCount": 1,
        "pdb": {"enabled": False},
        "rollout": {"maxSurge": 0, "maxUnavailable": 1},
    },
    {"tls": TLS, "gateway": {**GATEWAY, "backendCAConfigMap": "ca"}},
    {"fullnameOverride": "x" * 46},
    merged(KSERVE, {"fullnameOverride": "x" * 36}),
    merged(KSERVE, {"autoscaling": {"minReplicas": 1}, "pdb": {"enabled": False}}),
    nested("drain.graceSeconds", 121),
    nested("drain.preStopSeconds", 0),
    {"extraArgs": ["--max_paused_jobs=8", "--max_stall=5"]},
    {"replicaCount": 1, "pdb": {"enabled": False}},
    {"autoscaling": {"kind": "hpa", "maxReplicas": 2}},
    {"autoscaling": KEDA},
    {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
    nested("probes.startup.maxSeconds", 589),
    {"fullnameOverride": "embeddings", "monitoring": {"prometheusRule": True}},
    {"fullnameOverride": "embeddings", "autoscaling": {"kind": "hpa"}},
    {"monitoring": {"podMonitor": True}},
    {"monitoring": {"serviceMonitor": True}},
    KSERVE,
    nested("global.anything", 1),
]


def named_in_schema_error(field, message):
    """helm names the object, and within it the key if it is one too many."""
    for parts in (field.split("."), field.split(".", 2)):
        pointer = "/" + "/".join(part.replace("/", "~1") for part in parts)
        parent, _, key = pointer.rpartition("/")
        if re.search(rf"at '{re.escape(pointer)}(/[^']*)?'", message):
            return True
        extra = rf"at '{re.escape(parent)}': additional properties .*'{re.escape(key)}' not allowed"
        if re.search(extra.replace("\\~1", "/").replace("~1", "/"), message):
            return True
    return False


@pytest.mark.parametrize("field, value", UNLIKE_THE_SCHEMA, ids=str)
def test_the_schema_refuses(field, value):
    # Keys of resources have dots of their own.
    parts = field.split(".", 2) if "nvidia.com" in field else field.split(".")
    values = value
    for part in reversed(parts):
        values = {part: values}
    done = template(values=values)
    assert done.returncode != 0, "rendered"
    assert "don't meet the specifications of the schema" in done.stderr, done.stderr
    assert named_in_schema_error(field, done.stderr), done.stderr


@pytest.mark.parametrize(
    "field",
    [
        "mode",
        "resources.limits.cpu",
        "memory.host",
        "model.source",
        "server.logLevel",
        "tls.enabled",
        "drain",
        "probes.startup.maxSeconds",
        "networkPolicy.clientNamespaces",
        "gateway.proxyNamespace",
        "kserve.inferenceService.storageUri",
        "podLabels",
    ],
)
def test_no_value_can_be_taken_away(field):
    done = template(values=nested(field, None))
    assert done.returncode != 0, "rendered"
    parent, _, key = f"/{field.replace('.', '/')}".rpartition("/")
    assert f"at '{parent}': missing property '{key}'" in done.stderr, done.stderr


def test_a_gateway_and_mutual_tls_name_both():
    field, values = next(each for each in NOT_TOGETHER if each[0] == "tls.clientCASecretName")
    message = template(values=values).stderr
    assert "gateway.enabled" in message and field in message


@pytest.mark.parametrize("field, values", NOT_TOGETHER, ids=str)
def test_the_chart_refuses(field, values):
    done = template(values=values)
    assert done.returncode != 0, "rendered"
    assert "do not fit together" in done.stderr, done.stderr
    assert re.search(rf"^  - {re.escape(field)}: ", done.stderr, re.MULTILINE), done.stderr


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_the_nearest_good_ones_are_taken(values):
    done = template(values=values)
    assert done.returncode == 0, done.stderr


def test_all_problems_are_told_at_once():
    done = template(
        values={
            "replicaCount": 1,
            "drain": {"graceSeconds": 100},
            "server": {"computeDtype": "tf32"},
        }
    )
    assert len(re.findall(r"^  - ", done.stderr, re.MULTILINE)) == 3


def test_an_image_volume_needs_a_kubernetes_that_has_it():
    values = {"model": {"source": "imageVolume", "imageVolume": {"reference": DIGEST}}}
    assert template(values=values, kubernetes="1.33.0").returncode == 0
    done = template(values=values, kubernetes="1.32.9")
    assert (
        done.returncode != 0 and "model.source: imageVolume needs Kubernetes >= 1.33" in done.stderr
    )
