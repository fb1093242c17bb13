"""The dashboard: as its generator writes it, sound, and made of metrics that a live server has."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from typing import Any, Iterator

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
sys.path.insert(0, str(GRAFANA))
import make_dashboard  # noqa: E402

BOARD = json.loads(make_dashboard.FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = list(make_dashboard.expressions(BOARD))
RULE_LIST = [
    r for g in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for r in g["rules"]
]
RECORDED = {rule["record"] for rule in RULE_LIST if "record" in rule}

# Names that other programs export: Prometheus itself, kube-state-metrics, cAdvisor, DCGM exporter.
FROM_OUTSIDE = {
    "up",
    "scrape_duration_seconds",
    "ALERTS",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_spec_target_metric",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_last_terminated_exitcode",
    "kube_pod_container_status_restarts_total",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_UTIL",
}
# What a metrics adapter makes of the server's metrics.
OF_ADAPTER = {"longwave_busy_ratio"}
# What Prometheus adds to every series of a target.
TARGET_LABELS = {"namespace", "job", "pod", "instance"}
# The server has it only while it serves with TLS.
WITH_TLS = "longwave_tls_certificate_not_after_timestamp_seconds"
WORDS = {"and", "or", "unless", "bool", "offset"}
PATIENCE = 60.0


def names(expr: str) -> set[str]:
    """The metric names in an expression: identifiers that are no function, label or keyword."""
    expr = re.sub(r"#.*", "", expr)
    expr = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    expr = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", expr)
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", expr)
    expr = re.sub(r"\boffset\s+\w+", "", expr)
    found = re.findall(r"(?<![\w:.])([A-Za-z_:][\w:]*)\b(?!\s*\()", expr)
    return {name for name in found if name not in WORDS}


def test_names_are_found():
    expr = 'histogram_quantile(0.9, sum by (le, pod) (rate(a_bucket{x="b{", y=~"c"}[5m]))) / on (job) d:e > 1e3'
    assert names(expr) == {"a_bucket", "d:e"}
    assert names("# no_such\nmax(a) unless on (b) c offset 1d") == {"a", "c"}


def test_file_is_what_the_generator_writes():
    assert make_dashboard.FILE.read_text(encoding="utf-8") == make_dashboard.render()


def test_generator_says_when_the_file_is_old(tmp_path):
    script = shutil.copy(GRAFANA / "make_dashboard.py", tmp_path)
    check = [sys.executable, script, "--check"]
    assert subprocess.run(check, check=False, capture_output=True).returncode == 1  # none
    subprocess.run([sys.executable, script], check=True)
    assert subprocess.run(check, check=False).returncode == 0
    (tmp_path / "longwave.json").write_text("{}")
    assert subprocess.run(check, check=False, capture_output=True).returncode == 1


def test_ids_and_places_are_unique():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_is_complete(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    refs = [query["refId"] for query in panel["targets"]]
    assert len(refs) == len(set(refs))


def test_no_data_source_is_named():
    def sources(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            if "datasource" in value:
                yield value["datasource"]
            for item in value.values():
                yield from sources(item)
        elif isinstance(value, list):
            for item in value:
                yield from sources(item)

    assert {source["uid"] for source in sources(BOARD)} == {"${datasource}"}


def test_variables_that_are_used_exist():
    known = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD)))
    # Of Grafana itself.
    assert {name for name in used if not name.startswith("__")} <= known
    assert {"datasource", "namespace", "pod"} <= known


def test_expressions_are_valid(tmp_path):
    rules = [{"record": f"panel:{i}", "expr": expr} for i, (_, expr) in enumerate(EXPRESSIONS)]
    rules += [{"record": "annotation:0", "expr": a["expr"]} for a in BOARD["annotations"]["list"]]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules" in done.stdout


def test_recording_rules_that_are_used_exist():
    used = {name for _, expr in EXPRESSIONS for name in names(expr) if ":" in name}
    assert used and used <= RECORDED


def test_what_shows_one_value_asks_for_one():
    for panel in PANELS:
        asked = {query["instant"] for query in panel["targets"]}
        assert asked == {panel["type"] in ("stat", "bargauge")}, panel["title"]


def test_annotations_see_restarts_between_scrapes_of_a_minute():
    (restarts,) = [a["expr"] for a in BOARD["annotations"]["list"] if a["name"] == "Restarts"]
    assert int(re.search(r"\[(\d+)m\]", restarts)[1]) >= 2


def test_both_signals_of_the_autoscaler_have_a_panel_with_the_target():
    targets = {
        (panel["title"], name)
        for panel in PANELS
        for query in panel["targets"]
        for name in re.findall(
            r'spec_target_metric.*metric_name=~?"(?:\.\*)?([\w-]+)', query["expr"]
        )
    }
    assert targets == {
        ("Expected wait", "longwave_expected_wait_seconds"),
        ("Expected wait", "s0-prometheus"),
        ("Busy", "longwave_busy_ratio"),
        ("Busy", "s1-prometheus"),
    }
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "longwave" / "values.yaml").read_text())
    (busy,) = [panel for panel in PANELS if panel["title"] == "Busy"]
    line = busy["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
    assert line == values["autoscaling"]["targetBusyPercent"] / 100


def test_every_expression_filters_by_namespace():
    for title, expr in EXPRESSIONS:
        assert 'namespace=~".*"' in expr, title


# --- against a live server ------------------------------------------------------------------------


def program(variable: str, release: str) -> str:
    path = os.environ.get(variable, str(ROOT / "build" / "release" / release))
    if not pathlib.Path(path).exists():
        pytest.fail(f"{variable}: {path} is not there: build it, or set {variable}")
    return path


@contextlib.contextmanager
def served() -> Iterator[tuple[int, int]]:
    """A real server: its ports of calls and of metrics."""
    command = [
        program("LONGWAVE_SERVER", "server/longwave-server"),
        f"--model={program('LONGWAVE_MODEL', 'models/default')}",
        "--device=cpu",
        "--threads=1",
        "--address=127.0.0.1:0",
        "--metrics_address=127.0.0.1:0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        # A server that says nothing is ended, and with it the loop below.
        timer = threading.Timer(PATIENCE, server.kill)
        timer.start()
        ports: tuple[int, int] | None = None
        lines = []
        try:
            for line in server.stderr:
                lines.append(line)
                event = json.loads(line)
                if event["event"] == "listening":
                    ports = event["port"], event["metrics_port"]
                if event["event"] == "serving":
                    break
            else:
                pytest.fail("the server does not serve:\n" + "".join(lines[-20:]))
            timer.cancel()
            # So that it is never held up by a pipe that is full.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            assert ports
            yield ports
        finally:
            timer.cancel()
            server.terminate()
            server.wait(PATIENCE)


@pytest.fixture(scope="module")
def scrape() -> str:
    """What a real server says after some load."""
    cli = program("LONGWAVE_CLI", "client/cli/longwave")
    with served() as (port, metrics):
        load = subprocess.run(
            [
                cli,
                "load",
                f"--target=127.0.0.1:{port}",
                "--rate=20",
                "--tokens=64:4+2048:1",
                "--count=20",
                "--seconds=5",
                "--warmup=0",
                "--max-lateness=60",
                "--max-backlog=1",
                "--quiet",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert load.returncode == 0, load.stderr
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=20) as answer:
            return answer.read().decode()


def exported(text: str) -> set[str]:
    return set(re.findall(r"(?m)^([A-Za-z_:][\w:]*)(?=[ {])", text))


def test_scrape_is_of_a_server_that_worked(scrape):
    assert re.search(r'longwave_requests_total\{[^}]*code="OK",method="Encode"[^}]*\} 20\b', scrape)


def test_metrics_of_panels_exist(scrape):
    known = exported(scrape) | FROM_OUTSIDE | RECORDED | {WITH_TLS}
    unknown = {
        (title, name) for title, expr in EXPRESSIONS for name in names(expr) if name not in known
    }
    assert not unknown


def test_metrics_of_rules_exist(scrape):
    known = exported(scrape) | FROM_OUTSIDE | RECORDED | {WITH_TLS}
    unknown = {name for rule in RULE_LIST for name in names(rule["expr"]) if name not in known}
    assert not unknown


def exported_labels(text: str) -> dict[str, dict[str, set[str]]]:
    """The values of each label of each metric in a scrape."""
    found: dict[str, dict[str, set[str]]] = {}
    for name, labels in re.findall(r"(?m)^([A-Za-z_:][\w:]*)(?:\{([^}]*)\})? ", text):
        of_metric = found.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            of_metric.setdefault(label, set()).add(value)
    return found


def wrong_selectors(expr: str, known: dict[str, dict[str, set[str]]]) -> Iterator[str]:
    """Selectors of the server's metrics that no series of it can fit."""
    for name, matchers in re.findall(r"\b((?:longwave|process)_\w+)\{([^}]*)\}", expr):
        if name not in known:
            continue  # told by another test
        for label, sign, wanted in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', matchers):
            if label in TARGET_LABELS:
                continue
            values = known[name].get(label, set())
            for value in wanted.split("|") if "~" in sign else [wanted]:
                if not values or (value != ".*" and value not in values):
                    yield f'{name}: {label}{sign}"{value}"'


