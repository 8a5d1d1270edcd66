"""The order of the tests: files that take minutes come first, so that two workers end at about the same time."""

from __future__ import annotations

import pathlib

SLOW_FIRST = (
    "test_kill.py",
    "test_taught.py",
    "test_kill_joint.py",
    "test_joint.py",
    "test_scripts.py",
    "test_backends.py",
)


def pytest_collection_modifyitems(items):
    """Moves the tests of the slow files to the head; all others keep their order."""
    place = {name: index for index, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(pathlib.Path(item.path).name, len(place)))
