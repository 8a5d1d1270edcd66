"""Prepared volumes (normalised, resampled, cropped), made once and then memory-mapped.

`open_cache` prepares what is missing or out of date and maps the rest, so a dataset larger than memory can be
trained on and a second run starts at once.

<data root>/<data_path_tr_cropped>/<digest of the settings>/
    manifest.json                 settings and a table of all cases, for people and other programs
    <case id>/image.npy           (Z, NX, NY) float32; (Z, NX, NY, C) where `num_channels` is more than 1
              label.npy           (Z, NX, NY) uint8, num_classes = not annotated, and
              native_label.npy    (X, Y, Z) uint8 on the grid of the file, if the label was asked for, and
              instances.npy       (X, Y, Z) uint16, the number of the object there, where labels hold such numbers
              scribble.npy        (Z, NX, NY) uint8, num_classes = not annotated, if scribbles were asked for;
                                  scribble_simulated.npy where the dataset's `scribbles` are simulated
              entry.json          checksums of sources, arrays and itself; written last, so it vouches for the rest
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.core import files, later
from fewslice.core.console import duration
from fewslice.core.errors import DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.core.parallel import map_threads
from fewslice.core.progress import Progress
from fewslice.data.io.geometry import STORED, Axes
from fewslice.data.io.nifti import Header, header_from
from fewslice.data.readers import Reader, get_reader
from fewslice.data.readers.selection import find_readable
from fewslice.data.volume import (
    BY_PIXEL,
    Case,
    Volume,
    image_notes,
    image_to_grid,
    label_to_grid,
    partial_label_to_grid,
    refuse_large_grid,
)
from fewslice.settings.datasets import DatasetConfig, without_later_defaults

Annotations = frozenset[str]  # what is asked for beside the image: LABEL, SCRIBBLE, both or nothing
LABEL, SCRIBBLE, NATIVE, INSTANCES = "label", "scribble", "native_label", "instances"
CHECKSUM = "checksum"  # of the rest of an entry; those of earlier versions have none and are made again
AT_ONCE = 512 << 20  # bytes of arrays whose checksums are compared before a training starts, of more beside it
FORMAT = 1  # raise it when preparation or this format changes, so that old caches are not used
_SETTINGS = (
    "layout", "data_path_tr", "images_dir", "labels_dir", "image_channel", "label_map", "num_classes",
    "img_size_x", "img_size_y", "target_resolution", "percentiles", "anti_aliasing", "num_channels", "grid",
    "intensity", "orientation", "label_resampling", "ignore_label", "label_values",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """One volume on the network's grid.

    Attributes:
        case, spacing_mm, affine, axes: As in `Volume`.
        image: (Z, NX, NY) float32, memory-mapped; the 1st and 99th percentile are 0 and 1, not clipped. With several
            channels (Z, NX, NY, C); with the dataset's `intensity` "as_stored" the file's values.
        label: (Z, NX, NY) uint8, memory-mapped, num_classes = not annotated, or None if not asked for.
        native_shape: (X, Y, Z) of the file, its axes turned as `axes` says; so are those of all else but `header`.
        source_digest: Stands for the content of the native files.
        scribble: (Z, NX, NY) uint8, memory-mapped, num_classes = not annotated, or None if not asked for.
        native_label: (X, Y, Z) uint8 on the grid of the file, memory-mapped, or None if `label` is.
        header: As in `Volume`; None too if the label was not asked for.
        num_classes: Classes, background included.
        instances: As in `Volume`, memory-mapped.
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
    axes: Axes = STORED
    num_classes: int = 255
    instances: np.ndarray | None = None

    @functools.cached_property
    def annotated_slices(self) -> np.ndarray:
        """(n,) int64: the slices of `label` in which something is annotated."""
        return np.flatnonzero((self.label < self.num_classes).any(axis=(1, 2)))

    @functools.cached_property
    def structure_slices(self) -> np.ndarray:
        """(n,) int64: the slices of `label` that show a structure."""
        return np.flatnonzero(((self.label > 0) & (self.label < self.num_classes)).any(axis=(1, 2)))

    @functools.cached_property
    def shows_structure(self) -> bool:
        """Whether the label has anything but background."""
        return bool(((self.native_label > 0) & (self.native_label < self.num_classes)).any())

    @functools.cached_property
    def is_complete(self) -> bool:
        """Whether every voxel of the label has a class."""
        return bool((self.native_label < self.num_classes).all())

    def annotated_part(self) -> PreparedVolume:
        """Returns the volume without the slices in which nothing is annotated."""
        kept = self.annotated_slices
        if len(kept) == len(self.label):
            return self
        arrays = {"image": self.image[kept], "label": self.label[kept], "native_label": self.native_label[..., kept]}
        arrays |= {} if self.instances is None else {INSTANCES: self.instances[..., kept]}
        return dataclasses.replace(self, **arrays, native_shape=(*self.native_shape[:2], len(kept)))

    def file_slice(self, index: int) -> int:
        """Returns the number in the file of a slice here; both count from 0."""
        return index if self.axes[2] > 0 else self.native_shape[2] - 1 - index

    @property
    def native(self) -> Volume:
        """The label and the geometry of the file, as the cache holds them; without image and scribble."""
        where = (self.spacing_mm, self.affine, (), self.header, self.axes)
        return Volume(self.case, None, self.native_label, None, *where, self.instances)


