#!/usr/bin/env bash
# Builds the image of the Dockerfile without Docker, then runs it as it would run in a cluster and
# encodes a text through it.
set -euo pipefail
program="docker/build"
# shellcheck source=../stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/docker/build.sh [--device cpu|cuda] [--tag NAME] [--skip-tests] [--reference DIR]
                              [--archive FILE] [--no-cache] [--keep] [--help]

Installs buildah, mmdebstrap, runc and jq if they are missing; makes a base of Debian 12;
builds the Dockerfile on it. Then, with the image's root read-only, as uid 65532, without
capabilities, on loopback: starts the server, waits for health, encodes a text with the
image's own client, compares the vector's bits with the reference's, and stops it by
SIGTERM. Looks for what must not be there: compiler, shell, setuid programs. Prints the
size of every layer; a CPU image above 900 MB is an error. Runs as root or through sudo.

  --device        cpu or cuda (default: cpu)
  --tag NAME      (default: longwave:VERSION-DEVICE)
  --skip-tests    without the Dockerfile's test stage
  --reference DIR tree of deploy/build.sh to compare with (default: build/install). If
                  there is none, the vector is checked for shape, length and repeatability
  --archive FILE  also write the image as a file for `docker load` or skopeo
  --no-cache      make all anew, with Debian's newest packages; compiled objects are kept
  --keep          keep all intermediate images, not the dependencies' alone

State: .cache/docker (for cpu 7 GB while building and 4 GB after it on overlayfs; several
times that where the file system cannot carry it, and each layer is a whole copy).
The SBOM: build/docker/. Logs: build/docker/logs/.
USAGE
}

device=cpu tag="" target=runtime reference="" archive="" no_cache=0 keep=0
arguments=("$@")
while [ $# -gt 0 ]; do
  case "$1" in
    --device) device="${2:?docker/build: --device needs cpu or cuda}"; shift 2 ;;
    --tag) tag="${2:?docker/build: --tag needs a name}"; shift 2 ;;
    --skip-tests) target=untested; shift ;;
    --reference) reference="${2:?docker/build: --reference needs a folder}"; shift 2 ;;
    --archive) archive="${2:?docker/build: --archive needs a file}"; shift 2 ;;
    --no-cache) no_cache=1; shift ;;
    --keep) keep=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "docker/build: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
case "$device" in
  cpu | cuda) ;;
  *) echo "docker/build: --device is cpu or cuda, not '$device'" >&2; exit 2 ;;
esac
if [ -n "$reference" ] && [ ! -x "$reference/bin/longwave-server" ]; then
  echo "docker/build: --reference '$reference' has no bin/longwave-server" >&2
  exit 2
fi
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { say "mounts the image, so it needs root or sudo"; exit 1; }
  exec sudo -- bash "${BASH_SOURCE[0]}" "${arguments[@]}"
fi

max_cpu_bytes=$((900 * 1000 * 1000))
uid=65532
prefix=/opt/longwave
state="$root/.cache/docker"
results="$root/build/docker"
logs="$results/logs"
version="$(sed -n 's/^project(longwave VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")"
tag="${tag:-longwave:$version-$device}"
base=localhost/longwave-base:bookworm
dependencies="localhost/longwave-dependencies:$device"
cd "$root"
mkdir -p "$state/tmp" "$logs"

fail() { say "FAILED: $*"; exit 1; }

packages=(buildah mmdebstrap runc jq)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
install_packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
if [ "${#missing[@]}" -gt 0 ]; then stage "packages: ${missing[*]}" install_packages; fi

# What the store was begun with; else overlay where this file system can carry it, else whole copies of
# every layer.
storage_driver() {
  local trial driver
  for driver in overlay vfs; do
    if [ -d "$state/storage/$driver" ]; then echo "$driver"; return; fi
  done
  driver=vfs
  trial="$(mktemp -d "$state/tmp/trial.XXXXXX")"
  mkdir "$trial"/{lower,upper,work,merged}
  if mount -t overlay overlay "$trial/merged" \
    -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" 2>/dev/null; then
    umount "$trial/merged"
    driver=overlay
  fi
  rm -rf "$trial"
  echo "$driver"
}
driver="$(storage_driver)"
# Only buildah gets this TMPDIR: its cache mounts (ccache) lie there.
buildah() {
  TMPDIR="$state/tmp" command buildah --root "$state/storage" --runroot "$state/run" \
    --storage-driver "$driver" "$@"
}

