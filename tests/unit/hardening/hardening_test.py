"""The built programs are hardened, and the check finds programs that are not."""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import unittest

from hardening import missing

# A frame of more than a page, a buffer to protect, and a call to fortify.
SOURCE = """
#include <cstdio>
#include <cstring>
int main(int argc, char** argv) {
  char buffer[16384];
  std::strcpy(buffer, argv[argc - 1]);
  std::printf("%s", buffer);
  return buffer[argc];
}
"""
HARDENED = [
    *["-O2", "-fPIE", "-pie", "-fstack-protector-strong", "-fstack-clash-protection"],
    *["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now,-z,noexecstack"],
    "-fcf-protection=full",
]
# What is planted, and what the check must then name.
PLANTED = {
    "position-independent executable": ["-fno-pie", "-no-pie"],
    "read-only relocations": ["-Wl,-z,norelro"],
    "binding at start": ["-Wl,-z,lazy"],
    "stack that is not executed": ["-Wl,-z,execstack"],
    "stack protector": ["-fno-stack-protector"],
    "fortified library calls": ["-U_FORTIFY_SOURCE"],
    "targets of indirect branches": ["-fcf-protection=none"],
    "stack clash protection": ["-fno-stack-clash-protection"],
}

programs: list[pathlib.Path] = []
compiler = ""


class Hardening(unittest.TestCase):
    def test_the_programs_lack_nothing(self):
        self.assertTrue(programs)
        for program in programs:
            with self.subTest(program=program.name):
                self.assertEqual(missing(program, large_frames="server" in program.name), [])

    def build(self, folder: str, *flags: str) -> pathlib.Path:
        source = pathlib.Path(folder) / "planted.cc"
        source.write_text(SOURCE)
        program = pathlib.Path(folder) / "planted"
        command = [compiler, *HARDENED, *flags, str(source), "-o", str(program)]
        subprocess.run(command, check=True, capture_output=True)
        return program

    def test_the_check_finds_what_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(missing(self.build(folder)), [])
            for name, flags in PLANTED.items():
                with self.subTest(planted=name):
                    self.assertIn(name, missing(self.build(folder, *flags)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", required=True)
    parser.add_argument("programs", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()
    programs, compiler = arguments.programs, arguments.compiler
    unittest.main(argv=sys.argv[:1])
