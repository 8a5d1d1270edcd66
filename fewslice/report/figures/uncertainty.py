"""Pictures of uncertainty: a map beside its image, mask and prediction; the distribution of the scores of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.core.colours import structure_colour
from fewslice.core.files import write_bytes
from fewslice.report.figures import style
from fewslice.report.figures.contours import outline
from fewslice.report.figures.gallery import show

_MAP, _LINE = "viridis", "#1f6f9c"
_BINS = 30


def draw_panel(
    path: Path,
    image: np.ndarray,
    score_map: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    *,
    limits: tuple[float, float],
    scores: Sequence[float],
    score: float,
    title: str,
    name: str,
) -> None:
    """Writes a PNG of six panels: image, mask, prediction, uncertainty map, error, place among all scores.

    Args:
        image: (NX, NY) or (NX, NY, C).
        score_map: (NX, NY) uncertainty.
        prediction: (NX, NY) classes.
        truth: (NX, NY) classes, negative or above all classes where they are not known; None leaves two panels empty.
        limits: Range of the colours, one for all images of a cycle.
        scores: Of all candidates.
        score: Of this image; NaN for none.
        name: Of the score.
    """
    figure = style.new_figure(9.5, 6.2)
    grid = figure.subplots(2, 3).ravel()
    figure.suptitle(style.plain(title), x=0.01, ha="left", fontsize=10.5, color=style.INK, fontweight="bold")
    classes = int(max(prediction.max(), 1)) + 1
    for axes, (text, mask) in zip(grid, (("image", None), ("mask", truth), ("prediction", prediction)), strict=False):
        style.heading(axes, text if text != "mask" or truth is not None else "mask: not known")
        axes.set_axis_off()
        show(axes, image)
        for number in range(1, classes) if mask is not None else ():
            outline(axes, (mask == number).T, colors=[structure_colour(number)], linewidths=1.2)
    style.heading(grid[3], name)
    shown = grid[3].imshow(score_map.T, cmap=_MAP, vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-12))
    figure.colorbar(shown, ax=grid[3], shrink=0.8)
    style.heading(grid[4], "error of the prediction" if truth is not None else "error: the mask is not known")
    if truth is not None:
        is_known = (truth >= 0) & (truth < max(classes, int(prediction.max()) + 1))
        grid[4].imshow(((prediction != truth) & is_known).T, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for axes in grid[3:5]:
        axes.set_axis_off()
    _density(grid[5], scores, name)
    if np.isfinite(score):
        higher = np.mean(np.asarray(scores) > score)
        grid[5].axvline(score, color=structure_colour(1), linewidth=2)
        style.heading(grid[5], f"here {score:.3g}; {higher:.0%} score higher")
    write_bytes(path, style.png_bytes(figure, dpi=110))


def draw_densities(path: Path, scores: Sequence[float], chosen: Sequence[float], *, name: str, title: str) -> None:
    """Writes a PNG of the distribution of the scores of all candidates, with those of the chosen units as lines."""
    figure = style.new_figure(6, 3.4)
    axes = figure.subplots()
    _density(axes, scores, name)
    for value in np.asarray(chosen)[np.isfinite(chosen)]:
        axes.axvline(value, color=structure_colour(1), linewidth=1)
    axes.set_title(style.plain(title), loc="left", fontsize=10.5, color=style.INK, fontweight="bold")
    write_bytes(path, style.png_bytes(figure))


def _density(axes: style.Axes, scores: Sequence[float], name: str) -> None:
    values = np.asarray(scores, np.float64)
    values = values[np.isfinite(values)]
    style.calm(axes, xlabel=f"{name} of the candidates")
    axes.hist(values, bins=min(_BINS, max(1, len(values) // 2)), color=_LINE, alpha=0.6)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("images", color=style.QUIET, fontsize=9)
