"""The tiny dataset; the order of the tests; and which cases run on another backend than TensorFlow.

What takes longest comes first, so that two workers end together. TensorFlow runs every case. Other backends compute the
same formulas, and compile each shape for most of their time: of the cases of a test they run the first, the last and
every third, or all with FEWSLICE_ALL_CASES=1.
"""

from __future__ import annotations

import gc
import os
import pathlib
from collections import defaultdict

import pytest

# Tests kill processes, not the power: waiting for the disk would take a tenth of their time.
os.fsync = lambda handle: None

SLOW_FIRST = (
    "test_kill.py",
    "test_scripts.py",
    "test_images_toy.py",
    "test_run_al_exp.py",
    "test_joint.py",
    "test_benchmarks.py",
    "test_recipe.py",
    "test_taught.py",
    "test_run_al_exp_safety.py",
    "test_golden_net.py",
    "test_select_slices.py",
    "test_trainer.py",
    "test_partial.py",
    "test_extending.py",
    "test_networks.py",
    "test_teacher.py",
)


def pytest_collection_modifyitems(config, items):
    """Moves the tests of the slow files to the head, all others keep their order; leaves out cases, see above."""
    place = {name: index for index, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(pathlib.Path(item.path).name, len(place)))
    is_sampled = os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    if is_sampled and not os.environ.get("FEWSLICE_ALL_CASES"):
        left_out = left_out_of(items)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))


def pytest_collection_finish():
    """Takes what is imported from the garbage collector. Keras calls it between networks, half a second each time."""
    gc.freeze()


def left_out_of(items):
    """Returns the cases of tests that are neither the first nor the last of their test, nor every third."""
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    return {item for of_test in cases.values() for place, item in enumerate(of_test[:-1]) if place % 3}


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """The data root with the tiny dataset, its settings in `experiments/`."""
    from tests.train_model import tiny

    return tiny.write_dataset(tmp_path_factory.mktemp("tiny"))
