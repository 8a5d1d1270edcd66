"""Adam and SGD with coupled weight decay: the gradient of (decay / 2) |w|^2 is part of the gradient.

Keras' `weight_decay` shrinks the weights beside the step (AdamW); a kernel regulariser would do it right, but enters
the loss that is reported, and has to be set layer by layer. The published runs of active learning use the coupled form
for every weight, biases and normalisation included.

Reference: Vepa et al., 2024, https://arxiv.org/abs/2411.15763 (Adam for the encoder); Luo et al., 2022,
https://arxiv.org/abs/2203.02106 (SGD for segmentation). Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101,
on the difference.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

_TINY = 1e-30


def _decayed(gradient: Any, variable: Any, l2: float) -> Any:
    """Returns gradient + l2 * variable in the variable's dtype."""
    gradient = ops.cast(gradient, variable.dtype)
    return gradient + ops.convert_to_tensor(variable) * l2 if l2 else gradient


def _correction(beta: float, step: Any) -> Any:
    """Returns 1 - beta^step to full precision: in float32 the plain difference is off by 1e-5 for beta 0.999."""
    return -ops.expm1(step * math.log(max(beta, _TINY)))


def _checked(l2: float) -> float:
    if not l2 >= 0:
        raise ValueError(f"`l2` must not be negative. Received: l2={l2}")
    return float(l2)


@keras.saving.register_keras_serializable("fewslice")
class CoupledAdam(keras.optimizers.Adam):
    """Adam with coupled weight decay, and epsilon beside the corrected second moment, as Adam's paper has it.

    Args:
        learning_rate: Number or schedule.
        l2: l2 * w is added to the gradient of each weight w.
        epsilon: Added to the root of the bias-corrected second moment. Keras' own Adam adds it to the uncorrected one,
            which makes it up to 1 / sqrt(1 - beta_2) times as large in the first steps.
        **kwargs: As in `keras.optimizers.Adam`, without `amsgrad` and `weight_decay`.

    Raises:
        ValueError: Negative decay, or `amsgrad` or `weight_decay` asked for.

    Example:
        >>> optimizer = CoupledAdam(3e-4, l2=1e-6)
    """

    def __init__(self, learning_rate: Any = 3e-4, *, l2: float = 1e-6, epsilon: float = 1e-8, **kwargs: Any):
        kwargs.setdefault("name", "coupled_adam")
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)
        if self.amsgrad or self.weight_decay:
            raise ValueError("`amsgrad` and `weight_decay` are not available with coupled decay.")
        self.l2 = _checked(l2)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = _decayed(gradient, variable, self.l2)
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        step = ops.cast(self.iterations + 1, dtype)
        root = ops.sqrt(second / _correction(self.beta_2, step)) + self.epsilon
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * (first / _correction(self.beta_1, step)) / root)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable("fewslice")
class CoupledSGD(keras.optimizers.SGD):
    """SGD with coupled weight decay, whose momentum gathers gradients: v <- momentum v + g, w <- w - rate v.

    With `nesterov` the step is g + momentum v.

    Keras' own SGD gathers rate * g, so that a rate that falls, as in polynomial decay, does not slow what has been
    gathered; with a constant rate both are the same.

    Args:
        learning_rate: Number or schedule, for instance `polynomial_decay(0.01, 60000)`.
        l2: l2 * w is added to the gradient of each weight w.
        momentum: 0 to 1.
        **kwargs: As in `keras.optimizers.SGD`, without `weight_decay`.

    Raises:
        ValueError: Negative decay, or `weight_decay` asked for.
    """

    def __init__(self, learning_rate: Any = 0.01, *, l2: float = 1e-4, momentum: float = 0.9, **kwargs: Any):
        kwargs.setdefault("name", "coupled_sgd")
        super().__init__(learning_rate, momentum=float(momentum), **kwargs)
        if self.weight_decay:
            raise ValueError("`weight_decay` is not available with coupled decay; `l2` is.")
        self.l2 = _checked(l2)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = step = _decayed(gradient, variable, self.l2)
        if self.momentum:
            gathered = self.momentums[self._get_variable_index(variable)]
            step = ops.convert_to_tensor(gathered) * self.momentum + step
            self.assign(gathered, step)
            step = gradient + step * self.momentum if self.nesterov else step
        self.assign_sub(variable, step * ops.cast(learning_rate, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2}


def polynomial_decay(
    learning_rate: float, num_steps: int, *, power: float = 0.9
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the schedule rate * (1 - step / num_steps)^power, 0 from `num_steps` on; the first step is 0.

    Notes:
        The published code sets the rate after each step from the number before it, so it is one step late.
    """
    return keras.optimizers.schedules.PolynomialDecay(learning_rate, num_steps, end_learning_rate=0.0, power=power)


@keras.saving.register_keras_serializable("fewslice")
class CosineWave(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule lowest + (rate - lowest) (1 + cos(pi step / half_period)) / 2, which rises again.

    Source:
        Vepa et al., 2024, https://arxiv.org/abs/2411.15763 (pretrained segmentation networks), as published.
    """

    def __init__(self, learning_rate: float, half_period: int = 10, lowest: float = 1e-5):
        super().__init__()
        self.learning_rate, self.half_period, self.lowest = float(learning_rate), int(half_period), float(lowest)

    def __call__(self, step: Any) -> Any:
        phase = ops.cast(step, "float32") * (math.pi / self.half_period)
        return self.lowest + (self.learning_rate - self.lowest) * 0.5 * (1.0 + ops.cos(phase))

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "half_period": self.half_period, "lowest": self.lowest}
