"""The pixel contrastive loss alone: forward and backward against loops over pairs and classes in the graph.

python -m benchmarks.joint_loss                     20 maps of 192 x 192 x 16, 4 classes, float32
python -m benchmarks.joint_loss --mixed_precision   our loss gets bfloat16
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS


class Sizes(NamedTuple):
    """Pairs of images, side of the maps, channels, classes, pixels per class."""

    pairs: int = 10
    side: int = 192
    channels: int = 16
    classes: int = 4
    n_pos: int = 3


class PixelLoop(keras.losses.Loss):
    """The loss as loops over pairs, images and classes in the graph; `y_true` are one-hot masks (2B, H, W, K).

    Args:
        exp_no: 0 or 1.
        positions: (2B, K - 1, n_pos, 2) rows and columns; every class is in every image.
        temperature: Divides the cosines.
    """

    def __init__(self, exp_no: int, positions: np.ndarray, temperature: float = 0.1):
        super().__init__(name="pixel_loop")
        self.exp_no, self.positions, self.temperature = exp_no, positions, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.value(y_true, self.positions @ (y_pred.shape[2], 1), y_pred)

    def value(self, masks: Any, places: Any, y_pred: Any) -> Any:
        """Returns the loss from masks (2B, H, W, K) and places of the pixels in a map, (2B, K - 1, n_pos) integers."""
        num_maps, num_foreground, n_pos = places.shape
        half, total = num_maps // 2, 0.0
        maps = ops.unstack(y_pred, num_maps)  # so that a gradient is as large as one map, not as all
        for pair in range(half):
            means = [
                [_class_mean(maps[image], masks[image, ..., c + 1]) for c in range(num_foreground)]
                for image in (pair, half + pair)
            ]
            for side, image in enumerate((pair, half + pair)):
                prototypes = means[side] + (means[1 - side] if self.exp_no else [])
                for c in range(num_foreground):
                    pixels = ops.take(ops.reshape(maps[image], (-1, y_pred.shape[-1])), places[image, c], axis=0)
                    for sample in range(n_pos):
                        total = total + self._terms(pixels[sample], prototypes, c, num_foreground)
        return total / (half * num_foreground * n_pos * (1 + self.exp_no))

    def _terms(self, pixel: Any, prototypes: list[Any], c: int, num_foreground: int) -> Any:
        exps = [ops.exp(_cosine(pixel, prototype) / self.temperature) for prototype in prototypes]
        return sum(-ops.log(exps[target] / sum(exps)) for target in range(c, len(exps), num_foreground))


def _class_mean(image: Any, mask: Any) -> Any:
    return ops.sum(image * mask[..., None], axis=(0, 1)) / ops.sum(mask)


def _cosine(a: Any, b: Any) -> Any:
    return ops.sum(a * b) / (ops.sqrt(ops.sum(a * a)) * ops.sqrt(ops.sum(b * b)))


def batch(sizes: Sizes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns labels with every class in every image, positions, their validity, and maps of random numbers."""
    from fewslice.data.batches.joint import draw_positions

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: sizes.side, : sizes.side]
    centre = rng.uniform(0.45, 0.55, size=(2, 2 * sizes.pairs, 1, 1)) * sizes.side
    distance = np.hypot(rows - centre[0], columns - centre[1]) / (0.4 * sizes.side)  # rings, as in a heart
    labels = np.clip(sizes.classes - distance * sizes.classes, 0, sizes.classes - 1).astype(np.uint8)
    halves = labels[: sizes.pairs], labels[sizes.pairs :]
    positions, valid = draw_positions(*halves, sizes.classes, sizes.n_pos, rng)
    maps = rng.standard_normal((2 * sizes.pairs, sizes.side, sizes.side, sizes.channels)).astype(np.float32)
    return labels, positions, valid, maps


def measure(
    exp_no: int, kind: str, sizes: Sizes, *, seconds: float
) -> tuple[dict[str, timing.Times], dict[str, float]]:
    """Measures one variant.

    Args:
        exp_no: 0 or 1.
        kind: What our loss gets, "float32" or "bfloat16".
        sizes: Of the batch.
        seconds: How long to measure.

    Returns:
        Times of "loop" and "ours", and the seconds that tracing took of both.
    """
    import tensorflow as tf

    from losses.pixel_contrastive import PixelContrastive, pixel_targets

    labels, positions, valid, maps = batch(sizes)
    masks = np.eye(sizes.classes, dtype=np.float32)[labels]
    ours = PixelContrastive(exp_no, sizes.classes, n_pos=sizes.n_pos)
    given = {
        "loop": (PixelLoop(exp_no, positions), masks, tf.constant(maps)),
        "ours": (ours, pixel_targets(labels, positions, valid), tf.cast(maps, kind)),
    }
    functions, tracing = {}, {}
    for name, (loss, targets, values) in given.items():
        functions[name], tracing[name] = timing.gradient_function(loss, tf.constant(targets), values)
    return timing.interleave(functions, seconds=seconds, most=200), tracing


def main(_) -> None:
    """Measures and prints a table per variant."""
    timing.single_thread()
    kind = "bfloat16" if FLAGS.mixed_precision else "float32"
    sizes = Sizes()
    for exp_no, title in enumerate(("intra-image", "inter-image")):
        times, tracing = measure(exp_no, kind, sizes, seconds=FLAGS.seconds)
        print(f"Pixel contrastive loss, {title}, ours in {kind}, {sizes}")
        print(timing.table(times))
        print(f"Tracing: loop {tracing['loop']:.2f} s, ours {tracing['ours']:.2f} s\n")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_bool("mixed_precision", False, "Give our loss bfloat16.")
    flags.DEFINE_float("seconds", 12, "How long to measure each variant.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
