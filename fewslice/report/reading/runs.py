"""Reads run directories: pretrainings, trainings and experiments of active learning.

What is missing is named in `Run.problems`. So is what is damaged in an experiment, whose other rounds are read all the
same: a kill or a lost file must not hide them. A damaged file of a training raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fewslice.core import done, files
from fewslice.core.done import OF_ROUND
from fewslice.core.errors import ConfigError, DataError, FewSliceError, few, listed
from fewslice.report.reading.earlier_runs import facts_of_earlier_run
from fewslice.report.reading.files import checked_picture, read_table
from fewslice.settings import facts

EXPERIMENTS = "run_al_exp"
TEST, VALIDATION = "test_dice", "val_dice"
_METRICS = (VALIDATION, TEST, "test_hd95_mm", "test_hd95_voxels")
_NO_STRUCTURES = {"mean", "average", "all"}
_SCORES = ("case_id", "structure", "metric", "value")
_PICKS = ("unit_id", "patient", "volume", "position", "value")
_TEXTS = ("patient_id", "phase", "note")


@dataclass(frozen=True, eq=False)
class Round:
    """One round of an experiment.

    Attributes:
        folder: rounds/<number>.
        fraction: Annotated share of the pool after the query, rounded to 6 decimals; NaN if unknown.
        units: Number of annotated units after the query, NaN if unknown.
        strategy: What chose them, or "".
        is_skipped: Whether nothing was meant to be trained.
        annotated_pixels: Number of annotated pixels, NaN if unknown.
        seconds: Stage -> seconds; {"": seconds} if only the whole round was measured; or empty.
        metrics: val_dice, test_dice, test_hd95_mm, test_hd95_voxels of the chosen member, NaN where undefined; empty
            if nothing was trained.
        per_structure: structure -> metric -> value of the chosen member.
        chosen: Which member has the best validation Dice; None if unknown.
        scores: The chosen member's per_volume.csv, of the test volumes or else of the validation volumes.
        score_set: "test" or "val".
        picks: What was queried, in the order of choice: unit_id, patient, volume, position, value.
        gallery: gallery.png, or None.
    """

    folder: Path
    number: int
    fraction: float
    units: float
    scores: pd.DataFrame
    score_set: str
    picks: pd.DataFrame
    gallery: Path | None
    strategy: str = ""
    is_skipped: bool = False
    annotated_pixels: float = math.nan
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    per_structure: dict[str, dict[str, float]] = field(default_factory=dict)
    chosen: int | None = None
    num_members: int = 0

    @property
    def total_seconds(self) -> float:
        """Time of the whole round, NaN if it was not measured."""
        return sum(self.seconds.values()) if self.seconds else math.nan


@dataclass(frozen=True, eq=False)
class Run:
    """Contents of one run directory.

    Attributes:
        facts: Its table `report`, see `fewslice.settings.facts`; derived for runs from before there was one.
        command: command.txt, or "".
        curve: logs/train.csv of a training, NaN for empty cells; empty without the file.
        scores: per_volume.csv of a training in `eval`, without rows of means; empty without the file.
        rounds: Of an experiment, in order; those without training have no metrics.
        pool: pool.csv of an experiment with unit_id as index, and `share`: the place in the volume from 0 to 1.
        problems: What is missing or damaged, in words.
        is_damaged: Whether a file is damaged, or another one than when the run was finished.
        is_vouched: Whether there are checksums of its files; not in runs from before there were any.
        record: DONE, {} if it is not finished or damaged.
    """

    path: Path
    config: dict[str, Any]
    facts: dict[str, Any]
    versions: dict[str, Any]
    command: str
    is_finished: bool
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    rounds: tuple[Round, ...] = ()
    pool: pd.DataFrame = field(default_factory=pd.DataFrame)
    problems: tuple[str, ...] = ()
    is_damaged: bool = False
    is_vouched: bool = True
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def ended_early(self) -> str:
        """Why an experiment ended before its last round, in words; "" if it did not."""
        return str(self.record.get("ended_early", ""))

    @property
    def stage(self) -> str:
        """Name of the script."""
        return str(self.config.get("stage") or self.path.parent.name)

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return str(self.config.get("dataset") or self.path.parent.parent.name)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.facts["seed"]

    @property
    def unit(self) -> str:
        """What is annotated, in the plural."""
        return self.facts["budget_unit"]

    @property
    def digest(self) -> str:
        """Digest of its configuration."""
        return str(self.config.get("digest") or self.path.name.rpartition("-")[2])

    @property
    def split(self) -> str:
        """The labelled split, or that of a pretraining, as its flags name it."""
        return facts.split_of(self.config)

    @property
    def eval(self) -> Path:
        """The folder of scores and predictions: of the test volumes or, without a test list, of validation."""
        cases = self.config.get("cases")
        has_test = not isinstance(cases, dict) or cases.get("test") != []
        return self.path / "eval" if has_test else self.path / "eval" / "val"

    @property
    def is_pretraining(self) -> bool:
        """Whether it learned without labels."""
        return self.facts["kind"] == "pretraining"

    @property
    def seconds(self) -> float:
        """Time spent training: the sum of the log's segments; NaN if it was not logged."""
        return float(self.curve["seconds"].sum()) if self.has("seconds") else math.nan

    @property
    def trains_nothing(self) -> bool:
        """Whether it is finished and none of its rounds was meant to train."""
        return self.is_finished and bool(self.rounds) and all(one.is_skipped for one in self.rounds)

    @property
    def state(self) -> str:
        """How far an experiment without results is, in words."""
        if self.is_finished:
            how = "; its rounds train nothing" if self.trains_nothing else " without test or validation numbers"
            return f"finished{how}"
        last = max((self.path / "rounds").glob("[0-9]*/plan.json"), default=None)
        if last is None:
            return "not finished, stopped before its first round"
        number, folder = int(last.parent.name), last.parent
        if (folder / "to_annotate" / "slices.csv").is_file() and not (folder / "annotations.npy").is_file():
            return f"waits for annotations in round {number}"
        return f"not finished, round {number} has begun"

    def has(self, name: str) -> bool:
        """Whether a column of the training log has any number."""
        return name in self.curve and bool(self.curve[name].notna().any())

    def values(self, metric: str) -> dict[float, float]:
        """Returns annotated fraction -> a metric, of the rounds that have it."""
        found = {one.fraction: one.metrics.get(metric, math.nan) for one in self.rounds}
        return {fraction: value for fraction, value in found.items() if math.isfinite(fraction + value)}

    def labelled(self, fraction: float) -> set[str]:
        """Returns the unit_ids of everything queried up to a budget."""
        return {unit for one in self.rounds if one.fraction <= fraction for unit in one.picks["unit_id"]}


