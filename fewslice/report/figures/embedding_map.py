"""A map of the pool: every unit a point, alike ones near each other; what is annotated and what was chosen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.files import write_bytes
from fewslice.report.figures import style

COMPONENTS = 50  # principal components that t-SNE gets
FEWEST, MOST = 10, 5000  # units that t-SNE is run on
NUMBERED = 60  # chosen units that get their number
_SAMPLE_VALUES = 1 << 26  # of the units that the components are computed from
_ROWS = 1024
_CHOSEN, _LABELLED = "#d1603d", "#22303c"


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """Units in the plane: (N, 2) float64, and in words how they were made and how much of the variance entered."""

    points: np.ndarray
    note: str


def project(features: np.ndarray, *, seed: int) -> Projection:
    """Returns the units in the plane: t-SNE of the first 50 principal components, or the first two of these.

    Below 10 and above 5000 units it is the latter. The same features and seed give the same points.

    Args:
        features: (N, D) finite numbers, maybe memory-mapped. Components are computed from evenly spaced units where
            all have more than 2^26 values; all are projected, in blocks.
        seed: Of t-SNE.

    Raises:
        ConfigError: features that are not finite.

    Source: van der Maaten and Hinton, 2008, "Visualizing data using t-SNE".
    """
    count = len(features)
    reduced, shares = _principal(features, COMPONENTS)
    if not FEWEST <= count <= MOST or reduced.shape[1] < 2 or not shares.sum():
        points = np.zeros((count, 2))
        points[:, : reduced.shape[1]] = reduced[:, :2]
        return Projection(points, f"first two principal components, {shares[:2].sum():.1%} of the variance")
    from sklearn.manifold import TSNE

    model = TSNE(perplexity=min(30.0, (count - 1) / 3), init="pca", random_state=seed, n_jobs=1)
    text = f"t-SNE of the first {reduced.shape[1]} principal components, {shares.sum():.1%} of the variance"
    return Projection(model.fit_transform(reduced.astype(np.float32)).astype(np.float64), text)


def _principal(features: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, c) projections on the first c <= `most` principal components, and their (c,) shares of variance."""
    from sklearn.decomposition import PCA

    count, size = len(features), int(np.prod(features.shape[1:]))
    blocks = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
    for block in blocks:
        if not np.isfinite(np.asarray(features[block])).all():
            raise ConfigError("The features of some units are not finite, so that they have no place on the map.")
    sample = np.unique(np.linspace(0, count - 1, min(count, max(2, _SAMPLE_VALUES // size))).astype(int))
    rows = np.asarray(features[sample], np.float32).reshape(len(sample), size)
    if len(sample) < 2 or not np.ptp(rows, axis=0).any():
        return np.zeros((count, min(2, size))), np.zeros(2)
    model = PCA(min(most, len(sample), size), svd_solver="auto", random_state=0).fit(rows)
    parts = [model.transform(np.asarray(features[block], np.float32).reshape(-1, size)) for block in blocks]
    return np.concatenate(parts).astype(np.float64), model.explained_variance_ratio_


def draw_embedding_map(
    path: Path,
    projection: Projection,
    *,
    share: np.ndarray,
    is_labelled: np.ndarray,
    chosen: np.ndarray,
    title: str = "",
) -> None:
    """Writes a PNG: the pool in colours of the place in the volume, annotated and chosen units marked.

    Args:
        share: (N,) place of each unit in its volume, from 0 (first slice) to 1 (last).
        is_labelled: (N,) bool, annotated before.
        chosen: (b,) pool indices in the order of choice; the first 60 get their number.
    """
    points = projection.points
    figure = style.new_figure(8.6, 6.6)
    axes = figure.subplots()
    style.calm(axes, title=title)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(style.wrapped(projection.note, 110), color=style.QUIET, fontsize=8.5)
    is_rest = ~is_labelled
    is_rest[chosen] = False
    size = float(np.clip(9000 / len(share), 5, 26))
    look = {"cmap": "cividis", "vmin": 0.0, "vmax": 1.0, "s": size, "linewidths": 0}
    drawn = axes.scatter(*points[is_rest].T, c=share[is_rest], alpha=0.75, **look)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.5, aspect=28, pad=0.01, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["first slice", "middle", "last slice"], fontsize=8, color=style.QUIET)
    bar.ax.tick_params(length=0)
    bar.outline.set_visible(False)
    bar.solids.set_alpha(1)
    _mark(axes, points, is_labelled, np.asarray(chosen, np.int64))
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, **style.LEGEND)
    write_bytes(path, style.png_bytes(figure, dpi=130, colours=0))


def _mark(axes: style.Axes, points: np.ndarray, is_labelled: np.ndarray, chosen: np.ndarray) -> None:
    import matplotlib.patheffects as effects

    if is_labelled.any():
        label = f"annotated before ({int(is_labelled.sum())})"
        look = {"marker": "s", "s": 30, "facecolors": "white", "edgecolors": _LABELLED, "linewidths": 1.3}
        axes.scatter(*points[is_labelled].T, label=label, zorder=3, **look)
    if not len(chosen):
        return
    shown = f", numbers of the first {NUMBERED}" if len(chosen) > NUMBERED else ", in the order of the numbers"
    look = {"s": 46, "facecolors": _CHOSEN, "edgecolors": "white", "linewidths": 0.8}
    axes.scatter(*points[chosen].T, label=f"chosen ({len(chosen)}){shown}", zorder=4, **look)
    halo = [effects.withStroke(linewidth=1.8, foreground="white")]
    for order, point in enumerate(points[chosen[:NUMBERED]], 1):
        offset = {"xytext": (4.5, 2.5), "textcoords": "offset points"}
        axes.annotate(str(order), point, fontsize=7.5, color=style.INK, zorder=5, path_effects=halo, **offset)
