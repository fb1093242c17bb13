#!/usr/bin/env bash
# Builds, then holds the server to its figures under load, faults and hostile input: tests/soak.
set -euo pipefail
program="soak"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/soak.sh [--minutes N] [--only PART,...] [--short] [--json FILE]
                      [--skip-build] [--help]

Prints one table: every row with its figure, its bar, pass or MISS, and with how
much it was measured. "short": the bar was held, with less than the row asks for;
"----": it could not be measured. Exit code 0: all passed; 1: not all. Wants a
machine that does nothing else. Logs of set-up and build: build/soak-logs/.

  --minutes N    about how long (default 30), and once more as long as the hostile
                 catalogue takes, some ten minutes; 26 are to reach what every row
                 asks for, with less some rows are short
  --only PARTS   overload, fairness, isolation, drain, kill, leak, overhead,
                 metrics, hostile; separated by commas
  --short        the least that exercises every part; figures prove nothing, and
                 short rows are no failure
  --json FILE    every row as a line of JSON too, appended
  --skip-build   use what is in build/release
USAGE
}

build=1
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes | --only | --json)
      arguments+=("$1" "${2:?soak: $1 needs a value}")
      shift 2
      ;;
    --short) arguments+=("$1"); shift ;;
    --skip-build) build=0; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "soak: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
logs="$root/build/soak-logs"

build_release() {
  cd "$root"
  cmake --preset release && cmake --build --preset release --parallel "$(default_jobs)" --target \
    longwave-server longwave-fake-server longwave-cli default_model longwave-bare-encoder \
    longwave-one-caller longwave-metrics-bench replica_client
}

if [ "$build" = 1 ]; then
  stage "set-up" bash "$root/deploy/setup.sh" --test
  stage "build, release" build_release
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$root/.venv/bin/python" "$root/tests/soak/soak.py" "${arguments[@]}"
