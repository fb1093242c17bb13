"""The chart: what it renders, and that its files agree with each other.

    pytest tests/deploy/chart_test.py
    python3 tests/deploy/chart_test.py --update    # takes over changed renderings

--update copies rules and dashboard into the chart, and rewrites the goldens, the chart's table of
values and the plain manifests: read the difference before it is committed.
"""

import argparse
import difflib
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
    render,
    render_set,
    template,
    value_sets,
)

SETS = [pytest.param(path, id=path.stem) for path in value_sets()]
COPIED = [
    ROOT / "deploy" / "prometheus" / "rules.yaml",
    ROOT / "deploy" / "grafana" / "longwave.json",
]
RENDER_MANIFESTS = ROOT / "deploy" / "manifests" / "render.sh"


def difference(old, new, name):
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"golden/{name}", "rendered", lineterm=""
    )
    return "\n".join(list(lines)[:80])


def golden_text(path):
    """The rendering without the bodies of rules and dashboard: other tests compare them with their
    files, and they change with those."""
    lines = []
    inside = None  # indent of the line above a body
    for line in render_set(path).text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if inside is not None and (indent > inside or not line.strip()):
            continue
        inside = None
        lines.append(line)
        if line in ("  longwave.json: |\n", "  groups:\n"):
            inside = indent
            lines.append(" " * (indent + 4) + "(as in files/)\n")
    return "".join(lines)


# Renderings.


@pytest.mark.parametrize("path", SETS)
def test_golden(path):
    golden = GOLDEN / path.name
    assert golden.exists(), "no golden: python3 tests/deploy/chart_test.py --update"
    old, new = golden.read_text(), golden_text(path)
    assert old == new, difference(old, new, path.name)


def test_every_golden_has_a_value_set():
    assert {path.name for path in GOLDEN.glob("*.yaml")} == {path.name for path in value_sets()}


def test_the_value_sets_of_the_reference_are_there():
    names = {path.stem for path in value_sets()}
    assert names >= {"cpu", "gpu", "h200-long", "kserve", "gateway", "locked-down", "keda"}
    assert "inference-pool" in names
    assert names >= {"weights-image-volume", "weights-init-container", "weights-pvc"}


@pytest.mark.parametrize("path", [pytest.param(None, id="defaults"), *SETS])
def test_lint_strict(path):
    done = helm(
        "lint", "--strict", CHART, "--kube-version", "1.34.0", *(["--values", path] if path else [])
    )
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


@pytest.mark.parametrize("release", ["x" * 53, "longwave-" + "x" * 44])
def test_long_names_stay_within_what_kubernetes_takes(release):
    done = template(release=release)
    assert done.returncode == 0, done.stderr
    for each in yaml.safe_load_all(done.stdout):
        assert len(each["metadata"]["name"]) <= 63


TEXTS = {"name", "namespace", "secretName", "claimName", "subPath", "image"}
TEXTS |= {"serviceAccountName", "priorityClassName", "runtimeClassName"}


def texts(thing, path=""):
    """What Kubernetes wants as text: labels, selectors, annotations and names."""
    if isinstance(thing, dict):
        for key, below in thing.items():
            if key in ("labels", "annotations", "matchLabels", "nodeSelector"):
                yield from ((f"{path}.{key}.{name}", value) for name, value in below.items())
            elif key in TEXTS:
                yield f"{path}.{key}", below
            else:
                yield from texts(below, f"{path}.{key}")
    elif isinstance(thing, list):
        for position, below in enumerate(thing):
            yield from texts(below, f"{path}[{position}]")


DIGITS = {
    "fullnameOverride": "true",
    "priorityClassName": "123",
    "serviceAccount": {"name": "123"},
    "image": {"pullSecrets": ["123"], "repository": "123"},
    "model": {"source": "pvc", "pvc": {"claimName": "123", "subPath": "123"}},
    "tls": {
        "enabled": True,
        "secretName": "123",
        "clientCASecretName": "123",
        "probeClientSecretName": "123",
    },
    "tenants": {"secretName": "123"},
    "tests": {"apiKeySecretName": "123"},
    "nodeSelector": {"a": "123"},
    "podLabels": {"a": "123"},
    "podAnnotations": {"a": "123"},
    "monitoring": {"podMonitor": True},
}


@pytest.mark.parametrize(
    "values", [{"nameOverride": "123", "fullnameOverride": "a"}, DIGITS], ids=["name", "all"]
)
def test_names_that_look_like_numbers_stay_text(values):
    done = template("--namespace", "123", values=values, release="123")
    assert done.returncode == 0, done.stderr
    found = [each for d in yaml.safe_load_all(done.stdout) if d for each in texts(d, d["kind"])]
    assert len(found) > 50
    assert [path for path, value in found if not isinstance(value, str)] == []


def test_a_name_that_no_service_may_have_is_refused():
    for values in ({}, {"nameOverride": "1lw"}):
        done = template(values=values, release="1lw")
        assert done.returncode != 0 and "  - fullnameOverride: " in done.stderr, done.stderr
    assert template(values={"fullnameOverride": "lw"}, release="1lw").returncode == 0


# Files that must agree.


def test_the_readme_tells_the_versions_of_the_definitions():
    row = r"^\| ([A-Z][^|(]*?)(?: \(.*\))? \| ([0-9.]+) \|$"
    table = dict(re.findall(row, (CHART / "README.md").read_text(), re.MULTILINE))
    tools = (ROOT / "deploy" / "tools.sh").read_text()
    modules = dict(re.findall(r'^  "([a-z-]+) [^ ]+@v([0-9.]+) ', tools, re.MULTILINE))
    assert {name.lower().replace(" ", "-"): version for name, version in table.items()} == {
        name.replace("inference-extension", "gateway-api-inference-extension"): version
        for name, version in modules.items()
    }
    kinds = {each["kind"] for path in value_sets() for each in render_set(path).all}
    assert {"InferencePool", "GRPCRoute", "BackendTrafficPolicy", "ScaledObject"} <= kinds


