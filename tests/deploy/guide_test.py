"""What the pages say can be found: files and headings that they link to, flags that they name."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "deploy" / "README.md"
# What git has: other files would not be in a clone.
TRACKED = subprocess.run(
    ["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z"],
    check=True, capture_output=True, text=True,
).stdout.split("\0")[:-1]
FILES = {ROOT / path for path in TRACKED}
KNOWN = FILES | {folder for path in FILES for folder in path.parents}
PAGES = sorted(path for path in FILES if path.suffix == ".md")
PROGRAMS = {
    "server": os.environ.get("LONGWAVE_SERVER", ROOT / "build/release/server/longwave-server"),
    "cli": os.environ.get("LONGWAVE_CLI", ROOT / "build/release/client/cli/longwave"),
}
# Of cmake, docker, helm, kubectl, openssl, systemd, Prometheus.
FOREIGN = {
    "--atomic",
    "--create-namespace",
    "--component",
    "--install",
    "--namespace",
    "--previous",
    "--storage.tsdb.retention.time",
    "--ulimit",
}


def without_code(text: str) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", text)


@functools.cache
def anchors(page: pathlib.Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", without_code(page.read_text())):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def broken_links(page: pathlib.Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not (target in KNOWN if target.is_relative_to(ROOT) else target.exists()):
            broken.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            broken.append(f"{link}: no such heading")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert not broken_links(page)


def test_a_broken_link_is_told(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading, with `code`\n[a](#a-heading-with-code) [b](#none) [c](none.md)\n")
    assert broken_links(page) == ["#none: no such heading", "none.md: no such file"]


@functools.cache
def known_flags() -> set[str]:
    commands = [[PROGRAMS["server"], "--help"], [PROGRAMS["cli"], "--help"]]
    names = ("encode", "stream", "info", "estimate", "health", "load", "top")
    commands += [[PROGRAMS["cli"], name, "--help"] for name in names]
    scripts = [path for path in (ROOT / "deploy").glob("**/*.sh") if "usage()" in path.read_text()]
    commands += [["bash", path, "--help"] for path in scripts]
    flags = set()
    for command in commands:
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        flags.update(re.findall(r"--[a-z][a-z_-]*", text))
    flags |= {"--no-" + flag.removeprefix("--") for flag in flags}
    return flags


def test_the_guide_names_only_flags_that_there_are():
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z_.-]*[a-z]", GUIDE.read_text()))
    assert len(flags) > 30
    assert flags - known_flags() - FOREIGN == set()


def test_each_flag_of_the_guide_s_table_is_the_server_s():
    text = subprocess.run(
        [PROGRAMS["server"], "--help"], capture_output=True, text=True, timeout=60
    ).stdout
    table = GUIDE.read_text().split("| flag | why |")[1].split("\n\n")[0]
    flags = set(re.findall(r"`(--[a-z_]+)`", table))
    assert len(flags) > 15
    assert flags <= set(re.findall(r"--[a-z_]+", text))
