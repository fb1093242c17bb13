#!/usr/bin/env bash
# Sets up, builds and runs every check; the closing lines are ctest's summary of the release build.
set -euo pipefail
program="test"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/test.sh [--cuda] [--jobs N] [--skip-sanitizers] [--help]

In this order: set-up, lint of the API, build (release), Clang's thread-safety
analysis, tests under AddressSanitizer + UndefinedBehaviorSanitizer, tests under
ThreadSanitizer, all tests (release). Stops at the first stage that fails.
Logs: build/test-logs/.

With --cuda instead: set-up, build of what CUDA changes (server, tests/gpu), the
tests labelled gpu. It needs no GPU: those tests then skip and say so.

  --cuda              the CUDA flavour (half a gigabyte more of packages)
  --jobs N            compile jobs, one less than tests at once (default: cores, less if
                      memory is short)
  --skip-sanitizers   leave out Clang's analysis and the sanitizers
USAGE
}

cuda=0
jobs=""
sanitizers=1
while [ $# -gt 0 ]; do
  case "$1" in
    --cuda) cuda=1; shift ;;
    --jobs) jobs="${2:?test: --jobs needs a number}"; shift 2 ;;
    --skip-sanitizers) sanitizers=0; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
jobs="${jobs:-$(default_jobs)}"
logs="$root/build/test-logs"
cd "$root"

# build <preset> <cmake arguments...>
build() {
  local preset="$1"
  shift
  cmake --preset "$preset" "$@" && cmake --build --preset "$preset" --parallel "$jobs"
}

# Only what CUDA changes: the rest is built and tested in the CPU flavour.
build_cuda() {
  cmake --preset cuda &&
    cmake --build --preset cuda --parallel "$jobs" --target longwave-server longwave_gpu_tests
}

# run_tests <preset> <ctest arguments...>: one more at a time than compile jobs, since most of them
# wait for servers, children and clocks more than half of their time.
run_tests() {
  local preset="$1"
  shift
  ctest --test-dir "build/$preset" --parallel $((jobs + 1)) --output-on-failure --no-tests=error \
    --output-junit "$logs/$preset.xml" "$@"
}

sanitized() { build "$1" && run_tests "$1"; }

export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

if [ "$cuda" = 1 ]; then
  stage "set-up, cuda" bash deploy/setup.sh --test --cuda
  stage "build, cuda" build_cuda
  say "seconds of each stage:"
  print_stages
  say "tests labelled gpu:"
  jobs=0  # one test at a time: there is one device
  run_tests cuda --label-regex '^gpu$'
  skipped="$(grep -ho 'no usable GPU[^&<]*' "$logs/cuda.xml" | sort -u || true)"
  if [ -n "$skipped" ]; then say "skipped tests: $skipped"; fi
  exit
fi
stage "set-up" bash deploy/setup.sh --test --clients --torch
stage "lint of the API" buf lint
stage "build, release" build release
if [ "$sanitizers" = 1 ]; then
  stage "build, clang thread-safety analysis" build clang -DLONGWAVE_BUILD_TESTS=OFF
  stage "address and undefined-behaviour sanitizers" sanitized ubsan
  stage "thread sanitizer" sanitized tsan
fi
say "seconds of each stage:"
print_stages
say "all tests, release:"
run_tests release
