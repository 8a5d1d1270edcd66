"""Every script answers `--help` and wrong flags without loading Keras, in a process of its own."""

import subprocess
import sys

import pytest

from tests.golden_files import REPOSITORY

SCRIPTS = sorted(path.stem for path in (REPOSITORY / "scripts").glob("*.py"))


def run(script, *arguments):
    command = [sys.executable, "-X", "importtime", str(REPOSITORY / "scripts" / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_complete_and_needs_no_keras(script):
    answer = run(script, "--help")
    assert f"python scripts/{script}.py" in answer.stdout and "Default" in answer.stdout or "default" in answer.stdout
    loaded = {line.split()[-1] for line in answer.stderr.splitlines() if line.startswith("import time:")}
    assert "fewslice.core.app" in loaded and not {"keras", "tensorflow"} & loaded


def test_wrong_flags_are_one_message():
    wrong, name = run("verify_dataset", "--worker=1"), run("create_cropped_imgs", "--dataset=acdcc")
    assert wrong.returncode != 0 and "workers" in wrong.stderr
    assert name.returncode != 0 and "Did you mean 'acdc'" in name.stderr and "Traceback" not in name.stderr
