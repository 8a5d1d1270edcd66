"""Adam and SGD with coupled weight decay for one vector, step by step, in float64."""

from __future__ import annotations

import numpy as np


def adam(start, gradients, rate, l2, *, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Returns the weights before the first and after each step."""
    weights, first, second = [np.asarray(start, np.float64)], 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        gradient = gradient + l2 * weights[-1]
        first = beta_1 * first + (1 - beta_1) * gradient
        second = beta_2 * second + (1 - beta_2) * gradient**2
        root = np.sqrt(second / (1 - beta_2**step)) + epsilon
        weights.append(weights[-1] - rate * first / (1 - beta_1**step) / root)
    return np.array(weights)


def sgd(start, gradients, rates, l2, momentum):
    """Returns the weights before the first and after each step."""
    weights, velocity = [np.asarray(start, np.float64)], 0.0
    for gradient, rate in zip(gradients, rates, strict=True):
        velocity = momentum * velocity + gradient + l2 * weights[-1]
        weights.append(weights[-1] - rate * velocity)
    return np.array(weights)
