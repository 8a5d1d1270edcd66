"""The U-Net on a residual encoder. Expected values: counts layer by layer, tests/reference/resnet_unet.py.

The encoder's own outputs are compared in `test_resnet.py`.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.resnet import build_group_encoder
from models.resnet_unet import build_resnet_unet
from models.transfer import copy_by_name, named_variables, read_weights
from tests.models.networks import shaken, size
from tests.reference import resnet_unet as reference

SMALL = {"depth": 18, "width": 2, "decoder_widths": (6, 5, 4, 3, 2)}


def test_count():
    before, expected = 512, 11_176_512  # the encoder
    for filters, skip in zip((256, 128, 64, 32, 16), (256, 128, 64, 64, 0), strict=True):
        expected += 9 * (before + skip) * filters + 9 * filters**2 + 4 * filters
        before = filters
    expected += 9 * 16 * 4 + 4
    model = build_resnet_unet((32, 64, 3), 4, depth=18)
    assert size(model.trainable_variables) == expected == 14_328_644
    assert model.output_shape == (None, 32, 64, 4)


def test_decoder_equals_the_loops():
    model = shaken(build_resnet_unet((32, 64, 2), 3, **SMALL))
    names = ["relu", "layer1.1.relu", "layer2.1.relu", "layer3.1.relu", "layer4.1.relu"]
    outputs = [model.output, *(model.get_layer(name).output for name in names)]
    images = np.random.default_rng(1).normal(size=(1, 32, 64, 2)).astype(np.float32)
    logits, *maps = (keras.ops.convert_to_numpy(x)[0] for x in keras.Model(model.input, outputs)(images))
    assert [x.shape[:2] for x in maps] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)]
    np.testing.assert_allclose(logits, reference.decoder(maps, read_weights(model)), rtol=1e-4, atol=1e-5)


def test_a_group_contrastive_encoder_starts_it():
    encoder = build_group_encoder((64, 64, 1), width=2, projection_size=3, seed=7)
    for variable in encoder.variables:
        variable.assign(np.random.default_rng(0).uniform(size=tuple(variable.shape)))
    weights = read_weights(encoder)
    model = build_resnet_unet((32, 32, 1), 4, **SMALL)
    report = copy_by_name(model, weights)
    assert {name.split("/")[0] for name in report.unused} == {"proj_nn1", "proj_pred"} and not report.mismatched
    assert all(name.startswith("dec") for name in report.missing)
    found = read_weights(model)
    for name in report.copied:
        np.testing.assert_array_equal(found[name], weights[name])
    assert sum(name.endswith("moving_mean") for name in report.copied) == 20


def test_depth_50():
    model = build_resnet_unet((32, 32, 1), 2, width=1, decoder_widths=(2, 2, 2, 2, 2))
    variables = named_variables(model)
    assert "layer4.2.conv3/kernel" in variables and variables["dec4.conv1/kernel"].shape == (3, 3, 32 + 16, 2)


def test_initial_values_depend_on_the_seed():
    one, other = (read_weights(build_resnet_unet((32, 32, 1), 2, seed=seed, **SMALL)) for seed in (1, 2))
    for name in ("conv1/kernel", "dec0.conv2/kernel", "dec.out/kernel"):
        assert np.abs(one[name] - other[name]).max() > 0
    limit = np.sqrt(6 / (9 * (16 + 8)))  # He, uniform
    assert 0.9 * limit < np.abs(one["dec4.conv1/kernel"]).max() <= limit


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((48, 32, 1), {}, "multiples of 32. Received: 48"),
        ((32, 32, 1), {"decoder_widths": (4, 4)}, "`decoder_widths` must be 5 positive numbers"),
        ((32, 32, 1), {"depth": 34}, "`depth` must be one of 18, 50"),
    ],
)
def test_wrong_arguments_are_named(shape, options, message):
    with pytest.raises(ValueError, match=message):
        build_resnet_unet(shape, 4, **options)
