"""A picture of slices side by side, in their order, with their annotation if there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.core.colours import structure_colour
from fewslice.core.files import write_bytes
from fewslice.data.io.pictures import is_picture
from fewslice.data.volume import Case
from fewslice.report.figures import style
from fewslice.report.figures.contours import outline

MOST = 60  # slices of a picture
_BACKGROUND = "#f4f1ea"  # a scribble in the background
_WIDTH = 9.5  # inches
_HEAD, _FOOT, _GAP = 0.34, 0.3, 0.05  # inches
_LETTER = 0.66  # width of a letter in letter sizes, with some room
_SMALLEST = 4  # columns, so that a few slices are not blown up


def pick_titles(names: Sequence[str], values: Sequence[float], counts: Sequence[int] = ()) -> list[str]:
    """Returns "1  001_ED_slice_03" and, below it, what the strategy found, for every chosen unit in order.

    With `counts`, the units that each stands for (itself included), "for 12" follows.
    """
    texts = [[f"{value:.4g}"] if math.isfinite(value) else [] for value in values]
    for text, count in zip(texts, counts, strict=False):
        text.append(f"for {count}")
    pairs = zip(names, texts, strict=True)
    return [
        "\n".join([f"{order}  {name}", ", ".join(text)][: 1 + bool(text)])
        for order, (name, text) in enumerate(pairs, 1)
    ]


def with_value_note(heading: str, values: Sequence[float], counts: Sequence[int] = ()) -> str:
    """Returns a heading that says what the numbers of `pick_titles` are, if there are any."""
    parts = ["its `value` in query.csv"] * bool(np.isfinite(values).any())
    parts += ["'for n': the n slices that it is nearest to"] * bool(len(counts))
    return f"{heading}; below a name: {', '.join(parts)}" if parts else heading


def upright(plane: np.ndarray, case: Case) -> np.ndarray:
    """Returns a slice (NX, NY, ...) for `draw_gallery`: pictures, which are stored row by row, lie in it transposed."""
    return plane.swapaxes(0, 1) if is_picture(case.image_path) else plane


def draw_gallery(
    path: Path,
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    *,
    annotations: Sequence[np.ndarray] | None = None,
    num_classes: int = 0,
    names: Sequence[str] = (),
    heading: str = "",
) -> None:
    """Writes a PNG of the first 60 slices; where there are more, it says so.

    Args:
        images: One (NX, NY) or (NX, NY, C) per slice; three channels are colours from 0 to 1, of another number the
            first is shown. Looked at one by one.
        annotations: One (NX, NY) per slice, classes from 0 and `num_classes` where nothing is annotated. Masks, which
            fill half of the box around them or more, are outlined; scribbles are painted. None draws none.
        num_classes: With the background.
        names: Of the classes without the background, for the legend; () calls them by their number.
    """
    count = min(len(titles), MOST)
    columns = min(10, max(_SMALLEST, math.ceil(math.sqrt(1.6 * count))))
    figure = _panels(images, titles[:count], columns, has_foot := annotations is not None and count > 0)
    for place, axes in enumerate(figure.axes):
        show(axes, np.asarray(images[place]))
        if annotations is not None:
            _annotate(axes, np.asarray(annotations[place]), num_classes)
    shown = f"the first {count} of {len(titles)} slices" if count < len(titles) else ""
    text = ": ".join(part for part in (heading, shown) if part) or ("" if count else "no slice was chosen")
    look = {"ha": "left", "va": "top", "fontsize": 10, "color": style.INK, "fontweight": "bold"}
    figure.text(0.01, 1 - 0.06 / figure.get_figheight(), style.plain(text), **look)
    if has_foot:
        _legend(figure, annotations[:count], names or [f"class {number}" for number in range(1, num_classes)])
    write_bytes(path, style.png_bytes(figure, dpi=130))


def _panels(images: Sequence[np.ndarray], titles: Sequence[str], columns: int, has_foot: bool) -> style.Figure:
    """Returns a figure with empty axes for every slice, in order, with their titles; sizes are in inches."""
    from matplotlib.figure import Figure

    shape = images[0].shape if len(titles) else (1, 1)
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    cell = _WIDTH / columns
    letters = min((_size(title, cell) for title in titles), default=8.0)
    above, picture = lines * letters * 1.25 / 72 + 0.05, (cell - _GAP) * shape[1] / shape[0]
    height = _HEAD + math.ceil(len(titles) / columns) * (above + picture + _GAP) + _FOOT * has_foot
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    for place, title in enumerate(titles):
        row, column = divmod(place, columns)
        top = height - _HEAD - row * (above + picture + _GAP) - above
        box = (column * cell + _GAP / 2, top - picture, cell - _GAP, picture)
        axes = figure.add_axes([value / size for value, size in zip(box, 2 * (_WIDTH, height), strict=True)])
        axes.set_axis_off()
        title += "\n" * (lines - 1 - title.count("\n"))
        axes.set_title(_fitted(title, cell), fontsize=letters, color=style.INK, pad=2)
    return figure


def _size(title: str, cell: float) -> float:
    """Returns the letter size, in points, with which a title fits into a cell of so many inches."""
    longest = max(map(len, title.split("\n")))
    return float(np.clip(cell * 72 / (_LETTER * max(longest, 1)), 5.0, 8.0))


def _fitted(title: str, cell: float) -> str:
    """Returns a title whose lines are cut in the middle where the smallest letters do not make them fit."""
    room = max(8, int(cell * 72 / (_LETTER * 5.0)))

    def cut(line: str) -> str:
        return line if len(line) <= room else f"{line[: room // 2 - 1]}…{line[-(room - room // 2) :]}"

    return style.plain("\n".join(map(cut, title.split("\n"))))


def show(axes: style.Axes, image: np.ndarray) -> None:
    """Shows (NX, NY) or (NX, NY, C), the first axis from left to right as in the usual short-axis view."""
    if image.ndim == 3 and image.shape[2] == 3:
        axes.imshow(np.clip(image, 0, 1).transpose(1, 0, 2), interpolation="bilinear")
        return
    plane = image if image.ndim == 2 else image[..., 0]
    low, high = np.percentile(plane, (0.5, 99.7))
    axes.imshow(plane.T, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear")


def _is_scribble(annotation: np.ndarray, num_classes: int) -> bool:
    drawn = annotation != num_classes
    return bool(0 < drawn.sum() < 0.5 * drawn.any(axis=0).sum() * drawn.any(axis=1).sum())


def _annotate(axes: style.Axes, annotation: np.ndarray, num_classes: int) -> None:
    from matplotlib.colors import to_rgba

    if _is_scribble(annotation, num_classes):
        paint = np.zeros((*annotation.shape, 4))
        for number in range(num_classes):
            paint[annotation == number] = to_rgba(structure_colour(number) if number else _BACKGROUND)
        axes.imshow(paint.transpose(1, 0, 2), interpolation="nearest")
        return
    for number in range(1, num_classes):
        outline(axes, (annotation == number).T, colors=[structure_colour(number)], linewidths=1.2)


def _legend(figure: style.Figure, annotations: Sequence[np.ndarray], names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    has_scribbles = any(_is_scribble(np.asarray(annotation), len(names) + 1) for annotation in annotations)
    handles = [Patch(facecolor=structure_colour(number), label=name) for number, name in enumerate(names, start=1)]
    if has_scribbles:
        handles.insert(0, Patch(facecolor=_BACKGROUND, edgecolor=style.QUIET, label="background"))
    look = style.LEGEND | {"fontsize": 8}
    figure.legend(handles=handles, loc="lower center", ncols=max(1, min(len(handles), 10)), **look)
