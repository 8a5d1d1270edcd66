"""From a scan to its labels by a network, which enters as a function: the way of every prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fewslice.core.errors import ConfigError, TrainingError
from fewslice.data.volume import Volume, image_to_grid, label_from_grid, refuse_large_grid, with_channel_axis

if TYPE_CHECKING:
    from fewslice.data.cache import PreparedVolume
    from fewslice.settings.datasets import DatasetConfig

Predict = Callable[[np.ndarray], np.ndarray]


def segment(
    volume: Volume, predict: Predict, dataset: DatasetConfig, *, largest: bool = False, with_maps: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Segments a scan on its own grid.

    Args:
        volume: Its `image` and `spacing_mm` count.
        predict: (Z, NX, NY, C) float32 -> class probabilities (Z, NX, NY, K).
        dataset: How it is prepared.
        largest: Keep the largest connected part of each structure alone.

    Returns:
        (X, Y, Z) uint8 label, and `with_maps` the class probabilities (X, Y, Z, K) float32.

    Raises:
        ConfigError: the network's grid of this scan takes more memory than the limit.
        TrainingError: the prediction holds NaN or infinite values.
    """
    refuse_large_grid(volume, dataset)
    grid = image_to_grid(volume.image, volume.spacing_mm, dataset)
    where, name = (volume.image.shape[:3], volume.spacing_mm), volume.case.case_id
    probabilities = _probabilities(grid, name, predict, dataset)
    label = label_from_grid(probabilities, *where, dataset)
    label = largest_components(label) if largest else label
    return label, label_from_grid(probabilities, *where, dataset, as_label=False) if with_maps else None


def predict_volume(
    prepared: PreparedVolume, predict: Predict, *, dataset: DatasetConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Predicts one volume on the network's grid and on the original one.

    Args:
        prepared: The volume on the network's grid; its case, spacing and native shape.
        predict, dataset: As in `segment`.

    Returns:
        Probabilities (Z, NX, NY, K), and the label (X, Y, Z) uint8.

    Raises:
        RuntimeError: the prediction has the wrong shape.
        TrainingError: the prediction holds NaN or infinite values.
    """
    probabilities = _probabilities(prepared.image, prepared.case.case_id, predict, dataset)
    return probabilities, label_from_grid(probabilities, prepared.native_shape, prepared.spacing_mm, dataset)


def _probabilities(image: np.ndarray, name: str, predict: Predict, dataset: DatasetConfig) -> np.ndarray:
    image = with_channel_axis(np.asarray(image, np.float32))
    probabilities = np.asarray(predict(image))
    expected = (*image.shape[:3], dataset.num_classes)
    if probabilities.shape != expected:
        raise RuntimeError(f"`predict` must return shape {expected}. Received: {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"The network's output for volume {name} holds NaN or infinite values. "
            "Its weights are unusable; lower the learning rate or choose an earlier checkpoint."
        )
    return probabilities


def class_codes(dataset: DatasetConfig, *, as_in_files: bool) -> np.ndarray:
    """Returns the (K,) number of each class in written labels: 0, 1, 2, ..., or the lowest code of `label_map`.

    Raises:
        ConfigError: two classes have one code.
    """
    codes = list(range(dataset.num_classes))
    for code, label in sorted(dataset.label_map, reverse=True) if as_in_files else ():
        codes[label] = code if label else 0
    if len(set(codes)) < len(codes):
        raise ConfigError(f"--label_codes: two classes would have one code in {codes}. Leave this flag out.")
    wide = np.array(codes)
    return wide.astype(np.int32 if wide.min() < 0 else np.min_scalar_type(wide.max()))


def largest_components(label: np.ndarray) -> np.ndarray:
    """Returns a label (X, Y, Z) with the largest part of each structure alone; parts are voxels that touch by a face.

    Of parts of equal size the one with the first voxel stays. Every voxel points to one of its part with a lower
    number, until all point to the lowest (Zhang, Azad and Hu, 2020, https://arxiv.org/abs/1910.05971).
    """
    result = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        mask = label == value
        numbers = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
        pairs = []
        for axis in range(3):
            places = np.arange(numbers.shape[axis] - 1)
            low, high = numbers.take(places, axis), numbers.take(places + 1, axis)
            both = (low >= 0) & (high >= 0)
            pairs.append(np.stack([low[both], high[both]]))
        one, other = np.concatenate(pairs, axis=1)
        parent, before = np.arange(np.count_nonzero(mask)), None
        while before is None or not np.array_equal(parent, before):
            before = parent.copy()
            np.minimum.at(parent, before[one], before[other])
            np.minimum.at(parent, before[other], before[one])
            parent = np.minimum(parent, parent[parent])
        parent = parent[parent]
        sizes = np.bincount(parent)
        result[mask] = np.where(parent == sizes.argmax(), value, 0)
    return result
