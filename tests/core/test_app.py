"""The frame of the scripts, run in processes of their own: messages and exit statuses that a user sees."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
from absl import flags
from fewslice.core import app, errors
flags.DEFINE_integer("steps", 3, "Steps.")

def main(argv):
    {body}

app.run(main)
"""


def run(tmp_path, body, *arguments, stdout=subprocess.PIPE):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(body=body))
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.parametrize(
    ("body", "status", "output", "words"),
    [
        ("print('steps', flags.FLAGS.steps)", 0, "steps 5\n", []),
        ("print('begun'); raise errors.ConfigError('`a` must be 1. Received: a=2')", 1, "begun\n",
         ["\nERROR: `a` must be 1. Received: a=2\n"]),
        ("raise errors.DataError('a.nii', expected='3-D', found='2-D', remedy='Convert it.')", 1, "",
         ["ERROR: a.nii\n  expected: 3-D\n  found:    2-D\n  remedy:   Convert it.\n"]),
        ("raise PermissionError(13, 'Permission denied', 'rounds/000')", 1, "",
         ["ERROR: rounds/000\n  expected: a file that you may use\n  found:    Permission denied\n  remedy:   Make"]),
        ("raise KeyboardInterrupt", 130, "", ["Repeat the same command to continue"]),
        ("raise RuntimeError('broken contract')", 1, "", ["Traceback", "broken contract"]),
        ("raise BrokenPipeError('of a worker')", 1, "", ["Traceback", "of a worker"]),
    ],
    ids=["success", "mistake", "file", "no permission", "interrupt", "defect", "pipe that is not the output"],
)  # fmt: skip
def test_messages_and_statuses(tmp_path, body, status, output, words):
    done = run(tmp_path, body, "--steps", "5")
    assert (done.returncode, done.stdout) == (status, output) and all(word in done.stderr for word in words)
    assert ("Traceback" in done.stderr) == ("Traceback" in words) and bool(done.stderr) == bool(words)


@pytest.mark.parametrize("flag", ["--helpxml", "-?"])
def test_help_is_no_failure(tmp_path, flag):
    done = run(tmp_path, "print('begun')", flag)
    assert done.returncode == 0 and "steps" in done.stdout and "begun" not in done.stdout and done.stderr == ""


@pytest.mark.parametrize(("steps", "status"), [("2", 0), ("90000", 141)], ids=["less than a buffer", "more"])
def test_output_that_nobody_reads_is_no_defect(tmp_path, monkeypatch, steps, status):
    """`| head` may be gone before anything is written: at the end, or while the script is on its way."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "")  # set, it would be on its way at the first line
    read, write = os.pipe()
    os.close(read)
    body = "[print(flags.FLAGS.steps) for _ in range(flags.FLAGS.steps)]"
    with os.fdopen(write, "w") as output:
        helped, done = (run(tmp_path, body, flag, stdout=output) for flag in ("--help", f"--steps={steps}"))
    assert (helped.returncode, helped.stderr) == (0, "")
    assert (done.returncode, done.stderr) == (status, "")


LISTED = "The flags are listed by --help."
WRITTEN = f"Flags are written --name=value, switches --name or --noname.\n{LISTED}"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["stray"], f"Unexpected argument: stray. {WRITTEN}"),
        (["--steps=4", "steps=5", "acdc", "--steps=6"], f"Unexpected arguments: steps=5 acdc. {WRITTEN}"),
        (["--stepz=3"], f"Unknown command line flag 'stepz'. Did you mean: steps ?\n{LISTED}"),
        (["--steps=x"], f"flag --steps=x: invalid literal for int() with base 10: 'x'\n{LISTED}"),
    ],
    ids=["word", "words and flags", "unknown flag", "wrong value"],
)
def test_wrong_command_line_is_one_message(tmp_path, arguments, message):
    done = run(tmp_path, "print('begun')", *arguments)
    assert done.returncode == 1 and done.stdout == "" and done.stderr == f"\nERROR: {message}\n"
