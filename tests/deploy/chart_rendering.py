"""The chart, rendered by helm, for the tests of the chart.

helm is $HELM, that of deploy/tools.sh, or the one on the path.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "longwave"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
# Goldens must not change with the helm that renders them.
KUBERNETES = "1.34.0"


def helm_program():
    for candidate in (
        os.environ.get("HELM"),
        str(ROOT / ".cache" / "tools" / "bin" / "helm"),
        shutil.which("helm"),
    ):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError("helm is not there: run deploy/tools.sh, or set HELM")


def value_sets():
    return sorted((CHART / "ci").glob("*.yaml"))


def helm(*arguments):
    return subprocess.run(
        [helm_program(), *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def template(*arguments, values=None, kubernetes=KUBERNETES, release="lw"):
    """`helm template` with a dictionary of values; returns the finished process."""
    command = ["template", release, CHART, "--namespace", "lw", "--kube-version", kubernetes]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values or {}, file)  # JSON is YAML
        file.flush()
        return helm(*command, "--values", file.name, *arguments)


def nested(path, value):
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def merged(*parts):
    result = {}
    for part in parts:
        for key, value in part.items():
            old = result.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            result[key] = merged(old, value) if both else value
    return result


class Objects:
    """What was rendered, by kind."""

    def __init__(self, text):
        self.text = text
        self.all = [each for each in yaml.safe_load_all(text) if each]

    def of(self, kind):
        return [each for each in self.all if each["kind"] == kind]

    def one(self, kind, suffix=""):
        found = [each for each in self.of(kind) if each["metadata"]["name"].endswith(suffix)]
        assert len(found) == 1, f"{kind}{suffix}: {len(found)} rendered"
        return found[0]

    def pod(self):
        return self.one("Deployment")["spec"]["template"]

    def container(self):
        """The server's container, of a Deployment or a KServe runtime."""
        if self.of("Deployment"):
            return self.pod()["spec"]["containers"][0]
        return self.one("ClusterServingRuntime")["spec"]["containers"][0]


@functools.cache
def _render(values, arguments):
    done = template(*arguments, values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return Objects(done.stdout)


def render(values=None, *arguments):
    """The objects; fails with helm's own words."""
    return _render(json.dumps(values or {}), tuple(map(str, arguments)))


def render_set(path):
    return render({}, "--values", path)
