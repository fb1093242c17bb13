"""The chart: what it renders, and that its parts agree with each other and with the programs.

    pytest tests/deploy/chart_test.py
    python3 tests/deploy/chart_test.py --update    # takes over changed renderings

--update rewrites the goldens, the chart's table of values and the plain manifests: read the
difference before it is committed.
"""

import argparse
import difflib
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from chart_rendering import (
    CHART,
    GOLDEN,
    ROOT,
    helm,
    merged,
    nested,
    render,
    render_set,
    template,
    value_sets,
)

SETS = [pytest.param(path, id=path.stem) for path in value_sets()]
RENDER_MANIFESTS = ROOT / "deploy" / "manifests" / "render.sh"

INIT_CONTAINER = yaml.safe_load((CHART / "ci" / "weights-init-container.yaml").read_text())
LOCKED_DOWN = yaml.safe_load((CHART / "ci" / "locked-down.yaml").read_text())
KEDA = yaml.safe_load((CHART / "ci" / "keda.yaml").read_text())


def difference(old, new, name):
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"golden/{name}", "rendered", lineterm=""
    )
    return "\n".join(list(lines)[:80])


# Renderings.


@pytest.mark.parametrize("path", SETS)
def test_golden(path):
    golden = GOLDEN / path.name
    assert golden.exists(), "no golden: python3 tests/deploy/chart_test.py --update"
    old, new = golden.read_text(), render_set(path).text
    assert old == new, difference(old, new, path.name)


def test_every_golden_has_a_value_set():
    assert {path.name for path in GOLDEN.glob("*.yaml")} == {path.name for path in value_sets()}


def test_the_value_sets_of_the_reference_are_there():
    names = {path.stem for path in value_sets()}
    assert names >= {"cpu", "gpu", "h200-long", "kserve", "gateway", "locked-down", "keda"}
    assert names >= {"weights-image-volume", "weights-init-container", "weights-pvc"}


@pytest.mark.parametrize("path", [pytest.param(None, id="defaults"), *SETS])
def test_lint_strict(path):
    done = helm("lint", "--strict", CHART, "--kube-version", "1.34.0",
                *(["--values", path] if path else []))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kubernetes", ["1.30.0", "1.34.0", "1.37.0"])
def test_the_defaults_render_for_every_kubernetes(kubernetes):
    assert template(kubernetes=kubernetes).returncode == 0


def test_older_kubernetes_is_refused():
    done = template(kubernetes="1.29.9")
    assert done.returncode != 0 and "kubeVersion" in done.stderr


@pytest.mark.parametrize("path", SETS)
def test_names_are_unique_and_namespaced(path):
    objects = render_set(path).all
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    for each in objects:
        if each["kind"] != "ClusterServingRuntime":
            assert each["metadata"]["namespace"] == "lw", each["kind"]


def test_the_defaults_need_no_definitions_of_others():
    groups = {each["apiVersion"].split("/")[0] for each in render().all}
    assert groups == {"v1", "apps", "policy", "networking.k8s.io"}


def test_two_releases_do_not_share_names_or_pods():
    one, other = (template(release=name) for name in ("a", "b"))
    first, second = (
        {(d["kind"], d["metadata"]["name"]) for d in yaml.safe_load_all(done.stdout) if d}
        for done in (one, other)
    )
    assert first and not first & second
    selectors = [
        d["spec"]["selector"]
        for done in (one, other)
        for d in yaml.safe_load_all(done.stdout)
        if d and d["kind"] == "Service" and d["metadata"]["name"].endswith("longwave")
    ]
    assert len(selectors) == 2 and selectors[0] != selectors[1]


def test_long_names_stay_within_what_kubernetes_takes():
    done = template(release="x" * 53)
    assert done.returncode == 0, done.stderr
    for each in yaml.safe_load_all(done.stdout):
        assert len(each["metadata"]["name"]) <= 63


# Files that must agree.


def test_the_copies_are_those_of_their_folders():
    for copy, source in (
        ("rules.yaml", "deploy/prometheus/rules.yaml"),
        ("longwave.json", "deploy/grafana/longwave.json"),
    ):
        assert (CHART / "files" / copy).read_bytes() == (ROOT / source).read_bytes(), (
            f"cp {source} deploy/helm/longwave/files/"
        )


