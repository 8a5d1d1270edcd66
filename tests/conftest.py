"""The tiny dataset; and the order of the tests: what takes longest comes first, so that two workers end together."""

from __future__ import annotations

import pathlib

import pytest

SLOW_FIRST = (
    "test_scripts.py",
    "test_kill.py",
    "test_joint.py",
    "test_taught.py",
    "test_kill_joint.py",
    "test_backends.py",
)


def pytest_collection_modifyitems(items):
    """Moves the tests of the slow files to the head; all others keep their order."""
    place = {name: index for index, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(pathlib.Path(item.path).name, len(place)))


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """The data root with the tiny dataset, its settings in `experiments/`."""
    from tests.train_model import tiny

    return tiny.write_dataset(tmp_path_factory.mktemp("tiny"))
