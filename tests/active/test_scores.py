"""Scores of votes and distances, and reductions. Expected values: by hand, and loops of tests/reference/scores.py."""

import dataclasses

import numpy as np
import pytest

from fewslice.active import uncertainty
from fewslice.active.query import select
from fewslice.active.scores.distance import relative_distances
from fewslice.active.uncertainty import (
    SCORES,
    PassStatistics,
    bound,
    pass_means,
    predicted_foreground,
    unit_values,
)
from fewslice.core.errors import ConfigError
from fewslice.core.options import registered_options
from tests.active.units import query_of
from tests.reference import active
from tests.reference import scores as reference


def maps_of(passes, *names):
    statistics = PassStatistics(names)
    for values in passes:
        statistics.update(values)
    return statistics.maps()


def passes_of(*rows):
    """Probabilities of foreground of an image of one row, in each pass -> (T, 1, 1, columns, 2)."""
    foreground = np.array(rows, np.float64)[:, None, None, :]
    return np.stack([1 - foreground, foreground], axis=-1)


def random_passes(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.4), shape[:-1])


OURS = {
    "vote_variance": reference.vote_variance,
    "vote_variance_edt": reference.vote_variance_edt,
    "axon_myelin": reference.axon_myelin,
}
PASS_SCORES = [name for name in SCORES.names() if SCORES.get(name).source == uncertainty.PASSES]


def mean_by_loops(name, passes):
    """The mean over an image, (T, rows, columns, C)."""
    others = {"entropy": active.predictive_entropy}.get(name) or getattr(active, name, None)
    return OURS[name](passes).mean() if name in OURS else others(np.moveaxis(passes, -1, 1))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("shape", [(5, 2, 6, 5, 2), (4, 3, 5, 7, 4), (1, 1, 3, 3, 3)])
def test_equals_the_loops(name, shape):
    passes = random_passes(*shape)
    found = maps_of(passes, name)[name]
    expected = [OURS[name](passes[:, place]) for place in range(shape[1])]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_axon_myelin_without_distances():
    passes, far = random_passes(5, 2, 6, 5, 2), bound("axon_myelin", {"edt": False})
    expected = [reference.axon_myelin(passes[:, place], edt=False) for place in range(2)]
    np.testing.assert_allclose(maps_of(passes, far)[far], expected, rtol=1e-9)
    assert far.reduce == "sum" and registered_options("s", "n", far.func, {})[0] == {"edt": True, "threshold": 0.5}


def test_by_hand():
    """Three columns; votes of three passes: never, once and always foreground."""
    passes = passes_of([0.1, 0.6, 0.9], [0.2, 0.1, 0.9], [0.3, 0.2, 0.9])
    found = maps_of(passes, "vote_variance", "vote_variance_edt", "axon_myelin")
    np.testing.assert_allclose(found["vote_variance"][0, 0], [0, 2 / 9, 0], atol=1e-12)
    np.testing.assert_allclose(found["vote_variance_edt"], 0, atol=1e-12)  # the one foreground pixel is certain
    variance = np.var([[0.1, 0.6, 0.9], [0.2, 0.1, 0.9], [0.3, 0.2, 0.9]], axis=0)
    np.testing.assert_allclose(found["axon_myelin"][0, 0], variance * [1, 0.5, 0], atol=1e-12)
    three = np.eye(3)[[[[[0]]], [[[2]]], [[[2]]]]]
    assert maps_of(three, "vote_variance")["vote_variance"].item() == pytest.approx(8 / 9)  # of classes 0, 2, 2


def test_no_foreground_and_nothing_else():
    nothing, everything = passes_of([0.1, 0.4], [0.2, 0.2]), passes_of([0.9, 0.7], [0.8, 0.6])
    for passes, inside, outside in ((nothing, 0, 1), (everything, 1, 0)):
        found = maps_of(passes, "vote_variance", "vote_variance_edt", "ensemble_variance", "axon_myelin")
        np.testing.assert_allclose(found["vote_variance_edt"], inside * found["vote_variance"], atol=1e-12)
        np.testing.assert_allclose(found["axon_myelin"], outside * found["ensemble_variance"], atol=1e-12)
    masks = np.array([[[0, 0]], [[1, 1]], [[0, 1]]], bool)
    np.testing.assert_array_equal(relative_distances(masks), masks.astype(float))


