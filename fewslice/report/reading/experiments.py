"""Reads the run directories of active-learning experiments.

What is missing or damaged in an experiment is named in `Experiment.problems`, and the rest of it is read all the same:
a kill or a lost file must not hide the other rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.report.reading.experiment_rounds import Pick, Round, cell_number, damaged, json_table, read_round, table

STAGE = "run_al_exp"
ROUNDS = "rounds"
_HANDED_OUT, _RETURNED = "to_annotate/slices.csv", "annotations.npy"  # of a round that a person annotates


@dataclass(frozen=True, eq=False)
class Experiment:
    """What the run directory of one experiment says.

    Attributes:
        path: The directory.
        config: config.json.
        versions: versions.json, or empty.
        command: command.txt, or empty.
        is_finished: Whether DONE is there.
        rounds: In order; those that were bought without training have no metrics.
        pool: unit_id -> the unit, of pool.csv; empty without the file.
        problems: What is missing or damaged, in words.
    """

    path: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    command: str
    is_finished: bool
    rounds: tuple[Round, ...]
    pool: dict[str, Pick]
    problems: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        named = self.config.get("dataset")
        return named if isinstance(named, str) else self.path.parent.parent.name

    @property
    def seed(self) -> int:
        """Seed of the experiment."""
        policy = self.config.get("policy")
        nested = policy.get("seed") if isinstance(policy, dict) else None
        seed = self.config.get("seed", nested)
        return seed if isinstance(seed, int) else 0

    @cached_property
    def strategy(self) -> str:
        """The strategy that the settings name, else the one that bought the most rounds."""
        named = self.config.get("strategy")
        if isinstance(named, dict):
            named = named.get("name") or named.get("strategy") or named.get("type")
        if isinstance(named, str) and named:
            return named
        bought = [one.strategy for one in self.rounds if one.strategy]
        return max(dict.fromkeys(bought), key=bought.count) if bought else "unknown strategy"

    @cached_property
    def annotator(self) -> str:
        """Who annotates: "files" (a person) or "simulated"; where the settings do not say, the files of rounds do."""
        handed_out = any((self.path / ROUNDS).glob(f"*/{_HANDED_OUT}"))
        return str(self.config.get("annotator") or ("files" if handed_out else "simulated"))

    @property
    def has_results(self) -> bool:
        """Whether any of its networks was validated or tested."""
        return any(self.values(metric) for metric in ("val_dice", "test_dice"))

    @property
    def state(self) -> str:
        """How far an experiment without results is, in words."""
        if self.is_finished:
            only_buys = self.rounds and all(one.is_skipped for one in self.rounds)
            return "finished; its rounds only buy" if only_buys else "finished without test or validation numbers"
        last = max((self.path / ROUNDS).glob("[0-9]*/plan.json"), default=None)
        if last is None:
            return "not finished, stopped before its first round"
        number, folder = int(last.parent.name), last.parent
        if (folder / _HANDED_OUT).is_file() and not (folder / _RETURNED).is_file():
            return f"waits for annotations in round {number}"
        return f"not finished, round {number} has begun"

    def values(self, metric: str) -> dict[float, float]:
        """Returns fraction -> a metric of the rounds that have it."""
        found = {one.fraction: one.metrics.get(metric, math.nan) for one in self.rounds}
        return {fraction: value for fraction, value in found.items() if math.isfinite(fraction + value)}

    def labelled(self, fraction: float) -> set[str]:
        """Returns the unit_ids of everything bought up to a budget."""
        return {pick.unit_id for one in self.rounds if one.fraction <= fraction for pick in one.picks}


def find_experiments(runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the experiments of a dataset below `runs_dir`, finished or not."""
    return list(_found(Path(runs_dir) / dataset / STAGE))


