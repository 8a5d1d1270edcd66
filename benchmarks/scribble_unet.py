"""The training step of the scribble U-Net with one and with two branches, in float32 and bfloat16.

    python -m benchmarks.scribble_unet                       96 x 96 and 256 x 256
    python -m benchmarks.scribble_unet --sides=96

Six slices of random numbers, 4 classes, 1 % of the pixels scribbled; loss, gradient and SGD with momentum. The first
line, one branch in float32, is the reference of the ratios. Making a batch is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
IGNORE = 255


def batches(side: int, count: int = 6):
    """Returns slices that make a batch of `count` of (side, side), with scribbles on 1 % of the pixels."""
    from fewslice.augment.rot_flip import rot_flip
    from fewslice.data.batches.annotated import AnnotatedSlices

    rng = np.random.default_rng(0)
    images = rng.standard_normal((2 * count, side, side), dtype=np.float32)
    scribbles = np.where(rng.random(images.shape) < 0.01, rng.integers(4, size=images.shape), IGNORE).astype(np.uint8)
    options = {"batch_size": count, "augmentation": rot_flip, "ignore_value": IGNORE}
    return AnnotatedSlices(images.__getitem__, scribbles.__getitem__, range(2 * count), seed=0, **options)


def step(side: int, branches: int, precision: str, **network: Any) -> Callable[[], Any]:
    """Returns a function that trains one step on a fixed batch; `network`: of `build_scribble_unet`."""
    import keras
    import tensorflow as tf

    import losses
    import models
    from fewslice.train.optimizers import CoupledSGD, polynomial_decay

    keras.utils.set_random_seed(0)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(PRECISIONS[precision])
    try:
        model = models.build_scribble_unet((side, side, 1), 4, branches=branches, **network)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    loss = losses.DynamicPseudoLabel(IGNORE) if branches == 2 else losses.PartialCrossEntropy(IGNORE)
    optimizer = CoupledSGD(polynomial_decay(0.01, 60000), l2=1e-4, momentum=0.9)
    model.compile(optimizer, loss=loss, jit_compile=False)
    batch = batches(side).batch(0)
    labels = losses.mixing_targets(batch.labels, batch.mixing) if branches == 2 else batch.labels
    inputs, targets = tf.constant(batch.images), tf.constant(labels)
    return lambda: model.train_on_batch(inputs, targets)


def measure(side: int, *, network: dict[str, Any] | None = None, **options: Any) -> dict[str, timing.Times]:
    """Returns the times of the four steps and of making a batch; `options` are those of `timing.interleave`."""
    from itertools import count

    functions = {
        f"{branches} branch{'es' if branches > 1 else ''}, {precision}": step(
            side, branches, precision, **(network or {})
        )
        for branches in (1, 2)
        for precision in PRECISIONS
    }
    slices, number = batches(side), count()
    functions["making a batch"] = lambda: slices.batch(next(number))
    return timing.interleave(functions, **options)


def main(_) -> None:
    """Measures and prints a table per size."""
    timing.single_thread()
    for side in FLAGS.sides:
        print(f"6 slices of {side} x {side}")
        print(timing.table(measure(int(side), seconds=FLAGS.seconds)), end="\n\n")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_list("sides", ["96", "256"], "Sides of the slices in pixels.")
    flags.DEFINE_float("seconds", 30, "How long to measure each comparison.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
