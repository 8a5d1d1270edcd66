"""Score maps by passes of networks. Expected values: by hand, and the loops of tests/reference/active.py."""

from __future__ import annotations

import tracemalloc

import keras
import numpy as np
import pytest

import models
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.learner.passes import DropoutPasses, Passes, mean_over_passes, slice_maps, window_maps
from fewslice.train.predict import softmax
from models.dropout import ActiveDropout
from tests.golden_files import golden_param
from tests.reference import active as reference

LOOPS = {
    "entropy": reference.predictive_entropy,
    "bald": reference.bald,
    "variance_ratio": reference.variance_ratio,
}


def pool_scores(networks, images, names, **options):
    """Returns name -> (N,) means of the score maps of images that are cases of one slice each, over all networks."""
    members = [one if isinstance(one, DropoutPasses) else Passes(one) for one in networks]
    maps = list(slice_maps(members, [image[None] for image in images], names, **options))
    return {name: np.array([np.mean([one[name].mean() for one in case]) for case in maps]) for name in names}


def network(seed):
    """Returns a function images -> logits of 3 classes: linear in the pixel."""
    weights, offset = np.random.default_rng(seed).normal(size=(2, 3)) * 3
    return lambda images: images * weights + offset


def images(count, side=4):
    return np.random.default_rng(9).normal(size=(count, side, side, 1)).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_equals_the_loops_whatever_the_batches(batch_size):
    pool, members = images(7), [network(seed) for seed in range(3)]
    found = pool_scores(members, pool, list(LOOPS), batch_size=batch_size)
    maps = np.stack([softmax(member(pool).astype(np.float32)) for member in members])  # (M, N, H, W, C)
    for name, loop in LOOPS.items():
        expected = [loop(np.moveaxis(maps[:, unit], -1, 1).astype(np.float64)) for unit in range(len(pool))]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)


def test_published_bald_of_an_ensemble_is_a_mean_of_members(dropout_network):
    # the mean over members of each member's BALD over its passes
    members = [DropoutPasses(dropout_network, seed=seed) for seed in (1, 2)]
    pool = images(3)
    apart = [pool_scores([member], pool, ["bald"], passes=5, batch_size=3)["bald"] for member in members]
    both = pool_scores(members, pool, ["bald"], passes=5, batch_size=3, is_joint=False)["bald"]
    np.testing.assert_allclose(both, np.mean(apart, axis=0), rtol=1e-12)
    joint = pool_scores(members, pool, ["bald"], passes=5, batch_size=3)["bald"]
    assert np.abs(joint - both).max() > 1e-6


@pytest.fixture(scope="module", name="dropout_network")
def _dropout_network():
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(8, 1, kernel_initializer="ones", name="a")(inputs)
    x = ActiveDropout(0.5, seed=3)(x)
    return keras.Model(inputs, keras.layers.Conv2D(3, 1, kernel_initializer=_ramp, name="b")(x))


def _ramp(shape, dtype=None):
    return keras.ops.convert_to_tensor(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape), dtype)


def test_passes_depend_on_seed_batch_and_pass_only(dropout_network):
    pool, options = images(5), {"passes": 4, "batch_size": 2}
    first = pool_scores([DropoutPasses(dropout_network, seed=1)], pool, ["bald"], **options)["bald"]
    dropout_network.predict_on_batch(pool[:2])  # advances the generators
    again = pool_scores([DropoutPasses(dropout_network, seed=1)], pool, ["bald"], **options)["bald"]
    np.testing.assert_array_equal(first, again)
    other = pool_scores([DropoutPasses(dropout_network, seed=2)], pool, ["bald"], **options)["bald"]
    assert (first > 0).all() and (first != other).any()
    network = DropoutPasses(dropout_network, seed=1)
    answers = [network(pool[:2], batch, number) for batch, number in ((0, 0), (0, 1), (1, 0), (0, 0))]
    np.testing.assert_array_equal(answers[0], answers[3])
    assert (answers[0] != answers[1]).any() and (answers[0] != answers[2]).any()


def test_what_comes_before_dropout_is_computed_once_and_changes_nothing(dropout_network, monkeypatch):
    pool, calls = images(5), []
    kept = pool_scores([DropoutPasses(dropout_network, seed=1)], pool, ["bald"], passes=4, batch_size=2)["bald"]
    split = models.split_at_dropout

    def counted(network):
        first, rest = split(network)
        ask = first.predict_on_batch
        first.predict_on_batch = lambda images: calls.append(len(images)) or ask(images)
        return first, rest

    monkeypatch.setattr(models, "split_at_dropout", counted)
    pool_scores([DropoutPasses(dropout_network, seed=1)], pool, ["bald"], passes=4, batch_size=2)
    assert calls == [2, 2, 2]
    monkeypatch.setattr(models, "split_at_dropout", lambda network: None)
    whole = pool_scores([DropoutPasses(dropout_network, seed=1)], pool, ["bald"], passes=4, batch_size=2)["bald"]
    np.testing.assert_array_equal(kept, whole)


