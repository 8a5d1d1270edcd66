"""Evaluation as CoreCLR's published code does it: recorded Dice, HD95, a whole volume, a bootstrap (golden)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.data.volume import Case, image_to_grid, label_from_grid
from fewslice.evaluate import metrics, summary, volumes
from fewslice.evaluate.scores import score_volume
from tests.evaluate import fakes
from tests.golden_files import golden, golden_param
from tests.reference.metrics import bootstrap_dice

pytestmark = pytest.mark.golden
CASE = Case("1", "1", "", Path("1"), None)


def masks():
    """One parameter per recorded pair of masks."""
    found = []
    for path in golden("coreclr", "metrics*.json"):
        cases = [case for case in json.loads(path.read_text()) if "dice" in case]
        found += [pytest.param(path.with_suffix(".npz"), case, id=f"{path.stem}-{case['case']}") for case in cases]
    return found or golden_param("coreclr", "metrics*.json")


@pytest.mark.parametrize("path, case", [p if len(p.values) == 2 else pytest.param(None, None) for p in masks()])
def test_dice_and_distance(path, case):
    if path is None:
        pytest.skip("no golden files")
    with np.load(path) as data:
        truth, prediction = (data[f"{case['case']}_{part}"].astype(np.uint8) for part in ("gt", "pred"))
    options = {"case": CASE, "spacing_mm": (7.0,) * truth.ndim, "num_classes": 2}
    ours = score_volume(truth, prediction, **options)
    if truth.all():  # the one difference, see `published_means`
        assert case["dice"] == case["hd95"] == 0
    else:
        published = summary.published_means([ours], ("a",))
        np.testing.assert_allclose(published["mean_dice"], case["dice"], rtol=1e-9)
        np.testing.assert_allclose(published["mean_hd95_voxels"], case["hd95"], rtol=1e-9)
    if truth.any() and prediction.any() and not truth.all():
        np.testing.assert_allclose(ours.hd95_voxels[0], case["hd95"], rtol=1e-9)
        assert metrics.hd95_voxels(truth == 1, prediction == 1) == ours.hd95_voxels[0]
    else:
        assert truth.all() or np.isnan(ours.hd95_voxels[0])
    assert np.isnan(ours.dice[1]) == (not truth.any() and not prediction.any())


@pytest.mark.parametrize("path", golden_param("coreclr", "metrics*.npz"))
def test_whole_volume(path):
    """The recorded network is a threshold: logit 10 for the quarter of the unit interval that a pixel is in."""
    with np.load(path) as data:
        image, truth, recorded = (np.moveaxis(data[f"vol_{part}"], 0, -1) for part in ("image", "label", "prediction"))
    config = fakes.dataset(4, size=(64, 64))
    config.grid, config.intensity, config.size = "stretch", "as_stored", (64, 64)
    prepared = SimpleNamespace(
        case=CASE, image=image_to_grid(image, (1, 1, 1), config), native_shape=truth.shape, spacing_mm=(1, 1, 1)
    )

    def threshold(images):
        bins = np.digitize(images[..., 0], [0.25, 0.5, 0.75])
        return 10.0 * np.eye(4)[bins]

    probabilities, label = volumes.predict_volume(prepared, threshold, dataset=config)
    assert probabilities.shape == (3, 64, 64, 4)
    np.testing.assert_array_equal(label, label_from_grid(probabilities, truth.shape, (1, 1, 1), config))
    # where SciPy's rounding put the last row outside (64 to 50 pixels), the recorded prediction is 0
    differs = label != recorded
    assert not differs[:-1].any() and not recorded[-1].any()
    published = np.where(np.arange(truth.shape[0])[:, None, None] < truth.shape[0] - 1, label, 0)
    score = score_volume(truth, published, case=CASE, spacing_mm=(1, 1, 1), num_classes=4)
    means = summary.published_means([score], ("a", "b", "c"))["per_structure"].values()
    (case,) = [row for row in json.loads(path.with_suffix(".json").read_text()) if "single" in row]
    for kind in ("single", "cct"):
        np.testing.assert_allclose([[row["dice"], row["hd95_voxels"]] for row in means], case[kind], rtol=1e-9)


@pytest.mark.parametrize("path", golden_param("coreclr", "metrics*.npz"))
def test_bootstrap(path):
    with np.load(path) as data:
        names = [name for name in data if name.startswith("bootstrap_")]
        assert names
        for name in names:
            case, rest = name.removeprefix("bootstrap_").split("_dice_seed")
            seed, count = map(int, rest.split("_n"))
            truth, prediction = (np.moveaxis(data[f"{case}_{part}"], 0, -1) for part in ("gt", "pred"))
            found = bootstrap_dice(truth, prediction, (np.random.RandomState(seed + draw) for draw in range(count)))
            np.testing.assert_allclose(found, data[name], rtol=1e-9)


def test_bootstrap_of_one_slice_and_of_nothing():
    truth, prediction = np.zeros((2, 4, 4, 1), bool)
    draws = [np.random.default_rng(draw) for draw in range(3)]
    assert np.isnan(bootstrap_dice(truth, prediction, draws)).all()
    truth[:2], prediction[1:3] = True, True
    assert bootstrap_dice(truth, prediction, draws).tolist() == [0.5] * 3
