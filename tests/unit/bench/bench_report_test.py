"""deploy/bench_report.sh on files: the page and the picture hold what the files hold."""

import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

SCRIPT = sys.argv[1]
SVG = "{http://www.w3.org/2000/svg}"

ROOFLINES = {"rooflines": {"sgemm_gflops": 150.0, "sgemm_best_gflops": 160.0,
                           "sgemm_best_library": "x", "copy_gb_per_second": 25.0,
                           "exp_per_second": 5e9},
             "device": "cpu", "target": "avx2", "threads": 2}
BAR = {"bar": "core_vs_sdpa_16k", "what": "a < b", "value": 30.5, "limit": 28.0, "direction": ">=",
       "pass": True, "repeats": 3, "error": 1e-6, "reference": "double",
       "seconds": {"ours": 0.2, "sdpa": 6.1}}
MISSED = dict(BAR, bar="tiles_vs_floor_1k_m32", value=None) | {"pass": False}


def point(name, bias, n, seconds, peer):
    return {"point": name, "bias": bias, "peer": peer, "seconds": seconds * 2 * n,
            "seconds_per_token_head": seconds, "floor_seconds": seconds * n, "error": 0.0, "n": n,
            "heads": 2, "head_dim": 64, "features": 64}


def check(condition, text):
    if not condition:
        sys.exit(f"bench_report_test: {text}")


def run(*arguments):
    return subprocess.run(["bash", SCRIPT, *arguments], capture_output=True, text=True, check=False)


def check_report(folder):
    lengths = [512 << i for i in range(12)]
    objects = [ROOFLINES, BAR, MISSED]
    objects += [point("chunkwise", "t5", n, 1e-7, False) for n in lengths]
    objects += [point("sdpa", "t5", n, 1e-10 * n, True) for n in lengths[:6]]
    objects += [point("chunkwise", "none_causal", n, 1e-7, False) for n in lengths]  # not drawn
    source = folder / "bench.jsonl"
    source.write_text("\n".join(json.dumps(each) for each in objects), encoding="utf-8")
    result = run("--out", str(folder / "out"), "--title", "A & B", str(source))
    check(result.returncode == 0, f"exit {result.returncode}: {result.stderr}")
    picture = xml.etree.ElementTree.parse(folder / "out" / "bench.svg").getroot()
    texts = [element.text for element in picture.iter(SVG + "text")]
    for wanted in ("A & B", "chunkwise, t5", "SDPA, no bias", "64k", "100 ns"):
        check(wanted in texts, f"{wanted} is not in the picture: {texts}")
    # Two lines and the floor of ours; a circle a point.
    check(len(list(picture.iter(SVG + "path"))) == 3, "number of lines")
    check(len(list(picture.iter(SVG + "circle"))) == 12 + 6, "number of points")
    page = (folder / "out" / "bench.html").read_text(encoding="utf-8")
    for wanted in ("core_vs_sdpa_16k", "a &lt; b", "30.5", "missed", "none", "150 GFLOP/s"):
        check(wanted in page, f"{wanted} is not in the page")


def check_linear_is_level(folder):
    picture = xml.etree.ElementTree.parse(folder / "out" / "bench.svg").getroot()
    heights = {circle.get("cy") for circle in list(picture.iter(SVG + "circle"))[:12]}
    check(len(heights) == 1, f"a constant time is not level: {heights}")


def check_refusals(folder):
    broken = folder / "broken.jsonl"
    broken.write_text('{"bar": 1}\nnot json\n', encoding="utf-8")
    result = run("--out", str(folder / "out2"), str(broken))
    check(result.returncode != 0 and "broken.jsonl:2" in result.stderr, "a broken line is named")
    check(run("--no_such_option").returncode == 2, "an unknown option is wrong usage")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        check_report(folder)
        check_linear_is_level(folder)
        check_refusals(folder)


main()