def _found(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir() or path.name.startswith("."):
            continue
        if (path / "config.json").exists() or (path / ROUNDS).is_dir():
            yield path
        else:
            yield from _found(path)


def choose_experiments(named: Sequence[str], runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the named experiments, or all of a dataset if none is named.

    Raises:
        ConfigError: none is named and there is none.
    """
    chosen = [Path(path.strip()) for path in named if path.strip()] or find_experiments(runs_dir, dataset)
    if not chosen:
        raise ConfigError(
            f"There is no experiment of {dataset} below {Path(runs_dir) / dataset / STAGE}. Run one first "
            f"(train_model/{STAGE}.py), give another --runs_dir, or name the folders with --experiments."
        )
    return list(dict.fromkeys(chosen))


def read_experiments(paths: Sequence[str | Path]) -> tuple[list[Experiment], list[str]]:
    """Reads experiments of one dataset.

    Returns:
        Those that could be read, and a warning for each thing that is missing, unfinished or damaged.

    Raises:
        ConfigError: none could be read, or they are of several datasets.
    """
    experiments, warnings = [], []
    for path in dict.fromkeys(Path(path) for path in paths):
        try:
            experiments.append(read_experiment(path))
        except FewSliceError as error:
            warnings.append(f"Left out: {_one_line(error)}")
    warnings += [f"{one.path.name}: {problem}" for one in experiments for problem in one.problems]
    if not experiments:
        raise ConfigError("\n".join(["There is no experiment that can be reported.", *warnings]))
    names = sorted({one.dataset for one in experiments})
    if len(names) > 1:
        raise ConfigError(f"A report compares experiments of one dataset. Received some of: {', '.join(names)}")
    return experiments, warnings


def split_results(experiments: Sequence[Experiment]) -> tuple[list[Experiment], list[Experiment]]:
    """Returns the experiments that can be compared, and those without any result yet.

    Finished experiments that only buy are compared with each other where nothing was trained at all.
    """
    for is_comparable in (lambda one: one.has_results, lambda one: one.is_finished and one.state.endswith("only buy")):
        found = [one for one in experiments if is_comparable(one)]
        if found:
            return found, [one for one in experiments if one not in found]
    return [], list(experiments)


def read_experiment(path: str | Path) -> Experiment:
    """Reads one experiment.

    Args:
        path: The folder with config.json and rounds/.

    Raises:
        DataError: it is no experiment, or config.json is damaged. Damage elsewhere stands in `problems`.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        found = "no config.json" if path.is_dir() else "no such folder"
        remedy = f"Name a folder like runs/<dataset>/{STAGE}/<name>-<digest>."
        raise damaged(path, expected="the folder of an experiment (with config.json)", found=found, remedy=remedy)
    config = _table(path / "config.json")
    problems: list[str] = []
    rounds, damaged_rounds = [], set()
    for folder in sorted((path / ROUNDS).iterdir()) if (path / ROUNDS).is_dir() else ():
        if folder.is_dir() and folder.name.isdigit():
            one, found = read_round(folder)
            rounds += [one] if one is not None else []
            problems += [_one_line(error) for error in found]
            damaged_rounds |= {one} if found else set()
    versions = _attempt(_table, path / "versions.json", {}, problems)
    pool = _attempt(_read_pool, path / "pool.csv", {}, problems)
    command = _attempt(_text, path / "command.txt", "", problems)
    is_finished = (path / "DONE").is_file()
    return Experiment(path, config, versions, command, is_finished, tuple(rounds), pool,
                      (*_state(is_finished, rounds, damaged_rounds), *problems))  # fmt: skip


def _state(is_finished: bool, rounds: Sequence[Round], damaged_rounds: set[Round | None]) -> list[str]:
    """Says what is missing from an experiment with scores (`state` is for others); damage is told of already."""
    trained = [one for one in rounds if one.metrics]
    untrained = [one for one in rounds if not one.metrics and not one.is_skipped and one not in damaged_rounds]
    found = []
    if not is_finished:
        text = "1 round has scores so far" if len(trained) == 1 else f"{len(trained)} rounds have scores so far"
        if trained:
            found.append(f"The experiment is not finished (no DONE): {text}. Repeat its command to continue.")
    elif trained and untrained:
        names = ", ".join(f"{one.folder.parent.name}/{one.folder.name}" for one in untrained)
        found.append(f"No scores (metrics.json) in {names}. Delete DONE there and repeat the experiment's command.")
    if any(one.metrics and math.isnan(one.metrics.get("test_dice", math.nan)) for one in trained) and any(
        math.isfinite(one.metrics.get("test_dice", math.nan)) for one in trained
    ):
        found.append("Some rounds have no Dice on the test volumes; the curves leave them out.")
    return found


def _one_line(error: FewSliceError | str) -> str:
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())


def _attempt(read, path: Path, default: Any, problems: list[str]) -> Any:
    if not path.is_file():
        return default
    try:
        return read(path)
    except FewSliceError as error:
        problems.append(_one_line(error))
        return default


def _table(path: Path) -> dict[str, Any]:
    return json_table(path, "The file is damaged. Restore it, or run the experiment again in another --runs_dir.")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _read_pool(path: Path) -> dict[str, Pick]:
    found = {}
    for line, row in enumerate(table(path, ("unit_id", "volume", "position", "depth")), start=2):
        position, depth = (cell_number(path, line, row[name]) for name in ("position", "depth"))
        share = position / (depth - 1) if depth > 1 else 0.5
        found[row["unit_id"]] = Pick(row["unit_id"], row.get("patient") or "", row["volume"], position, share)
    return found
