#!/usr/bin/env bash
# Searches for inputs that crash a parser or the scheduler, with libFuzzer.
set -euo pipefail
program="fuzz"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/fuzz.sh [--seconds N] [--jobs N] [--help] [NAME ...]

Builds the fuzzers of tests/fuzz under AddressSanitizer and UndefinedBehaviorSanitizer
(build/fuzz, Clang 19) and runs each for N seconds (60) from its committed corpus, or
only those named (request, stream, scheduler, ...). New inputs are kept in
build/fuzz/corpus/NAME, a failing one in build/fuzz/crashes. Exit 1 if one failed:
copy its file to tests/fuzz/corpus/NAME/regression-WHAT with the fix.
USAGE
}

seconds=60
jobs=""
names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds="${2:?fuzz: --seconds needs a number}"; shift 2 ;;
    --jobs) jobs="${2:?fuzz: --jobs needs a number}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "fuzz: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done
jobs="${jobs:-$(default_jobs)}"
cd "$root"
if [ "${#names[@]}" = 0 ]; then
  for harness in tests/fuzz/*_fuzzer.cc; do
    name="$(basename "$harness")"
    names+=("${name%_fuzzer.cc}")
  done
fi

cmake --preset fuzz
cmake --build --preset fuzz --parallel "$jobs" --target "${names[@]/%/_fuzzer}"

crashes="$root/build/fuzz/crashes"
mkdir -p "$crashes"
failed=()
for name in "${names[@]}"; do
  kept="$root/build/fuzz/corpus/$name"
  mkdir -p "$kept"
  say "$name: $seconds s"
  "build/fuzz/tests/fuzz/${name}_fuzzer" -max_total_time="$seconds" -max_len=4096 \
    -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 -verbosity=0 -print_funcs=0 \
    -artifact_prefix="$crashes/$name-" "$kept" "tests/fuzz/corpus/$name" || failed+=("$name")
done
if [ "${#failed[@]}" -gt 0 ]; then
  say "failed: ${failed[*]} (inputs: $crashes)"
  exit 1
fi
say "nothing found in $seconds s each: ${names[*]}"
