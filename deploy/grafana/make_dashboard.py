#!/usr/bin/env python3
"""Writes longwave.json, the Grafana dashboard, beside this file; --check only compares.

The rows below are the dashboard. Ids and places follow from their order, so a panel that is put in
between renumbers those after it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any, Iterator, NamedTuple

FILE = pathlib.Path(__file__).with_name("longwave.json")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
HEIGHT = 8

# What selects the series of the chosen deployment, and of the chosen pods in it. Recorded series are
# of whole deployments.
JOB = 'namespace=~"$namespace", job=~"$job"'
POD = f'{JOB}, pod=~"$pod"'
# Of metrics from outside, whose job is another.
KUBE = 'namespace=~"$namespace"'
KUBE_POD = f'{KUBE}, pod=~"$pod"'
RATE = "[$__rate_interval]"

# What takes the place of the variables where no Grafana fills them in.
DEFAULTS = {
    "$namespace": ".*", "$job": ".*", "$pod": ".*", "$len_class": ".*", "$__rate_interval": "5m",
    "$__range": "1h",
}


class Query(NamedTuple):
    expr: str
    legend: str = "__auto"
    format: str = "time_series"


class Panel(NamedTuple):
    title: str
    text: str
    unit: str
    queries: list[Query]
    kind: str = "timeseries"
    width: int = 8
    options: dict[str, Any] = {}


def per(name: str, labels: str, by: str, more: str = "") -> str:
    """The rate of a counter, summed by labels."""
    return f"sum by ({by}) (rate({name}{{{labels}{more}}}{RATE}))"


def quantile(q: float, name: str, by: str, more: str = "") -> str:
    by_le = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({by_le}) (rate({name}_bucket{{{POD}{more}}}{RATE})))"


def mean(name: str, by: str, more: str = "") -> str:
    total, count = (f"sum by ({by}) (rate({name}_{part}{{{POD}{more}}}{RATE}))" for part in ("sum", "count"))
    return f"{total} / ({count} > 0)"


def budget_left(bad: str, good: str, objective: float, by: str) -> str:
    ratio = " / ".join(
        f"sum by ({by}) (sum_over_time(longwave:{name}:rate5m{{{JOB}}}[30d]))" for name in (bad, good)
    )
    return f"1 - ({ratio}) / {objective}"


def keda_target(trigger: int) -> Query:
    """KEDA numbers the metrics of its autoscalers."""
    return Query(f'kube_horizontalpodautoscaler_spec_target_metric{{{KUBE}, horizontalpodautoscaler=~'
                 f'"keda-hpa-.*longwave.*", metric_name="s{trigger}-prometheus"}}', "target")


STACKED = {"stacking": "normal", "fill": 30}
OK = ', code="ok"'

ROWS: list[tuple[str, list[Panel]]] = [
    ("Objectives: 99.9 % answered; 99 % of up to 4 096 tokens within 0.5 s", [
        Panel("Error budget left", "Share of the 30 days' budget of failed and shed requests that is left. "
              "Prometheus must keep 30 days (--storage.tsdb.retention.time), or it is of fewer.",
              "percentunit", [Query(budget_left("requests_bad", "requests_valid", 0.001, "job"), "{{job}}")],
              "stat", 4),
        Panel("Latency budget left", "The same for answers that took longer than 0.5 s, by length; of the days that "
              "Prometheus keeps, at most 30.",
              "percentunit",
              [Query(budget_left("requests_slow", "requests_judged", 0.01, "len_class"), "{{len_class}}")],
              "stat", 4),
        Panel("Alerts that fire", "By severity; see the runbook of each.", "short",
              [Query('count by (alertname, severity) (ALERTS{alertname=~"Longwave.*", alertstate="firing", '
                     'namespace=~"$namespace"})', "{{alertname}} ({{severity}})")], "stat", 8),
        Panel("What callers get instead of an answer", "The five most frequent codes other than OK.", "reqps",
              [Query(f'topk(5, sum by (code) (rate(longwave_requests_total{{{POD}, code!="OK"}}{RATE})))',
                     "{{code}}")]),
        Panel("Burn rate of the error budget",
              "1: spent exactly by the end of the 30 days. Pages at 14.4 over an hour and 6 over six.", "x",
              [Query(f"longwave:request_error:ratio_rate{w}{{{JOB}}} / 0.001", f"{{{{job}}}} {w}")
               for w in ("1h", "6h")], width=12),
        Panel("Burn rate of the latency budget", "The same for answers that took longer than 0.5 s.", "x",
              [Query(f"longwave:request_slow:ratio_rate{w}{{{JOB}}} / 0.01", f"{{{{len_class}}}} {w}")
               for w in ("1h", "6h")], width=12),
    ]),
    ("Requests", [
        Panel("Rate by code", "Requests that ended, all methods.", "reqps",
              [Query(per("longwave_requests_total", POD, "code") + " > 0", "{{code}}")], options=STACKED),
        Panel("Error ratio", "Failed and shed, of those that we should answer; quota and callers' mistakes "
              "left out.", "percentunit",
              [Query(f"longwave:request_error:ratio_rate5m{{{JOB}}}", "{{job}}")]),
        Panel("In flight", "Begun and not ended.", "short",
              [Query(f"sum by (pod) (longwave:requests_in_flight:sum{{{POD}}})", "{{pod}}")]),
        *(Panel(f"Duration, p{p}", "Arrival to end of requests that ended OK, by length.", "s",
                [Query(quantile(p / 100, "longwave_request_duration_seconds", "len_class", OK), "{{len_class}}")])
          for p in (50, 90, 99)),
        Panel("Durations of class $len_class", "Requests that ended OK, by how long they took.", "s",
              [Query("sum by (le) (increase(longwave_request_duration_seconds_bucket"
                     f'{{{POD}{OK}, len_class=~"$len_class"}}{RATE}))', "{{le}}", "heatmap")],
              "heatmap", 12),
        Panel("Lengths of requests", "Tokens of requests that ended OK.", "short",
              [Query(quantile(q, "longwave_request_tokens", ""), f"p{100 * q:g}") for q in (0.5, 0.9, 0.99)],
              width=12),
    ]),
    ("Is it linear?", [
        Panel("Compute seconds per million tokens, by length",
              "Where the lines lie together, the time for a token does not grow with the sequence. Includes "
              "what a request stands aside for others.", "s",
              [Query(mean("longwave_seconds_per_megatoken", "len_class"), "{{len_class}}")], width=12),
        Panel("The same over the whole range", "Mean of the time range of the dashboard.", "s",
              [Query("sum by (len_class) (increase(longwave_seconds_per_megatoken_sum"
                     f"{{{POD}}}[$__range])) / (sum by (len_class) (increase("
                     f"longwave_seconds_per_megatoken_count{{{POD}}}[$__range])) > 0)", "{{len_class}}")],
              "bargauge", 6),
        Panel("Against last week", "Mean of the hour by the mean of 7 days; an alert from 1.3.", "x",
              [Query(f"longwave:seconds_per_megatoken:mean1h{{{JOB}}} / "
                     f"longwave:seconds_per_megatoken:mean7d{{{JOB}}}", "{{len_class}}")], width=6),
        Panel("Routes", "Share of requests by the route of their longest sequence.", "percentunit",
              [Query(f"longwave:route:share_rate1h{{{JOB}}} > 0", "{{route}}")], options=STACKED),
        Panel("Guard of the FFT route", "Heads of layers by what their precision allowed; tiles: no FFT did.",
              "cps", [Query(per("longwave_fft_guard_total", POD, "precision"), "{{precision}}")]),
        Panel("Rows of the FFT route computed again", "Their denominator was too small beside the largest.",
              "cps", [Query(per("longwave_fft_rows_recomputed_total", POD, "pod"), "{{pod}}")]),
    ]),
    ("Where time goes", [
        Panel("Mean time by stage", "The stages add up to the duration of a request that ended OK.", "s",
              [Query(mean("longwave_stage_duration_seconds", "stage"), "{{stage}}")], width=12,
              options=STACKED),
        Panel("In the queue, p99", "Admission to the first sequence leaving the queue, by priority.", "s",
              [Query(quantile(0.99, "longwave_request_queue_seconds", "priority"), "{{priority}}")], width=6),
        Panel("Computing, p99", "First slice to last row, by length.", "s",
              [Query(quantile(0.99, "longwave_request_compute_seconds", "len_class"), "{{len_class}}")], width=6),
    ]),
    ("Batches", [
        Panel("Tokens a second", "real: asked for; padded: computed for nobody, which is 0 with this server: "
              "its batches are ragged.", "short",
              [Query(per("longwave_tokens_total", POD, "kind"), "{{kind}}")], options=STACKED, width=12),
        Panel("Tokens a second, whole deployment", "Real tokens of all replicas.", "short",
              [Query(f"longwave:tokens_real:rate5m{{{JOB}}}", "{{job}}")], width=12),
        Panel("Sequences of a batch", "Mean and p90.", "short",
              [Query(mean("longwave_batch_sequences", "job"), "mean"),
               Query(quantile(0.9, "longwave_batch_sequences", ""), "p90")], width=6),
        Panel("Tokens of a batch", "Mean and p90.", "short",
              [Query(mean("longwave_batch_tokens", "job"), "mean"),
               Query(quantile(0.9, "longwave_batch_tokens", ""), "p90")], width=6),
        Panel("Fill of a batch", "Mean share of the batch budget that was used.", "percentunit",
              [Query(mean("longwave_batch_fill_ratio", "job"), "{{job}}")], width=6),
        Panel("Length of a slice, p99", "The unit of fairness: nothing else runs for so long.", "s",
              [Query(quantile(0.99, "longwave_slice_seconds", "pod"), "{{pod}}")], width=6),
    ]),
    ("Load and its limits", [
        Panel("Expected wait", "What a request that comes now would wait for; the autoscaler's signal and, "
              "where there is one, its target.", "s",
              [Query(f"longwave:expected_wait_seconds:max{{{JOB}}}", "longest"),
               Query(f"longwave:expected_wait_seconds:avg{{{JOB}}}", "mean"),
               Query(f'kube_horizontalpodautoscaler_spec_target_metric{{{KUBE}, '
                     'metric_name=~".*longwave_expected_wait_seconds.*"}', "target"),
               keda_target(0)]),
        Panel("Busy", "Share of the time in which a replica computes: the autoscaler's second signal. The "
              "line is the chart's target of 70 %; where there is an autoscaler, also its own.", "percentunit",
              [Query(per("longwave_slice_seconds_sum", POD, "pod"), "{{pod}}"),
               Query(f'kube_horizontalpodautoscaler_spec_target_metric{{{KUBE}, '
                     'metric_name=~".*longwave_busy_ratio.*"}', "target"),
               keda_target(1)], options={"line": 0.7}),
        Panel("Replicas", "Ready ones, and what the autoscaler wants and may have.", "short",
              [Query(f"sum by (job) (longwave_ready{{{JOB}}})", "ready"),
               *(Query(f'kube_horizontalpodautoscaler_{m}_replicas{{{KUBE}, '
                       'horizontalpodautoscaler=~".*longwave.*"}', word)
                 for m, word in (("status_desired", "wanted"), ("spec_max", "at most")))]),
        Panel("Share refused for load", "Without quota, start and shutdown; an alert from 5 %.", "percentunit",
              [Query(f"longwave:shed:ratio_rate5m{{{JOB}}}", "{{job}}")]),
        Panel("Refused, by reason", "Well-formed requests that were turned away.", "reqps",
              [Query(per("longwave_admission_total", POD, "reason", ', decision="shed"') + " > 0",
                     "{{reason}}")], options=STACKED),
        Panel("Let in, by priority", "Requests that were admitted.", "reqps",
              [Query(per("longwave_admission_total", POD, "priority", ', decision="accept"'), "{{priority}}")],
              options=STACKED),
        Panel("Calls that come again", "Encode calls by how many attempts came before.", "reqps",
              [Query(per("longwave_requests_retried_total", POD, "attempts"), "{{attempts}}")], options=STACKED),
        Panel("Waiting and running", "Sequences.", "short",
              [Query(f"sum(longwave_queue_requests{{{POD}}})", "waiting"),
               Query(f"sum(longwave_running_requests{{{POD}}})", "running"),
               Query(f"sum(longwave_paused_jobs{{{POD}}})", "paused jobs")], width=6),
        Panel("Tokens that wait", "By replica; --max_queue_tokens bounds it.", "short",
              [Query(f"longwave_queue_tokens{{{POD}}}", "{{pod}}")], width=6),
        Panel("Measured over predicted time", "Median of 30 minutes; an alert below 0.7 and above 1.4.", "x",
              [Query(f"longwave:cost_prediction_ratio:median30m{{{JOB}}}", "median"),
               Query(quantile(0.1, "longwave_cost_prediction_ratio", ""), "p10"),
               Query(quantile(0.9, "longwave_cost_prediction_ratio", ""), "p90")], width=6),
        Panel("What the predictions are corrected by", "weather: throttling and neighbours; high: what "
              "deadlines are judged with.", "x",
              [Query(f"avg(longwave_cost_weather_ratio{{{POD}}})", "weather"),
               Query(f"avg(longwave_cost_high_ratio{{{POD}}})", "high")], width=6),
        Panel("Callers that left", "Requests that were cancelled before their end.", "reqps",
              [Query(per("longwave_requests_cancelled_total", POD, "pod"), "{{pod}}")]),
    ]),
    ("Streams", [
        Panel("Bytes of rows", "Payload sent on streams.", "Bps",
              [Query(per("longwave_stream_bytes_total", POD, "pod"), "{{pod}}")], width=6),
        Panel("Chunks of rows", "Sent on streams.", "cps",
              [Query(per("longwave_stream_chunks_total", POD, "pod"), "{{pod}}")], width=6),
        Panel("Jobs that stand still for slow readers", "Their mean number; an alert from 0.5 for a replica.",
              "short", [Query(per("longwave_stream_stalled_seconds_total", POD, "pod"), "{{pod}}")], width=6),
        Panel("Time to the first rows, p90", "Arrival of a streamed request to its first rows.", "s",
              [Query(quantile(0.9, "longwave_time_to_first_chunk_seconds", "len_class"), "{{len_class}}")],
              width=6),
    ]),
    ("Device", [
        Panel("Computations that failed", "Lost and nonfinite page.", "cps",
              [Query(per("longwave_device_errors_total", POD, "kind"), "{{kind}}")]),
        Panel("CPUs where GPUs could be", "Times since the start; not 0: look at --device.", "short",
              [Query(f"sum by (pod, reason) (longwave_cpu_fallback_total{{{POD}}})", "{{pod}} {{reason}}")],
              "bargauge"),
        Panel("Memory of started jobs", "--max_resident_bytes bounds it for each replica.", "bytes",
              [Query(f"longwave_resident_bytes{{{POD}}}", "{{pod}}")]),
        Panel("GPU: busy", "From NVIDIA's DCGM exporter, if it is there.", "percent",
              [Query(f"DCGM_FI_DEV_GPU_UTIL{{{KUBE_POD}}}", "{{pod}} {{gpu}}")], width=12),
        Panel("GPU: memory in use", "From NVIDIA's DCGM exporter, if it is there.", "percentunit",
              [Query(f"DCGM_FI_DEV_FB_USED{{{KUBE_POD}}} / (DCGM_FI_DEV_FB_USED{{{KUBE_POD}}} + "
                     f"DCGM_FI_DEV_FB_FREE{{{KUBE_POD}}})", "{{pod}} {{gpu}}")], width=12),
    ]),
    ("Processes and pods", [
        Panel("Processors in use", "User and system time.", "short",
              [Query(per("process_cpu_seconds_total", POD, "pod"), "{{pod}}")]),
        Panel("Held back by the container's limit", "Share of periods; from cAdvisor, if it is there.",
              "percentunit",
              [Query("sum by (pod) (rate(container_cpu_cfs_throttled_periods_total"
                     f"{{{KUBE_POD}}}{RATE})) / sum by (pod) (rate(container_cpu_cfs_periods_total"
                     f"{{{KUBE_POD}}}{RATE}))", "{{pod}}")]),
        Panel("Resident memory", "And the limit, from kube-state-metrics, if it is there.", "bytes",
              [Query(f"process_resident_memory_bytes{{{POD}}}", "{{pod}}"),
               Query(f'max(kube_pod_container_resource_limits{{{KUBE_POD}, resource="memory"}})', "limit")]),
        Panel("Ready", "1: the model is loaded and checked. Draining: shutdown has begun.", "short",
              [Query(f"longwave_ready{{{POD}}}", "{{pod}}"),
               Query(f"longwave_draining{{{POD}}} > 0", "{{pod}} draining")], width=6),
        Panel("Restarts within the hour", "By replica.", "short",
              [Query(f"changes(process_start_time_seconds{{{POD}}}[1h])", "{{pod}}")], width=6),
        Panel("Descriptors in use", "Share of the limit.", "percentunit",
              [Query(f"process_open_fds{{{POD}}} / process_max_fds{{{POD}}}", "{{pod}}")], width=6),
        Panel("Threads", "Of each process.", "short", [Query(f"process_threads{{{POD}}}", "{{pod}}")], width=6),
        Panel("Time of a scrape", "Seconds until the metrics were read.", "s",
              [Query(f"scrape_duration_seconds{{{POD}}}", "{{pod}}")]),
        Panel("Connections refused", "Closed at once because descriptors were short.", "cps",
              [Query(per("longwave_connections_refused_total", POD, "pod"), "{{pod}}")]),
        Panel("Log lines lost", "The log could not take them.", "cps",
              [Query(per("longwave_log_dropped_total", POD, "pod"), "{{pod}}")]),
    ]),
    ("Model and roll-outs", [
        Panel("In service", "Replicas by model, version and digest of the weights.", "short",
              [Query(f"count by (model, version, weights_sha256, device) (longwave_model_info{{{POD}}})",
                     "{{model}} {{version}} {{weights_sha256}} {{device}}")], "bargauge", 8),
        Panel("Programs", "Replicas by version of the program.", "short",
              [Query(f"count by (version) (longwave_build_info{{{POD}}})", "{{version}}")], "bargauge", 4),
        Panel("Start, by phase", "Seconds of each phase of the last load.", "s",
              [Query(f"sum by (phase) (longwave_model_load_seconds{{{POD}}}) / "
                     f"count by (phase) (longwave_model_load_seconds{{{POD}}})", "{{phase}}")], "bargauge", 6),
        Panel("Models that were read", "By result, since the start.", "short",
              [Query(f"sum by (result) (longwave_model_loads_total{{{POD}}})", "{{result}}")], "bargauge", 6),
    ]),
    ("Strangers and certificates", [
        Panel("Refused for what they ask", "By reason, whatever the load.", "reqps",
              [Query(per("longwave_requests_invalid_total", POD, "reason") + " > 0", "{{reason}}")]),
        Panel("No valid key", "Requests refused for their API key, by reason.", "reqps",
              [Query(per("longwave_auth_failures_total", POD, "reason"), "{{reason}}")]),
        Panel("Handshakes that failed", "Connections that TLS refused.", "cps",
              [Query(per("longwave_tls_handshake_failures_total", POD, "pod"), "{{pod}}")]),
        Panel("Certificates end in", "Days; a ticket at 14, a page at 3.", "d",
              [Query(f"min by (which) ((longwave_tls_certificate_not_after_timestamp_seconds{{{POD}}} - time()) "
                     "/ 86400)", "{{which}}")], "stat"),
        Panel("Changes of certificate files", "Taken into use or refused.", "short",
              [Query(f"sum by (result) (increase(longwave_tls_reloads_total{{{POD}}}[1h]))", "{{result}}")]),
        Panel("Changes of the file of tenants", "Taken into use or refused.", "short",
              [Query(f"sum by (result) (increase(longwave_tenant_reloads_total{{{POD}}}[1h]))", "{{result}}")]),
    ]),
]


def target(query: Query, ref: str, instant: bool) -> dict[str, Any]:
    return {
        "refId": ref, "datasource": DATASOURCE, "expr": query.expr, "legendFormat": query.legend,
        "format": query.format, "instant": instant, "range": not instant, "editorMode": "code",
    }


def drawing(panel: Panel) -> dict[str, Any]:
    """fieldConfig and options of a kind of panel."""
    defaults: dict[str, Any] = {"unit": panel.unit}
    options: dict[str, Any]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1, "fillOpacity": panel.options.get("fill", 0), "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": panel.options.get("stacking", "none"), "group": "A"},
        }
        defaults["min"] = 0
        if "line" in panel.options:
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
            defaults["thresholds"] = {"mode": "absolute", "steps": [
                {"color": "green", "value": None}, {"color": "orange", "value": panel.options["line"]}]}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    elif panel.kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": panel.unit}, "cellGap": 1,
                   "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                   "filterValues": {"le": 1e-9}, "tooltip": {"show": True, "yHistogram": True}}
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        if panel.kind == "bargauge":
            options |= {"orientation": "horizontal", "displayMode": "basic"}
        else:
            options |= {"colorMode": "none", "graphMode": "none", "textMode": "auto"}
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def panels() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for title, members in ROWS:
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}}
        number, y, x = number + 1, y + 1, 0
        for panel in members:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            # What shows one value asks for one: a budget of 30 days is dear at every point of a range.
            instant = panel.kind in ("bargauge", "stat")
            yield {
                "id": number, "type": panel.kind, "title": panel.title, "description": panel.text,
                "datasource": DATASOURCE, "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
                "targets": [target(query, chr(ord("A") + i), instant) for i, query in enumerate(panel.queries)],
                **drawing(panel),
            }
            number, x = number + 1, x + panel.width
        y += HEIGHT


def variable(name: str, label: str, query: str, multi: bool = True) -> dict[str, Any]:
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": multi,
        "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    return {
        "uid": "longwave", "title": "Longwave", "tags": ["longwave"], "schemaVersion": 39, "version": 1,
        "description": "Embeddings of long sequences: objectives, requests, load, devices.",
        "editable": True, "graphTooltip": 1, "timezone": "", "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": [{
            "name": "Restarts", "datasource": DATASOURCE, "enable": True, "iconColor": "red",
            "expr": f"changes(process_start_time_seconds{{{POD}}}[3m]) > 0", "titleFormat": "{{pod}} restarted",
        }]},
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus",
             "refresh": 1},
            variable("namespace", "Namespace", "label_values(longwave_build_info, namespace)"),
            variable("job", "Deployment", 'label_values(longwave_build_info{namespace=~"$namespace"}, job)'),
            variable("pod", "Pod",
                     'label_values(longwave_build_info{namespace=~"$namespace", job=~"$job"}, pod)'),
            variable("len_class", "Length", "label_values(longwave_seconds_per_megatoken_count, len_class)"),
        ]},
        "panels": list(panels()),
    }


def render() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def expressions(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of each query, variables replaced by DEFAULTS."""
    for panel in board["panels"]:
        for query in panel.get("targets", []):
            expr = query["expr"]
            # Longer names first, so that none is taken for the beginning of another.
            for name in sorted(DEFAULTS, key=len, reverse=True):
                expr = expr.replace(name, DEFAULTS[name])
            yield panel["title"], expr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if it would change")
    arguments = parser.parse_args()
    text = render()
    if arguments.check:
        if FILE.exists() and FILE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{FILE.name} is not what {pathlib.Path(__file__).name} writes", file=sys.stderr)
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
