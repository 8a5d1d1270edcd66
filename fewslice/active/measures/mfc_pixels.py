"""Pixel distances to a centre, weighted by the centre's own annotation."""

from __future__ import annotations

import numpy as np

from fewslice.active.measures.pixels import PixelStore, as_pixel_store
from fewslice.active.measures.rounding import UNIT
from fewslice.active.measures.vectors import vector_distances
from fewslice.core.errors import ConfigError

_ELEMENTS = 1 << 17  # of the pixels that are in work at a time
_MOST_ROWS = 64


class MaskedPixels:
    """Weighted distances sqrt(sum_k w_k(c) (x_k - c_k)^2) from all units to a centre c.

    Args:
        pixels: (N, H, W) or (N, H, W, channels) images, or a pixel store, which is quicker.
        masks: (N, H, W) annotation of every unit, maybe memory-mapped, or None: then every pixel weighs 1.
        label_wt: Weight of a pixel that is annotated in the centre.
        default_pos_val: Weight of all others; at 0 only the annotated ones are read, otherwise all.
        ignore_value: Value of `masks` where nothing is annotated.

    Notes:
        Differs from the published code: all channels of a colour image are weighted (there the first third of the
        values was, the rest counted as embedding), and the ignore value is not fixed to 4.
    """

    def __init__(
        self,
        pixels: np.ndarray | PixelStore,
        masks: np.ndarray | None,
        *,
        label_wt: float = 1.0,
        default_pos_val: float = 0.0,
        ignore_value: int = 4,
    ):
        store = as_pixel_store(pixels)
        if masks is not None and masks.shape != (len(store), *store.shape[:2]):
            raise ConfigError(f"The masks must be {(len(store), *store.shape[:2])}. Received: {masks.shape}")
        self.array, self.step = store.array, store.step
        self.channels = store.shape[2] if len(store.shape) == 3 else 1
        self.masks, self.ignore_value = masks, ignore_value
        self.weights = (label_wt, default_pos_val) if masks is not None else (1.0, 1.0)
        self.is_single = self.array.dtype in (np.uint8, np.int8, np.uint16, np.int16, np.float16, np.float32)

    def __len__(self) -> int:
        return self.array.shape[1]

    @property
    def pixels(self) -> int:
        """Number of pixel values of a unit."""
        return len(self.array)

    def weighted(self, centre: int) -> int:
        """Returns the number of pixels whose weight is not 0 for this centre."""
        return sum(len(rows) for rows, weight in self._parts(centre) if weight)

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns bounds (N,) of the Euclidean distances.

        Differences and squares are computed in float32, sums of at most 64 of them, too; nothing cancels, so that the
        error of the sum is a few dozen unit roundoffs of itself.
        """
        total = np.zeros(len(self))
        for rows, weight in self._parts(centre):
            if weight:
                total += weight * self._squares(rows, centre)
        relative = (_MOST_ROWS + 10) * UNIT
        total *= self.step**2
        tiny = self.pixels * max(1.0, *self.weights) * 1e-37 * self.step**2
        return np.sqrt(np.maximum(total * (1 - relative) - tiny, 0)), np.sqrt(total * (1 + relative) + tiny)

    def exact(self, rows: np.ndarray, centre: int, metric: str = "euclidean") -> np.ndarray:
        """Returns the (R,) distances of the units `rows`, computed in float64 throughout."""
        parts = [(places, weight) for places, weight in self._parts(centre) if weight]
        places = np.concatenate([places for places, _ in parts] or [np.empty(0, np.int64)])
        if not len(places):
            return np.zeros(len(rows))
        weights = np.concatenate([np.full(len(places), weight) for places, weight in parts])
        own = self.array[places, centre].astype(np.float64)
        step = max(1, _ELEMENTS // len(places))
        found = [
            vector_distances(self.array[places[:, None], rows[start : start + step]].T, own, metric, weights)
            for start in range(0, len(rows), step)
        ]
        return np.concatenate(found) * {"euclidean": self.step, "dot": self.step**2, "cosine": 1.0}[metric]

    def _parts(self, centre: int) -> list[tuple[np.ndarray, float]]:
        """Returns the annotated pixels of a centre with their weight, and if it is needed the others with theirs."""
        if self.masks is None:
            return [(np.arange(self.pixels), 1.0)]
        is_drawn = np.asarray(self.masks[centre]).reshape(-1) != self.ignore_value
        if self.channels > 1:
            is_drawn = np.repeat(is_drawn, self.channels)
        parts = [(np.flatnonzero(is_drawn), self.weights[0])]
        if self.weights[1]:
            parts.append((np.flatnonzero(~is_drawn), self.weights[1]))
        return parts

    def _squares(self, rows: np.ndarray, centre: int) -> np.ndarray:
        """Returns the (N,) sums of squared differences over the pixels `rows`."""
        dtype = np.float32 if self.is_single else np.float64
        step = max(1, min(_MOST_ROWS, _ELEMENTS // len(self)))
        total, ones = np.zeros(len(self)), np.ones(step, dtype)
        own = self.array[rows, centre].astype(dtype)[:, None]
        buffer = np.empty((step, len(self)), dtype)
        for start in range(0, len(rows), step):
            values = self.array[rows[start : start + step]]
            part = buffer[: len(values)]
            if values.dtype == np.float16:
                values = _widened(values)
            np.subtract(values, own[start : start + step], out=part)
            np.square(part, out=part)
            total += ones[: len(part)] @ part
        return total


def _widened(values: np.ndarray) -> np.ndarray:
    """Returns finite float16 values as float32, several times quicker than `astype` without hardware conversion.

    The exponent is five bits wide instead of eight and its offset 112 less; multiplying puts that right, for subnormal
    numbers, too.
    """
    bits = values.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)  # sign, and the 15 bits from 13 on
    wide = bits.view(np.float32)
    wide *= np.float32(2.0**112)
    return wide
