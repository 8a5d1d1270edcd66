"""From a native volume to the network's grid and back.

Forward: intensities are scaled by percentiles, every axial slice is resampled to the dataset's in-plane
resolution and cropped or zero-padded around its centre. Backward: class probabilities return to the native
grid and become labels. The slice axis is never resampled.

Linear resizing with values outside taken as zero is separable, so an axis is one sparse matrix, cached by its sizes.
It is equal to `skimage.transform.rescale` / `resize` (mode "constant", preserve_range) of scikit-image 0.26, including
the Gaussian against aliasing, for any installed version. Cropping is a choice of the matrix' rows (of the result) or
columns (of the input), so nothing outside the result is ever computed. Labels lie on the same grid, with the edges of
the first and last pixel on each other (`augment.interpolate.resize_nearest`: their centres).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from fewslice.core.errors import ConfigError

try:
    from scipy.sparse import csr_array as Matrix
except ImportError:  # in exported folders, where whole matrices do the same in more time
    Matrix = np.asarray

_SLICES_AT_ONCE = 8  # bounds the float64 working copy, which matters for volumes of several hundred slices
_LEAST_PADDING = 1.0  # percent of the voxels
_PIXELS_AT_ONCE = 1 << 15  # bounds the table of areas, pixels x classes


class Padding(NamedTuple):
    """A value that fills what a scanner or a program left empty; `limit` is what lies nearer to it than to the rest."""

    value: float
    share: float
    limit: float
    rest: tuple[float, float]  # the percentiles of all other values

    def covers(self, image: np.ndarray) -> np.ndarray:
        """Returns bool of the image's shape: where the padding is, the blurred edge of a resampled one included."""
        return image < self.limit if self.value < self.limit else image > self.limit

    def __str__(self) -> str:
        low, high = self.rest
        return f"{self.share:.0%} of the voxels are {self.value:g}, far from the rest ({low:g} to {high:g})"


def find_padding(image: np.ndarray, percentiles: Sequence[float] = (1.0, 99.0)) -> Padding | None:
    """Returns the padding of a volume that would flatten its contrast grossly, None if there is none.

    It is the smallest or largest value, fills a hundredth of the volume and more, decides the percentile on its side
    and lies so far from the rest that the range between the percentiles grows by half; by 200 % if it is 0, the usual
    background of MRI.

    The image has any shape and any real dtype.
    """
    for value, tail in ((image.min(), percentiles[0]), (image.max(), 100 - percentiles[1])):
        is_value = image == value
        share = np.count_nonzero(is_value) / image.size
        if not max(tail, _LEAST_PADDING) <= 100 * share < 100:
            continue
        low, high = np.percentile(image[~is_value], percentiles).tolist()
        near = low if value < low else high
        gap = abs(near - float(value)) / (high - low) if high > low else 0.0
        is_certain = value != 0 and gap > 4
        if gap > (2.0 if value == 0 else 0.5) and (is_certain or _is_scan(image[~is_value])):
            return Padding(float(value), share, (float(value) + near) / 2, (low, high))
    return None


