#!/usr/bin/env bash
# Everything from nothing: sets up, builds, starts the real server, encodes real documents.
set -euo pipefail
program="demo"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/demo.sh [--check] [--jobs N] [--help]

Sets up, builds, installs into build/install, starts longwave-server from there on
free loopback ports, encodes three real documents (a paragraph, one of 100 000 bytes
or more, one of 1 000 000 bytes with all its token rows) and nine short ones of three
topics, and prints tables of both, the server's peak memory and the metrics that
moved. The server is stopped at the end, also after an error. Files: build/demo/.

  --check    also compare long documents with the numpy twin (some minutes more)
  --jobs N   compile jobs (default: cores, less if memory is short)
USAGE
}

check=0
build_options=()
while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=1; shift ;;
    --jobs) build_options=(--jobs "${2:?demo: --jobs needs a number}"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "demo: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done

logs="$root/build/logs"
out="$root/build/demo"
tree="$root/build/install"
model="$tree/share/longwave/models/default"
python="$root/.venv/bin/python"
peak_limit_gib=6
cd "$root"

# --- the server -----------------------------------------------------------------------------------

server_pid=""
stop_server() {
  [ -n "$server_pid" ] || return 0
  local pid="$server_pid" code=0
  server_pid=""
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || code=$?
  say "server (pid $pid) stopped by SIGTERM, exit code $code"
  return "$code"
}
trap 'stop_server || true' EXIT
trap 'exit 130' INT TERM

client() { "$tree/bin/longwave" "$1" --server "127.0.0.1:$(cat "$out/port")" "${@:2}"; }

start_server() {
  rm -f "$out/port"
  "$tree/bin/longwave-server" --model "$model" --address 127.0.0.1:0 --metrics_address 127.0.0.1:0 \
    --port_file "$out/port" 2>"$out/server.log" </dev/null &
  server_pid=$!
  local _
  for _ in $(seq 300); do
    if [ -f "$out/port" ] && client health --quiet; then return 0; fi
    if ! kill -0 "$server_pid" 2>/dev/null; then break; fi
    sleep 0.5
  done
  say "the server did not become healthy; the end of its log:"
  tail -n 20 "$out/server.log"
  return 1
}

metrics_port() { sed -n 's/.*"event":"listening".*"metrics_port":\([0-9]*\).*/\1/p' "$out/server.log"; }

report() { "$python" deploy/demo/report.py "$@"; }

# timed <name> <command...>: as a stage, but with its output shown.
timed() {
  local name="$1" begin=$SECONDS
  shift
  "$@"
  stage_names+=("$name")
  stage_seconds+=($((SECONDS - begin)))
}

# --- the documents --------------------------------------------------------------------------------

encode_pooled() {
  client encode --no-normalize --json --output "$out/pooled.npy" "$out/short.txt" "$out/long.txt" \
    >"$out/pooled.json"
}

encode_topics() {
  client encode --json --output "$out/topics.npy" deploy/demo/topics/*.txt >"$out/topics.json"
}

encode_million() {
  client encode --pooling none --no-normalize --stream --json --output "$out/million.npy" \
    "$out/million.txt" >"$out/million.json"
}

checks() {
  cmake --build --preset release --target tiny_t5_model >"$logs/one-layer-model.log"
  "$python" tests/golden/long_document_check.py --tree "$tree" --out "$out" \
    --server "127.0.0.1:$(cat "$out/port")" --one-layer-model build/release/models/tiny_t5
}

stage "set-up" bash deploy/setup.sh
begin=$SECONDS
bash deploy/build.sh --prefix "$tree" ${build_options[@]+"${build_options[@]}"}
stage_names+=("build and install"); stage_seconds+=($((SECONDS - begin)))

mkdir -p "$out"
say "documents:"
"$python" deploy/demo/documents.py "$out"

timed "start of the server" start_server
say "longwave-server from $(realpath --relative-to="$root" "$tree"), pid $server_pid," \
  "port $(cat "$out/port"), metrics port $(metrics_port)"
report scrape "$(metrics_port)" "$out/before.txt"

say "encoding short.txt and long.txt, one vector each ..."
timed "encoding, short and long" encode_pooled
timed "encoding, nine of three topics" encode_topics
say "encoding million.txt through EncodeStream, all token rows ..."
timed "encoding, one million tokens" encode_million
report scrape "$(metrics_port)" "$out/after.txt"

say "metrics that moved (without histogram buckets):"
report moved "$out/before.txt" "$out/after.txt"
echo
if [ "$check" = 1 ]; then
  say "long documents against the numpy twin:"
  timed "checks against the twin" checks
  echo
fi
say "peak memory of the server:"
report peak "$server_pid" "$peak_limit_gib"
stop_server
echo
say "seconds of each stage:"
print_stages
echo
say "encoded:"
report table "$out"
echo
say "cosines in percent of documents of three topics:"
report topics "$out"