def test_images_of_different_sizes_get_maps_of_their_own():
    rng, member = np.random.default_rng(0), network(1)
    cases = [
        rng.random((depth, *size, 1)).astype(np.float32) for depth, size in ((1, (4, 6)), (2, (4, 6)), (2, (5, 3)))
    ]
    for batch_size in (1, 2, 4):
        found = list(slice_maps([Passes(member)], cases, ["entropy"], batch_size=batch_size))
        for case, (one,) in zip(cases, found, strict=True):
            (alone,) = slice_maps([Passes(member)], [case], ["entropy"], batch_size=batch_size)
            np.testing.assert_array_equal(one["entropy"], alone[0]["entropy"])
            assert one["entropy"].shape == case.shape[:3]


@pytest.mark.parametrize("of_logits", [False, True])
def test_mean_over_passes(dropout_network, of_logits):
    member, pool = DropoutPasses(dropout_network, seed=2), images(2)
    found = mean_over_passes(member, 3, of_logits=of_logits)(pool)
    logits = np.array([[member(pool[n : n + 1], n, number)[0] for number in range(3)] for n in range(2)])
    expected = softmax(logits.mean(axis=1)) if of_logits else softmax(logits).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "metrics_loss*.npz"))
def test_golden_averages(path):
    """The published mean of logits, and the mean of probabilities, which differs on a few pixels."""
    data = np.load(path)
    passes = np.moveaxis(data["bma_logits_stack"], (1, -1), (-1, 0))  # (T, N, H, W, C)
    member = Passes(lambda images: None)
    member.over = lambda images, batch: lambda number: passes[number, batch : batch + 1]
    for of_logits, name in ((True, "bma_pred_logit_mean"), (False, "bma_pred_prob_mean")):
        predict = mean_over_passes(member, len(passes), of_logits=of_logits)
        np.testing.assert_array_equal(predict(np.zeros(passes.shape[1:])).argmax(axis=-1), data[name])


def test_memory_grows_neither_with_the_pool_nor_with_passes():
    one, peaks = images(1, 32), []
    for units, passes in ((8, 2), (200, 2), (8, 20)):
        members = [Passes(network(0))] * passes
        tracemalloc.start()
        for _ in slice_maps(members, [one] * units, ["bald", "variance_ratio"], batch_size=4):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.1 * peaks[0]


def test_cases_of_several_slices_get_maps_of_their_own():
    pool, member = images(7), network(1)
    cases = [pool[:3], pool[3:4], pool[4:]]
    (whole,) = list(slice_maps([Passes(member)], [pool], ["entropy"], batch_size=16))
    for batch_size in (1, 2, 5):
        found = list(slice_maps([Passes(member)], cases, ["entropy"], batch_size=batch_size))
        assert [one["entropy"].shape for (one,) in found] == [(3, 4, 4), (1, 4, 4), (3, 4, 4)]
        np.testing.assert_allclose(np.concatenate([one["entropy"] for (one,) in found]), whole[0]["entropy"], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_average_the_probabilities(batch_size):
    """A network that answers by the place in its window: the mean over all windows that hold a voxel, by a loop."""
    shape, window = (3, 6, 5), (2, 4, 4)
    table = np.random.default_rng(2).normal(size=(*window, 3)).astype(np.float32)
    cases = [np.random.default_rng(n).normal(size=(*shape, 1)).astype(np.float32) for n in range(2)]
    found = list(
        window_maps([Passes(lambda x: x + table)], cases, ["least_confidence"], window=window, batch_size=batch_size)
    )
    axes = [(0, 1), (0, 2), (0, 1)]  # every half a window, and at the far border
    for case, (one,) in zip(cases, found, strict=True):
        sums, counts = np.zeros((*shape, 3)), np.zeros((*shape, 1))
        for start in np.ndindex(2, 2, 2):
            first = [axis[place] for axis, place in zip(axes, start, strict=True)]
            box = tuple(slice(a, a + b) for a, b in zip(first, window, strict=True))
            sums[box] += softmax(case[box] + table)
            counts[box] += 1
        np.testing.assert_allclose(one["least_confidence"], 1 - (sums / counts).max(axis=-1), rtol=1e-4, atol=1e-6)


def test_a_case_smaller_than_its_window_is_filled_up():
    ((one,),) = window_maps([Passes(lambda x: np.repeat(x, 2, -1))], [images(2)], ["entropy"], window=(4, 4, 4))
    assert one["entropy"].shape == (2, 4, 4)
    np.testing.assert_allclose(one["entropy"], np.log(2), rtol=1e-5)


@pytest.mark.parametrize("call, words", [
    (lambda: pool_scores([], images(1), ["entropy"]), "at least one network"),
    (lambda: pool_scores([network(0)], images(1), ["entropi"]), "Did you mean 'entropy'"),
    (lambda: pool_scores([lambda image: image], images(1), ["entropy"]), "must give logits"),
    (lambda: pool_scores([keras.Sequential([keras.Input((4, 4, 1))])], images(1), ["entropy"], passes=2), "alike"),
    (lambda: DropoutPasses(keras.Sequential([keras.Input((4, 4, 1))])), "has no dropout"),
])  # fmt: skip
def test_mistakes(call, words):
    with pytest.raises(ConfigError, match=words):
        call()


def test_an_answer_that_is_not_finite_names_the_unit():
    pool = images(5)
    pool[3, 0, 0] = np.nan
    with pytest.raises(FewSliceError, match="slice 3 of the pool is not finite"):
        pool_scores([network(0)], pool, ["entropy"], batch_size=2)
