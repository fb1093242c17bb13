#!/usr/bin/env bash
# Runs the benchmark's suites, or takes what they printed before, and makes a page and a picture.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

usage() {
  cat <<'USAGE'
usage: deploy/bench_report.sh [--out DIR] [--title TEXT] [--threads N] [--cpu_target T] [FILE...]

Without FILEs it runs `longwave-bench` of build/release: the bars of the attention and of the
encoder (up to ten minutes each), then the grid of the attention with 64 features. With FILEs (JSON,
one object a line) it runs nothing. Writes DIR/bench.html, DIR/bench.svg and the JSON (DIR default:
build/bench-report). A quiet machine is needed: a row that does not repeat is left out, and the
script then ends with code 3.
USAGE
}

out="$root/build/bench-report"
title=""
flags=()
files=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out="${2:?bench_report: --out needs a folder}"; shift 2 ;;
    --title) title="${2:?bench_report: --title needs a text}"; shift 2 ;;
    --threads | --cpu_target) flags+=("$1=${2:?bench_report: $1 needs a value}"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    -*) echo "bench_report: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
    *) files+=("$1"); shift ;;
  esac
done

python="$root/.venv/bin/python3"
if [ ! -x "$python" ]; then python=python3; fi
code=0
mkdir -p "$out"
if [ ${#files[@]} -eq 0 ]; then
  bench="$root/build/release/tests/bench/longwave-bench"
  if [ ! -x "$bench" ]; then
    echo "bench_report: $bench is not there; build it: cmake --build --preset release --target longwave-bench" >&2
    exit 2
  fi
  # run <file> <arguments...>: a row that did not repeat (3) does not spoil the others.
  run() {
    local file="$1" rc=0
    shift
    "$bench" "$@" --json ${flags[@]+"${flags[@]}"} >"$out/$file" || rc=$?
    if [ "$rc" != 0 ] && [ "$rc" != 3 ]; then exit "$rc"; fi
    if [ "$rc" != 0 ]; then code=$rc; fi
    files+=("$out/$file")
  }
  run attention.jsonl attention --suite=bars
  run encoder.jsonl encoder --suite=bars
  run grid.jsonl attention --suite=grid --grid_features=64
fi
"$python" "$root/tests/bench/report.py" --out "$out" ${title:+--title "$title"} "${files[@]}"
echo "bench_report: $out/bench.html"
exit "$code"
