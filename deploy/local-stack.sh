#!/usr/bin/env bash
# Servers, Prometheus and Alertmanager on loopback under a staged overload.
set -euo pipefail
program="local-stack"
# shellcheck source=stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

usage() {
  cat <<'USAGE'
usage: deploy/local-stack.sh [--seconds N] [--png FILE] [--keep FOLDER] [--help]

Starts two real servers with the default model, Prometheus with the rules of
deploy/prometheus (their times divided by 30) and Alertmanager, all on loopback and
free ports. Load: normal, overload, normal again. Ends with a table: targets up,
rules loaded, alerts fired and resolved by the overload, the dashboard's queries
that have data and those that have none, picture written. Exit code 0: all of it;
1: not all; 2: wrong usage. Everything that was started is stopped at the end.

  --seconds N    about how long in all (default 120, at least 100), without what is
                 installed the first time
  --png FILE     the picture (default deploy/grafana/longwave.png)
  --keep FOLDER  keep logs, configurations and the drawn series there

Programs and model: LONGWAVE_SERVER, LONGWAVE_CLI and LONGWAVE_MODEL; what is not set
is taken from build/install, else from build/release (deploy/build.sh makes both).
Prometheus and Alertmanager are the system's, or those that deploy/tools.sh takes out
of Debian's packages into .cache/, without root or a service; matplotlib goes into
.cache/venv-plot. Logs: build/local-stack-logs/.
USAGE
}

seconds=120
png="$root/deploy/grafana/longwave.png"
more=()
# value_of <option> <what> [<value>]
value_of() {
  if [ -z "${3:-}" ] || [[ "$3" == --* ]]; then
    echo "local-stack: $1 needs $2" >&2
    exit 2
  fi
}
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) value_of "$1" "a number" "${2:-}"; seconds="$2"; shift 2 ;;
    --png) value_of "$1" "a file" "${2:-}"; png="$(realpath -m "$2")"; shift 2 ;;
    --keep) value_of "$1" "a folder" "${2:-}"; more=(--keep "$(realpath -m "$2")"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "local-stack: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
case "$seconds" in
  '' | *[!0-9]*) echo "local-stack: --seconds: not a whole number: '$seconds'" >&2; exit 2 ;;
esac
if [ "$seconds" -lt 100 ]; then
  echo "local-stack: --seconds: at least 100: start, three stages and an end take that long" >&2
  exit 2
fi
logs="$root/build/local-stack-logs"
plot_venv="$root/.cache/venv-plot"
cd "$root"

# find_program <variable> <in build/install> <in build/release>
find_program() {
  local given="${!1:-}" candidate
  for candidate in ${given:+"$given"} "$root/build/install/$2" "$root/build/release/$3"; do
    if [ -e "$candidate" ]; then
      printf '%s\n' "$candidate"
      return 0
    fi
    if [ -n "$given" ]; then break; fi
  done
  echo "local-stack: $1: ${candidate:-nothing} is not there; bash deploy/build.sh, or set $1" >&2
  return 1
}
server="$(find_program LONGWAVE_SERVER bin/longwave-server server/longwave-server)"
cli="$(find_program LONGWAVE_CLI bin/longwave client/cli/longwave)"
model="$(find_program LONGWAVE_MODEL share/longwave/models/default models/default)"

export PATH="$PATH:$root/.cache/tools/bin"
have_programs() { command -v prometheus && command -v prometheus-alertmanager; }
install_plot() {
  python3 -m venv "$plot_venv" && "$plot_venv/bin/pip" install --disable-pip-version-check 'matplotlib==3.10.*'
}

have_programs >/dev/null || stage "prometheus" bash "$root/deploy/tools.sh" --prometheus
"$plot_venv/bin/python" -c 'import matplotlib' 2>/dev/null || stage "matplotlib" install_plot
exec python3 -u "$root/deploy/prometheus/local_stack.py" --seconds "$seconds" --png "$png" \
  --plot-python "$plot_venv/bin/python" --server "$server" --cli "$cli" --model "$model" "${more[@]}"
