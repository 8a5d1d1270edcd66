"""Puts runs together that differ in nothing but their seed, and names them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fewslice.core.errors import ConfigError
from fewslice.report.reading import settings, titles
from fewslice.report.reading.runs import Run, read_run
from fewslice.report.reading.titles import JOINT_TITLES, STAGE_TITLES


@dataclass(frozen=True, eq=False)
class Method:
    """Runs of the same stage and settings with different seeds.

    Attributes:
        label: What figures and tables call it; no other method of the same labelled split has it.
        runs: Ordered by seed.
        is_baseline: Whether it trains from random weights.
    """

    label: str
    runs: tuple[Run, ...] = field(repr=False)
    is_baseline: bool = False

    @property
    def protocol(self) -> tuple:
        """What must be equal for two methods to be compared: labelled volumes and number of steps."""
        config = self.runs[0].config
        return tuple(config.get(name) for name in ("no_of_tr_imgs", "comb_tr_imgs", "n_iter"))

    @property
    def split(self) -> str:
        """The labelled split, such as "tr1 c1"; "" for pretraining."""
        return titles.split(self.runs[0])

    @property
    def continues_a_baseline(self) -> bool:
        """Whether it goes on from a trained baseline, so that more steps are part of the method."""
        return bool(self.runs[0].config.get("teacher_sha256"))

    @property
    def has_scores(self) -> bool:
        """Whether any of its runs was evaluated on test volumes."""
        return any(run.scores for run in self.runs)


def group_runs(runs: Iterable[Run]) -> list[Method]:
    """Puts runs of equal stage and settings together; baselines come first, pretraining last.

    Methods of one stage that differ in their settings are told apart by the settings that differ. Methods that
    differ in nothing but the labelled split have the same label, see `by_split`.
    """
    kinds: dict[tuple, list[Run]] = {}
    for run in runs:  # which weights a run starts from may differ, by seed; of what kind they are may not
        kinds.setdefault((run.dataset, titles.kind(run), titles.start(run), titles.split(run)), []).append(run)
    groups = [group for same in kinds.values() for group in settings.group(same)]
    groups.sort(key=lambda group: _rank(group[0]))
    methods: list[Method] = []
    for group in groups:
        others = [o for o in groups if o is not group and _name(o[0]) == _name(group[0])]
        details = settings.differences(group, others)
        label = titles.title(group[0]) + (f" ({', '.join(details)})" if details else "")
        parts = _by_seed(group)
        for number, part in enumerate(parts, start=1):
            named = label if number == 1 else f"{label} [{_repeat(part, parts[0], number)}]"
            method = Method(named, tuple(part), titles.is_baseline(part[0]))
            is_taken = any((m.label, m.split) == (named, method.split) for m in methods)
            methods.append(Method(f"{named} [{part[0].digest}]", *_rest(method)) if is_taken else method)
    return methods


def _rest(method: Method) -> tuple:
    return method.runs, method.is_baseline


def _name(run: Run) -> tuple:
    return run.dataset, titles.kind(run), titles.title(run)


def _repeat(part: Sequence[Run], first: Sequence[Run], number: int) -> str:
    same_seed = {run.seed: run for run in first}
    return settings.repeat_name(part[0], same_seed[part[0].seed], number)


def _by_seed(group: Sequence[Run]) -> list[list[Run]]:
    """Splits runs so that no part holds a seed twice: repetitions under another --ver are no further seeds."""
    parts: list[list[Run]] = []
    for run in sorted(group, key=lambda run: (run.seed, str(run.config.get("ver", "")), str(run.path))):
        free = next((part for part in parts if all(run.seed != other.seed for other in part)), None)
        if free is None:
            parts.append([run])
        else:
            free.append(run)
    return parts


def by_split(methods: Iterable[Method]) -> dict[str, list[Method]]:
    """Returns labelled split -> its methods, the fewest volumes first ("tr2 c1" before "tr10 c1")."""
    found: dict[str, list[Method]] = {}
    for method in methods:
        found.setdefault(method.split, []).append(method)
    return {name: found[name] for name in sorted(found, key=_natural)}


def _natural(name: str) -> list:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_methods(run_dirs: Sequence[str | Path]) -> list[Method]:
    """Reads run directories of one dataset and groups them.

    Raises:
        ConfigError: no run directory was given, or runs of several datasets.
        DataError: one of them is none, or a table in it is damaged.
    """
    runs = [read_run(path) for path in dict.fromkeys(Path(path) for path in run_dirs)]
    if not runs:
        raise ConfigError("There is no run to report. Train one first, or name run directories with --runs.")
    names = sorted({run.dataset for run in runs})
    if len(names) > 1:
        raise ConfigError(f"A report compares runs of one dataset. Received runs of: {', '.join(names)}")
    return group_runs(runs)


def _rank(run: Run) -> tuple:
    stages, methods = list(STAGE_TITLES), list(JOINT_TITLES)
    stage = stages.index(run.stage) if run.stage in stages else len(stages)
    name = titles.kind(run)[1]
    method = methods.index(name) if name in methods else len(methods)
    return run.is_contrastive, not titles.is_baseline(run), stage, method, titles.title(run), str(run.path)