class PreparedSet(tuple[PreparedVolume, ...]):
    """The prepared volumes of several cases, in the order in which they were asked for."""

    def __getitem__(self, index):
        chosen = super().__getitem__(index)
        return PreparedSet(chosen) if isinstance(index, slice) else chosen

    @property
    def digest(self) -> str:
        """Stands for the cases and the content of their files; a run records it."""
        return files.digest([(volume.case.case_id, volume.source_digest) for volume in self])


@dataclass
class BuildReport:
    """Outcome of a build, by case id, or of the correction of files, by path."""

    folder: Path  # the cache, or the folder of the corrected files
    done: list[str] = field(default_factory=list)  # cases that were prepared
    skipped: list[str] = field(default_factory=list)  # cases that were up to date
    refused: dict[str, DataError] = field(default_factory=dict)  # cases whose files are wrong, with the reason
    notes: dict[str, list[str]] = field(default_factory=dict)  # remarks on cases that were prepared, now or before
    seconds: float = 0.0  # how long it took
    words: tuple[str, str] = ("prepared", "up to date")  # of the summary, for what was done and skipped

    def describe(self) -> str:
        """Returns the summary as text: counts, remarks, refused cases with their reasons."""
        done, skipped = self.words
        counts = f"{len(self.done)} {done}, {len(self.skipped)} {skipped}, {len(self.refused)} refused"
        lines = [f"{self.folder}: {counts} ({duration(self.seconds)})"]
        lines += [f"  note  {case_id}: {note}" for case_id, notes in self.notes.items() for note in notes]
        return "\n".join(lines + [f"\nrefused {name}: {error}" for name, error in self.refused.items()])


