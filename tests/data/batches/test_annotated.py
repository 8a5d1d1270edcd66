"""Batches of annotated slices. Expected values: by hand, and properties of a shuffle without replacement."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.rot_flip import rot_flip
from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator
from fewslice.data.batches.annotated import AnnotatedSlices, units_of_step


def stream(seed, count, batch_size, steps):
    return np.concatenate([units_of_step(seed, step, count, batch_size) for step in range(steps)])


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (2, 6), (1, 4), (12, 12), (5, 1)])
def test_every_epoch_sees_every_slice_once(count, batch_size):
    drawn = stream(0, count, batch_size, 5 * count)
    epochs = drawn[: len(drawn) // count * count].reshape(-1, count)
    assert np.all(np.sort(epochs, axis=1) == np.arange(count))
    if count > 2:
        assert len({tuple(epoch) for epoch in epochs}) > 1, "shuffled anew"


def test_a_step_is_a_function_of_seed_and_number():
    np.testing.assert_array_equal(units_of_step(3, 11, 9, 4), stream(3, 9, 4, 12)[-4:])
    assert not np.array_equal(stream(3, 9, 4, 9), stream(4, 9, 4, 9))
    assert [units_of_step(seed, 0, 5, 1)[0] for seed in range(400)].count(2) == pytest.approx(80, abs=35)


IMAGES = np.arange(4 * 3 * 5, dtype=np.float64).reshape(4, 3, 5)
SCRIBBLES = (IMAGES % 3).astype(np.uint8)


def slices_of(units, images=IMAGES, annotations=SCRIBBLES, seed=1, **options):
    return AnnotatedSlices(images.__getitem__, annotations.__getitem__, units, seed=seed, batch_size=2, **options)


def test_batch_by_hand():
    slices = slices_of([2, 0])
    batch, units = slices.batch(0), slices.units(0)
    assert batch.images.shape == (2, 3, 5, 1) and batch.images.dtype == np.float32
    np.testing.assert_array_equal(batch.images[..., 0], IMAGES[units])
    np.testing.assert_array_equal(batch.labels, SCRIBBLES[units])
    assert batch.labels.dtype == np.int32 and sorted(units) == [0, 2] and 0 <= batch.mixing < 1


def test_units_of_any_kind_and_images_with_channels():
    colours = {"a": np.zeros((3, 5, 3), np.float16), "b": np.ones((3, 5, 3), np.float16)}
    slices = slices_of(["b", "a"], colours, {"a": SCRIBBLES[0], "b": SCRIBBLES[1]})
    batch, places = slices.batch(0), ["ab".index(unit) for unit in slices.units(0)]
    assert batch.images[..., 0].mean(axis=(1, 2)).tolist() == places and batch.images.shape[-1] == 3
    np.testing.assert_array_equal(batch.labels, SCRIBBLES[places])


@pytest.mark.parametrize(("ignore_value", "fill"), [(9, 9), (None, 0)])
def test_augmentation_gets_the_fill(ignore_value, fill):
    def augmentation(rng, images, labels, *, label_fill):
        assert label_fill == fill
        return images + 1 + rng.random(), labels

    batch = slices_of([1], augmentation=augmentation, ignore_value=ignore_value).batch(4)
    rng = generator(1, 0, 4)
    assert batch.mixing == rng.random()
    np.testing.assert_allclose(batch.images[0, ..., 0], IMAGES[1] + 1 + rng.random(), rtol=1e-6)


def test_steps_are_reproducible_in_any_order_and_change_no_source():
    before = IMAGES.copy(), SCRIBBLES.copy()
    options = {"augmentation": rot_flip, "ignore_value": 9}
    forward = [slices_of([3, 1, 2], **options).batch(step) for step in range(6)]
    slices, units = slices_of([3, 1, 2], **options), []
    for step in reversed(range(6)):
        units += slices.units(step)
        for one, other in zip(slices.batch(step), forward[step], strict=True):
            np.testing.assert_array_equal(one, other)
    assert len({batch.mixing for batch in forward}) == 6 and sorted(units) == sorted([3, 1, 2] * 4)
    assert slices_of([3, 1, 2], seed=2, **options).batch(0).mixing != forward[0].mixing
    np.testing.assert_array_equal(IMAGES, before[0])
    np.testing.assert_array_equal(SCRIBBLES, before[1])


@pytest.mark.parametrize(
    ("images", "annotations", "units", "message"),
    [
        (IMAGES, SCRIBBLES, [], "Received: 0 slices, batch size 2"),
        ({0: IMAGES[0], 1: IMAGES[1, :2]}, SCRIBBLES, [0, 1], "must have one size"),
        (IMAGES, SCRIBBLES[:, :2], [1], r"annotation of slice 1 must hold one integer .*Found: uint8 \(2, 5\)"),
        (IMAGES, IMAGES, [1], r"Found: float64 \(3, 5\)"),
    ],
)
def test_wrong_sources_are_named(images, annotations, units, message):
    with pytest.raises(ConfigError, match=message):
        slices_of(units, images, annotations).batch(0)
