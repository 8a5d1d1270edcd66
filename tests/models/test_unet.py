"""Networks: numbers of parameters, names, initial values.

Expected values: spec section 1.6 and the published list of names.
"""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import models
from models.transfer import named_variables, read_weights
from tests.golden_files import golden_param
from tests.models.networks import size
from tests.models.published_weights import published_name

# Decoder blocks -> (trainable numbers with encoder, tensors, moving numbers, updated numbers, updated tensors).
LOCAL = {
    1: (1_427_632, 64, 3_008, 542_080, 16),
    2: (1_936_688, 76, 3_776, 1_051_136, 28),
    3: (2_055_920, 88, 4_032, 1_170_368, 40),
    4: (2_085_840, 100, 4_160, 1_200_288, 52),
    5: (2_091_024, 108, 4_192, 1_205_472, 60),
}
CENTRE = [[1, 1]]


def counts(model):
    return size(model.trainable_variables), len(model.trainable_variables), size(model.non_trainable_variables)


@pytest.mark.parametrize(("num_classes", "expected"), [(4, 2_095_760), (3, 2_095_616), (8, 2_096_336)])
def test_unet_counts(num_classes, expected):
    model = models.build_unet((160, 192, 1), num_classes)
    assert counts(model) == (expected, 113, 4_224)
    assert model.output_shape == (None, 160, 192, num_classes)


def test_encoder_counts():
    model = models.build_encoder((192, 192, 1))
    assert counts(model) == (885_552, 48, 1_984)
    assert [shape[1:] for shape in model.output_shape] == [
        (192, 192, 16), (96, 96, 32), (48, 48, 64), (24, 24, 128), (12, 12, 128), (6, 6, 128),
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "expected"), [(192, 5_735_216), (160, 4_293_424)])
def test_global_net_counts(side, expected):
    model = models.build_global_net((side, side, 1))
    assert counts(model) == (expected, 50, 1_984)
    assert model.output_shape == (None, 128)


@pytest.mark.parametrize("blocks", LOCAL)
def test_local_net_counts(blocks):
    total, tensors, moving, updated, updated_tensors = LOCAL[blocks]
    options = {"positions": CENTRE, "region_size": 3, "use_projection": False}
    model = models.build_local_net((192, 192, 1), blocks, **options)
    assert counts(model) == (total, tensors, moving)
    assert models.local_map_size((192, 160, 1), blocks) == (192 >> 5 - blocks, 160 >> 5 - blocks)
    models.freeze(model, "enc_")
    assert counts(model)[:2] == (updated, updated_tensors)


def test_projection_counts():
    options = {"positions": CENTRE, "use_projection": True}
    model = models.build_local_net((192, 192, 1), 3, region_size=3, **options)
    assert counts(model)[:2] == (2_129_648, 89) and model.output_shape == (None, 1, 128)
    models.freeze(model, "enc_")
    assert counts(model)[0] == 1_244_096
    single = models.build_local_net((192, 192, 1), 3, region_size=1, **options)
    assert counts(single)[:2] == (2_055_920, 88), "single pixels are not projected"


def published_network(key):
    """Builds the U-Net of one entry of the published list, "seg_unet/<dataset>"."""
    classes = {"prostate": 3, "mmwhs": 8}
    return models.build_unet((64, 64, 1), next((k for name, k in classes.items() if name in key), 4))


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/net", "variables_dscl*.json"))
def test_names_and_shapes_are_the_published_ones(path):
    table = json.loads(path.read_text())
    checked = 0
    for key, entry in table.items():
        if not key.startswith("seg_unet/"):
            continue
        model = published_network(key)
        published = {item["name"]: tuple(item["shape"]) for item in entry["variables"]}
        mine = {published_name(name): tuple(v.shape) for name, v in named_variables(model).items()}
        assert mine == published
        trained = {item["name"] for item in entry["variables"] if item["trainable"]}
        assert len(trained) == entry["n_tensors_trainable"] == len(model.trainable_variables)
        checked += 1
    assert checked


@pytest.mark.parametrize("shape", [(33, 32, 1), (32, 40, 1), (0, 32, 1), (16, 32, 1), (100, 100, 1)])
@pytest.mark.parametrize("build", [models.build_encoder, models.build_global_net, lambda s: models.build_unet(s, 4)])
def test_sides_must_be_multiples_of_32(shape, build):
    wrong = next(side for side in shape[:2] if side % 32 or side < 32)
    with pytest.raises(ValueError, match=f"multiples of 32. Received: {wrong}"):
        build(shape)


