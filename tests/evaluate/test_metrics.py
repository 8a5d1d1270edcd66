"""Dice and surface distances.

Expected values: by hand where written out, `tests/reference/metrics.py` (loops over voxels), geometric
properties, and recorded numbers of the published code (golden).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewslice.evaluate import metrics
from tests.golden_files import golden_param
from tests.reference import metrics as reference

SPACINGS = [(1.0, 1.0, 1.0), (1.37, 1.37, 10.0), (0.5, 2.0, 3.0)]


def _random_pair(seed, ndim=3):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 7, ndim)
    density = rng.choice([0.02, 0.2, 0.5, 0.8, 1.0], 2)
    return rng.random(shape) < density[0], rng.random(shape) < density[1]


def _distances(truth, prediction, spacing):
    """Returns HD95 and ASSD."""
    measured = metrics.surface_distances(truth, prediction, spacing)
    return measured.hd95(), measured.assd()


def _cube(shape, start, side):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(s, s + side) for s in start)] = True
    return mask


# --- Dice


def test_dice_by_hand():
    truth, prediction = np.array([[0, 0, 1, 1], [1, 3, 0, 0]]), np.array([[0, 1, 1, 1], [0, 0, 4, 0]])
    # background: 4 and 4 pixels, 2 common: 2*2/(4+4); class 1: 2*2/(3+3); 2 nowhere; 3 and 4 in one only
    np.testing.assert_allclose(metrics.dice_per_class(truth, prediction, 5), [0.5, 2 / 3, math.nan, 0, 0])


@pytest.mark.parametrize("num_classes", [1, 2, 4, 8, 20])
def test_dice_equals_loop(num_classes):
    rng = np.random.default_rng(num_classes)
    for dtype in (np.uint8, np.int16, np.int64):
        truth, prediction = rng.integers(0, num_classes, (2, 4, 3, 2)).astype(dtype)
        result = metrics.dice_per_class(truth, prediction, num_classes)
        assert result.shape == (num_classes,) and result.dtype == np.float64
        np.testing.assert_allclose(result, reference.dice(truth, prediction, num_classes), rtol=1e-12)


def test_mean_foreground_leaves_out_background_and_undefined():
    assert metrics.mean_foreground(np.array([0.9, 0.2, math.nan, 0.6])) == pytest.approx(0.4)
    assert math.isnan(metrics.mean_foreground(np.array([0.9, math.nan])))


@pytest.mark.parametrize(
    "truth, prediction, message",
    [
        (np.zeros(3, int), np.zeros(4, int), "Shapes must agree"),
        (np.array([0, 4]), np.array([0, 1]), "`truth` must hold labels 0 ... 3. Received: 0 ... 4"),
        (np.array([0, 1]), np.array([0, -1]), "`prediction` must hold labels"),
        (np.array([0.0, 1.0]), np.array([0, 1]), "`truth` must hold integers"),
    ],
)
def test_dice_rejects(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        metrics.dice_per_class(truth, prediction, 4)


# --- surface distances


def test_two_voxels_are_as_far_as_their_centres():
    truth, prediction = _cube((4, 4, 4), (1, 1, 0), 1), _cube((4, 4, 4), (1, 2, 3), 1)
    expected = math.sqrt(2.0**2 + (3 * 5.0) ** 2)
    assert _distances(truth, prediction, (1.0, 2.0, 5.0)) == pytest.approx((expected, expected))


def test_shifted_cubes_with_anisotropic_spacing():
    # cubes of 2x2x2 (all surface), one voxel apart along the axis of 3 mm: half of each list is 3, half 0
    truth, prediction = _cube((6, 6, 6), (1, 2, 2), 2), _cube((6, 6, 6), (2, 2, 2), 2)
    assert _distances(truth, prediction, (3.0, 1.0, 0.5)) == pytest.approx((3.0, 1.5))


def test_cube_around_a_voxel():
    # the 26 surface voxels of a 3x3x3 cube to its centre: 6 at 1, 12 at sqrt 2, 8 at sqrt 3; back: one at 1
    truth, prediction = _cube((5, 5, 5), (1, 1, 1), 3), _cube((5, 5, 5), (2, 2, 2), 1)
    found = metrics.surface_distances(truth, prediction, (1.0, 1.0, 1.0))
    assert found.from_truth.size == 26 and found.from_prediction.tolist() == [1.0]
    assert found.hd95() == pytest.approx(math.sqrt(3))
    assert found.assd() == pytest.approx((6 + 12 * math.sqrt(2) + 8 * math.sqrt(3) + 1) / 27)


def test_hd95_is_the_larger_direction_not_the_pooled_percentile():
    # 100 voxels in a row against the same row and one voxel 50 away: only one of 101 distances is not 0
    truth, prediction = np.zeros((2, 2, 200), bool), np.zeros((2, 2, 200), bool)
    truth[0, 0, :10] = True
    prediction[0, 0, :10] = True
    prediction[0, 0, 59] = True
    distances = metrics.surface_distances(truth, prediction, (1, 1, 1))
    # 11 values 0 x 10 and 50; position 0.95 * 10 = 9.5 lies half way; pooled (21 values, position 19) it is 0
    assert distances.hd95() == pytest.approx(25.0)
    assert np.percentile(np.concatenate([distances.from_truth, distances.from_prediction]), 95) == 0.0


def test_voxels_at_the_edge_of_the_image_are_surface():
    full = np.ones((3, 3, 3), bool)
    assert metrics.surface_distances(full, full, (1, 1, 1)).from_truth.size == 26


@pytest.mark.parametrize("spacing", [*SPACINGS, (0.7, 2.0)])
@pytest.mark.parametrize("seed", range(30))
def test_surface_distances_equal_loop(seed, spacing):
    truth, prediction = _random_pair(seed, ndim=len(spacing))
    expected = reference.hd95_assd(truth, prediction, spacing)
    np.testing.assert_allclose(_distances(truth, prediction, spacing), expected, rtol=1e-10)
    in_voxels = reference.hd95_voxels(truth, prediction)
    np.testing.assert_allclose(metrics.hd95_voxels(truth, prediction), in_voxels, rtol=1e-10)


def test_surface_dice_counts_both_surfaces_within_the_tolerance():
    # a voxel and the 26 around another: as in test_cube_around_a_voxel 6 at 1, 12 at sqrt 2, 8 at sqrt 3, and 1 back
    truth, prediction = _cube((5, 5, 5), (1, 1, 1), 3), _cube((5, 5, 5), (2, 2, 2), 1)
    measured = metrics.surface_distances(truth, prediction, (1.0, 1.0, 1.0))
    assert [measured.nsd(mm) for mm in (0.9, 1, 1.5, 2)] == pytest.approx([0, 7 / 27, 19 / 27, 1])
    assert metrics.surface_distances(truth, prediction, (0.1,) * 3).nsd(0.1) == pytest.approx(7 / 27)  # rounding
    assert np.isnan(metrics.surface_distances(truth, np.zeros_like(truth), (1, 1, 1)).nsd(1))


@pytest.mark.parametrize("radius", [1, 9])
def test_trees_and_transforms_measure_the_same_distances(radius, monkeypatch):
    grid = np.indices((40, 30, 30))
    truth = ((grid - 12) ** 2).sum(axis=0) < 121
    prediction = ((grid - np.array([20, 12, 14])[:, None, None, None]) ** 2).sum(axis=0) < radius**2
    found = []
    for sparse in (0, 10**9):
        monkeypatch.setattr(metrics, "_SPARSE", sparse)
        found.append(metrics.surface_distances(truth, prediction, (1.5, 0.7, 3.0)))
    np.testing.assert_allclose(found[0].from_truth, found[1].from_truth, rtol=1e-12)
    np.testing.assert_allclose(found[0].from_prediction, found[1].from_prediction, rtol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_symmetry_translation_and_scale(seed):
    truth, prediction = _random_pair(seed)
    spacing = np.array([1.3, 0.8, 5.0])
    value = _distances(truth, prediction, spacing)
    np.testing.assert_allclose(_distances(prediction, truth, spacing), value, rtol=1e-12)
    np.testing.assert_allclose(_distances(truth, prediction, 3 * spacing), 3 * np.array(value), rtol=1e-12)
    moved = [np.pad(mask, ((4, 1), (0, 3), (2, 2))) for mask in (truth, prediction)]
    np.testing.assert_allclose(_distances(*moved, spacing), value, rtol=1e-12)
    if truth.any():
        assert _distances(truth, truth, spacing) == (0, 0)


@pytest.mark.parametrize("which", ["truth", "prediction", "both"])
def test_empty_masks_have_no_distance(which):
    masks = [np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool)]
    for index, name in enumerate(("truth", "prediction")):
        if which in (name, "both"):
            masks[index] = np.zeros((3, 3, 3), bool)
    assert np.isnan([*_distances(*masks, (1, 1, 1)), metrics.hd95_voxels(*masks)]).all()


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, math.nan)])
def test_surface_distances_reject_spacing(spacing):
    with pytest.raises(ValueError, match="spacing"):
        metrics.surface_distances(np.ones((2, 2, 2)), np.ones((2, 2, 2)), spacing)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "f1_missing_class*.npz"))
def test_golden_missing_class_keeps_its_place_in_ours(path):
    """The published array shrinks (DESIGN decision 1): ours has the same numbers, at the class's place."""
    data = np.load(path)
    truth, prediction, published = data["y_true"], data["y_pred"], data["f1"]
    num_classes = int(max(truth.max(), prediction.max())) + 1
    ours = metrics.dice_per_class(truth, prediction, num_classes)
    np.testing.assert_allclose(reference.published_f1(truth, prediction), published, atol=1e-12)
    occurring = np.union1d(truth, prediction)
    np.testing.assert_allclose(ours[occurring], published, atol=1e-12)
    assert len(published) < len(ours) == num_classes
    assert np.isnan(np.delete(ours, occurring)).all()


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "preprocess_*.npz"))
@pytest.mark.parametrize("suffix", ["skimage026", "noAA"])
def test_golden_f1(path, suffix):
    data = np.load(path)
    truth, prediction = data["mask"].astype(np.uint8), data[f"pred_{suffix}"]
    ours = metrics.dice_per_class(truth, prediction, data["prob"].shape[-1])
    np.testing.assert_allclose(ours[~np.isnan(ours)], data[f"f1_{suffix}"], rtol=0, atol=1e-6)