def read_run(path: str | Path) -> Run:
    """Reads one run directory, after comparing its files with their checksums.

    Raises:
        DataError: it is none, or its config.json is damaged.
        FewSliceError: another file of a training is damaged or not the one that it wrote.
    """
    path = Path(path)
    if not (path / "config.json").is_file() and not (path / done.NAME).exists():
        found = "no config.json" if path.is_dir() else "no such folder"
        remedy = "Name a folder like runs/<dataset>/<stage>/<method>-<digest>."
        raise DataError(path, expected="a run directory (with config.json)", found=found, remedy=remedy)
    config, place = done.read_config(path / "config.json"), (path / "config.json", done.REMEDY)
    files.checked(config.get("seed", 0), int, *place, "seed")
    errors: list[FewSliceError] = list(done.problems(path, but=(".npz",)).values())
    command = path / "command.txt"
    command = command.read_text(encoding="utf-8", errors="replace").strip() if command.is_file() else ""
    run_facts = config.get(facts.FACTS) or facts_of_earlier_run(path, config, command)
    files.checked(run_facts, dict, *place, facts.FACTS)
    for name, kind in {"kind": str, "method": str, "settings": dict, "setup": dict, "seed": int}.items():
        files.checked(run_facts.get(name), kind, *place, f"{facts.FACTS}/{name}")
    versions = _attempt(files.read_record, path / "versions.json", {}, errors)
    run = Run(path, config, run_facts, versions, command, (path / done.NAME).is_file())
    run = replace(run, record={} if errors else done.read(path))
    run = replace(run, is_vouched=not run.is_finished or bool(errors) or done.SUMS in run.record)
    if run_facts["kind"] == "experiment":
        return _with_rounds(run, errors)
    if errors:
        raise FewSliceError(listed(str(path), [one_line(error) for error in errors]))
    curve = read_table(path / "logs" / "train.csv", ("step",))
    run = replace(run, curve=curve, scores=_read_scores(run.eval / "per_volume.csv"))
    return run if run_facts["kind"] == "selection" else replace(run, problems=_missing(run))


