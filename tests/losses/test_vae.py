"""The loss of the autoencoder. Expected values: by hand, tests/reference/vaal.py, golden numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from losses import Vae
from tests.backend import evaluate, value_and_grad
from tests.golden_files import golden_param
from tests.reference import vaal as reference


def test_by_hand():
    # pixels 1 and 3 rebuilt as 1 and 1: (0 + 4) / 2. mu = 2, log variance 0: 4 / 2. The second row is perfect.
    true = [[1.0, 3.0], [5.0, 5.0]]
    pred = [[1.0, 1.0, 2.0, 0.0], [5.0, 5.0, 0.0, 0.0]]
    assert evaluate(Vae(latent=1, beta=10.0), true, pred) == pytest.approx(2 / 2 + 10 * 2)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_equals_the_loops(beta):
    rng = np.random.default_rng(0)
    image, rebuilt = rng.normal(size=(2, 3, 4, 5))
    mean, log_variance = rng.normal(size=(2, 3, 6))
    pred = np.hstack([rebuilt.reshape(3, -1), mean, log_variance])
    found = evaluate(Vae(6, beta), image.reshape(3, -1), pred)
    assert found == pytest.approx(reference.vae_loss(image, rebuilt, mean, log_variance, beta), rel=1e-5)


def test_mistakes():
    with pytest.raises(ValueError, match="`beta` must be a positive"):
        Vae(3, 0.0)
    with pytest.raises(ValueError, match="4 pixels and 2 x 3 latent values"):
        Vae(3)(np.zeros((1, 4)), np.zeros((1, 8)))


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("coreclr", "vaal*.npz"))
def test_golden_value_and_gradients(path):
    with np.load(path, allow_pickle=False) as data:
        data = dict(data)
    cases = sorted(name.removesuffix("_loss") for name in data if name.endswith("_loss"))
    assert cases
    is_double = keras.backend.backend() == "tensorflow"
    dtype, tolerance = ("float64", 1e-9) if is_double else ("float32", 1e-5)
    for case in cases:
        x, recon, mu, logvar = (data[f"{case}_{name}"] for name in ("x", "recon", "mu", "logvar"))
        beta = float(data[f"{case}_beta"])
        expected = float(data[f"{case}_loss"])
        assert reference.vae_loss(x, recon, mu, logvar, beta) == pytest.approx(expected, rel=1e-9)
        rows = len(x)
        loss = Vae(mu.shape[1], beta, dtype=dtype)
        pred = np.hstack([recon.reshape(rows, -1), mu, logvar])
        value, (slope,) = value_and_grad(lambda y, x=x, loss=loss: loss(x.reshape(len(x), -1), y), pred, dtype=dtype)
        assert value == pytest.approx(expected, rel=tolerance)
        parts = (data[f"{case}_{name}"].reshape(rows, -1) for name in ("grecon", "gmu", "glogvar"))
        np.testing.assert_allclose(slope, np.hstack(list(parts)), rtol=tolerance * 100, atol=1e-7)