def open_volumes(
    dataset: DatasetConfig,
    patients: Sequence[str],
    phases: Sequence[str],
    *,
    with_label: bool,
    with_scribble: bool = False,
) -> PreparedSet:
    """Returns the prepared volumes of some patients; see `find_readable` and `open_cache`."""
    if not patients:
        return PreparedSet()
    cases = find_readable(get_reader(dataset), patients, phases, with_label=with_label)
    return open_cache(dataset, cases, with_label=with_label, with_scribble=with_scribble)


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
        verify: Compare the checksums of all files. Otherwise sizes and times tell which sources have changed, and the
            checksums of the arrays are compared: before the return up to 512 MiB, else beside what follows
            (`later.check`).

    Raises:
        DataError: the files of one case are wrong.
        FewSliceError: those of several cases are, with every message; or the file system refuses.
    """
    reader = get_reader(dataset, root)
    asked = {"with_label": with_label, "with_scribble": with_scribble}
    store, annotations = Store(reader), _asked_for(**asked)
    report = build_cache(reader, cases, **asked, progress=progress, verify=verify, store=store)
    if not (verify or report.refused):
        old = set(report.skipped)
        arrays = [array for case in cases if case.case_id in old for array in store.arrays(case, annotations)]
        if sum(record["size"] for _, record in arrays) > AT_ONCE:
            later.check(lambda: [_check(*array) for array in arrays])
        elif not all(is_whole for _, is_whole in map_threads(lambda array: _has_content(*array), arrays)):
            report = build_cache(reader, cases, **asked, progress=progress, verify=True, store=store)
    errors = list(report.refused.values())
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise FewSliceError(f"{len(errors)} volumes cannot be used:\n" + "\n".join(map(str, errors)))
    return PreparedSet([store.open(case, annotations) for case in cases])


def build_cache(
    reader: Reader,
    cases: Sequence[Case],
    *,
    with_label: bool | None,
    with_scribble: bool = False,
    progress: bool = True,
    workers: int | None = None,
    verify: bool = False,
    store: Store | None = None,
) -> BuildReport:
    """Prepares the cases that are missing or out of date. A case that is refused does not stop the others.

    Every case is complete or absent at any moment, so a killed build resumes where it was; a second process waits.

    Args:
        reader: Reads the native volumes.
        cases, with_scribble, progress, verify: As in `open_cache`.
        with_label: Prepare labels too; None where there is one.
        workers: Volumes prepared at a time; default the number of processors.
        store: Keeps the entries that are read, for those who open the volumes; default a new one.

    Raises:
        FewSliceError: the file system refuses.
    """
    started, store = time.monotonic(), store or Store(reader)
    report, jobs = BuildReport(store.folder), {}
    for case in cases:
        has_label = case.label_path is not None if with_label is None else with_label
        jobs[case.case_id] = (case, _asked_for(has_label, with_scribble))
    pending = [job for job in jobs.values() if verify or not store.is_current(*job)]

    def work(job: tuple[Case, Annotations]) -> bool | DataError:
        try:
            is_current = store.refresh(*job, verify=verify)
            if not is_current:
                store.build(*job)
            return not is_current
        except DataError as error:
            return error
        except MemoryError as error:
            raise MemoryError(f"{error or 'none is left'}, for {job[0].image_path}") from error

    title = f"Preparing {reader.dataset.name}"
    is_read_only = store.folder.exists() and not os.access(store.folder, os.W_OK)
    lock = folder_lock(store.folder) if pending and not is_read_only else contextlib.nullcontext()
    with lock, Progress(len(pending), title, is_enabled=progress, is_kept=len(pending) > 1) as line:
        for index, result in map_threads(work, pending, workers=workers):
            case_id = pending[index][0].case_id
            if isinstance(result, DataError):
                report.refused[case_id] = result
            elif result:
                report.done.append(case_id)
            line.update(note=case_id)
    store.tidy()
    report.done.sort()
    report.refused = dict(sorted(report.refused.items()))
    report.skipped = sorted(jobs.keys() - report.refused.keys() - set(report.done))
    for case_id in report.done + report.skipped:
        if notes := store.entry(jobs[case_id][0])["notes"]:
            report.notes[case_id] = list(notes)
    report.seconds = time.monotonic() - started
    return report


def _asked_for(with_label: bool, with_scribble: bool) -> Annotations:
    return frozenset(key for key, is_wanted in ((LABEL, with_label), (SCRIBBLE, with_scribble)) if is_wanted)


def settings(dataset: DatasetConfig) -> dict[str, Any]:
    """Returns every setting that prepared arrays depend on."""
    unused = {"target_resolution", "anti_aliasing", "label_resampling"} if dataset.grid in BY_PIXEL else set()
    unused |= {"img_size_x", "img_size_y"} if dataset.grid in ("whole", "native") else set()
    has_no_affine = dataset.layout.endswith("h5")
    unused |= {"orientation"} if dataset.orientation == "as_stored" or has_no_affine else set()
    unused |= {"percentiles"} if dataset.intensity != "percentiles" else set()
    values = {name: getattr(dataset, name) for name in _SETTINGS if name not in unused}
    values |= {"padding": "left out"} if dataset.intensity == "percentiles" else {}  # older caches hold it
    return {"format": FORMAT, **without_later_defaults(values)}


class Store:
    """The prepared volumes of one dataset and one set of settings, in `folder`; each entry is read once."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.settings = settings(reader.dataset)
        self.folder = reader.root / reader.dataset.data_path_tr_cropped / files.digest(self.settings)
        self._entries: dict[str, dict[str, Any] | None] = {}

    def entry(self, case: Case, *, anew: bool = False) -> Mapping[str, Any] | None:
        """Returns the record of a case, or None if there is no usable one: damaged, changed or of another format.

        `anew`: as it is now, after another process may have prepared the case.
        """
        if anew or case.case_id not in self._entries:
            self._entries[case.case_id] = _entry(self._file(case, "entry.json"))
        return self._entries[case.case_id]

    def is_current(
        self, case: Case, annotations: Annotations, *, by_content: bool = False, verify: bool = False
    ) -> bool:
        """Whether a case can be used as it is, with the arrays of `annotations` beside the image.

        Sizes and times are compared; `by_content` the content of sources and of arrays written after the entry; with
        `verify` that of all arrays.
        """
        entry = self.entry(case)
        return (
            entry is not None
            and bool(entry.get(CHECKSUM))
            and self._holds(case, entry, annotations)
            and self._are_sources_same(case, entry, with_label=bool(annotations), by_content=by_content)
            and all(
                (not verify and self._is_untouched(case, key, record))
                or (by_content and _has_content(self._file(case, f"{key}.npy"), record))
                for key, record in entry["arrays"].items()
            )
        )

    def refresh(self, case: Case, annotations: Annotations, *, verify: bool = False) -> bool:
        """Like `is_current`, but files of another time and the same content count and are recorded."""
        entry = self.entry(case, anew=True)
        if not self.is_current(case, annotations, by_content=True, verify=verify):
            return False
        # a label that was not compared keeps its old time
        paths = self.reader.source_files(case, with_label=bool(annotations))
        stamped = {name: entry["sources"][name] | _stamp(path) for path in paths for name in [self._name(path)]}
        with contextlib.suppress(FewSliceError):  # of a folder that cannot be written they are compared again
            is_untouched = [self._is_untouched(case, *array) for array in entry["arrays"].items()]
            if entry["sources"] != (sources := entry["sources"] | stamped) or not all(is_untouched):
                self._write_entry(case, {**entry, "sources": sources})
        return True

    def build(self, case: Case, annotations: Annotations) -> None:
        """Reads one case, and prepares and stores what is not there or no longer true.

        Raises:
            DataError: the native files are missing or wrong.
            FewSliceError: the file system refuses.
        """
        entry_path = self._file(case, "entry.json")
        if self.entry(case) is None and entry_path.exists():
            logging.warning("%s was damaged or changed: the volume is prepared again.", entry_path)
        sources, kept, notes = self._still_true(case)
        paths = self.reader.source_files(case, with_label=bool(annotations))
        sources |= {self._name(path): _source(path) for path in paths}
        volume = self.reader.read(case, with_label=LABEL in annotations, with_scribble=SCRIBBLE in annotations)
        refuse_large_grid(volume, self.reader.dataset)
        arrays, remarks = _prepare(volume, self.reader.dataset, with_image="image" not in kept)
        arrays = {self._key(key): array for key, array in arrays.items() if self._key(key) not in kept}
        try:
            entry_path.unlink(missing_ok=True)
        except OSError as error:
            raise files.writing_error(self._file(case, ""), error) from error
        entry = {
            "format": FORMAT,
            "case_id": case.case_id,
            "patient_id": case.patient_id,
            "phase": case.phase,
            "sources": sources,
            "facts": self.reader.facts(case),
            "arrays": kept | {key: self._save(case, key, array) for key, array in arrays.items()},
            "native_shape": list(volume.image.shape[:3]),
            "spacing_mm": list(volume.spacing_mm),
            "affine": volume.affine.tolist(),
            "axes": list(volume.axes),
            "header": None if volume.header is None else base64.b64encode(volume.header.binaryblock).decode(),
            "notes": list(dict.fromkeys([*notes, *volume.notes, *remarks])),
        }
        self._write_entry(case, entry)

    def open(self, case: Case, annotations: Annotations) -> PreparedVolume:
        """Maps one case that `build_cache` has prepared."""
        entry = self.entry(case)
        has_label = LABEL in annotations
        header = entry.get("header") if has_label else None
        return PreparedVolume(
            case=case,
            image=self._load(case, "image"),
            label=self._load(case, LABEL) if has_label else None,
            native_shape=tuple(entry["native_shape"]),
            spacing_mm=tuple(entry["spacing_mm"]),
            affine=np.asarray(entry["affine"], np.float64),
            source_digest=self._source_digest(case, entry, annotations),
            scribble=self._load(case, SCRIBBLE) if SCRIBBLE in annotations else None,
            native_label=self._load(case, NATIVE) if has_label else None,
            header=header_from(base64.b64decode(header)) if header else None,
            axes=tuple(entry["axes"]),
            num_classes=self.reader.dataset.num_classes,
            instances=self._load(case, INSTANCES) if has_label and INSTANCES in entry["arrays"] else None,
        )

    def _load(self, case: Case, key: str) -> np.ndarray:
        path = self._file(case, f"{self._key(key)}.npy")
        try:
            return np.load(str(path), mmap_mode="r", allow_pickle=False)  # a Path would be resolved, which takes longer
        except (OSError, ValueError) as error:
            raise _changed(path) from error

    def arrays(self, case: Case, annotations: Annotations) -> list[tuple[Path, Mapping[str, Any]]]:
        """Returns the files that `open` maps, with their records."""
        records = self.entry(case)["arrays"]
        of_label = (key for key in (LABEL, NATIVE, INSTANCES) if LABEL in annotations and key in records)
        keys = ["image", *of_label, *map(self._key, annotations - {LABEL})]
        return [(self._file(case, f"{key}.npy"), records[key]) for key in keys]

    def _source_digest(self, case: Case, entry: Mapping[str, Any], annotations: Annotations) -> str:
        """Returns a digest of the content of the native files that a case was made of, and of how scribbles were."""
        names = [self._name(path) for path in self.reader.source_files(case, with_label=bool(annotations))]
        content = [entry["sources"][name]["sha256"] for name in names] + [entry["facts"]]
        if SCRIBBLE in annotations and self._key(SCRIBBLE) != SCRIBBLE:
            content.append("simulated scribbles")
        if tuple(entry["axes"]) != STORED:
            content.append(["axes", entry["axes"]])
        return files.digest(content)

    def tidy(self) -> None:
        """Writes manifest.json where it is not what all entries say, and removes halves of files.

        Not while another process prepares volumes, nor in a folder that cannot be written.
        """
        with contextlib.suppress(FewSliceError, OSError):
            manifest, paths = self.folder / "manifest.json", sorted(self.folder.glob("*/entry.json"))
            halves = [*self.folder.glob(".*.tmp*"), *self.folder.glob("*/.*.tmp*")]
            newest = max((path.stat().st_mtime_ns for path in paths), default=0)
            found = manifest.read_bytes() if manifest.is_file() and manifest.stat().st_mtime_ns == newest else b""
            if not halves and found.count(b'"case_id": ') == len(paths):
                return
            entries = {path.parent.name: entry for path in paths if (entry := _entry(path))}
            with folder_lock(self.folder, refusal="busy"):
                for half in halves:
                    half.unlink(missing_ok=True)
                with files.atomic_path(manifest) as temporary:
                    temporary.write_text(files.to_json({"settings": self.settings, "cases": entries}) + "\n", "utf-8")
                    os.utime(temporary, ns=(newest, newest))  # so that a later change of either is seen

    def _file(self, case: Case, name: str) -> Path:
        return self.folder / case.case_id / name

    def _write_entry(self, case: Case, entry: Mapping[str, Any]) -> None:
        content = json.loads(files.to_json(entry))
        content[CHECKSUM] = _checksum(content)
        files.write_json(self._file(case, "entry.json"), content)
        self._entries[case.case_id] = content

    def _is_untouched(self, case: Case, key: str, recorded: Mapping[str, Any]) -> bool:
        """Whether an array has the size that its entry says and was not written after it."""
        with contextlib.suppress(OSError):  # missing
            found, entry = self._file(case, f"{key}.npy").stat(), self._file(case, "entry.json").stat()
            return found.st_size == recorded["size"] and found.st_mtime_ns <= entry.st_mtime_ns
        return False

    def _key(self, key: str) -> str:
        """Returns the name under which an array is stored; scribbles of both origins lie side by side."""
        return "scribble_simulated" if key == SCRIBBLE and self.reader.dataset.scribbles == "simulated" else key

    def _holds(self, case: Case, entry: Mapping[str, Any], annotations: Annotations) -> bool:
        """Whether an entry has what is asked for; those of earlier versions lack native labels and headers."""
        is_simulated = self.reader.dataset.scribbles == "simulated"
        if case.label_path is None and (LABEL in annotations or (SCRIBBLE in annotations and is_simulated)):
            return False  # what is stored is of a label that was taken away
        if LABEL in annotations and not (NATIVE in entry["arrays"] and "header" in entry):
            return False
        return all(self._key(key) in entry["arrays"] for key in annotations)

    def _still_true(self, case: Case) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        """Returns sources, sound arrays and notes of an entry whose files have not changed: a rebuild keeps them.

        Where only the label has changed or was not asked for, the image is kept alone.
        """
        entry = self.entry(case)
        for with_label in (True, False):
            if entry and self._are_sources_same(case, entry, with_label=with_label, by_content=True):
                kept = {}
                for key, record in entry["arrays"].items():
                    path = self._file(case, f"{key}.npy")
                    if (with_label or key == "image") and _has_content(path, record):
                        kept[key] = record
                    elif with_label:
                        logging.warning("%s is not as it was prepared: it is prepared again.", path)
                names = [self._name(path) for path in self.reader.source_files(case, with_label=with_label)]
                return {name: entry["sources"][name] for name in names}, kept, entry["notes"] if with_label else []
        return {}, {}, []

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.reader.root)

    def _are_sources_same(self, case: Case, entry: Mapping[str, Any], *, with_label: bool, by_content: bool) -> bool:
        is_same = _has_content if by_content else _has_stamp
        return entry.get("facts") == self.reader.facts(case) and all(
            is_same(path, entry["sources"].get(self._name(path)))
            for path in self.reader.source_files(case, with_label=with_label)
        )

    def _save(self, case: Case, key: str, array: np.ndarray) -> dict[str, Any]:
        """Writes one array and reads it back to see that the disk kept it."""
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        path, checksum = self._file(case, f"{key}.npy"), hashlib.sha256(content.getbuffer()).hexdigest()
        files.write_bytes(path, content.getbuffer())
        if files.sha256(path) != checksum:
            expected = f"the array as it was written (sha256 {checksum[:12]}...)"
            remedy = "The disk or network drive is faulty. Put the data root on another one."
            raise DataError(path, expected=expected, found="another content", remedy=remedy)
        shape, size = list(array.shape), content.getbuffer().nbytes
        return {"sha256": checksum, "size": size, "shape": shape, "dtype": array.dtype.name}


