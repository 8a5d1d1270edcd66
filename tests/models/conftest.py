"""What the tests of the networks share."""

from __future__ import annotations

import keras
import pytest

import models.unet


@pytest.fixture
def double_precision():
    """Computes in float64 where the backend has it: the golden network is ill-conditioned in float32."""
    before = keras.config.dtype_policy()
    if keras.backend.backend() == "tensorflow":
        keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def zeros_first(monkeypatch):
    """Kernels start at 0, for networks whose weights are all loaded: random ones are compiled for each shape on JAX."""
    monkeypatch.setattr(models.unet, "he_normal", lambda seed: "zeros")


@pytest.fixture
def small_unet(monkeypatch):
    """Three levels instead of six, for what does not depend on them: half of the layers."""
    monkeypatch.setattr(models.unet, "ENCODER_FILTERS", (16,) * 3)
