"""Residual networks. Expected values: counts of the spec, tests/reference/group_resnet.py, golden projection head."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.resnet import build_group_encoder, embedding_part, projection_head, resnet_outputs
from models.transfer import copy_by_name, named_variables, read_weights
from tests.golden_files import golden
from tests.models.networks import number, shaken, size
from tests.reference import group_resnet as reference

HEADS = golden("coreclr", "head_and_optimisers.npz")
IS_JAX = keras.backend.backend() == "jax"


def test_counts_and_names_of_the_published_network():
    model = build_group_encoder((64, 64, 1))
    variables = named_variables(model)
    head = size([variables["proj_nn1/kernel"], variables["proj_pred/kernel"]])
    assert head == 294_912
    assert size(model.trainable_variables) - head == 11_170_240
    assert size(model.non_trainable_variables) == 2 * 4_800  # mean and variance of every channel
    assert variables["conv1/kernel"].shape == (7, 7, 1, 64)
    assert variables["layer4.1.conv2/kernel"].shape == (3, 3, 512, 512)
    assert {"bn1/gamma", "layer1.0.bn2/beta", "layer2.0.downsample.0/kernel"} <= set(variables)
    assert "layer1.0.downsample.0/kernel" not in variables
    assert model.output_shape == (None, 64)


@pytest.mark.parametrize(
    ("depth", "shape", "published"),
    [(18, (33, 40, 2), 11_170_240), (50, (16, 16, 1), 23_501_760)],
)
def test_count_and_embedding_equal_the_reference(depth, shape, published):
    assert size(build_resnet((32, 32, 1), depth=depth).trainable_variables) == published
    model = shaken(build_resnet(shape, depth=depth, width=2))
    assert model.output_shape == (None, 16 if depth == 18 else 64)
    image = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    found = number(model(image))
    expected = [reference.embedding(picture, read_weights(model), depth) for picture in image]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def build_resnet(shape, **options):
    """Image -> embedding h, without a projection head."""
    inputs = keras.Input(shape, name="image")
    return keras.Model(inputs, resnet_outputs(inputs, **options)[-1])


def test_maps_halve_their_sides():
    outputs = resnet_outputs(keras.Input((64, 48, 1)), width=2)
    assert [tuple(out.shape[1:]) for out in outputs] == [(16, 12, 2), (8, 6, 4), (4, 3, 8), (2, 2, 16), (16,)]


def test_embedding_part_and_copy_by_name_share_weights():
    encoder = build_group_encoder((32, 32, 1), width=2, projection_size=5, seed=1)
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    embedding = embedding_part(encoder)
    plain = build_resnet((32, 32, 1), width=2, seed=9)
    report = copy_by_name(plain, read_weights(encoder))
    assert not report.missing and not report.mismatched
    assert {name.split("/")[0] for name in report.unused} == {"proj_nn1", "proj_pred"}
    h, same = (number(network(image)) for network in (embedding, plain))
    assert h.shape == (2, 16)
    np.testing.assert_array_equal(h, same)


def test_initial_values_depend_on_seed_and_name():
    first, again, other = (build_resnet((32, 32, 1), width=8, seed=seed) for seed in (1, 1, 2))
    kernels = [read_weights(model)["layer4.1.conv2/kernel"] for model in (first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0
    assert kernels[0].std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)  # He, by the outputs


@pytest.mark.golden
@pytest.mark.skipif(not HEADS, reason="no golden files; set FEWSLICE_GOLDEN")
def test_golden_projection_head():
    with np.load(HEADS[0]) as data:
        x, first, second, expected = (data[name] for name in ("ph_x", "ph_w1", "ph_w2", "ph_out"))
    is_double = not IS_JAX
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64" if is_double else "float32")
    try:
        inputs = keras.Input((x.shape[1],), dtype="float64" if is_double else "float32")
        model = keras.Model(inputs, projection_head(inputs, projection_size=len(second)))
    finally:
        keras.config.set_dtype_policy(policy)
    variables = named_variables(model)
    variables["proj_nn1/kernel"].assign(first.T)
    variables["proj_pred/kernel"].assign(second.T)
    tolerance = {"rtol": 1e-10} if is_double else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), expected, **tolerance)


def test_unknown_depth_is_named():
    with pytest.raises(ValueError, match="`depth` must be one of 18, 50.*depth=34"):
        build_resnet((32, 32, 1), depth=34)
