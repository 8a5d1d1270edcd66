"""Puts runs together that differ in nothing but their seed, names them, and keeps apart what is not comparable.

A setting that one of two trainings does not record (an older revision did not have it) is unknown, not different.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.report.reading.runs import Run, check_one_dataset, read_run
from fewslice.settings.facts import ANNOTATOR, CASES, FROM, JOINT_TITLES, SCANS, SPLIT, STAGE_TITLES

_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Method:
    """Runs of equal settings with different seeds.

    Attributes:
        label: What figures and tables call it; no other method of the same setup has it.
        runs: Ordered by seed, each seed once.
        setup: What it has in common with the methods that it can be compared with, in words; "" if there is one
            setup only.
    """

    label: str
    runs: tuple[Run, ...] = field(repr=False)
    setup: str = ""

    @property
    def is_baseline(self) -> bool:
        """Whether others are measured against it: training without pretraining, or random choice."""
        return self.runs[0].facts["is_baseline"]

    @property
    def is_pretraining(self) -> bool:
        """Whether it learned without labels."""
        return self.runs[0].is_pretraining

    @property
    def by_seed(self) -> dict[int, Run]:
        """Seed -> run."""
        return {run.seed: run for run in self.runs}

    @property
    def has_scores(self) -> bool:
        """Whether any of its trainings was evaluated on test volumes."""
        return any(len(run.scores) for run in self.runs)

    @property
    def is_logged(self) -> bool:
        """Whether any of its trainings has a log."""
        return any(len(run.curve) for run in self.runs)

    def is_comparable(self, baseline: Method) -> bool:
        """Whether both took the same number of steps, or this one starts from the baseline."""
        ours, theirs = self.runs[0].config, baseline.runs[0].config
        return bool(ours.get("teacher_sha256")) or ours.get("n_iter") == theirs.get("n_iter")

    def shared_seeds(self, other: Method) -> list[int]:
        """Returns the seeds that both have, ascending."""
        return sorted(self.by_seed.keys() & other.by_seed.keys())

    @property
    def unrecorded(self) -> list[str]:
        """Settings that some of its runs do not record; they count as equal all the same."""
        found = [set(run.facts["settings"]) for run in self.runs]
        return sorted(set.union(*found) - set.intersection(*found))


def read_methods(run_dirs: Sequence[str | Path]) -> list[Method]:
    """Reads pretrainings and trainings of one dataset and groups them.

    Raises:
        ConfigError: no run directory was given, or runs of several datasets.
        DataError: one of them is none, or a table in it is damaged.
    """
    runs = [read_run(path) for path in dict.fromkeys(Path(path) for path in run_dirs)]
    if not runs:
        raise ConfigError("There is no run to report. Train one first, or name run directories with --runs.")
    check_one_dataset(runs, "runs")
    return group_runs(runs)


def group_runs(runs: Iterable[Run]) -> list[Method]:
    """Puts runs of equal settings together; baselines come first, pretraining last.

    Methods of one name are told apart by the settings that differ. Those that differ in their setup only have the same
    label, see `by_setup`. A run with the settings and seed of another is a method of its own.
    """
    kinds: dict[tuple, list[Run]] = {}
    for run in runs:
        place = (run.dataset, run.facts["kind"], run.facts["method"], repr(sorted(run.facts["setup"].items())))
        kinds.setdefault(place, []).append(run)
    groups = [sorted(group, key=_rank) for same in kinds.values() for group in _groups(same)]
    groups.sort(key=lambda group: _rank(group[0]))
    setups, methods = _setups(groups), []
    for group, setup in zip(groups, setups, strict=True):
        label = group[0].facts["method"]
        details = _differences(group, [other for other in groups if other is not group])
        label += f" ({', '.join(details)})" if details else ""
        parts = _by_seed(group)
        for number, part in enumerate(parts, start=1):
            named = label if number == 1 else f"{label} [{_repetition(part[0], parts[0], number)}]"
            is_taken = any((method.label, method.setup) == (named, setup) for method in methods)
            methods.append(Method(f"{named} [{part[0].digest}]" if is_taken else named, tuple(part), setup))
    return methods


def by_setup(methods: Iterable[Method]) -> dict[str, list[Method]]:
    """Returns setup -> its methods, the fewest volumes first ("tr2 c1" before "tr10 c1")."""
    methods = list(methods)
    names = sorted(dict.fromkeys(method.setup for method in methods), key=_natural)
    return {name: [method for method in methods if method.setup == name] for name in names}


def _natural(name: str) -> list:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _rank(run: Run) -> tuple:
    def place(name: str, known: Iterable[str]) -> int:
        return [*known, name].index(name)  # others stand last

    facts, method = run.facts, run.config.get("method", "contrastive")
    kind = (run.is_pretraining, not facts["is_baseline"], place(run.stage, STAGE_TITLES), place(method, JOINT_TITLES))
    return *kind, facts["method"], run.seed, str(run.config.get("ver", "")), str(run.path)


def _agree(first: Run, second: Run) -> bool:
    """Whether two runs of one name have the same settings; of trainings, as far as both record them."""
    ours, theirs = first.facts["settings"], second.facts["settings"]
    is_exact = first.facts["kind"] == "experiment"
    names = ours.keys() | theirs.keys() if is_exact else ours.keys() & theirs.keys()
    return all(ours.get(name) == theirs.get(name) for name in names)


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Puts runs together whose settings agree.

    A run of an older revision that agrees with several different methods belongs to none of them.
    """
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: (-len(run.facts["settings"]), str(run.path))):
        same = [group for group in groups if any(other.facts["settings"] == run.facts["settings"] for other in group)]
        fitting = same or [group for group in groups if all(_agree(run, other) for other in group)]
        if len(fitting) == 1:
            fitting[0].append(run)
        else:
            groups.append([run])
    return groups


