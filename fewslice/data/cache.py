"""Prepared volumes (normalised, resampled, cropped), made once and then memory-mapped.

`open_cache` prepares what is missing or out of date and maps the rest, so a dataset larger than memory can be
trained on and a second run starts at once. `cache_store` says what lies where.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewslice.core import files
from fewslice.core.console import duration
from fewslice.core.errors import DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.core.parallel import map_threads
from fewslice.core.progress import Progress
from fewslice.data.cache_store import LABEL, NATIVE, SCRIBBLE, Annotations, Store
from fewslice.data.io.nifti import Header
from fewslice.data.readers import Reader, get_reader
from fewslice.data.volume import Case, Volume
from fewslice.settings.datasets import DatasetConfig


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """One volume on the network's grid.

    Attributes:
        case: Where it came from.
        image: (Z, NX, NY) float32, memory-mapped; the 1st and 99th percentile are 0 and 1, not clipped. With several
            channels (Z, NX, NY, C); with the dataset's `intensity` "as_stored" the file's values.
        label: (Z, NX, NY) uint8, memory-mapped, or None if not asked for.
        native_shape: (X, Y, Z) of the file.
        spacing_mm: Size of a native voxel along x, y and z.
        affine: (4, 4) float64 of the file.
        source_digest: Stands for the content of the native files.
        scribble: (Z, NX, NY) uint8, memory-mapped, num_classes = not annotated, or None if not asked for.
        native_label: (X, Y, Z) uint8 on the grid of the file, memory-mapped, or None if `label` is.
        header: The file's NIfTI header; None for other formats, or if the label was not asked for.
    """

    case: Case
    image: np.ndarray
    label: np.ndarray | None
    native_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    source_digest: str
    scribble: np.ndarray | None = None
    native_label: np.ndarray | None = None
    header: Header | None = None

    @property
    def native(self) -> Volume:
        """The label and the geometry of the file, as the cache holds them; without image and scribble."""
        return Volume(self.case, None, self.native_label, None, self.spacing_mm, self.affine, (), self.header)


class PreparedSet(Sequence):
    """The prepared volumes of several cases, in the order in which they were asked for.

    Args:
        volumes: The volumes.
    """

    def __init__(self, volumes: Sequence[PreparedVolume]):
        self._volumes = tuple(volumes)

    def __len__(self) -> int:
        return len(self._volumes)

    def __getitem__(self, index):
        chosen = self._volumes[index]
        return PreparedSet(chosen) if isinstance(index, slice) else chosen

    def __iter__(self) -> Iterator[PreparedVolume]:
        return iter(self._volumes)

    @property
    def digest(self) -> str:
        """Stands for the cases and the content of their files; a run records it."""
        return files.digest([(volume.case.case_id, volume.source_digest) for volume in self._volumes])


@dataclass
class BuildReport:
    """Outcome of a build, by case id.

    Attributes:
        folder: The cache.
        done: Cases that were prepared.
        skipped: Cases that were up to date.
        refused: Cases whose files are wrong, with the reason.
        notes: Remarks on cases that were prepared, now or before.
        seconds: How long it took.
    """

    folder: Path
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: dict[str, DataError] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def describe(self) -> str:
        """Returns the summary as text: counts, remarks, refused cases with their reasons."""
        counts = f"{len(self.done)} prepared, {len(self.skipped)} up to date, {len(self.refused)} refused"
        lines = [f"{self.folder}: {counts} ({duration(self.seconds)})"]
        lines += [f"  note  {case_id}: {note}" for case_id, notes in self.notes.items() for note in notes]
        return "\n".join(lines + [f"\nrefused {name}: {error}" for name, error in self.refused.items()])


def open_cache(
    dataset: DatasetConfig,
    cases: Sequence[Case],
    *,
    with_label: bool,
    with_scribble: bool = False,
    root: Path | None = None,
    progress: bool = True,
    verify: bool = False,
) -> PreparedSet:
    """Opens the prepared volumes of some cases, after preparing those that are missing or out of date.

    Args:
        dataset: Settings; another resolution, size, label map, ... leads to another cache folder.
        cases: Volumes of the dataset, from `find_cases`.
        with_label: Prepare and open labels too. Without it no label is opened, even if it is there.
        with_scribble: Prepare and open scribbles too.
        root: Folder below which all datasets lie; default that of `dataset`.
        progress: Show a progress line while preparing.
        verify: Compare the checksums of all files, not only sizes and times.

    Raises:
        DataError: the files of one case are wrong.
        FewSliceError: those of several cases are, with every message; or the file system refuses.
    """
    reader = get_reader(dataset, root)
    wanted = {"with_label": with_label, "with_scribble": with_scribble}
    report = build_cache(reader, cases, **wanted, progress=progress, verify=verify)
    if report.refused:
        errors = list(report.refused.values())
        if len(errors) == 1:
            raise errors[0]
        raise FewSliceError(f"{len(errors)} volumes cannot be used:\n" + "\n".join(map(str, errors)))
    store = Store(reader)
    annotations = _asked_for(**wanted)
    return PreparedSet([open_prepared(store, case, annotations) for case in cases])


def build_cache(
    reader: Reader,
    cases: Sequence[Case],
    *,
    with_label: bool | None,
    with_scribble: bool = False,
    progress: bool = True,
    workers: int | None = None,
    verify: bool = False,
) -> BuildReport:
    """Prepares the cases that are missing or out of date. A case that is refused does not stop the others.

    Every case is complete or absent at any moment, so a killed build continues where it was; a second process
    waits.

    Args:
        reader: Reads the native volumes.
        cases: What to prepare.
        with_label: Prepare labels too; None where there is one.
        with_scribble: Prepare scribbles too.
        progress: Show a progress line.
        workers: Volumes prepared at a time; default the number of processors.
        verify: Compare the checksums of what is there, not only sizes and times.

    Raises:
        FewSliceError: the file system refuses.
    """
    started, store = time.monotonic(), Store(reader)
    report, jobs = BuildReport(store.folder), {}
    for case in cases:
        has_label = case.label_path is not None if with_label is None else with_label
        jobs[case.case_id] = (case, _asked_for(has_label, with_scribble))
    pending = [job for job in jobs.values() if verify or not store.is_current(*job)]

    def work(job: tuple[Case, Annotations]) -> bool | DataError:
        try:
            return not store.refresh(*job, verify=verify) and bool(store.build(*job))
        except DataError as error:
            return error

    title = f"Preparing {reader.dataset.name}"
    lock = folder_lock(store.folder) if pending else contextlib.nullcontext()
    with lock, Progress(len(pending), title, is_enabled=progress) as line:
        for index, result in map_threads(work, pending, workers=workers):
            case_id = pending[index][0].case_id
            if isinstance(result, DataError):
                report.refused[case_id] = result
            elif result:
                report.done.append(case_id)
            line.update(note=case_id)
        if report.done:
            store.write_manifest()
    report.done.sort()
    report.refused = dict(sorted(report.refused.items()))
    report.skipped = sorted(jobs.keys() - report.refused.keys() - set(report.done))
    for case_id in report.done + report.skipped:
        if notes := (store.entry(jobs[case_id][0]) or {}).get("notes"):
            report.notes[case_id] = list(notes)
    report.seconds = time.monotonic() - started
    return report


def _asked_for(with_label: bool, with_scribble: bool) -> Annotations:
    return frozenset(key for key, is_wanted in ((LABEL, with_label), (SCRIBBLE, with_scribble)) if is_wanted)


def open_prepared(store: Store, case: Case, annotations: Annotations) -> PreparedVolume:
    """Maps one case that `build_cache` has prepared."""
    entry = store.entry(case)
    if entry is None:
        raise FewSliceError(f"{store.folder / case.case_id} vanished while it was opened. Repeat the command.")
    has_label = LABEL in annotations
    return PreparedVolume(
        case=case,
        image=store.load(case, "image"),
        label=store.load(case, LABEL) if has_label else None,
        native_shape=tuple(entry["native_shape"]),
        spacing_mm=tuple(entry["spacing_mm"]),
        affine=np.asarray(entry["affine"], np.float64),
        source_digest=store.source_digest(case, entry, annotations),
        scribble=store.load(case, SCRIBBLE) if SCRIBBLE in annotations else None,
        native_label=store.load(case, NATIVE) if has_label else None,
        header=store.header(entry) if has_label else None,
    )
