"""From native volumes to scores and files, against recorded runs of the published code (golden).

The recorded network is a formula of the pixel value (`fakes.stub_network`), so all differences come from
preprocessing, restoring and scoring.
"""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest

from fewslice.data import preprocess
from fewslice.evaluate import summary, validation, volumes
from fewslice.train.trainer import BestTracker
from tests.evaluate import fakes
from tests.golden_files import golden_param
from tests.reference import metrics as reference

TIES = 1e-3
CHUNK = 3  # slices at once in the recorded run
RESOLUTIONS = {"acdc": 1.36719, "prostate": 0.625, "prostate_md": 0.625, "mmwhs": 1.5}

pytestmark = pytest.mark.golden
PIPELINES = golden_param("contrastive/data", "pipeline_*.npz")


def _names(data):
    matches = [re.match(r"(([a-z_]+)_(\d+))_img$", key) for key in data]
    found = [(match[1], match[2], match[3]) for match in matches if match]
    assert found
    return found


def _read(data):
    """Returns the config and (id, prefix, prepared, native) of every recorded volume."""
    result, config = [], None
    for prefix, name, case_id in _names(data):
        image, label = data[f"{prefix}_img"], data[f"{prefix}_lab"]
        image = image[..., 0] if image.ndim == 4 else image
        label = label[..., 0] if label.ndim == 4 else label
        size = data[f"{prefix}_crop_img"].shape[:2]
        config = fakes.dataset(4, resolution=RESOLUTIONS[name], size=size)
        affine = data[f"{prefix}_affine"] if f"{prefix}_affine" in data else None
        item = fakes.item(config, image, label, data[f"{prefix}_px"], case_id=case_id, affine=affine)
        result.append((case_id, prefix, *item))
    return config, result


@pytest.mark.parametrize("path", PIPELINES)
def test_golden_prepared_volumes(path):
    data = np.load(path)
    _, cases = _read(data)
    for _, prefix, prepared, native in cases:
        if f"{prefix}_norm" in data:
            normalised = preprocess.normalise(native.image)
            np.testing.assert_allclose(normalised, data[f"{prefix}_norm"], rtol=0, atol=1e-6)
        image, label = np.moveaxis(prepared.image, 0, -1), np.moveaxis(prepared.label, 0, -1)
        np.testing.assert_allclose(image, data[f"{prefix}_crop_img"], rtol=0, atol=1e-6)
        if f"{prefix}_crop_lab" in data:
            assert (label != data[f"{prefix}_crop_lab"]).mean() <= TIES
    if "val_img0" in data:
        np.testing.assert_allclose(cases[0][2].image[..., np.newaxis], data["val_img0"], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(cases[0][2].label, data["val_lab0"])


def _evaluated(path, tmp_path):
    data = np.load(path)
    config, cases = _read(data)
    if not any(f"pred_{case_id}" in data for case_id, *_ in cases):
        pytest.skip(f"{path.name} holds no predictions")
    items = [(prepared, native) for *_, prepared, native in cases]
    scores = volumes.evaluate_cases(items, fakes.stub_network, dataset=config, out_dir=tmp_path)
    return data, config, cases, scores


def _text_values(scores, struct_name):
    """The numbers of the published text files, but with a place (nan) for a class that is absent in both."""
    columns = {name: [score.dice[index] for score in scores] for index, name in enumerate(struct_name, start=1)}
    return {
        **{f"{score.case_id}/dsc_score_test_id_{score.case_id}.txt": list(score.dice) for score in scores},
        **{f"{name}_dsc_of_each_subj.txt": column for name, column in columns.items()},
        "mean_dsc_of_each_subj.txt": [score.mean_dice for score in scores],
        "net_mean_dsc_over_all_subjs.txt": [summary.mean_foreground_dice(scores)],
        "per_structure_mean_dsc_over_all_subjs.txt": [
            round(summary.statistics(column)["mean"], 3) for column in columns.values()
        ],
    }


@pytest.mark.parametrize("path", PIPELINES)
def test_golden_predictions_and_text_files(path, tmp_path):
    data, config, cases, scores = _evaluated(path, tmp_path)
    for case_id, *_ in cases:
        file = nib.load(tmp_path / "predictions" / f"{case_id}.nii.gz")
        np.testing.assert_allclose(file.affine, data[f"pred_{case_id}_affine"], rtol=0, atol=1e-6)
        assert (np.asarray(file.dataobj) != data[f"pred_{case_id}"]).mean() <= TIES
    recorded = path.with_name(f"{path.stem}_eval_files.json")
    if not recorded.exists():
        pytest.skip(f"no {recorded.name}")
    values_of = _text_values(scores, config.struct_name)
    expected = json.loads(recorded.read_text())
    names = {name for name in expected["files"] if name.endswith(".txt")}
    assert names == set(expected["texts"]) and names <= set(values_of)
    for name, text in expected["texts"].items():
        values, found = [float(line) for line in text.splitlines()], values_of[name]
        if len(values) == len(found):
            np.testing.assert_allclose(found, values, rtol=0, atol=1e-6)
        else:  # a class that occurs in neither: theirs is left out, ours is nan
            np.testing.assert_allclose([v for v in found if v == v], values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", PIPELINES)
def test_golden_validation(path):
    """Same mean Dice and decision; the recorded loss is a sum over chunks (ours: the mean over slices)."""
    data = np.load(path)
    if "track_val" not in data:
        pytest.skip(f"{path.name} holds no validation")
    config, cases = _read(data)
    items = [(prepared, native.label) for *_, prepared, native in cases]
    result = validation.validate(items, fakes.stub_network, dataset=config)
    best, loss, mean = data["track_val"]
    assert result["val_dice"] == pytest.approx(mean, abs=1e-6)

    sums = []
    for prepared, _ in items:
        cost = (prepared.label == 1) * prepared.image
        sums.append(sum(cost[start : start + CHUNK].mean() for start in range(0, len(cost), CHUNK)))
    assert np.mean(sums) == pytest.approx(loss, abs=1e-6)
    slices = [
        value
        for prepared, _ in items
        for value in reference.dice_loss_per_slice(fakes.stub_network(prepared.image[..., np.newaxis]), prepared.label)
    ]
    assert result["val_dice_loss"] == pytest.approx(np.mean(slices), rel=1e-5)

    steps = [int(re.findall(r"\d+", str(name))[-1]) for name in data["track_val_paths"]]
    tracker = BestTracker()
    improved = [tracker.update(step, result["val_dice"]) for step in steps[:2]]
    assert improved == ["best_model" in str(name) for name in data["track_val_paths"][:2]] == [True, False]
    assert tracker.best == pytest.approx(best, abs=1e-6) and tracker.best_step == steps[2]
