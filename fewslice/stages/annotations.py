"""Painted files, wherever they lie: those of a selection, a round or an experiment, or any folder of masks."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.active.annotators import ANNOTATIONS, Task
from fewslice.active.annotators.file_exchange import BACK, HANDED_OUT, FileExchange
from fewslice.active.pool import open_pool
from fewslice.active.round_files import REPLACED
from fewslice.core.errors import ConfigError, DataError, FewSliceError, few
from fewslice.data import cache
from fewslice.data.new_dataset.annotations import Painted
from fewslice.data.painted import ENDINGS, completed, find_painted, read_painted
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import visible
from fewslice.settings.datasets import DatasetConfig

_LIST = "slices.csv"


def read_painted_files(
    dataset: DatasetConfig, place: Path, *, accept: Collection[str] = (), is_full: bool = False
) -> Iterator[Painted]:
    """Yields what was painted on the volumes of a dataset.

    Of files that were handed out the listed slices count. In a folder of any other masks those slices count in which
    something is painted.

    Args:
        place: Folder of a selection, a round or an experiment, or of files <volume>_annotation or <volume>.
        accept: Answers of `--accept`.
        is_full: In a folder of other masks everything that is not painted is background.

    Raises:
        DataError, FewSliceError: no files, or everything that is wrong with them; after the others were yielded.
    """
    if not place.is_dir():
        found = "a file" if place.exists() else "no such folder"
        remedy = "Give the folder of a selection, of a round or experiment, or of painted files with --from."
        raise DataError(place, expected="a folder", found=found, remedy=remedy)
    handed = sorted(path.parent.parent for path in place.rglob(f"{HANDED_OUT}/{_LIST}"))
    handed = [folder for folder in handed if REPLACED not in folder.relative_to(place).parts]  # by --redo_round
    if not handed and place.name == BACK and (place.parent / HANDED_OUT / _LIST).exists():
        handed = [place.parent]
    for folder in handed:
        yield from _handed_out(dataset, folder, accept)
    if not handed:
        yield from _masks(dataset, place, is_full=is_full)


def _handed_out(dataset: DatasetConfig, folder: Path, accept: Collection[str]) -> Iterator[Painted]:
    reader, units = get_reader(dataset), defaultdict(list)
    path = folder / HANDED_OUT / _LIST
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = list(csv.DictReader(file))
    if not rows or None in {rows[0].get("volume"), rows[0].get("unit_id")}:
        text = "the list as it was handed out, with columns volume and unit_id between commas"
        remedy = "Save it with commas again, or give the folder of the painted files alone: move them elsewhere."
        raise DataError(path, expected=text, found=few(list(rows[0])) if rows else "no line", remedy=remedy)
    asked = {row["volume"]: row.get("annotation") or "mask" for row in rows}
    known = {case.case_id: case for case in reader.cases()}
    back = [name for name in asked if name in known and find_painted(folder / BACK, name)]
    left = [name for name in asked if name not in back]
    if left:
        logging.warning("%s: not back yet, and left out: %s.", folder / BACK, few(left))
    if not back:
        return
    volumes = cache.open_cache(dataset, [known[name] for name in back], with_label=False)
    pool = open_pool(volumes)
    for row in rows:
        if row["volume"] in back:
            try:
                units[asked[row["volume"]]].append(pool.find(row["unit_id"]))
            except (KeyError, FewSliceError):
                raise ConfigError(
                    f"{folder}: {row['unit_id']} is no slice of {dataset.name}. Annotated patches are labels within "
                    "their experiment; only whole slices become labels of a dataset."
                ) from None
    for drawn, chosen in units.items():
        task = Task(pool, volumes, dataset, ANNOTATIONS.get(drawn), accept)
        for volume, labels in FileExchange(task).take(folder, np.array(chosen)):
            yield Painted.of(volume, labels, dataset.num_classes)


def _masks(dataset: DatasetConfig, folder: Path, *, is_full: bool) -> Iterator[Painted]:
    reader, problems, ignore = get_reader(dataset), [], dataset.num_classes
    files = _find(reader.cases(), folder)
    if not files:
        there = [path.name for path in visible(folder)]
        raise DataError(
            folder,
            expected=f"files of volumes of {dataset.name}, such as "
            f"{reader.cases()[0].case_id}_annotation.nii.gz ({', '.join(ENDINGS)})",
            found=few(there, 8) if there else "an empty folder",
            remedy="Put the painted files there under the names of their volumes, or correct --from.",
        )
    for case, path in files:
        volume = reader.read(case, with_label=False)
        try:
            labels = read_painted(path, volume, names=dataset.struct_name, ignore=ignore)
        except DataError as error:
            problems.append(error)
            continue
        whole = np.where(labels == ignore, 0, labels).astype(np.uint8)
        yield Painted.of(volume, whole if is_full else completed(labels, ignore), ignore)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise FewSliceError(f"{len(problems)} painted files cannot be used:\n{listed}")


def _find(cases: Sequence, folder: Path) -> list[tuple]:
    found = []
    for case in cases:
        plain = (folder / f"{case.case_id}{ending}" for ending in ENDINGS)
        path = find_painted(folder, case.case_id) or next(filter(Path.is_file, plain), None)
        found += [(case, path)] if path else []
    return found
