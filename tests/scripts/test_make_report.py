"""The script is run as a user runs it; what it must write is stated in its docstring."""

import os
import subprocess
import sys
from pathlib import Path

from tests.report.run_dirs import write_curve, write_run, write_scores

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_report.py"
BASE, FINE = "tr_baseline", "ft_pretr_encoder_net_global_loss"


def _run(root, *arguments):
    command = [sys.executable, str(SCRIPT), "--dataset=phantom", f"--runs_dir={root / 'runs'}", *arguments]
    environment = {**os.environ, "FEWSLICE_DATA": str(root / "data")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_two_splits_one_of_them_unfinished(tmp_path):
    runs = [write_run(tmp_path / "runs", BASE), write_run(tmp_path / "runs", FINE)]
    runs.append(write_run(tmp_path / "runs", BASE, no_of_tr_imgs="tr2"))
    for run, value in zip(runs, (0.5, 0.6, 0.7), strict=True):
        write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, 0.6])
        write_scores(run, {case: (value,) * 3 for case in ("001_ED", "002_ED")})
    (runs[2] / "DONE").unlink()
    result = _run(tmp_path)
    page = tmp_path / "runs" / "phantom" / "report.html"
    assert result.returncode == 0, result.stderr
    assert "0.600" in result.stdout and f"Report: {page}" in result.stdout
    text = page.read_text(encoding="utf-8")
    assert "tr2" not in text and "No pictures" in text
    named = ",".join(str(run) for run in runs)
    result = _run(tmp_path, f"--runs={named}", f"--out={tmp_path / 'all.html'}")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert "Labelled split tr2 c1" in text and "Baseline, tr2 c1, seed 0: The run is not finished" in text


def test_error_is_one_message(tmp_path):
    result = _run(tmp_path)
    assert result.returncode == 1 and "There is no finished run of phantom below" in result.stderr
    assert "Traceback" not in result.stderr
