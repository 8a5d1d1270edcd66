"""The script is run as a user runs it; what it must write is stated in its docstring."""

import os
import subprocess
import sys
from pathlib import Path

from tests.report.experiment_dirs import write_curve, write_experiment

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_al_report.py"


def _run(*arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=120)


def test_table_page_and_numbers(tmp_path):
    runs = [write_experiment(tmp_path, name) for name in ("random", "mfc")]
    for run, dice in zip(runs, (0.5, 0.6), strict=True):
        write_curve(run, {0.01: dice, 0.02: dice + 0.1})
    (runs[1] / "DONE").unlink()
    result = _run("--dataset=acdc_h5", f"--runs_dir={tmp_path}")
    folder = tmp_path / "acdc_h5" / "run_al_exp"
    assert result.returncode == 0, result.stderr
    assert "Difference from random" in result.stdout and "+0.100" in result.stdout
    assert f"Report: {folder / 'report.html'}" in result.stdout and (folder / "results.csv").is_file()
    assert "The experiment is not finished" in result.stderr
    one = _run("--dataset=acdc_h5", f"--experiments={runs[0]}", f"--output={tmp_path / 'one.html'}", "--title=Mine")
    assert one.returncode == 0, one.stderr
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in text and "mfc" not in text and (tmp_path / "one.csv").is_file()


def test_no_experiment_is_one_message(tmp_path):
    result = _run("--dataset=acdc_h5", f"--runs_dir={tmp_path}")
    assert result.returncode == 1 and "There is no experiment of acdc_h5 below" in result.stderr
    assert "Traceback" not in result.stderr
