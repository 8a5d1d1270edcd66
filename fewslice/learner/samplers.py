"""Training batches from partial labels: slices on which something is annotated, parts of them, windows around it.

Each step's batch is a pure function of (seed, step): what is annotated is shuffled anew for every epoch.

Notes:
    The published loader makes the last batch of an epoch smaller, and every batch where there are fewer slices than
    its size. Here the next epoch follows within the batch (but not of crops), so that all batches have one size and the
    network is compiled once; with few slices, one may occur several times in a batch, each time augmented by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fewslice.active.labels import Labels
from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator

_ORDER = 2**31 - 4  # step number from which the order of an epoch is drawn; no training step
Augmentation = Callable[..., tuple[np.ndarray, np.ndarray]]


class Batches(Protocol):
    """The batches of all steps of a training."""

    def batch(self, step: int) -> tuple[np.ndarray, Any]:
        """Returns inputs and targets of a step."""

    def describe(self, step: int) -> list[int]:
        """Returns the pool indices of the units behind each row of a step's batch."""


def units_of_step(seed: int, step: int, count: int, batch_size: int) -> np.ndarray:
    """Returns the units of a step: the next `batch_size` of one shuffled epoch after the other.

    Steps count from 0; `count` units may be more or fewer than a batch.

    Returns:
        (batch_size,) int64 positions, 0 to count - 1.

    Raises:
        ConfigError: no units, or an empty batch.
    """
    if count < 1 or batch_size < 1:
        raise ConfigError(f"A batch needs annotated units and a size. Received: {count} units, batch size {batch_size}")
    epochs, positions = np.divmod(step * batch_size + np.arange(batch_size), count)
    units = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        units[chosen] = generator(seed, int(epoch), _ORDER).permutation(count)[positions[chosen]]
    return units


class SliceBatches:
    """Whole slices, every slice on which a unit lies once an epoch, in the order in which they were annotated.

    Args:
        labels: Everything annotated.
        images: (slices, rows, columns, channels) of each case.
        seed: Of order and augmentation.
        batch_size: Slices per step.
        augmentation: For instance `fewslice.augment.rot_flip.rot_flip`; it fills in the ignore value, or 0 where
            whole slices have a class in every pixel. None changes nothing.
        targets: (labels (B, H, W) int32, number in [0, 1)) -> targets of the loss.
    """

    def __init__(
        self,
        labels: Labels,
        images: Sequence[np.ndarray],
        *,
        seed: int,
        batch_size: int,
        augmentation: Augmentation | None = None,
        targets: Callable[[np.ndarray, float], Any] = lambda labels, mixing: labels,
    ):
        self._labels, self._images, self._targets, self._boxes = labels, images, targets, labels.boxes
        self._seed, self._batch_size, self._augmentation = seed, batch_size, augmentation
        self._places: dict[tuple[int, int], list[int]] = defaultdict(list)  # (case, slice) -> places of boxes
        for place, box in enumerate(self._boxes):
            for index in range(box.start[0], box.start[0] + box.size[0]):
                self._places[box.case, index].append(place)
        units = labels.units
        self._units = {key: int(units[places[0]]) for key, places in self._places.items()}
        is_whole = labels.is_complete and all(box.size[1:] == images[box.case].shape[1:3] for box in self._boxes)
        self._label_fill = 0 if is_whole else labels.ignore_value
        self._drawn(0)

    def batch(self, step: int) -> tuple[np.ndarray, Any]:
        """Returns the batch of a step; its generator draws the mixture's share, then the augmentation.

        Raises:
            ConfigError: slices that differ in size.
        """
        rng, keys = generator(self._seed, 0, step), self._drawn(step)
        images = [np.asarray(self._images[case][at], np.float32) for case, at in keys]
        if len(shapes := {image.shape for image in images}) > 1:
            raise ConfigError(
                f"Slices of one batch must have one size. Found: {sorted(shapes)}. Prepare the data again."
            )
        images, labels, mixing = np.stack(images), np.stack([*map(self._label, keys)]).astype(np.int32), rng.random()
        if self._augmentation is not None:
            images, labels = self._augmentation(rng, images, labels, label_fill=self._label_fill)
        return images, self._targets(labels, mixing)

    def describe(self, step: int) -> list[int]:
        return [self._units[key] for key in self._drawn(step)]

    def _drawn(self, step: int) -> list[tuple[int, int]]:
        """Returns the (case, slice) of each row of a step."""
        keys = list(self._places)
        return [keys[place] for place in units_of_step(self._seed, step, len(keys), self._batch_size)]

    def _label(self, key: tuple[int, int]) -> np.ndarray:
        """Returns the (rows, columns) uint8 labels of a slice, the ignore value outside of all boxes."""
        case, index = key
        known = np.full(self._images[case].shape[1:3], self._labels.ignore_value, np.uint8)
        for place in self._places[key]:
            box = self._boxes[place]
            _fill(known[box.slices[1:]], self._labels.labels(place)[index - box.start[0]], self._labels.ignore_value)
        return known


