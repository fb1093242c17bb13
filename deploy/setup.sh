#!/usr/bin/env bash
# Installs what Longwave needs on Debian 12 and prepares .venv; safe to run again.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/setup.sh [--test] [--cuda] [--help]

Installs the system packages (apt) and the Python environment (.venv) that the
build needs: compiler, gRPC, protobuf, Abseil, Prometheus-cpp, LibTorch (CPU).

  --test   also what the tests use: clang 19, promtool, buf, Python gRPC, numpy
  --cuda   also the CUDA compiler and libraries (about 5 GB; no GPU needed)

Runs as root or through sudo. A second run finds everything there and is quick.
USAGE
}

with_test=0
with_cuda=0
for argument in "$@"; do
  case "$argument" in
    --test) with_test=1 ;;
    --cuda) with_cuda=1 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option '$argument' (known: --test, --cuda, --help)" >&2; exit 2 ;;
  esac
done

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
say() { printf 'setup: %s\n' "$*" >&2; }

# One list, one place. Versions are Debian 12's; the pip side is pinned below.
apt_packages=(
  git ca-certificates g++ ccache pkg-config python3 python3-venv
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler libabsl-dev
  prometheus-cpp-dev nlohmann-json3-dev libssl-dev libsentencepiece-dev
  libhwy-dev libgtest-dev libgmock-dev
)
pip_packages=("cmake==4.4.4" "ninja==1.13.2" "numpy==2.4.6" "googleapis-common-protos==1.76.0")
# LibTorch alone: --no-deps keeps the CUDA libraries away. libtorch_cpu.so of this
# wheel needs these two small CUDA libraries at load time and nothing else of CUDA.
torch_packages=("torch==2.11.0" "nvidia-cuda-runtime==13.0.96" "nvidia-cuda-cupti==13.0.85")
if [ "$with_test" = 1 ]; then
  apt_packages+=(clang-19 libclang-rt-19-dev clang-format-19 prometheus curl)
  pip_packages+=("grpcio==1.85.1" "grpcio-tools==1.85.1" "grpcio-health-checking==1.85.1"
    "grpcio-reflection==1.85.1" "pytest==9.2.0" "buf-bin==1.75.0")
fi
if [ "$with_cuda" = 1 ]; then
  torch_packages=("torch==2.11.0" "cuda-toolkit[nvcc,cccl,crt]==13.0.2" "nvidia-nvvm==13.0.*")
fi

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

if [ ! -x "$venv/bin/python" ]; then
  say "python: making .venv"
  /usr/bin/python3 -m venv "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input -q "$@"; }
# The stamp holds the list that was installed last, so that an unchanged list costs nothing.
stamp="$venv/.longwave-setup"
wanted="${pip_packages[*]} ${torch_packages[*]}"
if ! grep -qxF "$wanted" "$stamp" 2>/dev/null; then
  say "pip: ${pip_packages[*]}"
  pip install "${pip_packages[@]}"
  if [ "$with_cuda" = 1 ]; then
    say "pip: LibTorch and the CUDA compiler (some minutes)"
    pip install "${torch_packages[@]}"
  else
    say "pip: LibTorch for CPU (${torch_packages[*]})"
    pip install --no-deps "${torch_packages[@]}"
  fi
  echo "$wanted" >>"$stamp"
else
  say "pip: all packages are there"
fi

if [ "$with_cuda" = 1 ]; then
  # The wheels ship versioned libraries only; the linker and CMake look for the bare names.
  cuda="$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')/nvidia/cu13"
  [ -e "$cuda/lib64" ] || ln -s lib "$cuda/lib64"
  for library in "$cuda"/lib/*.so.*; do
    bare="${library%%.so.*}.so"
    [ -e "$bare" ] || ln -s "$(basename "$library")" "$bare"
  done
fi
say "done"
