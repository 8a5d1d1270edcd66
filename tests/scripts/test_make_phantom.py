"""The script is run as a user runs it; what it must write is stated in its docstring."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_phantom.py"


def _run(*arguments, **environment):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


def test_writes_patients_and_says_where(tmp_path):
    result = _run("--num_patients", "1", FEWSLICE_DATA=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "phantom" / "patient001" / "Info.cfg").is_file()
    assert "1/1 patients" in result.stdout and str(tmp_path / "phantom") in result.stderr


def test_error_is_one_message(tmp_path):
    result = _run(f"--output={tmp_path / 'x'}", "--num_patients=0")
    assert result.returncode == 1
    assert "ERROR: `num_patients` must be between 1 and 999. Received: num_patients=0" in result.stderr
    assert "Traceback" not in result.stderr
