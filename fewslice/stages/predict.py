"""Segments new scans with trained networks.

    <output>/<scan>.nii.gz                  labels on the scan's own grid, with its header; .png of a picture
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

from fewslice.core import backend, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.core.progress import Progress
from fewslice.data.cache import BuildReport
from fewslice.data.io.pictures import label_name, write_label
from fewslice.data.readers.loose import find_scans
from fewslice.data.segment import Predict, class_codes, segment
from fewslice.data.volume import Case, image_notes
from fewslice.export.runner import OPTIONS
from fewslice.learner.trained import SegmentationRun, describe, open_runs, postprocessing, preparation
from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.predict_flags import PredictArgs
from fewslice.stages.checks import refuse_large_batch

RECORD = "predictions.json"
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
    runs, dataset = open_runs(args.run, orientation=args.run_orientation)
    runs = runs if args.passes is None else [_by_passes(run, args.passes) for run in runs]
    codes = class_codes(dataset, as_in_files=args.label_codes)
    refuse_large_batch(dataset, args.batch_size or 1)
    scans, folder = find_scans(args.images, dataset), args.output_folder
    if folder.resolve() in {case.image_path.resolve().parent for _, case in scans}:
        raise ConfigError(f"--output={args.output} holds scans of --images. Choose a folder of its own.")
    settings = {"networks": describe(runs), "preparation": preparation(dataset)}
    settings |= postprocessing(args, runs, (*OPTIONS, "passes"))
    settings["labels"] = dict(zip(("background", *dataset.struct_name), codes.tolist(), strict=True))
    report = BuildReport(folder, words=("segmented", "there already"))
    for reader in {id(reader): reader for reader, _ in scans}.values():
        report.notes.setdefault(reader.dataset.images_dir, []).extend(reader.notes)
    refusal = f"Another process is working in {folder}. Wait for it, or choose another --output."
    with folder_lock(folder, refusal=refusal):
        record, jobs = Record(folder, settings), []
        maps_too = ["_probabilities.nii.gz"] * args.probabilities
        for reader, case in scans:
            try:
                names = [label_name(case.case_id, case.image_path), *(f"{case.case_id}{end}" for end in maps_too)]
                if record.is_done(case, names):
                    report.skipped.append(case.case_id)
                else:
                    jobs.append((reader, case, names))
            except DataError as error:
                report.refused[case.case_id] = error
        call = _load(runs, dataset, args.batch_size, settings["mirroring"]) if jobs else None
        with Progress(len(jobs), "Segmenting") as line:
            for reader, case, names in jobs:
                content = _sha256(case.image_path)
                try:
                    volume = reader.read(case, with_label=False)
                    options = {"largest": args.largest_component, "with_maps": args.probabilities}
                    label, maps = segment(volume, call, dataset, **options)
                except (FewSliceError, MemoryError) as error:
                    report.refused[case.case_id] = error if str(error) else MemoryError("Memory runs out.")
                else:
                    record.begin(case, content, names)
                    for name, array in zip(names, (codes[label], maps), strict=False):
                        write_label(folder / name, array, like=volume)
                    record.finish(case, names)
                    report.done.append(case.case_id)
                    report.notes[case.case_id] = [*volume.notes, *image_notes(volume.image, dataset)]
                    report.notes[case.case_id] += ["no structure was found"] * (not label.any())
                line.update(note=case.case_id)
    report.seconds = time.monotonic() - started
    return report


def _by_passes(run: SegmentationRun, passes: int) -> SegmentationRun:
    if passes and not hasattr(run.network, "passes"):
        raise ConfigError(f"--passes={passes}: {run.name} predicts in one pass without dropout. Leave this flag out.")
    is_same = getattr(run.network, "passes", 0) == passes
    return run if is_same else dataclasses.replace(run, network=dataclasses.replace(run.network, passes=passes))


def _load(runs: Sequence[SegmentationRun], dataset: DatasetConfig, batch_size: int | None, mirroring: bool) -> Predict:
    """Returns the function (slices, rows, columns, channels) -> mean class probabilities of all networks."""
    backend.configure(seed=0, mixed_precision=False)
    from fewslice.learner.learner import load_ensemble

    return load_ensemble(runs, dataset, batch_size or dataset.mtask_bs, mirroring=mirroring)


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
        found = files.read_record(path, {"settings": dict, "scans": dict}, remedy=f"Restore it, {_KEPT}")
        theirs = found["settings"]
        if differing := [name for name in self.settings if self.settings[name] != theirs.get(name)]:
            names = ", ".join(run["name"] for run in theirs.get("networks", ()))
            raise ConfigError(
                f"{folder} holds predictions of {names}, with other settings than these ({', '.join(differing)} "
                "differ). Choose another --output; what is there stays as it is."
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

    def begin(self, case: Case, content: str, names: Iterable[str]) -> None:
        """Records files that are written now, so that what a kill leaves of them is known as this command's.

        Further results of the scan, of another content of it, no longer count.
        """
        before = self.scans.get(case.case_id, {})
        kept = before.get("files", {})
        kept = kept if before.get("image_sha256") == content else dict.fromkeys(kept, "")
        entry = {"image": case.image_path.name, "image_sha256": content, "files": kept | dict.fromkeys(names, "")}
        self.scans[case.case_id] = entry
        self._write()

    def finish(self, case: Case, names: Iterable[str]) -> None:
        """Records the results of a scan."""
        self.scans[case.case_id]["files"] |= {name: files.sha256(self.folder / name) for name in names}
        self._write()

    def _write(self) -> None:
        files.write_json(self.folder / RECORD, {"settings": self.settings, "scans": self.scans})


def _sha256(path: Path) -> str:
    """Returns the checksum of a file or a series, "" where it cannot be read, of which its reader says why."""
    try:
        if path.is_dir():
            return files.digest([files.sha256(each) for each in sorted(path.iterdir()) if each.is_file()], 64)
        return files.sha256(path)
    except OSError:
        return ""
