"""The installed tree works from another place, without the build folder and the Python environment.

usage: install_test.py CMAKE BUILD_FOLDER SOURCE_FOLDER

Installs into a temporary folder, moves the tree, starts the server from there with an empty
environment, encodes a sentence with the installed client, and looks at every file that the two
processes have mapped: none may lie in the build folder or in the Python environment.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CMAKE, BUILD, SOURCE = sys.argv[1:4]
EMPTY = {"PATH": "/usr/bin:/bin"}
START_SECONDS = 120


def forbidden_folders():
    return [pathlib.Path(BUILD).resolve(), (pathlib.Path(SOURCE) / ".venv").resolve()]


def mapped_files(pid):
    """Every file that the process has mapped: itself and its libraries."""
    lines = pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    return {parts[5] for parts in (line.split(maxsplit=5) for line in lines) if len(parts) == 6}


class InstalledTree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Beside the build: half a gigabyte may be too much for /tmp.
        cls.folder = tempfile.mkdtemp(prefix="install-test-", dir=BUILD)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        first = os.path.join(cls.folder, "first")
        subprocess.run([CMAKE, "--install", BUILD, "--prefix", first], check=True,
                       stdout=subprocess.DEVNULL)
        cls.tree = pathlib.Path(cls.folder) / "moved" / "elsewhere"
        cls.tree.parent.mkdir()
        os.rename(first, cls.tree)

    def program(self, name):
        return str(self.tree / "bin" / name)

    def start_server(self):
        port_file = os.path.join(self.folder, "port")
        server = subprocess.Popen(
            [self.program("longwave-server"), "--address=127.0.0.1:0",
             "--metrics_address=127.0.0.1:0", f"--port_file={port_file}",
             f"--model={self.tree}/share/longwave/models/default"],
            env=EMPTY, cwd="/", stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, server)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and server.poll() is None:
            if os.path.exists(port_file):
                target = "127.0.0.1:" + pathlib.Path(port_file).read_text().strip()
                if self.client("health", target).returncode == 0:
                    return server, target
            time.sleep(0.2)
        self.fail(f"the server did not become healthy (exit code {server.poll()})")

    def end(self, server):
        if server.poll() is None:
            server.kill()
        server.wait()

    def client(self, command, target, *arguments, **options):
        return subprocess.run([self.program("longwave"), command, f"--server={target}", *arguments],
                              env=EMPTY, cwd="/", capture_output=True, text=True, timeout=60,
                              **options)

    def test_every_library_is_found(self):
        for program in sorted((self.tree / "bin").iterdir()):
            listed = subprocess.run(["ldd", program], env=EMPTY, capture_output=True, text=True,
                                    check=True).stdout
            self.assertNotIn("not found", listed, program)
            for folder in forbidden_folders():
                self.assertNotIn(str(folder) + "/lib", listed, program)

    def test_manual_and_completion_are_of_this_program(self):
        share = self.tree / "share"
        for path, arguments in (("man/man1/longwave.1", ["man"]),
                                ("bash-completion/completions/longwave", ["completion", "bash"]),
                                ("zsh/site-functions/_longwave", ["completion", "zsh"]),
                                ("fish/vendor_completions.d/longwave.fish",
                                 ["completion", "fish"])):
            told = subprocess.run([self.program("longwave"), *arguments], env=EMPTY, cwd="/",
                                  capture_output=True, text=True, check=True).stdout
            self.assertEqual((share / path).read_text(encoding="utf-8"), told, path)

    def test_serves_from_its_own_files_and_stops(self):
        server, target = self.start_server()
        encoded = self.client("encode", target, "-", input="A whole tree.")
        self.assertEqual(encoded.returncode, 0, encoded.stderr)
        mapped = mapped_files(server.pid)
        self.assertTrue(any("libtorch_cpu" in file for file in mapped), mapped)
        own = self.tree.resolve()
        for file in mapped:
            path = pathlib.Path(file)
            if path.is_relative_to(own):
                continue
            for folder in forbidden_folders():
                self.assertFalse(path.is_relative_to(folder), f"{file} is mapped")
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
