"""The chart: the objects that it makes of values."""

import hashlib
import re
import subprocess

import pytest
import yaml

from chart_rendering import (
    CHART,
    ROOT,
    Objects,
    merged,
    nested,
    render,
    render_set,
    template,
    value_sets,
)

SETS = [pytest.param(path, id=path.stem) for path in value_sets()]

INIT_CONTAINER = yaml.safe_load((CHART / "ci" / "weights-init-container.yaml").read_text())
LOCKED_DOWN = yaml.safe_load((CHART / "ci" / "locked-down.yaml").read_text())
KEDA = yaml.safe_load((CHART / "ci" / "keda.yaml").read_text())
KSERVE = yaml.safe_load((CHART / "ci" / "kserve.yaml").read_text())


# Shutdown.


@pytest.mark.parametrize("pre_stop, delay, grace", [(0, 5, 120), (5, 0, 121), (10, 30, 600)])
def test_the_grace_period_is_the_sum_and_five_seconds(pre_stop, delay, grace):
    drain = {"preStopSeconds": pre_stop, "drainDelaySeconds": delay, "graceSeconds": grace}
    objects = render({"drain": drain})
    period = objects.pod()["spec"]["terminationGracePeriodSeconds"]
    assert period == pre_stop + delay + grace + 5
    assert f"--drain_delay={delay}" in objects.container()["args"]
    assert f"--grace={grace}" in objects.container()["args"]
    hook = objects.container().get("lifecycle")
    assert hook == ({"preStop": {"sleep": {"seconds": pre_stop}}} if pre_stop else None)


def test_a_longer_grace_period_is_taken():
    objects = render(nested("drain.terminationGracePeriodSeconds", 136))
    assert objects.pod()["spec"]["terminationGracePeriodSeconds"] == 136


# Memory.


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", quantity).groups()
    factors = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    factors |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    return int(number) * factors[unit]


def flag(objects, name):
    return next(a.split("=")[1] for a in objects.container()["args"] if a.startswith(f"--{name}="))


@pytest.mark.parametrize("limit", ["4Gi", "8Gi", "9000M", "12345678k"])
def test_started_work_gets_the_rest_of_the_memory(limit):
    objects = render(nested("resources.limits.memory", limit))
    memory = yaml.safe_load((CHART / "values.yaml").read_text())["memory"]
    others = sum(bytes_of(memory[name]) for name in ("base", "host", "transport", "receiving"))
    rest = bytes_of(limit) - others - 3 * bytes_of(memory["weights"])
    assert int(flag(objects, "max_resident_bytes")) == rest
    assert int(flag(objects, "max_host_bytes")) == bytes_of(memory["host"])
    assert int(flag(objects, "max_transport_bytes")) == bytes_of(memory["transport"])
    assert int(flag(objects, "max_receiving_bytes")) == bytes_of(memory["receiving"])


def test_on_a_gpu_started_work_gets_the_rest_of_the_gpu():
    objects = render({"device": "cuda", "gpu": {"memory": "80Gi"}, "memory": {"weights": "1Gi"}})
    assert int(flag(objects, "max_resident_bytes")) == (80 - 5 - 2) * 2**30


def test_requests_are_the_limits_unless_asked():
    resources = render().container()["resources"]
    assert resources["requests"] == resources["limits"]
    assert isinstance(resources["limits"]["cpu"], int)
    asked = render({"resources": {"requests": {"cpu": 1, "memory": "2Gi"}}}).container()[
        "resources"
    ]
    assert asked["requests"]["cpu"] == 1 and asked["requests"]["memory"] == "2Gi"
    assert asked["limits"] == resources["limits"]


def test_threads_are_the_processors_of_the_limit():
    assert flag(render(nested("resources.limits.cpu", 7)), "threads") == "7"


