"""Takes the chart through a real Kubernetes API server, and prints what came of each step."""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import yaml

import policy_objects
import rendering
from apiserver import ApiServer
from apiserver_cases import CHANGE, WRONG_OBJECTS, WRONG_VALUES

Object = dict[str, Any]


class StepFailed(Exception):
    """What a step found; its text goes into the log."""


class Run:
    """Steps with their results, for the table."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.results: list[tuple[str, str, str, float]] = []

    @contextlib.contextmanager
    def step(self, subject: str, name: str) -> Iterator[None]:
        begin = time.monotonic()
        result = "ok"
        try:
            yield
        except StepFailed as failure:
            result = "FAILED"
            print(f"{subject}: {name}: {failure}", flush=True)
        except subprocess.TimeoutExpired as failure:
            result = "FAILED"
            print(f"{subject}: {name}: no answer: {failure}", flush=True)
        self.results.append((subject, name, result, time.monotonic() - begin))

    def must(self, *command: str | pathlib.Path, stdin: str | None = None) -> str:
        done = self.server.call(*command, stdin=stdin)
        if done.returncode != 0:
            raise StepFailed(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
        return done.stdout

    def must_be_refused(
        self, text: str, *command: str | pathlib.Path, stdin: str | None = None
    ) -> None:
        """By the server, for this reason: another error would hide that this one is let through."""
        done = self.server.call(*command, stdin=stdin)
        if done.returncode == 0:
            raise StepFailed(f"was accepted; expected: {text}\n{stdin}")
        if text not in done.stderr:
            raise StepFailed(
                f"was refused for another reason than {text!r}:\n{done.stderr.strip()}"
            )


def dump(objects: list[Object]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False)


def make_namespace(run: Run, name: str) -> None:
    enforce = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    run.must(
        "kubectl",
        "apply",
        "--filename=-",
        stdin=dump(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {"name": name, "labels": enforce},
                }
            ]
        ),
    )


def pods_of(objects: list[Object]) -> list[Object]:
    """Each pod template as a pod: admission judges only pods, and no controller makes any."""
    made = []
    for position, template in enumerate(policy_objects.pod_templates(objects)):
        if not template.spec.get("containers"):
            continue
        spec = copy.deepcopy(template.spec)
        if template.partial:  # a runtime of KServe: what a pod does not have is KServe's own
            kept = ("containers", "volumes", "nodeSelector", "tolerations", "imagePullSecrets")
            spec = {key: value for key, value in spec.items() if key in kept}
        name = f"{template.owner['kind'].lower()}-{position}"
        made.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": template.labels},
                "spec": spec,
            }
        )
    return made


def make_classes(run: Run, pods: list[Object]) -> None:
    """The cluster-wide objects that pods name: admission refuses names that it does not know."""
    made: list[Object] = []
    for pod in pods:
        if priority := pod["spec"].get("priorityClassName"):
            if not priority.startswith("system-"):
                kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
                made.append({**kind, "metadata": {"name": priority}, "value": 1000})
        if runtime := pod["spec"].get("runtimeClassName"):
            kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
            made.append({**kind, "metadata": {"name": runtime}, "handler": runtime})
    if made:
        run.must("kubectl", "apply", "--filename=-", stdin=dump(made))


def admit_pods(run: Run, subject: str, namespace: str, objects: list[Object]) -> None:
    pods = pods_of(objects)
    with run.step(subject, "pods admitted"):
        if not pods:
            raise StepFailed("no pods: nothing was judged")
        make_classes(run, pods)
        create = ("kubectl", "create", "--dry-run=server", "--validate=strict")
        for pod in pods:
            done = run.server.call(
                *create, "--namespace", namespace, "--filename=-", stdin=dump([pod])
            )
            if done.returncode != 0 or "Warning" in done.stderr:
                raise StepFailed(f"{pod['metadata']['name']}: {done.stderr.strip()}")
    with run.step(subject, "unsafe pod refused"):
        for pod in pods:
            for container in pod["spec"]["containers"]:
                container["securityContext"]["allowPrivilegeEscalation"] = True
            run.must_be_refused(
                "violates PodSecurity",
                *(
                    "kubectl",
                    "create",
                    "--dry-run=server",
                    "--namespace",
                    namespace,
                    "--filename=-",
                ),
                stdin=dump([pod]),
            )


def specs(run: Run, namespace: str, objects: list[Object]) -> dict[str, Any]:
    """What the server has of these objects, but for what it writes itself."""
    text = run.must(
        *("kubectl", "get", "--namespace", namespace, "--output=json", "--filename=-"),
        stdin=dump(objects),
    )
    found = json.loads(text)
    items = found["items"] if found["kind"] == "List" else [found]
    assert len(items) == len(objects)
    return {
        policy_objects.where(each): {
            key: each[key] for key in each if key not in ("metadata", "status")
        }
        for each in items
    }


def chart_life(run: Run, values: pathlib.Path) -> None:
    """Install, upgrade, roll back and uninstall one value set, in a namespace of its own."""
    subject = values.stem
    namespace = f"set-{subject}"
    chart = (rendering.RELEASE, rendering.CHART, "--namespace", namespace, "--values", values)
    of_release = (rendering.RELEASE, "--namespace", namespace)
    objects: list[Object] = []
    first: dict[str, Any] = {}
    failed_before = len([each for each in run.results if each[2] != "ok"])
    with run.step(subject, "install"):
        make_namespace(run, namespace)
        run.must("helm", "install", *chart)
        objects = rendering.objects_of(run.must("helm", "get", "manifest", *of_release))
        first = specs(run, namespace, objects)
    if len([each for each in run.results if each[2] != "ok"]) > failed_before:
        return  # nothing to go on with
    hooks = rendering.objects_of(run.server.call("helm", "get", "hooks", *of_release).stdout)
    admit_pods(run, subject, namespace, objects + hooks)
    with run.step(subject, "upgrade"):
        run.must("helm", "upgrade", *chart, *CHANGE)
        if specs(run, namespace, objects) == first:
            raise StepFailed(f"{' '.join(CHANGE)} changed nothing")
    with run.step(subject, "rollback"):
        run.must("helm", "rollback", rendering.RELEASE, "1", "--namespace", namespace)
        now = specs(run, namespace, objects)
        differing = [name for name in first if now[name] != first[name]]
        if differing:
            raise StepFailed(f"not as before: {', '.join(differing)}")
    with run.step(subject, "uninstall"):
        run.must("helm", "uninstall", *of_release)
        left = run.must(
            *(
                "kubectl",
                "get",
                "--namespace",
                namespace,
                "--ignore-not-found",
                "--output=name",
                "--filename=-",
            ),
            stdin=dump(objects),
        )
        if left.strip():
            raise StepFailed(f"left behind: {left.split()}")


def hand_over(run: Run) -> None:
    """A scaler comes to a running release: the number of pods stays, then and at later upgrades."""
    subject, namespace = "hand-over", "hand-over"
    chart = (rendering.RELEASE, rendering.CHART, "--namespace", namespace)
    running = ("kubectl", "get", "deployments", "--namespace", namespace)

    def replicas() -> str:
        return run.must(*running, "--output=jsonpath={.items[*].spec.replicas}")

    def upgrade_must_keep(number: str, *setting: str) -> None:
        run.must("helm", "upgrade", *chart, "--set", "autoscaling.kind=hpa", *setting)
        if replicas() != number:
            raise StepFailed(f"{number} pods became {replicas()}")

    with run.step(subject, "install with 10 pods"):
        make_namespace(run, namespace)
        run.must("helm", "install", *chart, "--set", "replicaCount=10")
        if replicas() != "10":
            raise StepFailed(f"{replicas()} pods")
    with run.step(subject, "upgrade to a scaler keeps them"):
        upgrade_must_keep("10")
    with run.step(subject, "so does the next upgrade"):
        # What the scaler does.
        scale = ("kubectl", "scale", "deployment", "--all", "--namespace", namespace)
        run.must(*scale, "--replicas=7")
        upgrade_must_keep("7", *CHANGE)
    with run.step(subject, "uninstall"):
        run.must("helm", "uninstall", rendering.RELEASE, "--namespace", namespace)


def wrong_values(run: Run, namespace: str) -> None:
    """Past the chart's own schema: what the server itself says to them."""
    for values, setting, text in WRONG_VALUES:
        with run.step("wrong values", f"{setting[-1]} refused"):
            file = rendering.CHART / "ci" / f"{values}.yaml"
            manifest = run.must(
                *("helm", "template", rendering.RELEASE, rendering.CHART, "--namespace", namespace),
                *("--skip-schema-validation", "--values", file, *setting),
            )
            # Only what is not a hook, as helm installs it.
            run.must_be_refused(
                text,
                *("kubectl", "apply", "--dry-run=server", "--namespace", namespace, "--filename=-"),
                stdin=manifest,
            )


