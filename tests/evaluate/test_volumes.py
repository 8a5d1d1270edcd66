"""Scoring and saving of whole volumes.

Expected values: by hand on small label maps at the network's own resolution (nothing is resampled), and what
nibabel reads back from the written files.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, TrainingError
from fewslice.data.cache import open_cache
from fewslice.data.readers import get_reader
from fewslice.evaluate import summary, volumes
from tests.data import layouts
from tests.evaluate import fakes

GOLDEN = Path(__file__).parent / "golden"
CONFIG = fakes.dataset(4, resolution=2.0, size=(6, 6))
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # unit scale although voxels measure 2 x 2 x 10 mm, as ACDC's files


def _items():
    """Two volumes: truth and prediction differ in a known way; structure c is absent from the first."""
    rng = np.random.default_rng(0)
    first, second = np.zeros((2, 6, 6, 2), np.uint8)
    first[1:3, 1:3, 0], first[4, 4, :] = 1, 2
    second[0, 0, 0], second[3, 3, 0], second[5, 5, 1] = 1, 2, 3
    items = []
    for case_id, phase, label in (("001_ED", "ED", first), ("001_ES", "ES", second)):
        image = rng.normal(size=label.shape)
        items.append(fakes.item(CONFIG, image, label, (2, 2, 10), case_id=case_id, phase=phase, affine=AFFINE))
    return items


def _predict_shifted(items):
    """Predicts the truth, but structure a (1) of every volume one row further, and structure b never."""
    answers = iter([prepared.label for prepared, _ in items])

    def predict(image):
        label = next(answers).copy()
        assert image.shape == (*label.shape, 1) and image.dtype == np.float32
        moved = np.roll(label == 1, 1, axis=1)
        label[(label == 1) | (label == 2)] = 0
        label[moved] = 1
        return np.eye(4, dtype=np.float32)[label]

    return predict


def _uniform(image):
    return np.full((*image.shape[:3], 4), 0.25, np.float32)


@pytest.fixture(name="scored")
def _scored(tmp_path):
    items, seen = _items(), []
    scores = volumes.evaluate_cases(
        items, _predict_shifted(items), dataset=CONFIG, out_dir=tmp_path, progress=seen.append
    )
    assert [score.case_id for score in seen] == ["001_ED", "001_ES"]
    return tmp_path, items, scores


def test_scores_by_hand(scored):
    _, _, scores = scored
    # first: 2x2 square moved by one row: 2*2/(4+4); b missed: 0; c in neither. Voxels of 2 mm along the rows.
    np.testing.assert_allclose(scores[0].dice[1:], [0.5, 0.0, math.nan])
    np.testing.assert_allclose(scores[0].hd95_mm, [2.0, math.nan, math.nan])
    np.testing.assert_allclose(scores[0].assd_mm, [1.0, math.nan, math.nan])
    assert scores[0].notes == ("", "absent in prediction", "absent in truth and prediction")
    assert scores[0].mean_dice == 0.25
    # second: one voxel moved by one row; b missed; c perfect
    np.testing.assert_allclose(scores[1].dice[1:], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(scores[1].hd95_mm, [2.0, math.nan, 0.0])
    assert scores[1].mean_dice == pytest.approx(1 / 3)
    assert summary.mean_foreground_dice(scores) == pytest.approx((1 / 4 + 1 / 3) / 2)


def test_files_as_read_by_eye(scored):
    """Per structure and metric a row; means over defined values; published convention: absent counts as 0 and 0.

    Of `a`, the square is moved by one voxel, whatever its 2 mm. FEWSLICE_WRITE_GOLDEN=1 writes the files anew.
    """
    folder, _, _ = scored
    for name in ("per_volume.csv", "summary.json"):
        text = (folder / name).read_text()
        if os.environ.get("FEWSLICE_WRITE_GOLDEN"):
            (GOLDEN / name).write_text(text)
        assert text == (GOLDEN / name).read_text()


def test_predictions_keep_zooms_and_affine(scored):
    folder, items, _ = scored
    for _, native in items:
        file = nib.load(folder / "predictions" / f"{native.case.case_id}.nii.gz")
        assert file.header.get_zooms() == (2.0, 2.0, 10.0)
        np.testing.assert_allclose(file.affine, AFFINE)
        array = np.asarray(file.dataobj)
        assert array.dtype == np.uint8 and array.shape == native.label.shape
        np.testing.assert_array_equal(array == 3, native.label == 3)


def test_predictions_keep_the_header_of_their_scan(tmp_path):
    """Codes, units and times of the scan, which the cache keeps: a viewer lays the prediction over it."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    scan = tmp_path / "scans" / "patient001" / "patient001_frame01.nii.gz"
    turned = np.array([[0, -1.25, 0, 3], [1.5, 0, 0, -7], [0, 0, 8, 1], [0, 0, 0, 1.0]])
    for path in (scan, scan.with_name("patient001_frame01_gt.nii.gz")):
        picture = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), None)
        picture.header.set_zooms(layouts.SPACING)
        picture.header.set_xyzt_units("mm", "msec")
        picture.header["toffset"] = 35.0
        picture.header.set_qform(turned, code=1)
        picture.header.set_sform(turned, code=4)
        nib.save(nib.Nifti1Image(picture.dataobj, turned, picture.header), path)
    settings = layouts.dataset("acdc")
    cases = get_reader(settings, tmp_path).cases()[:1]
    (volume,) = open_cache(settings, cases, with_label=True, root=tmp_path, progress=False)
    scan_header = nib.load(scan).header
    scan.unlink()
    volumes.evaluate_cases([(volume, volume.native)], _uniform, dataset=settings, out_dir=tmp_path)
    written = nib.load(tmp_path / "predictions" / "001_ED.nii.gz")
    for name in ("qform_code", "sform_code", "xyzt_units", "toffset"):
        assert written.header[name] == scan_header[name] > 0
    np.testing.assert_array_equal(written.affine, turned)
    np.testing.assert_allclose(written.get_qform(), turned, atol=1e-6)
    assert written.header.get_zooms() == layouts.SPACING and written.get_data_dtype() == np.uint8


def test_items_are_drawn_one_by_one(tmp_path):
    drawn, finished = [], []

    def lazily():
        for prepared, native in _items():
            assert len(finished) == len(drawn)
            drawn.append(native.case.case_id)
            yield prepared, native

    volumes.evaluate_cases(lazily(), _uniform, dataset=CONFIG, out_dir=tmp_path, progress=finished.append)
    assert drawn == ["001_ED", "001_ES"]


@pytest.mark.parametrize(
    ("count", "predict", "error", "words"),
    [
        (0, _uniform, ConfigError, "no volume to evaluate"),
        (2, _uniform, RuntimeError, "distinct and labelled. Received: 001_ED"),
        (1, lambda image: _uniform(image) * np.nan, TrainingError, "volume 001_ED holds NaN"),
        (1, lambda image: _uniform(image)[..., :3], RuntimeError, r"shape \(2, 6, 6, 4\). Received: \(2, 6, 6, 3\)"),
    ],
)
def test_evaluate_refuses(tmp_path, count, predict, error, words):
    with pytest.raises(error, match=words):
        volumes.evaluate_cases(_items()[:1] * count, predict, dataset=CONFIG, out_dir=tmp_path)
    assert not (tmp_path / "summary.json").exists()
