# Sourced by test.sh and demo.sh: named stages with their seconds, logs kept, failures shown.
# The script that sources this sets `program` (its name) before, `logs` (a folder) after.
# shellcheck shell=bash disable=SC2154

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PATH="$root/.venv/bin:$PATH"
# Compiler output is the same wherever the clone lies.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$root}"
stage_names=()
stage_seconds=()

say() { printf '%s: %s\n' "$program" "$*"; }

# Compiling LibTorch's headers takes up to 2.5 GiB a job.
default_jobs() {
  local cores memory_jobs
  cores="$(nproc)"
  memory_jobs="$(awk '/MemAvailable/ {print int($2 / 2621440)}' /proc/meminfo)"
  if [ "$memory_jobs" -lt 1 ]; then memory_jobs=1; fi
  if [ "$memory_jobs" -lt "$cores" ]; then echo "$memory_jobs"; else echo "$cores"; fi
}

# stage <name> <command...>: runs the command with its output in a log file. If it fails, shows the
# log's end and leaves the script with its code.
stage() {
  local name="$1" log="$logs/${1//[^a-z0-9]/-}.log" begin=$SECONDS code=0
  shift
  say "$name ..."
  mkdir -p "$logs"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  stage_names+=("$name")
  stage_seconds+=($((SECONDS - begin)))
  if [ "$code" != 0 ]; then
    say "FAILED after $((SECONDS - begin)) s: $name (exit $code). The end of ${log#"$root/"}:"
    tail -n 60 "$log"
    exit "$code"
  fi
  say "$name: $((SECONDS - begin)) s"
}

print_stages() {
  local i
  for i in "${!stage_names[@]}"; do
    printf '  %6d s  %s\n' "${stage_seconds[$i]}" "${stage_names[$i]}"
  done
}