def custom_objects() -> dict[str, Object]:
    """One object of each custom kind that any value set renders."""
    found: dict[str, Object] = {}
    for values in rendering.value_sets():
        for each in rendering.rendered(values):
            if not rendering.is_built_in(each):
                found.setdefault(each["kind"], each)
    return found


def wrong_objects(run: Run, namespace: str) -> None:
    """Each custom kind by its definition's own rules: good, with an unknown field, and wrong."""
    found = custom_objects()
    apply = (
        "kubectl",
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--namespace",
        namespace,
        "--filename=-",
    )
    for kind, thing in sorted(found.items()):
        good = copy.deepcopy(thing)
        good["metadata"].pop("namespace", None)
        with run.step("custom objects", f"{kind} accepted"):
            run.must(*apply, stdin=dump([good]))
        with run.step("custom objects", f"{kind}: unknown field refused"):
            unknown = copy.deepcopy(good)
            unknown["spec"]["misspelt"] = 1
            run.must_be_refused('unknown field "spec.misspelt"', *apply, stdin=dump([unknown]))
        for text, break_it in WRONG_OBJECTS.get(kind, []):
            with run.step("custom objects", f"{kind}: {text[:40]}"):
                broken = copy.deepcopy(good)
                break_it(broken)
                run.must_be_refused(text, *apply, stdin=dump([broken]))
    with run.step("custom objects", "each kind has a wrong case"):
        without = set(found) - set(WRONG_OBJECTS)
        if without or not found:
            raise StepFailed(f"none for {sorted(without)}")


