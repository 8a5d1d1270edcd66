"""Logits and labels with the classes before the pixels.

The arrays that Keras hands over have the classes last, and a softmax over an innermost axis of a few classes
is slow on a CPU: with the pixels innermost the segmentation losses take half the time (`benchmarks/README.md`).
"""

from __future__ import annotations

from typing import Any

from keras import ops

from losses.info_nce import at_least_float32


def class_first(x: Any) -> Any:
    """Returns x (N, ..., K) as (N, K, P) in at least float32; P is the number of pixels, 1 without spatial axes."""
    flat = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
    return at_least_float32(ops.transpose(flat, (0, 2, 1)))


def shifted(logits: Any) -> Any:
    """Returns logits (N, K, P) minus their maximum over the classes, so that `exp` cannot overflow."""
    return logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True))
