"""The contract of every registered network. Expected values: its own options and shapes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.core.errors import ConfigError
from fewslice.core.options import checked_options, options_of
from fewslice.learner.members import MEMBERS
from fewslice.learner.networks import NETWORKS, network_of
from fewslice.learner.passes import DropoutPasses
from fewslice.settings.experiment import Named, RoundPlan
from tests.active.units import annotate
from tests.train_model import tiny_al

CLASSES, SIDE = 3, 32
QUICK = {
    "resnet_unet": {"encoder": "resnet18"},
    "planned_unet": {"unet": "4,8", "mirroring": True},
    "strided_unet": {"width": 2, "patch": 24, "passes": 2, "repeats": 2},
}


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        tiny_al.use_small_networks(patch)
        yield


@pytest.fixture(scope="module")
def labels():
    pool = make_pool([Case("a", "a", (3, SIDE, SIDE))])
    values = np.random.default_rng(0).integers(0, CLASSES + 1, (2, 1, SIDE, SIDE))
    return annotate(pool, CLASSES, {"a_slice_00": values[0], "a_slice_02": values[1]})


@pytest.mark.parametrize("name", NETWORKS.names())
def test_every_network_learns_predicts_and_is_asked(name, labels):
    network = network_of(Named(name, {"batch_size": 2, **QUICK.get(name, {})}))
    images = [np.random.default_rng(1).random((3, SIDE, SIDE, 1)).astype(np.float32)]
    model = network.build(network.input_shape((SIDE, SIDE), 1), CLASSES, seed=1)
    part = network.part(model)
    assert part.output_shape == (None, *network.input_shape((SIDE, SIDE), 1)[:-1], CLASSES)
    plan = RoundPlan(0, 0.5, 2, training_share=0.5)
    schedule = network.schedule(plan, 2)
    assert 1 <= schedule.segment <= schedule.steps
    model.compile(network.make_optimizer(schedule.steps), loss=network.make_loss(CLASSES), run_eagerly=True)
    batches = network.batches(labels, images, seed=3)
    before = [np.array(weight) for weight in part.get_weights()]
    assert np.isfinite(model.train_on_batch(*batches.batch(0)))
    assert any((one != two).any() for one, two in zip(before, part.get_weights(), strict=True))
    network.before_validation(model, batches, 1)
    probabilities = network.predictor(part, 2)(images[0])
    assert probabilities.shape == (3, SIDE, SIDE, CLASSES)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    if network.drops:
        passes = DropoutPasses(network.dropping(model), seed=4)
        first, other, again = (passes(images[0], 0, number) for number in (0, 1, 0))
        assert (first != other).any() and np.array_equal(first, again)
    else:
        with pytest.raises(ConfigError, match="no dropout"):
            network.dropping(model)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_options_are_declared(name):
    known = options_of(NETWORKS.get(name))
    checked = checked_options(f"option of network {name!r}", known, {"batch_size": 3})
    assert network_of(Named(name, checked)).batch_size == 3
    with pytest.raises(ConfigError, match="batch_sise.*Did you mean 'batch_size'"):
        checked_options(f"option of network {name!r}", known, {"batch_sise": 3})
    with pytest.raises(ConfigError, match="batch_size"):
        checked_options(f"option of network {name!r}", known, {"batch_size": 0})


def test_lengths_of_training():
    """Steps are a share of all, epochs go over what is annotated."""
    plan = RoundPlan(2, 0.3, 20, training_share=0.25)
    assert network_of(Named("dmpls", {"steps": 90, "val_every": 50})).schedule(plan, 20) == (22, 22)
    assert network_of(Named("scribble_unet", {"steps": 900, "val_every": 50})).schedule(plan, 20) == (225, 50)
    given = {"batch_size": 8, "epochs": 5, "val_epochs": 2}
    assert network_of(Named("resnet_unet", given)).schedule(plan, 20) == (15, 6)
    network = network_of(Named("strided_unet", {"val_epochs": 2}))
    assert network.schedule(plan, 5) == (180, 6)  # 40 crops an epoch, 16 a step
    rates = [float(network.make_optimizer(180)._learning_rate(step)) for step in (0, 119, 120, 179)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_statistics_are_recomputed_where_asked_for(labels):
    images = [np.random.default_rng(1).random((3, SIDE, SIDE, 1)).astype(np.float32)]
    for recomputes in (False, True):
        network = network_of(Named("dmpls", {"batch_size": 2, "recompute_bn_statistics": recomputes}))
        model = network.build((SIDE, SIDE, 1), CLASSES, seed=1)
        before = model.get_weights()
        network.before_validation(model, network.batches(labels, images, seed=3), 4)
        changed = [
            variable.path for variable, value in zip(model.weights, before, strict=True)
            if (keras.ops.convert_to_numpy(variable) != value).any()
        ]  # fmt: skip
        assert bool(changed) == recomputes and all("moving" in path for path in changed)


def test_seeds_of_members(labels):
    found = [MEMBERS.get("seeds")(member, 3, 7, labels) for member in range(3)]
    assert [seed for seed, _ in found] == [7, 100_010, 200_013] and all(mine is labels for _, mine in found)
