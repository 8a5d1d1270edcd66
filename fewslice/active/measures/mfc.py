"""The distance of MultiFeature Coreset: pixels under the centre's scribble, embeddings, metadata and uncertainty.

Source: Vepa et al., "Integrating deep metric learning with coreset for active learning in 3D segmentation", 2024
(https://arxiv.org/abs/2411.15763).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from fewslice.active.measures.kcenter import UNIT, chunks, finite_norms, margin, products, vector_distances
from fewslice.active.measures.pixels import PixelStore, as_pixel_store
from fewslice.active.units import Units
from fewslice.core.errors import ConfigError
from fewslice.settings.declare import NotNegative, declared

# Slices are compared on this grid whatever the network's, as published: how often the embedding is repeated, and what
# the weight of the pixels means, depend on it.
GRID = (256, 256)
_ROUNDING = 1e-12  # share of its summands by which a float64 distance can be off


@declared
class MfcOptions:
    """Weights of the distance; the defaults are the published configuration for ACDC.

    D(x, c) = pos_wt * |x - c|_w / nu + sqrt(r) * |h_x - h_c| + extra_feature_wt * (terms), with the weights w of the
    centre c: `label_wt` where its scribble lies, `default_pos_val` elsewhere. The terms are those of `Extra`.
    """

    metric: Annotated[
        Literal["euclidean", "cosine", "dot"],
        "euclidean, cosine (1 - cosine of the angle) or dot (minus the product), of both parts.",
    ] = "euclidean"
    use_labels: Annotated[bool, "Whether the scribble weights the pixels; otherwise all weigh 1."] = True
    label_wt: Annotated[NotNegative, "Weight of a pixel under the scribble."] = 1.0
    default_pos_val: Annotated[NotNegative, "Weight of all others. At 0 they are not even read."] = 0.0
    pos_wt: Annotated[NotNegative, "Weight of the pixels."] = 1500.0
    normalize_pos_by_label_ct: Annotated[bool, "Whether nu is the number of pixels with a weight, not 1."] = True
    fuse_image_data: Annotated[bool, "Whether the pixels enter at all."] = True
    fuse_image_data_size_prop: Annotated[
        NotNegative, "The embedding (d values) is repeated r = floor(prop * pixels / d) times."
    ] = 0.1
    extra_feature_wt: Annotated[float, "Weight of the sum of all terms below."] = 1.0
    patient_wt: Annotated[float, "Weight of 1 for another patient."] = 0.0
    phase_wt: Annotated[float, "Weight of the difference of phases."] = 0.0
    group_wt: Annotated[float, "Weight of 1 for another diagnosis group."] = 0.0
    height_wt: Annotated[float, "Weight of the difference of heights, in standard deviations."] = 0.0
    weight_wt: Annotated[float, "Weight of the difference of body weights, in standard deviations."] = 0.0
    slice_rel_pos_wt: Annotated[float, "Weight of the difference of positions, as share of the volume."] = 0.0
    slice_mid_wt: Annotated[float, "Weight of 1 - |share_x - 1/2| - |share_c - 1/2|."] = 0.0
    slice_pos_wt: Annotated[float, "Weight of 1 for another position."] = 0.0
    uncertainty_wt: Annotated[float, "Weight of the sum of both uncertainties."] = 0.0
    max_dist: Annotated[
        float | None, "With wt_max_dist_mult, the limit of the nine weights above in size; null is no limit."
    ] = None
    wt_max_dist_mult: Annotated[float, "See `max_dist`."] = 1.0

    def __post_init__(self):
        if self.max_dist is not None and not self.max_dist * self.wt_max_dist_mult >= 0:
            raise ConfigError("`max_dist` times `wt_max_dist_mult` must not be negative.")


class MfcDistance:
    """The distance for `fewslice.active.measures.kcenter.greedy`. Parts that are None have no influence.

    Args:
        options: Weights.
        pixels: Pixels with the weights of every centre.
        features: (N, d) embeddings.
        extra: Metadata and uncertainty.

    Notes:
        Differs from the published code: "cosine" is 1 minus the cosine (there the similarity itself, so that the
        nearest counted as farthest) and the weights hold for it, too; a centre without any weighted pixel has a pixel
        distance of 0 (there NaN).
        Memory beside the pixels: the embeddings once in float32 if they are not, and a few numbers per unit.
    """

    def __init__(
        self,
        options: MfcOptions,
        *,
        pixels: MaskedPixels | None = None,
        features: np.ndarray | None = None,
        extra: Extra | None = None,
    ):
        self.options, self.pixels, self.features, self.extra = options, pixels, features, extra
        parts = [part for part in (pixels, features, extra) if part is not None]
        if not parts:
            raise ConfigError("A distance needs pixels, embeddings or metadata.")
        self.count = len(parts[0])
        self.repeats = 1
        if features is not None:
            if pixels is not None:
                self.repeats = int(options.fuse_image_data_size_prop * pixels.pixels / features.shape[1])
            if not self.repeats:
                enough = math.ceil(1e4 * features.shape[1] / pixels.pixels) / 1e4
                raise ConfigError(
                    f"With `fuse_image_data_size_prop` {options.fuse_image_data_size_prop} embeddings of "
                    f"{features.shape[1]} values do not enter the distance beside {pixels.pixels} pixels. "
                    f"Give at least fuse_image_data_size_prop={enough:g}, or choose by `kcenter`, "
                    "which looks at the embeddings alone."
                )
            self.single = np.asarray(features, np.float32)
            self.norms = finite_norms(features)
            self.squares = np.square(self.norms)

    def __len__(self) -> int:
        return self.count

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        lower, upper, size = np.zeros(self.count), np.zeros(self.count), np.zeros(self.count)
        for low, high in self._bounds(centre):
            lower, upper, size = lower + low, upper + high, size + np.abs(low) + np.abs(high)
        return lower - _ROUNDING * size, upper + _ROUNDING * size

    def _bounds(self, centre: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the bounds of each part."""
        everything = np.arange(self.count)
        if self.options.metric != "euclidean":
            return [(values, values) for values in self._parts(everything, centre)]
        parts = []
        if self.pixels is not None:
            scale = self._pixel_weight(centre)
            low, high = self.pixels.bounds(centre)
            parts.append((scale * low, scale * high))
        if self.features is not None:
            parts.append(self._embedding_bounds(centre))
        if self.extra is not None:
            terms = self.options.extra_feature_wt * self.extra.to(everything, centre)
            parts.append((terms, terms))
        return parts

    def exact(self, rows: np.ndarray, centre: int) -> np.ndarray:
        return sum(self._parts(rows, centre), start=np.zeros(len(rows)))

    def _pixel_weight(self, centre: int) -> float:
        nu = max(1, self.pixels.weighted(centre)) if self.options.normalize_pos_by_label_ct else 1.0
        return self.options.pos_wt / nu

    def _parts(self, rows: np.ndarray, centre: int) -> list[np.ndarray]:
        """Returns the weighted distances of pixels, embeddings and metadata, each (R,), from float64 differences."""
        parts, metric = [], self.options.metric
        if self.pixels is not None:
            parts.append(self._pixel_weight(centre) * self.pixels.exact(rows, centre, metric))
        if self.features is not None:
            # repeated r times, a difference and a product grow by r, a cosine does not
            factor = {"euclidean": np.sqrt(self.repeats), "dot": self.repeats, "cosine": 1.0}[metric]
            distances = [
                vector_distances(self.features[part], self.features[centre], metric)
                for part in chunks(rows, self.features.shape[1])
            ]
            parts.append(factor * np.concatenate(distances))
        if self.extra is not None:
            parts.append(self.options.extra_feature_wt * self.extra.to(rows, centre))
        return parts

    def _embedding_bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        product = products(self.single[[centre]], self.single)[0]
        squared = self.squares + self.squares[centre] - 2.0 * product.astype(np.float64)
        slack = margin(self.norms, float(self.norms[centre]), self.features.shape[1])
        factor = np.sqrt(self.repeats)
        return factor * np.sqrt(np.maximum(squared - slack, 0)), factor * np.sqrt(np.maximum(squared, 0) + slack)


