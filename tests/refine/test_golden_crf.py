"""Dense CRF against labels and marginals of the published code; its folder's README gives the tolerances.

The published code filters with an approximation, ours is exact: single pixels may differ by up to 1 where a label
flips, so the mean difference of the marginals is compared.
"""

import dataclasses

import numpy as np
import pytest

from fewslice.refine.dense_crf import CrfParameters, refine
from tests.golden_files import golden_param

CASES = golden_param("contrastive/crf", "crf_*.npz")


class Case:
    def __init__(self, path):
        with np.load(path) as data:
            self.data = dict(data)
        self.parameters = CrfParameters(*self.data["para"])
        self.probabilities = self.data["prob"]
        self.images = np.moveaxis(self.data["img"], -1, 0)

    def labels(self, key):
        return np.moveaxis(self.data[key], -1, 0)

    def refine(self, **changes):
        return refine(self.probabilities, self.images, dataclasses.replace(self.parameters, **changes))


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_labels(path):
    case = Case(path)
    labels, _ = case.refine()
    assert np.mean(labels != case.labels("crf_labels")) <= 0.015
    before, _ = case.refine(iterations=0)
    np.testing.assert_array_equal(before, case.labels("argmax_before"))


@pytest.mark.golden
@pytest.mark.parametrize(
    "name, changes, mean, largest",
    [
        ("both30", {"iterations": 30}, 1e-2, 1.0),
        ("gauss1", {"iterations": 1, "appearance_weight": 0.0}, 1e-2, 1.0),
        ("gauss30", {"iterations": 30, "appearance_weight": 0.0}, 1e-2, 1.0),
        ("bilat1", {"iterations": 1, "smoothness_weight": 0.0}, 1e-5, 1e-5),
    ],
)
@pytest.mark.parametrize("path", CASES)
def test_marginals(path, name, changes, mean, largest):
    case = Case(path)
    if f"marg_slice0_{name}" not in case.data:
        pytest.skip(f"{path.name} holds no marginals {name}")
    _, marginals = case.refine(**changes)
    difference = np.abs(marginals[0] - np.moveaxis(case.data[f"marg_slice0_{name}"], 0, -1))
    assert difference.mean() <= mean and difference.max() <= largest


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_published_parameters_ignore_intensities(path):
    case = Case(path)
    np.testing.assert_array_equal(
        case.refine()[1], refine(case.probabilities, 7.0 * case.images[:, ::-1], case.parameters)[1]
    )
