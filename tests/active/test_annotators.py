"""The contract that every registered annotator keeps. Expected values: the dataset's own masks."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.active import annotators
from fewslice.active.annotators import ANNOTATIONS, WaitingForAnnotations
from fewslice.active.pool import Crops
from fewslice.data.io.nifti import write_nifti
from fewslice.data.readers import get_reader

UNITS = np.array([5, 1, 2])


def answer(task, folder):
    """Does what a person is asked for: saves the dataset's own masks or scribbles where the work was handed out."""
    reader = get_reader(task.dataset)
    for volume in task.volumes:
        native = reader.read(volume.case, with_label=True, with_scribble=True)
        path = folder / "annotated" / f"{volume.case.case_id}_annotation.nii.gz"
        if (folder / "to_annotate" / path.name).exists():
            mask = getattr(native, task.annotation.array)
            write_nifti(path, mask, like=None, affine=native.affine, spacing_mm=native.spacing_mm)


def annotate(annotator, task, folder, units):
    try:
        return annotator.annotate(folder, units)
    except WaitingForAnnotations as work:
        assert str(folder / "to_annotate") in str(work)
        answer(task, folder)
        return annotator.annotate(folder, units)


@pytest.mark.parametrize("kind", ANNOTATIONS.names())
@pytest.mark.parametrize("name", annotators.ANNOTATORS.names())
def test_masks_of_the_units_in_their_order(name, kind, make_task, tmp_path):
    task = make_task(kind)
    annotator = annotators.ANNOTATORS.get(name)(task)
    found = np.stack(annotate(annotator, task, tmp_path, UNITS))
    assert found.shape == (3, 1, *task.dataset.size) and found.dtype == np.uint8
    expected = Crops(task.volumes, task.pool, task.annotation.array, dims=3).take(UNITS)
    drawn = found != task.ignore_value
    assert np.array_equal(found[drawn], expected[drawn]) and drawn.any(axis=(1, 2, 3)).all()
    assert (expected[~drawn] == (0 if task.annotation.is_dense else task.ignore_value)).all(), (
        "beyond the slice nothing is drawn"
    )
    again = annotators.ANNOTATORS.get(name)(task).annotate(tmp_path, UNITS)
    assert np.array_equal(found, again), "an interrupted round asks again"


@pytest.mark.parametrize("name", annotators.ANNOTATORS.names())
def test_nothing_to_annotate(name, make_task, tmp_path):
    annotator = annotators.ANNOTATORS.get(name)(make_task("mask"))
    assert len(annotator.annotate(tmp_path, np.empty(0, np.int64))) == 0
    assert list(tmp_path.iterdir()) == []
