"""Networks and losses written plainly: the reference of the ratios.

Convolutions with bias, Keras' batch normalisation in its unfused form, up-sampled images that are convolved,
float32 throughout, losses as loops over pairs in the graph. `tests/benchmarks` checks that they compute the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

FILTERS = (16, 32, 64, 128, 128, 128)


def _block(x: Any, filters: int, name: str, *, kernel_size: int = 3, bias: bool = True) -> Any:
    x = layers.Conv2D(filters, kernel_size, padding="same", use_bias=bias, name=name)(x)
    return layers.ReLU()(layers.BatchNormalization(name=f"{name}_bn", momentum=0.99, epsilon=1e-3)(x))


def _encoder(x: Any) -> list[Any]:
    levels = []
    for level, filters in enumerate(FILTERS, start=1):
        if level > 1:
            x = layers.MaxPooling2D(2)(x)
        x = _block(_block(x, filters, f"enc_c{level}_a"), filters, f"enc_c{level}_b")
        levels.append(x)
    return levels


def _decoder(levels: Sequence[Any], num_blocks: int) -> Any:
    x = levels[-1]
    for level in range(5, 5 - num_blocks, -1):
        filters = FILTERS[level - 1]
        x = _block(layers.UpSampling2D(2)(x), filters, f"dec_dc{level + 1}", kernel_size=2)
        x = layers.Concatenate()([x, levels[level - 1]])
        x = _block(x, filters, f"dec_c{level}_a")
        if level > 1:
            x = _block(x, filters, f"dec_c{level}_b")
    return x


def unet(image_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """Builds the segmentation network: image -> logits, float32."""
    inputs = keras.Input(image_shape)
    x = _decoder(_encoder(inputs), 5)
    x = _block(_block(x, 16, "seg_c1_a"), 16, "seg_c1_b")
    x = layers.Conv2D(num_classes, 3, padding="same", use_bias=False, dtype="float32", name="seg_fin_layer")(x)
    return keras.Model(inputs, x)


def strided_unet(image_shape: tuple[int, int, int], num_classes: int, width: int = 16) -> keras.Model:
    """Builds the network with strided convolutions: image -> logits, float32; sides are multiples of 32."""

    def block(x: Any, filters: int, name: str, *, stride: int = 1, drops: bool = True) -> Any:
        for number in (1, 2):
            how = {"use_bias": False, "kernel_initializer": "he_normal", "name": f"{name}.conv{number}"}
            if number == 1 and stride == 2:
                x = layers.Conv2D(filters, 3, 2, **how)(layers.ZeroPadding2D(1)(x))
            else:
                x = layers.Conv2D(filters, 3, padding="same", **how)(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}.bn{number}")(x)
            x = layers.ReLU()(x)
        return layers.Dropout(0.1)(x) if drops else x

    inputs = keras.Input(image_shape)
    maps = [block(inputs, width, "enc0")]
    for level in range(1, 6):
        maps.append(block(maps[-1], width * 2**level, f"enc{level}", stride=2))
    x = maps[5]
    for level in range(4, -1, -1):
        x = layers.UpSampling2D(2)(block(x, width * 2 ** (level + 1), f"dec{level}.low", drops=False))
        x = block(layers.Concatenate()([x, maps[level]]), width * 2**level, f"dec{level}")
    return keras.Model(inputs, layers.Conv2D(num_classes, 1, name="out")(x))


def global_net(image_shape: tuple[int, int, int]) -> keras.Model:
    """Builds the encoder with its head: image -> embedding (batch, 128)."""
    inputs = keras.Input(image_shape)
    x = layers.Flatten()(_encoder(inputs)[-1])
    x = layers.Dense(1024, "relu", use_bias=False, name="reg_nn1")(x)
    return keras.Model(inputs, layers.Dense(128, use_bias=False, dtype="float32", name="reg_pred")(x))


def local_net(image_shape: tuple[int, int, int], num_blocks: int, positions: np.ndarray) -> keras.Model:
    """Builds encoder (frozen), decoder blocks and head: image -> projected 3x3 regions (batch, U, 128)."""
    inputs = keras.Input(image_shape)
    x = _decoder(_encoder(inputs), num_blocks)
    filters = x.shape[-1]
    x = _block(x, filters, "loc_c1_a", kernel_size=1, bias=False)
    x = layers.Conv2D(filters, 1, use_bias=False, name="loc_c1_b")(x)
    flatten, project = layers.Flatten(), layers.Dense(128, use_bias=False, dtype="float32", name="loc_pred")
    regions = [project(flatten(x[:, r : r + 3, c : c + 3])) for r, c in positions.tolist()]
    model = keras.Model(inputs, ops.stack(regions, axis=1))
    for layer in model.layers:
        if layer.name.startswith("enc_"):
            for weight in layer.weights:  # not the layer: its statistics are still those of the batch
                weight.trainable = False
    return model


def _cosine(a: Any, b: Any) -> Any:
    return ops.sum(a * b, axis=-1) / (ops.sqrt(ops.sum(a * a, axis=-1)) * ops.sqrt(ops.sum(b * b, axis=-1)))


def _term(anchor: Any, positive: Any, negatives: Any, temperature: float) -> Any:
    """One term of a loss: two embeddings (D,) and the negatives (K, D), gathered for this term."""
    own = ops.exp(_cosine(anchor, positive) / temperature)
    return -ops.log(own / (own + ops.sum(ops.exp(_cosine(negatives, anchor) / temperature))))


class GlobalLoop(keras.losses.Loss):
    """G^D as a loop over pairs; rows are [slot, view, partition], from slowest to fastest.

    Args:
        ids: (N, 3) integers: volume slot, partition, view of the rows.
        temperature: Divides the cosines.
    """

    def __init__(self, ids: np.ndarray, temperature: float = 0.1):
        super().__init__(name="global_loop")
        self.temperature = temperature
        self.rows = [tuple(row) for row in np.asarray(ids).tolist()]
        slots = 1 + max(slot for slot, _, _ in self.rows)
        self.pairs = []
        for a, (slot, part, view) in enumerate(self.rows):
            for b, (other, other_part, other_view) in enumerate(self.rows):
                chained = slot != other and (other - slot) % slots in (1, slots - 1) and view == other_view
                if part == other_part and (chained or (slot == other and view != other_view)):
                    self.pairs.append((a, b))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        total = 0.0
        for a, b in self.pairs:
            negatives = [i for i, row in enumerate(self.rows) if row[1] != self.rows[a][1]]
            others = ops.take(y_pred, negatives, axis=0)
            total = total + _term(y_pred[a], y_pred[b], others, self.temperature)
        return total / (len(self.pairs) / 2)


class LocalLoop(keras.losses.Loss):
    """L^R as a loop over images and regions; rows are [image, view].

    Args:
        negatives: For each region the places of its negatives among the positions.
        num_images: Images in the batch, each with two views.
        temperature: Divides the cosines.
    """

    def __init__(self, negatives: Sequence[Sequence[int]], num_images: int, temperature: float = 0.1):
        super().__init__(name="local_loop")
        self.negatives, self.num_images, self.temperature = negatives, num_images, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        total = 0.0
        for image in range(self.num_images):
            views = y_pred[2 * image], y_pred[2 * image + 1]
            for region, places in enumerate(self.negatives):
                for a, b in (views, views[::-1]):
                    others = ops.concatenate([ops.take(a, places, axis=0), ops.take(b, places, axis=0)])
                    total = total + _term(a[region], b[region], others, self.temperature)
        return total / (self.num_images * len(self.negatives))


class DiceLoop(keras.losses.Loss):
    """Dice with background as a loop over classes."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        probabilities = ops.softmax(ops.cast(y_pred, "float32"))
        scores = []
        for k in range(y_pred.shape[-1]):
            p, y = probabilities[..., k], y_true[..., k]
            total = ops.sum(p, axis=(1, 2)) + ops.sum(y, axis=(1, 2))
            scores.append(2.0 * ops.sum(p * y, axis=(1, 2)) / (total + 1e-10))
        return 1.0 - sum(scores) / len(scores)


class PooledDice(keras.losses.Loss):
    """Dice of each image, the classes pooled."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        p = ops.softmax(ops.cast(y_pred, "float32"))
        return 1.0 - 2.0 * ops.sum(p * y_true, axis=(1, 2, 3)) / (ops.sum(p + y_true, axis=(1, 2, 3)) + 1e-8)
