"""Training batches from the slices that were annotated so far, with scribbles or masks.

Each step's batch is a pure function of (seed, step): the slices are shuffled anew for every epoch, without replacement.

Notes:
    The published loader makes the last batch of an epoch smaller, and every batch where there are fewer slices than
    its size. Here the next epoch follows within the batch, so that all batches have one size and the network is
    compiled once; with few slices, one may occur several times in a batch, each time augmented by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator
from fewslice.data.volume import with_channel_axis

ORDER = 2**31 - 4  # step number from which the order of an epoch is drawn; no training step
Augmentation = Callable[..., tuple[np.ndarray, np.ndarray]]


class AnnotatedBatch(NamedTuple):
    """Rows of a batch."""

    images: np.ndarray  # (B, H, W, C) float32
    labels: np.ndarray  # (B, H, W) int32: class of each pixel, or the ignore value
    mixing: float  # share of the first decoder in the pseudo-label of `losses.DynamicPseudoLabel`, uniform in [0, 1)


def units_of_step(seed: int, step: int, count: int, batch_size: int) -> np.ndarray:
    """Returns the units of a step: the next `batch_size` of one shuffled epoch after the other.

    Steps count from 0; `count` units may be more or fewer than a batch.

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
        units[chosen] = generator(seed, int(epoch), ORDER).permutation(count)[positions[chosen]]
    return units


class AnnotatedSlices:
    """The batches of all steps of a training on some annotated slices.

    Args:
        image_of: Unit -> (H, W) or (H, W, C) image.
        annotation_of: Unit -> (H, W) integers.
        units: All annotated units; their order is part of what the batches depend on.
        augmentation: For instance `fewslice.augment.rot_flip.rot_flip`; None changes nothing.
        ignore_value: Label of pixels without annotation, which is also what augmentation fills in; None for masks,
            which it fills with 0.

    Raises:
        ConfigError: no units, or an empty batch.
    """

    def __init__(
        self,
        image_of: Callable[[Hashable], np.ndarray],
        annotation_of: Callable[[Hashable], np.ndarray],
        units: Sequence[Hashable],
        *,
        seed: int,
        batch_size: int = 6,
        augmentation: Augmentation | None = None,
        ignore_value: int | None = None,
    ):
        self._image_of, self._annotation_of, self._units = image_of, annotation_of, list(units)
        self._seed, self._batch_size, self._augmentation = seed, batch_size, augmentation
        self._label_fill = 0 if ignore_value is None else ignore_value
        self.units(0)

    def units(self, step: int) -> list:
        """Returns the units that a step sees."""
        positions = units_of_step(self._seed, step, len(self._units), self._batch_size)
        return [self._units[position] for position in positions]

    def batch(self, step: int) -> AnnotatedBatch:
        """Returns the batch of a step; its generator draws the share of the mixture, then the augmentation.

        Raises:
            ConfigError: slices that differ in size; an annotation that does not fit its slice.
        """
        rng, units = generator(self._seed, 0, step), self.units(step)
        images = [np.asarray(self._image_of(unit), np.float32) for unit in units]
        labels = [np.asarray(self._annotation_of(unit)) for unit in units]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise ConfigError(
                f"Slices of one batch must have one size. Found: {sorted(shapes)}. Prepare the data again."
            )
        for unit, image, label in zip(units, images, labels, strict=True):
            if label.shape != image.shape[:2] or label.dtype.kind not in "iu":
                raise ConfigError(
                    f"The annotation of slice {unit!r} must hold one integer for each of its {image.shape[:2]} pixels. "
                    f"Found: {label.dtype} {label.shape}. Prepare the data again."
                )
        batch, classes = with_channel_axis(np.stack(images)), np.stack(labels).astype(np.int32)
        mixing = float(rng.random())
        if self._augmentation is not None:
            batch, classes = self._augmentation(rng, batch, classes, label_fill=self._label_fill)
        return AnnotatedBatch(batch, classes, mixing)
