"""What the tests need from the backend itself: gradients, and compiled calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def value_and_grad(fn: Callable[..., Any], *arrays: Any, dtype: str = "float32") -> tuple[float, list[np.ndarray]]:
    """Returns fn(*arrays) and its gradients with respect to each array, as NumPy values.

    Args:
        fn: Takes one tensor per array and returns a scalar tensor.
        *arrays: Array-likes of any shape.
        dtype: What the arrays are cast to before the call.

    Returns:
        The value, and one float32 or float64 array per argument; zeros where the value does not depend on it.
    """
    tensors = [keras.ops.cast(keras.ops.convert_to_tensor(np.asarray(array)), dtype) for array in arrays]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        value, grads = _tensorflow(fn, tensors)
    elif backend == "jax":
        import jax

        value, grads = jax.jit(jax.value_and_grad(fn, argnums=tuple(range(len(tensors)))))(*tensors)
    elif backend == "torch":
        value, grads = _torch(fn, tensors)
    else:
        raise RuntimeError(f"No gradients for the backend {backend!r}.")
    wide = "float64" if dtype == "float64" else "float32"
    arrays_out = [keras.ops.convert_to_numpy(keras.ops.cast(grad, wide)) for grad in grads]
    return float(keras.ops.convert_to_numpy(keras.ops.cast(value, wide))), arrays_out


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `fn` compiled as `fit` does it: traced with unknown batch size, jitted, or as it is."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def traced(*arrays):
            tensors = [tf.convert_to_tensor(array) for array in arrays]
            signature = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in tensors]
            return tf.function(fn, input_signature=signature)(*tensors)

        return traced
    if backend == "jax":
        import jax

        return jax.jit(fn)
    return fn


def evaluate(loss: Callable[..., Any], y_true: Any, y_pred: Any) -> float:
    """Returns loss(y_true, y_pred); jitted under JAX, where compiling each operation takes seconds."""
    y_true, y_pred = keras.ops.convert_to_tensor(y_true), keras.ops.convert_to_tensor(y_pred)
    call = compiled(loss) if keras.backend.backend() == "jax" else loss
    return float(call(y_true, y_pred))


def _tensorflow(fn, tensors):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        for tensor in tensors:
            tape.watch(tensor)
        value = fn(*tensors)
    grads = tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return value, [tf.convert_to_tensor(grad) for grad in grads]


def _torch(fn, tensors):
    import torch

    leaves = [tensor.detach().clone().requires_grad_(True) for tensor in tensors]
    value = fn(*leaves)
    grads = torch.autograd.grad(value, leaves, allow_unused=True)
    filled = [torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(grads, leaves, strict=True)]
    return value.detach(), filled