def plain_manifests(run: Run) -> None:
    """For those without Helm: applied and deleted as they lie."""
    files = rendering.plain_manifests()
    with run.step("plain manifests", "are there"):
        if not files:
            raise StepFailed(f"none in {rendering.MANIFESTS}")
    for file in files:
        subject = f"{file.name}"
        objects = rendering.objects_of(file.read_text())
        own = {each["metadata"].get("namespace") for each in objects} - {None}
        namespace = own.pop() if own else f"plain-{file.stem}"
        with run.step(subject, "apply"):
            make_namespace(run, namespace)
            run.must(
                "kubectl",
                "apply",
                "--validate=strict",
                "--namespace",
                namespace,
                f"--filename={file}",
            )
        admit_pods(run, subject, namespace, objects)
        with run.step(subject, "delete"):
            # Not the namespace: what empties namespaces does not run here, so it would stay.
            mine = [each for each in objects if each["kind"] != "Namespace"]
            run.must(
                *("kubectl", "delete", "--namespace", namespace, "--timeout=60s", "--filename=-"),
                stdin=dump(mine),
            )


def print_table(results: list[tuple[str, str, str, float]]) -> None:
    widths = [max(len(row[column]) for row in results) for column in (0, 1)]
    print(f"\n{'what':<{widths[0]}}  {'step':<{widths[1]}}  result  seconds")
    for subject, step, result, seconds in results:
        print(f"{subject:<{widths[0]}}  {step:<{widths[1]}}  {result:<6}  {seconds:7.1f}")
    failed = sum(row[2] != "ok" for row in results)
    print(f"{len(results)} steps, {failed} failed, {sum(row[3] for row in results):.0f} s")


def install_definitions(run: Run) -> None:
    with run.step("definitions", "install"):
        # Server-side, since the annotation of a client-side apply has no room for the largest.
        run.must(
            *(
                "kubectl",
                "apply",
                "--server-side",
                "--recursive",
                f"--filename={rendering.CACHE / 'crds'}",
            )
        )
        run.must("kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=pathlib.Path, required=True)
    parser.add_argument("--only", help="one value set, by its name, or hand-over")
    arguments = parser.parse_args()
    sets = [each for each in rendering.value_sets() if arguments.only in (None, each.stem)]
    if not sets and arguments.only != "hand-over":
        sys.exit(f"apiserver: no value sets in {rendering.CHART / 'ci'}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    folder = pathlib.Path(tempfile.mkdtemp(prefix="longwave-apiserver-"))
    server = None
    try:
        server = ApiServer(folder, arguments.logs)
        server.start()
        run = Run(server)
        print(f"server: {run.must('kubectl', 'version').splitlines()[-1]}", flush=True)
        install_definitions(run)
        for values in sets:
            chart_life(run, values)
        if arguments.only in (None, "hand-over"):
            hand_over(run)
        if arguments.only is None:
            make_namespace(run, "refusals")
            wrong_values(run, "refusals")
            wrong_objects(run, "refusals")
            plain_manifests(run)
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print_table(run.results)
    return 1 if any(row[2] != "ok" for row in run.results) else 0


if __name__ == "__main__":
    sys.exit(main())
