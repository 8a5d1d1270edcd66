"""Runs a command undisturbed, and the same command again and again, each time killed at another moment, to its end.

Command: python -m tests.train_model.kill_driver

Each line of the standard input is a job in JSON: a script of train_model, its arguments ("argv") and environment, the
folders of runs of both ("calm", "killed"), and the "moments", "more" and "seed" of `draw_moments`. The answer is a line
with the moments and the exit statuses of all processes (-9: killed).

Nothing inside FewSlice is named. What counts are writes, each of which ends with `os.replace` of a temporary file, and
training steps, as Keras tells its callbacks of them. The undisturbed run notes both, and moments are drawn from them:
before a write, after it, or within it, with half of the temporary file on the disk. A moment comes at the n-th write of
a file, counted over all processes of the second run.

The processes are forked from one that has imported everything, which saves seconds for each. Networks are small and not
compiled, which would take longer than the few steps until each death. Nor do they draw.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import re
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
from PIL import Image

import fewslice
from fewslice.core import plugins
from tests.train_model import tiny, tiny_al

BEFORE, MIDDLE, AFTER = "before", "within", "after"
STEP = "step"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Watch:
    """Notes what this process does in a file that outlives it, and kills it at its moment.

    Args:
        journal: The file; a line for each write and step of all processes so far.
        runs: Folder of runs; other writes do not count.
        moments: (what, how often it came before) -> before, within or after it.
    """

    def __init__(self, journal: Path, runs: Path, moments: dict[tuple[str, int], str]):
        self._journal = journal
        self._runs = str(runs)
        self._moments = moments
        self._counts = Counter(journal.read_text().splitlines())

    def _next(self, what: str) -> str:
        """Notes that something comes; returns when it is to be fatal, "" if it is not."""
        moment = self._moments.get((what, self._counts[what]), "")
        self._counts[what] += 1
        with open(self._journal, "a") as file:
            file.write(what + "\n")
        return moment

    def install(self) -> None:
        """Watches `os.replace` and the steps of Keras' `fit` from now on."""
        replace, steps = os.replace, keras.callbacks.CallbackList
        begin, end = steps.on_train_batch_begin, steps.on_train_batch_end

        def watched_replace(source, target, **options):
            path = os.path.relpath(os.path.abspath(target), self._runs)
            moment = "" if path.startswith("..") else self._next(path)
            if moment == MIDDLE and ".tmp" in os.path.basename(source):  # another rename has no middle
                os.truncate(source, os.path.getsize(source) // 2)
            if moment in (BEFORE, MIDDLE):
                die()
            replace(source, target, **options)
            if moment == AFTER:
                die()

        def watched_begin(callbacks, *arguments, **options):
            self._of_step = self._next(STEP)
            if self._of_step == BEFORE:
                die()
            begin(callbacks, *arguments, **options)

        def watched_end(callbacks, *arguments, **options):
            end(callbacks, *arguments, **options)
            if self._of_step in (MIDDLE, AFTER):
                die()

        os.replace = watched_replace
        steps.on_train_batch_begin, steps.on_train_batch_end = watched_begin, watched_end


def kind(what: str) -> str:
    """Returns the name of a file without numbers and digests, so that like files of all folders are one kind."""
    return re.sub(r"-[0-9a-f]{8,}|\d+", "", os.path.basename(what))


def draw_moments(journal: list[str], wanted: list[str], more: int, seed: int) -> dict[tuple[str, int], str]:
    """Returns at which write or step, counted from 0, a process dies, and whether before, within or after it.

    Args:
        journal: What the undisturbed run did.
        wanted: For each moment a kind, such as "DONE", or the moment and a kind, such as "before state.npz".
        more: How many moments of other kinds are drawn.
        seed: Decides what is left open.
    """
    rng = np.random.default_rng(seed)
    counts = Counter(journal)
    others = sorted({kind(what) for what in journal} - {text.split()[-1] for text in wanted})
    moments: dict[tuple[str, int], str] = {}
    for text in [*wanted, *rng.permutation(others)[:more]]:
        *moment, name = text.split()
        free = [(what, n) for what in counts if kind(what) == name for n in range(counts[what])]
        free = [one for one in free if one not in moments]
        if not free:
            raise RuntimeError(f"The undisturbed run has no {text!r} (left). It has {sorted(map(kind, counts))}.")
        moments[free[rng.integers(len(free))]] = moment[0] if moment else (BEFORE, MIDDLE, AFTER)[rng.integers(3)]
    return moments


def run(script: str, argv: list[str], journal: Path, runs: str, moments: dict[tuple[str, int], str]) -> int:
    """Runs a script in a process of its own. Returns its exit status."""
    journal.touch()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        Watch(journal, Path(runs), moments).install()
        matplotlib.figure.Figure.savefig = lambda _self, file, **_: Image.new("RGB", (1, 1)).save(file, "png")
        plugins.load()
        with tiny.quick_networks() as patch:
            tiny_al.use_small_networks(patch)
            tiny.execute(script, [*argv, f"--runs_dir={runs}"])
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def answer(job: dict) -> dict:
    """Does a job."""
    os.environ.update(job["environment"])
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = (Path(folder) / name for name in ("calm", "killed"))
        statuses = [run(job["script"], job["argv"], calm, job["calm"], {})]
        moments = draw_moments(calm.read_text().splitlines(), job["moments"], job["more"], job["seed"])
        for _ in range(len(moments) + 1):
            statuses.append(run(job["script"], job["argv"], killed, job["killed"], moments))
            if statuses[-1] != -signal.SIGKILL:
                break
    return {"moments": [f"{moment} {what} {n}" for (what, n), moment in moments.items()], "statuses": statuses}


if __name__ == "__main__":
    os.fsync = lambda handle: None  # as in tests/conftest.py
    for module in pkgutil.walk_packages(fewslice.__path__, "fewslice."):  # imported once, for all children
        importlib.import_module(module.name)
    gc.freeze()  # Keras collects garbage between networks; of all that is imported there is none
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
