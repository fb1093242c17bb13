#!/usr/bin/env bash
# Renders the plain manifests from the chart, for those without Helm.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
folder="$root/deploy/manifests"

usage() {
  cat <<'USAGE'
usage: deploy/manifests/render.sh [--check] [--help]

Writes deploy/manifests/cpu.yaml and gpu.yaml from the chart and the values beside them.

  --check   write nothing; exit 1 and show the difference if one is not current

helm is $HELM, that of deploy/tools.sh, or the one on the path.
USAGE
}

check=0
for argument in "$@"; do
  case "$argument" in
    --check) check=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "render: unknown option '$argument' (known: --check, --help)" >&2; exit 2 ;;
  esac
done

helm="${HELM:-$root/.cache/tools/bin/helm}"
if [ ! -x "$helm" ]; then
  helm="$(command -v helm)" || { echo "render: helm is not there: run deploy/tools.sh, or set HELM" >&2; exit 1; }
fi

# Objects that Helm did not make must not say that it did.
render() {
  cat <<HEAD
# Rendered by deploy/manifests/render.sh from the chart; change its values, not this file.
apiVersion: v1
kind: Namespace
metadata:
  name: longwave
  labels:
    pod-security.kubernetes.io/enforce: restricted
HEAD
  "$helm" template longwave "$root/deploy/helm/longwave" --namespace longwave --kube-version 1.34.0 \
    --values "$folder/$1.values.yaml" |
    sed -e '/^ *helm\.sh\/chart:/d' -e '/^ *app\.kubernetes\.io\/managed-by: Helm$/d' -e '/^# Source: /d'
}

stale=0
for name in cpu gpu; do
  text="$(render "$name")"
  if [ "$check" = 0 ]; then
    printf '%s\n' "$text" >"$folder/$name.yaml"
  elif ! diff -u "$folder/$name.yaml" <(printf '%s\n' "$text"); then
    echo "render: deploy/manifests/$name.yaml is not current: run deploy/manifests/render.sh" >&2
    stale=1
  fi
done
exit "$stale"
