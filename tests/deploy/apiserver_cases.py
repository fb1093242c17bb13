"""What the API server must refuse, and the change that an upgrade makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

# Goes into the flags of the server's container in every value set.
CHANGE = ("--set", "server.maxConnectionAgeSeconds=241")

# (value set, setting past the chart's schema, what the server says)
WRONG_VALUES: list[tuple[str, tuple[str, ...], str]] = [
    ("cpu", ("--set", "image.pullPolicy=Sometimes"), 'Unsupported value: "Sometimes"'),
    ("cpu", ("--set-json", 'nodeSelector={"disk":5}'), "cannot unmarshal number"),
    ("cpu", ("--set", "pdb.maxUnavailable=-1"), "must be greater than or equal to 0"),
    ("cpu", ("--set", "rollout.revisionHistoryLimit=-1"), "must be greater than or equal to 0"),
    ("cpu", ("--set-json", 'tolerations=[{"key":"gpu","operator":"Like"}]'), "Unsupported value"),
    ("cpu", ("--set-json", 'podLabels={"team":"a b"}'), "a valid label must be"),
    ("cpu", ("--set", "service.port=70000"), "must be between 1 and 65535"),
    ("gateway", ("--set-json", 'gateway.hostnames=["no_host"]'), "spec.hostnames[0]"),
    ("gateway", ("--set", "gateway.envoy.retries=-1"), "greater than or equal to 0"),
    ("keda", ("--set-string", "autoscaling.keda.pollingIntervalSeconds=often"), "pollingInterval"),
]


# By kind: (what the server says, what is broken). The definitions' own rules, CEL among them.
WRONG_OBJECTS: dict[str, list[tuple[str, Callable[[Object], object]]]] = {
    "ScaledObject": [
        ("spec.minReplicaCount: Invalid value", lambda o: o["spec"].update(minReplicaCount="two")),
        ("spec.scaleTargetRef: Required value", lambda o: o["spec"].pop("scaleTargetRef")),
    ],
    "PodMonitor": [
        ("spec.podMetricsEndpoints[0].interval", lambda o: o["spec"]["podMetricsEndpoints"][0].update(interval="soon")),
        ("spec.selector: Required value", lambda o: o["spec"].pop("selector")),
    ],
    "ServiceMonitor": [
        ("spec.endpoints[0].interval", lambda o: o["spec"]["endpoints"][0].update(interval="soon")),
        ("spec.endpoints: Required value", lambda o: o["spec"].pop("endpoints")),
    ],
    "PrometheusRule": [
        ("spec.groups[0].rules[0].for", lambda o: o["spec"]["groups"][0]["rules"][0].update({"for": "soon"})),
        ("spec.groups[0].rules[0].expr", lambda o: o["spec"]["groups"][0]["rules"][0].pop("expr")),
    ],
    "GRPCRoute": [
        # CEL: a service has a port.
        ("Must have port for Service reference", lambda o: o["spec"]["rules"][0]["backendRefs"][0].pop("port")),
        ("spec.rules[0].backendRefs[0].weight", lambda o: o["spec"]["rules"][0]["backendRefs"][0].update(weight=-1)),
    ],
    "BackendTrafficPolicy": [
        # CEL: only the Gateway API's kinds.
        ("this policy can only have a targetRefs[*].group", lambda o: o["spec"]["targetRefs"][0].update(group="apps")),
        ("spec.loadBalancer.type", lambda o: o["spec"]["loadBalancer"].update(type="Luck")),
    ],
    "BackendTLSPolicy": [
        ("spec.validation.hostname", lambda o: o["spec"]["validation"].update(hostname="not a name")),
        ("spec.targetRefs: Required value", lambda o: o["spec"].pop("targetRefs")),
    ],
    "InferencePool": [
        # CEL: an endpoint picker that is a service has a port.
        ("port is required when kind is 'Service'", lambda o: o["spec"]["endpointPickerRef"].pop("port")),
        ("spec.appProtocol: Unsupported value", lambda o: o["spec"].update(appProtocol="grpc")),
        ("spec.targetPorts[0].number", lambda o: o["spec"]["targetPorts"][0].update(number=70000)),
    ],
    "ClusterServingRuntime": [
        ("spec.containers: Required value", lambda o: o["spec"].pop("containers")),
        ("spec.supportedModelFormats[0].name: Required value", lambda o: o["spec"]["supportedModelFormats"][0].pop("name")),
    ],
    "InferenceService": [
        ("spec.predictor.minReplicas: Invalid value", lambda o: o["spec"]["predictor"].update(minReplicas="two")),
        ("spec.predictor.model.modelFormat.name: Required value", lambda o: o["spec"]["predictor"]["model"].update(modelFormat={})),
    ],
}  # fmt: skip