class CropBatches(SliceBatches):
    """Parts of slices, which may differ in size.

    In an epoch every slice on which a unit lies is drawn `repeats` times. The last batch of an epoch may be short.

    Args:
        labels, images: As in `SliceBatches`.
        crop: (rng, image (H, W, C), labels (H, W) uint8) -> both, as a part of one size.
        repeats: A fraction leaves some slices out.
        **how: `seed`, `batch_size` and `targets` as in `SliceBatches`.
    """

    def __init__(
        self,
        labels: Labels,
        images: Sequence[np.ndarray],
        *,
        crop: Callable[..., tuple[np.ndarray, np.ndarray]],
        repeats: float = 1,
        **how: Any,
    ):
        self._crop, self._repeats = crop, repeats
        super().__init__(labels, images, **how)

    def batch(self, step: int) -> tuple[np.ndarray, Any]:
        rng = generator(self._seed, 0, step)
        rows = [
            self._crop(rng, np.asarray(self._images[case][at], np.float32), self._label((case, at)))
            for case, at in self._drawn(step)
        ]
        images, labels = (np.stack(parts) for parts in zip(*rows, strict=True))
        return images, self._targets(labels.astype(np.int32), 0.0)

    def _drawn(self, step: int) -> list[tuple[int, int]]:
        keys, size = list(self._places), self._batch_size
        epoch, place = divmod(step, steps_of_epoch(len(keys), self._repeats, size))
        order = repeated_order(generator(self._seed, epoch, _ORDER), len(keys), self._repeats)
        return [keys[index] for index in order[place * size : (place + 1) * size]]


def repeated_order(rng: np.random.Generator, count: int, repeats: float) -> np.ndarray:
    """Returns the random order of an epoch: round(repeats x count) indices, each equally often, or once more or less.

    Of a fraction the published sampler always takes the first ones; here they are drawn anew.
    """
    return rng.permutation(np.resize(rng.permutation(count), max(1, round(repeats * count))))


def steps_of_epoch(count: int, repeats: float, batch_size: int) -> int:
    """Returns the batches of an epoch in which each of `count` images is drawn `repeats` times."""
    return -(-max(1, round(repeats * count)) // batch_size)


class WindowBatches(SliceBatches):
    """3D windows of one size, each around an annotated box that is drawn anew for every row.

    Every box is drawn once an epoch. A window holds the whole box, or lies in it where the box is larger, at a random
    place; it is filled up where the case is smaller.

    Args:
        labels, images: As in `SliceBatches`.
        window: Voxels along (slice, row, column).
        **how: `seed`, `batch_size` and `augmentation`, which fills in the ignore value, as in `SliceBatches`.
    """

    def __init__(self, labels: Labels, images: Sequence[np.ndarray], *, window: tuple[int, int, int], **how: Any):
        super().__init__(labels, images, **how)
        self._window, self._unit_of = np.asarray(window), labels.units
        self._of_case: dict[int, list[int]] = defaultdict(list)
        for place, box in enumerate(self._boxes):
            self._of_case[box.case].append(place)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = generator(self._seed, 0, step)
        rows = [self._row(rng, place) for place in self._drawn(step)]
        images, labels = (np.stack(parts) for parts in zip(*rows, strict=True))
        labels = labels.astype(np.int32)
        if self._augmentation is not None:
            images, labels = self._augmentation(rng, images, labels, label_fill=self._labels.ignore_value)
        return images, labels

    def describe(self, step: int) -> list[int]:
        return [int(self._unit_of[place]) for place in self._drawn(step)]

    def _drawn(self, step: int) -> np.ndarray:
        return units_of_step(self._seed, step, len(self._boxes), self._batch_size)

    def _row(self, rng: np.random.Generator, place: int) -> tuple[np.ndarray, np.ndarray]:
        box = self._boxes[place]
        image, start, size = self._images[box.case], np.array(box.start), np.array(box.size)
        shape, window = np.array(image.shape[:3]), self._window
        ends = np.stack([start, start + size - window])
        last = np.maximum(shape - window, 0)
        low, high = np.clip(ends.min(axis=0), 0, last), np.clip(ends.max(axis=0), 0, last)
        first = rng.integers(low, high, endpoint=True)
        stop = np.minimum(first + window, shape)
        inside = tuple(slice(a, b) for a, b in zip(first, stop, strict=True))
        filled = tuple(slice(0, count) for count in stop - first)
        picture = np.zeros((*window, image.shape[3]), np.float32)
        picture[filled] = image[inside]
        known = np.full(window, self._labels.ignore_value, np.uint8)
        for other in self._of_case[box.case]:
            self._copy(other, known, first, stop)
        return picture, known

    def _copy(self, place: int, known: np.ndarray, first: np.ndarray, stop: np.ndarray) -> None:
        """Puts the labels of a box into a window that reaches from `first` to `stop`."""
        box = self._boxes[place]
        start = np.array(box.start)
        low, high = np.maximum(first, start), np.minimum(stop, start + box.size)
        if (low < high).all():
            target, source = (
                tuple(slice(a, b) for a, b in zip(low - at, high - at, strict=True)) for at in (first, start)
            )
            _fill(known[target], self._labels.labels(place)[source], self._labels.ignore_value)


def _fill(target: np.ndarray, labels: np.ndarray, ignore_value: int) -> None:
    np.copyto(target, labels, where=labels != ignore_value)
