"""From the codes in a label file to the classes 0 ... num_classes - 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewslice.core.errors import DataError
from fewslice.settings.datasets import DatasetConfig

_LARGEST_SPAN = 1 << 20  # of codes that are counted in a table


def to_classes(
    codes: np.ndarray, path: Path, dataset: DatasetConfig, *, unknown_is_background: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Translates label codes and refuses those that have no meaning.

    Args:
        codes: (X, Y, Z) int32.
        path: The label file, for messages.
        dataset: Its `label_map`, empty if codes are classes, and `num_classes` count. Code 0 is background unless the
            map lists it.
        unknown_is_background: Codes without a class become background, with a note. Files that hold nothing
            but classes are then taken as they are, since they were translated before.

    Returns:
        (X, Y, Z) uint8 classes, and notes on what was changed.

    Raises:
        DataError: codes without a class; lists them with their counts.
    """
    values, counts = _histogram(codes)
    label_map, num_classes = dataset.label_map, dataset.num_classes
    known = {0: 0, **dict(label_map)} if label_map else {code: code for code in range(num_classes)}
    is_translated = values[0] >= 0 and values[-1] < num_classes
    if unknown_is_background and is_translated and not known.keys() >= set(values):
        known = {code: code for code in range(num_classes)}
    unknown = {value: count for value, count in zip(values, counts, strict=True) if value not in known}
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(unknown.items())[:10])
    listed += f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    is_foreign = not any(known.get(value) for value in values)
    if unknown and (not unknown_is_background or is_foreign):
        raise DataError(
            path,
            expected=f"label values {_ranges(known)} ({'`label_map`' if label_map else '`num_classes`'})",
            found=f"also {listed}",
            remedy="Correct the file, or set `label_map` (code in the file -> class) in the init file.",
        )
    classes = np.zeros(codes.shape, np.uint8)
    for value in values:
        if known.get(value):
            classes[codes == value] = known[value]
    notes = (f"label values {listed} have no class and were read as background",) if unknown else ()
    return classes, notes


def _histogram(codes: np.ndarray) -> tuple[list[int], list[int]]:
    """Returns the codes that occur, rising, and how often each does."""
    low, high = int(codes.min()), int(codes.max())
    if high - low > _LARGEST_SPAN:
        values, counts = np.unique(codes, return_counts=True)
    else:
        counts = np.bincount((codes - low).ravel())
        values = np.flatnonzero(counts)
        counts, values = counts[values], values + low
    return values.tolist(), counts.tolist()


def _ranges(known: dict[int, int]) -> str:
    codes = sorted(known)
    if codes == list(range(len(codes))):
        return f"0 to {codes[-1]}"
    return ", ".join(str(code) for code in codes)
