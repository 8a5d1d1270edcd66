"""Segments new scans with trained networks.

    <output>/<scan>.nii.gz                  labels on the scan's own grid, with its header
             <scan>_probabilities.nii.gz    (x, y, z, class), if asked for
             predictions.json               networks, settings, class names, and checksums of scans and results

The record says which files are this command's own: no other is ever overwritten, and finished scans are not done again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.core import backend, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.core.progress import Progress
from fewslice.data.cache import BuildReport, PreparedVolume, refuse_large_grid
from fewslice.data.io.nifti import write_nifti
from fewslice.data.readers import Reader
from fewslice.data.readers.loose import find_scans
from fewslice.data.volume import Case, Volume, image_notes, image_to_grid, label_from_grid
from fewslice.evaluate.volumes import Predict, predict_volume
from fewslice.export.runner import largest_components
from fewslice.learner.trained import SegmentationRun, find_trained
from fewslice.settings.datasets import DatasetConfig, config_of_run
from fewslice.settings.predict_flags import ExportArgs, PredictArgs
from fewslice.stages.checks import refuse_large_batch

RECORD, PROBABILITIES = "predictions.json", "_probabilities"
PREPARATION = (
    "orientation", "image_channel", "num_channels", "intensity", "percentiles", "grid", "target_resolution",
    "img_size_x", "img_size_y", "anti_aliasing", "num_classes", "struct_name", "label_map",
)  # fmt: skip
_KEPT = "or choose another --output. What is there stays as it is."


def predict(args: PredictArgs) -> BuildReport:
    """Segments the scans that were not segmented before; those that cannot be read are named in the report.

    In memory is one scan at a time, beside the networks.

    Raises:
        ConfigError: wrong paths, networks that do not fit each other, a batch beyond the limit of memory, or an output
            folder with other predictions.
        FewSliceError: the file system refuses.
    """
    started = time.monotonic()
    runs, dataset = open_runs(args)
    refuse_large_batch(dataset, args.batch_size or 1)
    scans, folder = find_scans(args.images, dataset), args.output_folder
    if folder in {case.image_path.absolute().parent for _, case in scans}:
        raise ConfigError(f"--output={args.output} holds scans of --images. Choose a folder of its own.")
    report = BuildReport(folder, words=("segmented", "there already"))
    for reader in {id(reader): reader for reader, _ in scans}.values():
        report.notes.setdefault(reader.dataset.images_dir, []).extend(reader.notes)
    refusal = f"Another process is working in {folder}. Wait for it, or choose another --output."
    with folder_lock(folder, refusal=refusal):
        record, jobs = Record(folder, _settings(runs, dataset, args)), []
        for reader, case in scans:
            try:
                if record.is_done(case, _names(case, args)):
                    report.skipped.append(case.case_id)
                else:
                    jobs.append((reader, case))
            except DataError as error:
                report.refused[case.case_id] = error
        record.claim({case: _names(case, args) for _, case in jobs})
        call = _load(runs, dataset, args) if jobs else None
        with Progress(len(jobs), "Segmenting") as line:
            for reader, case in jobs:
                content = _sha256(case.image_path)
                try:
                    volume, arrays, notes = _segment(reader, case, call, dataset, args)
                except (FewSliceError, MemoryError) as error:
                    report.refused[case.case_id] = error if str(error) else MemoryError("Memory runs out.")
                else:
                    for name, array in arrays.items():
                        is_scaled = array.dtype == np.uint16 and array.ndim == 4
                        write_nifti(folder / name, array, like=volume, slope=1 / 65535 if is_scaled else 1.0)
                    record.finish(case, content, arrays)
                    report.done.append(case.case_id)
                    report.notes[case.case_id] = notes
                    del volume, arrays
                line.update(note=case.case_id)
    report.seconds = time.monotonic() - started
    return report


def open_runs(args: ExportArgs) -> tuple[list[SegmentationRun], DatasetConfig]:
    """Returns the networks that `--run` names, and the settings with which scans are prepared for all of them.

    Raises:
        ConfigError: no networks, or networks for slices that are prepared differently, or for other structures.
    """
    runs = [run for value in args.run for run in find_trained(value)]
    orientation = None if args.orientation == "recorded" else args.orientation
    every = [config_of_run(run.config, f"--run={run.path}", orientation=orientation) for run in runs]
    for run, dataset in zip(runs, every, strict=True):
        mine, first = preparation(dataset), preparation(every[0])
        if differing := [f"{name} {first[name]} and {mine[name]}" for name in mine if mine[name] != first[name]]:
            raise ConfigError(
                f"{runs[0].name} and {run.name} cannot predict together: {'; '.join(differing)}. Name runs of one "
                "preparation and the same structures."
            )
    if every[0].layout.endswith("h5") and every[0].intensity == "as_stored":
        logging.warning("%s learned from intensities as .h5 files hold them: scans must be scaled alike.", runs[0].name)
    return runs, every[0]


def preparation(dataset: DatasetConfig) -> dict[str, Any]:
    """Returns the settings that decide how a scan goes into a network and how its labels come back, as JSON values."""
    return json.loads(files.to_json({name: getattr(dataset, name) for name in PREPARATION}))


def describe(runs: Sequence[SegmentationRun]) -> list[dict[str, str]]:
    """Returns name, stage, kind and checksum of networks."""
    names = [{"name": run.name, "stage": run.config["stage"], "kind": run.kind} for run in runs]
    return [facts | {"weights_sha256": files.sha256(run.weights)} for facts, run in zip(names, runs, strict=True)]


def _settings(runs: Sequence[SegmentationRun], dataset: DatasetConfig, args: PredictArgs) -> dict[str, Any]:
    options = ("largest_component", "mirroring", "label_codes", "probability_bits")
    return {
        "networks": describe(runs),
        "preparation": preparation(dataset),
        **{name: getattr(args, name) for name in options},
        "labels": dict(zip(("background", *dataset.struct_name), _codes(dataset, args).tolist(), strict=True)),
    }


def _codes(dataset: DatasetConfig, args: PredictArgs) -> np.ndarray:
    """Returns the number that each class gets in the written files."""
    codes = list(range(dataset.num_classes))
    for code, label in sorted(dataset.label_map, reverse=True) if args.label_codes else ():
        codes[label] = code if label else 0
    wide = np.array(codes)
    return wide.astype(np.int32 if wide.min() < 0 else np.min_scalar_type(wide.max()))


def _names(case: Case, args: PredictArgs) -> list[str]:
    return [f"{case.case_id}.nii.gz"] + [f"{case.case_id}{PROBABILITIES}.nii.gz"] * args.probabilities


def _load(runs: Sequence[SegmentationRun], dataset: DatasetConfig, args: PredictArgs) -> Predict:
    """Returns the function (slices, rows, columns, channels) -> mean class probabilities of all networks."""
    backend.configure(seed=0, mixed_precision=False)
    from fewslice.learner.learner import load_network
    from fewslice.train.predict import averaged, mirrored

    calls = []
    for run in runs:
        part = run.network.part(load_network(run.network, dataset, run.weights))
        calls.append(run.network.predictor(part, args.batch_size or dataset.mtask_bs))
    call = averaged(calls)
    return mirrored(call) if args.mirroring else call


def _segment(
    reader: Reader, case: Case, call: Predict, dataset: DatasetConfig, args: PredictArgs
) -> tuple[Volume, dict[str, np.ndarray], list[str]]:
    """Returns a scan without its voxels, file name -> array to write, and notes."""
    volume = reader.read(case, with_label=False)
    notes = [*volume.notes, *image_notes(volume.image, dataset)]
    refuse_large_grid(volume, dataset)
    where = (volume.image.shape[:3], volume.spacing_mm)
    image = image_to_grid(volume.image, volume.spacing_mm, dataset)
    volume = dataclasses.replace(volume, image=None)
    prepared = PreparedVolume(case, image, None, *where, volume.affine, "", axes=volume.axes)
    probabilities, label = predict_volume(prepared, call, dataset=dataset)
    if args.largest_component:
        label = largest_components(label)
    if not label.any():
        notes.append("no structure was found")
    arrays = {f"{case.case_id}.nii.gz": _codes(dataset, args)[label]}
    for name in _names(case, args)[1:]:
        maps = label_from_grid(probabilities, *where, dataset, as_label=False)
        arrays[name] = maps if args.probability_bits == 32 else np.rint(maps * 65535).astype(np.uint16)
    return volume, arrays, notes


class Record:
    """The files of an output folder, with checksums, in predictions.json.

    Raises:
        ConfigError: the folder holds predictions of other networks or settings.
        DataError: the record is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder, json.loads(files.to_json(settings))
        self.scans: dict[str, dict[str, Any]] = {}
        path = folder / RECORD
        if not path.exists():
            return
        remedy = f"Restore it, {_KEPT}"
        found = files.read_record(path, {"settings": dict, "scans": dict, "digest": str}, remedy=remedy)
        if files.digest([found["settings"], found["scans"]]) != found["digest"]:
            expected, text = "the record as this program wrote it", "another content"
            raise DataError(path, expected=expected, found=text, remedy=remedy)
        theirs = found["settings"]
        if differing := [name for name in self.settings if self.settings[name] != theirs.get(name)]:
            names = {
                id(each): ", ".join(run["name"] for run in each.get("networks", ())) for each in (theirs, settings)
            }
            raise ConfigError(
                f"{folder} holds predictions of {names[id(theirs)]}, with other settings than these "
                f"({', '.join(differing)} differ). Choose another --output; what is there stays as it is."
            )
        self.scans = found["scans"]

    def is_done(self, case: Case, names: Sequence[str]) -> bool:
        """Whether the results of a scan are there and are those of its present content.

        Raises:
            DataError: a file in the way that this command did not write, or that was changed since.
        """
        entry, is_whole = self.scans.get(case.case_id, {}), True
        for name in names:
            path, known = self.folder / name, entry.get("files", {}).get(name)
            if path.exists() and (known is None or (known and files.sha256(path) != known)):
                found = "another file" if known is None else "changed since, perhaps corrected by hand"
                remedy = f"Move it elsewhere if the scan shall be segmented again, {_KEPT}"
                expected = "nothing, or a file as this command wrote it"
                raise DataError(path, expected=expected, found=found, remedy=remedy)
            is_whole &= bool(known) and path.exists()
        return is_whole and _sha256(case.image_path) == entry.get("image_sha256")

    def claim(self, jobs: Mapping[Case, Sequence[str]]) -> None:
        """Records files that are going to be written, so that what a kill leaves of them is known as this command's."""
        for case, names in jobs.items():
            entry = self.scans.setdefault(case.case_id, {"image": case.image_path.name, "files": {}})
            entry["files"] |= dict.fromkeys(names, "")
        self._write()

    def finish(self, case: Case, content: str, names: Iterable[str]) -> None:
        """Records the results of a scan; further ones, of another content of it, no longer count."""
        entry = self.scans[case.case_id]
        entry["files"] = entry["files"] if entry.get("image_sha256") == content else dict.fromkeys(entry["files"], "")
        entry["files"] |= {name: files.sha256(self.folder / name) for name in names}
        entry["image_sha256"] = content
        self._write()

    def _write(self) -> None:
        digest = files.digest([self.settings, self.scans])
        files.write_json(self.folder / RECORD, {"settings": self.settings, "scans": self.scans, "digest": digest})


def _sha256(path: Path) -> str:
    """Returns the checksum of a file, "" where it cannot be read, of which its reader says why."""
    try:
        return files.sha256(path)
    except OSError:
        return ""
