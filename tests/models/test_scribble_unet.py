"""The scribble U-Net: counts of the spec, golden forward pass, tests/reference/scribble_unet.py, hand cases."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import losses
from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.core.run import Run
from fewslice.learner.samplers import SliceBatches
from fewslice.train.optimizers import CoupledSGD, polynomial_decay
from fewslice.train.trainer import Plan, Trainer
from models.dropout import dropping
from models.scribble_unet import CornerUpsampling2D, build_scribble_unet, encoder_maps, main_branch
from models.transfer import copy_by_name, named_variables, read_weights, set_weights
from tests.active.units import annotate
from tests.golden_files import golden
from tests.models.networks import number, shaken, size
from tests.models.published_weights import scribble_unet_key
from tests.reference import scribble_unet as reference

JSON, NPZ = golden("coreclr", "unet_small.json"), golden("coreclr", "unet_small.npz")
with_golden = pytest.mark.skipif(not (JSON and NPZ), reason="no golden files; set FEWSLICE_GOLDEN")
SMALL = {"widths": (2, 3, 4), "dropout": (0.3, 0.3, 0.5)}
COUNTS = {"UNet": 1, "UNet_CCT": 2}


def infer(model, images):
    """Returns the outputs at inference."""
    return keras.tree.map_structure(number, model(images, training=False))


def pictures(shape=(2, 8, 12, 1), seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("branches", "expected"), [(1, 1_813_764), (2, 2_447_064)])
def test_counts(branches, expected):
    model = build_scribble_unet((32, 48, 1), 4, branches=branches)
    assert size(model.trainable_variables) == expected
    assert model.output_shape == ((None, 32, 48, 4) if branches == 1 else (None, 32, 48, 2, 4))


@pytest.mark.golden
@with_golden
def test_counts_of_the_published_networks():
    counts = json.loads(JSON[0].read_text())["param_counts"]
    found = {}
    for name in counts:
        kind, _, rest = name.partition("_1ch_" if "_1ch_" in name else "_3ch_")
        if kind in COUNTS:
            shape = (16, 16, 1 if "_1ch_" in name else 3)
            model = build_scribble_unet(shape, int(rest.removesuffix("cls")), branches=COUNTS[kind])
            found[name] = size(model.trainable_variables)
    assert found == {name: count for name, count in counts.items() if name in found} and found


@pytest.mark.golden
@with_golden
def test_golden_forward():
    with np.load(NPZ[0]) as data:
        stored = dict(data)
    widths = json.loads(JSON[0].read_text())["feature_chns"]
    images, logits = (np.moveaxis(stored[name], 1, -1) for name in ("x", "logits"))
    model = build_scribble_unet(images.shape[1:], logits.shape[-1], widths=widths)
    weights = {name: stored[scribble_unet_key(name)] for name in named_variables(model)}
    set_weights(model, {name: w.transpose(2, 3, 1, 0) if w.ndim == 4 else w for name, w in weights.items()})
    assert len(weights) == sum("." in name for name in stored), "every published weight is used"
    maps = [encoder_maps(model, index).output for index in range(len(widths))]
    *found, last = infer(keras.Model(model.input, [*maps, model.output]), images)
    np.testing.assert_allclose(last, logits, rtol=1e-4, atol=1e-6)
    for index, level in enumerate(found):
        np.testing.assert_allclose(level, np.moveaxis(stored[f"enc{index}"], 1, -1), rtol=1e-4, atol=1e-6)


def test_both_branches_equal_the_loops():
    model = shaken(build_scribble_unet((8, 12, 2), 3, branches=2, **SMALL))
    images = pictures((2, 8, 12, 2))
    outputs = [model.output, main_branch(model).output, *(encoder_maps(model, index).output for index in range(3))]
    both, main, *maps = infer(keras.Model(model.input, outputs), images)
    weights = {name: value.astype(np.float64) for name, value in read_weights(model).items()}
    for row, image in enumerate(images):
        for branch, decoder in enumerate(("main", "aux")):
            expected, expected_maps = reference.forward(image, weights, levels=3, decoder=decoder)
            np.testing.assert_allclose(both[row, :, :, branch], expected, rtol=1e-4, atol=1e-5)
        for found, level in zip(maps, expected_maps, strict=True):
            np.testing.assert_allclose(found[row], level, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(main, both[..., 0, :])
    assert np.abs(both[..., 0, :] - both[..., 1, :]).max() > 0.01


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 1)])
def test_enlarging_equals_the_loops(shape):
    x = pictures((2, *shape, 3))
    found = number(CornerUpsampling2D()(x))
    np.testing.assert_allclose(found, [reference.enlarged(image) for image in x], rtol=1e-5, atol=1e-6)


def test_enlarging_by_hand():
    x = np.array([0.0, 3.0], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(number(CornerUpsampling2D()(x))[0, :, :, 0], [[0, 1, 2, 3]] * 2, rtol=1e-6)
    copy = CornerUpsampling2D.from_config(CornerUpsampling2D(name="a").get_config())
    assert copy.compute_output_shape((None, 3, 4, 5)) == (None, 6, 8, 5)


def test_training_drops_values_and_whole_channels_of_the_auxiliary_decoder():
    model = build_scribble_unet((8, 8, 1), 2, branches=2, **SMALL)
    dropped = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in dropped if layer.name.startswith("enc")] == [0.3, 0.3, 0.5]
    channels = [layer for layer in dropped if layer.name.startswith("aux.dropout")]
    assert [type(layer) for layer in channels] == [keras.layers.SpatialDropout2D] * 3
    out = number(channels[0](np.ones((40, 4, 4, 2)), training=True))
    assert np.all(out == out[:, :1, :1]) and set(np.unique(out)) == {0, 2}
    assert not any(layer.name.endswith("dropout") for layer in model.layers if layer.name.startswith("main"))


def test_dropout_is_active_reproducible_and_shares_weights():
    model = shaken(build_scribble_unet((8, 8, 1), 2, branches=2, **SMALL))
    images = pictures((1, 8, 8, 1)).repeat(3, axis=0)
    before = read_weights(model)
    first, again, other = (dropping(main_branch(model), seed=seed) for seed in (4, 4, 5))
    passes, same, different = ([infer(net, images) for _ in range(2)] for net in (first, again, other))
    assert passes[0].shape == (3, 8, 8, 2)
    np.testing.assert_array_equal(passes, same)
    assert np.ptp(passes, axis=0).any() and np.abs(passes[0] - different[0]).max() > 0
    assert np.abs(passes[0][0] - passes[0][1]).max() > 0, "rows of one batch are dropped by themselves"
    for name, value in read_weights(model).items():
        np.testing.assert_array_equal(value, before[name])
    assert all(a is b for a, b in zip(first.trainable_variables, main_branch(model).trainable_variables, strict=True))
    still = shaken(build_scribble_unet((8, 8, 1), 2, widths=SMALL["widths"], dropout=(0, 0, 0)))
    image = images[:1]
    np.testing.assert_array_equal(infer(dropping(still), image), infer(still, image))


def test_rows_do_not_see_each_other_with_dropout():
    """Batch normalisation uses moving statistics: a row's answer does not depend on the others."""
    model = shaken(build_scribble_unet((8, 8, 1), 2, **SMALL))
    images = pictures((2, 8, 8, 1))
    one = infer(dropping(model, seed=1), images)
    two = infer(dropping(model, seed=1), np.stack([images[0], 100 * images[1]]))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5, atol=1e-6)


