#!/usr/bin/env bash
# Checks all that Longwave is deployed and watched with, without a cluster.
set -euo pipefail
program="check"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/check.sh [--skip-tools] [--help]

In this order: tools (deploy/tools.sh, into .cache/), shell scripts, Dockerfile,
Envoy's configurations, alert rules with their unit tests, chart (lint and rendering
of every value set), then the tests in tests/deploy: schemas, policy, chart, rules,
dashboard and whatever else is there. Stops at the first that fails.
Logs: build/check-logs/.

Needs what deploy/setup.sh --test --clients installs (promtool, Envoy) and a release
build of the programs (deploy/test.sh or deploy/build.sh), or other ones by the
variables LONGWAVE_SERVER, LONGWAVE_FAKE_SERVER, LONGWAVE_CLI and LONGWAVE_MODEL.
Once the tools are there, nothing here uses a network.

  --skip-tools   the tools are there: do not look
USAGE
}

tools=1
for argument in "$@"; do
  case "$argument" in
    --skip-tools) tools=0 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "check: unknown option '$argument' (known: --skip-tools, --help)" >&2; exit 2 ;;
  esac
done
logs="$root/build/check-logs"
venv="$root/.cache/venv"
chart="$root/deploy/helm/longwave"
export PATH="$root/.cache/tools/bin:$venv/bin:$PATH"
# Nothing of the user's is read or written.
export HELM_CONFIG_HOME="$root/.cache/helm" HELM_CACHE_HOME="$root/.cache/helm" HELM_DATA_HOME="$root/.cache/helm"
# The programs that the tests start.
export LONGWAVE_SERVER="${LONGWAVE_SERVER:-$root/build/release/server/longwave-server}"
export LONGWAVE_FAKE_SERVER="${LONGWAVE_FAKE_SERVER:-$root/build/release/server/longwave-fake-server}"
export LONGWAVE_CLI="${LONGWAVE_CLI:-$root/build/release/client/cli/longwave}"
export LONGWAVE_MODEL="${LONGWAVE_MODEL:-$root/build/release/models/default}"
for path in "$LONGWAVE_SERVER" "$LONGWAVE_FAKE_SERVER" "$LONGWAVE_CLI" "$LONGWAVE_MODEL"; do
  if [ ! -e "$path" ]; then
    echo "check: $path is not there: build first (deploy/test.sh, or cmake --build --preset release)" >&2
    exit 1
  fi
done
cd "$root"

# Commands of stages chain with && or return: `stage` looks at their code, so `set -e` is off.

check_shell() {
  local scripts
  mapfile -t scripts < <(find deploy model .ci -name '*.sh' -o -path '.ci/*' -type f)
  echo "${#scripts[@]} scripts" && shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
}

check_dockerfiles() {
  local files
  mapfile -t files < <(find Dockerfile deploy -name 'Dockerfile*')
  printf '%s\n' "${files[@]}" && hadolint "${files[@]}"
}

# By the real Envoy: each in a copy of the folder, beside the descriptors that it names.
check_envoy() {
  local envoy="${ENVOY:-$root/.venv-clients/bin/envoy}" folder file code=0
  if [ ! -x "$envoy" ]; then
    echo "no Envoy at $envoy: bash deploy/setup.sh --clients" >&2
    return 1
  fi
  folder="$(mktemp -d)" && cp deploy/envoy/*.yaml "$folder/" &&
    PYTHON="$root/.venv-clients/bin/python" bash deploy/envoy/make_descriptors.sh "$folder/longwave.binpb" &&
    for file in "$folder"/*.yaml; do
      (cd "$folder" && "$envoy" --mode validate --log-level warning --config-path "$file") || code=1
    done
  [ -s "$folder/longwave.binpb" ] || code=1
  rm -rf "$folder"
  return "$code"
}

check_rules() {
  promtool check rules deploy/prometheus/rules.yaml &&
    printf '%s\0' deploy/prometheus/tests/*.yaml |
    xargs --null --max-args=1 --max-procs="$(nproc)" promtool test rules
}

# renders <values> <version of Kubernetes>: or says that it is for a later one, and that is so.
renders() {
  local values="$1" version="$2" error
  if error="$(helm template lw "$chart" --values "$values" --kube-version "$version" 2>&1 >/dev/null)"; then
    return
  fi
  if [[ "$error" =~ "needs Kubernetes >= "([0-9.]+) ]] &&
    [ "$(printf '%s\n' "$version" "${BASH_REMATCH[1]}" | sort --version-sort | tail -n 1)" != "$version" ]; then
    echo "$(basename "$values") is not for Kubernetes $version, and says so"
    return
  fi
  printf '%s with Kubernetes %s: %s\n' "$values" "$version" "$error"
  return 1
}

check_chart() {
  local values version count=0
  helm lint --strict "$chart" || return
  for values in "$chart"/ci/*.yaml; do
    helm lint --strict "$chart" --values "$values" || return
    # The oldest that is promised, the one whose schemas are checked, and the newest.
    for version in 1.30 1.34 1.37; do
      renders "$values" "$version" || return
    done
    count=$((count + 1))
  done
  echo "$count value sets"
  [ "$count" -gt 0 ]
}

# run_tests <files...>
run_tests() { python -m pytest -q --durations=5 "$@"; }

if [ "$tools" = 1 ]; then
  stage "tools" bash deploy/tools.sh
elif [ ! -x "$venv/bin/python" ]; then
  echo "check: the tools are not there: bash deploy/tools.sh" >&2
  exit 1
fi
begin=$SECONDS
stage "shell scripts" check_shell
stage "dockerfile" check_dockerfiles
stage "envoy" check_envoy
stage "rules" check_rules
stage "chart" check_chart
for file in tests/deploy/*_test.py; do
  stage "$(basename "$file" .py)" run_tests "$file"
done
say "seconds of each stage:"
print_stages
say "all good after $((SECONDS - begin)) s, tools not counted"
