"""What becomes of a part's rows: verdicts, amounts, exit codes, and parts that hang or die."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys

import pytest
import rows
import soak

PLAN = soak.PartPlan("stub", 1.0)


def part(short: bool = False) -> rows.Part:
    return rows.Part("stub", 1, short)


def test_a_bar_held_with_too_little_is_short_and_no_pass():
    run = part()
    run.at_most("enough", 0, 0, "calls", rows.Amount(50, 50, "drains"))
    run.at_most("little", 0, 0, "calls", rows.Amount(49, 50, "drains"))
    run.at_most("missed", 1, 0, "calls", rows.Amount(49, 50, "drains"))
    run.at_least("any", 1, 1, "")
    assert [row["pass"] for row in run.rows] == [True, False, False, True]
    assert [row["short"] for row in run.rows] == [False, True, False, False]


@pytest.mark.parametrize("short,code", [(False, rows.EXIT_MISSED), (True, 0)])
def test_only_a_short_run_may_end_well_with_short_rows(short, code):
    run = part(short)
    run.at_most("little", 0, 0, "calls", rows.Amount(3, 50, "drains"))
    assert run.exit_code() == code
    run.at_most("missed", 1, 0, "calls", rows.Amount(3, 50, "drains"))
    assert run.exit_code() == rows.EXIT_MISSED


def test_the_table_tells_with_how_much_a_row_was_measured():
    run = part()
    run.at_most("enough", 0, 0, "calls", rows.Amount(1_000_000, 1_000_000, "calls"))
    run.at_least("little", 1, 1, "", rows.Amount(2.5, 60, "s"))
    run.at_most("missed", 7, 1, "")
    run.not_measured("nothing", "no time")
    lines = soak.table(run.rows).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["pass", "short", "MISS", "----"]
    assert lines[0].endswith("1_000_000 calls")
    assert lines[1].endswith("2.5 of 60 s")


@pytest.fixture
def run_stub(tmp_path, monkeypatch):
    def run(text: str) -> list[dict]:
        (tmp_path / "stub.py").write_text(text)
        return soak.run_part(PLAN, 1, short=False)

    monkeypatch.setattr(soak, "FOLDER", tmp_path)
    monkeypatch.setattr(soak, "limit_seconds", lambda seconds: 1.0)
    return run


ROW = {"row": "first", "figure": 0, "limit": 0, "unit": "", "direction": "max", "pass": True,
       "short": False, "amount": None, "detail": {}}
PRINT_ROW = f"print({json.dumps(json.dumps(ROW))}, flush=True)\n"


def test_a_part_that_hangs_keeps_its_rows_and_leaves_no_process(run_stub, tmp_path):
    # Its child holds the other end of a pipe for as long as it lives.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    found = run_stub(
        "import os, time\n" + PRINT_ROW + "print('{\"half', end='', flush=True)\n"
        f"if os.fork() == 0:\n    held = open({str(pipe)!r}, 'w')\n    held.write('x')\n"
        "    held.flush()\n"
        "time.sleep(600)\n"
    )
    assert [row["row"] for row in found] == ["first", "stub"]
    assert "did not end" in found[1]["problem"]
    assert os.read(end, 1) == b"x", "there was a child"
    waiting = select.poll()
    waiting.register(end, select.POLLIN)
    assert [event for _, event in waiting.poll(10_000)] == [select.POLLHUP]


def test_what_ends_the_soak_ends_its_part(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "drain.py").write_text(f"import time\nheld = open({str(pipe)!r}, 'w')\ntime.sleep(600)\n")
    run = (
        f"import sys; sys.path.insert(0, {str(pathlib.Path(soak.__file__).parent)!r}); import soak, "
        f"pathlib; soak.FOLDER = pathlib.Path({str(tmp_path)!r}); "
        "sys.argv = ['soak', '--only=drain']; sys.exit(soak.main())"
    )
    process = subprocess.Popen([sys.executable, "-c", run], stderr=subprocess.DEVNULL)
    with open(pipe) as end:  # once the part is there
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        assert end.read() == ""


def test_time_that_a_part_leaves_goes_to_the_ones_behind_it():
    plans = [soak.PartPlan("a", 0.5), soak.PartPlan("b", 0.3), soak.PartPlan("c", 0.2)]
    assert soak.seconds_of(plans, 100) == pytest.approx(50)
    assert soak.seconds_of(plans[1:], 90) == pytest.approx(54)
    assert soak.seconds_of(plans[2:], -5) == 1
    assert sum(plan.share for plan in soak.PARTS) == pytest.approx(1)


def test_a_part_that_dies_keeps_its_rows(run_stub):
    found = run_stub(PRINT_ROW + "import os\nos.abort()\n")
    assert [row["row"] for row in found] == ["first", "stub"]
    assert "exit code -6" in found[1]["problem"]


def test_a_part_that_ends_is_believed(run_stub):
    found = run_stub(PRINT_ROW + f"raise SystemExit({rows.EXIT_MISSED})\n")
    assert [row["row"] for row in found] == ["first"]
    assert found[0]["part"] == "stub"
