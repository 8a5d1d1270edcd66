"""The frame of the scripts, run in processes of their own: messages and exit statuses that a user sees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from fewslice.core import app

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
        ("open('.')", 1, "", ["ERROR: .\n", "  found:    Is a directory\n  remedy:   Put"]),
        ("raise KeyboardInterrupt", 130, "", ["Repeat the same command to continue"]),
        ("raise RuntimeError('broken contract')", 1, "", ["Traceback", "broken contract"]),
        ("raise BrokenPipeError('of a worker')", 1, "", ["Traceback", "of a worker"]),
    ],
    ids=["success", "mistake", "file", "no permission", "folder", "interrupt", "defect", "pipe that is not the output"],
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


FULL = "The output could not be written: No space left on device. The work itself is done, and its files are whole."


@pytest.mark.parametrize(
    "redirection, status, message",
    [
        (">/dev/full", 1, f"\nERROR: {FULL}\n"),
        ("2>/dev/full", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_streams_that_cannot_be_written_stop_no_work(tmp_path, redirection, status, message):
    """A file that is opened must not take the number of a stream that was closed."""
    path, kept = tmp_path / "script.py", tmp_path / "kept"
    body = f"print('a' * 99999); f = open({str(kept)!r}, 'w'); f.write(str(f.fileno())); from absl import logging; "
    path.write_text(SCRIPT.format(body=body + "logging.info('b')"))
    done = subprocess.run(["bash", "-c", f"{sys.executable} {path} {redirection}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.removesuffix("b\n").replace("b\n\n", "\n")) == (status, message)
    assert int(kept.read_text()) > 2


FIT = """import keras, numpy as np; from fewslice.data.batches.steps import StepBatches
    from fewslice.train.callbacks import StepMonitor, StopSignal
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile(loss="mse")
    monitor = StepMonitor(0, 2, StopSignal(), after_step=lambda step: None, totals={})
    network.fit(StepBatches(lambda step: (np.ones((1, 1)),) * 2, 0, 2), verbose=0, callbacks=[monitor])
    """


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="no mallopt")
@pytest.mark.parametrize("before", ["", FIT], ids=["at the start", "in a training"])
def test_freed_memory_is_kept(tmp_path, monkeypatch, before):
    """Blocks of a training step: two of 20 MB at a time, 5000 pages each. Whatever is kept faults no second time."""
    for name in ("TOP_PAD", "TRIM_THRESHOLD", "MMAP_THRESHOLD"):
        monkeypatch.delenv(f"MALLOC_{name}_", raising=False)
    step = "[bytearray(20 << 20) for _ in range(2)]"
    faults = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"
    body = f"{before}import resource; {step}; {step}; first = {faults}\n    for _ in range(10): {step}"
    done = run(tmp_path, f"{body}\n    print({faults} - first)")
    assert done.returncode == 0 and int(done.stdout) < 20_000, "ten steps touch 102 400 pages"


def test_names_that_no_terminal_can_show(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run(tmp_path, "print('\\u00e9\\udcff')").stdout == "\\xe9\\udcff\n"
    done = run(tmp_path, "'a\\udcff'.encode()")
    assert (done.returncode, done.stdout) == (1, "") and "ERROR: A name or path is no text in UTF-8: 'a\\udcff'" in (
        done.stderr
    )


@pytest.mark.parametrize("error", ["MemoryError", "ImportError('x.so: failed to map segment from shared object')"])
def test_memory_that_runs_out_is_one_message(tmp_path, error):
    done = run(tmp_path, f"raise {error}")
    assert done.returncode == 1 and "ERROR: Memory runs out" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("argument", ["--steps=~nobody-here/x", os.fsdecode(b"--steps=a\xff")])
def test_a_refused_argument_is_a_failure(tmp_path, argument):
    done = run(tmp_path, "print('begun')", argument)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("\nERROR: ")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("--runs_dir=~/x", "--runs_dir=/me/x"),
        ("--runs_dir=~", "--runs_dir=/me"),
        ("-runs_dir=~", "-runs_dir=/me"),
        ("~/x", "/me/x"),
        ("data_path_tr=~/x", "data_path_tr=/me/x"),
        ("--set=encoder.run=~/x", "--set=encoder.run=/me/x"),
        ("--set=query.score=~", "--set=query.score=~"),
        ("query.score=~", "query.score=~"),
        ("--runs_dir=a~/x", "--runs_dir=a~/x"),
        ("--runs_dir=./~/x", "--runs_dir=./~/x"),
        ("--runs_dir=~nobody-here/x", "--runs_dir=~nobody-here/x: no home folder is known for ~nobody-here."),
        ("--labels=a\udcff", r"The argument '--labels=a\udcff' is no text in UTF-8."),
    ],
)
def test_tilde_is_the_home_folder(monkeypatch, capsys, text, expected):
    monkeypatch.setenv("HOME", "/me")
    try:
        assert app._argument(text) == expected
    except SystemExit:
        assert capsys.readouterr().err.startswith(f"\nERROR: {expected}")