@pytest.mark.parametrize("blocks", [0, 6])
def test_wrong_number_of_blocks(blocks):
    with pytest.raises(ValueError, match=f"1 to 5. Received: num_blocks={blocks}"):
        models.build_local_net((32, 32, 1), blocks, positions=CENTRE, region_size=1, use_projection=False)


def test_images_need_not_be_square_and_may_have_channels():
    model = models.build_unet((32, 64, 2), 5)
    assert model.input_shape == (None, 32, 64, 2) and model.output_shape == (None, 32, 64, 5)


def kernels(model):
    return {name: value for name, value in read_weights(model).items() if name.endswith("/kernel")}


def test_layers_of_equal_shape_start_differently_and_seeds_count():
    first, again, other = (kernels(models.build_unet((32, 32, 1), 4, seed=seed)) for seed in (1, 1, 2))
    for name, kernel in first.items():
        np.testing.assert_array_equal(kernel, again[name])
        assert not np.allclose(kernel, other[name])
    by_shape = {}
    for name, kernel in first.items():
        by_shape.setdefault(kernel.shape, []).append((name, kernel))
    pairs = [(a, b) for same in by_shape.values() for i, a in enumerate(same) for b in same[i + 1 :]]
    assert len(pairs) > 10
    for (one, a), (two, b) in pairs:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size), (one, two)


def test_networks_of_one_seed_share_their_initial_encoder():
    unet = kernels(models.build_unet((32, 32, 1), 4, seed=3))
    for name, kernel in kernels(models.build_global_net((32, 32, 1), seed=3)).items():
        if name.startswith("enc_"):
            np.testing.assert_array_equal(kernel, unet[name])


def test_initial_distributions():
    weights = read_weights(models.build_global_net((64, 64, 1)))
    for name, fan_in in (("enc_c5_b/kernel", 9 * 128), ("enc_c4_a/kernel", 9 * 64)):
        kernel = weights[name]
        deviation = np.sqrt(2 / fan_in)
        assert kernel.std() == pytest.approx(deviation, rel=0.02) and abs(kernel.mean()) < 0.01 * deviation * 3
        assert np.abs(kernel).max() > 3.5 * deviation, "not truncated"
    limit = np.sqrt(6 / (512 + 1024))
    dense = weights["reg_nn1/kernel"]
    assert dense.shape == (512, 1024) and 0.99 * limit < np.abs(dense).max() <= limit
    assert all(not value.any() for name, value in weights.items() if name.endswith(("/bias", "/beta", "_mean")))
    assert all((value == 1).all() for name, value in weights.items() if name.endswith(("/gamma", "_variance")))


def test_the_order_of_building_does_not_matter():
    keras.utils.set_random_seed(9)
    one = kernels(models.build_encoder((32, 32, 1), seed=4))
    models.build_encoder((32, 32, 1), seed=5)
    two = kernels(models.build_encoder((32, 32, 1), seed=4))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("normalisation", ["batch", "instance"])
def test_depth_and_width_of_another_architecture(normalisation):
    arch = models.Architecture((4, 8, 16), normalisation)
    unet = models.build_unet((20, 24, 1), 3, arch=arch)  # sides are multiples of 4
    assert unet.output_shape == (None, 20, 24, 3)
    encoder = models.build_encoder((20, 24, 1), arch=arch)
    assert [shape[1:] for shape in encoder.output_shape] == [(20, 24, 4), (10, 12, 8), (5, 6, 16)]
    assert set(read_weights(encoder)) < set(read_weights(unet))
    with pytest.raises(ValueError, match="multiples of 4"):
        models.build_unet((18, 24, 1), 3, arch=arch)


def test_instance_normalisation_ignores_the_other_images_and_the_scale_of_its_own():
    unet = models.build_unet((16, 16, 1), 2, arch=models.Architecture((8, 8), "instance"))
    images = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
    alone = unet(images[:1], training=True)
    np.testing.assert_allclose(alone, unet(images, training=True)[:1], atol=1e-5)
    np.testing.assert_allclose(alone, unet(images[:1] * 50, training=False), atol=1e-3)
