"""Figures of predicted and true outlines over the slices of a volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fewslice.core.colours import structure_colour
from fewslice.core.errors import FewSliceError
from fewslice.data.io.pictures import is_picture
from fewslice.report.figures import style
from fewslice.report.tables.table import number

if TYPE_CHECKING:
    from fewslice.data.volume import Volume


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the figure.

    Attributes:
        image: (X, Y, Z) or (X, Y, Z, C) intensities; of several channels the mean is shown.
        truth: (X, Y, Z) integer labels.
        prediction: (X, Y, Z) integer labels.
        slices: Which slices, one per column.
        window: Rows and columns (of the array's first two axes) to show.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, float, float]
    slices: tuple[int, ...]
    window: tuple[slice, slice]
    captions: tuple[str, ...]


def plot_rows(
    rows: Sequence[Row], structures: Sequence[str], names: tuple[str, str] = ("line: predicted", "filled: true")
) -> style.Figure:
    """Draws rows of slices: predictions as lines, truth as a faint fill with a dotted rim.

    Args:
        rows: All with the same number of slices.
        structures: Names of the labels 1, 2, ...
        names: What the legend calls lines and fills.
    """
    columns = max(3, *(len(row.slices) for row in rows))  # one slice alone would fill the page
    lengths = [
        [row.spacing_mm[axis] * (row.window[axis].stop - row.window[axis].start) for axis in (0, 1)] for row in rows
    ]
    heights = [length[1] / length[0] for length in lengths]
    width = 9.0
    figure = style.new_figure(width, sum(heights) * (width - 0.5) / columns + 0.24 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for axes_row, row in zip(grid, rows, strict=True):
        low, high = np.percentile(row.image[row.window], (0.5, 99.7))
        for column, axes in enumerate(axes_row):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if column < len(row.slices):
                _panel(axes, row, row.slices[column], (low, high), len(structures))
                axes.set_title(style.plain(row.captions[column]), fontsize=8, color=style.QUIET, pad=2.5)
        axes_row[0].set_ylabel(style.plain(row.title), fontsize=8.5, color=style.INK)
    _legend(figure, structures, names)
    return figure


def _panel(axes: style.Axes, row: Row, index: int, limits: tuple[float, float], num_structures: int) -> None:
    # Columns of the picture run along the first axis of the array, as in the usual short-axis view.
    image = row.image[*row.window, index]
    image = (image if image.ndim == 2 else image.mean(axis=-1)).T  # several channels as grey
    aspect = row.spacing_mm[1] / row.spacing_mm[0]
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-6), aspect=aspect,
                interpolation="bilinear")  # fmt: skip
    truth, prediction = (array[*row.window, index].T for array in (row.truth, row.prediction))
    for structure in range(1, num_structures + 1):
        colour = structure_colour(structure)
        outline(axes, truth == structure, fill=colour, colors=["white"], linewidths=0.8, linestyles="dotted")
        outline(axes, prediction == structure, colors=[colour], linewidths=1.3, linestyles="solid")


def outline(axes: style.Axes, mask: np.ndarray, *, fill: str | None = None, **line) -> None:
    """Draws the outline of a (rows, columns) mask, if there is anything in it, and its area in the colour `fill`."""
    if not mask.any():
        return
    padded = np.pad(mask.astype(float), 1)  # outlines close at the border of the picture
    y, x = (np.arange(-1, size + 1) for size in mask.shape)
    if fill:
        axes.contourf(x, y, padded, levels=[0.5, 2], colors=[fill], alpha=0.16)
    axes.contour(x, y, padded, levels=[0.5], **line)
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(mask.shape[0] - 0.5, -0.5)


def _legend(figure: style.Figure, structures: Sequence[str], names: tuple[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=structure_colour(index), linewidth=2, label=style.plain(name.upper()))
        for index, name in enumerate(structures, start=1)
    ]
    handles += [
        Line2D([], [], color=style.QUIET, linewidth=1.5, label=names[0]),
        Patch(facecolor="#c9cfd6", edgecolor=style.QUIET, linestyle="dotted", label=names[1]),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **style.LEGEND | {"fontsize": 8.5})


def choose_slices(truth: np.ndarray, prediction: np.ndarray, count: int = 4) -> tuple[int, ...]:
    """Returns `count` slices (or fewer) of those with something to show, evenly spread."""
    shown = np.flatnonzero(((truth > 0) | (prediction > 0)).any(axis=(0, 1)))
    shown = shown if len(shown) else np.arange(truth.shape[2])
    places = np.unique(np.rint(np.linspace(0, len(shown) - 1, count)).astype(int))
    return tuple(int(shown[place]) for place in places)


def choose_window(
    masks: Sequence[np.ndarray], spacing_mm: Sequence[float], margin_mm: float = 15
) -> tuple[slice, slice]:
    """Returns the part of the plane around all labels, as square in mm as the image allows."""
    shape = masks[0].shape[:2]
    found = np.argwhere(np.any([(mask > 0).any(axis=2) for mask in masks], axis=0))
    if not len(found):
        return slice(0, shape[0]), slice(0, shape[1])
    low, high = found.min(axis=0), found.max(axis=0) + 1
    side = max((high - low) * np.array(spacing_mm[:2])) + 2 * margin_mm
    windows = []
    for axis in (0, 1):
        size = min(shape[axis], math.ceil(side / spacing_mm[axis]))
        start = int(np.clip((low[axis] + high[axis] - size) // 2, 0, shape[axis] - size))
        windows.append(slice(start, start + size))
    return windows[0], windows[1]


def _dice(truth: np.ndarray, prediction: np.ndarray, structures: Sequence[str]) -> str:
    parts = []
    for index, name in enumerate(structures, start=1):
        size = np.count_nonzero(truth == index) + np.count_nonzero(prediction == index)
        both = np.count_nonzero((truth == index) & (prediction == index))
        if size:
            parts.append(f"{name.upper()} {number(2 * both / size, digits=2)}")
    return "  ".join(parts) or "empty"


def case_rows(native: Volume, predictions: Mapping[str, np.ndarray], structures: Sequence[str]) -> list[Row]:
    """Returns the rows of one volume, one per prediction, all with the same four slices and window.

    Args:
        native: The volume on its original grid, with its label; only slices in which something is annotated (a value
            that is no structure's) are chosen, and only annotated pixels count in the Dice.
        predictions: Title of the row -> label (X, Y, Z).
        structures: Names of the labels 1, 2, ...

    Raises:
        FewSliceError: the volume has no label, or a prediction has another shape.
    """
    if native.label is None:
        raise FewSliceError("The volume has no label, so there is no true outline to draw.")
    for title, prediction in predictions.items():
        if prediction.shape != native.label.shape:
            raise FewSliceError(
                f"The prediction of {' '.join(title.split())} has shape {prediction.shape}, the volume "
                f"{native.label.shape}. Was the dataset changed after the evaluation? Evaluate again."
            )
    arrays, is_turned = (native.image, native.label, *predictions.values()), is_picture(native.case.image_path)
    image, label, *found = (array.swapaxes(0, 1) if is_turned else array for array in arrays)
    predictions, known = dict(zip(predictions, found, strict=True)), label <= len(structures)
    truth = label * known
    everything = np.maximum.reduce([truth, *(prediction * known for prediction in predictions.values())])
    slices = choose_slices(truth, everything)
    window = choose_window([truth, everything], native.spacing_mm)
    rows = []
    for title, prediction in predictions.items():
        dice = [_dice(truth[..., k], (prediction * known)[..., k], structures) for k in slices]
        captions = tuple(f"slice {k + 1}:  {text}" for k, text in zip(slices, dice, strict=True))
        rows.append(Row(title, image, truth, prediction, native.spacing_mm, slices, window, captions))
    return rows
