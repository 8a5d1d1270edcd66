"""The loss of a variational autoencoder."""

from __future__ import annotations

from typing import Any

from keras import ops

from losses import checks
from losses.registry import Loss, register


@register("vae")
class Vae(Loss):
    """Mean squared error of the reconstruction + beta * divergence of the latent distribution from a standard normal.

    With mu and s the mean and the logarithm of the variance: mean over batch and pixels of (x - x')^2, plus beta times
    the sum over batch and latent values of -(1 + s - mu^2 - exp(s)) / 2.

    A row's value is its part of both, so that the default reduction, the sum, gives that.

    Args:
        latent: Latent values.
        beta: Weight of the divergence, positive.
        **kwargs: As in `losses.registry.Loss`.

    Call arguments:
        y_true: (batch, pixels) float, the images, flat.
        y_pred: (batch, pixels + 2 * latent) float, [reconstruction, mean, log_variance].

    Raises:
        ValueError: `beta` that is not positive; `y_pred` that does not fit `y_true`.

    Source: Sinha et al., 2019, https://arxiv.org/abs/1904.00370, equation 1; the mean over pixels beside a sum over
    latent values as in Vepa et al., 2024, https://arxiv.org/abs/2411.15763.

    Example:
        >>> import numpy as np
        >>> loss = Vae(latent=1)
        >>> float(loss(np.array([[1.0, 3.0]]), np.array([[1.0, 1.0, 2.0, 0.0]])))  # (0 + 4) / 2 + 2^2 / 2
        4.0
    """

    def __init__(self, latent: int, beta: float = 1.0, **kwargs: Any):
        super().__init__(**{"reduction": "sum", **kwargs})
        self.latent = int(checks.positive("latent", latent))
        self.beta = checks.positive("beta", beta)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        pixels = y_true.shape[-1]
        if y_pred.shape[-1] != pixels + 2 * self.latent:
            raise ValueError(
                f"`y_pred` must hold {pixels} pixels and 2 x {self.latent} latent values. "
                f"Received: y_pred.shape={tuple(y_pred.shape)}"
            )
        mean = y_pred[:, pixels : pixels + self.latent]
        log_variance = y_pred[:, pixels + self.latent :]
        count = ops.cast(ops.shape(y_pred)[0], y_pred.dtype)
        error = ops.mean(ops.square(y_true - y_pred[:, :pixels]), axis=-1) / count
        divergence = -0.5 * ops.sum(1.0 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=-1)
        return error + self.beta * divergence