def test_wrong_selectors_are_found():
    known = exported_labels('longwave_a{b="c",d="e"} 1\nlongwave_f 2\n')
    assert not list(
        wrong_selectors('longwave_a{b=~"c|c", pod="x"} / longwave_f{namespace=~".*"}', known)
    )
    assert list(wrong_selectors('longwave_a{b=~"c|x"}', known)) == ['longwave_a: b=~"x"']
    assert list(wrong_selectors('longwave_f{b="c"}', known)) == ['longwave_f: b="c"']


def test_labels_of_rules_and_panels_exist(scrape):
    """A matcher that no series fits would be silent for ever."""
    known = exported_labels(scrape)
    for expr in [rule["expr"] for rule in RULE_LIST] + [expr for _, expr in EXPRESSIONS]:
        assert not list(wrong_selectors(expr, known)), expr


def scaled_by(text: str) -> Iterator[tuple[str, set[str]]]:
    """Names and labels of the metrics of pods that horizontal autoscalers in manifests look at."""
    for document in yaml.safe_load_all(text):
        if (document or {}).get("kind") == "HorizontalPodAutoscaler":
            for metric in document["spec"]["metrics"]:
                if metric["type"] == "Pods":
                    asked = metric["pods"]["metric"]
                    yield asked["name"], set(asked.get("selector", {}).get("matchLabels", {}))


