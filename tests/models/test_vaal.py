"""The networks of VAAL. Expected values: the published counts of parameters, and formulas of the initial values."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from models.transfer import named_variables
from models.vaal import build_discriminator, build_vae, mean_part
from tests.golden_files import golden_param
from tests.models.networks import number, size


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("coreclr", "vaal*.npz"))
def test_counts_of_the_published_networks(path, monkeypatch):
    monkeypatch.setattr("models.vaal.FanInUniform", lambda *args: "zeros")  # only shapes matter
    monkeypatch.setattr("models.vaal.he_normal", lambda seed: "zeros")
    with np.load(path, allow_pickle=False) as data:
        expected = data["param_counts_vae_disc"].tolist()
    assert (
        [size(net.trainable_variables) for net in (build_vae((256, 256, 1)), build_discriminator())]
        == expected
        == [28_650_049, 280_065]
    )


def test_outputs_and_the_sample():
    vae = build_vae((64, 32, 2), 5, width=2, seed=1)
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 64, 32, 2)).astype(np.float32)
    noise = rng.normal(size=(3, 5)).astype(np.float32)
    rebuilt, mean, log_variance = vae.predict_on_batch([image, noise])
    assert rebuilt.shape == image.shape and mean.shape == log_variance.shape == (3, 5)
    sample = keras.Model(vae.inputs, vae.get_layer("sample").output).predict_on_batch([image, noise])
    np.testing.assert_allclose(sample, mean + noise * np.exp(log_variance / 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean_part(vae).predict_on_batch(image), mean, rtol=1e-5, atol=1e-6)


def test_initial_values():
    vae, discriminator = build_vae((32, 32, 1), 4, width=16, seed=1), build_discriminator(4, seed=1)
    values = {name: number(v) for name, v in named_variables(vae).items()}
    values |= {name: number(v) for name, v in named_variables(discriminator).items()}
    for name, fan_in in {"enc4/kernel": 16 * 64, "dec0/kernel": 4, "disc2/kernel": 512}.items():  # He-normal
        assert values[name].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05), name
    uniform = {"mean/kernel": 256, "log_variance/bias": 256, "dec2/kernel": 64 * 16, "dec5/bias": 16}
    for name, fan_in in uniform.items():  # within 1 / sqrt(fan-in); of a transposed convolution outputs x taps
        limit = fan_in**-0.5
        assert 0 < np.abs(values[name]).max() <= limit, name
        if values[name].size > 500:
            assert values[name].std() == pytest.approx(limit / np.sqrt(3), rel=0.05), name
    for name in ("enc1/bias", "enc3.bn/bias", "dec0/bias", "disc1/bias"):
        assert not values[name].any(), name
    again = named_variables(build_vae((32, 32, 1), 4, width=16, seed=1))
    np.testing.assert_array_equal(values["enc4/kernel"], number(again["enc4/kernel"]))


@pytest.mark.parametrize("shape, options, words", [
    ((48, 32, 1), {}, r"multiples of 32. Received: 48"),
    ((32, 32, 1), {"latent": 0}, "`latent` must be at least 1. Received: latent=0"),
])  # fmt: skip
def test_mistakes(shape, options, words):
    with pytest.raises(ValueError, match=words):
        build_vae(shape, **options)
