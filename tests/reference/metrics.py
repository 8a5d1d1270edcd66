"""Segmentation metrics as loops over voxels, written from the definitions; no import from our packages."""

from __future__ import annotations

import itertools
import math

import numpy as np


def dice(truth, prediction, num_classes: int) -> list[float]:
    """2 |T and P| / (|T| + |P|) per class; NaN where both are empty."""
    result = []
    for k in range(num_classes):
        common = total = 0
        for t, p in zip(np.ravel(truth), np.ravel(prediction), strict=True):
            common += int(t == k and p == k)
            total += int(t == k) + int(p == k)
        result.append(2 * common / total if total else math.nan)
    return result


def published_f1(truth, prediction) -> list[float]:
    """The published array: only the labels that occur in truth or prediction, so it may be short."""
    occurring = sorted({int(v) for v in np.ravel(truth)} | {int(v) for v in np.ravel(prediction)})
    per_class = dice(truth, prediction, max(occurring) + 1)
    return [per_class[k] for k in occurring]


def surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels of the mask with a face neighbour outside the mask or outside the array."""
    result = []
    for index in itertools.product(*(range(n) for n in mask.shape)):
        if not mask[index]:
            continue
        inside = True
        for axis in range(mask.ndim):
            for step in (-1, 1):
                neighbour = list(index)
                neighbour[axis] += step
                within = 0 <= neighbour[axis] < mask.shape[axis]
                inside = inside and within and bool(mask[tuple(neighbour)])
        if not inside:
            result.append(index)
    return result


def directed(source, target, spacing) -> list[float]:
    """Distance of every point of `source` to the nearest of `target`, mm."""
    return [
        min(math.sqrt(sum(((a - b) * s) ** 2 for a, b, s in zip(p, q, spacing, strict=True))) for q in target)
        for p in source
    ]


def _percentile(values: list[float], q: float) -> float:
    values = sorted(values)
    position = q / 100 * (len(values) - 1)
    below = math.floor(position)
    above = min(below + 1, len(values) - 1)
    return values[below] + (position - below) * (values[above] - values[below])


def hd95_assd(truth: np.ndarray, prediction: np.ndarray, spacing) -> tuple[float, float]:
    """Larger of the directed 95th percentiles, and the mean of both directions; NaN if one is empty."""
    a, b = surface(truth), surface(prediction)
    if not a or not b:
        return math.nan, math.nan
    forth, back = directed(a, b, spacing), directed(b, a, spacing)
    return max(_percentile(forth, 95), _percentile(back, 95)), sum(forth + back) / len(forth + back)


def dice_loss_per_slice(probabilities, label) -> list[float]:
    """1 - mean over classes of 2 sum(p y) / (sum(p) + sum(y) + 1e-10), per slice."""
    result = []
    for maps, truth in zip(probabilities, label, strict=True):
        scores = []
        for k in range(maps.shape[-1]):
            common = p_sum = y_sum = 0.0
            for p, t in zip(maps[..., k].ravel(), truth.ravel(), strict=True):
                y = float(t == k)
                common, p_sum, y_sum = common + float(p) * y, p_sum + float(p), y_sum + y
            scores.append(2 * common / (p_sum + y_sum + 1e-10))
        result.append(1 - sum(scores) / len(scores))
    return result


def hd95_voxels(truth, prediction) -> float:
    """95th percentile of the distances of both directions put together, voxels are unit cubes; NaN if one is empty."""
    surfaces = surface(truth), surface(prediction)
    if not all(surfaces):
        return math.nan
    ones = (1.0,) * truth.ndim
    return _percentile(directed(*surfaces, ones) + directed(*surfaces[::-1], ones), 95)


def bootstrap_dice(truth: np.ndarray, prediction: np.ndarray, generators) -> np.ndarray:
    """Dice of as many slices (last axis) as there are, drawn with replacement by each generator; NaN if all are empty.

    CoreCLR's authors give twice its standard deviation over 1000 draws with `RandomState(seed + draw)`.
    """
    axes = tuple(range(truth.ndim - 1))
    common, sizes = (truth & prediction).sum(axis=axes), truth.sum(axis=axes) + prediction.sum(axis=axes)  # (Z,)
    result = []
    for generator in generators:
        chosen = generator.choice(len(sizes), len(sizes), replace=True)
        total = sizes[chosen].sum()
        result.append(2.0 * common[chosen].sum() / total if total else np.nan)
    return np.array(result)