def _missing(run: Run) -> tuple[str, ...]:
    """Missing parts of a training."""
    problems = [] if run.is_finished else ["The run is not finished (no DONE); its numbers may still change."]
    if run.curve.empty:
        problems.append("There is no training log (logs/train.csv).")
    elif not run.is_pretraining and not run.has(VALIDATION):
        problems.append("No validation was logged (no val_dice in logs/train.csv).")
    if run.eval.name == "val":
        text = "It has no test list: its scores are of the validation volumes, which chose the weights"
        problems.append(f"{text}." if len(run.scores) else "It has neither validation nor test volumes.")
    elif done.SUMS in run.record and done.TESTED not in run.record and not run.is_pretraining:
        problems.append("Its test volumes are sealed; its command with --test=1 scores them and trains nothing.")
    elif run.scores.empty and not run.is_pretraining:
        remedy = f" If it was damaged, restore it or repeat the run's command with --noresume: {run.path}"
        text = "It was not evaluated on test volumes (no rows in eval/per_volume.csv)."
        problems.append(text + remedy * run.is_finished)
    return tuple(problems)


def _read_scores(path: Path, **how: str) -> pd.DataFrame:
    table = read_table(path, _SCORES, numbers=("value",), **how)
    table = table.assign(**{name: "" for name in _TEXTS if name not in table})
    return table[~table["structure"].str.lower().isin(_NO_STRUCTURES)] if len(table) else table


def _with_rounds(run: Run, errors: list[FewSliceError]) -> Run:
    """Returns an experiment with its rounds, pool and problems."""
    rounds, damaged, root = [], set(), run.path / "rounds"
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir() and folder.name.isdigit():
            before = len(errors)
            one = _read_round(folder, errors)
            rounds += [one] if one is not None else []
            damaged |= {one} if len(errors) > before else set()
    pool = _attempt(_read_pool, run.path / "pool.csv", pd.DataFrame(), errors)
    problems = (*_incomplete(run.is_finished, rounds, damaged), *map(one_line, errors))
    return replace(run, rounds=tuple(rounds), pool=pool, problems=problems, is_damaged=bool(errors))


def _incomplete(is_finished: bool, rounds: Sequence[Round], damaged: set[Round | None]) -> list[str]:
    """Says what an experiment with scores lacks (`state` is for others); damage is named already."""
    trained = [one for one in rounds if one.metrics]
    untrained = [one for one in rounds if not one.metrics and not one.is_skipped and one not in damaged]
    found = []
    if not is_finished:
        text = "1 round has scores so far" if len(trained) == 1 else f"{len(trained)} rounds have scores so far"
        if trained:
            found.append(f"The experiment is not finished (no DONE): {text}. Repeat its command to continue.")
    elif trained and untrained:
        names = ", ".join(f"{one.folder.parent.name}/{one.folder.name}" for one in untrained)
        found.append(f"No scores (metrics.json) in {names}. Move DONE away there and repeat the experiment's command.")
    is_tested = [math.isfinite(one.metrics.get(TEST, math.nan)) for one in trained]
    if any(is_tested) and not all(is_tested):
        found.append("Some rounds have no Dice on the test volumes; the curves leave them out.")
    return found


def _read_round(folder: Path, errors: list[FewSliceError]) -> Round | None:
    """Reads one round; None if it has neither plan nor scores, or if nothing vouches for it any more."""
    errors += _attempt(_check_round, folder / done.NAME, [], errors)
    if any(error.path == str(folder / done.NAME) for error in errors if isinstance(error, DataError)):
        return None
    plan = _attempt(_read_plan, folder / "plan.json", {}, errors)
    measured = _attempt(_read_metrics, folder / "metrics.json", {}, errors)
    if not plan and not measured:
        return None
    how = {"columns": _PICKS[:-1], "numbers": _PICKS[-2:], "remedy": OF_ROUND}
    picks = _attempt(read_table, folder / "query.csv", pd.DataFrame(columns=_PICKS), errors, **how)
    gallery = _attempt(checked_picture, folder / "gallery.png", None, errors, remedy=OF_ROUND)
    scores, score_set, chosen = pd.DataFrame(), "test", measured.get("chosen")
    for score_set in ("test", "val") if chosen is not None else ():
        path = folder / f"member_{chosen}" / "eval" / score_set / "per_volume.csv"
        scores = _attempt(_read_scores, path, scores, errors, remedy=OF_ROUND)
        if len(scores):
            break
    parts = {"folder": folder, "scores": scores, "score_set": score_set, "picks": picks, "gallery": gallery}
    return Round(number=int(folder.name), **{**measured, **plan, **parts})


