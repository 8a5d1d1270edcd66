"""Preprocessing as plain loops over pixels, written from the definitions; no import from our packages."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def percentile(values, q: float) -> float:
    """Linear interpolation between order statistics: position q/100 * (n - 1)."""
    ordered = sorted(float(value) for value in np.ravel(values))
    position = q / 100 * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def smooth_line(line: list[float], sigma: float) -> list[float]:
    """Gaussian filter, truncated at 4 sigma, zero outside."""
    if sigma <= 0:
        return list(line)
    radius = int(4 * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    total = sum(weights)
    result = []
    for i in range(len(line)):
        value = 0.0
        for k in range(-radius, radius + 1):
            if 0 <= i + k < len(line):
                value += weights[k + radius] / total * line[i + k]
        result.append(value)
    return result


def resize_line(line: list[float], new_size: int, smooth: bool) -> list[float]:
    """Linear interpolation between pixel centres, zero outside."""
    size = len(line)
    if smooth:
        line = smooth_line(line, (size / new_size - 1) / 2)
    result = []
    for o in range(new_size):
        position = (o + 0.5) * size / new_size - 0.5
        left = math.floor(position)
        value = 0.0
        for i, weight in ((left, 1 - (position - left)), (left + 1, position - left)):
            if 0 <= i < size:
                value += weight * line[i]
        result.append(value)
    return result


def resize_slice(image: np.ndarray, new_shape, smooth: bool) -> np.ndarray:
    """(X, Y) -> new_shape, one axis after the other, then limited to the range of the input."""
    rows = np.array([resize_line(list(column), new_shape[0], smooth) for column in image.T]).T
    result = np.array([resize_line(list(row), new_shape[1], smooth) for row in rows])
    return np.minimum(np.maximum(result, image.min()), image.max())


def resize_label(label: np.ndarray, new_shape) -> np.ndarray:
    """Nearest pixel centre, halves upwards."""
    result = np.zeros(new_shape, label.dtype)
    for i in range(new_shape[0]):
        for j in range(new_shape[1]):
            x = math.floor((i + 0.5) * label.shape[0] / new_shape[0])
            y = math.floor((j + 0.5) * label.shape[1] / new_shape[1])
            result[i, j] = label[x, y]
    return result


def resize_label_by_area(label: np.ndarray, new_shape) -> np.ndarray:
    """The value that covers most of a pixel, in exact fractions; of equal ones the lowest where i + j is even."""
    result = np.zeros(new_shape, label.dtype)
    for i in range(new_shape[0]):
        for j in range(new_shape[1]):
            areas = {}
            for x, height in _covered(i, label.shape[0], new_shape[0]):
                for y, width in _covered(j, label.shape[1], new_shape[1]):
                    value = int(label[x, y])
                    areas[value] = areas.get(value, 0) + height * width
            largest = [value for value in areas if areas[value] == max(areas.values())]
            result[i, j] = max(largest) if (i + j) % 2 else min(largest)
    return result


def _covered(index: int, size: int, new_size: int):
    start, stop = Fraction(index * size, new_size), Fraction((index + 1) * size, new_size)
    for pixel in range(size):
        length = min(stop, pixel + 1) - max(start, pixel)
        if length > 0:
            yield pixel, length


def crop_or_pad(image: np.ndarray, size) -> np.ndarray:
    """Centred crop or zero padding of the two first axes, pixel by pixel."""
    shift = []
    for n, wanted in zip(image.shape[:2], size, strict=True):
        shift.append((n - wanted) // 2 if n > wanted else -((wanted - n) // 2))
    result = np.zeros((*size, *image.shape[2:]), image.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            x, y = i + shift[0], j + shift[1]
            if 0 <= x < image.shape[0] and 0 <= y < image.shape[1]:
                result[i, j] = image[x, y]
    return result


def restore_slice(maps: np.ndarray, rescaled_shape, native_shape, smooth: bool) -> np.ndarray:
    """(NX, NY, K) -> (X, Y) label: undo the crop, resize every class map, arg-max (first of equal values)."""
    placed = crop_or_pad(maps, rescaled_shape)
    low, high = placed.min(), placed.max()
    resized = []
    for k in range(maps.shape[-1]):
        plane = placed[..., k]
        rows = np.array([resize_line(list(column), native_shape[0], smooth) for column in plane.T]).T
        full = np.array([resize_line(list(row), native_shape[1], smooth) for row in rows])
        resized.append(np.minimum(np.maximum(full, low), high))
    return np.argmax(np.stack(resized, axis=-1), axis=-1)
