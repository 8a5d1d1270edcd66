"""Writes small run directories as a training stage leaves them, for the tests of the report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fewslice.core import files
from fewslice.data.io.nifti import write_nifti

STRUCTURES = ("rv", "myo", "lv")
COLUMNS = ("case_id", "patient_id", "phase", "structure", "metric", "value", "note")
SHAPE = (24, 20, 6)


def write_run(root: Path, stage: str, *, seed: int = 0, dataset: str = "phantom", **settings) -> Path:
    """Writes config.json, versions.json, command.txt and DONE; returns the directory."""
    values = {"dataset": dataset, "stage": stage, "no_of_tr_imgs": "tr1", "comb_tr_imgs": "c1", "seed": seed}
    values.update(settings)
    digest = files.digest(values)
    run = root / dataset / stage / f"tr1_c1_s{seed}-{digest}"
    files.write_json(run / "config.json", {**values, "n_iter": 100, "digest": digest})
    files.write_json(run / "versions.json", {"keras": "3.15.0"})
    files.write_text(run / "command.txt", f"python {stage}.py --dataset={dataset} --seed={seed}\n")
    files.write_json(run / "DONE", {"n_iter": 100})
    return run


def write_curve(run: Path, **columns) -> None:
    """Writes logs/train.csv with one row per 50 steps; None is an empty cell."""
    length = len(next(iter(columns.values())))
    rows = [{"step": 50 * (i + 1), **{name: values[i] for name, values in columns.items()}} for i in range(length)]
    files.write_csv(run / "logs" / "train.csv", [{k: "" if v is None else v for k, v in row.items()} for row in rows])


def write_scores(run: Path, dice: dict[str, tuple], metric: str = "dice") -> None:
    """Writes eval/per_volume.csv from case_id -> one value per structure; NaN gets a note."""
    rows = [
        {"case_id": case, "patient_id": case[:3], "phase": "ED", "structure": name, "metric": metric,
         "value": value, "note": "absent in truth and prediction" if np.isnan(value) else ""}
        for case, values in dice.items()
        for name, value in zip(STRUCTURES, values, strict=True)
    ]  # fmt: skip
    files.write_csv(run / "eval" / "per_volume.csv", rows, COLUMNS)


def write_rounds(run: Path, rounds: dict[int, list[dict]]) -> None:
    """Writes logs/pseudo_labels.csv from step -> one dict per volume; None is an empty cell."""
    rows = [
        {"round": index, "step": step, "case_id": f"{number:03d}_ED", "changed": 0.0, "accepted": True, **row}
        for index, (step, volumes) in enumerate(rounds.items())
        for number, row in enumerate(volumes)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: "" if row.get(name) is None else row[name] for name in columns} for row in rows]
    files.write_csv(run / "logs" / "pseudo_labels.csv", rows, columns)


def volume(shift: int = 0) -> SimpleNamespace:
    """Returns a volume with a block per structure, moved by `shift` voxels, and voxels of 1 x 2 x 8 mm."""
    label = np.zeros(SHAPE, np.uint8)
    label[4 + shift : 8 + shift, 5:12, 1:5] = 1
    label[8 + shift : 16 + shift, 4:13, 1:6] = 2
    label[10 + shift : 14 + shift, 6:10, 1:5] = 3
    image = np.random.default_rng(0).random(SHAPE, np.float32) + label
    case = SimpleNamespace(image_path=Path("001_ED.nii.gz"))
    return SimpleNamespace(case=case, image=image, label=label, spacing_mm=(1.0, 2.0, 8.0))


def write_prediction(run: Path, case_id: str, shift: int) -> None:
    """Writes eval/predictions/<case_id>.nii.gz."""
    write_nifti(
        run / "eval" / "predictions" / f"{case_id}.nii.gz",
        volume(shift).label,
        affine=np.diag([1.0, 2.0, 8.0, 1.0]),
        spacing_mm=(1.0, 2.0, 8.0),
    )
