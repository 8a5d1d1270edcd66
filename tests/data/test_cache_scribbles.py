"""Scribbles, colour and the other grid in the cache and in the readers.

Expected values: arrays that the tests wrote, brought to the grid by `fewslice.data.volume` (tested by itself), and the
rules in the docstrings of `cache` and `readers.base`.
"""

import dataclasses
import json

import numpy as np
import pytest

from fewslice.core import files
from fewslice.core.errors import DataError
from fewslice.data import cache
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import Grid
from fewslice.data.scribbles import case_generator, simulate_scribbles
from fewslice.data.verify import describe, examine_dataset
from fewslice.data.volume import image_to_grid, label_to_grid
from tests.data import layouts
from tests.data.layouts import AFFINE, SPACING, dataset, image, label
from tests.data.test_cache import build, opened, path


def h5_settings(**changes):
    return dataset("acdc_h5", spacing_table="spacing.csv", **{"scribbles": "file", **changes})


@pytest.fixture
def scans(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    return tmp_path


def test_scribbles_of_the_files(scans):
    settings = h5_settings()
    assert opened(scans, settings)[0].scribble is None
    volumes = opened(scans, settings, with_label=False, with_scribble=True)
    for seed, volume in enumerate(volumes):
        expected = label_to_grid(label(seed, codes=(0, 3, 4)), SPACING, settings, outside=4)
        np.testing.assert_array_equal(volume.scribble, expected)
        assert isinstance(volume.scribble, np.memmap) and volume.label is None
        assert volume.scribble.dtype == np.uint8
        assert volume.scribble[0, 0, 0] == 4, "14 x 12 pixels do not fill the grid; outside nothing is annotated"
    assert build(scans, settings).done == build(scans, settings, with_scribble=True).done == []
    assert opened(scans, settings, with_scribble=True)[1].label.any(), "the label was kept when scribbles were added"


def test_scribble_is_checked_like_a_label(scans):
    settings = h5_settings()
    build(scans, settings, with_scribble=True)
    path(scans, name="scribble.npy").write_bytes(b"")
    assert build(scans, settings, with_scribble=True).done == ["001_ED"]
    assert build(scans, settings, with_label=False, with_scribble=True, verify=True).done == []
    layouts.h5(scans, {"patient001_frame01": "ED", "patient002_frame01": "ED"}, scribble=False)
    report = build(scans, settings, with_label=False, with_scribble=True)
    assert sorted(report.refused) == ["001_ED", "002_ED"]
    assert "scribbles of case 001_ED" in str(report.refused["001_ED"])
    assert 'Set `scribbles = "simulated"`' in str(report.refused["001_ED"])
    assert len(build(scans, settings).done) == 2


def test_simulated_scribbles(scans):
    settings = h5_settings(scribbles="simulated")
    for volume in opened(scans, settings, with_label=False, with_scribble=True):
        seed = {"001": 0, "002": 1}[volume.case.patient_id]
        native = simulate_scribbles(label(seed).astype(np.uint8), 4, rng=case_generator(volume.case.case_id))
        np.testing.assert_array_equal(volume.scribble, label_to_grid(native, SPACING, settings, outside=4))
        assert volume.label is None
    drawn = h5_settings()
    made, found = (opened(scans, kind, with_scribble=True) for kind in (settings, drawn))
    assert made.digest != found.digest and (made[0].scribble != found[0].scribble).any()
    options = {"with_scribble": True}
    assert (
        build(scans, settings, **options).done == build(scans, drawn, **options).done == build(scans, drawn).done == []
    )
    reader = get_reader(settings, scans)
    case = reader.cases()[0]
    assert reader.read(case).scribble is None
    assert reader.read(case, with_label=False, with_scribble=True).label is None


def test_simulated_scribbles_in_files_of_other_layouts(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    reader = get_reader(dataset("acdc", scribbles="file"), tmp_path)
    with pytest.raises(DataError, match="none in its files"):
        reader.read(reader.cases()[0], with_scribble=True)
    (tmp_path / "scans" / "patient002" / "patient002_frame01_gt.nii.gz").unlink()
    report = build(tmp_path, dataset("acdc", scribbles="simulated"), with_label=None, with_scribble=True)
    assert list(report.refused) == ["002_ED"] and "a label for case 002_ED" in str(report.refused["002_ED"])
    layouts.acdc(tmp_path, {"002": (1, 2)})
    volume = opened(tmp_path, dataset("acdc", scribbles="simulated"), with_scribble=True)[0]
    assert set(np.unique(volume.scribble)) == {0, 1, 2, 3, 4}


def test_scribble_of_another_shape(scans, monkeypatch):
    reader = get_reader(h5_settings(), scans)
    monkeypatch.setattr(reader, "_read_scribble", lambda case: np.full((14, 12, 2), 4, np.uint8))
    with pytest.raises(DataError, match=r"scribbles of shape \(14, 12, 3\)"):
        reader.read(reader.cases()[0])


def test_settings_enter_the_digest_only_when_they_change_something():
    plain = dataset("acdc", scribbles="file")
    written = cache.settings(plain)
    assert not {"grid", "intensity", "scribbles", "num_channels"} & set(written)
    digests = {files.digest(written)}
    changes = ({"grid": "stretch"}, {"intensity": "as_stored"}, {"scribbles": "simulated"}, {"num_channels": 3})
    for change in changes:
        digests.add(files.digest(cache.settings(dataclasses.replace(plain, **change))))
    assert len(digests) == 4, "scribbles of both origins lie side by side"
    stretched = dataset("acdc", grid="stretch")
    without = dataclasses.replace(stretched, target_resolution=(), anti_aliasing="off")
    assert cache.settings(stretched) == cache.settings(without)


def test_stretched_and_as_stored(scans):
    settings = h5_settings(grid="stretch", intensity="as_stored", target_resolution=())
    for seed, volume in enumerate(opened(scans, settings, with_scribble=True)):
        np.testing.assert_array_equal(volume.image, image_to_grid(image(seed), SPACING, settings))
        np.testing.assert_array_equal(volume.label, label_to_grid(label(seed), SPACING, settings))
        assert set(np.unique(volume.image)) <= set(np.unique(image(seed)))
        assert volume.image[0, 0, 0] == image(seed)[0, 0, 0] and volume.image[2, -1, -1] == image(seed)[-1, -1, 2]
    entry = json.loads(path(scans, name="entry.json").read_text())
    assert entry["notes"] == []


def colour(reader, monkeypatch):
    pictures = np.stack([image(seed) for seed in range(3)], axis=-1).astype(np.float32)
    monkeypatch.setattr(type(reader), "_read_image", lambda self, case: Grid(pictures, SPACING, AFFINE))
    return pictures


def test_colour_images(scans, monkeypatch):
    settings = h5_settings(num_channels=3)
    reader = get_reader(settings, scans)
    pictures = colour(reader, monkeypatch)
    volume = opened(scans, settings)[0]
    assert volume.image.shape == (3, 32, 32, 3) and volume.native_shape == (14, 12, 3)
    np.testing.assert_array_equal(volume.image, image_to_grid(pictures, SPACING, settings))
    assert examine_dataset(reader, reader.cases()[:1]).problems == []
    grey = get_reader(h5_settings(), scans)
    with pytest.raises(DataError, match=r"1 channel \(`num_channels`\)(.|\n)*Set `num_channels = 3`"):
        grey.read(grey.cases()[0])
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"3 channels(.|\n)*Set `num_channels = 1`"):
        reader.read(reader.cases()[0])


def test_check_of_a_dataset_tells_about_scribbles(scans):
    reader = get_reader(h5_settings(), scans)
    findings = examine_dataset(reader, reader.cases())
    drawn = [label(seed, codes=(0, 3, 4)) for seed in range(2)]
    share = np.mean([(scribble < 4).mean() for scribble in drawn])
    assert f"  scribbles 2 volumes, {share:.2%} of their pixels" in describe(reader, reader.cases(), findings)
    wrong = int(((drawn[0] < 4) & (drawn[0] != label(0))).sum())
    assert f"001_ED: {wrong} of {(drawn[0] < 4).sum()} scribbled pixels have another class" in findings.notes[0]
