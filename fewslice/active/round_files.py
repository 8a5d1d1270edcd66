"""The files of a round: where they are, and the checks when they are read."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fewslice.active.labels import Labels, Revealed
from fewslice.active.query import Choice, Query
from fewslice.active.selection_files import read_labelled, read_query, write_query
from fewslice.core import done, files, later
from fewslice.core.errors import ConfigError, DataError
from fewslice.settings.declare import plain
from fewslice.settings.experiment import RoundPlan

QUERY, LABELS, LABELLED, METRICS = "query.csv", "labels.npy", "labelled.csv", "metrics.json"
SCORE_TABLE, MAPS = "scores.csv", "maps"  # what a query looked at, for people
UNCERTAINTY = "uncertainty.json"  # where it can end the experiment
START = "start"  # beside the rounds: what was annotated before them
REPLACED = "replaced"  # folder of a run: rounds that were done again
SUMS = "checksums.json"  # of the files of an unfinished round
_VOUCHED = (
    "plan.json", QUERY, LABELS, LABELLED, METRICS, UNCERTAINTY, "member_*/member.json",
    "member_*/logs/*.csv", "member_*/eval/**/*", f"member_*/checkpoints/{done.BEST}",
)  # fmt: skip


def folder_of(run: Path, number: int) -> Path:
    """Returns the folder of a round."""
    return run / "rounds" / f"{number:03d}"


def check_plan(folder: Path, plan: RoundPlan) -> None:
    """Refuses a round that was begun with another plan: `ConfigError` says what differs."""
    path = folder / "plan.json"
    if not path.exists():
        return
    stored = files.read_record(path, remedy=done.OF_ROUND)
    planned = json.loads(files.to_json(plain(plan)))
    differing = [name for name in planned if stored.get(name) != planned[name]]
    if differing:
        changes = "; ".join(f"{name}: {stored.get(name)} then, {planned[name]} now" for name in differing)
        raise ConfigError(
            f"The round {folder} was begun with another plan ({changes}). Rounds can be added at the end, but not "
            "changed: give the earlier values, or another `name`."
        )


def check_plans(run: Path, plans: Sequence[RoundPlan]) -> None:
    """Refuses, with `ConfigError`, rounds that were begun with other plans or are no longer planned."""
    begun = len(list((run / "rounds").glob("*/plan.json")))
    if begun > len(plans):
        raise ConfigError(
            f"{run} has begun {begun} rounds; the experiment has {len(plans)} now. Rounds can be added at the end, but "
            "not removed: give the earlier ones, or another `name`."
        )
    for plan in plans:
        check_plan(folder_of(run, plan.number), plan)


def check_choice(path: Path, choice: Choice, query: Query) -> None:
    """Refuses a query on disk that does not belong to the rounds before it.

    Raises:
        DataError: units that were annotated before, or another number of them than the budget says.
    """
    count = min(query.budget, int((~query.is_labelled).sum()))
    twice = int((~np.isin(choice.indices, query.candidates)).sum())
    has_other_count = len(choice.indices) != count and not (query.has_rules and len(choice.indices) < count)
    if has_other_count or twice:
        raise DataError(
            path,
            expected=f"{count} units that no earlier round has annotated",
            found=f"{len(choice.indices)}, of which {twice} were annotated or overlap what was",
            remedy=f"Restore the file; or move {path.parent} and all later rounds elsewhere, and repeat the command.",
        )


def has_start(run: Path) -> bool:
    """Whether a run keeps units that were annotated before its first round."""
    return (folder_of(run, 0).parent / START / QUERY).exists()


def write_start(run: Path, before: Labels, units: np.ndarray, values: np.ndarray) -> None:
    """Keeps units that were annotated before the first round of a run, and the (V,) uint8 labels of their boxes."""
    folder = folder_of(run, 0).parent / START
    write_once(folder, LABELS, lambda path: files.write_array(path, values))
    write_once(folder, QUERY, lambda path: write_query(path, before.pool, Choice.unranked(units)))


def read_start(run: Path, before: Labels) -> Labels:
    """Returns the labels that a run began with, after comparing their checksums. Raises `DataError` as `write_once`."""
    folder = folder_of(run, 0).parent / START
    if not has_start(run):
        return before
    revealed = dataclasses.replace(read_revealed(folder, before), number=-1)
    for name in (LABELS, QUERY):
        write_once(folder, name, lambda path: None)
    return before.extended(revealed)


def read_revealed(folder: Path, before: Labels) -> Revealed:
    """Returns the labels that a round has revealed. Raises `DataError` if a file is missing or damaged."""
    pool = before.pool
    units = read_query(folder / "query.csv", pool).indices
    boxes = tuple(pool.box(unit) for unit in units)
    count = sum(int(np.prod(box.size)) for box in boxes)
    path = folder / LABELS
    try:
        values = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise done.changed(path, str(error), done.OF_ROUND) from error
    if values.shape != (count,) or values.dtype != np.uint8:
        found = f"{values.dtype} {values.shape} for {len(units)} units of {count} voxels"
        raise done.changed(path, found, done.OF_ROUND)
    return Revealed(int(folder.name) if folder.name.isdecimal() else 0, units, boxes, values)


def read_finished(folder: Path, before: Labels) -> Labels:
    """Returns the labels from before and of a finished round, after checking its files.

    Raises:
        DataError: a file is missing or was changed, or the round followed other rounds than these.
    """
    verify(folder)
    labels = before.extended(read_revealed(folder, before))
    path = folder / LABELLED
    if not np.array_equal(read_labelled(path, before.pool), np.sort(labels.units)):
        raise DataError(
            path,
            expected="the units that this round and those before it have annotated",
            found="other units; a round before it is not the one that it followed",
            remedy=f"Restore that round; or move {folder} and all later rounds elsewhere, and repeat the command.",
        )
    return labels


def reopen(folder: Path, labels: np.ndarray) -> Path | None:
    """Moves what came of a round, and all later rounds, to `replaced/<number>` of the run, so that it is done again.

    Query and files of a person stay. What later steps need goes last, so that a kill leaves the round as it was, or
    open. Returns the new folder, None where the round has these labels, (V,) uint8, already.
    """
    with contextlib.suppress(OSError, ValueError, EOFError):  # a damaged file is another one
        if np.array_equal(np.load(folder / LABELS, allow_pickle=False), labels):
            return None
    replaced = (folder.parents[1] / REPLACED / str(number) for number in itertools.count(1))
    beside = next(path for path in replaced if not path.exists())
    (beside / folder.name).mkdir(parents=True)
    for path in sorted(folder.parent.glob("[0-9]*"), reverse=True):
        if path.name > folder.name:
            path.rename(beside / path.name)
    for name in ("plan.json", QUERY):
        shutil.copy2(folder / name, beside / folder.name)
    for pattern in (done.NAME, METRICS, "member_*", "gallery.png", LABELLED, LABELS, SUMS):
        for path in sorted(folder.glob(pattern)):
            path.rename(beside / folder.name / path.name)
    return beside


def write_labelled(folder: Path, labels: Labels) -> None:
    """Writes labelled.csv, a line for each unit annotated so far."""
    rows = [
        {"index": int(unit), "unit_id": labels.pool.name(unit), "round": part.number}
        for part in labels.rounds
        for unit in part.units
    ]
    files.write_csv(folder / LABELLED, rows, ("index", "unit_id", "round"))


def write_once(folder: Path, name: str, write: Callable[[Path], object]) -> None:
    """Writes a file of an unfinished round, if it is missing, and records its checksum.

    With the file that is the last of a network's (`member_0/member.json`) those of the other files of that network.

    Raises:
        DataError: a file is another than the one that was written.
    """
    path, record, part = folder / name, folder / SUMS, name.split("/")[0]
    sums = files.read_record(record, remedy=done.OF_ROUND) if record.exists() else {}
    known = {each: sums.pop(each) for each in [*sums] if each.split("/")[0] == part}
    if not path.exists():
        if known:  # so that a kill after `write` is no change of the file
            files.write_json(record, sums)
        write(path)
        known = {}
    if not known:
        patterns = [text.replace("member_*", part) for text in _VOUCHED if text.startswith("member_*/")]
        files.write_json(record, sums | done.sums(folder, [name] if part == name else patterns))
    place = folder if name == QUERY else folder / part
    remedy = f"Restore it; or move {place} elsewhere and repeat the command, which makes it again."
    for error in done.differing(folder, known, remedy).values():
        raise error


def finish(folder: Path) -> None:
    """Marks a round as finished, with the checksums of its files."""
    later.settle()
    (folder / SUMS).unlink(missing_ok=True)
    done.write(folder, {}, _VOUCHED)


def verify(folder: Path) -> None:
    """Refuses, with `DataError`, a finished round of which a file is missing or was changed.

    Weights are looked at where they are read.
    """
    done.read(folder, remedy=done.OF_ROUND, sha256=dict)
    for error in done.problems(folder, remedy=done.OF_ROUND, but=(".npz",)).values():
        raise error
