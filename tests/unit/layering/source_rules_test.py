"""Rules on the text of the sources that no compiler checks."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDERS = ("client", "deploy", "model", "proto", "server", "tests")
CODE = {".cc", ".cu", ".cuh", ".h", ".proto", ".py", ".sh", ".cmake", ".txt"}
# Spelled apart, so that this file does not break its own rule.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")


def files(suffixes):
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path, path.read_text(encoding="utf-8")


def expected_guard(path):
    name = path.relative_to(ROOT).as_posix()
    return "LONGWAVE_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper() + "_"


class SourceRules(unittest.TestCase):
    def test_headers_are_guarded_by_their_path(self):
        for path, text in files({".h", ".cuh"}):
            guard = expected_guard(path)
            if path.name.endswith("-inl.h"):  # read once for every instruction set
                opening = rf"#if defined\({guard}\) == defined\(HWY_TARGET_TOGGLE\)\n"
            else:
                opening = rf"#ifndef {guard}\n#define {guard}\n"
            self.assertRegex(text, opening, path)
            self.assertTrue(text.rstrip().endswith(f"#endif  // {guard}"), path)

    def test_no_two_classes_have_one_name(self):
        # In one program they would be one class to the linker, whichever it saw first.
        defined = re.compile(r"^(?:class|struct) (?:ABSL_\w+ )?(\w+)[^;{]*\{", re.MULTILINE)
        where = {}
        for path, text in files({".h", ".cuh"}):
            if path.relative_to(ROOT).parts[0] not in ("model", "server"):
                continue
            for name in defined.findall(text):
                self.assertEqual(where.setdefault(name, path), path, name)

    def test_nothing_is_left_unfinished(self):
        for path, text in files(CODE):
            found = UNFINISHED.search(text)
            self.assertIsNone(found, f"{path}: {found and found.group()}")

    def test_timers_use_the_clock_that_nobody_sets(self):
        wall = re.compile(
            r"system_clock|absl::Now\(|gettimeofday|CLOCK_REALTIME|[^\w.>]time\((nullptr|NULL|0)\)"
        )
        # The time stamp of a log line, the dates in certificates, the one date that the inference
        # protocol asks for, and how long a server is up, which says the date of its start.
        may = {
            "client/cli/top_command.cc",
            "server/observability/log.h",
            "server/observability/log.cc",
            "server/security/tls_store.h",
            "server/rpc/inference/inference_queries.cc",
        }
        for path, text in files({".h", ".cc"}):
            name = path.relative_to(ROOT).as_posix()
            # The load generator lives for minutes, on a machine that is watched.
            if name in may or name.startswith("client/load/"):
                continue
            if name.split("/")[0] not in ("client", "model", "server"):
                continue
            found = wall.search(text)
            self.assertIsNone(found, f"{path}: {found and found.group()}")

    def test_no_process_is_started(self):
        # After gRPC or CUDA have threads, a child of fork() is not safe, and a shell never is.
        starts = re.compile(r"[^\w.>:](v?fork|system|popen|exec[lv]p?e?|posix_spawnp?)\s*\(")
        for path, text in files({".h", ".cc", ".cu"}):
            if path.relative_to(ROOT).parts[0] in ("client", "model", "server"):
                code = re.sub(r"//[^\n]*", "", text)
                found = starts.search(code)
                self.assertIsNone(found, f"{path}: {found and found.group()}")

    def test_no_using_namespace_outside_tests(self):
        for path, text in files({".h", ".cc"}):
            if "tests" not in path.relative_to(ROOT).parts:
                self.assertIsNone(re.search(r"^\s*using namespace", text, re.MULTILINE), path)

    def test_cmake_does_not_set_flags_for_whole_folders(self):
        forbidden = re.compile(
            r"\b(add_compile_options|add_definitions|include_directories|link_libraries|"
            r"set\s*\(\s*CMAKE_CXX_FLAGS)\b"
        )
        for path, text in files({".cmake", ".txt"}):
            found = re.search(rf"(?m)^\s*(?!target_){forbidden.pattern}", text)
            self.assertIsNone(found, f"{path}: {found and found.group()}")


if __name__ == "__main__":
    unittest.main()