def _attempt(read: Callable, path: Path, default: Any, errors: list[FewSliceError], **how: Any) -> Any:
    if any(error.path == str(path) for error in errors if isinstance(error, DataError)):
        return default  # not what the run wrote
    try:
        return read(path, **how) if path.is_file() else default
    except FewSliceError as error:
        errors.append(error)
    except OSError as error:
        errors.append(done.changed(path, error.strerror or str(error), OF_ROUND))
    return default


def _check_round(mark: Path) -> list[FewSliceError]:
    """Compares the files of a finished round with their checksums. Raises `DataError` if DONE holds none."""
    done.read(mark.parent, remedy=OF_ROUND, sha256=dict)
    return list(done.problems(mark.parent, remedy=OF_ROUND, but=(".npz",)).values())


def _number(path: Path, found: dict[str, Any], name: str) -> float:
    """Returns a number of a JSON table, NaN for null or nothing."""
    value = found.get(name)
    return math.nan if value is None else float(files.checked(value, float, path, OF_ROUND, name))


def _budget(path: Path, found: dict[str, Any]) -> dict[str, float]:
    return {"fraction": round(_number(path, found, "fraction"), 6), "units": _number(path, found, "units")}


def _read_plan(path: Path) -> dict[str, Any]:
    found = files.read_record(path, remedy=OF_ROUND)
    query = found.get("query")
    strategy = query.get("strategy") if isinstance(query, dict) else found.get("strategy")
    strategy = strategy.get("name") if isinstance(strategy, dict) else strategy
    is_skipped = bool(found.get("skip_training")) or found.get("train") is False
    return {**_budget(path, found), "strategy": str(strategy or ""), "is_skipped": is_skipped}


def _read_metrics(path: Path) -> dict[str, Any]:
    found = files.read_record(path, remedy=OF_ROUND)
    members = files.checked(found.get("members") or [], list, path, OF_ROUND, "members")
    for member in members:
        files.checked(member, dict, path, OF_ROUND, "members")
    chosen = found.get("chosen")
    if chosen is None:  # the first member with the best validation Dice
        values = [_number(path, member, VALIDATION) for member in members]
        finite = [value for value in values if math.isfinite(value)]
        chosen = values.index(max(finite)) if finite else None
    if chosen is not None and files.checked(chosen, int, path, OF_ROUND, "chosen") < 0:
        raise done.changed(path, f"chosen: {chosen} is no member", OF_ROUND)
    member = members[chosen] if chosen is not None and chosen < len(members) else {}
    structures = files.checked(found.get("per_structure") or {}, dict, path, OF_ROUND, "per_structure")
    for row in structures.values():
        files.checked(row, dict, path, OF_ROUND, "per_structure")
    seconds = found.get("seconds")
    seconds = seconds if isinstance(seconds, dict) else {"": seconds}
    seconds = {str(name): _number(path, seconds, name) for name in seconds}
    return {
        **_budget(path, found),
        "annotated_pixels": _number(path, found, "annotated_pixels"),
        "seconds": {name: value for name, value in seconds.items() if math.isfinite(value)},
        "metrics": {name: _number(path, found if name in found else member, name) for name in _METRICS},
        "per_structure": {name: {key: _number(path, row, key) for key in row} for name, row in structures.items()},
        "chosen": chosen,
        "num_members": len(members),
    }


def _read_pool(path: Path) -> pd.DataFrame:
    table = read_table(path, ("unit_id", "volume", "position", "depth"), numbers=("position", "depth"))
    share = table["position"] / (table["depth"] - 1)
    return table.assign(share=share.where(table["depth"] > 1, 0.5)).set_index("unit_id")


def one_line(error: FewSliceError | str) -> str:
    """Returns a message of several lines as one."""
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())


