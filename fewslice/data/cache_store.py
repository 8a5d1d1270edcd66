"""One prepared volume on disk: what is stored, when it is out of date, how it is written.

<data root>/<data_path_tr_cropped>/<digest of the settings>/
    manifest.json                 settings and a table of all cases, for people and other programs
    <case id>/image.npy           (Z, NX, NY) float32; (Z, NX, NY, C) where `num_channels` is more than 1
              label.npy           (Z, NX, NY) uint8, if the label was asked for
              scribble.npy        (Z, NX, NY) uint8, num_classes = not annotated, if scribbles were asked for;
                                  scribble_simulated.npy where the dataset's `scribbles` are simulated
              entry.json          checksums of sources and arrays; written last, so it vouches for the rest
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core import files
from fewslice.core.errors import DataError, FewSliceError
from fewslice.data.readers import Reader
from fewslice.data.volume import Case, Volume
from fewslice.settings.datasets import DatasetConfig, without_later_defaults

FORMAT = 1  # raise it when preparation or this format changes, so that old caches are not used
_SETTINGS = (
    "layout", "data_path_tr", "images_dir", "labels_dir", "image_channel", "label_map", "num_classes",
    "img_size_x", "img_size_y", "target_resolution", "percentiles", "anti_aliasing", "num_channels", "grid",
    "intensity",
)  # fmt: skip


def settings(dataset: DatasetConfig) -> dict[str, Any]:
    """Returns every setting that prepared arrays depend on."""
    unused = {"target_resolution", "anti_aliasing"} if dataset.grid != "resample" else set()
    unused |= {"img_size_x", "img_size_y"} if dataset.grid == "native" else set()
    unused |= {"percentiles"} if dataset.intensity == "as_stored" else set()
    values = {name: getattr(dataset, name) for name in _SETTINGS if name not in unused}
    return {"format": FORMAT, **without_later_defaults(values)}


class Store:
    """The prepared volumes of one dataset and one set of settings.

    Args:
        reader: Reads the native volumes.

    Attributes:
        folder: Where the prepared volumes are.
    """

    def __init__(self, reader: Reader):
        self.reader = reader
        self.settings = settings(reader.dataset)
        self.folder = reader.root / reader.dataset.data_path_tr_cropped / files.digest(self.settings)

    def entry(self, case: Case) -> Mapping[str, Any] | None:
        """Returns what is recorded about a case, or None if there is nothing usable."""
        try:
            entry = files.read_json(self._file(case, "entry.json"))
        except (OSError, FewSliceError):
            return None
        is_usable = isinstance(entry, dict) and entry.get("format") == FORMAT and "image" in entry.get("arrays", {})
        return entry if is_usable else None

    def is_current(self, case: Case, *, with_label: bool, with_scribble: bool = False, verify: bool = False) -> bool:
        """Tells whether a case can be used as it is, by sizes and times; with `verify` by checksums too."""
        entry = self.entry(case)
        if entry is None or not self._holds(case, entry, with_label, with_scribble):
            return False
        annotated = with_label or with_scribble
        are_sources_same = self._compare_sources(case, entry, with_label=annotated, by_content=verify)
        return are_sources_same and self._are_arrays_whole(case, entry, verify=verify)

    def refresh(self, case: Case, *, with_label: bool, with_scribble: bool = False, verify: bool = False) -> bool:
        """Like `is_current`, but sources of another time and the same content count and are recorded."""
        entry = self.entry(case)
        if entry is None or not self._holds(case, entry, with_label, with_scribble):
            return False
        annotated = with_label or with_scribble
        same = self._compare_sources(case, entry, with_label=annotated, by_content=True)
        if not same or not self._are_arrays_whole(case, entry, verify=verify):
            return False
        sources = dict(entry["sources"])
        for path in self._sources(case, with_label=annotated):  # a label that was not compared keeps its old time
            sources[self._name(path)] = sources[self._name(path)] | self._stamp(path)
        if sources != entry["sources"]:
            files.write_json(self._file(case, "entry.json"), {**entry, "sources": sources})
        return True

    def build(self, case: Case, *, with_label: bool, with_scribble: bool = False) -> Mapping[str, Any]:
        """Reads, prepares and stores one case, with what is stored of it and still true. Returns its entry.

        Raises:
            DataError: the native files are missing or wrong.
            FewSliceError: the file system refuses.
        """
        kept_sources, kept = self._still_true(case)
        paths = self._sources(case, with_label=with_label or with_scribble)
        sources = kept_sources | {self._name(path): self._source(path) for path in paths}
        volume = self.reader.read(case, with_label=with_label, with_scribble=with_scribble)
        arrays, notes = _prepare(volume, self.reader.dataset)
        if "scribble" in arrays:
            arrays[self._key("scribble")] = arrays.pop("scribble")
        try:
            self._file(case, "entry.json").unlink(missing_ok=True)
            for left_over in self._file(case, "").glob(".*.tmp*"):
                left_over.unlink(missing_ok=True)
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
            "notes": [*volume.notes, *notes],
        }
        files.write_json(self._file(case, "entry.json"), entry)
        return entry

    def load(self, case: Case, key: str) -> np.ndarray:
        """Returns the stored "image", "label" or "scribble", memory-mapped and read-only."""
        return np.load(self._file(case, f"{self._key(key)}.npy"), mmap_mode="r", allow_pickle=False)

    def source_digest(
        self, case: Case, entry: Mapping[str, Any], *, with_label: bool, with_scribble: bool = False
    ) -> str:
        """Returns a digest of the content of the native files that a case was made of, and of how scribbles were."""
        names = [self._name(path) for path in self._sources(case, with_label=with_label or with_scribble)]
        content = [entry["sources"][name]["sha256"] for name in names] + [entry["facts"]]
        is_simulated = with_scribble and self._key("scribble") != "scribble"
        return files.digest(content + (["simulated scribbles"] if is_simulated else []))

    def write_manifest(self) -> None:
        """Writes manifest.json from all entries."""
        entries = {path.parent.name: files.read_json(path) for path in sorted(self.folder.glob("*/entry.json"))}
        files.write_json(self.folder / "manifest.json", {"settings": self.settings, "cases": entries})

    def _file(self, case: Case, name: str) -> Path:
        return self.folder / case.case_id / name

    def _key(self, key: str) -> str:
        """Returns the name under which an array is stored; scribbles of both origins lie side by side."""
        is_simulated = key == "scribble" and self.reader.dataset.scribbles == "simulated"
        return "scribble_simulated" if is_simulated else key

    def _holds(self, case: Case, entry: Mapping[str, Any], with_label: bool, with_scribble: bool) -> bool:
        is_simulated = self.reader.dataset.scribbles == "simulated"
        if case.label_path is None and (with_label or (with_scribble and is_simulated)):
            return False  # what is stored is of a label that was taken away
        wanted = [key for key, is_wanted in (("label", with_label), ("scribble", with_scribble)) if is_wanted]
        return all(self._key(key) in entry["arrays"] for key in wanted)

    def _still_true(self, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns sources and records of sound annotations of unchanged files: a rebuild must not lose them."""
        entry = self.entry(case)
        if entry is None or not self._compare_sources(case, entry, with_label=True, by_content=True):
            return {}, {}
        found = {key: record for key, record in entry["arrays"].items() if key != "image"}
        found = {k: v for k, v in found.items() if self._are_arrays_whole(case, {"arrays": {k: v}}, verify=True)}
        return dict(entry["sources"]), found

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.reader.root)

    def _sources(self, case: Case, *, with_label: bool) -> list[Path]:
        return self.reader.source_files(case, with_label=with_label)

    def _stamp(self, path: Path) -> dict[str, int]:
        status = path.stat()
        return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}

    def _source(self, path: Path) -> dict[str, Any]:
        try:
            return {**self._stamp(path), "sha256": files.sha256(path)}
        except OSError:
            return {}  # the reader says what is wrong with it

    def _compare_sources(self, case: Case, entry: Mapping[str, Any], *, with_label: bool, by_content: bool) -> bool:
        if entry.get("facts") != self.reader.facts(case):
            return False
        for path in self._sources(case, with_label=with_label):
            recorded = entry["sources"].get(self._name(path))
            if not recorded or not self._is_same(path, recorded, by_content=by_content):
                return False
        return True

    def _is_same(self, path: Path, recorded: Mapping[str, Any], *, by_content: bool) -> bool:
        try:
            if by_content:
                return recorded["size"] == path.stat().st_size and recorded["sha256"] == files.sha256(path)
            return recorded | self._stamp(path) == recorded
        except OSError:
            return False  # missing, or the reader says what is wrong with it

    def _are_arrays_whole(self, case: Case, entry: Mapping[str, Any], *, verify: bool) -> bool:
        for key, recorded in entry["arrays"].items():
            path = self._file(case, f"{key}.npy")
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                has_form = list(array.shape) == recorded["shape"] and array.dtype.name == recorded["dtype"]
                is_whole = has_form and path.stat().st_size == recorded["size"]
                if not is_whole or (verify and files.sha256(path) != recorded["sha256"]):
                    return False
            except (OSError, ValueError, EOFError):
                return False
        return True

    def _save(self, case: Case, key: str, array: np.ndarray) -> dict[str, Any]:
        """Writes one array and reads it back to see that the disk kept it."""
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        path, checksum = self._file(case, f"{key}.npy"), hashlib.sha256(content.getbuffer()).hexdigest()
        files.write_bytes(path, content.getbuffer())
        if files.sha256(path) != checksum:
            raise DataError(
                path,
                expected=f"the array as it was written (sha256 {checksum[:12]}...)",
                found="another content",
                remedy="The disk or network drive is faulty. Put the data root on another one.",
            )
        shape, size = list(array.shape), content.getbuffer().nbytes
        return {"sha256": checksum, "size": size, "shape": shape, "dtype": array.dtype.name}


def _prepare(volume: Volume, dataset: DatasetConfig) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the prepared arrays of a volume, and notes on what a user may want to know."""
    from fewslice.data.grid import image_to_grid, label_to_grid

    notes = []
    if volume.image.min() == volume.image.max():
        becomes = " and becomes zero" if dataset.intensity == "percentiles" else ""
        notes.append(f"the image is constant ({volume.image.flat[0]:g}){becomes}")
    arrays = {"image": image_to_grid(volume.image, volume.spacing_mm, dataset)}
    if volume.scribble is not None:
        outside = dataset.num_classes
        arrays["scribble"] = label_to_grid(volume.scribble, volume.spacing_mm, dataset, outside=outside)
    if volume.label is not None:
        arrays["label"] = label = label_to_grid(volume.label, volume.spacing_mm, dataset)
        lost = sorted(set(np.unique(volume.label).tolist()) - set(np.unique(label).tolist()) - {0})
        if lost:
            names = ", ".join(dataset.struct_name[number - 1] for number in lost)
            notes.append(f"nothing of {names} is left after resampling and cropping to {dataset.size}")
    return arrays, notes
