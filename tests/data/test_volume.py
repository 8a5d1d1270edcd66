"""The network's grid by the dataset's settings.

Expected values: by hand on small slices, the index maps recorded from the published resize (golden), and
`fewslice.data.preprocess`, tested by itself, one channel at a time.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.data import preprocess, volume
from fewslice.data.batches.contrastive import gather_slices, segmentation_batch
from tests.golden_files import golden_param


def settings(**changes):
    values = {"grid": "stretch", "intensity": "as_stored", "size": (4, 3), "percentiles": (1.0, 99.0)}
    values["label_resampling"] = "area"
    return SimpleNamespace(**{**values, "target_resolution": (1.5, 1.5), "anti_aliasing": "default", **changes})


def test_stretch_by_hand():
    """Two pixels become four (0, 0, 1, 1), five become three (0, 2, 4); and back (0, 3) and (0, 1, 1, 2, 2)."""
    image = np.arange(10, dtype=np.float32).reshape(2, 5, 1) + 100
    found = volume.image_to_grid(image, (9, 0.1, 1), settings())
    assert found.dtype == np.float32 and found.shape == (1, 4, 3)
    assert found[0].tolist() == [[100, 102, 104], [100, 102, 104], [105, 107, 109], [105, 107, 109]]
    label = volume.label_to_grid((image - 100).astype(np.uint8), (1, 1, 1), settings(), outside=7)
    assert label.dtype == np.uint8 and label.tolist() == (found - 100).tolist()
    stretched = np.array([[[0, 1, 2], [3, 0, 0], [3, 0, 0], [1, 2, 3]]])
    native = volume.label_from_grid(np.eye(4)[stretched], (2, 5, 1), (1, 1, 1), settings())
    assert native.dtype == np.uint8 and native[..., 0].tolist() == [[0, 1, 1, 2, 2], [1, 2, 2, 3, 3]]


@pytest.mark.parametrize("shape, size", [((6, 10), (4, 5)), ((8, 2), (5, 1))])
def test_whole_images_are_resampled_each_to_its_own_size(shape, size):
    """1 mm to 1.5 x 2 mm: as `resample` with just that size; and back without a margin."""
    image = np.random.default_rng(0).random((*shape, 1)).astype(np.float32)
    label = (image > 0.5).astype(np.uint8)
    own = settings(grid="whole", target_resolution=(1.5, 2.0))
    fitting = settings(grid="resample", target_resolution=(1.5, 2.0), size=size)
    for to_grid, array in ((volume.image_to_grid, image), (volume.label_to_grid, label)):
        found = to_grid(array, (1, 1, 1), own)
        assert found.shape == (1, *size)
        np.testing.assert_array_equal(found, to_grid(array, (1, 1, 1), fitting))
    probabilities = np.random.default_rng(1).dirichlet([1, 1], (1, *size))
    back = [volume.label_from_grid(probabilities, (*shape, 1), (1, 1, 1), each) for each in (own, fitting)]
    np.testing.assert_array_equal(*back)


def test_most_probable_class_is_chosen_before_stretching_back():
    probabilities = np.zeros((1, 2, 2, 3))
    probabilities[0, :, 0] = 0.4, 0.4, 0.2  # a tie takes the lower class
    probabilities[0, :, 1] = 0.1, 0.2, 0.7
    found = volume.label_from_grid(probabilities, (2, 4, 1), (1, 1, 1), settings(size=(2, 2)))
    assert found[..., 0].tolist() == [[0, 0, 2, 2], [0, 0, 2, 2]]


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("coreclr", "resize_nearest*.npz"))
def test_golden_maps(path):
    """Every recorded map, along both axes. Where SciPy's rounding lost the last pixel (a 0), ours is the last one."""
    with np.load(path) as data:
        maps = {name: data[name] for name in data if name.startswith("map_")}
    assert maps
    for name, expected in maps.items():
        size, new = map(int, name.split("_")[1:])
        expected = np.where((expected == 0) & (np.arange(new) == new - 1), size - 1, expected)
        image = np.arange(size, dtype=np.float32)
        found = volume.image_to_grid(image[:, None, None] * [[1], [1]], (1, 1, 1), settings(size=(new, 2)))
        np.testing.assert_array_equal(found[0, :, 1], expected)
        label = np.stack([np.arange(size) % 2] * 2).astype(np.uint8)[..., None]  # (2, size, 1)
        found = volume.label_to_grid(label, (1, 1, 1), settings(size=(2, new)))
        np.testing.assert_array_equal(found[0, 1], expected % 2)


@pytest.mark.parametrize("kind", ["resample", "stretch"])
@pytest.mark.parametrize("intensity", ["percentiles", "as_stored"])
def test_channels_share_their_scale(kind, intensity):
    image = np.random.default_rng(0).normal(size=(9, 12, 2, 3)) * [1.0, 2.0, 3.0]
    config = settings(grid=kind, intensity=intensity, size=(16, 16))
    found = volume.image_to_grid(image, (1.5, 1.2, 5), config)
    assert found.shape == (2, 16, 16, 3) and found.dtype == np.float32
    scaled = preprocess.normalise(image) if intensity == "percentiles" else image
    for channel in range(3):
        config = settings(grid=kind, size=(16, 16))
        alone = volume.image_to_grid(scaled[..., channel], (1.5, 1.2, 5), config)
        np.testing.assert_allclose(found[..., channel], alone, atol=1e-6)
        if kind == "resample":
            options = {"target_resolution": (1.5, 1.5), "size": (16, 16)}
            expected = preprocess.prepare_image(scaled[..., channel], (1.5, 1.2, 5), **options)
            np.testing.assert_allclose(alone, expected, atol=1e-6)


def test_outside_of_the_slice():
    scribble = np.full((3, 3, 1), 4, np.uint8)
    scribble[1, 1] = 2
    config = settings(grid="resample", size=(5, 5), target_resolution=(1.0, 1.0))
    found = volume.label_to_grid(scribble, (1, 1, 1), config, outside=4)
    assert found[0, 2, 2] == 2 and (found != 4).sum() == 1
    assert (volume.label_to_grid(scribble, (1, 1, 1), config) == 0).sum() == 25 - 9


def test_batches_of_colour_slices():
    rng = np.random.default_rng(0)
    colour = SimpleNamespace(image=rng.normal(size=(4, 8, 8, 3)), label=np.zeros((4, 8, 8), np.uint8))
    sources = np.array([[0, 3], [0, 0]])
    np.testing.assert_array_equal(gather_slices([colour], sources), colour.image[[3, 0]].astype(np.float32))
    batch = segmentation_batch(rng, [colour], batch_size=3, num_classes=2)
    assert batch.images.shape == (3, 8, 8, 3) and batch.labels.shape == (3, 8, 8, 2)
    grey = SimpleNamespace(image=colour.image[..., 0], label=colour.label)
    np.testing.assert_array_equal(gather_slices([grey], sources), gather_slices([colour], sources)[..., :1])
