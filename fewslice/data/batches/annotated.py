"""Training batches from the slices that were annotated so far, with scribbles or masks.

Each step's batch is a pure function of (seed, step): the slices are shuffled anew for every epoch, without replacement.

Notes:
    The published loader makes the last batch of an epoch smaller, and every batch where there are fewer slices than
    its size. Here the next epoch follows within the batch, so that all batches have one size and the network is
    compiled once; with few slices, one may occur several times in a batch, each time augmented by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator

_ORDER = 2**31 - 4  # step number from which the order of an epoch is drawn; no training step
Source = Callable[[Any], np.ndarray] | Any
Augmentation = Callable[..., tuple[np.ndarray, np.ndarray]]


class AnnotatedBatch(NamedTuple):
    """Rows of a batch.

    Attributes:
        images: (B, H, W, C) float32.
        labels: (B, H, W) int32: class of each pixel, or the ignore value.
        mixing: Share of the first decoder in the pseudo-label of `losses.DynamicPseudoLabel`, uniform in [0, 1).
        units: What each row was made from.
    """

    images: np.ndarray
    labels: np.ndarray
    mixing: float
    units: list


def units_of_step(seed: int, step: int, count: int, batch_size: int) -> np.ndarray:
    """Returns which units a step sees: the next `batch_size` of one shuffled epoch after the other.

    Args:
        seed: Random seed.
        step: Training step, from 0.
        count: Number of units.
        batch_size: Units of a batch, more or fewer than there are.

    Returns:
        (batch_size,) int64 positions, 0 to count - 1.

    Raises:
        ConfigError: no units, or an empty batch.
    """
    if count < 1 or batch_size < 1:
        raise ConfigError(
            f"A batch needs annotated slices and a size. Received: {count} slices, batch size {batch_size}"
        )
    places = step * batch_size + np.arange(batch_size)
    epochs, positions = np.divmod(places, count)
    units = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        units[chosen] = generator(seed, int(epoch), _ORDER).permutation(count)[positions[chosen]]
    return units


def annotated_batch(
    rng: np.random.Generator,
    images: Source,
    annotations: Source,
    units: Sequence[Hashable],
    *,
    augmentation: Augmentation | None = None,
    ignore_value: int | None = None,
) -> AnnotatedBatch:
    """Makes a batch of annotated slices.

    Args:
        rng: Draws the share of the mixture, then the augmentation.
        images: Unit -> (H, W) or (H, W, C); a function, or anything that `units` index.
        annotations: Unit -> (H, W) integers, likewise.
        units: The units of the batch.
        augmentation: For instance `fewslice.augment.rot_flip.RotFlip()`; None changes nothing.
        ignore_value: Label of pixels without annotation, which is also what augmentation fills in; None for masks,
            which it fills with 0.

    Raises:
        ConfigError: no units; slices that differ in size; an annotation that does not fit its slice.
    """
    if len(units) == 0:
        raise ConfigError("A batch needs annotated slices. Received: none.")
    pictures = [np.asarray(_of(images, unit), np.float32) for unit in units]
    labels = [np.asarray(_of(annotations, unit)) for unit in units]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        raise ConfigError(f"Slices of one batch must have one size. Found: {sorted(shapes)}. Prepare the data again.")
    for unit, picture, label in zip(units, pictures, labels, strict=True):
        if label.shape != picture.shape[:2] or label.dtype.kind not in "iu":
            raise ConfigError(
                f"The annotation of slice {unit!r} must hold one integer for each of its {picture.shape[:2]} pixels. "
                f"Found: {label.dtype} {label.shape}. Prepare the data again."
            )
    stacked = np.stack(pictures)
    stacked = stacked if stacked.ndim == 4 else stacked[..., None]
    classes = np.stack(labels).astype(np.int32)
    mixing = float(rng.random())
    if augmentation is not None:
        stacked, classes = augmentation(rng, stacked, classes, label_fill=0 if ignore_value is None else ignore_value)
    return AnnotatedBatch(stacked, classes, mixing, list(units))


def _of(source: Source, unit: Any) -> np.ndarray:
    return source(unit) if callable(source) else source[unit]


class AnnotatedSlices:
    """The batches of all steps of a training on some annotated slices.

    Args:
        images: See `annotated_batch`.
        annotations: See `annotated_batch`.
        units: All annotated units; their order is part of what the batches depend on.
        seed: Random seed.
        batch_size: Slices of a batch.
        augmentation: See `annotated_batch`.
        ignore_value: See `annotated_batch`.

    Raises:
        ConfigError: no units, or an empty batch.
    """

    def __init__(
        self,
        images: Source,
        annotations: Source,
        units: Sequence[Hashable],
        *,
        seed: int,
        batch_size: int = 6,
        augmentation: Augmentation | None = None,
        ignore_value: int | None = None,
    ):
        self._images, self._annotations, self._units = images, annotations, list(units)
        self._seed, self._batch_size = seed, batch_size
        self._options = {"augmentation": augmentation, "ignore_value": ignore_value}
        self.units(0)

    def units(self, step: int) -> list:
        """Returns the units that a step sees."""
        positions = units_of_step(self._seed, step, len(self._units), self._batch_size)
        return [self._units[position] for position in positions]

    def batch(self, step: int) -> AnnotatedBatch:
        """Returns the batch of a step."""
        rng = generator(self._seed, 0, step)
        return annotated_batch(rng, self._images, self._annotations, self.units(step), **self._options)