# A base like debian:12-slim, from this machine's Debian. Roots of certificates that the machine has
# beside Debian's (of a proxy, say) are the build's too; assemble.sh keeps them out of the image.
make_base() {
  local own=/usr/local/share/ca-certificates container hooks=() certificates
  certificates="$(find "$own" -name '*.crt' 2>/dev/null || true)"
  if [ -n "$certificates" ]; then
    # The hook's $1 is the new root.
    # shellcheck disable=SC2016
    hooks=("--customize-hook=cp $own/*.crt \"\$1$own/\"" '--customize-hook=chroot "$1" update-ca-certificates')
  fi
  rm -f "$state/base.tar"
  mmdebstrap --variant=minbase --include=ca-certificates "${hooks[@]}" bookworm "$state/base.tar"
  container="$(buildah from scratch)"
  buildah add -q "$container" "$state/base.tar" /
  # pip has roots of its own otherwise.
  buildah config --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt "$container"
  buildah commit -q --rm "$container" "$base"
  rm -f "$state/base.tar"
}
# bud <target> <tag> <options...>
bud() {
  local stage_name="$1" name="$2"
  shift 2
  # Docker's format, since OCI's has no HEALTHCHECK.
  buildah bud --isolation chroot --layers --format docker --build-arg "BASE=$base" \
    --build-arg "DEVICE=$device" --target "$stage_name" --tag "$name" "$@" "$root"
}
in_git() { git -c safe.directory="$root" "$@" 2>/dev/null; }
revision="$(in_git rev-parse HEAD || echo unknown)"
if [ "$revision" != unknown ] && [ -n "$(in_git status --porcelain)" ]; then revision="$revision-dirty"; fi
created="$(date --utc --date="@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)"
labels=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created")

say "$tag with buildah on $driver, state in ${state#"$root/"}"
if [ "$no_cache" = 1 ]; then stage "forget what was built" buildah rmi --all --force; fi
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then stage "base of debian 12" make_base; fi
stage "dependencies" bud dependencies "$dependencies"
stage "image" bud "$target" "$tag" "${labels[@]}"

# From here on the image is looked at and run.
container="" name="longwave-image-$$" runner="" reference_pid=""
bundle="$(mktemp -d "$state/tmp/bundle.XXXXXX")"
runc() { command runc --root "$state/run/runc" "$@"; }
clean_up() {
  if [ -n "$runner" ]; then runc delete --force "$name" >/dev/null 2>&1 || true; fi
  if [ -n "$reference_pid" ]; then kill "$reference_pid" 2>/dev/null || true; fi
  if [ -n "$container" ]; then buildah umount "$container" >/dev/null 2>&1 || true; buildah rm "$container" >/dev/null 2>&1 || true; fi
  rm -rf "$bundle"
}
trap clean_up EXIT
container="$(buildah from --pull-never "$tag")"
image_root="$(buildah mount "$container")"
buildah inspect --type image "$tag" >"$bundle/image.json"
image() { jq -r "$1" "$bundle/image.json"; }

