"""Batches of annotated slices. Expected values: by hand, and properties of a shuffle without replacement."""

from __future__ import annotations

import numpy as np
import pytest

from fewslice.augment.rot_flip import RotFlip
from fewslice.core.errors import ConfigError
from fewslice.data.batches.annotated import AnnotatedSlices, annotated_batch, units_of_step


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


def test_batch_by_hand():
    batch = annotated_batch(np.random.default_rng(0), IMAGES, SCRIBBLES, [2, 0])
    assert batch.images.shape == (2, 3, 5, 1) and batch.images.dtype == np.float32
    np.testing.assert_array_equal(batch.images[..., 0], IMAGES[[2, 0]])
    np.testing.assert_array_equal(batch.labels, SCRIBBLES[[2, 0]])
    assert batch.labels.dtype == np.int32 and batch.units == [2, 0] and 0 <= batch.mixing < 1


def test_sources_may_be_functions_of_any_unit_and_have_channels():
    colours = {"a": np.zeros((3, 5, 3), np.float16), "b": np.ones((3, 5, 3), np.float16)}
    batch = annotated_batch(np.random.default_rng(0), colours, lambda unit: SCRIBBLES["ab".index(unit)], ["b", "a"])
    assert batch.images[..., 0].mean(axis=(1, 2)).tolist() == [1, 0] and batch.images.shape[-1] == 3
    np.testing.assert_array_equal(batch.labels, SCRIBBLES[[1, 0]])


@pytest.mark.parametrize(("ignore_value", "fill"), [(9, 9), (None, 0)])
def test_augmentation_gets_the_fill(ignore_value, fill):
    seen = []

    def augmentation(rng, images, labels, *, label_fill):
        seen.append((label_fill, rng.random()))
        return images + 1, labels

    batch = annotated_batch(
        np.random.default_rng(5), IMAGES, SCRIBBLES, [1], augmentation=augmentation, ignore_value=ignore_value
    )
    np.testing.assert_array_equal(batch.images[0, ..., 0], IMAGES[1] + 1)
    rng = np.random.default_rng(5)
    assert batch.mixing == rng.random() and seen == [(fill, rng.random())]


def test_steps_are_reproducible_in_any_order():
    def make(seed=1):
        return AnnotatedSlices(
            IMAGES, SCRIBBLES, [3, 1, 2], seed=seed, batch_size=2, augmentation=RotFlip(), ignore_value=9
        )

    forward = [make().batch(step) for step in range(6)]
    slices = make()
    for step in reversed(range(6)):
        batch = slices.batch(step)
        assert batch.units == forward[step].units == slices.units(step)
        assert batch.mixing == forward[step].mixing
        np.testing.assert_array_equal(batch.images, forward[step].images)
        np.testing.assert_array_equal(batch.labels, forward[step].labels)
    assert len({batch.mixing for batch in forward}) == 6
    assert sorted(sum((batch.units for batch in forward), [])) == sorted([3, 1, 2] * 4)
    assert any(make(2).batch(step).mixing != forward[step].mixing for step in range(2))


def test_source_arrays_are_not_changed():
    before = IMAGES.copy(), SCRIBBLES.copy()
    AnnotatedSlices(IMAGES, SCRIBBLES, range(4), seed=0, augmentation=RotFlip(1.0)).batch(0)
    np.testing.assert_array_equal(IMAGES, before[0])
    np.testing.assert_array_equal(SCRIBBLES, before[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES, SCRIBBLES, []), "needs annotated slices"),
        (({0: IMAGES[0], 1: IMAGES[1, :2]}, SCRIBBLES, [0, 1]), "must have one size"),
        ((IMAGES, SCRIBBLES[:, :2], [1]), r"annotation of slice 1 must hold one integer .*Found: uint8 \(2, 5\)"),
        ((IMAGES, IMAGES, [1]), r"Found: float64 \(3, 5\)"),
    ],
)
def test_wrong_sources_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        annotated_batch(np.random.default_rng(0), *arguments)


def test_nothing_to_draw_from_is_named_at_once():
    with pytest.raises(ConfigError, match="Received: 0 slices, batch size 6"):
        AnnotatedSlices(IMAGES, SCRIBBLES, [], seed=0)
    with pytest.raises(ConfigError, match="batch size 0"):
        units_of_step(0, 0, 3, 0)
