"""Local contrastive losses against the numbers of the published code, from feature maps to gradients.

The regions are cut from the maps here, with the projection where a case has one; in training a layer does it.
"""

import numpy as np
import pytest
from keras import ops

from losses import LocalContrastive, local_row_layout, region_table, structure_ids
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.reference import local_contrastive as reference

CASES = golden_param("contrastive/local", "local_exp*.npz")


class Case:
    def __init__(self, path):
        with np.load(path) as data:
            self.data = dict(data)
        self.maps = self.data["f"].astype(np.float32) * self.data["f_scale"].astype(np.float32)
        self.exp_no, self.temperature = int(self.data["exp_no"]), float(self.data["temp"])
        self.kernel = None
        if "seg_pred_kernel" in self.data:
            scale = self.data["seg_pred_kernel_scale"].astype(np.float32)
            self.kernel = self.data["seg_pred_kernel"].astype(np.float32) * scale
        # The published L^R always uses five negatives, L^D the number that overrides them if it is 3 or 4.
        override = int(self.data["no_of_neg_regs_override"])
        negatives = override if self.exp_no == 1 and override in (3, 4) else 5
        self.regions = region_table(
            self.maps.shape[1:3],
            int(self.data["no_of_local_regions"]),
            local_reg_size=int(self.data["local_reg_size"]),
            no_of_neg_local_regions=negatives,
        )
        num_slots, n_parts = (len(self.maps) // 2, 1) if self.exp_no == 0 else (3, 4)
        self.ids = local_row_layout(self.exp_no, num_slots, n_parts)
        self.loss = Published(self.exp_no, self.regions, temperature=self.temperature)


class Published(LocalContrastive):
    """For `exp_no` 1 only maps of view 0 are anchors; the sum is divided by the number of maps instead of pairs."""

    def masks(self, ids):
        positives, extra = super().masks(ids)
        is_anchor = structure_ids.split_ids(ids)[2][:, None] == 0
        return positives if self.exp_no == 0 else ops.where(is_anchor, positives, 0.0), extra

    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) / structure_ids.per_pair(self.masks(y_true)[0])


def region_vectors(maps, regions, kernel=None):
    """Returns (M, U, D) from maps (M, S, S, C): windows, row-major, channel fastest, times the kernel."""
    offsets = [(row, column) for row in range(regions.region_size) for column in range(regions.region_size)]
    corners = regions.positions[:, None, :] + np.array(offsets)[None]  # (U, size^2, 2)
    flat = ops.reshape(maps, (maps.shape[0], -1, maps.shape[-1]))
    index = (corners[..., 0] * maps.shape[2] + corners[..., 1]).reshape(-1)
    values = ops.reshape(ops.take(flat, index, axis=1), (maps.shape[0], len(corners), -1))
    return values if kernel is None else ops.matmul(values, kernel)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_published_options_reproduce_loss_and_gradients(path):
    case = Case(path)
    arrays = [case.maps] if case.kernel is None else [case.maps, case.kernel]

    def loss(maps, kernel=None):
        return case.loss(case.ids, region_vectors(maps, case.regions, kernel))

    value, grads = value_and_grad(loss, *arrays)
    assert value == pytest.approx(float(case.data["loss"]), rel=2e-6)
    assert value == pytest.approx(float(case.data["loss_numpy64"]), rel=2e-6)
    if "grad_rows" in case.data:
        expected = np.zeros_like(case.maps)
        expected[tuple(case.data["grad_rows"].astype(int).T)] = case.data["grad_vals"]
        np.testing.assert_allclose(grads[0], expected, rtol=1e-4, atol=1e-6)
    if "grad_seg_pred_kernel_norm" in case.data:
        norm = float(case.data["grad_seg_pred_kernel_norm"])
        assert np.linalg.norm(grads[1]) == pytest.approx(norm, rel=1e-5)
        np.testing.assert_allclose(grads[1][:8], case.data["grad_seg_pred_kernel_first8rows"], rtol=1e-4, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_loops_reproduce_the_check_value(path):
    case = Case(path)
    corners = [tuple(position) for position in case.regions.positions.tolist()]
    maps = [
        {c: reference.region_vector(image, c, case.regions.region_size, case.kernel) for c in corners}
        for image in case.maps
    ]
    regions = corners[: case.regions.num_regions]
    negatives = [[c for c, used in zip(corners, row, strict=True) if used] for row in case.regions.negative_mask]
    value = reference.published_loss(case.exp_no, maps, regions, negatives, case.temperature)
    assert value == pytest.approx(float(case.data["loss_numpy64"]), rel=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_default_differs_by_directions_and_divisor(path):
    case = Case(path)
    y_pred = ops.convert_to_numpy(region_vectors(case.maps, case.regions, case.kernel))
    loss = LocalContrastive(case.exp_no, case.regions, temperature=case.temperature)
    default = evaluate(loss, case.ids, y_pred)
    published = float(case.data["loss"])
    if case.exp_no == 0:
        assert default == pytest.approx(2 * published, rel=2e-6)  # half as many pairs as maps
        return
    # Published: 36 of the 72 ordered pairs, divided by 24; by default all 72, divided by 36.
    mirrored = case.ids * [1, 1, -1] + [0, 0, 1]
    other_half = evaluate(case.loss, mirrored, y_pred)
    assert default == pytest.approx((published + other_half) * 24 / 36, rel=2e-6)