check_content() {
  local found
  found="$(find "$image_root" -xdev \( -type f -o -type l \) \( -name sh -o -name bash -o -name dash \
    -o -name busybox -o -name 'python3*' -o -name perl -o -name apt -o -name dpkg -o -name gcc -o -name 'gcc-[0-9]*[0-9]' \
    -o -name 'g++*' -o -name cc -o -name 'c++' -o -name cc1 -o -name cc1plus -o -name ld -o -name as \
    -o -name 'clang*' -o -name nvcc -o -name cmake -o -name ninja -o -name ptxas \) -path '*bin*')"
  [ -z "$found" ] || fail "compiler, shell or package manager in the image: $found"
  # Whatever its name: only our programs and libraries can be started.
  found="$(find "$image_root" -xdev -type f -perm /111 ! -path "$image_root$prefix/*" ! -name '*.so*' ! -name 'libc.so' | head -n 5)"
  [ -z "$found" ] || fail "programs that are not ours: $found"
  found="$(find "$image_root" -xdev -type f -perm /6000)"
  [ -z "$found" ] || fail "setuid or setgid: $found"
  found="$(find "$image_root" -xdev ! -type l -perm -002 ! -path "$image_root/tmp")"
  [ -z "$found" ] || fail "everyone may write: $found"
  [ "$(stat -c %a "$image_root/tmp")" = 1777 ] || fail "/tmp is not a folder for everyone"
  say "content: no compiler, no shell, no setuid program; programs: $(find "$image_root$prefix/bin" -type f -printf '%f ')"
}

check_configuration() {
  local config='.Docker.config' label
  [ "$(image "$config.User")" = "$uid:$uid" ] || fail "the user is $(image "$config.User")"
  [ "$(image "$config.StopSignal")" = SIGTERM ] || fail "the stop signal is $(image "$config.StopSignal")"
  [ "$(image "$config.Entrypoint[0]")" = longwave-server ] || fail "the entry point is $(image "$config.Entrypoint")"
  [ "$(image "$config.Healthcheck.Test | .[0:3] | join(\" \")")" = "CMD longwave health" ] || fail "no health check"
  for label in "version=$version" "revision=$revision" "created=$created" title=longwave licenses=Apache-2.0; do
    [ "$(image "$config.Labels[\"org.opencontainers.image.${label%%=*}\"]")" = "${label#*=}" ] || fail "no label $label"
  done
  case "$(image "$config.Labels[\"org.opencontainers.image.source\"]")" in
    https://*) ;;
    *) fail "no label source" ;;
  esac
  [ "$(jq -r .bomFormat "$image_root/usr/share/longwave/sbom.cdx.json")" = CycloneDX ] || fail "no SBOM"
  cp "$image_root/usr/share/longwave/sbom.cdx.json" "$results/longwave-$version-$device.cdx.json"
  say "labels: $(image "$config.Labels | to_entries | map(select(.key | startswith(\"org.opencontainers\"))) | map((.key | split(\".\") | last) + \"=\" + .value) | join(\", \")")"
  say "SBOM: build/docker/longwave-$version-$device.cdx.json, $(jq '.components | length' "$image_root/usr/share/longwave/sbom.cdx.json") components"
}

# What a cluster's strictest profile gives: read-only root, no capabilities, no new privileges, no
# writable mount at all. The network is the host's: this machine's loopback.
write_bundle() {
  jq -n --arg root "$image_root" --argjson uid "$uid" --argjson arguments "$1" \
    --argjson environment "$(image '.Docker.config.Env')" '{
    ociVersion: "1.0.2",
    root: {path: $root, readonly: true},
    process: {terminal: false, cwd: "/", user: {uid: $uid, gid: $uid}, args: $arguments, env: $environment,
      noNewPrivileges: true,
      capabilities: {bounding: [], effective: [], permitted: [], inheritable: [], ambient: []}},
    mounts: [
      {destination: "/proc", type: "proc", source: "proc"},
      {destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "ro", "mode=755", "size=64k"]}],
    linux: {namespaces: [{type: "pid"}, {type: "ipc"}, {type: "uts"}, {type: "mount"}],
      maskedPaths: ["/proc/kcore", "/proc/keys"], readonlyPaths: ["/proc/sys", "/proc/sysrq-trigger"]}}' \
    >"$bundle/config.json"
}

# wait_for_event <pid> <log> <event>: the line of the log; fails if the process ends first.
wait_for_event() {
  timeout 180 grep -m 1 "\"event\":\"$3\"" < <(tail -n +1 --pid="$1" -F "$2" 2>/dev/null) || {
    tail -n 20 "$2" >&2
    fail "the server's log has no '$3'" >&2
  }
}
# encode <command...>: README.md to raw floats, through that client.
encode() { "$@" --format raw --quiet --output - - <README.md; }
in_image() { runc exec "$name" "$@"; }

check_run() {
  local log="$logs/server.log" pid port address code=0 message status
  : >"$log"
  write_bundle "$(jq -n --arg model "$prefix/share/longwave/models/default" '["longwave-server",
    "--address=127.0.0.1:0", "--metrics_address=127.0.0.1:0", "--model=\($model)"]')"
  runc run --bundle "$bundle" --pid-file "$bundle/pid" "$name" >"$logs/run.log" 2>"$log" </dev/null &
  runner=$!
  wait_for_event "$runner" "$log" listening >"$bundle/listening"
  port="$(jq .port "$bundle/listening")"
  wait_for_event "$runner" "$log" serving >"$bundle/serving"
  pid="$(cat "$bundle/pid")"
  address="127.0.0.1:$port"
  [ "$(in_image longwave health --server "$address")" = SERVING ] || fail "longwave health"

  in_image longwave-server --version | grep -q -F "$version" || fail "longwave-server --version is not $version"

  status="$(awk '/^(Uid|Gid|NoNewPrivs|CapEff|CapBnd):/ {printf "%s%s ", $1, $2}' "/proc/$pid/status")"
  [ "$status" = "Uid:$uid Gid:$uid CapEff:0000000000000000 CapBnd:0000000000000000 NoNewPrivs:1 " ] ||
    fail "the server runs as $status"
  grep -q '^[^ ]* / [^ ]* ro[, ]' "/proc/$pid/mounts" || fail "the root is not read-only"
  # /tmp is everyone's, so only the read-only root can be what refuses.
  if message="$(in_image longwave encode --server "$address" --quiet --output /tmp/probe.npy - 2>&1 <README.md)"; then
    fail "could write to /tmp"
  fi
  case "$message" in
    *"Read-only file system"*) ;;
    *) fail "writing to /tmp was refused for another reason: $message" ;;
  esac
  say "serving as uid $uid, root read-only (${message##*$'\n'}), no capabilities"

  encode in_image longwave encode --server "$address" >"$bundle/vector"
  encode in_image longwave encode --server "$address" >"$bundle/vector.again"
  cmp "$bundle/vector" "$bundle/vector.again" || fail "the same text gave other bits"
  in_image longwave info --json --server "$address" >"$bundle/info.json"
  [ "$(stat -c %s "$bundle/vector")" = "$(($(jq .dim "$bundle/info.json") * 4))" ] || fail "the vector's size"
  od -An -v -t f4 -w4 "$bundle/vector" | awk '{ s += $1 * $1 } END { exit !(s > 0.999 && s < 1.001) }' ||
    fail "the vector's length is not 1"
  say "encoded README.md: $(jq .dim "$bundle/info.json") values, sha256 $(sha256sum "$bundle/vector" | cut -c 1-16)"
  compare_with_reference

  runc kill "$name" TERM
  wait "$runner" || code=$?
  runner=""
  [ "$code" = 0 ] || { tail -n 5 "$log"; fail "exit code $code after SIGTERM"; }
  say "SIGTERM: exit code 0"
}

compare_with_reference() {
  local log="$logs/reference.log" port address ours theirs
  if [ -z "$reference" ]; then
    if [ ! -x build/install/bin/longwave-server ]; then
      say "NOT compared with a build tree: there is no build/install (deploy/build.sh makes it)"
      return
    fi
    reference=build/install
  fi
  "$reference/bin/longwave-server" --address=127.0.0.1:0 --metrics_address=127.0.0.1:0 \
    --model="$reference/share/longwave/models/default" 2>"$log" </dev/null &
  reference_pid=$!
  wait_for_event "$reference_pid" "$log" listening >"$bundle/listening"
  port="$(jq .port "$bundle/listening")"
  wait_for_event "$reference_pid" "$log" serving >/dev/null
  address="127.0.0.1:$port"
  ours="$(jq -r .fingerprint "$bundle/info.json")"
  theirs="$("$reference/bin/longwave" info --json --server "$address" | jq -r .fingerprint)"
  [ "$ours" = "$theirs" ] || fail "the image's fingerprint is $ours, that of $reference $theirs: not of one source"
  encode "$reference/bin/longwave" encode --server "$address" >"$bundle/vector.reference"
  cmp "$bundle/vector" "$bundle/vector.reference" || fail "the same fingerprint, other bits than $reference"
  kill -TERM "$reference_pid"
  wait "$reference_pid" || fail "the reference's exit code"
  reference_pid=""
  say "the same bits as $reference (fingerprint ${ours:0:16})"
}

check_size() {
  local bytes diff
  say "layers:"
  for diff in $(image '.OCIv1.rootfs.diff_ids[]'); do
    jq -r --arg diff "$diff" 'first(.[] | select(."diff-digest" == $diff)) |
      "  \(."diff-size" / 1e6 * 10 | round / 10) MB  \($diff[7:19])"' "$state/storage/$driver-layers/layers.json"
  done
  bytes="$(du -s --apparent-size -B 1 "$image_root" | cut -f 1)"
  say "size: $((bytes / 1000000)) MB, $tag"
  if [ "$device" = cpu ] && [ "$bytes" -gt "$max_cpu_bytes" ]; then fail "above $((max_cpu_bytes / 1000000)) MB"; fi
}

check_content
check_configuration
check_run
check_size
if [ -n "$archive" ]; then stage "archive" buildah push "$tag" "docker-archive:$archive:$tag"; fi
if [ "$keep" = 0 ]; then stage "forget intermediate images" buildah rmi --prune; fi
print_stages
say "state: $(du -sh "$state" | cut -f 1) in ${state#"$root/"}"
