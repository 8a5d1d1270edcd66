"""From a network's logits to the class probabilities of a volume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

FLIPS = ((), (1,), (2,), (1, 2))  # axes of (slice, row, column, channel)


def predictor(
    model: keras.Model, batch_size: int, window: Sequence[int] | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function volume -> probabilities.

    Every call of the network has the same shape (the last chunk is filled up), so that it is compiled once.

    Args:
        model: Has `predict_on_batch`: images (batch, height, width, channel) -> logits (batch, height, width, class).
        window: Of a network of windows, see `sliding_window`.

    Returns:
        (Z, height, width, channel) float32 -> (Z, height, width, class) float32, sums to 1 over the classes.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        if window:
            return sliding_window(model.predict_on_batch, images, tuple(window), batch_size=batch_size)
        batches = padded_batches(images, batch_size)
        return np.concatenate(
            [softmax(np.asarray(model.predict_on_batch(filled)[:count], np.float32)) for filled, count in batches]
        )

    return predict


def ensemble(
    calls: Sequence[Callable[[np.ndarray], np.ndarray]], *, mirroring: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function volume -> mean of the probabilities of several such functions.

    Args:
        calls: (Z, height, width, channel) -> (Z, height, width, class).
        mirroring: Each is called four times: with the volume as it is, and flipped along rows, columns and both.
    """
    every = list(itertools.product(calls, FLIPS if mirroring else FLIPS[:1]))

    def predict(images: np.ndarray) -> np.ndarray:
        total = 0
        for call, axes in every:
            total = total + np.flip(call(np.flip(images, axes)), axes)
        return total / np.float32(len(every))

    return predict if len(every) > 1 else calls[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax of float logits over the last axis; in between it is the first, since NumPy is fast there."""
    return np.moveaxis(softmax_in_place(np.moveaxis(logits, -1, 0).copy()), 0, -1).copy()


def softmax_in_place(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the first axis, in the memory of the float logits."""
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def sliding_window(
    call: Callable[[np.ndarray], np.ndarray], image: np.ndarray, window: tuple[int, int, int], *, batch_size: int
) -> np.ndarray:
    """Returns the class probabilities of a volume, averaged over windows that overlap by half.

    In memory is one float32 array of the probabilities beside what the network needs.

    Args:
        call: Windows (batch, *window, channel) float32 -> logits (batch, *window, class). Every call has `batch_size`
            windows; the last batch ends in zeros.
        image: (slices, rows, columns, channels), maybe memory-mapped; where it is smaller than a window it is filled
            up with zeros.
        window: Voxels of a window along (slice, row, column).

    Returns:
        (slices, rows, columns, class) float32, sums to 1 over the classes.
    """
    image = np.asarray(image, np.float32)
    shape = image.shape[:3]
    missing = [(0, max(0, size - length)) for size, length in zip(window, shape, strict=True)]
    image = np.pad(image, [*missing, (0, 0)])
    starts = window_starts(shape, window)
    boxes = [tuple(slice(a, a + b) for a, b in zip(start, window, strict=True)) for start in starts]
    sums, counts = None, np.zeros((*image.shape[:3], 1), np.float32)
    done = 0
    for filled, count in padded_batches((image[box] for box in boxes), batch_size):
        probabilities = softmax(np.asarray(call(filled)[:count], np.float32))
        if sums is None:
            sums = np.zeros((*image.shape[:3], probabilities.shape[-1]), np.float32)
        for box, answer in zip(boxes[done : done + count], probabilities, strict=True):
            sums[box] += answer
            counts[box] += 1
        done += count
    return (sums / counts)[tuple(slice(0, length) for length in shape)]


def window_starts(shape: tuple[int, int, int], window: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Returns the first voxels of windows that cover a volume and overlap by at least half."""
    axes = []
    for length, size in zip(shape, window, strict=True):
        last = max(0, length - size)
        count = -(-last // max(1, size // 2)) + 1
        axes.append(sorted(set(np.linspace(0, last, count).round().astype(int).tolist())))
    return list(itertools.product(*axes))


def padded_batches(images: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches, so that a network is compiled once.

    Args:
        images: (height, width, channel) of each unit, or whatever else has a shape. A batch ends where it changes.
        size: Rows of a batch; the last one of a shape is filled up with zeros.

    Yields:
        (size, height, width, channel) float32, and how many rows are images.

    Example:
        >>> [(batch[:, 0].tolist(), count) for batch, count in padded_batches(np.ones((3, 1)), 2)]
        [([1.0, 1.0], 2), ([1.0, 0.0], 1)]
    """
    for shape, units in itertools.groupby(images, key=np.shape):
        while chunk := list(itertools.islice(units, size)):
            filled = np.zeros((size, *shape), np.float32)
            for place, image in enumerate(chunk):
                filled[place] = image
            yield filled, len(chunk)


def at_once(model: keras.Model, batch_size: int) -> int:
    """Returns how many images a network gets at a time: one where they may differ in size, else `batch_size`."""
    return 1 if None in model.input_shape[1:-1] else batch_size
