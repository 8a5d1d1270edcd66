"""Writes small run directories of experiments as `run_al_exp.py` leaves them, for the tests of their report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.core import files

STRUCTURES = ("rv", "lv")
VOLUMES, DEPTH = 20, 10  # a pool of 200 slices, two volumes per patient
QUERY = ("order", "index", "unit_id", "patient", "volume", "position", "value")
SCORES = ("case_id", "patient_id", "phase", "structure", "metric", "value", "note")


def unit(index: int) -> dict[str, Any]:
    """Returns a row of pool.csv."""
    volume, position = divmod(index, DEPTH)
    head = {"index": index, "unit_id": f"v{volume:02d}_slice_{position}", "patient": f"p{volume // 2:02d}"}
    return {**head, "volume": f"v{volume:02d}", "position": position}


def write_experiment(root: Path, strategy: str, *, seed: int = 0, dataset: str = "acdc_h5", **config: Any) -> Path:
    """Writes config.json, versions.json, command.txt, pool.csv and DONE; returns the directory."""
    values = {"dataset": dataset, "strategy": strategy, "seed": seed, "name": f"{strategy}_s{seed}", **config}
    run = root / dataset / "run_al_exp" / f"{strategy}_s{seed}-{files.digest(values)}"
    files.write_json(run / "config.json", values)
    files.write_json(run / "versions.json", {"keras": "3.15.0"})
    files.write_text(run / "command.txt", f"python run_al_exp.py --config={strategy}.yml --seed={seed}\n")
    files.write_csv(run / "pool.csv", [{**unit(i), "depth": DEPTH} for i in range(VOLUMES * DEPTH)])
    files.write_json(run / "DONE", {"n_iter": 1})
    return run


def write_round(
    run: Path, number: int, fraction: float, dice: float | None, *, queried: Sequence[int] = (), **more: Any
) -> Path:
    """Writes one round with validation Dice `dice` and test Dice 0.1 below it; returns its folder.

    Args:
        run: The experiment.
        number: From 0.
        fraction: Annotated share of the pool.
        dice: None for a round without training.
        queried: Indices of the pool.
        **more: Entries of metrics.json that replace or join the usual ones.
    """
    folder, units = run / "rounds" / f"{number:03d}", round(fraction * VOLUMES * DEPTH)
    plan = {"round": number, "fraction": fraction, "units": units, "options": {}}
    plan |= {"strategy": files.read_json(run / "config.json")["strategy"], "skip_training": dice is None}
    files.write_json(folder / "plan.json", plan)
    rows = [{"order": order, **unit(index), "value": 0.5} for order, index in enumerate(queried)]
    files.write_csv(folder / "query.csv", rows, QUERY)
    files.write_json(folder / "DONE", {"sha256": {}})
    if dice is None:
        return folder
    metrics = {"round": number, "fraction": fraction, "units": units, "annotated_pixels": 1000 * units, "seconds": 60.0}
    metrics |= {"members": [{"val_dice": dice}], "chosen": 0, "val_dice": dice, "test_dice": dice - 0.1}
    metrics |= {"per_structure": {name: {"dice": dice - 0.1, "hd95_mm": 9.0} for name in STRUCTURES}}
    files.write_json(folder / "metrics.json", {**metrics, **more})
    return folder


def write_curve(run: Path, curve: Mapping[float, float], *, start: int = 0) -> None:
    """Writes a round per fraction -> validation Dice, which queries slices from index `start` on."""
    before = 0
    for number, (fraction, dice) in enumerate(curve.items()):
        units = round(fraction * VOLUMES * DEPTH)
        write_round(run, number, fraction, dice, queried=range(start + before, start + units))
        before = units


def write_volumes(folder: Path, dice: Mapping[str, Sequence[float]], *, where: str = "test", member: int = 0) -> None:
    """Writes a member's per_volume.csv from case_id -> Dice per structure."""
    rows = [
        {"case_id": case, "patient_id": case[:3], "phase": "ED", "structure": name, "metric": metric, "note": "",
         "value": value if metric == "dice" else 10 * (1 - value)}
        for case, values in dice.items()
        for name, value in zip(STRUCTURES, values, strict=True)
        for metric in ("dice", "hd95_mm")
    ]  # fmt: skip
    files.write_csv(folder / f"member_{member}" / "eval" / where / "per_volume.csv", rows, SCORES)


def write_gallery(folder: Path, *, size: tuple[int, int] = (60, 40)) -> None:
    """Writes gallery.png: noise."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    with files.atomic_path(folder / "gallery.png") as temporary:
        Image.fromarray(pixels).save(temporary)
