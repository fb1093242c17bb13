#!/usr/bin/env bash
# Builds the programs and the default model, and installs them as one tree that can be moved.
set -euo pipefail
program=build
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/build.sh [--cuda] [--prefix DIR] [--jobs N] [--help]

Needs what deploy/setup.sh (with --cuda: deploy/setup.sh --cuda) installs. Builds longwave-server and longwave (release),
makes the default model if it is not there, and installs both with LibTorch's own
libraries. Logs: build/logs/.

  --cuda         a server that can use an NVIDIA GPU (and a CPU without one); its tree has
                 CUDA's libraries too, 2.6 GB
  --prefix DIR   where to (default: build/install, with --cuda build/install-cuda)
  --jobs N       compile jobs (default: cores, less if memory is short)
USAGE
}

preset=release
prefix=""
jobs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --cuda) preset=cuda; shift ;;
    --prefix) prefix="${2:?build: --prefix needs a folder}"; shift 2 ;;
    --jobs) jobs="${2:?build: --jobs needs a number}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "build: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
if [ -z "$prefix" ]; then
  if [ "$preset" = cuda ]; then prefix="$root/build/install-cuda"; else prefix="$root/build/install"; fi
fi
jobs="${jobs:-$(default_jobs)}"
logs="$root/build/logs"
cd "$root"

programs() {
  cmake --build --preset "$preset" --parallel "$jobs" \
    --target longwave-server longwave-cli longwave_manual default_model
}

stage "configure" cmake --preset "$preset"
stage "compile" programs
stage "install" cmake --install "build/$preset" --prefix "$prefix"
