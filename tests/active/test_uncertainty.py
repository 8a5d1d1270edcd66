"""Uncertainty scores.

Expected values: entropies of halves and certainties by hand; plain loops over the formulas, tests/reference/active.py.
"""

import tracemalloc

import numpy as np
import pytest

from fewslice.active import uncertainty
from fewslice.active.uncertainty import LAST, PASSES, SCORES, PassStatistics, mean_over_members, unit_means
from fewslice.core.errors import ConfigError
from tests.active.units import means
from tests.reference import active as reference

LOOPS = {
    "entropy": reference.predictive_entropy,
    "expected_entropy": reference.expected_entropy,
    "bald": reference.bald,
    "variance_ratio": reference.variance_ratio,
    "vote_entropy": reference.vote_entropy,
    "ensemble_variance": reference.ensemble_variance,
    "least_confidence": reference.least_confidence,
    "margin": reference.margin,
}
LN2 = float(np.log(2))


def scores(passes, names=tuple(LOOPS)):
    """Returns {name: (n,)} of (M, n, *space, C) passes."""
    statistics = PassStatistics(names)
    for values in passes:
        statistics.update(values)
    return means(statistics)


def random_passes(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.5), shape[:-1])


def one_pixel(*passes):
    """Returns (M, 1, 1, 1, C)."""
    return np.array(passes, np.float64)[:, None, None, None, :]


@pytest.mark.parametrize("name", [name for name in SCORES.names() if SCORES.get(name).source == PASSES])
def test_contract(name):
    """A finite number per slice, whatever the others and the order of passes; contradiction is more than unison."""
    passes = random_passes(4, 3, 5, 6, 3)
    found = scores(passes, [name])[name]
    assert found.shape == (3,) and found.dtype == np.float64 and np.isfinite(found).all()
    if LAST not in SCORES.get(name).needs:
        np.testing.assert_allclose(scores(passes[::-1], [name])[name], found, rtol=1e-9)
    np.testing.assert_allclose(scores(passes[:, [2, 0]], [name])[name], found[[2, 0]], rtol=1e-9)
    sure = scores(one_pixel((1, 0), (1, 0)), [name])[name]
    torn = one_pixel((0.2, 0.8), (0.2, 0.8), (1, 0))
    assert abs(sure) < 1e-6 and scores(torn, [name])[name] > 0.1


def test_by_hand():
    """One slice of one pixel, two classes: passes that contradict each other, and passes of one mind."""
    apart, alike = scores(one_pixel((1, 0), (0, 1))), scores(one_pixel((0.5, 0.5), (0.5, 0.5)))
    both = {"entropy": LN2, "least_confidence": 0.5, "margin": 1.0}
    contradiction = {"bald": LN2, "variance_ratio": 0.5, "vote_entropy": LN2, "ensemble_variance": 0.25}
    for name in LOOPS:
        assert apart[name][0] == pytest.approx((both | contradiction).get(name, 0.0), abs=1e-6), name
        assert alike[name][0] == pytest.approx((both | {"expected_entropy": LN2}).get(name, 0.0), abs=1e-6), name


@pytest.mark.parametrize("name", sorted(LOOPS))
@pytest.mark.parametrize("shape", [(5, 2, 3, 4, 4), (1, 1, 2, 3, 2), (4, 1, 3, 2, 3)])
def test_equals_the_loops(name, shape):
    passes = random_passes(*shape)
    found = scores(passes, [name])[name]
    expected = [LOOPS[name](np.moveaxis(passes[:, i], -1, 1)) for i in range(shape[1])]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.dtype == np.float64


def test_float32_and_float16_are_summed_in_float32():
    passes = random_passes(20, 2, 6, 6, 3)
    exact = scores(passes)
    for dtype, tolerance in (np.float32, 1e-5), (np.float16, 2e-3):
        found = scores(passes.astype(dtype))
        for name in exact:
            np.testing.assert_allclose(found[name], exact[name], atol=tolerance, err_msg=name)
        statistics = PassStatistics()
        statistics.update(passes[0].astype(dtype))
        assert statistics.mean.dtype == np.float32
    certain = np.zeros((3, 1, 2, 2, 4), np.float16)
    certain[..., 0] = 1
    assert all(np.isfinite(values).all() for values in scores(certain).values())