def _by_seed(group: Sequence[Run]) -> list[list[Run]]:
    """Splits runs so that no part has a duplicate seed: repetitions are no further seeds."""
    parts: list[list[Run]] = []
    for run in group:
        number = sum(any(run.seed == other.seed for other in part) for part in parts)  # of its repetition
        if number == len(parts):
            parts.append([])
        parts[number].append(run)
    return parts


def _setups(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Returns the setup of each group in words: the settings in which set-ups differ that have them.

    A setting that some set-ups do not have (an option of another network) is named only where these are told apart by
    nothing else.
    """
    tables = [group[0].facts["setup"] for group in groups]
    names = sorted({name for table in tables for name in table})

    def different(names: Sequence[str]) -> int:
        return len({repr([table.get(name) for name in names]) for table in tables if table})

    varying = [name for name in names if len({repr(table[name]) for table in tables if name in table}) > 1]
    optional = []
    for name in names:
        if different([*varying, *optional, name]) > different([*varying, *optional]):
            optional.append(name)
    texts = []
    for table in tables:
        same = [group[0].facts["settings"] for group, other in zip(groups, tables, strict=True) if other == table]
        shown = {name: table[name] for name in varying if name in table} or dict.fromkeys(varying)
        shown |= {name: table.get(name) for name in optional}
        for name in shown.keys() & {name for settings in same for name in settings}:  # refined by the methods
            shown[name] = " and ".join(sorted({str(settings.get(name)) for settings in same}, key=len))
        texts.append(
            ", ".join(_text(name, shown[name], [*varying, *optional]) for name in sorted(shown)) if table else ""
        )
    return texts


def _merged(group: Sequence[Run]) -> dict[str, Any]:
    """Returns the settings of one method: what any of its runs records."""
    return {name: value for run in group for name, value in run.facts["settings"].items()}


def _differences(group: Sequence[Run], others: Sequence[Sequence[Run]]) -> list[str]:
    """Returns in words by what a method differs from others of its name, and by what its network refines the setup."""
    facts, mine, names = group[0].facts, _merged(group), set()
    is_exact, rivals = facts["kind"] == "experiment", []
    for other in others:
        theirs, here = _merged(other), other[0].facts["setup"] == facts["setup"]
        is_same = other[0].facts["method"] == facts["method"] and other[0].facts["kind"] == facts["kind"]
        if not (here if is_exact else is_same):
            continue
        rivals += [theirs] if here else []
        compared = mine.keys() | theirs.keys() if is_exact else mine.keys() & theirs.keys()
        different = {name for name in compared if mine.get(name) != theirs.get(name)}
        if is_exact and (ANNOTATOR in different or any(name.startswith(CASES) for name in different)):
            different = {name for name in different if not name.startswith(SCANS)}  # they differ by that
        if not here:
            different = {name for name in different if not name.startswith((CASES, SCANS))}
        if not is_same:
            different &= {name for name, value in facts["setup"].items() if mine.get(name, value) != value}
        names |= different
    ordered = sorted(names, key=lambda name: (name.count("."), name))
    texts = [_text(name, mine.get(name), ordered) for name in ordered]
    more = [f"{len(texts) - _MOST_NAMED} more"] if len(texts) > _MOST_NAMED else []
    return texts[:_MOST_NAMED] + more or ([] if is_exact else _unknown(mine, rivals))


def _unknown(mine: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names the settings that a run of an older revision would have to record to belong to one of `others`."""
    rivals = [other for other in others if all(mine[name] == other[name] for name in mine.keys() & other.keys())]
    missing = {name for other in rivals for name in other} - mine.keys()
    values = {name: {str(other[name]) for other in rivals if name in other} for name in missing}
    return [f"{name} not recorded" for name in sorted(missing) if len(values[name]) > 1][:_MOST_NAMED]


def _text(name: str, value: Any, names: Sequence[str]) -> str:
    """Returns "name value"; of a dotted name the last part where no other name ends so."""
    if name.startswith(CASES) and value is not None:
        count, _, listed = value.partition(" ")
        return f"{count} {name.removeprefix(CASES)} cases, list {listed[:4]}"
    if name.startswith(SCANS) and value is not None:
        return f"{name.removeprefix(SCANS)} scans {str(value)[:4]}"
    last = name.rpartition(".")[2]
    short = last if sum(other.rpartition(".")[2] == last for other in names) == 1 else name
    if value in (None, "") or isinstance(value, bool):
        return short if value else f"no {short}"
    text = str(value)
    return f"{short} {text if len(text) <= 32 or name in (FROM, SPLIT) else text[:29] + '...'}"


def _repetition(run: Run, first: Sequence[Run], number: int) -> str:
    """Returns the difference from another run of equal settings and seed: --ver, weights, software, or its folder."""
    twin = next(other for other in first if other.seed == run.seed)
    ours, theirs = run.config, twin.config
    if run.facts["kind"] == "experiment":
        has_others = "weights_sha256" in theirs and ours.get("weights_sha256") != theirs["weights_sha256"]
        return "other weights, " * has_others + run.path.name
    different = [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    versions = [f"{name} {ours[name]}" for name in ("ver", "pretr_ver") if name in different]
    titles = {"initial_weights": "start", "teacher_sha256": "teacher"}
    weights = [f"{title} {str(ours[name])[:8] or 'random'}" for name, title in titles.items() if name in different]
    both = sorted(run.versions.keys() & twin.versions.keys())
    software = [f"{name} {run.versions[name]}" for name in both if run.versions[name] != twin.versions[name]]
    return ", ".join((versions or weights[:1] or software)[:_MOST_NAMED]) or f"repeat {number}"
