"""The pixel contrastive loss against the numbers of the published code, values and gradients."""

import numpy as np
import pytest

from losses.pixel_contrastive import PixelContrastive, pixel_targets
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.reference import pixel_contrastive as reference

CASES = golden_param("contrastive/joint", "joint_*.npz")


class Case:
    def __init__(self, path):
        with np.load(path) as archive:
            data = self.data = dict(archive)
        self.maps = data["f"].astype(np.float32) * data["f_scale"].astype(np.float32)
        self.exp_no, self.num_classes = int(data["local_loss_exp_no"]), int(data["num_classes"])
        self.n_pos, self.temperature = int(data["no_of_pos_eles"]), float(data["temp"])
        self.weight = float(data["lamda_local"])
        self.valid = np.all((data["pos_indx_raw"] >= 0) & (data["pos_indx_raw"] < self.maps.shape[1]), axis=-1)
        self.targets = pixel_targets(data["labels"], data["pos_indx"], self.valid)

    def loss(self, normalisation):
        return PixelContrastive(
            self.exp_no,
            self.num_classes,
            n_pos=self.n_pos,
            temperature=self.temperature,
            normalisation=normalisation,
        )


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_nested_reproduces_cost_and_gradients(path):
    case = Case(path)
    value, (grad,) = value_and_grad(lambda m: case.weight * case.loss("nested")(case.targets, m), case.maps)
    assert value == pytest.approx(float(case.data["cont_loss_cost"]), rel=2e-6)
    assert value == pytest.approx(float(case.data["loss_numpy64"]), rel=2e-6)
    np.testing.assert_allclose(grad, case.data["grad_f"], rtol=1e-4, atol=1e-7)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_default_is_the_mean_over_pairs(path):
    case = Case(path)
    loss = case.loss("mean")
    expected = case.data["per_pair_sum_numpy64"].mean() / loss.divisor
    assert evaluate(loss, case.targets, case.maps) == pytest.approx(expected, rel=2e-6)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_loops_reproduce_the_check_value(path):
    case = Case(path)
    samples = [
        [
            [tuple(place) if ok else None for place, ok in zip(places, oks, strict=True)]
            for places, oks in zip(of_image, valid, strict=True)
        ]
        for of_image, valid in zip(case.data["pos_indx"].tolist(), case.valid, strict=True)
    ]
    args = (case.exp_no, case.maps.astype(np.float64), case.data["labels"], samples, case.num_classes, case.temperature)
    value = case.weight * reference.loss(*args, nested=True)
    assert value == pytest.approx(float(case.data["loss_numpy64"]), rel=1e-9)
