#!/usr/bin/env bash
# Takes the chart through a real Kubernetes API server; for the night, since its build takes minutes.
set -euo pipefail
program="apiserver-test"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/apiserver-test.sh [--only NAME] [--skip-tools] [--help]

Builds a kube-apiserver once (deploy/tools.sh --apiserver, into .cache/) and starts it
with etcd on loopback, in a temporary folder. Then, with the custom resources'
definitions installed, for each value set of the chart (deploy/helm/longwave/ci): helm
install, upgrade, rollback and uninstall in a namespace that admits restricted pods
only, and its pods past admission; a scaler that comes to a running release keeps its
number of pods; wrong values, wrong custom resources and unsafe pods must be refused;
the plain manifests must apply. No pod ever runs.

Ends with a table of all steps; exit code 1 if one failed. Stops what it started, and
takes 20 minutes at most. Logs of the server: build/apiserver-logs/.

  --only NAME    one value set, or hand-over, without the refusals and plain manifests
  --skip-tools   the tools are there: do not look
USAGE
}

tools=1
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --only) arguments+=(--only "${2:?apiserver-test: --only needs a name}"); shift 2 ;;
    --skip-tools) tools=0; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "apiserver-test: unknown option '$1' (known: --only, --skip-tools, --help)" >&2; exit 2 ;;
  esac
done
# For `stage`.
# shellcheck disable=SC2034
logs="$root/build/apiserver-logs"
if [ "$tools" = 1 ]; then
  stage "tools" bash "$root/deploy/tools.sh" --apiserver
fi
if [ ! -x "$root/.cache/tools/bin/kube-apiserver" ]; then
  echo "apiserver-test: the tools are not there: bash deploy/tools.sh --apiserver" >&2
  exit 1
fi
exec timeout --kill-after=30 1200 "$root/.cache/venv/bin/python" "$root/tests/deploy/apiserver_steps.py" \
  --logs "$logs" "${arguments[@]}"
