"""What of the image can be checked without building it; deploy/docker/build.sh checks the rest.

Needs the packages of deploy/docker/requirements.txt.
"""

import importlib.util
import json
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"


def run(script, *arguments):
    return subprocess.run(["bash", str(DOCKER / script), *arguments], capture_output=True, text=True,
                          check=False, timeout=30)


def load_sbom():
    spec = importlib.util.spec_from_file_location("sbom", DOCKER / "sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", ["build.sh", "assemble.sh", "test_image.sh"])
def test_options_that_no_script_has_are_refused(script):
    result = run(script, "--device", "cpu", "--no-such-option")
    assert result.returncode == 2
    assert "--no-such-option" in result.stderr
    assert run(script, "--help").returncode == 0


@pytest.mark.parametrize("script,more", [
    ("build.sh", []), ("assemble.sh", ["--tree", "/no/tree", "--into", "/no/image"]),
    ("test_image.sh", ["--root", "/no/image", "--report", "/no/report"])])
def test_devices_are_cpu_and_cuda(script, more):
    result = run(script, "--device", "tpu", *more)
    assert result.returncode == 2
    assert "cpu or cuda" in result.stderr and "tpu" in result.stderr


def test_a_reference_that_is_no_tree_is_refused(tmp_path):
    result = run("build.sh", "--reference", str(tmp_path))
    assert result.returncode == 2
    assert "bin/longwave-server" in result.stderr


def test_context_has_what_the_build_needs_and_not_what_it_makes():
    """By the tool's own rules: patterns in order, the last that fits a path or a folder above wins."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
                if line and not line.startswith("#")]

    def expression(pattern):
        parts = re.split(r"(\*\*/|\*)", pattern)
        special = {"**/": "(?:.*/)?", "*": "[^/]*"}
        return re.compile("".join(special.get(part, re.escape(part)) for part in parts) + "(?:/.*)?$")

    rules = [(expression(pattern.lstrip("!")), pattern.startswith("!")) for pattern in patterns]

    def is_sent(path):
        sent = True
        for rule, includes in rules:
            if rule.match(path):
                sent = includes
        return sent

    tracked = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files"], check=True, capture_output=True,
                             text=True).stdout.split("\n")
    sources = [path for path in tracked if re.match(
        r"(CMakeLists.txt|CMakePresets.json|(server|model|proto|client|deploy/cmake)/.*"
        r"|tests/(?!deploy/).*|deploy/(setup|build|stages).sh"
        r"|deploy/docker/(assemble.sh|sbom.py|test_image.sh|requirements.txt))$", path)]
    assert len(sources) > 100
    assert [path for path in sources if not is_sent(path)] == []
    for path in [".git/config", ".venv/bin/python", ".cache/docker/base.tar", "build/release/a.o",
                 "deploy/helm/longwave/Chart.yaml", "deploy/docker/build.sh", "README.md",
                 "tests/golden/__pycache__/a.pyc"]:
        assert not is_sent(path), path


def test_version_is_written_once():
    version = re.search(r"^project\(longwave VERSION ([0-9.]+)",
                        (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.M).group(1)
    for path in [ROOT / "Dockerfile", *DOCKER.iterdir()]:
        assert not re.search(rf"(?<![0-9.]){re.escape(version)}(?![0-9.])",
                             path.read_text(encoding="utf-8")), path


class FakeImage:
    """The three folders of assemble.sh and a Python environment, with one of each kind."""

    def __init__(self, folder):
        self.image = folder / "image"
        self.environment = folder / "venv"
        self.out = folder / "sbom.json"
        records = self.image / "system/var/lib/dpkg/status.d"
        self.write(records / "libexample1", "Package: libexample1\nArchitecture: amd64\n"
                   "Version: 1:2.3+dfsg-4\nDescription: an example\n of two lines\n")
        self.write(records / "libexample1.md5sums", "0 usr/lib/libexample.so.1\n")
        self.write(self.image / "system/etc/os-release", 'NAME="Debian"\nVERSION_ID="12"\n')
        self.libraries = self.image / "torch/opt/longwave/lib"
        self.write(self.libraries / "libtensor.so", "library")
        self.write(self.image / "longwave/opt/longwave/bin/longwave-server", "program")
        self.write(self.image / "longwave/opt/longwave/share/longwave/models/small/model.safetensors",
                   "weights")
        self.package("tensors", "2.11.0", "tensors/lib/libtensor.so")
        self.package("googleapis-common-protos", "1.76.0", "google/api.proto")

    @staticmethod
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def package(self, name, version, file):
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        folder = self.environment / "lib/python3.11/site-packages"
        self.write(folder / info / "METADATA",
                   f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: BSD\n")
        self.write(folder / info / "RECORD", f"{file},,\n{info}/METADATA,,\n")

    def sbom(self, monkeypatch):
        module = load_sbom()
        monkeypatch.setattr(module, "HEADERS_OF_DEBIAN", [])  # those of the machine
        monkeypatch.setattr("sys.argv", [
            "sbom.py", "--version", "7.8.9", "--image", str(self.image), "--tree", "/opt/longwave",
            "--environment", str(self.environment), "--out", str(self.out)])
        module.main()
        return json.loads(self.out.read_text(encoding="utf-8"))


def test_sbom_lists_what_is_there(tmp_path, monkeypatch):
    bom = FakeImage(tmp_path).sbom(monkeypatch)
    assert bom["bomFormat"] == "CycloneDX" and bom["specVersion"] == "1.6"
    assert bom["metadata"]["component"]["version"] == "7.8.9"
    assert sorted(component.get("purl", component["name"]) for component in bom["components"]) == [
        "longwave-model-small", "longwave-server",
        "pkg:deb/debian/libexample1@1:2.3%2Bdfsg-4?arch=amd64&distro=debian-12",
        "pkg:pypi/googleapis-common-protos@1.76.0", "pkg:pypi/tensors@2.11.0"]
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert len(depends["image"]) == 5


def test_sbom_refuses_a_library_of_unknown_origin(tmp_path, monkeypatch):
    image = FakeImage(tmp_path)
    image.write(image.libraries / "libunknown.so.3", "library")
    with pytest.raises(SystemExit, match="libunknown.so.3"):
        image.sbom(monkeypatch)
    assert not image.out.exists()