def _is_scan(values: np.ndarray) -> bool:
    """Whether there are more values than in a drawing."""
    return len(np.unique(values[:: max(1, values.size // 10000)])) > 15


def normalise(image: np.ndarray, percentiles: Sequence[float] = (1.0, 99.0)) -> np.ndarray:
    """Scales intensities so that two percentiles of the whole volume become 0 and 1; nothing is clipped.

    Padding (`find_padding`) is left out of the percentiles and becomes 0.

    Args:
        image: Any shape, any real dtype, before resampling; not empty, finite (readers see to that).
        percentiles: Lower and upper percentile, in percent.

    Returns:
        float64 of the same shape. Where the percentiles coincide (a volume that is nearly all background) the
        minimum and maximum take their place, with a warning; a constant volume becomes zero.

    Notes:
        Differs from the published code where the percentiles coincide: that divides by zero.
    """
    image = np.asarray(image, dtype=np.float64)
    low, high = percentiles
    padding = find_padding(image, (low, high))
    if padding is not None:
        is_empty = padding.covers(image)
        lower, upper = np.percentile(image[~is_empty], (low, high))
        return np.where(is_empty, 0.0, (image - lower) / (upper - lower))
    lower, upper = np.percentile(image, (low, high))
    if upper <= lower:
        logging.warning("Percentiles %g and %g of a volume coincide; its minimum and maximum serve.", low, high)
        lower, upper = image.min(), image.max()
    if upper == lower:
        return np.zeros_like(image)
    return (image - lower) / (upper - lower)


def resampling_factors(spacing_mm: Sequence[float], target_resolution: Sequence[float]) -> tuple[float, float]:
    """Returns the in-plane factors native spacing / target resolution, both in mm per pixel.

    Raises:
        ConfigError: a value is missing, not finite or not positive.
    """
    native = np.asarray(spacing_mm, np.float64)[:2]
    target = np.asarray(target_resolution, np.float64)
    if native.shape != (2,) or target.shape != (2,) or not np.all(np.isfinite([native, target])):
        raise ConfigError(f"Spacings must be finite, two or more. Received: {spacing_mm}, {target_resolution}")
    if (native <= 0).any() or (target <= 0).any():
        raise ConfigError(f"Spacings must be positive (mm). Received: {spacing_mm}, {target_resolution}")
    return float(native[0] / target[0]), float(native[1] / target[1])


def rescaled_size(size: int, factor: float) -> int:
    """Returns the pixels of an axis after rescaling: round(factor * size), halves to even, at least 1."""
    return max(int(np.round(factor * size)), 1)


def overlap(length: int, size: int) -> tuple[slice, slice]:
    """Returns the part that is kept of an axis of `length`, and its place in an axis of `size` pixels.

    A longer axis keeps [(length - size) // 2, + size), a shorter one starts at (size - length) // 2.
    """
    start, common = abs(length - size) // 2, min(length, size)
    whole, middle = slice(0, common), slice(start, start + common)
    return (middle, whole) if length > size else (whole, middle)


@functools.lru_cache(maxsize=64)
def resize_matrix(size: int, new_size: int, *, smooth: bool) -> Matrix:
    """Returns the (new_size, size) float64 matrix of linear resizing along one axis, zero outside.

    With `smooth`, a shrinking axis is first filtered by a Gaussian of (size / new_size - 1) / 2 pixels.
    """
    matrix, sigma = np.eye(size), (size / new_size - 1.0) / 2.0
    if smooth and sigma > 0:
        radius = int(4 * sigma + 0.5)
        weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
        weights = np.pad(weights / weights.sum(), size)
        places = np.arange(size)
        matrix = weights[np.clip(places - places[:, np.newaxis] + radius + size, 0, len(weights) - 1)]
    if new_size != size:
        position = _centres(size, new_size)
        low = np.floor(position).astype(np.intp)
        share, padded = (position - low)[:, np.newaxis], np.pad(matrix, ((1, 1), (0, 0)))
        matrix = (1 - share) * padded[low + 1] + share * padded[low + 2]
    return Matrix(matrix)


def _centres(size: int, new_size: int) -> np.ndarray:
    """Returns the (new_size,) places of the pixels of a resized axis in the native one, in pixels."""
    return (np.arange(new_size) + 0.5) * (size / new_size) - 0.5


def crop_or_pad(array: np.ndarray, size: Sequence[int], *, fill: int = 0) -> np.ndarray:
    """Crops or pads the first two axes around their centre; undoes itself for whatever was kept.

    Args:
        array: (X, Y, ...).
        size: (NX, NY). An axis of n > N pixels keeps [(n - N) // 2, + N), others start at (N - n) // 2.
        fill: Value of the padding.

    Returns:
        (NX, NY, ...) of the same dtype.
    """
    result = np.full((*size, *array.shape[2:]), fill, array.dtype)
    parts = [overlap(n, side) for n, side in zip(array.shape[:2], size, strict=True)]
    source, target = zip(*parts, strict=True)
    result[target] = array[source]
    return result


def prepare_image(
    image: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    target_resolution: Sequence[float],
    size: Sequence[int],
    anti_aliasing: str = "default",
) -> np.ndarray:
    """Brings a normalised image to the network's grid: resample, then crop or pad.

    Args:
        image: (X, Y, Z), already normalised (`normalise`).
        spacing_mm: Native spacing; the first two values count.
        target_resolution: In-plane resolution of the network's grid, mm.
        size: (NX, NY) of the network's grid.
        anti_aliasing: "default" smooths along an axis that shrinks, "off" does not.

    Returns:
        (Z, NX, NY) float32.
    """
    factors = resampling_factors(spacing_mm, target_resolution)
    axes, targets = [], []
    for native, factor, side in zip(image.shape[:2], factors, size, strict=True):
        rescaled = rescaled_size(native, factor)
        source, target = overlap(rescaled, side)
        axes.append(resize_matrix(native, rescaled, smooth=anti_aliasing == "default")[source])
        targets.append(target)
    result = np.zeros((image.shape[2], *size), np.float32)
    for start in range(0, image.shape[2], _SLICES_AT_ONCE):
        chosen = slice(start, start + _SLICES_AT_ONCE)
        result[(chosen, *targets)] = np.moveaxis(_resample_slices(image[..., chosen], axes), -1, 0)
    return result


def prepare_label(
    label: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    target_resolution: Sequence[float],
    size: Sequence[int],
    fill: int = 0,
    rule: str = "area",
) -> np.ndarray:
    """Brings a label to the network's grid: resample, then crop or pad.

    Args:
        label: (X, Y, Z) integer, 0 to 255.
        spacing_mm, target_resolution, size: As in `prepare_image`.
        fill: Value outside of the file's slice. If it is not 0, it is what scribbles hold where nothing is annotated.
        rule: "area": a pixel takes the class that covers most of it. Of equal classes the lowest and the highest take
            turns, so that no border is shifted. What covers a quarter of a pixel or more keeps one, if all of it would
            vanish otherwise. Where the centre of an annotated native pixel lies in the pixel, `fill` does not count:
            thin strokes survive and grow by less than a pixel. "nearest", as published: the nearest native pixel, of
            two the second, which shifts labels by half a native pixel where a slice shrinks to 1/2 or 1/4.

    Returns:
        (Z, NX, NY) of the input's dtype (uint8).
    """
    factors = resampling_factors(spacing_mm, target_resolution)
    shape = [rescaled_size(n, factor) for n, factor in zip(label.shape[:2], factors, strict=True)]
    rows, columns = (_nearest_indices(n, new) for n, new in zip(label.shape, shape, strict=False))
    result = label[rows][:, columns]
    if rule == "area" and tuple(shape) != label.shape[:2]:
        _take_largest_areas(result, label, fill)
    return np.ascontiguousarray(np.moveaxis(crop_or_pad(result, size, fill=fill), -1, 0))


def restore_probabilities(
    probabilities: np.ndarray,
    native_shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    target_resolution: Sequence[float],
    anti_aliasing: str = "default",
    as_label: bool = True,
) -> np.ndarray:
    """Brings class probabilities back to the native grid and takes the most probable class there.

    Cropping or padding is undone on the rescaled shape, with all classes 0 outside; each slice is resized
    linearly to its native size, and the arg-max is taken. Pixels outside the crop, and ties, take the lowest
    class.

    Args:
        probabilities: (Z, NX, NY, K), non-negative, K <= 256.
        native_shape: (X, Y, Z) of the native volume.
        spacing_mm, target_resolution: As in `prepare_image`.
        anti_aliasing: "default" smooths along an axis whose native grid is coarser, "off" does not.
        as_label: False returns the probabilities, scaled to a sum of 1; outside of the crop background has 1.

    Returns:
        (X, Y, Z) uint8 label, or (X, Y, Z, K) float32 probabilities.
    """
    native_shape = tuple(int(n) for n in native_shape)
    factors = resampling_factors(spacing_mm, target_resolution)
    axes, kept, padded = [], [], False
    for native, factor, size in zip(native_shape[:2], factors, probabilities.shape[1:3], strict=True):
        rescaled = rescaled_size(native, factor)
        source, target = overlap(size, rescaled)  # from the network's grid to the rescaled one
        axes.append(resize_matrix(rescaled, native, smooth=anti_aliasing == "default")[:, target])
        kept.append(source)
        padded |= rescaled > size
    num_classes = probabilities.shape[-1]
    result = np.empty(native_shape, np.uint8) if as_label else np.empty((*native_shape, num_classes), np.float32)
    for index, maps in enumerate(probabilities):
        full = _resize_maps(maps[tuple(kept)], axes, padded=padded)  # (Y', K, X')
        if as_label:
            result[..., index] = _most_probable(full).T
        else:
            sums = full.sum(axis=1, keepdims=True)
            full[:, :1] += sums == 0
            result[:, :, index] = np.moveaxis(full / np.where(sums > 0, sums, 1), 2, 0)
    return result


@functools.lru_cache(maxsize=64)
def _nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Returns the (new_size,) indices of the nearest pixels of an axis, read-only."""
    indices = np.floor(_centres(size, new_size) + 0.5).astype(np.intp)
    indices.setflags(write=False)
    return indices


@functools.lru_cache(maxsize=64)
def _areas(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what each pixel of a resized axis covers of the native ones, three arrays of (new_size, T).

    Native pixels; lengths of them, in units of a native pixel / `new_size`, so that equal areas are equal exactly; and
    whether the centre of the smaller of the two pixels is covered.
    """
    starts = np.arange(new_size)[:, np.newaxis] * size
    pixels = starts // new_size + np.arange(-(-size // new_size) + 1)
    lengths = np.minimum(starts + size, (pixels + 1) * new_size) - np.maximum(starts, pixels * new_size)
    pixels = np.where(lengths > 0, pixels, pixels[:, :1])
    return pixels, np.maximum(lengths, 0), 2 * lengths >= min(size, new_size)


def _take_largest_areas(resized: np.ndarray, label: np.ndarray, ignored: int) -> None:
    """Changes the pixels (X', Y', Z) that cover several values, in place, from the nearest one to the largest area's.

    `ignored` is a value that gives way to any other; 0 for none.
    """
    axes = [_areas(n, new) for n, new in zip(label.shape[:2], resized.shape[:2], strict=True)]
    low = high = label
    for axis, (pixels, *_) in enumerate(axes):
        low = functools.reduce(np.minimum, (low.take(column, axis) for column in pixels.T))
        high = functools.reduce(np.maximum, (high.take(column, axis) for column in pixels.T))
    mixed, num_classes, minorities = np.nonzero(low != high), int(label.max()) + 1, []
    for start in range(0, len(mixed[0]), _PIXELS_AT_ONCE):
        i, j, z = (index[start : start + _PIXELS_AT_ONCE] for index in mixed)
        rows, heights, is_row_inside = (each[i][:, :, np.newaxis] for each in axes[0])
        columns, widths, is_column_inside = (each[j][:, np.newaxis] for each in axes[1])
        found = label[rows, columns, z[:, np.newaxis, np.newaxis]]  # (N, T, U)
        entries = np.arange(len(i))[:, np.newaxis, np.newaxis] * num_classes + found
        areas = np.bincount(entries.ravel(), (heights * widths).ravel(), len(i) * num_classes)
        areas = areas.reshape(-1, num_classes)
        if 0 < ignored < num_classes:
            is_annotated = (is_row_inside & is_column_inside & (found != ignored)).any(axis=(1, 2))
            areas[:, ignored] = np.where(is_annotated, 0, np.inf)
        is_largest = areas == areas.max(axis=1, keepdims=True)
        highest = num_classes - 1 - is_largest[:, ::-1].argmax(axis=1)
        resized[i, j, z] = np.where((i + j + z) % 2, highest, is_largest.argmax(axis=1))
        classes = np.arange(num_classes)
        pixel, value = np.nonzero((areas > 0) & (classes > 0) & (classes != resized[i, j, z, np.newaxis]))
        minorities.append(np.stack([i[pixel], j[pixel], z[pixel], value, areas[pixel, value]], axis=1))
    if not ignored and any(map(len, minorities)):
        _keep_small(resized, np.concatenate(minorities).astype(np.int64), math.prod(label.shape[:2]))


def _keep_small(resized: np.ndarray, minorities: np.ndarray, pixel_area: int) -> None:
    """Gives one pixel to what covers a quarter of a pixel or more, where the 3 x 3 around show nothing of its class.

    `minorities` holds rows (i, j, z, class, area) of classes that pixels of `resized` cover and do not show.
    """
    padded = np.pad(resized, ((1, 1), (1, 1), (0, 0)))
    i, j, z, value, area = minorities.T
    around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    is_lost = np.all([padded[i + 1 + a, j + 1 + b, z] != value for a, b in around], axis=0)
    draws = np.random.default_rng(minorities[0, :3]).random(len(area))  # of equal areas: no side is preferred
    order = np.lexsort((draws, -area))
    lost = {tuple(row[:4]): row[4] for row in minorities[order[is_lost[order]]].tolist()}
    taken = set()
    for i, j, z, value in lost:
        near = sum(lost.get((i + a, j + b, z, value), 0) for a, b in around)
        is_new = (i, j, z) not in taken and not (padded[i : i + 3, j : j + 3, z] == value).any()
        if is_new and 4 * near >= pixel_area:
            resized[i, j, z] = padded[i + 1, j + 1, z] = value
            taken.add((i, j, z))


def _resample_slices(volume: np.ndarray, axes: Sequence[Matrix]) -> np.ndarray:
    """Returns (X, Y, Z) slices resampled by (X', X) and (Y', Y), float64; each stays within its own range of values."""
    rows, columns = axes
    volume = np.asarray(volume, np.float64)
    low, high = volume.min(axis=(0, 1)), volume.max(axis=(0, 1))
    depth = volume.shape[2]
    half = (rows @ volume.reshape(volume.shape[0], -1)).reshape(rows.shape[0], -1, depth)
    full = columns @ half.transpose(1, 0, 2).reshape(columns.shape[1], -1)
    return np.clip(full.reshape(-1, rows.shape[0], depth).transpose(1, 0, 2), low, high)


def _resize_maps(maps: np.ndarray, axes: Sequence[Matrix], *, padded: bool) -> np.ndarray:
    """Resizes class maps (X, Y, K) to (Y', K, X') float64.

    Values are clipped to the slice's range; a `padded` one stands in a larger slice of zeros.
    """
    rows, columns = axes
    low, high = maps.min(initial=0.0 if padded else np.inf), maps.max()
    depth, (num_y, num_classes) = rows.shape[0], maps.shape[1:]
    half = rows @ maps.reshape(maps.shape[0], -1).astype(np.float64, copy=False)  # (X', Y * K)
    half = half.reshape(depth, num_y, num_classes).transpose(1, 2, 0).reshape(num_y, -1)
    full = (columns @ half).reshape(-1, num_classes, depth)  # (Y', K, X')
    if low > 0:
        np.clip(full, low, high, out=full)
    return full


def _most_probable(maps: np.ndarray) -> np.ndarray:
    """Returns the most probable class of maps (Y, K, X), (Y, X) uint8; ties take the lowest."""
    best, label = maps[:, 0].copy(), np.zeros((maps.shape[0], maps.shape[2]), np.uint8)
    for index in range(1, maps.shape[1]):
        label[maps[:, index] > best] = index
        np.maximum(best, maps[:, index], out=best)
    return label
