"""The distance of MultiFeature Coreset: pixels under the centre's scribble, embeddings, metadata and uncertainty.

Source: Vepa et al., "Integrating deep metric learning with coreset for active learning in 3D segmentation", 2024
(https://arxiv.org/abs/2411.15763).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from fewslice.active.measures.mfc_pixels import MaskedPixels
from fewslice.active.measures.mfc_terms import Extra
from fewslice.active.measures.rounding import finite_norms, margin, products
from fewslice.active.measures.vectors import METRICS, vector_distances
from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

# Slices are compared on this grid whatever the network's, as published: how often the embedding is repeated, and what
# the weight of the pixels means, depend on it.
GRID = (256, 256)
_ROUNDING = 1e-12  # share of its summands by which a float64 distance can be off
_ELEMENTS = 1 << 18


@dataclasses.dataclass(frozen=True)
class MfcOptions:
    """Weights of the distance; the defaults are the published configuration for ACDC.

    D(x, c) = pos_wt * |x - c|_w / nu + sqrt(r) * |h_x - h_c| + extra_feature_wt * (terms), with the weights w of the
    centre c: `label_wt` where its scribble lies, `default_pos_val` elsewhere.

    Attributes:
        metric: "euclidean", "cosine" (1 - cosine of the angle) or "dot" (minus the product), for both differences.
        use_labels: Whether the scribble weights the pixels; otherwise all weigh 1.
        label_wt: Weight of a pixel under the scribble.
        default_pos_val: Weight of all others. At 0 they are not even read.
        pos_wt: Weight of the pixels.
        normalize_pos_by_label_ct: Whether nu is the number of pixels with a weight, not 1.
        fuse_image_data: Whether the pixels enter at all.
        fuse_image_data_size_prop: The embedding (d values) is repeated r = floor(prop * pixels / d) times.
        extra_feature_wt: Weight of the sum of all terms below.
        patient_wt: Weight of 1 for another patient.
        phase_wt: Weight of the difference of phases.
        group_wt: Weight of 1 for another diagnosis group.
        height_wt: Weight of the difference of heights, in standard deviations.
        weight_wt: Weight of the difference of body weights, in standard deviations.
        slice_rel_pos_wt: Weight of the difference of positions, as share of the slices of a volume.
        slice_mid_wt: Weight of 1 - |share_x - 1/2| - |share_c - 1/2|.
        slice_pos_wt: Weight of 1 for another position.
        uncertainty_wt: Weight of the sum of both uncertainties.
        max_dist: With wt_max_dist_mult, the limit of the absolute value of the nine weights above; None is no limit.
        wt_max_dist_mult: See `max_dist`.
    """

    metric: str = "euclidean"
    use_labels: bool = True
    label_wt: float = 1.0
    default_pos_val: float = 0.0
    pos_wt: float = 1500.0
    normalize_pos_by_label_ct: bool = True
    fuse_image_data: bool = True
    fuse_image_data_size_prop: float = 0.1
    extra_feature_wt: float = 1.0
    patient_wt: float = 0.0
    phase_wt: float = 0.0
    group_wt: float = 0.0
    height_wt: float = 0.0
    weight_wt: float = 0.0
    slice_rel_pos_wt: float = 0.0
    slice_mid_wt: float = 0.0
    slice_pos_wt: float = 0.0
    uncertainty_wt: float = 0.0
    max_dist: float | None = None
    wt_max_dist_mult: float = 1.0

    def __post_init__(self):
        problems = [
            f"`{name}` must not be negative. Received: {getattr(self, name)}"
            for name in ("label_wt", "default_pos_val", "pos_wt", "fuse_image_data_size_prop")
            if not getattr(self, name) >= 0
        ]
        if self.metric not in METRICS:
            problems.append(unknown_name("metric", self.metric, METRICS))
        if self.max_dist is not None and not self.max_dist * self.wt_max_dist_mult >= 0:
            problems.append("`max_dist` times `wt_max_dist_mult` must not be negative.")
        if problems:
            raise ConfigError("\n".join(problems))


class MfcDistance:
    """The distance as `fewslice.active.measures.kcenter.greedy` wants it. Parts that are None have no influence.

    Args:
        options: Weights.
        pixels: Pixels with the weights of every centre, or None.
        features: (N, d) embeddings, or None.
        extra: Metadata and uncertainty, or None.

    Notes:
        Differs from the published code: "cosine" is 1 minus the cosine (there the similarity itself, so that the
        nearest counted as farthest) and the weights hold for it, too; a centre without any weighted pixel has a pixel
        distance of 0 (there not a number).
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
        found, everything = [], np.arange(self.count)
        if self.options.metric != "euclidean":
            found += [(values, values) for values in self._vectors(everything, centre)]
        else:
            if self.pixels is not None:
                scale = self.options.pos_wt / self._nu(centre)
                low, high = self.pixels.bounds(centre)
                found.append((scale * low, scale * high))
            if self.features is not None:
                found.append(self._embedding_bounds(centre))
        if self.extra is not None:
            term = self.options.extra_feature_wt * self.extra.to(everything, centre)
            found += [(term, term)]
        return found

    def exact(self, rows: np.ndarray, centre: int) -> np.ndarray:
        total = sum(self._vectors(rows, centre), start=np.zeros(len(rows)))
        if self.extra is not None:
            total = total + self.options.extra_feature_wt * self.extra.to(rows, centre)
        return total

    def _nu(self, centre: int) -> float:
        return max(1, self.pixels.weighted(centre)) if self.options.normalize_pos_by_label_ct else 1.0

    def _vectors(self, rows: np.ndarray, centre: int) -> list[np.ndarray]:
        """Returns the weighted distances of the pixels and of the embeddings, each (R,), from float64 differences."""
        found = []
        if self.pixels is not None:
            scale = self.options.pos_wt / self._nu(centre)
            found.append(scale * self.pixels.exact(rows, centre, self.options.metric))
        if self.features is not None:
            # repeated r times, a difference and a product grow by r, a cosine does not
            factor = {"euclidean": np.sqrt(self.repeats), "dot": self.repeats, "cosine": 1.0}[self.options.metric]
            step = max(1, _ELEMENTS // self.features.shape[1])
            parts = [
                vector_distances(self.features[rows[at : at + step]], self.features[centre], self.options.metric)
                for at in range(0, len(rows), step)
            ]
            found.append(factor * np.concatenate(parts))
        return found

    def _embedding_bounds(self, centre: int) -> tuple[np.ndarray, np.ndarray]:
        product = products(self.single[[centre]], self.single)[0]
        squared = self.squares + self.squares[centre] - 2.0 * product.astype(np.float64)
        slack = margin(self.norms, float(self.norms[centre]), self.features.shape[1])
        factor = np.sqrt(self.repeats)
        return factor * np.sqrt(np.maximum(squared - slack, 0)), factor * np.sqrt(np.maximum(squared, 0) + slack)
