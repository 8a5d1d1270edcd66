"""Features of the units of a pool: embeddings of an encoder, maps and gradients of a segmentation network.

A run of group contrastive training gives h, the input of its projection head (Vepa et al., 2024,
https://arxiv.org/abs/2411.15763); any run with the U-Net the global average of its encoder's bottleneck map. Embeddings
are not scaled to length 1. Pixels serve as embeddings, too. In memory is one batch; the rows are on disk.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from fewslice.core import backend
from fewslice.core.errors import ConfigError
from fewslice.core.rowfile import write_rows
from fewslice.settings.datasets import DatasetConfig
from fewslice.train.encoder_runs import PIXELS, EncoderRun
from fewslice.train.networks import embedding_network
from fewslice.train.predict import at_once, padded_batches, softmax

Images = Sequence[np.ndarray]
Rows = Callable[[np.ndarray], np.ndarray]


def embed(
    run: EncoderRun | str,
    images: Images,
    dataset: DatasetConfig,
    *,
    key: dict[str, Any],
    batch_size: int,
    path: str | os.PathLike,
    mixed_precision: bool = False,
) -> np.ndarray:
    """Returns the embeddings of all images, (N, D) float32, memory-mapped.

    D is 512 or 2048 for a ResNet, 128 for a U-Net, all pixel values for "pixels". A finished file of the same network
    and images is opened again, an unfinished one is resumed.

    Args:
        run: The encoder, of `find_encoder`; or "pixels".
        images: (rows, columns, channels) float32 of each unit.
        key: Identifies the images, as JSON values.
        path: Of the .npy file; a .json beside it says what it was made of.
        mixed_precision: Compute in bfloat16.

    Raises:
        ConfigError: no encoder, or weights that are not those of one.
        DataError: its weights are damaged.
        FewSliceError: the file system refuses.
    """
    if run is None:
        raise ConfigError("Without an encoder there are no embeddings.")
    key = {"encoder": run.digest if isinstance(run, EncoderRun) else run, **key, "bfloat16": bool(mixed_precision)}
    encode = functools.cache(lambda: _encoder(run, dataset, mixed_precision))  # not built where the file is finished
    return _by_batches(lambda batch: encode()(batch), images, path, batch_size, key=key, title="Embedding the pool")


def _encoder(run: EncoderRun | str, dataset: DatasetConfig, mixed_precision: bool) -> Rows:
    """Returns the function (n, rows, columns, channels) -> (n, D) float32."""
    if run == PIXELS:
        return lambda images: images.reshape(len(images), -1)
    with backend.precision("mixed_bfloat16" if mixed_precision else "float32"):
        model = embedding_network(run, dataset)
    return lambda images: np.asarray(model.predict_on_batch(images), np.float32)


def network_features(
    network: keras.Model,
    images: Images,
    *,
    path: str | os.PathLike,
    batch_size: int = 16,
    reduce: Rows = lambda maps: maps,
) -> np.ndarray:
    """Writes what a network says of every unit and returns it memory-mapped, (N, D) float16.

    Args:
        network: Images (batch, *space, channel) -> maps (batch, *space, channel).
        images: (*space, channel) float32 of each unit.
        reduce: Float32 maps -> what is kept of them.

    Raises:
        FewSliceError: values that are not finite, or beyond float16; the file system refuses.
    """

    def rows(batch: np.ndarray) -> np.ndarray:
        return reduce(np.asarray(network.predict_on_batch(batch), np.float32))

    batch_size = at_once(network, batch_size)
    return _by_batches(rows, images, path, batch_size, dtype="float16", title="Features of the pool")


def gradient_embeddings(
    network: keras.Model, images: Images, *, path: str | os.PathLike, batch_size: int = 16
) -> np.ndarray:
    """Writes the gradient embedding of every unit, for BADGE, and returns them memory-mapped, (N, E) float32.

    It is the gradient with respect to the kernel of the last convolution of the unit's mean cross-entropy, with the
    most probable class y of each pixel as its label: the mean over pixels of (p - onehot(y)) x features under the
    kernel, zeros outside the image. E is kernel height x width x features x classes: 576 for 3x3, 16 features and 4
    classes.

    Args:
        network: Images (batch, height, width, channel) -> logits (batch, height, width, class), which come straight out
            of a convolution with stride 1, for instance of `models.build_unet` or `models.main_branch`.
        images: (height, width, channel) float32 of each unit.

    Raises:
        ConfigError: a network that ends otherwise.
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

    batch_size = at_once(network, batch_size)
    return _by_batches(rows, images, path, batch_size, dtype="float32", title="Gradients of the pool")


def _by_batches(rows: Rows, images: Images, path: str | os.PathLike, batch_size: int, **how: Any) -> np.ndarray:
    """Writes what `rows` makes of batches of images; `how`: see `write_rows`."""

    def blocks(done: int) -> Iterator[np.ndarray]:
        for batch, count in padded_batches((images[unit] for unit in range(done, len(images))), batch_size):
            yield rows(batch)[:count]

    return write_rows(path, len(images), blocks, **how)


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
