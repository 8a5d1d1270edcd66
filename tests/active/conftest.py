"""Units of the tiny dataset to annotate."""

from __future__ import annotations

import pytest

from fewslice.active.annotators import ANNOTATIONS, Task
from fewslice.active.pool import open_pool
from fewslice.data.cache import open_cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets


@pytest.fixture
def make_task(tiny_root, monkeypatch):
    """A function kind -> the task of annotating the slices of two volumes."""
    monkeypatch.setenv("FEWSLICE_DATA", str(tiny_root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_root / "experiments"))
    dataset = datasets.load_dataset_config("tiny", {"scribbles": "simulated"})
    cases = find_cases(get_reader(dataset), ["001", "002"], ("ED",))
    volumes = open_cache(dataset, cases, with_label=True, with_scribble=True, progress=False)
    return lambda kind: Task(open_pool(volumes), volumes, dataset, ANNOTATIONS.get(kind))
