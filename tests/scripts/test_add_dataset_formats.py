"""`scripts/add_dataset.py` on folders of .nrrd, .mha and DICOM series. Expected: what the same scans in NIfTI give."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fewslice.data.io.itk import read_image_file
from fewslice.data.readers import get_reader
from tests.data import slicer
from tests.data.io.test_itk import ARRAY, save, series
from tests.scripts import running
from tests.scripts.test_add_dataset import written

LABEL = np.where(ARRAY > 400, 2, ARRAY > 0).astype(np.uint8)


def add(folder, *flags, status=0, images="images"):
    places = [f"--images={folder / images}", f"--output_dir={folder / 'out'}"]
    done = running.run("add_dataset", "--name=mine", *places, *flags)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_mixed_kinds_and_named_segments(tmp_path):
    """Folders of series beside files; labels of other kinds, one with swapped numbers; what is no scan is named."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    save(images / "p1.nrrd"), save(images / "p2.mhd"), series(images / "p3"), save(images / "patient4.nii.gz")
    save(labels / "p1.mha", LABEL), save(labels / "p3.nii.gz", LABEL), save(labels / "patient4.nrrd", LABEL)
    swapped, affine = np.array([0, 2, 1], np.uint8)[LABEL], read_image_file(images / "p1.nrrd").affine
    slicer.segmentation(labels / "p2.seg.nrrd", swapped[np.newaxis], affine, [("Cyst", 0, 1), ("the liver", 0, 2)])
    (images / "empty").mkdir()
    asked = add(tmp_path, f"--labels={labels}", status=1)
    assert "--struct_names='Cyst,the liver'" in asked
    text = add(tmp_path, f"--labels={labels}", "--struct_names=the liver,cyst")
    assert "4 volumes of 4 labelled" in text and "images/: passed over: 1 folders (empty)" in text
    reader = get_reader(written(tmp_path))
    for case in reader.cases():
        volume = reader.read(case)
        assert np.array_equal(volume.image, ARRAY) and np.array_equal(volume.label, LABEL)  # oblique: as stored


def test_folders_of_series_only(tmp_path):
    for name in ("patient1", "patient2", "patient3"):  # no ACDC
        series(tmp_path / "images" / name, ARRAY[: 4 + int(name[-1])])
    assert "3 volumes of 0 labelled" in add(tmp_path, "--images_only")
    assert [case.case_id for case in get_reader(written(tmp_path)).cases()] == ["patient1", "patient2", "patient3"]
    flat = add(tmp_path, "--images_only", "--force", images="images/patient1", status=1)
    assert "Give each series a folder of its own" in flat
    shutil.copy(tmp_path / "images" / "patient1" / "000.dcm", tmp_path / "images" / "patient2" / "000.dcm")
    assert "1 volume with problems; nothing was written" in add(tmp_path, "--images_only", status=1)


@pytest.mark.parametrize("count", [1, 3])
def test_colours_where_the_network_takes_them(tmp_path, count):
    colours = np.stack([np.abs(ARRAY) % 256] * 3, axis=-1).astype(np.uint8)
    for name in ("p1.nrrd", "p2.mha"):
        save(tmp_path / "images" / name, colours)
    assert "grey (luminance)" in add(tmp_path, "--images_only")
    with open(tmp_path / "out" / "init_mine.py", "a", encoding="utf-8") as file:
        file.write(f"num_channels = {count}\n")
    reader = get_reader(written(tmp_path))
    shape = reader.read(reader.cases()[0], with_label=False).image.shape
    assert shape == (7, 6, 4, 3)[: 3 + count // 3]