_PIXEL_ELEMENTS = 1 << 17  # of the pixels that are in work at a time
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
        self.array = store.array
        self.channels = store.shape[2] if len(store.shape) == 3 else 1
        self.masks, self.ignore_value = masks, ignore_value
        self.weights = (label_wt, default_pos_val) if masks is not None else (1.0, 1.0)
        self.is_single = self.array.dtype in (np.uint8, np.int8, np.uint16, np.int16, np.float16, np.float32)

    def __len__(self) -> int:
        return self.array.shape[1]

    @property
    def pixels(self) -> int:
        """Pixel values of a unit."""
        return len(self.array)

    def weighted(self, centre: int) -> int:
        """Returns the number of pixels whose weight is not 0 for this centre."""
        return sum(len(rows) for rows, weight in self._parts(centre) if weight)

    def bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns bounds (N,) of the Euclidean distances.

        Differences, squares and sums of at most 64 of them are float32; nothing cancels, so that the error of the sum
        is a few dozen unit roundoffs of itself.
        """
        total = np.zeros(len(self))
        for rows, weight in self._parts(centre):
            if weight:
                total += weight * self._squares(rows, centre)
        relative = (_MOST_ROWS + 10) * UNIT
        tiny = self.pixels * max(1.0, *self.weights) * 1e-37
        return np.sqrt(np.maximum(total * (1 - relative) - tiny, 0)), np.sqrt(total * (1 + relative) + tiny)

    def exact(self, rows: np.ndarray, centre: int, metric: str = "euclidean") -> np.ndarray:
        """Returns the (R,) distances of the units `rows`, float64 throughout."""
        parts = [(places, weight) for places, weight in self._parts(centre) if weight]
        places = np.concatenate([places for places, _ in parts] or [np.empty(0, np.int64)])
        if not len(places):
            return np.zeros(len(rows))
        weights = np.concatenate([np.full(len(places), weight) for places, weight in parts])
        own = self.array[places, centre].astype(np.float64)
        distances = [
            vector_distances(self.array[places[:, None], part].T, own, metric, weights)
            for part in chunks(rows, len(places), _PIXEL_ELEMENTS)
        ]
        return np.concatenate(distances)

    def _parts(self, centre: int) -> list[tuple[np.ndarray, float]]:
        """Returns the annotated pixels of a centre with their weight, and where it is not 0 the others with theirs."""
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
        step = max(1, min(_MOST_ROWS, _PIXEL_ELEMENTS // len(self)))
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


# Option -> the column that it weighs.
_TERMS = ("patient", "phase", "group", "height", "weight", "slice_rel_pos", "slice_mid", "slice_pos", "uncertainty")
COLUMNS = {f"{name}_wt": name for name in _TERMS} | {"slice_mid_wt": "slice_rel_pos"}


class Extra:
    """The weighted sum of the terms.

    Patient, group and position: 1 minus whether they are the same (of a one-hot group: minus the product). Phase,
    height, weight and relative position: the absolute difference. Middle: 1 - |share_x - 1/2| - |share_c - 1/2|.
    Uncertainty: the sum of both, so that a centre keeps a distance to itself.

    Args:
        weights: Object with the options of `COLUMNS`, `max_dist` and `wt_max_dist_mult` (see `MfcOptions`).
        columns: Name -> (N,) numbers, "group" maybe (N, G). Those without a weight are not looked at.

    Raises:
        ConfigError: a column that has a weight is missing or not finite.
    """

    def __init__(self, weights: Any, columns: Mapping[str, np.ndarray]):
        limit = np.inf if weights.max_dist is None else weights.max_dist * weights.wt_max_dist_mult
        clipped = {name: float(np.clip(getattr(weights, name), -limit, limit)) for name in COLUMNS}
        self.weights = {name: weight for name, weight in clipped.items() if weight}
        missing = sorted({COLUMNS[name] for name in self.weights} - set(columns))
        if missing:
            raise ConfigError(
                f"There is no {' and no '.join(missing)} for the units, but a weight for it. "
                "Give it, or set the weight 0."
            )
        self.columns = {COLUMNS[name]: np.asarray(columns[COLUMNS[name]], np.float64) for name in self.weights}
        for name, values in self.columns.items():
            if not np.isfinite(values).all():
                raise ConfigError(f"The {name} of some units is not a finite number.")

    def __bool__(self) -> bool:
        return bool(self.weights)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def to(self, rows: np.ndarray, centre: int) -> np.ndarray:
        """Returns the (R,) float64 sums for the units `rows` and a centre."""
        total = np.zeros(len(rows))
        for name, weight in self.weights.items():
            column = self.columns[COLUMNS[name]]
            total += weight * _term(name, column[rows], column[centre])
        return total


def _term(name: str, values: np.ndarray, centre: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return 1 - np.sum(values * centre, axis=1)
    if name in ("patient_wt", "group_wt", "slice_pos_wt"):
        return 1.0 - (values == centre)
    if name == "slice_mid_wt":
        return 1 - np.abs(values - 0.5) - abs(centre - 0.5)
    if name == "uncertainty_wt":
        return values + centre
    return np.abs(values - centre)


def pool_columns(pool: Units) -> dict[str, np.ndarray]:
    """Returns the columns of a pool.

    Its patients, places and depths give "patient", "slice_pos" and "slice_rel_pos" (place / number of slices); its
    metadata "phase" (1 end-diastole, 0 end-systole), "group" (N,) codes or (N, G) one-hot, "height" and "weight",
    which become standard scores over the units (ddof 1).

    Notes:
        Differs from the published code, which read one digit of the slice number, so that slice 10 counted as slice 1.
    """
    columns = {
        "patient": np.unique(pool.patients, return_inverse=True)[1],
        "slice_pos": pool.positions,
        "slice_rel_pos": pool.positions / pool.depths,
    }
    for name in {"phase", "group", "height", "weight"} & set(pool.metadata):
        values = pool.metadata[name]
        if name in ("height", "weight"):
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            values = (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))
        columns[name] = values
    return columns


PHASES = {"ED": 1.0, "ES": 0.0}
_NUMBERS = {"height": "height_cm", "weight": "weight_kg"}


def patient_metadata(patients: Sequence[Any], facts: Mapping[Any, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Returns metadata for `make_pool`, a row per unit.

    Args:
        patients: (N,) patient of each unit.
        facts: Patient -> "group" (the diagnosis, a text), "height_cm", "weight_kg"; see `Reader.patient_facts`.

    Returns:
        "group" (N, G) float64, one-hot in the order in which the groups first occur among the units; "height" and
        "weight" (N,) float64 in cm and kg, which `pool_columns` makes standard scores over the units. What one patient
        lacks is left out for all.

    Raises:
        ConfigError: a height or weight that is not finite.
    """
    rows = [facts.get(patient, {}) for patient in np.asarray(patients).tolist()]
    metadata: dict[str, np.ndarray] = {}
    if rows and all("group" in row for row in rows):
        places = {group: place for place, group in enumerate(dict.fromkeys(row["group"] for row in rows))}
        metadata["group"] = np.eye(len(places))[[places[row["group"]] for row in rows]]
    for name, key in _NUMBERS.items():
        if rows and all(key in row for row in rows):
            values = np.array([row[key] for row in rows], np.float64)
            if not np.isfinite(values).all():
                raise ConfigError(f"The {key} of some patients is not a finite number.")
            metadata[name] = values
    return metadata
