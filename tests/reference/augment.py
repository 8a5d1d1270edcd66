"""Plain loops over the rules of the augmentations, in float64. Slow and obvious; imports nothing of ours."""

from __future__ import annotations

import math

import numpy as np


def _mirror(index: int, size: int) -> int:
    """Index outside an axis, mirrored without repeating the edge: -1 -> 1, size -> size - 2."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def resize_linear(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Linear resize with half-pixel centres and mirrored borders."""
    rows, columns = image.shape
    out = np.zeros(shape)
    for r in range(shape[0]):
        y = (r + 0.5) * rows / shape[0] - 0.5
        for c in range(shape[1]):
            x = (c + 0.5) * columns / shape[1] - 0.5
            i, j = math.floor(y), math.floor(x)
            for di, wy in ((0, 1 - (y - i)), (1, y - i)):
                for dj, wx in ((0, 1 - (x - j)), (1, x - j)):
                    out[r, c] += wy * wx * image[_mirror(i + di, rows), _mirror(j + dj, columns)]
    return out


def crop_and_resize(image: np.ndarray, row: int, column: int, box: tuple[int, int]) -> np.ndarray:
    """One box of an image, cut off at the border, enlarged to the image's size."""
    rows = [image[r] for r in range(row, min(row + box[0], image.shape[0]))]
    window = np.array([[line[c] for c in range(column, min(column + box[1], image.shape[1]))] for line in rows])
    return resize_linear(window, image.shape)


def brightness_contrast(image: np.ndarray, delta: float, factor: float) -> np.ndarray:
    """Brightness first, then contrast about the mean of the brightened image."""
    brighter = image.astype(np.float64) + delta
    mean = sum(float(value) for value in brighter.ravel()) / brighter.size
    return (brighter - mean) * factor + mean


def rotate(image: np.ndarray, label: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotation about the centre, image linear, label nearest, 0 from outside."""
    height, width = image.shape
    angle = math.radians(degrees)
    out, out_label = np.zeros(image.shape), np.zeros_like(label)
    for r in range(height):
        for c in range(width):
            dy, dx = r - (height - 1) / 2, c - (width - 1) / 2
            y = math.cos(angle) * dy + math.sin(angle) * dx + (height - 1) / 2
            x = -math.sin(angle) * dy + math.cos(angle) * dx + (width - 1) / 2
            if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
                continue
            out[r, c] = sample(image, y, x)
            out_label[r, c] = label[math.floor(y + 0.5), math.floor(x + 0.5)]
    return out, out_label


def sample(image: np.ndarray, y: float, x: float) -> float:
    """Bilinear sample; points outside take the nearest edge point."""
    height, width = image.shape
    i = min(max(math.floor(y), 0), height - 2)
    j = min(max(math.floor(x), 0), width - 2)
    v, u = min(max(y - i, 0.0), 1.0), min(max(x - j, 0.0), 1.0)
    top = (1 - u) * image[i, j] + u * image[i, j + 1]
    bottom = (1 - u) * image[i + 1, j] + u * image[i + 1, j + 1]
    return float((1 - v) * top + v * bottom)


def scale(image: np.ndarray, label: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Scaling with zeros blended in from outside, then centre crop or zero pad to the old size."""
    new = [round(factor * side) for side in image.shape]
    scaled, scaled_label = np.zeros(new), np.zeros(new, label.dtype)
    for r in range(new[0]):
        y = (r + 0.5) * image.shape[0] / new[0] - 0.5
        for c in range(new[1]):
            x = (c + 0.5) * image.shape[1] / new[1] - 0.5
            i, j = math.floor(y), math.floor(x)
            for k, wy in ((i, 1 - (y - i)), (i + 1, y - i)):
                for m, wx in ((j, 1 - (x - j)), (j + 1, x - j)):
                    if 0 <= k < image.shape[0] and 0 <= m < image.shape[1]:
                        scaled[r, c] += wy * wx * image[k, m]
            scaled_label[r, c] = label[max(math.ceil(y - 0.5), 0), max(math.ceil(x - 0.5), 0)]
    scaled = np.minimum(np.maximum(scaled, image.min()), image.max())
    out, out_label = np.zeros(image.shape), np.zeros_like(label)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            y, x = (
                position + (n - side) // 2 if n > side else position - (side - n) // 2
                for position, n, side in zip((r, c), new, image.shape, strict=True)
            )
            if 0 <= y < new[0] and 0 <= x < new[1]:
                out[r, c], out_label[r, c] = scaled[y, x], scaled_label[y, x]
    return out, out_label


def _basis(x: float) -> float:
    """Cubic B-spline."""
    x = abs(x)
    if x < 1:
        return 2 / 3 - x * x + x**3 / 2
    return (2 - x) ** 3 / 6 if x < 2 else 0.0


def _spline(values: np.ndarray, count: int) -> np.ndarray:
    """Resizes a line by the cubic spline through its values, mirrored at both ends."""
    size = len(values)
    system = np.zeros((size, size))
    for i in range(size):
        for k in (i - 1, i, i + 1):
            system[i, _mirror(k, size)] += _basis(i - k)
    coefficients = np.linalg.solve(system, values)
    out = np.zeros(count)
    for n in range(count):
        x = (n + 0.5) * size / count - 0.5
        for k in range(math.floor(x) - 2, math.floor(x) + 4):
            out[n] += coefficients[_mirror(k, size)] * _basis(x - k)
    return out


def enlarge_grid(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Cubic-spline enlargement of one grid, clipped to the range of the grid."""
    half = np.array([_spline(row, shape[1]) for row in grid])
    full = np.array([_spline(half[:, c], shape[0]) for c in range(shape[1])]).T
    return np.minimum(np.maximum(full, grid.min()), grid.max())


def warp(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """out[r, c] = image at (r - field[0], c - field[1])."""
    out = np.zeros(image.shape)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            out[r, c] = sample(image, r - float(field[0, r, c]), c - float(field[1, r, c]))
    return out


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Direct sum over a square window of ceil(3 sigma) pixels on each side; the edge pixels go on outside."""
    radius = math.ceil(3 * sigma)
    taps = {k: math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)}
    total = sum(taps.values())
    height, width = image.shape
    out = np.zeros(image.shape)
    for r in range(height):
        for c in range(width):
            for i, wy in taps.items():
                for j, wx in taps.items():
                    y, x = min(max(r + i, 0), height - 1), min(max(c + j, 0), width - 1)
                    out[r, c] += wy * wx / total**2 * image[y, x]
    return out