def find_trainings(runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the finished pretrainings and trainings of a dataset below `runs_dir`."""
    root, others = Path(runs_dir) / dataset, {EXPERIMENTS, "select_slices"}
    return sorted(mark.parent for mark in root.rglob(done.NAME) if not others & set(mark.relative_to(root).parts))


def find_experiments(runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the experiments of a dataset below `runs_dir`, finished or not."""

    def below(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir() and not path.name.startswith("."):
                is_run = (path / "config.json").exists() or (path / "rounds").is_dir()
                yield from (path,) if is_run else below(path)

    return list(below(Path(runs_dir) / dataset / EXPERIMENTS))


def choose_trainings(named: Sequence[str], runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the named run directories, or all finished ones of a dataset; `ConfigError` if there is none."""
    problem = f"There is no finished run of {dataset} below {runs_dir}. Train one first, or name run directories with "
    return _chosen(named, find_trainings(runs_dir, dataset), problem + "--runs (unfinished ones too).")


def choose_experiments(named: Sequence[str], runs_dir: str | Path, dataset: str) -> list[Path]:
    """Returns the named experiments, or all of a dataset; `ConfigError` if there is none."""
    problem = f"There is no experiment of {dataset} below {Path(runs_dir) / dataset / EXPERIMENTS}. Run one first "
    problem += f"(train_model/{EXPERIMENTS}.py), give another --runs_dir, or name the folders with --experiments."
    return _chosen(named, find_experiments(runs_dir, dataset), problem)


def _chosen(named: Sequence[str], found: Sequence[Path], problem: str) -> list[Path]:
    chosen = [Path(path.strip()) for path in named if path.strip()] or found
    if not chosen:
        raise ConfigError(problem)
    return list(dict.fromkeys(chosen))


def read_runs(paths: Sequence[str | Path], what: str = "runs") -> tuple[list[Run], list[str]]:
    """Reads runs of one dataset.

    Returns:
        Those that could be read, and a line for each that is left out because it is damaged.

    Raises:
        ConfigError: none could be read, or they are of several datasets.
    """
    runs, left_out = [], []
    for path in dict.fromkeys(Path(path) for path in paths):
        try:
            runs.append(read_run(path))
        except OSError as error:
            left_out.append(f"Left out: {path}: {error.filename} cannot be read ({error.strerror}).")
        except FewSliceError as error:
            left_out.append(f"Left out: {one_line(error)}")
    if not runs:
        raise ConfigError("\n".join([f"There is no {what[:-1]} that can be reported.", *left_out]))
    check_one_dataset(runs, what)
    return runs, left_out


def read_experiments(paths: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Reads experiments as `read_runs`; the lines name all that is missing, unfinished or damaged."""
    experiments, warnings = read_runs(paths, "experiments")
    return experiments, [*warnings, *(f"{one.path.name}: {text}" for one in experiments for text in one.problems)]


def not_vouched(runs: Sequence[Run]) -> list[str]:
    """Returns a line on the finished runs that have no checksums, if there are any."""
    names = [run.path.name for run in runs if not run.is_vouched]
    text = f"Nothing vouches for the files of {few(names, 3)}: finished before there were checksums."
    return [text] if names else []


def refuse_damaged(paths: Sequence[Path], runs: Sequence[Run]) -> None:
    """Ends the command of a report with `FewSliceError` where runs are damaged; the report is written all the same."""
    damaged = sorted({*paths} - {run.path for run in runs if not run.is_damaged})
    if damaged:
        names = "\n  ".join(map(str, damaged))
        raise FewSliceError(
            f"ATTENTION: {len(damaged)} of {len(paths)} are damaged; what is damaged is left out of the report, which "
            f"names it above:\n  {names}"
        )


def tidied(paths: Sequence[Path]) -> str:
    """Removes the saved states of finished runs and returns a sentence on it."""
    size = sum(map(done.tidy, paths))
    return f"Removed saved states, {size / 1e6:.1f} MB. These runs can be used, but their trainings not continued."


def check_one_dataset(runs: Sequence[Run], what: str) -> None:
    """Raises `ConfigError` if runs are of several datasets."""
    names = sorted({run.dataset for run in runs})
    if len(names) > 1:
        raise ConfigError(f"A report compares {what} of one dataset. Received {what} of: {', '.join(names)}")


def split_results(experiments: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Returns the experiments that can be compared, and those without any result yet.

    Finished experiments that train nothing are compared with each other where nothing was trained at all.
    """
    found = [one for one in experiments if one.values(VALIDATION) or one.values(TEST)]
    found = found or [one for one in experiments if one.trains_nothing]
    return found, [one for one in experiments if one not in found]
