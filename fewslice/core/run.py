"""The run directory: one folder for everything that one command produces.

    runs/<dataset>/<stage>/<method>-<digest>/
      config.json  versions.json  command.txt  DONE
      checkpoints/  logs/  eval/

The digest covers everything that decides what is learned, but not the number of steps, so that a run can be extended.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging as std_logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from fewslice.core import done, files, later
from fewslice.core.done import FACTS
from fewslice.core.errors import ConfigError, DataError
from fewslice.core.locks import folder_lock

_VOUCHED = (
    "config.json", "versions.json", "command.txt", "pool.csv", "plan.json", "query.csv", "selection.json",
    "stands_for.csv", "logs/*.csv", "eval/**/*", f"checkpoints/{done.BEST}", f"checkpoints/{done.LAST}",
    "rounds/*/DONE",
)  # fmt: skip


class Run:
    """One run directory, locked while this object is in use.

    Args:
        settings: Everything that decides what is learned, as JSON values.
        n_iter: Number of training steps; not part of the digest.
        resume: Continue what is there; otherwise it is removed first.
        facts: What the report must know, written into config.json under `report`; not part of the digest.

    Raises:
        FewSliceError: another process uses the directory, or it cannot be written.

    Example:
        >>> with Run("runs", "acdc", "tr_baseline", "tr1_c1_s0", {"seed": 0}, n_iter=100) as run:
        ...     run.checkpoints  # runs/acdc/tr_baseline/tr1_c1_s0-<digest>/checkpoints
    """

    def __init__(
        self,
        root: str | os.PathLike,
        dataset: str,
        stage: str,
        method: str,
        settings: Mapping[str, Any],
        *,
        n_iter: int,
        resume: bool = True,
        facts: Mapping[str, Any] | None = None,
    ):
        self.settings = dict(settings)
        self.digest = self.owner = files.digest(self.settings)  # the owner stands in weight files
        self.dir = Path(root) / dataset / stage / f"{method}-{self.digest}"
        self.checkpoints = self.dir / "checkpoints"
        self.logs = self.dir / "logs"
        self.eval = self.dir / "eval"
        self.n_iter = n_iter
        self.resume = resume
        self._lock = contextlib.ExitStack()
        self.facts = {FACTS: dict(facts)} if facts else {}
        self._log_handler: Any = None

    def __enter__(self) -> Run:
        refusal = (
            f"Another process is working in {self.dir}. Wait for it, stop it, or choose another --runs_dir, or "
            "another number or name of the run."
        )
        self._lock.enter_context(folder_lock(self.dir, refusal=refusal))
        try:
            if not self.resume:
                self._clear()
            for leftover in self.dir.rglob(".*.tmp*"):  # of a process that was killed while it wrote
                leftover.unlink()
        except OSError as error:
            self.__exit__()
            raise files.writing_error(self.dir, error) from error
        return self

    def _clear(self) -> None:
        """Removes everything, the mark of completion first: a kill on the way leaves no run that looks finished."""
        for name in ("DONE", "report.html"):
            (self.dir / name).unlink(missing_ok=True)
        rounds = sorted((self.dir / "rounds").glob("*"), reverse=True)  # what a kill leaves are the first rounds
        for folder in rounds:
            (folder / "DONE").unlink(missing_ok=True)
        names = ("pseudo_labels", "checkpoints", "logs", "eval", "cache")
        for folder in (*rounds, *(self.dir / name for name in names)):
            if folder.exists():
                shutil.rmtree(folder)

    def __exit__(self, *_exception: Any) -> None:
        if self._log_handler is not None:
            logging.get_absl_logger().removeHandler(self._log_handler)
            with contextlib.suppress(OSError):
                self._log_handler.close()
            self._log_handler = None
        self._lock.close()

    @property
    def record(self) -> dict[str, Any]:
        """What DONE says, {} if this run was never finished; `DataError` if it is damaged."""
        remedy = "Restore it; or move it elsewhere and repeat the command, which makes it again from what is saved."
        return done.read(self.dir, remedy=remedy, n_iter=int)

    @property
    def steps_done(self) -> int:
        """Training steps after which this run was finished, 0 if it never was; raises as `record`."""
        return self.record.get("n_iter", 0)

    @property
    def is_done(self) -> bool:
        """Whether the run has been finished with `n_iter` steps, and its files are still those that it wrote.

        The log names those that are not; `start` has them made again from the saved state, or refuses.
        """
        if self.steps_done != self.n_iter:
            return False
        found = done.problems(self.dir)
        for error in found.values():
            logging.warning("Not as it was when finished: %s (%s)", error.path, error.found)
        return not found

    def _refuse_changed(self) -> None:
        """Refuses, with `DataError`, changed files of a finished run that nothing makes again."""
        for name, error in done.problems(self.dir).items():
            remedy = ""
            if name.endswith(done.BEST) or self._is_tidied:
                remedy = "Restore it from a copy. Without one, --noresume trains the same network again."
            elif name.endswith(("query.csv", f"/{done.NAME}")) and Path(error.path).exists():
                remedy = "Restore it; or move it elsewhere and repeat the command, which makes it again."
            if remedy:
                raise DataError(error.path, expected=error.expected, found=error.found, remedy=remedy)

    @property
    def _is_tidied(self) -> bool:
        """Whether this is a training whose saved states were removed."""
        return (self.checkpoints / done.LAST).exists() and not done.states(self.dir)

    def start(self, versions: Mapping[str, str]) -> None:
        """Records configuration, versions and command, and starts `logs/run.log`.

        Raises:
            ConfigError: the run was finished with more steps than are asked for now, or it was tidied.
            DataError: a file of it was changed that nothing makes again.
        """
        if self.steps_done > self.n_iter:
            raise ConfigError(
                f"{self.dir} was trained for {self.steps_done} steps; --n_iter={self.n_iter} is fewer. "
                "Give at least as many, another --ver, or --noresume to start afresh."
            )
        self._refuse_changed()
        if self.steps_done and self._is_tidied:
            raise ConfigError(
                f"{self.dir} was trained for {self.steps_done} steps and then tidied: without its saved state it can "
                f"be used, but not trained on. Give --n_iter={self.steps_done}, or another --ver for a new run."
            )
        (self.dir / done.NAME).unlink(missing_ok=True)
        self.write_config()
        files.write_json(self.dir / "versions.json", versions)
        program = os.path.basename(sys.argv[0])
        files.write_text(self.dir / "command.txt", shlex.join(["python", program, *sys.argv[1:]]) + "\n")
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            handler = _LogFile(self.logs / "run.log", encoding="utf-8")
        except OSError as error:
            raise files.writing_error(self.logs / "run.log", error) from error
        handler.setFormatter(std_logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.get_absl_logger().addHandler(handler)
        self._log_handler = handler

    def write_config(self) -> None:
        """Writes config.json, with the present number of steps."""
        known = self.facts.get(FACTS, {}).get("settings", {})
        if "n_iter" in known:
            known["n_iter"] = self.n_iter
        numbers = {"n_iter": self.n_iter, "digest": self.digest}
        files.write_json(self.dir / "config.json", {**self.settings, **numbers, **self.facts})

    def finish(self, record: Mapping[str, Any] | None = None) -> None:
        """Marks the run as finished, with the checksums of its files.

        Raises:
            DataError: config.json vanished or was changed meanwhile.
        """
        later.settle()
        remedy = "Repeat the same command: it writes the file again and goes on with what is left of the run."
        if _settings(self.dir / "config.json", remedy).get("digest") != self.digest:
            expected, found = f"the settings of this run ({self.digest})", "those of another"
            raise DataError(self.dir / "config.json", expected=expected, found=found, remedy=remedy)
        done.write(self.dir, {**(record or {}), "n_iter": self.n_iter}, _VOUCHED)
        size = sum(path.stat().st_size for path in done.states(self.dir))
        if size:
            text = "Saved states take %.1f MB. Only longer trainings need them; --tidy of the report removes them."
            logging.info(text, size / 1e6)


class _LogFile(std_logging.FileHandler):
    """A log file that may fall silent: on a full disk the writers of results tell the user, once."""

    def handleError(self, record: std_logging.LogRecord) -> None:
        pass


def find_runs(root: str | os.PathLike, dataset: str, stage: str) -> list[tuple[Path, dict[str, Any]]]:
    """Returns (directory, config) of every run of a stage that has been started, sorted by name.

    One whose config.json is damaged or was changed is left out, and the log names it.
    """
    found = []
    for path in sorted((Path(root) / dataset / stage).glob("*/config.json")):
        try:
            found.append((path.parent, _settings(path)))
        except DataError as error:
            _name_damaged(str(error))
    return found


@functools.lru_cache  # a command looks for runs several times
def _name_damaged(text: str) -> None:
    logging.warning("This run is left out of those to start from or to compare with:\n%s", text)


def _settings(path: Path, remedy: str = done.REMEDY) -> dict[str, Any]:
    """Returns config.json without what is no setting. Raises `DataError` if it is missing, damaged or was changed."""
    return {name: value for name, value in done.read_config(path, remedy).items() if name != FACTS}


def find_upstream(
    root: str | os.PathLike,
    dataset: str,
    stage: str,
    wanted: Mapping[str, Any],
    *,
    command: str,
    defaults: Callable[[str], Mapping[str, Any]],
    left_out: Collection[str],
    flag: str = "init_from",
    preferred: Mapping[str, Any] | None = None,
) -> Path:
    """Finds the finished run of an earlier stage by its settings.

    If several runs match, the one that also matches `preferred` is used; if that is still ambiguous, it raises.

    Args:
        wanted: Setting -> value that the run must have.
        command: The command that would produce it, for the message.
        defaults: Stage -> its flags with their defaults, which count where a run does not record one.
        left_out: See `unmatched_settings`.
        flag: The flag with which a run can be named instead, for the message.
        preferred: Setting -> value that decides between several runs. A run of an older version may lack one.

    Returns:
        Its directory.

    Raises:
        ConfigError: no such run, an unfinished one, or several, with the settings in which these differ.
    """
    usual = defaults(stage)  # of flags that came later, which a run records only where they are not at their default
    runs = [(path, {**usual, **config}) for path, config in find_runs(root, dataset, stage)]
    matching = [path for path, config in runs if _has(config, wanted)]
    finished = [path for path in matching if (path / "DONE").exists()]
    if len(finished) == 1:
        return finished[0]
    alike = [path for path, config in runs if path in finished and _agrees(config, preferred or {})]
    if len(alike) == 1:
        return alike[0]
    asked = ", ".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
    if len(finished) > 1:
        unmatched = functools.partial(unmatched_settings, wanted=wanted, defaults=defaults, left_out=left_out)
        choices = ((path, settings_text(unmatched(path))) for path in finished)
        lines = "\n".join(f"  --{flag}={path}" + (f"   ({text})" if text else "") for path, text in choices)
        raise ConfigError(f"{len(finished)} runs of {stage} have {asked}. None is preferred; choose one:\n{lines}")
    if matching:
        raise ConfigError(f"{matching[0]} is not finished. Repeat its command to continue it:\n  {command}")
    steps = wanted.get("n_iter")
    for path, config in runs if isinstance(steps, int) else ():
        longer = config.get("n_iter")
        if isinstance(longer, int) and longer > steps and _has({**config, "n_iter": steps}, wanted):
            command = command.replace(f"--n_iter={steps}", f"--n_iter={longer}")  # as it was begun; fewer is refused
            more = "" if (path / "DONE").exists() else f" It is not finished; continue it:\n  {command}\n"
            text = f"Say so by --pretr_n_iter={longer}, or make another one with another --ver."
            raise ConfigError(f"{path} was extended from {steps} to {longer} steps.{more or ' '}{text}")
    near = _nearest(runs, wanted)
    raise ConfigError(
        f"No run of {stage} with {asked} below {root}.{near}\nMake one first:\n  {command}\nor name one with --{flag}."
    )


def _has(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(config.get(key) == value for key, value in wanted.items())


def _agrees(config: Mapping[str, Any], preferred: Mapping[str, Any]) -> bool:
    """Returns whether a run has these settings, as far as it recorded them."""
    mine, theirs = _flat(config), _flat(preferred)
    plain = json.loads(json.dumps(theirs))  # as they are read from a file: lists, not tuples
    return all(mine[name] == value for name, value in plain.items() if name in mine)


def unmatched_settings(
    run: Path,
    wanted: Mapping[str, Any] | None = None,
    *,
    defaults: Callable[[str], Mapping[str, Any]],
    left_out: Collection[str],
) -> dict[str, Any]:
    """Returns non-default settings of the upstream run that the lookup did not constrain, for the log.

    Args:
        run: Its directory; one without config.json has no settings.
        wanted: The settings by which it was found; None if the user named it.
        defaults: Stage -> its flags with their defaults.
        left_out: Flags that say where things are, not what is learned.

    Returns:
        Name -> value of flags that are not at their default, then of settings in which a run beside it differs
        that has the values of `wanted` too.
    """
    if not (run / "config.json").is_file():
        return {}
    config = _settings(run / "config.json")
    usual = {name: value for name, value in defaults(str(config.get("stage"))).items() if value is not None}
    asked = {"dataset", "digest", *left_out, *(wanted or {})}
    unusual = {name: config[name] for name in usual if name in config and config[name] != usual[name]}
    mine = _flat({**usual, **config})
    beside = find_runs(run.parents[2], run.parents[1].name, run.parent.name) if wanted else []
    for path, other in beside:
        if path != run and _has(other, wanted):
            theirs = _flat({**usual, **other})
            unusual |= {name: value for name, value in mine.items() if theirs.get(name) != value}
    return {name: value for name, value in unusual.items() if name not in asked}


def settings_text(settings: Mapping[str, Any]) -> str:
    """Returns "name=value, name=value"; long values are cut."""
    return ", ".join(
        f"{name}={value if len(str(value)) <= 40 else str(value)[:40] + '...'}" for name, value in settings.items()
    )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the members of nested tables as `table.member`."""
    flat = {}
    for key, value in config.items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
    return flat


def _nearest(runs: list[tuple[Path, dict[str, Any]]], wanted: Mapping[str, Any]) -> str:
    def differences(config: Mapping[str, Any]) -> list[str]:
        return [f"{key}={config.get(key)}" for key, value in wanted.items() if config.get(key) != value]

    if not runs:
        return ""
    path, config = min(runs, key=lambda item: len(differences(item[1])))
    return f" The nearest has {', '.join(differences(config))}: {path}"