def test_patches_have_three_axes():
    passes = random_passes(3, 2, 2, 2, 2, 3)
    flat = passes.reshape(3, 2, 4, 2, 3)
    for name, values in scores(passes).items():
        np.testing.assert_allclose(values, scores(flat)[name], rtol=1e-12)


BOXES = {
    "slices": ([(index, 0, 0) for index in range(4)], (1, 6, 5)),
    "everything": ([(0, 0, 0)], (4, 6, 5)),
    "patches": ([(0, 0, 0), (1, 3, 2), (2, 4, 1), (2, 0, 3)], (2, 2, 2)),
    "columns": ([(0, 1, 0), (0, 4, 0)], (4, 2, 5)),
    "several sizes": ([(0, 0, 0), (3, 5, 4), (1, 0, 1)], [(1, 6, 5), (1, 1, 1), (3, 2, 4)]),
}


@pytest.mark.parametrize("starts, size", BOXES.values(), ids=BOXES)
def test_means_over_boxes_are_those_of_a_loop(starts, size):
    values = np.random.default_rng(3).random((4, 6, 5)).astype(np.float32)
    sizes = np.broadcast_to(size, (len(starts), 3))
    expected = [
        np.mean([values[a + i, b + j, c + k] for i, j, k in np.ndindex(*one)])
        for (a, b, c), one in zip(starts, sizes, strict=True)
    ]
    found = unit_means(values, np.array(starts), sizes)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_no_number_stays():
    passes = random_passes(2, 1, 2, 2, 2)
    passes[1, 0, 0, 0] = np.nan
    assert np.isnan(scores(passes, ["entropy"])["entropy"][0])


def test_memory_does_not_grow_with_the_passes():
    values = random_passes(2, 32, 32, 4)
    peaks = []
    for count in (2, 20):
        tracemalloc.start()
        statistics = PassStatistics(["bald", "variance_ratio", "ensemble_variance"])
        for _ in range(count):
            statistics.update(values)
        means(statistics)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[0] < 8 * values.nbytes


@pytest.mark.parametrize("classes", [2, 3])
def test_blocks_and_threads_change_no_bit(classes, monkeypatch):
    """Slices of an odd size, also as a view that is not contiguous: equal bits, whatever the blocks and threads."""
    names = [name for name in SCORES.names() if SCORES.get(name).source == PASSES]
    passes = random_passes(3, 3, 5, 7, classes).astype(np.float32)
    strided = np.repeat(passes, 2, axis=3)[:, :, :, ::2]
    expected = scores(passes, names)
    for block, workers in ((8, 1), (8, 2), (passes[0, 0].size, 3)):
        monkeypatch.setattr(uncertainty, "_BLOCK", block)
        monkeypatch.setattr(uncertainty, "default_workers", lambda workers=workers: workers)
        for given in (passes, strided):
            for name, values in scores(given, names).items():
                np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_members_are_averaged():
    np.testing.assert_allclose(mean_over_members([[0.0, 1.0], [1.0, 4.0]]), [0.5, 2.5])
    with pytest.raises(ConfigError, match="score the same slices"):
        mean_over_members([[0.0], [1.0, 2.0]])
    with pytest.raises(ConfigError, match="score the same slices"):
        mean_over_members([])


@pytest.mark.parametrize("action, error, words", [
    (lambda: PassStatistics(["entropi"]), ConfigError, "Did you mean 'entropy'"),
    (lambda: PassStatistics().maps(), RuntimeError, "no pass"),
    (lambda: scores([np.full((1, 2, 2, 2), 3.0)]), ValueError, "Are they logits"),
    (lambda: scores([np.array([[[[-0.5, 1.5]]]])]), ValueError, "Are they logits"),
    (lambda: scores([np.ones((1, 2, 2, 1))]), ValueError, "at least 2 classes"),
    (lambda: scores([random_passes(1, 2, 2, 2), random_passes(1, 2, 3, 2)]), ValueError, "shape of the first"),
])  # fmt: skip
def test_mistakes(action, error, words):
    with pytest.raises(error, match=words):
        action()