def test_initial_values_are_pytorchs_and_depend_on_seed_and_name():
    wide = {"widths": (8, 64, 128), "dropout": (0, 0, 0)}
    first, again, other = (read_weights(build_scribble_unet((8, 8, 1), 4, seed=seed, **wide)) for seed in (1, 1, 2))
    two = build_scribble_unet((8, 8, 1), 4, branches=2, seed=1, **wide)
    beginning = read_weights(two)
    report = copy_by_name(two, first)
    assert not report.unused and all(name.startswith("aux") for name in report.missing)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        np.testing.assert_array_equal(value, beginning[name])
    for name, fan_in in (("enc2.conv2/kernel", 9 * 128), ("enc2.bn1/bias", 9 * 64), ("main.up1.conv1x1/bias", 128)):
        limit, value = fan_in**-0.5, first[name]
        assert 0.9 * limit < np.abs(value).max() <= limit and abs(value.mean()) < 0.25 * limit
        assert np.abs(value - other[name]).max() > 0
        assert value.std() == pytest.approx(limit / np.sqrt(3), rel=0.15)
    assert all((value == 1).all() for name, value in first.items() if name.endswith(("/gamma", "_variance")))


def resumed(root, steps, n_iter=3):
    """Trains on scribbles in as many runs as `steps` has entries. Returns the weights."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 8, 8)).astype(np.float32)
    scribbles = np.where(rng.random((4, 8, 8)) < 0.8, 255, images > 0).astype(np.uint8)
    pool = make_pool([Case("a", "a", images.shape)])
    labels = annotate(pool, 255, {pool.name(unit): scribbles[[unit]] for unit in (3, 0, 2)})
    slices = SliceBatches(labels, [images[..., None]], seed=1, batch_size=2, targets=losses.mixing_targets)
    for stop in steps:
        keras.utils.set_random_seed(stop)
        model = build_scribble_unet((8, 8, 1), 2, branches=2, widths=(2, 2), dropout=(0.3, 0.5), seed=5)
        optimizer = CoupledSGD(polynomial_decay(0.01, n_iter), l2=1e-4, momentum=0.9)
        model.compile(optimizer, loss=losses.DynamicPseudoLabel(255), run_eagerly=True)
        plan = Plan(make_batch=slices.batch, describe_batch=slices.describe, n_iter=stop, segment=1)
        with Run(root, "toy", "stage", "m", {}, n_iter=stop) as run:
            Trainer(run, model, plan).train()
    return read_weights(model)


def test_training_resumes_exactly_dropout_included(tmp_path):
    whole, parts = resumed(tmp_path / "one", [3]), resumed(tmp_path / "two", [1, 3])
    for name, value in whole.items():
        np.testing.assert_array_equal(value, parts[name], err_msg=name)


def test_layers_survive_their_config():
    network = dropping(build_scribble_unet((8, 8, 1), 2, seed=3, **SMALL), seed=4)
    copy = keras.Model.from_config(network.get_config())
    initial = read_weights(copy)
    for name, value in read_weights(network).items():
        np.testing.assert_array_equal(initial[name], value, err_msg=name)
    images = pictures((1, 8, 8, 1))
    np.testing.assert_array_equal(infer(copy, images), infer(network, images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"branches": 3}, "`branches` must be 1 or 2. Received: branches=3"),
        ({"dropout": (0.1, 0.1)}, "`dropout` one rate of"),
        ({"widths": (4,), "dropout": (0.1,)}, "at least two positive numbers"),
        ({"input_shape": (40, 32, 1)}, "multiples of 16. Received: 40"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_scribble_unet(**{"input_shape": (32, 32, 1), "num_classes": 2, **options})


def test_unknown_level():
    with pytest.raises(ValueError, match="`index` must be 0 to 2. Received: index=3"):
        encoder_maps(build_scribble_unet((8, 8, 1), 2, **SMALL), 3)
