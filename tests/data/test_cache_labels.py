"""One cache for runs with and without labels: no stale labels, no needless work. Expected: the rules of `Store`."""

import json
import os

import numpy as np
import pytest

from fewslice.core.errors import DataError
from fewslice.data import preprocess
from fewslice.data.readers import get_reader
from tests.data import layouts
from tests.data.layouts import SPACING, dataset, label, save
from tests.data.test_cache import build, opened, path


def test_one_file_for_image_and_label_serves_both(tmp_path):
    """In .h5 volumes both lie in one file: labels that are missing in the cache are added, others not made again."""
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    settings = dataset("acdc_h5", spacing_table="spacing.csv")
    without = opened(tmp_path, settings, with_label=False)
    assert build(tmp_path, settings, with_label=False).done == []
    assert build(tmp_path, settings).done == ["001_ED", "002_ED"], "a cache without labels is not used where they count"
    volumes = opened(tmp_path, settings)
    grid = {"target_resolution": (1.5, 1.5), "size": (32, 32)}
    for seed, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.label, preprocess.prepare_label(label(seed), SPACING, **grid))
    assert build(tmp_path, settings, with_label=False).done == build(tmp_path, settings).done == []
    assert opened(tmp_path, settings, with_label=False).digest == without.digest


def test_label_changed_while_only_images_were_asked_for(tmp_path):
    """All files are copied anew, one label with another content; pretraining comes first and looks at images only."""
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    build(tmp_path)
    for source in (tmp_path / "scans").rglob("*.nii.gz"):
        os.utime(source)
    save(tmp_path / "scans" / "patient001" / "patient001_frame01_gt.nii.gz", label(77))
    assert build(tmp_path, with_label=False).done == []
    assert build(tmp_path).done == ["001_ED"]
    grid = {"target_resolution": (1.5, 1.5), "size": (32, 32)}
    np.testing.assert_array_equal(opened(tmp_path)[0].label, preprocess.prepare_label(label(77), SPACING, **grid))


def test_label_that_was_taken_away_is_not_served(tmp_path):
    """The stored one would be taken for the truth; images can still be opened."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    opened(tmp_path)
    next(tmp_path.rglob("*frame01_gt.nii.gz")).unlink()
    with pytest.raises(DataError, match="an image without a label"):
        opened(tmp_path)
    with pytest.raises(DataError, match="an image without a label"):
        opened(tmp_path, dataset("acdc", scribbles="simulated"), with_label=False, with_scribble=True)
    assert len(opened(tmp_path, with_label=False)) == 2


def stamps(root, *names):
    return {file: file.stat().st_mtime_ns for name in names for file in root.glob(f"cropped/*/*/{name}")}


def test_native_labels_and_headers_are_kept(tmp_path):
    """Evaluation needs no scan: what it takes from the file lies in the cache."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    volumes = opened(tmp_path)
    reader = get_reader(dataset("acdc"), tmp_path)
    for volume in volumes:
        expected = reader.read(volume.case)
        assert isinstance(volume.native_label, np.memmap) and not volume.native_label.flags.writeable
        np.testing.assert_array_equal(volume.native.label, expected.label)
        assert volume.native.header.binaryblock == expected.header.binaryblock
        assert volume.native.spacing_mm == expected.spacing_mm and volume.native.case is volume.case
    assert opened(tmp_path, with_label=False)[0].native_label is None


def test_cache_of_an_earlier_version_is_completed(tmp_path):
    """Native labels and headers came later: they are added, and nothing else is made again."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    before = opened(tmp_path)
    for file in tmp_path.glob("cropped/*/*/entry.json"):
        entry = json.loads(file.read_text())
        del entry["header"], entry["arrays"]["native_label"]
        file.write_text(json.dumps(entry))
        file.with_name("native_label.npy").unlink()
    kept = stamps(tmp_path, "image.npy", "label.npy", "entry.json")
    assert (
        build(tmp_path, with_label=False).done == []
        and stamps(tmp_path, "image.npy", "entry.json").items() <= kept.items()
    )
    assert build(tmp_path).done == ["001_ED", "001_ES"] and build(tmp_path).done == []
    arrays = stamps(tmp_path, "image.npy", "label.npy")
    assert len(arrays) == 4 and arrays.items() <= kept.items()
    after = opened(tmp_path)
    assert after.digest == before.digest
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.native_label, new.native_label)
        assert old.header.binaryblock == new.header.binaryblock


def test_new_label_leaves_the_image_as_it_is(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    build(tmp_path)
    image = stamps(tmp_path, "image.npy")
    save(tmp_path / "scans" / "patient001" / "patient001_frame01_gt.nii.gz", label(77))
    np.testing.assert_array_equal(opened(tmp_path)[0].native_label, label(77))
    assert stamps(tmp_path, "image.npy") == image
    path(tmp_path, name="native_label.npy").write_bytes(b"")
    assert build(tmp_path).done == ["001_ED"] and stamps(tmp_path, "image.npy") == image