def test_the_copies_are_those_of_their_folders():
    for source in COPIED:
        copy = CHART / "files" / source.name
        assert copy.read_bytes() == source.read_bytes(), f"cp {source} {copy}"


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
            if rule.get("alert") == "LongwaveAbsent":
                rule["expr"] = 'absent(longwave_build_info{namespace="lw"})'
                notes = rule["annotations"]
                said = notes["description"]
                notes["description"] = said.replace("of this Prometheus", "in the namespace lw")
                assert notes["description"] != said
    assert alerts > 0
    rendered = render({"monitoring": {"prometheusRule": True, "runbookBase": base}})
    assert rendered.one("PrometheusRule")["spec"]["groups"] == groups


def rendered_alert(name, values):
    groups = render({"monitoring": {"prometheusRule": True}} | values).one("PrometheusRule")["spec"]
    return next(
        rule for group in groups["groups"] for rule in group["rules"] if rule.get("alert") == name
    )


def test_the_alert_of_the_full_queue_knows_the_bound():
    # 80 % of it and half of it; the default's are the numbers of the file, so this ends if the file
    # says otherwise.
    for bound, most, half in (
        (2, "1.6", "1"),
        (10, "8", "5"),
        (0.5, "0.4", "0.25"),
        (3, "2.4", "1.5"),
    ):
        rule = rendered_alert("LongwaveQueueSaturated", {"server": {"maxWaitSeconds": bound}})
        assert re.findall(r"> ([\d.]+)\n", rule["expr"] + "\n") == [most, half]
        assert f"({bound} s)" in rule["annotations"]["description"]


@pytest.mark.parametrize(
    "budget, wait, said",
    [(300, "15m", "15 minutes"), (600, "15m", "15 minutes"), (1800, "2100s", "2100 seconds")],
)
def test_the_alert_of_what_is_not_ready_waits_for_longer_than_a_start(budget, wait, said):
    values = {"probes": {"startup": {"maxSeconds": budget}}}
    values["rollout"] = {"progressDeadlineSeconds": 3600}
    rule = rendered_alert("LongwaveNotReady", values)
    assert rule["for"] == wait and said in " ".join(rule["annotations"]["description"].split())


def test_the_alert_of_what_is_absent_is_of_the_namespace():
    rule = rendered_alert("LongwaveAbsent", {})
    assert rule["expr"] == 'absent(longwave_build_info{namespace="lw"})'


def test_the_dashboard_is_the_file():
    values = {"monitoring": {"dashboard": {"enabled": True, "annotations": {"folder": "x"}}}}
    config = render(values).one("ConfigMap", "-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"folder": "x"}
    assert json.loads(config["data"]["longwave.json"]) == json.loads(
        (CHART / "files" / "longwave.json").read_text()
    )


def test_the_version_is_that_of_the_programs():
    project = re.search(
        r"project\(longwave VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()
    )
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


def closed_objects(values, schema, path=""):
    """(path, keys of values.yaml) of every object whose keys are the chart's own."""
    if "properties" in schema:
        yield path, set(values)
        for key, value in values.items():
            yield from closed_objects(value, schema["properties"][key], f"{path}/{key}")


def test_no_value_can_be_deleted():
    """`key: null` takes a key away, and a template would print what is not there."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    found = list(closed_objects(values, schema))
    assert len(found) > 20
    for path, keys in found:
        node = schema
        for key in path.split("/")[1:]:
            node = node["properties"][key]
        assert set(node["required"]) == keys, path


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
        "v1",
        "apps/v1",
        "policy/v1",
        "networking.k8s.io/v1",
    }
    assert objects[0]["kind"] == "Namespace"
    assert "Helm" not in text and "helm" not in text


# What is printed.


def notes(tmp_path, values):
    """What `helm install` would print: helm renders notes only towards a cluster, so here they are
    in an object."""
    chart = tmp_path / "longwave"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text()
    (chart / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + text + "{{- end -}}\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\n"
        'data: {notes: {{ include "notes" . | quote }}}\n'
    )
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    done = helm(
        "template",
        "lw",
        chart,
        "--namespace",
        "lw",
        "--kube-version",
        "1.34.0",
        "--show-only",
        "templates/notes.yaml",
        "--values",
        tmp_path / "values.yaml",
    )
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["data"]["notes"]


def test_the_notes_print_the_memory(tmp_path):
    text = notes(tmp_path, {})
    assert "= 1840Mi" in text and "started work 6352Mi" in text
    assert "SIGKILL after 135 s" in text
    assert "dns:///lw-longwave-headless.lw.svc:50051" in text
    assert "longwave.io/client=true" in text and "speaks plaintext" in text


def test_the_notes_of_kserve_tell_who_may_call(tmp_path):
    text = notes(tmp_path, yaml.safe_load((CHART / "ci" / "kserve.yaml").read_text()))
    assert "longwave.io/client=true" in text and "networkPolicy.clientNamespaces" in text


def test_the_notes_of_a_gpu_print_its_memory(tmp_path):
    text = notes(tmp_path, yaml.safe_load((CHART / "ci" / "h200-long.yaml").read_text()))
    assert "on the GPU (141Gi): started work 122880Mi + 2 x weights 2Gi" in text


def update():
    for source in COPIED:
        shutil.copyfile(source, CHART / "files" / source.name)
    GOLDEN.mkdir(exist_ok=True)
    wanted = {path.name: golden_text(path) for path in value_sets()}
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
