#!/usr/bin/env bash
# Unpacks NVIDIA's perf_analyzer, with the C and C++ libraries that it wants, into a folder.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/perf_analyzer.sh [--into DIR] [--help]

perf_analyzer is a program of PyPI's wheel of that name, built for glibc 2.38; Debian 12
has 2.36. So Debian 13's libc6, libgcc-s1 and libstdc++6 are unpacked beside it, from the
mirror that apt uses here, and DIR/perf_analyzer starts it with them. Nothing is
installed. A second run finds everything there.

  --into DIR   where to (default: build/perf_analyzer)
USAGE
}

version=2.60.0
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
into="$root/build/perf_analyzer"
while [ $# -gt 0 ]; do
  case "$1" in
    --into) into="${2:?perf_analyzer: --into needs a folder}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "perf_analyzer: unknown option '$1' (known: --into, --help)" >&2; exit 2 ;;
  esac
done
say() { printf 'perf_analyzer: %s\n' "$*" >&2; }

if [ "$(cat "$into/version" 2>/dev/null)" = "$version" ]; then
  say "is there: $into/perf_analyzer"
  exit
fi
if [ "$(uname -m)" != x86_64 ]; then
  say "is built for x86-64 only, not for $(uname -m)"
  exit 1
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{wheel,program,libraries,apt/lists/partial,apt/cache/archives/partial,debs}

say "fetching version $version"
"$root/.venv/bin/python" -m pip --disable-pip-version-check --no-input -q download \
  "perf-analyzer==$version" --no-deps --only-binary=:all: --platform manylinux_2_38_x86_64 \
  --dest "$work/wheel"
"$root/.venv/bin/python" -m zipfile -e "$work"/wheel/perf_analyzer-*.whl "$work/program"

# The same mirror and keys as the system's, with lists and cache of its own.
# $(REPO_URI) is apt's own.
# shellcheck disable=SC2016
mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
  'Component: main' | awk '!/security/ && !/^file:/ { print; exit }')"
if [ -z "$mirror" ]; then
  say "apt knows no mirror of Debian"
  exit 1
fi
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$mirror" \
  >"$work/apt/sources.list"
apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
    -o APT::Sandbox::User= "$@"
}
apt update
(cd "$work/debs" && apt download libc6 libgcc-s1 libstdc++6)
for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/libraries"; done

mkdir -p "$into"
cp "$work"/libraries/usr/lib/x86_64-linux-gnu/{ld-linux-x86-64.so.2,lib{c,m,dl,rt,pthread,resolv,gcc_s,stdc++}.so.*[0-9]} "$into/"
install -m 755 "$work/program/perf_analyzer/bin/perf_analyzer" "$into/perf_analyzer.bin"
cat >"$work/start" <<'START'
#!/bin/sh
here="$(dirname "$(readlink -f "$0")")"
exec "$here/ld-linux-x86-64.so.2" --library-path "$here:/lib/x86_64-linux-gnu" "$here/perf_analyzer.bin" "$@"
START
install -m 755 "$work/start" "$into/perf_analyzer"
echo "$version" >"$into/version"  # last: what says that it is there
say "ready: $into/perf_analyzer"
