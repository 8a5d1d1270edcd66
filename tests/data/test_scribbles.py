"""Simulated scribbles.

Expected values: by hand on lines and crosses, scikit-image's skeleton, and what a scribble must be: of every class in a
slice, of no wrong class, the same every time.
"""

import h5py
import numpy as np
import pytest
from skimage.morphology import skeletonize

from fewslice.data.scribbles import case_generator, scribble_of_region, simulate_scribbles
from tests.data.layouts import SHARED_DATA


def heart(seed=0, side=96, depth=3):
    """A disc (1) within a ring (2) beside a small blob (3), of another size in every slice."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[:side, :side]
    label = np.zeros((side, side, depth), np.uint8)
    for index in range(depth):
        radius = rng.uniform(6, 24)
        far = np.hypot(x - side / 2 - rng.uniform(-5, 5), y - side / 2)
        label[..., index][far < radius + 6] = 2
        label[..., index][far < radius] = 1
        label[3:5, 3 : 4 + index, index] = 3
    return label


@pytest.mark.parametrize("seed", range(6))
def test_every_class_and_never_a_wrong_one(seed):
    label = heart(seed)
    found = simulate_scribbles(label, 4, rng=np.random.default_rng(seed))
    assert found.dtype == np.uint8 and found.shape == label.shape
    assert ((found == label) | (found == 4)).all()
    for index in range(label.shape[2]):
        assert set(np.unique(found[..., index])) == {*np.unique(label[..., index]), 4}
        assert (found[..., index] < 4).mean() < 0.12


def test_noise_single_pixels_and_one_class():
    noise = np.random.default_rng(1).integers(0, 5, (20, 17, 2)).astype(np.uint8)
    found = simulate_scribbles(noise, 5, rng=np.random.default_rng(0))
    assert ((found == noise) | (found == 5)).all() and set(np.unique(found)) >= set(range(5))
    lonely = np.zeros((1, 1, 1), np.uint8)
    assert simulate_scribbles(lonely, 2, rng=np.random.default_rng(0)).tolist() == [[[0]]]
    for number in range(3):
        whole = np.full((64, 64, 1), number, np.uint8)
        assert (simulate_scribbles(whole, 3, rng=np.random.default_rng(0)) == number).any()


def test_same_case_same_scribble():
    label = heart()
    first, second = (simulate_scribbles(label, 4, rng=case_generator("007_ED")) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != simulate_scribbles(label, 4, rng=case_generator("007_ES"))).any()


def test_a_thin_line_is_its_own_scribble():
    line = np.zeros((5, 12), bool)
    line[2] = True
    np.testing.assert_array_equal(scribble_of_region(line, np.random.default_rng(0)), line)


def test_small_region_follows_its_skeleton():
    """Neither eroded nor moved: each pixel touches the skeleton, which is one branch and so is kept to its ends."""
    x, y = np.mgrid[:60, :60]
    band = (np.abs(np.hypot(x - 30, y - 10) - 25) < 3) & (y > 15)
    assert 100 < band.sum() < 900
    skeleton = skeletonize(band, method="lee") > 0
    for seed in range(5):
        found = scribble_of_region(band, np.random.default_rng(seed))
        places = np.argwhere(skeleton)
        assert all(np.abs(places - pixel).max(axis=1).min() <= 1 for pixel in np.argwhere(found))
        assert (found & skeleton).sum() > 0.8 * skeleton.sum()


def test_one_branch_of_a_cross_is_kept():
    """Arms of 30 pixels: a walk both ways from anywhere covers two arms and no third."""
    cross = np.zeros((61, 61), bool)
    cross[30], cross[:, 30] = True, True
    for seed in range(8):
        found = scribble_of_region(cross, np.random.default_rng(seed))
        arms = [found[30, :28], found[30, 33:], found[:28, 30], found[33:, 30]]
        assert sorted(bool(arm.any()) for arm in arms) in ([False, False, True, True], [False, False, False, True])


def test_round_region_is_not_a_point():
    x, y = np.mgrid[:40, :40]
    disc = np.hypot(x - 20, y - 20) < 14
    for seed in range(5):
        found = scribble_of_region(disc, np.random.default_rng(seed))
        assert 20 < found.sum() < 0.3 * disc.sum()


def test_large_region_is_moved_but_stays_within():
    region = np.ones((60, 40), bool)
    region[:, :5] = False
    found = [scribble_of_region(region, np.random.default_rng(seed)) for seed in range(6)]
    assert all(part.any() and not (part & ~region).any() for part in found)
    assert len({part.tobytes() for part in found}) == 6


@pytest.mark.skipif(not (SHARED_DATA / "acdc_h5").exists(), reason="needs the real volumes")
def test_share_of_pixels_is_like_that_of_annotators():
    """Within a factor of two and a half of ACDC's own scribbles; the share of each structure within a factor of two."""
    path = sorted((SHARED_DATA / "acdc_h5").rglob("patient001_frame01.h5"))[0]
    with h5py.File(path) as file:
        label, drawn = (
            np.ascontiguousarray(file[key][2:6].transpose(2, 1, 0), np.uint8) for key in ("label", "scribble")
        )
    made = simulate_scribbles(label, 4, rng=case_generator("001_ED"))
    assert 0.4 < (made < 4).mean() / (drawn < 4).mean() < 2.5
    for number in (1, 2, 3):
        assert 0.5 < (made == number).sum() / (drawn == number).sum() < 2
