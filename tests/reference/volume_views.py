"""Views of a volume and their agreement as plain loops, in float64. Slow and obvious; imports nothing of ours."""

from __future__ import annotations

import math

import numpy as np

from tests.reference import augment


def view_slice(image: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """One (H, W) slice of a view."""
    label = np.zeros(image.shape, np.uint8)
    if kind == "rotation":
        return augment.rotate(image, label, amount)[0]
    if kind == "scaling":
        return augment.scale(image, label, amount)[0]
    return np.array([[image[r, image.shape[1] - 1 - c] for c in range(image.shape[1])] for r in range(len(image))])


def undo_slice(image: np.ndarray, kind: str, amount: float) -> np.ndarray:
    """One (H, W) slice of a view, back on the grid of the original."""
    if kind != "scaling":
        return view_slice(image, kind, -amount)
    out = np.zeros(image.shape)
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            for (i, j), weight in _neighbours(_scaled(r, image.shape[0], amount), _scaled(c, image.shape[1], amount)):
                if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                    out[r, c] += weight * image[i, j]
    return out


def visible(kind: str, amount: float, shape: tuple[int, int]) -> np.ndarray:
    """Which pixels of the original are interpolated from pixels of the view that show the original only."""
    shows = np.ones(shape, bool)
    out = np.ones(shape, bool)
    for r in range(shape[0]):
        for c in range(shape[1]):
            shows[r, c] = _inside(*_source(r, c, kind, amount, shape), shape)
    for r in range(shape[0]):
        for c in range(shape[1]):
            y, x = _seen_at(r, c, kind, amount, shape)
            lost = sum(weight for place, weight in _neighbours(y, x) if not (_inside(*place, shape) and shows[place]))
            out[r, c] = lost < 1e-4 and (kind == "scaling" or _inside(y, x, shape))
    return out


def f1_per_class(first: np.ndarray, second: np.ndarray, num_classes: int) -> list[float]:
    """F1 of every class between two label arrays; NaN where a class is in neither."""
    out = []
    for k in range(num_classes):
        both = one = 0
        for a, b in zip(first.ravel(), second.ravel(), strict=True):
            both += int(a == k and b == k)
            one += int((a == k) != (b == k))
        out.append(2 * both / (2 * both + one) if both + one else math.nan)
    return out


def _inside(y: float, x: float, shape: tuple[int, int]) -> bool:
    return 0 <= y <= shape[0] - 1 and 0 <= x <= shape[1] - 1


def _turned(r: int, c: int, degrees: float, shape: tuple[int, int]) -> tuple[float, float]:
    angle, my, mx = math.radians(degrees), (shape[0] - 1) / 2, (shape[1] - 1) / 2
    dy, dx = r - my, c - mx
    return math.cos(angle) * dy + math.sin(angle) * dx + my, -math.sin(angle) * dy + math.cos(angle) * dx + mx


def _offset(side: int, factor: float) -> tuple[int, int]:
    """New size, and the index in the scaled image of the first pixel of the view."""
    new = round(factor * side)
    return new, (new - side) // 2 if new > side else -((side - new) // 2)


def _scaled(position: int, side: int, factor: float) -> float:
    """Where a pixel of the original lies in the view."""
    new, first = _offset(side, factor)
    return (position + 0.5) * new / side - 0.5 - first


def _source(r: int, c: int, kind: str, amount: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Where a pixel of the view lies in the original."""
    if kind == "rotation":
        return _turned(r, c, amount, shape)
    if kind == "scaling":
        (rows, top), (columns, left) = _offset(shape[0], amount), _offset(shape[1], amount)
        return (r + top + 0.5) * shape[0] / rows - 0.5, (c + left + 0.5) * shape[1] / columns - 0.5
    return r, shape[1] - 1 - c


def _seen_at(r: int, c: int, kind: str, amount: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Where a pixel of the original lies in the view."""
    if kind == "scaling":
        return _scaled(r, shape[0], amount), _scaled(c, shape[1], amount)
    return _source(r, c, kind, -amount, shape)


def _neighbours(y: float, x: float) -> list[tuple[tuple[int, int], float]]:
    """The four pixels around a point and their weights."""
    i, j = math.floor(y), math.floor(x)
    v, u = y - i, x - j
    return [
        ((i, j), (1 - v) * (1 - u)),
        ((i, j + 1), (1 - v) * u),
        ((i + 1, j), v * (1 - u)),
        ((i + 1, j + 1), v * u),
    ]