def rendered_manifests() -> list[pathlib.Path]:
    folders = (ROOT / "deploy" / "manifests", ROOT / "tests" / "deploy" / "golden")
    return [file for folder in folders for file in sorted(folder.rglob("*.yaml"))]


@pytest.mark.skipif(not rendered_manifests(), reason="no rendered manifests here")
def test_what_manifests_scale_on_exists(scrape):
    """With a metric or a label that is not there, nothing is ever scaled."""
    known = exported_labels(scrape)
    for file in rendered_manifests():
        text = file.read_text(encoding="utf-8")
        assert not list(wrong_selectors(text, known)), file.name
        for name, labels in scaled_by(text):
            if name not in OF_ADAPTER:
                assert name in known, file.name
                assert labels <= set(known[name]) | TARGET_LABELS, f"{file.name}: {name}"


def test_objective_is_an_edge_of_the_histogram(scrape):
    assert re.search(r'longwave_request_duration_seconds_bucket\{[^}]*le="0\.5"', scrape)
    for edge in ("0.7", "1.4"):
        assert f'longwave_cost_prediction_ratio_bucket{{le="{edge}"}}' in scrape


def test_certificate_metric_is_one_of_the_catalogue():
    catalogue = ROOT / "server" / "observability" / "metric_catalogue.h"
    assert f'"{WITH_TLS}"' in catalogue.read_text(encoding="utf-8")


def test_promtool_finds_nothing_in_the_metrics(scrape):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout + done.stderr
