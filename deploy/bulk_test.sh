#!/usr/bin/env bash
# Tests of bulk encoding on Ray and Spark: too heavy for every check, for the night.
set -euo pipefail
program=bulk_test
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/bulk_test.sh [--jobs N] [--help]

Sets up Ray, Spark and Java beside what the other tests need (1 GB more), builds the
release servers, and runs tests/python/heavy. Logs: build/bulk-logs/.

  --jobs N   compile jobs (default: cores, less if memory is short)
USAGE
}

jobs=""
while [ $# -gt 0 ]; do
  case "$1" in
    --jobs) jobs="${2:?bulk_test: --jobs needs a number}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "bulk_test: unknown option '$1' (known: --jobs, --help)" >&2; exit 2 ;;
  esac
done
jobs="${jobs:-$(default_jobs)}"
logs="$root/build/bulk-logs"
cd "$root"

servers() {
  cmake --preset release && cmake --build --preset release --parallel "$jobs" \
    --target longwave-server longwave-fake-server default_model
}

stage "set-up" bash deploy/setup.sh --test --heavy-clients
stage "build, release" servers
say "seconds of each stage:"
print_stages
PYTHONPATH="$root/client/python/src" PYTHONDONTWRITEBYTECODE=1 \
  "$root/.venv-clients/bin/python" -m pytest tests/python/heavy -v
