"""A tiny run of every bar: the figures prove nothing, the fields and exit codes are those promised."""

import json
import subprocess
import sys

PROGRAM = sys.argv[1]
BAR_FIELDS = {"bar", "what", "value", "limit", "direction", "pass", "repeats", "error", "reference",
              "seconds", "warm_up_seconds", "disagreement", "threads", "device", "target"}
BARS = {
    "attention": {
        "core_vs_sdpa_16k", "core_vs_floor_16k", "core_vs_sdpa_mask_4k", "core_vs_sdpa_1k",
        "core_vs_textbook_fft_4k", "core_linear", "core_linear_2_heads", "tiles_vs_floor_1k_m32",
        "tiles_vs_floor_1k_m64", "tiles_vs_sdpa_1k_m32", "tiles_vs_sdpa_1k_m64",
        "log_buckets_vs_clipped_64k", "fft_vs_textbook_64k", "fft_memory_vs_textbook_64k",
        "interpolation_vs_tiles_64k", "interpolation_certificate", "core_ragged"},
    "encoder": {
        "encoder_vs_softmax_8k", "encoder_roof_8k", "encoder_vs_softmax_512",
        "softmax_twin_vs_nn_512", "encoder_linear", "encoder_linear_2_layers", "encoder_ragged"},
}


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)


def check(condition, text):
    if not condition:
        sys.exit(f"bench_json_test: {text}")


def check_bar(line):
    missing = BAR_FIELDS - line.keys()
    check(not missing, f"{line.get('bar')} lacks {sorted(missing)}")
    check(line["direction"] in ("<=", ">="), f"direction of {line['bar']}")
    if line["value"] is None:
        check(not line["pass"], f"{line['bar']} passes without a value")
        check("note" in line, f"{line['bar']} does not say why it has no value")
        return
    holds = (line["value"] >= line["limit"] if line["direction"] == ">="
             else line["value"] <= line["limit"])
    check(line["pass"] == holds, f"pass of {line['bar']}")
    check(line["error"] <= 1e-4, f"error of {line['bar']}: {line['error']}")
    check(line["repeats"] >= 1 and line["seconds"], f"times of {line['bar']}")
    if line["repeats"] == 1:
        check(line["disagreement"] is None and "note" in line, f"{line['bar']}: one run unsaid")


def check_suite(command):
    # The limit is out of reach: whether this machine is quiet is not what is tested.
    result = run(command, "--suite=tiny", "--json", "--repeat=2", "--limit=1000", "--threads=2")
    check(result.returncode == 0, f"{command}: exit {result.returncode}: {result.stderr}")
    lines = [json.loads(text) for text in result.stdout.splitlines()]
    rooflines = lines[0].get("rooflines", {})
    for name in ("sgemm_gflops", "sgemm_best_gflops", "copy_gb_per_second", "exp_per_second"):
        check(rooflines.get(name, 0) > 0, f"{command}: roofline {name}")
    bars = [line for line in lines if "bar" in line]
    names = [bar["bar"] for bar in bars]
    check(len(names) == len(set(names)), f"{command}: a bar twice in {names}")
    check(set(names) == BARS[command], f"{command}: {set(names) ^ BARS[command]}")
    for bar in bars:
        check_bar(bar)


def check_refusal():
    # No two runs agree to a part in 10^9.
    result = run("encoder", "--suite=tiny", "--json", "--limit=1e-9", "--retries=0")
    check(result.returncode == 3, f"refusal: exit {result.returncode}")
    check("did not repeat" in result.stderr, f"refusal: {result.stderr}")
    check('"bar"' not in result.stdout, "refused bars were printed")


def check_only():
    result = run("encoder", "--suite=tiny", "--json", "--limit=1000", "--only=encoder_linear")
    bars = [json.loads(text).get("bar") for text in result.stdout.splitlines()]
    check(bars == [None, "encoder_linear"], f"--only: {bars}")
    check(run("encoder", "--suite=tiny", "--only=no_such_bar").returncode == 2,
          "an unknown bar is wrong usage")


def main():
    check(run("attention", "--suite=none").returncode == 2, "an unknown suite is wrong usage")
    check(run("attention", "--suite=long").returncode == 2, "encoder's suite asked of attention")
    for command in BARS:
        check_suite(command)
    check_refusal()
    check_only()


main()
