"""What a segmentation network makes of each unit of a pool, as rows of a file: features and gradient embeddings.

Images come one by one; a batch is in memory and the rest on the disk, written atomically.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np

from fewslice.core import files
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.progress import Progress
from fewslice.core.registry import unknown_name
from fewslice.train.predict import padded_batches, softmax

PREDICTIONS, ENCODER_MAP, POOLED = "predictions", "encoder_map", "pooled"
KINDS = (PREDICTIONS, ENCODER_MAP, POOLED)
_DTYPES = ("float16", "float32")


def network_features(
    network: keras.Model,
    images: Iterable[np.ndarray],
    kind: str,
    *,
    path: str | os.PathLike,
    count: int | None = None,
    batch_size: int = 16,
    dtype: str = "float16",
) -> np.ndarray:
    """Writes what the network makes of every unit and returns it memory-mapped.

    Args:
        network: For "predictions" images (batch, height, width, channel) -> logits (batch, height, width, class). For
            "encoder_map" and "pooled" images -> map (batch, height, width, channel), for instance of
            `models.encoder_maps(network, feature_decoder_index)`.
        images: (height, width, channel) float32 of each unit: an array, another sequence, or an iterator.
        kind: "predictions", the softmax maps; "encoder_map", the map as it is; "pooled", its mean over the pixels.
        path: Of the .npy file.
        count: Units, where `images` has no length.
        batch_size: Units at a time.
        dtype: "float16" as published, or "float32".

    Returns:
        (N, D): D is height x width x class or channel, "pooled" channel.

    Raises:
        ConfigError: unknown kind or dtype; another number of images than said.
        FewSliceError: values that are not finite, or beyond float16; the file system refuses.

    Source: settings `inf_train_type` and `feature_decoder_index` of Vepa et al., 2024,
    https://arxiv.org/abs/2411.15763. The pooled ones are ours, for strategies whose work grows with D.
    """
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind of features", kind, KINDS))
    if dtype not in _DTYPES:
        raise ConfigError(unknown_name("dtype", dtype, _DTYPES))

    def rows(batch: np.ndarray) -> np.ndarray:
        values = np.asarray(network.predict_on_batch(batch), np.float32)
        if kind == POOLED:
            return values.mean(axis=(1, 2))
        return softmax(values) if kind == PREDICTIONS else values

    writer = _Writer(Path(path), images, count=count, dtype=dtype, title=f"Features ({kind})")
    return writer.write(rows, batch_size)


def gradient_embeddings(
    network: keras.Model,
    images: Iterable[np.ndarray],
    *,
    path: str | os.PathLike,
    count: int | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """Writes the gradient embedding of every unit, for BADGE, and returns them memory-mapped.

    It is the gradient with respect to the kernel of the last convolution of the unit's mean cross-entropy, with the
    most probable class y of each pixel as its label: the mean over pixels of (p - onehot(y)) x features under the
    kernel, zeros outside the image.

    Args:
        network: Images (batch, height, width, channel) -> logits (batch, height, width, class), which come straight out
            of a convolution with stride 1, for instance of `models.build_unet` or `models.main_branch`.
        images: (height, width, channel) float32 of each unit: an array, another sequence, or an iterator.
        path: Of the .npy file.
        count: Units, where `images` has no length.
        batch_size: Units at a time.

    Returns:
        (N, E) float32, E is kernel height x width x features x classes: 576 for 3x3, 16 features and 4 classes.

    Raises:
        ConfigError: a network that ends otherwise; another number of images than said.
        FewSliceError: values that are not finite; the file system refuses.

    Source: Ash et al., 2020, https://arxiv.org/abs/1906.03671, equation 1, where an example has one label; here it has
    one per pixel.

    Notes:
        Mean or sum over pixels does not matter where all images have one size: BADGE draws in proportion to squared
        distances, and a common factor cancels. Opposite gradients of two pixels cancel, as they would in a
        training step on that unit; sums of the pixels' lengths would be blind to that. A bias has no part, as
        published.
    """
    last, features = _last_convolution(network)
    both = keras.Model(network.inputs[0], [features, network.outputs[0]], name="last_convolution")

    def rows(batch: np.ndarray) -> np.ndarray:
        features, logits = (np.asarray(values, np.float32) for values in both.predict_on_batch(batch))
        return kernel_gradients(features, logits, last.kernel_size)

    writer = _Writer(Path(path), images, count=count, dtype="float32", title="Gradients of the pool")
    return writer.write(rows, batch_size)


def kernel_gradients(features: np.ndarray, logits: np.ndarray, kernel_size: tuple[int, int]) -> np.ndarray:
    """Returns the gradients of the mean cross-entropy of each image with its most probable classes.

    Args:
        features: (n, height, width, F) input of the convolution.
        logits: (n, height, width, C) its output.
        kernel_size: Odd or even sides; the padding is Keras' "same".

    Returns:
        (n, kernel height, kernel width, F, C) float32.
    """
    error = softmax(logits)
    best = error.argmax(axis=-1)[..., None]
    np.put_along_axis(error, best, np.take_along_axis(error, best, axis=-1) - 1.0, axis=-1)
    height, width = features.shape[1:3]
    before = [(side - 1) // 2 for side in kernel_size]
    pads = [(first, side - 1 - first) for first, side in zip(before, kernel_size, strict=True)]
    padded = np.pad(features, [(0, 0), *pads, (0, 0)])
    error = error.reshape(len(error), height * width, -1)
    found = np.empty((len(features), *kernel_size, features.shape[-1], error.shape[-1]), np.float32)
    for row, column in np.ndindex(*kernel_size):
        shifted = padded[:, row : row + height, column : column + width].reshape(len(features), height * width, -1)
        found[:, row, column] = np.matmul(shifted.transpose(0, 2, 1), error) / (height * width)
    return found


def _last_convolution(network: keras.Model) -> tuple[keras.layers.Conv2D, keras.KerasTensor]:
    """Returns the convolution that the logits come out of, and what goes into it."""
    outputs = network.outputs
    layer, node, _ = outputs[0]._keras_history
    is_plain = (
        len(outputs) == 1
        and isinstance(layer, keras.layers.Conv2D)
        and not isinstance(layer, keras.layers.Conv2DTranspose)
        and layer.strides == (1, 1)
        and layer.dilation_rate == (1, 1)
        and layer.padding == "same"
        and layer.groups == 1
        and layer.activation is keras.activations.linear
    )
    if not is_plain:
        raise ConfigError(
            "Gradient embeddings need logits that come straight out of a convolution with stride 1. Found in "
            f"{network.name!r}: {len(outputs)} output(s) of {type(layer).__name__}. Give the main branch of a network "
            "with two."
        )
    return layer, layer._inbound_nodes[node].input_tensors[0]


class _Writer:
    """Rows of a new .npy file, batch by batch."""

    def __init__(self, path: Path, images: Iterable[np.ndarray], *, count: int | None, dtype: str, title: str):
        if path.suffix != ".npy":
            raise ConfigError(f"The file must end in .npy. Received: {path}")
        if count is None:
            if not hasattr(images, "__len__"):
                raise ConfigError("Say by `count` how many units there are: the images have no length.")
            count = len(images)
        if count < 1:
            raise ConfigError("The pool holds no unit.")
        self.path, self.images, self.count, self.dtype, self.title = path, images, count, dtype, title

    def write(self, rows: Callable[[np.ndarray], np.ndarray], batch_size: int) -> np.ndarray:
        with files.atomic_path(self.path) as temporary, Progress(self.count, self.title) as line:
            mapped, done = None, 0
            for batch, count in padded_batches(self.images, batch_size):
                values = rows(batch)[:count].reshape(count, -1)
                if mapped is None:
                    shape = (self.count, values.shape[1])
                    mapped = np.lib.format.open_memmap(temporary, "w+", dtype=self.dtype, shape=shape)
                if done + count > self.count:
                    raise ConfigError(f"There are more images than the {self.count} units that were announced.")
                with np.errstate(over="ignore"):
                    mapped[done : done + count] = values
                bad = np.flatnonzero(~np.isfinite(mapped[done : done + count]).all(axis=1))
                if len(bad):
                    raise FewSliceError(
                        f"What the network makes of unit {done + bad[0]} of the pool is not finite in {self.dtype}. "
                        "Look at this image, or train the network with a lower learning rate."
                    )
                done += count
                line.update(count)
            if done != self.count:
                raise ConfigError(f"There are {done} images for the {self.count} units that were announced.")
            mapped.flush()
        return np.load(self.path, mmap_mode="r", allow_pickle=False)
