"""Plugins as scripts load them, from files outside the checkout. Messages are those that a user is to see.

That the shipped tables take what a plugin registers is shown by the examples of docs/extending.md
(tests/test_extending.py).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

SHAPES = "from fewslice.core.registry import Registry\n\nSHAPES = Registry('shape')\nSHAPES.register('square')(4)\n"
SCRIPT = """
from fewslice.core import app, backend, plugins
from shapes import SHAPES

def main(argv):
    print({name: SHAPES.get(name) for name in SHAPES.names()})
    print([(plugin.file, plugin.sha256, plugin.registered) for plugin in plugins.loaded()])

app.run(main)
"""
TRIANGLE = "from shapes import SHAPES\n\nprint('imported')\nSHAPES.register('triangle')(3)\n"


@pytest.fixture
def run(tmp_path):
    """A function (*arguments, variable, **files) that writes the files and runs the script with plugins."""

    def call(*arguments, variable="", **files):
        for name, text in {"shapes": SHAPES, "script": SCRIPT, **files}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        command, environment = [sys.executable, "script.py", *arguments], os.environ | {"FEWSLICE_PLUGINS": variable}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    return call


def test_a_file_is_imported_once_and_recorded(run, tmp_path):
    done = run("--plugin=mine.py", "--plugin", "./mine.py", variable=str(tmp_path / "mine.py"), mine=TRIANGLE)
    record = (str(tmp_path / "mine.py"), hashlib.sha256(TRIANGLE.encode()).hexdigest(), (("shape", "triangle"),))
    assert done.stdout == f"imported\n{{'square': 4, 'triangle': 3}}\n{[record]}\n"
    assert (done.returncode, done.stderr) == (0, "") and not list(tmp_path.glob("__pycache__/mine*"))


def test_several_files_and_packages(run, tmp_path):
    circle = {"pack/__init__": "import pack.circle", "pack/circle": TRIANGLE.replace("triangle", "circle")}
    done = run("--plugin=mine.py", variable=f"pack{os.pathsep}", mine=TRIANGLE, **circle)
    assert done.stdout.splitlines()[2] == "{'circle': 3, 'square': 4, 'triangle': 3}", done.stderr
    assert "pack/__init__.py" in done.stdout and "(('shape', 'circle'),)" in done.stdout


@pytest.mark.parametrize(
    "text, message",
    [
        ("\nx = (1,\n", "mine.py:2: SyntaxError: '(' was never closed"),
        ("import shapes\n\n1 / 0\n", "mine.py:3: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found\n", "mine.py:1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("from shapes import SHAPES\n\n\ndef add():\n    SHAPES.register('square')(5)\n\n\nadd()\n",
         "mine.py:5: RuntimeError: The shape 'square' is registered twice. The other one: {folder}/shapes.py:4"),
        ("import sys\n\nsys.exit(0)\n", "mine.py:3: SystemExit: 0"),
    ],
    ids=["syntax", "exception", "import", "taken name", "exit"],
)  # fmt: skip
def test_a_mistake_is_told_with_its_file_and_line(run, tmp_path, text, message):
    done = run("--plugin=mine.py", mine=text)
    wanted = f"\nERROR: {tmp_path}/{message.format(folder=tmp_path)}\nMend the plugin, or leave it out.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)


@pytest.mark.parametrize(
    "argument, variable, message",
    [
        ("--plugin=other.py", "", "--plugin=other.py: there is no file {folder}/other.py. A plugin is a Python file"),
        ("--plugin=", "no_such_package", "FEWSLICE_PLUGINS=no_such_package: there is no package of this name."),
        ("--plugin=none.such", "", "--plugin=none.such: there is no package of this name."),
        ("--plugin=sys", "", "--plugin=sys: there is no package of this name."),
    ],
)
def test_what_is_not_there_is_told(run, tmp_path, argument, variable, message):
    done = run(argument, variable=variable)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"\nERROR: {message.format(folder=tmp_path)}")


def test_a_file_that_registers_nothing_is_a_warning(run, tmp_path):
    done = run("--plugin=mine.py", mine="SHAPE = 'round'\n")
    assert done.returncode == 0 and done.stderr == f"WARNING: The plugin {tmp_path}/mine.py registers nothing.\n"


def test_help_does_not_run_plugins(run):
    done = run("--plugin=mine.py", "--help", mine=TRIANGLE)
    assert done.returncode == 0 and "FEWSLICE_PLUGINS come first" in done.stdout and "imported" not in done.stdout