# Of three passes: certain of no foreground, certain of nothing else, unsure of either, and one of both kinds.
FOREGROUND = ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]), ([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
FOREGROUND += ([0.1, 0.4], [0.2, 0.3], [0.3, 0.2]), ([0.9, 0.6], [0.8, 0.7], [0.7, 0.8])
FOREGROUND += (([0.2, 0.9], [0.6, 0.4], [0.3, 0.8]),)


def values_of(name, passes, reduce):
    """The scores of images of one row, (T, images, 1, columns, C)."""
    found = maps_of(passes, name, predicted_foreground)
    size = np.array([[1, *passes.shape[2:4]]])
    ofs = [{key: one[place : place + 1] for key, one in found.items()} for place in range(passes.shape[1])]
    return np.concatenate([unit_values(one, name, np.zeros((1, 3), int), size, reduce=reduce) for one in ofs])


@pytest.mark.parametrize("reduce", ["mean", "sum", "foreground"])
@pytest.mark.parametrize("name", PASS_SCORES)
def test_of_every_score_special_images_have_defined_values(name, reduce):
    """No foreground, nothing else, what is no number; then ties, and a class with too few images."""
    passes = np.concatenate([passes_of(*image) for image in FOREGROUND], axis=1)
    whole = values_of(name, passes, "mean")
    loops = [mean_by_loops(name, passes[:, place]) for place in range(len(FOREGROUND))]
    np.testing.assert_allclose(whole, loops, rtol=1e-9, atol=1e-9)
    found = values_of(name, passes, reduce)
    share = {"mean": np.ones(4), "sum": np.full(4, 2), "foreground": np.array([0, 1, 0, 1])}[reduce]
    np.testing.assert_allclose(found[:4], share * whole[:4], rtol=1e-9, atol=1e-12)
    assert np.isfinite(found).all() and abs(found[:2]).max() < 1e-6, "certain passes"
    for place in range(5):  # one pixel of one pass
        damaged = passes.copy()
        damaged[1, place, 0, 0] = np.nan
        scores = values_of(name, damaged, reduce)
        assert np.flatnonzero(np.isnan(scores)).tolist() == [place]
        with pytest.raises(ConfigError, match=f"The scores of 1 units are not finite, for instance of volume{place}"):
            select("uncertainty", query_of("uncertainty", 2, scores=scores))
    same = values_of(name, np.repeat(passes[:, 4:], 6, axis=1), reduce)
    chosen = []
    for seed in range(8):
        query = query_of("uncertainty", 4, scores=same, seed=seed)
        query = dataclasses.replace(query, per_label=2, classes=np.array([0, 0, 0, 0, 0, 1]))
        chosen.append(set(select("uncertainty", query).indices.tolist()))
    assert all(len(one) == 4 and 5 in one for one in chosen) and len(set(map(frozenset, chosen))) > 1


def test_votes_of_many_passes():
    statistics = PassStatistics(["vote_variance"])
    for place in range(600):
        statistics.update(np.eye(2)[[[[int(place % 3 == 0)]]]])
    assert statistics.votes.ravel().tolist() == [400, 200] and statistics.votes.dtype == np.int32
    assert statistics.maps()["vote_variance"].item() == pytest.approx(2 / 9)


def test_reductions():
    """Two slices: one with two foreground pixels of six, one without any; and a patch that overlaps both kinds."""
    values = np.arange(12, dtype=np.float64).reshape(2, 2, 3)
    is_foreground = np.zeros((2, 2, 3), bool)
    is_foreground[0, 1, 1:] = True
    maps = {"map": values, predicted_foreground: is_foreground}
    slices = np.array([[0, 0, 0], [1, 0, 0]]), np.array([[1, 2, 3]] * 2)
    patches = np.array([[0, 0, 0], [0, 0, 1]]), np.array([[2, 2, 2]] * 2)
    expected = {"mean": ([2.5, 8.5], [5, 6]), "sum": ([15, 51], [40, 48]), "foreground": ([4.5, 0], [4, 4.5])}
    for reduce, (of_slices, of_patches) in expected.items():
        np.testing.assert_allclose(unit_values(maps, "map", *slices, reduce=reduce), of_slices)
        np.testing.assert_allclose(unit_values(maps, "map", *patches, reduce=reduce), of_patches)


def test_foreground_is_predicted_by_the_mean():
    found = maps_of(passes_of([0.9, 0.4, 0.5], [0.2, 0.4, 0.5]), predicted_foreground)[predicted_foreground]
    assert found[0, 0].tolist() == [True, False, False]


def test_means_of_passes_keep_slices_apart():
    passes = random_passes(4, 3, 5, 6, 2)
    np.testing.assert_allclose(
        maps_of(passes, pass_means)[pass_means], passes.mean(axis=(2, 3)).transpose(1, 0, 2), rtol=1e-12
    )
    volumes = random_passes(4, 1, 3, 5, 6, 2)
    found = maps_of(volumes, pass_means)[pass_means]
    np.testing.assert_allclose(found, volumes.mean(axis=(3, 4)).transpose(1, 2, 0, 3), rtol=1e-12)


@pytest.mark.parametrize("alias, name", [("mc", "vote_variance"), ("max", "expected_entropy")])
def test_an_alias_says_what_it_is(alias, name, caplog):
    caplog.set_level("INFO")
    assert SCORES.true_name(alias) == name and SCORES.get(name) is SCORES.get(alias)
    assert f"The uncertainty score `{alias}` is `{name}`" in caplog.text and alias not in SCORES.names()
