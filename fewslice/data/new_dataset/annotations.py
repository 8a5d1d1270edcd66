"""From painted slices to partial labels beside the scans, which label what a person painted and nothing else.

`scripts/add_annotations.py` prints what happens and writes the lists of `fewslice.data.new_dataset.files`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fewslice.core.errors import ConfigError, DataError, few
from fewslice.core.files import write_text
from fewslice.data.io.pictures import write_label
from fewslice.data.new_dataset import files
from fewslice.data.readers import Reader, get_reader
from fewslice.data.volume import Volume
from fewslice.settings.datasets import DatasetConfig, load_dataset_config
from fewslice.settings.splits import Splits

IGNORE = 255  # code in the label files of datasets that have not said which
_FEWEST_SLICES = 5  # of a volume in which a single slice can be one of a few that were painted


@dataclasses.dataclass(frozen=True, eq=False)
class Painted:
    """What is known of a volume.

    Attributes:
        volume: The volume; its image is not needed and may be None.
        slices: (n,) slices of `volume` in which anything is annotated.
        labels: (X, Y, n) uint8 of these, num_classes = not annotated.
        depth: Slices of the volume.
    """

    volume: Volume
    slices: np.ndarray
    labels: np.ndarray
    depth: int

    @classmethod
    def of(cls, volume: Volume, labels: np.ndarray, ignore: int) -> Painted:
        """Returns what (X, Y, Z) labels say."""
        slices = np.flatnonzero((labels != ignore).any(axis=(0, 1)))
        return cls(dataclasses.replace(volume, image=None), slices, labels[..., slices], labels.shape[2])

    def shows(self, num_classes: int) -> bool:
        """Whether a structure is painted."""
        return bool(((self.labels > 0) & (self.labels < num_classes)).any())

    def describe(self) -> str:
        """Returns the slices as they are counted from 1 in the file."""
        there = self.slices + 1 if self.volume.axes[2] > 0 else self.depth - self.slices[::-1]
        return f"slices {few([*map(str, there)], 12)} of {self.depth}" if len(there) else "nothing is painted"


def add_to_label(reader: Reader, painted: Painted) -> int:
    """Writes what was painted into the label file of a volume, which keeps what it says elsewhere.

    Args:
        reader: Of the dataset; its `ignore_label` is what the file holds where nothing is annotated.

    Returns:
        How many voxels had another class before.

    Raises:
        DataError: a label that is there already cannot be read or has no name that can be written.
        ConfigError: a layout in which labels have no place of their own.
    """
    dataset, unknown = reader.dataset, reader.dataset.num_classes
    (case,) = (case for case in reader.cases() if case.case_id == painted.volume.case.case_id)  # its own label file
    target = case.label_path or reader.new_label_path(case)
    if dataset.label_values == "instances":
        raise ConfigError(f"{target}: painted classes would take the place of numbers of objects. Add them by hand.")
    if target.exists():  # maybe since a moment: several rounds may have painted slices of one volume
        case = dataclasses.replace(case, label_path=target)
    whole = reader.read(case, with_label=case.label_path is not None)
    before = whole.label
    if before is None:
        before = np.full(whole.image.shape[:3], unknown, np.uint8)
    if not target.name.lower().endswith((".nii.gz", ".png")):
        remedy = "Compress it (gzip), so that annotations can be added."
        raise DataError(target, expected="a label <name>.nii.gz or .png", found="another ending", remedy=remedy)
    after, old = before.copy(), before[..., painted.slices]
    after[..., painted.slices] = np.where(painted.labels < unknown, painted.labels, old)
    if case.label_path is None or (after != before).any():
        codes = {label: code for code, label in reversed(dataset.label_map)}
        table = [*(codes.get(number, number) for number in range(unknown)), dataset.ignore_label]
        write_label(target, np.array(table, np.min_scalar_type(max(table)))[after], like=whole)
    return int(((painted.labels < unknown) & (old < unknown) & (painted.labels != old)).sum())


def add(
    dataset: DatasetConfig,
    found: Sequence[Painted],
    folder: Path,
    *,
    seed: int = 0,
    val: int | None = None,
    test: int | None = None,
    redraw: bool = False,
    dry_run: bool = False,
) -> Iterator[str]:
    """Adds painted volumes to the labels of a dataset and their patients to its lists; yields lines for the terminal.

    Args:
        dataset: Without full labels; its init file gets an `ignore_label` where it has none.
        folder: Where its two files are.
        seed, val, test: See `files.extend_patients`.
        redraw: Draw new lists; the earlier file stays beside them.
        dry_run: Yield the new lists and write nothing.

    Raises:
        ConfigError, DataError: see `add_to_label` and `extend_patients`; or the files could not be loaded with these
            lists.
    """
    found = [painted for painted in found if len(painted.slices)]
    init, lists = folder / f"init_{dataset.name}.py", folder / f"data_cfg_{dataset.name}.py"
    settings, before = init.read_text(encoding="utf-8"), lists.read_text(encoding="utf-8")
    if dataset.ignore_label is None:
        dataset = dataclasses.replace(dataset, ignore_label=IGNORE)
        settings = f"{settings.rstrip()}\n\n{files.IGNORE_LINES.format(IGNORE)}"
    reader, old = get_reader(dataset), dataset.splits
    labelled = {case.patient_id for case in reader.cases() if case.label_path is not None}
    labelled |= {painted.volume.case.patient_id for painted in found}
    others = sorted({case.patient_id for case in reader.cases()} - labelled)
    counts = {"seed": seed, "val": val, "test": test}
    if redraw:
        new = files.extend_patients(Splits({}, {}, ()), sorted(labelled), others, **counts)
        text = files.splits_text(dataset.name, new, seed)
    else:
        new = files.extend_patients(old, sorted(labelled), others, **counts)
        text = files.extended_text(dataset.name, before, old, new, seed)
    with tempfile.TemporaryDirectory() as temporary:  # refuses what could not be loaded
        for path, content in ((init, settings), (lists, text)):
            write_text(Path(temporary) / path.name, content)
        new = load_dataset_config(dataset.name, folder=Path(temporary), data_root=dataset.data_root).splits
    if dry_run:
        yield f"Would write {lists}:\n{text}"
    else:
        write_text(init, settings)  # first: it says what the code in the labels means
        for painted in found:
            changed = add_to_label(reader, painted)
            note = f"; {changed} voxels had another class before" * (changed > 0)
            count = "1 slice is a label" if len(painted.slices) == 1 else f"{len(painted.slices)} slices are labels"
            yield f"{painted.volume.case.case_id}: {count} now{note}"
        if redraw and text != before:
            write_text(lists.with_suffix(".before.txt"), before)
        write_text(lists, text)
    yield files.training_steps(dataset.name, new, old)


def sparse_slices(label: np.ndarray) -> tuple[int, ...]:
    """Returns the slices with structures, if they look like a few that were painted; () otherwise.

    So look masks most of whose runs of neighbouring slices with structures are one slice long.

    Args:
        label: (X, Y, Z), 0 is background.
    """
    shown = (label > 0).any(axis=(0, 1))
    ends = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(np.int8)))
    lengths = ends[1::2] - ends[::2]
    is_sparse = len(shown) >= _FEWEST_SLICES and len(lengths) and 2 * np.count_nonzero(lengths == 1) > len(lengths)
    return tuple(np.flatnonzero(shown).tolist()) if is_sparse else ()


def sparse_question(found: Sequence[tuple[str, tuple[int, ...], int]]) -> str:
    """Returns the question about labels that look painted in few slices: (case id, those slices, slices in all)."""
    lines = [
        f"  {case_id}: {few([str(index + 1) for index in slices], 8)} of {count}" for case_id, slices, count in found
    ]
    lines[8:] = [f"  and {len(lines) - 8} more"] if len(lines) > 8 else []
    return "\n".join([
        f"{len(found)} labels show structures in single slices with empty ones beside them (counted from 1):",
        *lines,
        "If only these slices were painted, repeat the command with\n  --sparse_labels=partial",
        "and nothing is learned or scored in the others. If the empty slices truly show no structure, with\n"
        "  --sparse_labels=full",
    ])  # fmt: skip


def check_shows(found: Sequence[Painted], num_classes: int, *, is_accepted: bool = False) -> None:
    """Raises `ConfigError` if no slice was painted, or, unless it is accepted, if none of those shows a structure."""
    count = sum(len(each.slices) for each in found)
    if not count or not (is_accepted or any(each.shows(num_classes) for each in found)):
        empty = f"{count} slices are empty (background only)" if count else "nothing is painted"
        raise ConfigError(
            f"In the painted files of {len(found)} volumes {empty}, so that there is nothing to learn. Were they saved "
            "after painting, and into this folder? Nothing was changed."
        )