def test_the_rule_object_has_the_groups_of_the_file():
    base = "https://runbooks.example.com/guide"
    groups = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
    alerts = 0
    for group in groups:
        for rule in group["rules"]:
            url = rule.get("annotations", {}).get("runbook_url")
            if url:
                rule["annotations"]["runbook_url"] = base + "#" + url.split("#")[1]
                alerts += 1
    assert alerts > 0
    rendered = render({"monitoring": {"prometheusRule": True, "runbookBase": base}})
    assert rendered.one("PrometheusRule")["spec"]["groups"] == groups


def test_the_dashboard_is_the_file():
    values = {"monitoring": {"dashboard": {"enabled": True, "annotations": {"folder": "x"}}}}
    config = render(values).one("ConfigMap", "-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"folder": "x"}
    assert json.loads(config["data"]["longwave.json"]) == json.loads(
        (CHART / "files" / "longwave.json").read_text()
    )


def test_the_version_is_that_of_the_programs():
    project = re.search(r"project\(longwave VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project[1]


def make_readme():
    path = ROOT / "deploy" / "helm" / "make_readme.py"
    spec = importlib.util.spec_from_file_location("make_readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_values_is_current():
    module = make_readme()
    current = (CHART / "README.md").read_text()
    assert module.readme(current, (CHART / "values.yaml").read_text()) == current


def test_a_value_without_description_is_seen():
    with pytest.raises(ValueError, match="bare has no description"):
        make_readme().rows("# -- One.\none: 1\nbare: 2\n")


def leaves(values, schema, path=""):
    """Paths of values.yaml down to what the schema does not look into."""
    for key, value in values.items():
        below = schema["properties"].get(key)
        assert below is not None, f"{path}{key} is not in values.schema.json"
        if "properties" in below:
            yield from leaves(value, below, f"{path}{key}.")
        else:
            yield path + key


def schema_leaves(schema, path=""):
    for key, below in schema["properties"].items():
        if "properties" in below:
            yield from schema_leaves(below, f"{path}{key}.")
        else:
            yield path + key


def test_values_schema_and_table_know_the_same_values():
    schema = json.loads((CHART / "values.schema.json").read_text())
    text = (CHART / "values.yaml").read_text()
    in_values = set(leaves(yaml.safe_load(text), schema))
    assert in_values == set(schema_leaves(schema)) - {"global"}
    assert in_values == {key for key, _, _ in make_readme().rows(text)}


def test_every_object_of_the_schema_is_closed():
    def check(node, path):
        if "properties" in node and not path.endswith("[]"):
            assert node["additionalProperties"] is False, path
        for key, below in node.get("properties", {}).items():
            check(below, f"{path}.{key}")

    check(json.loads((CHART / "values.schema.json").read_text()), "")


def test_the_plain_manifests_are_current():
    done = subprocess.run(
        ["bash", str(RENDER_MANIFESTS), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_plain_manifests_need_nothing_but_kubernetes(name):
    text = (ROOT / "deploy" / "manifests" / f"{name}.yaml").read_text()
    objects = [each for each in yaml.safe_load_all(text) if each]
    assert {each["apiVersion"] for each in objects} == {
        "v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"
    }
    assert objects[0]["kind"] == "Namespace"
    assert "Helm" not in text and "helm" not in text


# Shutdown.


@pytest.mark.parametrize("pre_stop, delay, grace", [(0, 0, 120), (5, 5, 120), (10, 30, 600)])
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
    objects = render(nested("drain.terminationGracePeriodSeconds", 131))
    assert objects.pod()["spec"]["terminationGracePeriodSeconds"] == 131


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
    asked = render({"resources": {"requests": {"cpu": 1, "memory": "2Gi"}}}).container()["resources"]
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
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in objects.of("NetworkPolicy")]
    assert selectors
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_pod_labels_cannot_take_pods_out_of_the_service():
    labels = {"app.kubernetes.io/instance": "other", "team": "search"}
    done = template(values={"podLabels": labels})
    assert done.returncode != 0 and "podLabels" in done.stderr
    assert render({"podLabels": {"team": "search"}}).pod()["metadata"]["labels"]["team"] == "search"


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
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()
    }
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
    assert metric["metric"]["selector"] == {"matchLabels": {"priority": "interactive"}}
    assert metric["target"] == {"type": "AverageValue", "averageValue": "100m"}
    up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
    assert up["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 30}]
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert down["stabilizationWindowSeconds"] == 300


def test_keda_keeps_the_pods_when_prometheus_is_gone():
    spec = render(KEDA).one("ScaledObject")["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicas"
    assert spec["minReplicaCount"] == 3 and spec["maxReplicaCount"] == 30
    assert len(spec["triggers"]) == 2
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        # Numbers would be refused: KEDA's metadata is text.
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert spec["triggers"][0]["metadata"]["threshold"] == "0.1"
    assert spec["triggers"][1]["metadata"]["threshold"] == "0.8"


def test_queries_are_of_metrics_that_exist():
    catalogue = (ROOT / "server" / "observability" / "metric_catalogue.h").read_text()
    kserve = render_set(CHART / "ci" / "kserve.yaml").one("InferenceService")
    metric = kserve["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["metric"]
    queries = [metric["query"]]
    queries += [t["metadata"]["query"] for t in render(KEDA).one("ScaledObject")["spec"]["triggers"]]
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


def test_the_budget_is_less_than_the_pods():
    for path in value_sets():
        objects = render_set(path)
        for budget in objects.of("PodDisruptionBudget"):
            deployment = objects.one("Deployment")["spec"]
            scalers = objects.of("HorizontalPodAutoscaler") + objects.of("ScaledObject")
            least = deployment.get("replicas") or min(
                s["spec"].get("minReplicas") or s["spec"].get("minReplicaCount") for s in scalers
            )
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
    assert ports == [[53, 53], [4317, 4318]]


@pytest.mark.parametrize("namespaces", [[], [{}]])
def test_no_list_of_namespaces_can_mean_all(namespaces):
    for field in ("clientNamespaces", "monitoringNamespaces", "dnsNamespaces"):
        done = template(values=nested(f"networkPolicy.{field}", namespaces))
        assert done.returncode != 0 and field in done.stderr


def test_the_gateway_speaks_tls_to_tls_pods():
    objects = render_set(CHART / "ci" / "gateway.yaml")
    policy = objects.one("BackendTLSPolicy")["spec"]
    assert policy["targetRefs"][0]["name"] == objects.one("Service", "longwave")["metadata"]["name"]
    route = objects.one("GRPCRoute")["spec"]
    assert route["rules"][0]["backendRefs"][0]["port"] == 50051
    assert "BackendTLSPolicy" not in render(
        {"gateway": {"enabled": True, "parentRefs": [{"name": "g"}]}}
    ).text


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


def test_no_secret_is_in_any_rendering():
    for path in value_sets():
        objects = render_set(path)
        assert not objects.of("Secret")
        for pod in pods(objects):
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    assert not re.search("key|token|secret|password", variable["name"], re.I)


def notes(tmp_path, values):
    """What `helm install` would print: helm renders notes only towards a cluster, so here they are
    in an object."""
    chart = tmp_path / "longwave"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + text + '{{- end -}}\n'
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n"
        'data: {notes: {{ include "notes" . | quote }}}\n'
    )
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    done = helm("template", "lw", chart, "--namespace", "lw", "--kube-version", "1.34.0",
                "--show-only", "templates/notes.yaml", "--values", tmp_path / "values.yaml")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["data"]["notes"]


def test_the_notes_print_the_memory(tmp_path):
    text = notes(tmp_path, {})
    assert "= 1840Mi" in text and "started work 6352Mi" in text
    assert "SIGKILL after 135 s" in text
    assert "dns:///lw-longwave-headless.lw.svc:50051" in text
    assert "longwave.io/client=true" in text and "speaks plaintext" in text


def test_the_notes_of_a_gpu_print_its_memory(tmp_path):
    text = notes(tmp_path, yaml.safe_load((CHART / "ci" / "h200-long.yaml").read_text()))
    assert "on the GPU (141Gi): started work 122880Mi + 2 x weights 2Gi" in text


def update():
    GOLDEN.mkdir(exist_ok=True)
    wanted = {path.name: render_set(path).text for path in value_sets()}
    for old in GOLDEN.glob("*.yaml"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        (GOLDEN / name).write_text(text)
    make_readme().main([])
    return subprocess.run(["bash", str(RENDER_MANIFESTS)]).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Takes over what the chart renders now.")
    parser.add_argument("--update", action="store_true", required=True)
    parser.parse_args()
    sys.exit(update())
