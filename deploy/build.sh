#!/usr/bin/env bash
# Builds the programs and the default model, and installs them as one tree that can be moved.
set -euo pipefail
program=build
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/build.sh [--prefix DIR] [--jobs N] [--help]

Needs what deploy/setup.sh installs. Builds longwave-server and longwave (release),
makes the default model if it is not there, and installs both with LibTorch's own
libraries. Logs: build/logs/.

  --prefix DIR   where to (default: build/install)
  --jobs N       compile jobs (default: cores, less if memory is short)
USAGE
}

prefix="$root/build/install"
jobs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix) prefix="${2:?build: --prefix needs a folder}"; shift 2 ;;
    --jobs) jobs="${2:?build: --jobs needs a number}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "build: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
jobs="${jobs:-$(default_jobs)}"
logs="$root/build/logs"
cd "$root"

programs() {
  cmake --build --preset release --parallel "$jobs" \
    --target longwave-server longwave-cli default_model
}

stage "configure" cmake --preset release
stage "compile" programs
stage "install" cmake --install build/release --prefix "$prefix"
