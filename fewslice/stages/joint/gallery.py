"""The picture of a round of pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewslice.core import files
from fewslice.refine.pseudo_labels import Shown, Truth
from fewslice.report.figures import contours, style


def draw_gallery(path: Path, shown: Sequence[Shown], truth: Truth, *, struct_name: Sequence[str]) -> None:
    """Draws a few volumes: lines are pseudo-labels; the fill is the truth, or the network's own answer without it."""
    has_truth = all(truth(volume.case.case_id) is not None for volume, _, _ in shown)
    drawn = []
    for volume, before, after in shown:
        other = truth(volume.case.case_id) if has_truth else before
        image, label, other = (np.moveaxis(np.asarray(array), 0, -1) for array in (volume.image, after, other))
        slices = contours.choose_slices(other, label)
        window = contours.choose_window([other, label], (1.0, 1.0, 1.0))
        captions = tuple(f"slice {index + 1}" for index in slices)
        drawn.append(contours.Row(volume.case.case_id, image, other, label, (1.0, 1.0, 1.0), slices, window, captions))
    names = ("line: pseudo-label", "filled: true" if has_truth else "filled: before refinement")
    files.write_bytes(path, style.png_bytes(contours.plot_rows(drawn, struct_name, names=names)))