def _prepare(volume: Volume, dataset: DatasetConfig, *, with_image: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays to store of a volume, and notes on what a user may want to know."""
    arrays, notes = {}, image_notes(volume.image, dataset)
    if with_image:
        arrays["image"] = image_to_grid(volume.image, volume.spacing_mm, dataset)
    if volume.scribble is not None:
        arrays[SCRIBBLE] = label_to_grid(volume.scribble, volume.spacing_mm, dataset, outside=dataset.num_classes)
    if volume.label is not None:
        arrays[LABEL] = label = partial_label_to_grid(volume.label, volume.spacing_mm, dataset)
        arrays[NATIVE] = volume.label
        arrays |= {} if volume.instances is None else {INSTANCES: volume.instances}
        lost = sorted(set(np.unique(volume.label).tolist()) - {0, dataset.num_classes, *np.unique(label).tolist()})
        if lost:
            names = ", ".join(dataset.struct_name[number - 1] for number in lost)
            notes.append(f"nothing of {names} is left after resampling and cropping to {dataset.size}")
    return arrays, notes


def _entry(path: Path) -> dict[str, Any] | None:
    """Returns the content of an entry.json, None if it is missing, damaged or changed."""
    try:
        entry = files.read_json(path)
        kinds = {"arrays": dict, "sources": dict, "notes": list}
        is_known = entry["format"] == FORMAT and all(isinstance(entry[name], kind) for name, kind in kinds.items())
        return entry if is_known and entry.get(CHECKSUM) in (None, _checksum(entry)) else None
    except (OSError, FewSliceError, KeyError, TypeError, AttributeError):
        return None


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _source(path: Path) -> dict[str, Any]:
    try:
        return {**_stamp(path), "sha256": files.sha256(path)}
    except OSError:
        return {}  # the reader says what is wrong with it


def _has_stamp(path: Path, recorded: Any) -> bool:
    """Whether a file has the size and the time that an entry says."""
    try:
        return recorded | _stamp(path) == recorded
    except (OSError, TypeError):
        return False  # missing; an entry of another form


def _has_content(path: Path, recorded: Any) -> bool:
    """Whether a file has the size and the checksum that an entry says."""
    try:
        return recorded["size"] == path.stat().st_size and recorded["sha256"] == files.sha256(path)
    except (OSError, KeyError, TypeError):
        return False  # missing; an entry of another form


def _check(path: Path, recorded: Mapping[str, Any]) -> None:
    if not _has_content(path, recorded):
        raise _changed(path)


def _changed(path: Path) -> DataError:
    with contextlib.suppress(OSError):
        path.touch()  # newer than its entry, so that the next start compares its content
    found = "another content (a fault of the disk, or another program)"
    remedy = "Repeat the command: the volume is prepared again. Nothing that depends on the array was saved."
    return DataError(path, expected="the array as it was prepared", found=found, remedy=remedy)


def _checksum(entry: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in entry.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