def test_a_gpu_is_asked_for_with_cuda_only():
    cuda = render({"device": "cuda", "gpu": {"memory": "80Gi"}}).container()
    assert cuda["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert cuda["image"].endswith("-cuda") and "--device=cuda" in cuda["args"]
    cpu = render().container()
    assert "nvidia.com/gpu" not in cpu["resources"]["limits"] and cpu["image"].endswith("-cpu")


def test_what_cuda_keeps_fits_into_tmp():
    objects = render({"device": "cuda", "gpu": {"memory": "80Gi"}})
    variables = {each["name"]: each["value"] for each in objects.container()["env"]}
    volumes = {each["name"]: each for each in objects.pod()["spec"]["volumes"]}
    assert variables["CUDA_CACHE_PATH"].startswith("/tmp/")
    room = bytes_of(volumes["tmp"]["emptyDir"]["sizeLimit"])
    assert 0 < int(variables["CUDA_CACHE_MAXSIZE"]) <= room // 2


def test_a_digest_wins_over_a_tag():
    digest = "sha256:" + "0" * 64
    image = render({"image": {"tag": "1.2.3", "digest": digest}}).container()["image"]
    assert image == f"ghcr.io/longwave/longwave@{digest}"
    assert render({"image": {"tag": "1.2.3"}}).container()["image"].endswith(":1.2.3")


# Pods.


def pods(objects):
    """Every pod that is rendered: the workload's and those of `helm test`."""
    for each in objects.of("Deployment"):
        yield each["spec"]["template"]["spec"]
    for each in objects.of("Pod"):
        yield each["spec"]
    for each in objects.of("ClusterServingRuntime"):
        yield each["spec"]


@pytest.mark.parametrize("path", SETS)
def test_every_container_is_restricted_and_bounded(path):
    for pod in pods(render_set(path)):
        for container in pod.get("initContainers", []) + pod["containers"]:
            security = container["securityContext"]
            assert security["runAsNonRoot"] and security["runAsUser"] == 65532
            assert security["readOnlyRootFilesystem"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


@pytest.mark.parametrize("path", SETS)
def test_no_pod_gets_a_token(path):
    objects = render_set(path)
    for each in objects.of("Deployment"):
        assert each["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    for each in objects.of("Pod"):
        assert each["spec"]["automountServiceAccountToken"] is False
    for each in objects.of("ServiceAccount"):
        assert each["automountServiceAccountToken"] is False


@pytest.mark.parametrize("path", SETS)
def test_every_mount_has_its_volume(path):
    for pod in pods(render_set(path)):
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        assert len(volumes) == len(set(volumes))
        mounted = set()
        for container in pod.get("initContainers", []) + pod["containers"]:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            assert len(paths) == len(set(paths))
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == set(volumes)


@pytest.mark.parametrize("path", SETS)
def test_every_selector_finds_the_pods(path):
    objects = render_set(path)
    if objects.of("Deployment"):
        labels = objects.pod()["metadata"]["labels"]
    else:
        labels = objects.one("ClusterServingRuntime")["spec"]["labels"]
    selectors = [each["spec"]["selector"] for each in objects.of("Service")]
    for kind in ("PodDisruptionBudget", "PodMonitor", "InferencePool", "Deployment"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in objects.of(kind)]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"] for each in objects.of("NetworkPolicy")
    ]
    assert selectors
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_pod_labels_cannot_take_pods_out_of_the_service():
    labels = {"app.kubernetes.io/instance": "other", "team": "search"}
    done = template(values={"podLabels": labels})
    assert done.returncode != 0 and "podLabels" in done.stderr
    assert render({"podLabels": {"team": "search"}}).pod()["metadata"]["labels"]["team"] == "search"


def of_set(name):
    return render_set(CHART / "ci" / f"{name}.yaml")


def test_a_new_version_of_the_chart_alone_makes_no_new_pods():
    """Nor those that KServe makes, with the labels of the runtime and of the service."""
    own = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}
    assert set(render().pod()["metadata"]["labels"]) == own
    kserve = of_set("kserve")
    assert set(kserve.one("ClusterServingRuntime")["spec"]["labels"]) == own
    assert set(kserve.one("InferenceService")["metadata"]["labels"]) == own
    assert set(render({"podLabels": {"team": "a"}}).pod()["metadata"]["labels"]) == own | {"team"}


class UniqueKeys(yaml.SafeLoader):
    """PyYAML takes the last of two keys in silence, Kubernetes' clients refuse them."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize(
    "values, kind, key",
    [
        ({}, "Deployment", "kubectl.kubernetes.io/default-container"),
        (INIT_CONTAINER, "Deployment", "checksum/weights"),
        ("kserve", "ClusterServingRuntime", "prometheus.kserve.io/port"),
    ],
)
def test_annotations_of_the_chart_may_be_given_too(values, kind, key):
    if isinstance(values, str):
        values = yaml.safe_load((CHART / "ci" / f"{values}.yaml").read_text())
    objects = render(merged(values, {"podAnnotations": {key: "own"}}))
    list(yaml.load_all(objects.text, Loader=UniqueKeys))
    spec = objects.one(kind)["spec"]
    annotations = spec.get("template", {"metadata": spec})["metadata"]["annotations"]
    # All but the one by which other weights make new pods.
    assert (annotations[key] == "own") == (key != "checksum/weights")


def test_nodes_that_pods_may_not_go_to_do_not_count_in_the_spread():
    predictor = of_set("kserve").one("InferenceService")["spec"]["predictor"]
    for spec in (render().pod()["spec"], predictor):
        spread = spec["topologySpreadConstraints"]
        assert len(spread) == 2
        assert {each["nodeTaintsPolicy"] for each in spread} == {"Honor"}
    assert (
        "topologySpreadConstraints"
        not in render({"topologySpread": {"zone": "none", "host": "none"}}).pod()["spec"]
    )


@pytest.mark.parametrize("values", [None, "gpu", "h200-long"], ids=str)
def test_gpu_pods_name_their_nodes(values):
    """Else nodes without a GPU count in the spread, and the second pod waits for ever."""
    if values:
        spec = of_set(values).pod()["spec"]
    else:
        text = (ROOT / "deploy" / "manifests" / "gpu.yaml").read_text()
        spec = next(
            each["spec"]["template"]["spec"]
            for each in yaml.safe_load_all(text)
            if each and each["kind"] == "Deployment"
        )
    assert spec.get("nodeSelector") or spec.get("affinity", {}).get("nodeAffinity")


def test_other_sums_make_new_pods():
    def annotations(values):
        return render(values).pod()["metadata"]["annotations"]

    before = annotations(INIT_CONTAINER)["checksum/weights"]
    other = merged(INIT_CONTAINER, nested("model.initContainer.sha256", {"config.json": "0" * 64}))
    assert annotations(other)["checksum/weights"] != before
    same = merged(INIT_CONTAINER, {"replicaCount": 5})
    assert annotations(same)["checksum/weights"] == before


def test_the_list_of_sums_is_what_sha256sum_reads(tmp_path):
    (tmp_path / "config.json").write_text("one")
    (tmp_path / "model.safetensors").write_text("two")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    values = dict(INIT_CONTAINER, model=dict(INIT_CONTAINER["model"]))
    values["model"]["initContainer"] = dict(values["model"]["initContainer"], sha256=sums)
    objects = render(values)
    (tmp_path / "SHA256SUMS").write_text(objects.one("ConfigMap", "-weights")["data"]["SHA256SUMS"])
    check = objects.pod()["spec"]["initContainers"][1]
    command = check["command"] + ["SHA256SUMS"]
    assert check["args"] == ["/etc/weights/SHA256SUMS"] and check["workingDir"] == "/models"
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "config.json").write_text("other")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0


@pytest.mark.parametrize(
    "values, model",
    [
        ({}, "/opt/longwave/share/longwave/models/default"),
        ({"source": "pvc", "pvc": {"claimName": "c"}}, "/models"),
        ({"source": "pvc", "directory": "a/b", "pvc": {"claimName": "c"}}, "/models/a/b"),
    ],
)
def test_the_model_is_where_the_volume_is(values, model):
    assert flag(render({"model": values}), "model") == model


# Probes.


def probes(container):
    return {name: container[name + "Probe"] for name in ("startup", "readiness", "liveness")}


def test_plaintext_probes_are_those_of_the_kubelet():
    found = probes(render().container())
    services = {name: probe["grpc"]["service"] for name, probe in found.items()}
    assert services == {"startup": "longwave.startup", "readiness": "", "liveness": "longwave.live"}
    assert {probe["grpc"]["port"] for probe in found.values()} == {50051}


def test_probes_of_a_tls_port_run_the_client():
    for name, probe in probes(render(LOCKED_DOWN).container()).items():
        assert "grpc" not in probe, name
        command = probe["exec"]["command"]
        assert command[:2] == ["/opt/longwave/bin/longwave", "health"]
        assert int(command[command.index("--timeout") + 1]) < probe["timeoutSeconds"]


@pytest.mark.parametrize("seconds, period, failures", [(300, 2, 150), (301, 2, 151), (5, 10, 1)])
def test_the_startup_probe_lasts_as_long_as_the_worst_load(seconds, period, failures):
    values = nested("probes.startup", {"maxSeconds": seconds, "periodSeconds": period})
    assert render(values).container()["startupProbe"]["failureThreshold"] == failures


# Scaling.


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_a_scaler_has_the_number_of_pods_to_itself(kind):
    keda = {"prometheusAddress": "http://prometheus:9090"}
    objects = render({"autoscaling": {"kind": kind, "keda": keda}})
    assert "replicas" not in objects.one("Deployment")["spec"]
    assert len(objects.of("HorizontalPodAutoscaler")) == (kind == "hpa")
    assert len(objects.of("ScaledObject")) == (kind == "keda")
    assert render().one("Deployment")["spec"]["replicas"] == 2


def test_the_hpa_is_that_of_the_reference():
    spec = render({"autoscaling": {"kind": "hpa"}}).one("HorizontalPodAutoscaler")["spec"]
    metric = spec["metrics"][0]["pods"]
    assert metric["metric"]["name"] == "longwave_expected_wait_seconds"
    assert "selector" not in metric["metric"]
    assert metric["target"] == {"type": "AverageValue", "averageValue": "1000m"}
    busy = spec["metrics"][1]["pods"]
    assert busy["metric"] == {"name": "longwave_busy_ratio"}
    assert busy["target"] == {"type": "AverageValue", "averageValue": "700m"}
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert up["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 30}]
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert down["stabilizationWindowSeconds"] == 300


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_the_second_signal_can_be_left_out(kind):
    values = merged(KEDA, nested("autoscaling.targetBusyPercent", 0))
    if kind == "HorizontalPodAutoscaler":
        values = merged(values, nested("autoscaling.kind", "hpa"))
    spec = render(values).one(kind)["spec"]
    assert len(spec.get("metrics") or spec["triggers"]) == 1


@pytest.mark.parametrize("seconds, window", [(1, 60), (15, 60), (16, 64), (60, 240)])
def test_the_window_of_the_rate_holds_two_scrapes(seconds, window):
    values = merged(KEDA, nested("monitoring.intervalSeconds", seconds))
    query = render(values).one("ScaledObject")["spec"]["triggers"][1]["metadata"]["query"]
    assert re.search(r"rate\(.*\[(\w+)\]", query)[1] == f"{window}s"


@pytest.mark.parametrize("milliseconds, value", [(1000, "1"), (500, "0.5"), (1250, "1.25")])
def test_kserve_hands_keda_a_number_for_the_sum_of_the_pods(milliseconds, value):
    values = KSERVE
    objects = render(merged(values, nested("autoscaling.targetWaitMilliseconds", milliseconds)))
    predictor = objects.one("InferenceService")["spec"]["predictor"]
    (metric,) = predictor["autoScaling"]["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "value": value}
    query = metric["external"]["metric"]["query"]
    assert query.startswith("sum(longwave_expected_wait_seconds{")


def test_kserve_has_a_budget_and_a_rollout_where_there_is_a_service():
    values = merged(
        KSERVE,
        {
            "device": "cuda",
            "gpu": {"memory": "80Gi", "runtimeClassName": "nvidia"},
            "rollout": {"maxSurge": 0, "maxUnavailable": 1},
        },
    )
    objects = render(values)
    predictor = objects.one("InferenceService")["spec"]["predictor"]
    assert predictor["runtimeClassName"] == "nvidia"
    assert predictor["deploymentStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    account = objects.one("ServiceAccount")["metadata"]["name"]
    assert predictor["serviceAccountName"] == account
    budget = objects.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] < predictor["minReplicas"]
    alone = merged(values, nested("kserve.inferenceService.enabled", False))
    assert not render(alone).of("PodDisruptionBudget")


def test_the_adapter_rules_of_the_readme_are_of_the_metrics_that_the_hpa_asks_for():
    spec = render({"autoscaling": {"kind": "hpa"}}).one("HorizontalPodAutoscaler")["spec"]
    asked = {metric["pods"]["metric"]["name"] for metric in spec["metrics"]}
    text = (CHART / "README.md").read_text()
    rules = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["rules"]
    series = [rule["seriesQuery"].split("{")[0] for rule in rules]
    assert asked == {rule.get("name", {}).get("as", name) for rule, name in zip(rules, series)}
    catalogue = (ROOT / "server" / "observability" / "metric_catalogue.h").read_text()
    for name in series:
        assert f'"{name.removesuffix("_sum")}"' in catalogue


def test_keda_keeps_the_pods_when_prometheus_is_gone():
    spec = render(KEDA).one("ScaledObject")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicas"
    assert spec["minReplicaCount"] == 3 and spec["maxReplicaCount"] == 30
    assert len(spec["triggers"]) == 2
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        # Numbers would be refused: KEDA's metadata is text.
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert spec["triggers"][0]["metadata"]["threshold"] == "1"
    assert spec["triggers"][1]["metadata"]["threshold"] == "0.7"


def test_queries_are_of_metrics_that_exist():
    catalogue = (ROOT / "server" / "observability" / "metric_catalogue.h").read_text()
    kserve = render_set(CHART / "ci" / "kserve.yaml").one("InferenceService")
    metric = kserve["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["metric"]
    queries = [metric["query"]]
    queries += [
        t["metadata"]["query"] for t in render(KEDA).one("ScaledObject")["spec"]["triggers"]
    ]
    names = set()
    for query in queries:
        names |= set(re.findall(r"longwave_[a-z_]+(?=\{)", query))
    assert names == {"longwave_expected_wait_seconds", "longwave_slice_seconds_sum"}
    for name in names:
        assert f'"{name.removesuffix("_sum")}"' in catalogue


def test_queries_mean_the_pods_of_this_release_only():
    query = render(KEDA).one("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    pattern = re.search(r'pod=~"([^"]+)"', query)[1]
    assert re.fullmatch(pattern, "lw-longwave-7d9c6b5f4d-x2x9z")
    assert not re.fullmatch(pattern, "lw-longwave-other-7d9c6b5f4d-x2x9z")


def name_of_a_pod(owner):
    """As Kubernetes makes it of generateName, which it cuts at 58."""
    return f"{owner}-7d9c6b5f4d-"[:58] + "x2x9z"


@pytest.mark.parametrize("length", [1, 26, 36, 37, 45, 46, 47, 48, 53])
def test_queries_know_pods_of_long_names(length):
    release = "r" * length
    for values, kind, suffix in (
        (KEDA, "ScaledObject", ""),
        (KSERVE, "InferenceService", "-predictor"),
    ):
        done = template(values=values, release=release)
        assert done.returncode == 0, done.stderr
        thing = Objects(done.stdout).one(kind)
        queries = re.findall(r'pod=~\\?"([^"\\]+)', yaml.safe_dump(thing["spec"], width=10**6))
        assert len(queries) == (2 if kind == "ScaledObject" else 1)
        for pattern in queries:
            assert re.fullmatch(pattern, name_of_a_pod(thing["metadata"]["name"] + suffix))


@pytest.mark.parametrize("values", [KEDA, KSERVE], ids=["keda", "kserve"])
def test_long_names_that_begin_alike_stay_apart(values):
    def names(release):
        done = template(values=values, release=release)
        kinds = ("ServiceAccount", "NetworkPolicy")
        return {each["metadata"]["name"] for k in kinds for each in Objects(done.stdout).of(k)}

    assert names("r" * 52 + "a").isdisjoint(names("r" * 52 + "b"))
    assert names("r" * 46) and len(names("short")) == 1


def test_the_budget_is_less_than_the_pods():
    for path in value_sets():
        objects = render_set(path)
        for budget in objects.of("PodDisruptionBudget"):
            kinds = ("Deployment", "HorizontalPodAutoscaler", "ScaledObject", "InferenceService")
            specs = [each["spec"] for kind in kinds for each in objects.of(kind)]
            specs = [each.get("predictor", each) for each in specs]
            keys = ("replicas", "minReplicas", "minReplicaCount")
            (least,) = [each[key] for each in specs for key in keys if key in each]
            assert budget["spec"]["maxUnavailable"] < least
            assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


# Network.


def test_the_headless_service_has_no_address():
    headless = render().one("Service", "-headless")
    assert headless["spec"]["clusterIP"] == "None"
    assert [port["name"] for port in headless["spec"]["ports"]] == ["grpc", "metrics"]
    assert not render({"service": {"headless": False}}).one("Service")["spec"].get("clusterIP")


@pytest.mark.parametrize("tls", [False, True])
def test_services_say_h2c_in_plaintext_only(tls):
    values = {"tls": {"enabled": True, "secretName": "s"}} if tls else {}
    for service in render(values).of("Service"):
        port = next(p for p in service["spec"]["ports"] if p["name"] == "grpc")
        assert port.get("appProtocol") == (None if tls else "kubernetes.io/h2c")


def test_the_network_policy_lets_in_callers_and_watchers_only():
    spec = render(LOCKED_DOWN).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    calls, metrics = spec["ingress"]
    assert [port["port"] for port in calls["ports"]] == ["grpc"]
    assert calls["from"][0]["namespaceSelector"]["matchLabels"] == {"example.com/team": "search"}
    test_pods = calls["from"][1]["podSelector"]["matchLabels"]
    assert {} not in [each.get("podSelector") for each in calls["from"]]
    for pod in render(LOCKED_DOWN).of("Pod"):
        assert test_pods.items() <= pod["metadata"]["labels"].items()
    assert [port["port"] for port in metrics["ports"]] == ["metrics"]
    ports = [sorted(p["port"] for p in rule["ports"]) for rule in spec["egress"]]
    assert ports == [[53, 53]]


def test_the_endpoint_picker_may_read_metrics():
    def readers(values):
        rules = render(
            merged({"inferencePool": {"enabled": True, "endpointPicker": "epp"}}, values)
        )
        return rules.one("NetworkPolicy")["spec"]["ingress"][1]["from"]

    assert {"podSelector": {}} in readers({})
    labels = {"app": "epp"}
    assert {"podSelector": {"matchLabels": labels}} in readers(
        nested("inferencePool.endpointPickerLabels", labels)
    )
    assert len(render().one("NetworkPolicy")["spec"]["ingress"][1]["from"]) == 1


@pytest.mark.parametrize("namespaces", [[], [{}]])
def test_no_list_of_namespaces_can_mean_all(namespaces):
    for field in ("clientNamespaces", "monitoringNamespaces", "dnsNamespaces"):
        done = template(values=nested(f"networkPolicy.{field}", namespaces))
        assert done.returncode != 0 and field in done.stderr


def test_the_gateway_may_call_pods_of_a_pool():
    values = {"inferencePool": {"enabled": True, "endpointPicker": "epp"}}
    values["gateway"] = {"proxyNamespace": "gateways"}
    calls = render(values).one("NetworkPolicy")["spec"]["ingress"][0]["from"]
    labels = {"kubernetes.io/metadata.name": "gateways"}
    assert {"namespaceSelector": {"matchLabels": labels}} in calls
    assert "gateways" not in render({"gateway": values["gateway"]}).text


def test_the_route_leads_to_the_pool_if_there_is_one():
    objects = of_set("inference-pool")
    pool = objects.one("InferencePool")
    assert pool["spec"]["appProtocol"] == "kubernetes.io/h2c"
    assert objects.one("GRPCRoute")["spec"]["rules"][0]["backendRefs"] == [
        {
            "group": pool["apiVersion"].split("/")[0],
            "kind": "InferencePool",
            "name": pool["metadata"]["name"],
        }
    ]


def test_the_picker_of_the_readme_reads_metrics_that_exist():
    text = (CHART / "README.md").read_text()
    config = yaml.safe_load(text.split("```yaml\n")[2].split("```")[0])
    extractor = next(each for each in config["plugins"] if each["type"] == "core-metrics-extractor")
    (engine,) = extractor["parameters"]["engineConfigs"]
    assert engine["name"] == extractor["parameters"]["defaultEngine"]
    catalogue = (ROOT / "server" / "observability" / "metric_catalogue.h").read_text()
    for flag_name, key in (("queued", "queuedRequestsSpec"), ("running", "runningRequestsSpec")):
        assert f'"{engine[key]}"' in catalogue
        assert f"--total-{flag_name}-requests-metric={engine[key]}`" in text


def test_the_gateway_lets_through_the_methods_of_the_api_and_the_check_of_health():
    """As deploy/envoy/balance.yaml. A name that nobody has would count against a healthy pod."""
    matches = of_set("gateway").one("GRPCRoute")["spec"]["rules"][0]["matches"]
    routed = {(each["method"]["service"], each["method"]["method"]) for each in matches}
    assert len(routed) == len(matches) <= 64  # what a rule may have
    served = {("grpc.health.v1.Health", "Check")}
    for path, package in (
        ("longwave/v1/encoder_service.proto", "longwave.v1"),
        ("inference/inference_service.proto", "inference"),
    ):
        text = (ROOT / "proto" / path).read_text()
        service = re.search(r"(?m)^service (\w+)", text)[1]
        names = re.findall(r"(?m)^ +rpc (\w+)\(", text)
        served |= {(f"{package}.{service}", name) for name in names}
    assert routed == served


def test_envoy_gateway_does_what_the_tested_envoy_does():
    def milliseconds(text):
        number, unit = re.fullmatch(r"([0-9.]+)(ms|s)", text).groups()
        return round(float(number) * {"ms": 1, "s": 1000}[unit])

    envoy = yaml.safe_load((ROOT / "deploy" / "envoy" / "balance.yaml").read_text())
    cluster = envoy["static_resources"]["clusters"][0]
    (chain,) = envoy["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][-1]["typed_config"]
    host = manager["route_config"]["virtual_hosts"][0]
    spec = of_set("gateway").one("BackendTrafficPolicy")["spec"]

    retry, wanted = spec["retry"], host["retry_policy"]
    assert retry["retryOn"]["triggers"] == wanted["retry_on"].split(",")
    assert retry["numRetries"] == wanted["num_retries"]
    for ours, theirs in (("baseInterval", "base_interval"), ("maxInterval", "max_interval")):
        wait = milliseconds(wanted["retry_back_off"][theirs])
        assert milliseconds(retry["perRetry"]["backOff"][ours]) == wait
    passive, wanted = spec["healthCheck"]["passive"], cluster["outlier_detection"]
    assert passive["consecutive5XxErrors"] == wanted["consecutive_5xx"]
    assert passive["consecutiveGatewayErrors"] == wanted["consecutive_gateway_failure"]
    assert passive["interval"] == wanted["interval"]
    assert passive["baseEjectionTime"] == wanted["base_ejection_time"]
    # Of two one goes, which the policy can say by the percentage alone, and never more than half.
    assert wanted["always_eject_one_host"] and wanted["max_ejection_percent"] < 50
    assert passive["maxEjectionPercent"] == 50
    active, wanted = spec["healthCheck"]["active"], cluster["health_checks"][0]
    assert active["type"] == "GRPC"
    assert active["grpc"]["service"] == wanted["grpc_health_check"]["service_name"]
    assert active["interval"] == wanted["interval"] and active["timeout"] == wanted["timeout"]
    assert active["unhealthyThreshold"] == wanted["unhealthy_threshold"]
    assert active["healthyThreshold"] == wanted["healthy_threshold"]
    panic = cluster["common_lb_config"]["healthy_panic_threshold"]["value"]
    assert spec["healthCheck"]["panicThreshold"] == panic
    bounds, wanted = spec["circuitBreaker"], cluster["circuit_breakers"]["thresholds"][0]
    assert bounds == {
        "maxConnections": wanted["max_connections"],
        "maxPendingRequests": wanted["max_pending_requests"],
        "maxParallelRequests": wanted["max_requests"],
    }
    assert spec["timeout"]["http"] == {"requestTimeout": "0s"}
    assert spec["timeout"]["tcp"]["connectTimeout"] == cluster["connect_timeout"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    wanted = options["explicit_http_config"]["http2_protocol_options"]
    assert spec["http2"]["maxConcurrentStreams"] == wanted["max_concurrent_streams"]
    for ours, theirs in (("Stream", "stream"), ("Connection", "connection")):
        window = bytes_of(spec["http2"][f"initial{ours}WindowSize"])
        assert window == wanted[f"initial_{theirs}_window_size"]
    buffered = bytes_of(spec["connection"]["bufferLimit"])
    assert buffered == cluster["per_connection_buffer_limit_bytes"]


def test_the_gateway_speaks_tls_to_tls_pods():
    objects = render_set(CHART / "ci" / "gateway.yaml")
    policy = objects.one("BackendTLSPolicy")["spec"]
    assert policy["targetRefs"][0]["name"] == objects.one("Service", "longwave")["metadata"]["name"]
    route = objects.one("GRPCRoute")["spec"]
    assert route["rules"][0]["backendRefs"][0]["port"] == 50051
    assert (
        "kind: BackendTLSPolicy"
        not in render({"gateway": {"enabled": True, "parentRefs": [{"name": "g"}]}}).text
    )


# helm test.


def test_the_encoding_is_tested_where_there_is_a_key():
    def names(values):
        return {each["metadata"]["name"] for each in render(values).of("Pod")}

    both = {"lw-longwave-test-health", "lw-longwave-test-encode"}
    assert names({}) == both and names(LOCKED_DOWN) == both
    assert names(merged(LOCKED_DOWN, nested("tests.apiKeySecretName", ""))) == {
        "lw-longwave-test-health"
    }
    assert names({"tests": {"enabled": False}}) == set()


def test_pods_of_tests_stay_for_their_logs():
    for pod in render().of("Pod"):
        policy = pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
        assert policy == "before-hook-creation"


def test_no_secret_is_in_any_rendering():
    for path in value_sets():
        objects = render_set(path)
        assert not objects.of("Secret")
        for pod in pods(objects):
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    assert not re.search(
                        "key|token|secret|password", variable["name"], re.IGNORECASE
                    )
