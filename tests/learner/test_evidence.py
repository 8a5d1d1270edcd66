"""What passes of networks say of units. Expected values: by hand, and means of what the networks answer."""

import types

import numpy as np
import pytest

from fewslice.active.pool import make_pool
from fewslice.active.uncertainty import bound, pass_means, predicted_foreground
from fewslice.active.units import Case
from fewslice.core.errors import ConfigError
from fewslice.learner import evidence
from fewslice.learner.kinds import FEATURES
from fewslice.learner.passes import Passes, slice_maps
from fewslice.settings.experiment import Named
from fewslice.train.predict import softmax
from tests.registries import temporary

CASES = [Case(name, name, (depth, 4, 6), {"grade": grade}) for name, depth, grade in [("a", 3, "x"), ("b", 2, "y")]]
RNG = np.random.default_rng(5)
IMAGES = [RNG.normal(size=(*case.shape, 1)).astype(np.float32) for case in CASES]
WEIGHTS = RNG.normal(size=(3, 2, 3)) * 2  # of three networks: slope and offset of 3 classes


def members():
    return [Passes(lambda images, slope=slope, offset=offset: images * slope + offset) for slope, offset in WEIGHTS]


def answers(place):
    """Returns (3 networks, slices, rows, columns, classes)."""
    return np.stack([softmax(IMAGES[place].astype(np.float64) * slope + offset) for slope, offset in WEIGHTS])


@pytest.mark.parametrize("unit, count", [("slice", 5), ("volume", 2)])
@pytest.mark.parametrize("is_joint", [True, False])
def test_mean_probabilities_of_each_pass(unit, count, is_joint):
    pool = make_pool(CASES, Named(unit))
    maps = slice_maps(members(), IMAGES, [pass_means], is_joint=is_joint, batch_size=2)
    found = evidence.unit_pass_means(pool, maps)
    expected = [
        answers(box.case)[(slice(None), *box.slices)].mean(axis=(1, 2, 3)) for box in map(pool.box, range(count))
    ]
    assert found.shape == (count, 3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_patches_have_none():
    pool = make_pool(CASES, Named("patch", {"size": [1, 2, 2], "stride": [1, 2, 2]}))
    with pytest.raises(ConfigError, match="are those of whole slices. .* is a part of one: use another strategy"):
        evidence.unit_pass_means(pool, slice_maps(members(), IMAGES, [pass_means]))


@pytest.mark.parametrize("reduce", ["mean", "sum", "foreground"])
def test_scores_are_reduced_over_units(reduce):
    pool, score = make_pool(CASES), bound("entropy", {})
    found = evidence.unit_scores(
        pool, slice_maps(members(), IMAGES, [score, predicted_foreground]), score, reduce=reduce
    )
    expected = []
    for place in range(len(CASES)):
        for mean in answers(place).mean(axis=0):  # slice by slice
            values = -(mean * np.log(mean)).sum(axis=-1)
            inside = values[mean.argmax(axis=-1) > 0]
            chosen = {"mean": values.mean(), "sum": values.sum(), "foreground": inside.mean() if len(inside) else 0}
            expected.append(chosen[reduce])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_class_of_the_nearest_annotated_unit():
    pool = make_pool(CASES * 1 + [Case("c", "c", (1, 4, 6), {"grade": "x"})], Named("image", {"label": "grade"}))
    shown = evidence.PoolEvidence(None, None, pool, None, None, None)
    situation = types.SimpleNamespace(is_labelled=np.array([True, True, False]), trained="rounds/000")
    with temporary(FEATURES):
        FEATURES._objects["pooled_map"] = lambda inputs, level: np.array([[0.0, 0], [1, 0], [0.9, 0.1]], np.float16)
        assert shown.classes(situation).tolist() == ["x", "y", "y"]  # that of c itself is not looked at
    situation.trained = None
    assert shown.classes(situation) is None
