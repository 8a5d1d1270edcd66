"""The files of one round: where they are, what is checked when they are read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.active.query import Choice
from fewslice.active.selection_files import read_labelled, read_query
from fewslice.active.units import Pool
from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError, FewSliceError

ANNOTATIONS, LABELLED = "annotations.npy", "labelled.csv"
_VOUCHED = ("plan.json", "query.csv", ANNOTATIONS, LABELLED, "metrics.json")


@dataclasses.dataclass(frozen=True, eq=False)
class Bought:
    """What one round bought.

    Attributes:
        number: The round.
        units: (b,) int64 pool indices, in the order of choice.
        masks: (b, NX, NY) uint8 classes or the ignore value, memory-mapped.
    """

    number: int
    units: np.ndarray
    masks: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Annotations:
    """Everything annotated so far, round by round.

    Attributes:
        parts: What each round bought.
    """

    parts: Sequence[Bought]

    @property
    def units(self) -> np.ndarray:
        """(L,) int64 pool indices in the order in which they were bought."""
        return np.concatenate([np.empty(0, np.int64), *(part.units for part in self.parts)])

    def __len__(self) -> int:
        return sum(len(part.units) for part in self.parts)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (pool index, mask (NX, NY) uint8) in the order in which they were bought."""
        for part in self.parts:
            yield from zip(part.units.tolist(), part.masks, strict=True)

    def mask(self, place: int) -> np.ndarray:
        """Returns the (NX, NY) mask of `units[place]`."""
        for part in self.parts:
            if place < len(part.units):
                return part.masks[place]
            place -= len(part.units)
        raise IndexError(place)

    def extended(self, bought: Bought) -> Annotations:
        """Returns these and another round's."""
        return Annotations((*self.parts, bought))

    def count_pixels(self, ignore_value: int) -> int:
        """Returns how many pixels are annotated."""
        return sum(int((part.masks != ignore_value).sum()) for part in self.parts)


def folder_of(run: Path, number: int) -> Path:
    """Returns the folder of a round."""
    return run / "rounds" / f"{number:03d}"


def check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Refuses a round that was begun with another plan.

    Raises:
        ConfigError: what differs.
    """
    path = folder / "plan.json"
    if not path.exists():
        return
    found, wanted = _read_json(path), json.loads(files.to_json(plan))
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        told = "; ".join(f"{name}: {found.get(name)} then, {wanted[name]} now" for name in differing)
        raise ConfigError(
            f"The round {folder} was begun with another plan ({told}). Rounds can be added at the end, but not "
            "changed: give the earlier values, or another `exp_dir`."
        )


def check_plans(run: Path, plans: Sequence[Mapping[str, Any]]) -> None:
    """Refuses rounds that were begun with other plans, and rounds that are planned no more.

    Raises:
        ConfigError: what differs.
    """
    begun = len(list((run / "rounds").glob("*/plan.json")))
    if begun > len(plans):
        raise ConfigError(
            f"{run} has begun {begun} rounds; the experiment has {len(plans)} now. Rounds can be added at the end, but "
            "not removed: give the earlier ones, or another `exp_dir`."
        )
    for plan in plans:
        check_plan(folder_of(run, plan["number"]), plan)


def check_choice(path: Path, choice: Choice, is_labelled: np.ndarray, budget: int) -> None:
    """Refuses a choice on disk that does not belong to the rounds before it.

    Raises:
        DataError: units that were annotated before, or another number of them than the budget says.
    """
    wanted = min(budget, int((~is_labelled).sum()))
    twice = int(is_labelled[choice.indices].sum())
    if len(choice.indices) != wanted or twice:
        raise DataError(
            path,
            expected=f"{wanted} units that no round before has bought",
            found=f"{len(choice.indices)}, of which {twice} were bought before",
            remedy=f"Restore the file; or delete {path.parent} and all later rounds, and repeat the command.",
        )


def read_bought(folder: Path, pool: Pool) -> Bought:
    """Returns what a round has bought.

    Raises:
        DataError: a file is missing or damaged.
    """
    choice = read_query(folder / "query.csv", pool)
    path = folder / ANNOTATIONS
    try:
        masks = np.load(path, mmap_mode="r" if len(choice.indices) else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if masks.ndim != 3 or masks.dtype != np.uint8 or len(masks) != len(choice.indices):
        raise _damaged(path, f"{masks.dtype} {masks.shape} for {len(choice.indices)} units")
    return Bought(int(folder.name), choice.indices, masks)


def read_finished(folder: Path, pool: Pool, before: Annotations) -> Annotations:
    """Returns what was annotated before and in a finished round, after checking its files.

    Raises:
        DataError: a file is missing or was changed, or the round continues other rounds than these.
    """
    verify(folder)
    found = before.extended(read_bought(folder, pool))
    path = folder / LABELLED
    if not np.array_equal(np.flatnonzero(read_labelled(path, pool)), np.sort(found.units)):
        raise DataError(
            path,
            expected="what this round and those before it have bought",
            found="other units; a round before it is not the one that it continued",
            remedy=f"Restore that round; or delete {folder} and all later rounds, and repeat the command.",
        )
    return found


def are_finished(run: Path, pool: Pool, count: int) -> bool:
    """Checks the finished rounds of a run up to the first that is not, and returns whether `count` are finished.

    Raises:
        DataError: see `read_finished`.
    """
    annotations = Annotations(())
    for number in range(count):
        folder = folder_of(run, number)
        if not (folder / "DONE").exists():
            return False
        annotations = read_finished(folder, pool, annotations)
    return True


def write_labelled(folder: Path, pool: Pool, annotations: Annotations) -> None:
    """Writes labelled.csv: index, unit_id, round of everything annotated so far."""
    rows = [
        {"index": int(unit), "unit_id": pool.unit_ids[unit], "round": part.number}
        for part in annotations.parts
        for unit in part.units
    ]
    files.write_csv(folder / LABELLED, rows, ("index", "unit_id", "round"))


def finish(folder: Path) -> None:
    """Marks a round as finished and vouches for its files."""
    present = [name for name in _VOUCHED if (folder / name).exists()]
    files.write_json(folder / "DONE", {"sha256": {name: files.sha256(folder / name) for name in present}})


def verify(folder: Path) -> None:
    """Checks the files of a finished round.

    Raises:
        DataError: one is missing or was changed.
    """
    for name, expected in _read_json(folder / "DONE")["sha256"].items():
        path = folder / name
        if not path.exists():
            raise _damaged(path, "no such file")
        if files.sha256(path) != expected:
            raise _damaged(path, "another content than when the round was finished")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except (OSError, FewSliceError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(path, type(found).__name__)
    return found


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        path,
        expected="the file as this program wrote it",
        found=found,
        remedy=f"Restore it; or delete {path.parent} and all later rounds, and repeat the command.",
    )
