"""From a native volume to the network's grid and back.

Forward: intensities are scaled by percentiles, every axial slice is resampled to the dataset's in-plane
resolution and cropped or zero-padded around its centre. Backward: class probabilities return to the native
grid and become labels. The slice axis is never resampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.registry import unknown_name
from fewslice.data import resample

ANTI_ALIASING = ("default", "off")
_SLICES_AT_ONCE = 8  # bounds the float64 working copy, which matters for volumes of several hundred slices


def normalise(image: np.ndarray, percentiles: Sequence[float] = (1.0, 99.0)) -> np.ndarray:
    """Scales intensities so that two percentiles of the whole volume become 0 and 1; nothing is clipped.

    Args:
        image: Any shape, any real dtype, before resampling.
        percentiles: Lower and upper percentile, in percent.

    Returns:
        float64 of the same shape. Where the percentiles coincide (a volume that is nearly all background) the
        minimum and maximum take their place, with a warning; a constant volume becomes zero.

    Raises:
        ConfigError: the percentiles are not increasing numbers in [0, 100].
        FewSliceError: the volume is empty or holds NaN or infinite values.

    Notes:
        Differs from the published code where the percentiles coincide: that divides by zero.
    """
    low, high = (float(value) for value in percentiles)
    if not 0.0 <= low < high <= 100.0:
        raise ConfigError(f"`percentiles` must increase within [0, 100]. Received: {tuple(percentiles)}")
    image = np.asarray(image, dtype=np.float64)
    if image.size == 0 or not np.isfinite(image).all():
        wrong = int(image.size - np.isfinite(image).sum())
        raise FewSliceError(
            f"`image` must hold finite intensities. Received: shape {image.shape} with {wrong} NaN or "
            "infinite values. Repair or leave out this volume."
        )
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


def rescale_slices(
    volume: np.ndarray, factors: Sequence[float], *, order: int = 1, anti_aliasing: str = "default"
) -> np.ndarray:
    """Rescales every slice of a volume in plane.

    Args:
        volume: (X, Y, Z), image or label.
        factors: Output size / input size along X and Y.
        order: 1 (linear, images) or 0 (nearest, labels).
        anti_aliasing: "default" smooths images along an axis that shrinks, "off" does not; labels never are.

    Returns:
        (X', Y', Z) with X' = round(factor * X); float64 for order 1, the input's dtype for order 0.
    """
    sizes = [resample.rescaled_size(n, f) for n, f in zip(volume.shape[:2], factors, strict=True)]
    pairs = list(zip(volume.shape[:2], sizes, strict=True))
    if order == 0:
        rows, columns = (resample.nearest_indices(*pair) for pair in pairs)
        return volume[rows][:, columns]
    axes = [resample.resize_matrix(*pair, smooth=_is_smoothed(anti_aliasing)) for pair in pairs]
    result = np.empty((*sizes, volume.shape[2]))
    for chosen in _chunks(volume.shape[2]):
        result[..., chosen] = resample.resample_slices(volume[..., chosen], axes)
    return result


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
    parts = [resample.overlap(n, wanted) for n, wanted in zip(array.shape[:2], size, strict=True)]
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
        anti_aliasing: "default" or "off", see `rescale_slices`.

    Returns:
        (Z, NX, NY) float32.
    """
    factors = resampling_factors(spacing_mm, target_resolution)
    smooth = _is_smoothed(anti_aliasing)
    axes, targets = [], []
    for native, factor, wanted in zip(image.shape[:2], factors, size, strict=True):
        rescaled = resample.rescaled_size(native, factor)
        source, target = resample.overlap(rescaled, wanted)
        axes.append(resample.matrix_rows(native, rescaled, smooth=smooth, start=source.start, stop=source.stop))
        targets.append(target)
    result = np.zeros((image.shape[2], *size), np.float32)
    for chosen in _chunks(image.shape[2]):
        part = resample.resample_slices(image[..., chosen], axes)
        result[(chosen, *targets)] = np.moveaxis(part, -1, 0)
    return result


def prepare_label(
    label: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    target_resolution: Sequence[float],
    size: Sequence[int],
    fill: int = 0,
) -> np.ndarray:
    """Brings a label to the network's grid by nearest neighbours: resample, then crop or pad.

    Args:
        label: (X, Y, Z) integer.
        spacing_mm: Native spacing; the first two values count.
        target_resolution: In-plane resolution of the network's grid, mm.
        size: (NX, NY) of the network's grid.
        fill: Value outside of the file's slice.

    Returns:
        (Z, NX, NY) of the input's dtype (uint8).
    """
    rescaled = rescale_slices(label, resampling_factors(spacing_mm, target_resolution), order=0)
    return np.ascontiguousarray(np.moveaxis(crop_or_pad(rescaled, size, fill=fill), -1, 0))


def restore_probabilities(
    probabilities: np.ndarray,
    native_shape: Sequence[int],
    spacing_mm: Sequence[float],
    *,
    target_resolution: Sequence[float],
    anti_aliasing: str = "default",
) -> np.ndarray:
    """Brings class probabilities back to the native grid and takes the most probable class there.

    Cropping or padding is undone on the rescaled shape, with all classes 0 outside; each slice is resized
    linearly to its native size, and the arg-max is taken. Pixels outside the crop, and ties, take the lowest
    class.

    Args:
        probabilities: (Z, NX, NY, K), non-negative, K <= 256.
        native_shape: (X, Y, Z) of the native volume.
        spacing_mm: Native spacing; the first two values count.
        target_resolution: In-plane resolution of the network's grid, mm.
        anti_aliasing: "default" or "off", see `rescale_slices`; acts where the native grid is coarser.

    Returns:
        (X, Y, Z) uint8 label.

    Raises:
        ValueError: the shapes disagree.
    """
    native_shape = tuple(int(n) for n in native_shape)
    if probabilities.ndim != 4 or len(native_shape) != 3 or probabilities.shape[0] != native_shape[2]:
        raise ValueError(
            "`probabilities` must be (Z, NX, NY, K) with the Z of `native_shape` (X, Y, Z). "
            f"Received: {probabilities.shape} and {native_shape}"
        )
    factors = resampling_factors(spacing_mm, target_resolution)
    smooth = _is_smoothed(anti_aliasing)
    axes, kept, padded = [], [], False
    for native, factor, size in zip(native_shape[:2], factors, probabilities.shape[1:3], strict=True):
        rescaled = resample.rescaled_size(native, factor)
        source, target = resample.overlap(size, rescaled)  # from the network's grid to the rescaled one
        axes.append(resample.matrix_columns(rescaled, native, smooth=smooth, start=target.start, stop=target.stop))
        kept.append(source)
        padded |= rescaled > size
    result = np.empty(native_shape, np.uint8)
    for index, maps in enumerate(probabilities):
        result[..., index] = resample.label_of_slice(maps[tuple(kept)], axes, padded=padded)
    return result


def _chunks(depth: int) -> Iterator[slice]:
    return (slice(start, min(start + _SLICES_AT_ONCE, depth)) for start in range(0, depth, _SLICES_AT_ONCE))


def _is_smoothed(anti_aliasing: str) -> bool:
    if anti_aliasing not in ANTI_ALIASING:
        raise ConfigError(unknown_name("anti_aliasing", anti_aliasing, ANTI_ALIASING))
    return anti_aliasing == "default"
