"""Scoring and saving of whole volumes.

Expected values: by hand on small label maps at the network's own resolution (nothing is resampled), and what
nibabel reads back from the written files.
"""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, TrainingError
from fewslice.data.cache import open_cache
from fewslice.data.readers import get_reader
from fewslice.evaluate import summary, volumes
from tests.data import layouts
from tests.evaluate import fakes

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


def test_published_convention_by_hand(scored):
    """HD95 in voxels: the square of a moved by one voxel, whatever its 2 mm. Absent structures count as 0 and 0."""
    folder, _, scores = scored
    np.testing.assert_allclose(scores[0].hd95_voxels, [1.0, math.nan, math.nan])
    np.testing.assert_allclose(scores[1].hd95_voxels, [1.0, math.nan, 0.0])
    published = json.loads((folder / "summary.json").read_text())["published"]
    assert published["per_structure"]["a"] == {"dice": 0.25, "hd95_voxels": 1.0}
    assert published["per_structure"]["b"] == {"dice": 0.0, "hd95_voxels": 0.0}
    assert published["per_structure"]["c"] == {"dice": 0.5, "hd95_voxels": 0.0}
    assert published["mean_dice"] == pytest.approx(0.25) and published["mean_hd95_voxels"] == pytest.approx(1 / 3)


def test_per_volume_csv_is_long(scored):
    folder, _, _ = scored
    with open(folder / "per_volume.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == volumes.COLUMNS
    assert len(rows) == 2 * 3 * 4  # volumes, structures, metrics
    table = {(row["case_id"], row["structure"], row["metric"]): row for row in rows}
    assert len(table) == len(rows)
    row = table["001_ED", "a", "dice"]
    assert (row["patient_id"], row["phase"], row["value"], row["note"]) == ("001", "ED", "0.5", "")
    row = table["001_ED", "c", "dice"]
    assert (row["value"], row["note"]) == ("", "absent in truth and prediction")
    row = table["001_ES", "b", "hd95_mm"]
    assert (row["value"], row["note"]) == ("", "absent in prediction")


def test_summary_counts_defined_and_undefined(scored):
    folder, _, _ = scored
    content = json.loads((folder / "summary.json").read_text())
    assert content["num_volumes"] == 2 and content["dataset"] == "fake"
    assert content["mean_dice"] == pytest.approx(7 / 24)
    assert content["per_volume_mean_dice"] == pytest.approx({"001_ED": 0.25, "001_ES": 1 / 3})
    c = content["per_structure"]["c"]
    assert c["dice"] == {"mean": 1.0, "std": None, "n": 1, "num_undefined": 1}
    assert (c["absent_in_both"], c["absent_in_truth_only"], c["absent_in_prediction_only"]) == (1, 0, 0)
    b = content["per_structure"]["b"]
    assert b["absent_in_prediction_only"] == 2 and b["hd95_mm"]["mean"] is None
    assert content["per_structure"]["a"]["assd_mm"]["mean"] == pytest.approx(1.5)
    assert content["per_phase"]["ED"]["mean_dice"] == 0.25
    assert content["per_phase"]["ES"]["num_volumes"] == 1


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

    volumes.evaluate_cases(
        lazily(),
        lambda image: np.ones((*image.shape[:3], 4), np.float32) / 4,
        dataset=CONFIG,
        out_dir=tmp_path,
        progress=finished.append,
    )
    assert drawn == ["001_ED", "001_ES"]


def _uniform(image):
    return np.full((*image.shape[:3], 4), 0.25, np.float32)


def test_evaluate_refuses_a_duplicate(tmp_path):
    items = _items()
    with pytest.raises(RuntimeError, match="distinct and labelled. Received: 001_ED"):
        volumes.evaluate_cases([items[0], items[0]], _uniform, dataset=CONFIG, out_dir=tmp_path)


def test_evaluate_refuses_nothing(tmp_path):
    with pytest.raises(ConfigError, match="no volume to evaluate"):
        volumes.evaluate_cases([], _uniform, dataset=CONFIG, out_dir=tmp_path)


def test_evaluate_refuses_a_network_without_numbers(tmp_path):
    def predict(image):
        return _uniform(image) * np.nan

    with pytest.raises(TrainingError, match="volume 001_ED holds NaN"):
        volumes.evaluate_cases(_items(), predict, dataset=CONFIG, out_dir=tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_evaluate_refuses_a_wrong_shape(tmp_path):
    with pytest.raises(RuntimeError, match=r"must return shape \(2, 6, 6, 4\). Received: \(2, 6, 6, 3\)"):
        volumes.evaluate_cases(_items(), lambda image: _uniform(image)[..., :3], dataset=CONFIG, out_dir=tmp_path)
