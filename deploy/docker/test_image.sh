#!/usr/bin/env bash
# The tests that belong to building an image: quick, without network. Runs in the Dockerfile.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: deploy/docker/test_image.sh --device cpu|cuda --root DIR --report DIR [--help]

Starts each program on the image's root alone, as the image's user; then builds and runs
the unit tests of the folders below, in the build tree. All others are deploy/test.sh's.

  --device   cpu or cuda
  --root     the root of the image
  --report   folder for the reports of ctest (unit_tests_FOLDER.xml, JUnit)
USAGE
}

device="" image="" report=""
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device="${2:?test_image: --device needs cpu or cuda}"; shift 2 ;;
    --root) image="${2:?test_image: --root needs a folder}"; shift 2 ;;
    --report) report="${2:?test_image: --report needs a folder}"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "test_image: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
case "$device" in
  cpu) preset=release ;;
  cuda) preset=cuda ;;
  *) echo "test_image: --device is cpu or cuda, not '$device'" >&2; exit 2 ;;
esac
if [ ! -d "$image" ] || [ -z "$report" ]; then
  echo "test_image: --root must be a folder, and --report be given" >&2
  exit 2
fi

program="test_image"
# shellcheck source=../stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
logs="$root/build/logs"
cd "$root"

# Without /proc the loader does not know where a program lies; it is told.
in_image() { LD_ORIGIN_PATH=/opt/longwave/bin chroot --userspec=65532:65532 "$image" "/opt/longwave/bin/$1" "${@:2}"; }
stage "server starts on the image's libraries" in_image longwave-server --version
stage "client starts on the image's libraries" in_image longwave --version
stage "the model and the flags are good" in_image longwave-server --check_config \
  --model=/opt/longwave/share/longwave/models/default

# Without LibTorch's headers, so that they compile in a minute or two; the arithmetic for every
# instruction set of this processor is among them.
folders=(base api admission scheduling weights observability kernels)
targets=()
for folder in "${folders[@]}"; do targets+=("tests/unit/$folder/all"); done
stage "build of the unit tests" cmake --build "build/$preset" --parallel "$(default_jobs)" \
  --target "${targets[@]}"
mkdir -p "$report"
for folder in "${folders[@]}"; do
  stage "unit tests, $folder" ctest --test-dir "build/$preset/tests/unit/$folder" --no-tests=error \
    --output-on-failure --output-junit "$report/unit_tests_$folder.xml"
  tail -n 4 "$logs/unit-tests--$folder.log"
done
