"""The chart and the real programs: the server takes every flag that the chart renders, and the
probes that the chart renders tell the truth about it.

The programs are those of build/release, or $LONGWAVE_SERVER, $LONGWAVE_FAKE_SERVER, $LONGWAVE_CLI
and $LONGWAVE_MODEL. Where the port is what matters, the fake server stands in: it has the same flags,
port, TLS and health, and starts at once.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import urllib.request

import pytest
import yaml

from chart_rendering import CHART, ROOT, merged, render, render_set, value_sets

BUILD = ROOT / "build" / "release"
SERVER = os.environ.get("LONGWAVE_SERVER", str(BUILD / "server" / "longwave-server"))
FAKE_SERVER = os.environ.get("LONGWAVE_FAKE_SERVER", str(BUILD / "server" / "longwave-fake-server"))
CLI = os.environ.get("LONGWAVE_CLI", str(BUILD / "client" / "cli" / "longwave"))
MODEL = os.environ.get("LONGWAVE_MODEL", str(BUILD / "models" / "default"))

SETS = [pytest.param(path, id=path.stem) for path in value_sets()]
# Loading takes seconds; on a busy machine more.
START_SECONDS = 120
KEY = "5e0c7f5c9fbd4d1f9a0c6d9b1c1f0a55"


def here(argument, secrets):
    """An argument of a pod, for this machine: other paths, free ports, and no GPU."""
    argument = re.sub(r"^--model=.*", f"--model={MODEL}", argument)
    argument = re.sub(r"^--device=.*", "--device=cpu", argument)
    argument = re.sub(r"^--compute_dtype=.*", "--compute_dtype=fp32", argument)
    argument = re.sub(r"^--threads=.*", "--threads=1", argument)
    argument = re.sub(r"^--drain_delay=.*", "--drain_delay=0", argument)
    argument = re.sub(r"^--(metrics_)?address=.*", r"--\1address=127.0.0.1:0", argument)
    for folder in ("tls", "client-ca", "probe-client", "tenants", "key"):
        argument = argument.replace(f"/etc/longwave/{folder}/", f"{secrets}/{folder}/")
    return argument


def rendered(argument, secrets):
    """As `here`, but at the address that is rendered."""
    if "address=" in argument:
        return re.sub(r":\d+$", ":0", argument)
    return here(argument, secrets)


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def certificate(folder, authority, name):
    """tls.crt and tls.key of `name`, and ca.crt, as a secret of type kubernetes.io/tls has them."""
    folder.mkdir()
    request, extension = folder / "request", folder / "extension"
    extension.write_text(f"subjectAltName=DNS:{name}")
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-keyout",
        folder / "tls.key",
        "-out",
        request,
    )
    openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        authority / "ca.crt",
        "-CAkey",
        authority / "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        extension,
        "-out",
        folder / "tls.crt",
    )
    (folder / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The secrets of the value set locked-down as folders."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("server-root", "client-root"):
        authority = folder / name
        authority.mkdir()
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-keyout",
            authority / "ca.key",
            "-out",
            authority / "ca.crt",
        )
    certificate(folder / "tls", folder / "server-root", "lw-longwave.lw.svc")
    certificate(folder / "probe-client", folder / "client-root", "probe")
    (folder / "client-ca").mkdir()
    (folder / "client-ca" / "ca.crt").write_bytes((folder / "client-root" / "ca.crt").read_bytes())
    (folder / "key").mkdir()
    (folder / "key" / "key").write_text(KEY)
    digest = (
        subprocess.run(
            ["openssl", "dgst", "-sha256", "-r"],
            input=KEY.encode(),
            check=True,
            capture_output=True,
        )
        .stdout.split()[0]
        .decode()
    )
    (folder / "tenants").mkdir()
    (folder / "tenants" / "tenants.json").write_text(
        json.dumps({"tenants": [{"name": "test", "key_sha256": [digest]}]})
    )
    return folder


def flags_of_the_server():
    text = subprocess.run([SERVER, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  --([a-z_]+)", text, re.MULTILINE))


def test_the_chart_owns_only_flags_that_exist():
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    owned = re.search(r'define "longwave.ownedFlags" -}}\n(.*)\n', helpers)[1].split()
    assert set(owned) <= flags_of_the_server()
    rendered = {
        re.match(r"--(?:no-)?([a-z_]+)", argument)[1]
        for path in value_sets()
        for argument in render_set(path).container()["args"]
    }
    # Else extraArgs could repeat one.
    assert rendered - set(owned) == {"max_paused_jobs"}, "the one that h200-long gives by extraArgs"


@pytest.mark.parametrize("path", SETS)
def test_the_server_takes_the_flags(path, secrets):
    arguments = [here(argument, secrets) for argument in render_set(path).container()["args"]]
    done = subprocess.run(
        [SERVER, *arguments, "--check_config"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_takes_what_this_machine_does_not_change(secrets):
    """The addresses as they are rendered."""
    arguments = render().container()["args"]
    arguments = [a if "address=" in a else here(a, secrets) for a in arguments]
    assert "--address=0.0.0.0:50051" in arguments
    done = subprocess.run(
        [SERVER, *arguments, "--check_config"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_metrics_are_served_where_the_chart_says(secrets, tmp_path):
    """The whole way: --check_config does not open the ports. Only their numbers are others."""
    with server(render().container()["args"], secrets, tmp_path, FAKE_SERVER, rendered) as running:
        listening = next(each for each in running.events if each["event"] == "listening")
        url = f"http://127.0.0.1:{listening['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
    assert answer.status == 200
    assert re.search(r"^longwave_expected_wait_seconds ", text, re.MULTILINE), text[:2000]


def test_a_wrong_flag_is_seen():
    done = subprocess.run(
        [SERVER, "--max_waits=1", "--check_config"], capture_output=True, timeout=60
    )
    assert done.returncode == 2


class Running:
    def __init__(self, process, port):
        self.process, self.port = process, port
        self.events = []
        self.serving = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                self.events.append(event)
                if event.get("event") == "serving":
                    self.serving.set()
        self.serving.set()  # it ended: whoever waits sees that it does not serve


@contextlib.contextmanager
def server(arguments, secrets, folder, program=SERVER, changed=here):
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [program, *[changed(a, secrets) for a in arguments], f"--port_file={port_file}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    running = Running(process, None)
    try:
        assert running.serving.wait(START_SECONDS), "not serving in time"
        # The port file comes with it: without it the program has ended.
        assert any(each.get("event") == "serving" for each in running.events), running.events
        running.port = int(port_file.read_text())
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        running.reader.join()
        process.stderr.close()


def client(command, port, secrets, text=None):
    """A command of the client in a pod, run here."""
    command = [here(argument, secrets) for argument in command]
    command = [
        re.sub(r"^(127\.0\.0\.1|lw-longwave):50051$", f"127.0.0.1:{port}", each) for each in command
    ]
    if text:
        command = [str(text) if each == "/test/text.txt" else each for each in command]
    assert command[0] == "/opt/longwave/bin/longwave"
    return subprocess.run([CLI, *command[1:]], capture_output=True, text=True, timeout=60)


LOCKED_DOWN = yaml.safe_load((CHART / "ci" / "locked-down.yaml").read_text())
# Server TLS alone, mutual TLS, and mutual TLS with API keys.
SECURE = {
    "tls": merged(
        LOCKED_DOWN,
        {
            "tls": {"clientCASecretName": "", "probeClientSecretName": ""},
            "tenants": {"secretName": ""},
        },
    ),
    "mtls": merged(LOCKED_DOWN, {"tenants": {"secretName": ""}}),
    "mtls-and-tenants": LOCKED_DOWN,
}


@pytest.mark.parametrize("name", SECURE)
def test_exec_probes_tell_the_truth(name, secrets, tmp_path):
    objects = render(SECURE[name])
    container = objects.container()
    probes = {
        each: container[each + "Probe"]["exec"]["command"]
        for each in ("startup", "readiness", "liveness")
    }
    text = tmp_path / "text.txt"
    text.write_text("Longwave turns long token sequences into embeddings.")
    with server(container["args"], secrets, tmp_path, FAKE_SERVER) as running:
        for probe, command in probes.items():
            done = client(command, running.port, secrets)
            assert done.returncode == 0, f"{probe}: {done.stderr}"
        # With another root the server is not believed, so the answer above was a checked one.
        other = [a.replace("/tls/ca.crt", "/client-ca/ca.crt") for a in probes["readiness"]]
        if name != "tls":
            assert client(other, running.port, secrets).returncode != 0
            bare = probes["readiness"].index("--tls-certificate")
            without = probes["readiness"][:bare] + probes["readiness"][bare + 4 :]
            assert client(without, running.port, secrets).returncode != 0
        # What the kubelet's own probe would get.
        plain = ["/opt/longwave/bin/longwave", "health", "--server", "127.0.0.1:50051"]
        assert client(plain, running.port, secrets).returncode != 0
        for pod in ("-test-health", "-test-encode"):
            test = objects.one("Pod", pod)["spec"]["containers"][0]
            done = client(test["command"] + test["args"], running.port, secrets, text)
            assert done.returncode == 0, f"{pod}: {done.stderr}"
    assert running.process.returncode == 0
    # Nobody is there any more.
    assert client(probes["liveness"], running.port, secrets).returncode != 0


def test_plaintext_health_names_are_known(secrets, tmp_path):
    container = render().container()
    text = tmp_path / "text.txt"
    text.write_text("Longwave turns long token sequences into embeddings.")
    with server(container["args"], secrets, tmp_path) as running:
        for probe in ("startup", "readiness", "liveness"):
            service = container[probe + "Probe"]["grpc"]["service"]
            command = [
                "/opt/longwave/bin/longwave",
                "health",
                "--server",
                "127.0.0.1:50051",
                "--service",
                service,
            ]
            done = client(command, running.port, secrets)
            assert done.returncode == 0, f"{probe}: {done.stderr}"
            assert client(command[:-1] + ["unknown"], running.port, secrets).returncode == 4
        test = render().one("Pod", "-test-encode")["spec"]["containers"][0]
        done = client(test["command"] + test["args"], running.port, secrets, text)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
