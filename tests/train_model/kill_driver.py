"""Runs training scripts one after the other, each in a process of its own that may kill itself with SIGKILL on the way.

Command: python -m tests.train_model.kill_driver JOBS.json

JOBS.json lists {"script", "argv", "kill", "seconds"}. "kill" is null or the name of a moment (`MOMENTS`) and how often
it passes unharmed; "seconds", if there, is the time after which the process is killed from outside unless its moment
came before. The last line printed is the list of the exit statuses (-9: killed).

The processes are forked from one that has imported everything, which saves seconds for each. TensorFlow compiles
nothing, which would take longer than the few steps until each death. Nor do they draw.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.train_model import tiny


def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def _half_a_file(file, **arrays):
    """Writes the first half of what `np.savez` would write."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    file.write(memory.getvalue()[: memory.tell() // 2])
    file.flush()
    die()


def named(name):
    return lambda path, *_args, **_kwargs: Path(path).name == name


def moved_to(name):
    return lambda _source, target, *_args: Path(target).name == name


def any_call(*_args, **_kwargs):
    return True


# Moment -> (object, function that passes it, which calls count, what happens instead of the call, what after it).
MOMENTS = {
    "before a step": ("fewslice.train.callbacks.StepMonitor", "on_train_batch_begin", any_call, die, None),
    "after a step": ("fewslice.train.callbacks.StepMonitor", "on_train_batch_end", any_call, None, die),
    "in validation": ("fewslice.evaluate.validation", "predict_volume", any_call, die, None),
    "in the monitor": ("fewslice.stages.contrastive", "effective_rank", any_call, die, None),
    "writing a file": ("fewslice.core.checkpoint.np", "savez", any_call, _half_a_file, None),
    "after the best weights": ("fewslice.core.checkpoint", "save_arrays", named("best.npz"), None, die),
    "before the state": ("fewslice.core.checkpoint", "save_arrays", named("next.state.npz"), die, None),
    "before the first rename": ("os", "replace", moved_to("state.previous.npz"), die, None),
    "between the renames": ("os", "replace", moved_to("state.npz"), die, None),
    "after the renames": ("os", "replace", moved_to("state.npz"), None, die),
    "before the log": ("fewslice.core.files", "write_csv", named("train.csv"), die, None),
    "before the last weights": ("os", "replace", moved_to("last.npz"), die, None),
    "in pseudo-labels": ("fewslice.core.files", "write_array", any_call, die, None),
    "before the round is complete": ("fewslice.core.files", "write_json", named("round.json"), die, None),
    "in the test": ("fewslice.evaluate.volumes", "predict_volume", any_call, die, None),
    "before the end": ("fewslice.core.run.Run", "finish", any_call, die, None),
}


def _find(dotted):
    module, _, attribute = dotted.rpartition(".")
    if not module:
        return importlib.import_module(dotted)
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), attribute)


def lay_trap(moment: str, passes: int) -> None:
    """Makes this process kill itself when `moment` comes after it has passed `passes` times."""
    place, name, counts, instead, after = MOMENTS[moment]
    owner = _find(place)
    real = getattr(owner, name)
    left = [passes]

    def trapped(*args, **kwargs):
        if not counts(*args, **kwargs):
            return real(*args, **kwargs)
        left[0] -= 1
        if left[0] < 0 and instead is not None:
            setattr(owner, name, real)
            return instead(*args, **kwargs)
        result = real(*args, **kwargs)
        if left[0] < 0:
            after()
        return result

    setattr(owner, name, trapped)


def _child(job: dict, execute: Callable[[dict], None]) -> None:
    from fewslice.core import files
    from fewslice.stages.joint import pools

    status = 1
    try:
        if job["kill"] is not None:
            lay_trap(*job["kill"])
        tiny.run_eagerly(True)
        pools.draw_gallery = lambda path, *_args, **_names: files.write_bytes(path, b"drawn")
        execute(job)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_jobs(path: str, execute: Callable[[dict], None]) -> None:
    """Runs the jobs of a file one after the other and prints how they ended; `execute` runs one."""
    statuses = []
    for job in json.loads(Path(path).read_text()):
        child = os.fork()
        if child == 0:
            _child(job, execute)
        if job.get("seconds"):
            time.sleep(job["seconds"])
            os.kill(
                child, signal.SIGKILL
            )  # waits to be buried if its moment came before, so that the number is its own
        _, status = os.waitpid(child, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
    print(json.dumps(statuses))


def main(path: str) -> None:
    from fewslice.stages.joint import stage  # noqa: F401  imported once, for all children

    run_jobs(path, lambda job: tiny.execute(job["script"], job["argv"]))


if __name__ == "__main__":
    main(sys.argv[1])
