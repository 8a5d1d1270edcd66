"""Dense CRF: cases by hand, the exact pairwise mean field as loops, properties, edges, and what is refused.

Expected values come from tests/reference/dense_crf.py or from hand, never from the code under test.
"""

import dataclasses
import math

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.refine import dense_crf
from fewslice.refine.dense_crf import (
    PARAMETER_SETS,
    CrfParameters,
    appearance_kernel,
    intensity_factors,
    parameter_set,
    refine,
)
from tests.reference import dense_crf as reference

PARAMETERS = CrfParameters(2.0, 0.15, 4.0, 1.5, 2.0, 6)


def random_case(shape=(9, 11), num_classes=3, seed=0):
    """Returns (1, H, W, K) probabilities and (1, H, W) images with an edge and noise."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((1, *shape, num_classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    images = rng.normal(0.3, 0.15, (1, *shape))
    images[:, :, shape[1] // 2 :] += 0.5
    return probabilities.astype(np.float32), images.astype(np.float32)


def pairwise(probabilities, images, p):
    """Returns the marginals (H, W, K) of the only slice by loops over pairs."""
    weighted = [
        (p.smoothness_weight, reference.smoothness(images[0], p.smoothness_sigma_px)),
        (p.appearance_weight, reference.appearance(images[0], p.appearance_sigma_px, p.appearance_sigma_intensity)),
    ]
    weighted = [(weight, reference.normalised(matrix)) for weight, matrix in weighted if weight]
    return reference.mean_field(probabilities[0], weighted, p.iterations)


def test_two_pixels_by_hand():
    # Neighbours weigh a = exp(-1/2); n = 1 + a for both, so K~ = [[1, a], [a, 1]] / (1 + a). One update.
    a = math.exp(-0.5)
    expected = []
    for own, other in ((0.9, 0.6), (0.6, 0.9)):
        scores = [
            math.log(p) + 2 * (p + a * q) / (1 + a) for p, q in ((own, other), (1 - own, 1 - other))
        ]  # class 0, class 1
        expected.append(1 / (1 + math.exp(scores[1] - scores[0])))
    probabilities = np.array([[[[0.9, 0.1], [0.6, 0.4]]]])
    labels, marginals = refine(probabilities, np.zeros((1, 1, 2)), CrfParameters(1, 1, 0, 1, 2, 1))
    np.testing.assert_allclose(marginals[0, 0, :, 0], expected, rtol=1e-6)
    assert labels.tolist() == [[[0, 0]]] and labels.dtype == np.uint8 and marginals.dtype == np.float32


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"appearance_weight": 0.0},
        {"smoothness_weight": 0.0},
        {"appearance_sigma_px": 6.0, "appearance_sigma_intensity": 0.05, "appearance_weight": 10.0},
        {"appearance_sigma_px": 0.6, "appearance_sigma_intensity": 5.0},
        {"iterations": 1},
    ],
    ids=["both", "smoothness", "appearance", "wide", "intensities barely count", "one update"],
)
def test_exact_mean_field(changes):
    probabilities, images = random_case()
    parameters = dataclasses.replace(PARAMETERS, **changes)
    expected = pairwise(probabilities, images, parameters)
    labels, marginals = refine(probabilities, images, parameters)
    # Where no appearance acts only float32 rounds; else the intensity kernel is within a bound.
    tolerance = 2e-3 if parameters.appearance_weight else 1e-5
    np.testing.assert_allclose(marginals[0], expected, rtol=0, atol=tolerance)
    clear = np.sort(expected, axis=-1)[..., -1] - np.sort(expected, axis=-1)[..., -2] > 2 * tolerance
    np.testing.assert_array_equal(labels[0][clear], expected.argmax(axis=-1)[clear])
    assert clear.mean() > 0.95


@pytest.mark.parametrize("name", [name for name in PARAMETER_SETS if name != "none"])
def test_named_sets_are_exact(name):
    probabilities, images = random_case((8, 9), 4, seed=1)
    expected = pairwise(probabilities, images, PARAMETER_SETS[name])
    np.testing.assert_allclose(refine(probabilities, images, PARAMETER_SETS[name])[1][0], expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("sigma_px, sigma_intensity", [(1.0, 0.1), (4.0, 0.05), (10.0, 0.2)])
def test_unnormalised_appearance_is_within_its_bound(sigma_px, sigma_intensity):
    _, images = random_case((12, 13))
    exact = reference.appearance(images[0], sigma_px, sigma_intensity)
    kernel = appearance_kernel(images[0], sigma_px, sigma_intensity)
    rows = np.eye(exact.shape[0], dtype=np.float32).reshape(-1, *images.shape[1:])
    np.testing.assert_allclose(kernel(rows).reshape(exact.shape), reference.normalised(exact), rtol=0, atol=1e-3)


def test_factors_are_within_their_tolerance():
    _, images = random_case((12, 13))
    for tolerance in (1e-2, 1e-5, 1e-9):
        factors = intensity_factors(images[0], 0.1, tolerance=tolerance).reshape(-1, images[0].size)
        difference = np.subtract.outer(images[0].ravel(), images[0].ravel()).astype(np.float64)
        error = np.abs(factors.T @ factors - np.exp(-0.5 * (difference / 0.1) ** 2)).max()
        assert error <= tolerance * 1.001 + 1e-7  # float32 differences of intensities


def test_appearance_follows_an_edge_that_smoothness_crosses():
    images = np.zeros((1, 12, 12), np.float32)
    images[:, :, 6:] = 1.0
    probabilities = np.full((1, 12, 12, 2), 0.5, np.float32)
    probabilities[0, :, :4, 0] = 0.99  # seen to column 4 and from column 10
    probabilities[0, :, 10:, 0] = 0.01
    probabilities[..., 1] = 1 - probabilities[..., 0]
    labels, _ = refine(probabilities, images, CrfParameters(3, 0.1, 5, 1, 0, 10))
    np.testing.assert_array_equal(labels, images.astype(np.uint8))


@pytest.mark.parametrize("name, survives", [("published", False), ("corrected", True)])
def test_small_structures(name, survives):
    # 5 x 5 bright pixels of which the network is fairly sure; so the published smoothing is known to remove them.
    images = np.zeros((1, 48, 48), np.float32)
    images[:, 20:25, 20:25] = 0.8
    foreground = np.where(images > 0, 0.85, 0.02)
    labels, _ = refine(np.stack([1 - foreground, foreground], axis=-1), images, PARAMETER_SETS[name])
    assert labels.any() == survives
    if survives:
        np.testing.assert_array_equal(labels > 0, images > 0)


def test_no_iterations_is_the_arg_max():
    probabilities, images = random_case()
    for parameters in (dataclasses.replace(PARAMETERS, iterations=0), PARAMETER_SETS["none"]):
        labels, marginals = refine(probabilities, images, parameters)
        np.testing.assert_array_equal(labels, probabilities.argmax(axis=-1))
        np.testing.assert_allclose(marginals, probabilities, atol=1e-5)


def test_ties_take_the_lowest_class():
    labels, _ = refine(np.full((1, 4, 5, 4), 0.25), np.zeros((1, 4, 5)), PARAMETERS)
    assert not labels.any()


@pytest.mark.parametrize("shape", [(1, 17), (17, 1), (1, 1)])
def test_thin_slices(shape):
    probabilities, images = random_case(shape, num_classes=5)
    expected = pairwise(probabilities, images, PARAMETERS)
    np.testing.assert_allclose(refine(probabilities, images, PARAMETERS)[1][0], expected, rtol=0, atol=2e-3)


def test_constant_image_needs_one_factor():
    probabilities, images = random_case()
    constant = np.full_like(images, 3.25)
    assert len(intensity_factors(constant[0], 0.1, tolerance=1e-3)) == 1
    both = refine(probabilities, constant, dataclasses.replace(PARAMETERS, smoothness_weight=0.0))[1]
    smooth = refine(probabilities, constant, CrfParameters(1, 1, 0, 2.0, 4.0, 6))[1]  # the same without intensities
    np.testing.assert_allclose(both, smooth, atol=1e-5)


def test_slices_are_apart_and_repeatable():
    a, b = random_case(seed=0), random_case(seed=1)
    stacked = [np.concatenate(pair) for pair in zip(a, b, strict=True)]
    labels, marginals = refine(*stacked, PARAMETERS)
    for index, case in enumerate((a, b)):
        again = refine(*case, PARAMETERS)
        np.testing.assert_array_equal(labels[index], again[0][0])
        np.testing.assert_array_equal(marginals[index], again[1][0])
    np.testing.assert_allclose(marginals.sum(axis=-1), 1.0, atol=1e-5)


def test_inputs_stay_as_they_are_and_nothing_is_nothing():
    probabilities, images = random_case()
    before = probabilities.copy(), images.copy()
    refine(probabilities, images, PARAMETERS)
    np.testing.assert_array_equal(probabilities, before[0])
    np.testing.assert_array_equal(images, before[1])
    labels, marginals = refine(probabilities[:0], images[:0], PARAMETERS)
    assert labels.shape == (0, 9, 11) and marginals.shape == (0, 9, 11, 3)


def test_low_precision_is_normalised():
    probabilities, images = random_case()
    exact = refine(probabilities, images, PARAMETERS)[1]
    np.testing.assert_allclose(refine(probabilities * 1.004, images, PARAMETERS)[1], exact, atol=1e-4)


def broken(change):
    probabilities, images = random_case()
    change(probabilities, images)
    return probabilities, images


@pytest.mark.parametrize(
    "case, words",
    [
        (broken(lambda p, _: p.__setitem__((0, 1, 1, 1), np.nan)), "`probabilities` must be finite.*1 NaN"),
        (broken(lambda _, i: i.__setitem__((0, 1, 1), np.inf)), "`images` must be finite"),
        (broken(lambda p, _: p.__imul__(1.1)), "sum to 1 over the classes.*by up to 0.1"),
        (broken(lambda p, _: p.__setitem__((0, 0, 0), (-0.5, 0.5, 1.0))), r"lie in \[0, 1\].*-0.5"),
        ((random_case()[0], random_case((9, 10))[1]), r"\(N, H, W, K\).*Received: \(1, 9, 11, 3\)"),
        ((np.ones((1, 4, 4, 1)), np.zeros((1, 4, 4))), "2 to 256 classes"),
        (broken(lambda _, i: i.__imul__(1e4)), "must be normalised"),
    ],
    ids=["nan", "infinite image", "sum", "negative", "shapes", "one class", "scanner units"],
)
def test_wrong_input(case, words, monkeypatch):
    monkeypatch.setattr(dense_crf, "MOST_FACTORS", 40)
    with pytest.raises(ValueError, match=words):
        refine(*case, PARAMETERS)


def test_wrong_parameters_are_all_named():
    with pytest.raises(ConfigError) as caught:
        CrfParameters(0, 0.1, -1, float("nan"), 1, 2.5)
    for name in ("appearance_sigma_px", "appearance_weight", "smoothness_sigma_px", "iterations"):
        assert f"`{name}` must be" in str(caught.value)


def test_sets_by_name_and_dataset():
    assert parameter_set("published", "acdc") == CrfParameters(0.01, 0.5, 10, 10, 30, 30)
    assert parameter_set("published", "mmwhs") == parameter_set("published")
    assert parameter_set("published", "prostate_md") == CrfParameters(0.01, 0.5, 10, 5, 30, 30)
    assert parameter_set("none", "prostate_md").iterations == 0
    with pytest.raises(ConfigError, match="Did you mean 'corrected'"):
        parameter_set("corected")
