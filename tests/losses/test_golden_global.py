"""Global contrastive losses against the numbers of the published code.

The published code finds partitions and partners by row arithmetic. Where that gives the partitions that it
means (`is_partition_right`), our loss with published counting and divisor equals it, although at the end of a
batch that is no whole number of groups the wrap pairs rows of different role. Where it does not, the recorded
number is an accident: it is reproduced by the literal loops of tests/reference, and our loss is shown to
equal the paper's rule and to differ from the accident.
"""

import keras
import numpy as np
import pytest

from losses import GlobalContrastive, row_layout
from losses.info_nce import info_nce_rows
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.reference import global_contrastive as reference

CASES = golden_param("contrastive/global", "global_exp*.npz")


class Case:
    def __init__(self, path):
        with np.load(path) as data:
            self.z, self.loss, self.grad = data["z"], float(data["loss"]), data["grad"]
            self.loss64 = float(data["loss_numpy64"])
            self.exp_no, self.batch_size = int(data["exp_no"]), int(data["batch_size"])
            self.n_parts, self.temperature = int(data["n_parts"]), float(data["temp"])
        self.ids = published_ids(self.exp_no, self.batch_size, self.n_parts, len(self.z))
        place = (self.exp_no, len(self.z), self.batch_size, self.n_parts)
        self.is_partition_right = reference.is_partition_right(*place)
        self.is_role_right = reference.is_role_right(*place)
        self.published = Published(self)
        self.paper = GlobalContrastive(self.exp_no, self.temperature)


class Published(GlobalContrastive):
    """Published counting of the pairs, and divisor."""

    def __init__(self, case, **kwargs):
        super().__init__(case.exp_no, case.temperature, **kwargs)
        self.counts = reference.published_counts(case.exp_no, case.ids)
        self.factor = len(case.ids) / reference.published_divisor(case.exp_no, case.batch_size)

    def call(self, y_true, y_pred):
        masks = [(self.counts, self.masks(y_true)[1])]
        return self.factor * info_nce_rows(y_pred, masks, temperature=self.temperature)


def published_ids(exp_no, batch_size, n_parts, num_rows):
    """Returns the ids of the published batch: whole blocks, cut off at the rows that it has."""
    if exp_no == 0:
        return row_layout(0, batch_size)
    num_slots = -(-num_rows // n_parts)  # more than enough
    if exp_no == 1:
        return row_layout(1, num_slots, n_parts).reshape(3, -1, 3)[:, :batch_size].reshape(-1, 3)
    return row_layout(exp_no, num_slots, n_parts)[:num_rows]


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_published_options_reproduce_loss_and_gradient(path):
    case = Case(path)
    value, (grad,) = value_and_grad(lambda z: case.published(case.ids, z), case.z)
    if not case.is_partition_right:
        difference = abs(value - case.loss) / case.loss
        assert difference > 1e-3, "the accident has gone"
        return
    assert value == pytest.approx(case.loss, rel=2e-6)
    np.testing.assert_allclose(grad, case.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.golden
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="float64 is off in JAX by default")
@pytest.mark.parametrize("path", CASES)
def test_float64_reproduces_the_check_value(path):
    case = Case(path)
    loss = Published(case, dtype="float64")
    value, _ = value_and_grad(lambda z: loss(case.ids, z), case.z, dtype="float64")
    if case.is_partition_right:
        assert value == pytest.approx(case.loss64, rel=1e-9)
    else:
        assert value != pytest.approx(case.loss64, rel=1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_literal_loops_reproduce_the_check_value_with_all_accidents(path):
    case = Case(path)
    value = reference.published_loss(case.exp_no, case.z, case.batch_size, case.n_parts, case.temperature)
    assert value == pytest.approx(case.loss64, rel=1e-9)


@pytest.mark.golden
@pytest.mark.parametrize("path", CASES)
def test_default_is_the_rule_of_the_paper(path):
    case = Case(path)
    value = evaluate(case.paper, case.ids, case.z)
    assert value == pytest.approx(reference.paper_loss(case.exp_no, case.z, case.ids, case.temperature), rel=2e-6)
    if case.exp_no == 0:
        assert value == pytest.approx(2 * case.loss, rel=2e-6)  # the published divisor is twice the number of pairs
    elif case.exp_no == 1 and case.is_role_right:
        assert value == pytest.approx(case.loss, rel=2e-6)  # the same
    else:
        assert value != pytest.approx(case.loss, rel=1e-3)  # pairs counted twice, other divisor, or an accident
