"""The upstream run: the one that a stage starts from, found by its settings.

Needs no Keras, so that a missing run is reported at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from fewslice.core.errors import ConfigError
from fewslice.core.files import read_json
from fewslice.core.run import find_upstream
from fewslice.settings.datasets import DatasetConfig, config_dict
from fewslice.settings.declare import settings_of
from fewslice.settings.stage_flags import DecoderFineTuning, JointTraining, Training, defaults, not_in_digest

Flags = TypeVar("Flags", bound=Training)
NO_WEIGHTS = "none"  # --init_from=none


def settings_of_upstream(args: Training) -> dict[str, Any]:
    """Returns the settings that the upstream run of a stage must have, by their names there."""
    settings = _values(args, "only") | _values(args, "also")
    if isinstance(args, DecoderFineTuning):
        settings.pop(args.unused_negatives)
    return settings


def _values(args: Training, kind: str) -> dict[str, Any]:
    """Returns the settings of the upstream run that the flags of one kind (see `Help.finds_upstream`) name."""
    names = [name for name, each in settings_of(type(args)).items() if each.help.finds_upstream == kind]
    return {name.removeprefix("pretr_"): getattr(args, name) for name in names if not args.no_effect(name)}


def needs_teacher(args: JointTraining) -> bool:
    """Returns whether joint training begins with a baseline: it makes pseudo-labels, or the network starts from it."""
    return args.method == "contrastive" or not args.init_from


def check(args: Training, dataset: DatasetConfig) -> None:
    """Looks for the runs and files that the user named and, without `--check_only`, for those that the flags describe.

    Raises:
        ConfigError: `--init_from` or `--teacher` is no run and no file, or a run without weights; or there is no run of
            the upstream stage, or several.
    """
    named = {"init_from": None if args.init_from == NO_WEIGHTS else args.init_from}
    if isinstance(args, JointTraining):
        named["teacher"] = args.teacher
    for flag, value in named.items():
        if value:
            path = _named(flag, value)
            weights = path / "checkpoints" / ("last.npz" if flag == "init_from" else "best.npz")
            if path.is_dir() and not weights.exists():
                raise ConfigError(f"--{flag}={value}: this run has no {weights.name} in checkpoints/. Is it finished?")
    if not args.check_only:
        locate(args, dataset)
        if isinstance(args, JointTraining) and needs_teacher(args):
            locate(args, dataset, flag="teacher")


def settled(args: Flags, dataset: DatasetConfig) -> Flags:
    """Returns the flags with the length of the upstream run, where none was given and it has not the usual one."""
    flag = "teacher" if isinstance(args, JointTraining) else "init_from"
    is_needed = needs_teacher(args) if isinstance(args, JointTraining) else bool(args.upstream)
    if args.check_only or args.is_given("pretr_n_iter") or not is_needed or getattr(args, flag):
        return args
    run = locate(args, dataset, flag=flag)
    steps = read_json(run / "config.json").get("n_iter")
    if steps == args.pretr_n_iter:
        return args
    if not os.environ.get("FEWSLICE_CHAIN", "").endswith(" hours"):  # of chain.sh: each training finds its length
        text = "%s was trained for %s steps, not for the usual %d; --pretr_n_iter would ask for others."
        logging.warning(text, run, steps, args.pretr_n_iter)
    return dataclasses.replace(args, pretr_n_iter=steps)


def locate(args: Training, dataset: DatasetConfig, *, flag: str = "init_from") -> Path | None:
    """Returns the run folder or weight file that a flag names, else the finished run that the other flags describe.

    Args:
        dataset: The dataset's settings. Of several runs the one with these, with the same precision, averaging and
            devices as this stage and without mixup is taken.
        flag: "init_from", or "teacher" in joint training, whose upstream run that is.

    Returns:
        The path; None with `--init_from=none`, or if nothing is named and nothing looked for.

    Raises:
        ConfigError: no such run, or several.
    """
    named = args.teacher if flag == "teacher" else args.init_from
    if named:
        return None if flag == "init_from" and named == NO_WEIGHTS else _named(flag, named)
    if not args.upstream or (isinstance(args, JointTraining) and flag == "init_from"):
        return None
    settings = settings_of_upstream(args)
    preferred = {"mixup": 0.0, **_values(args, "prefers"), "dataset_config": config_dict(dataset)}
    words = {"defaults": defaults, "left_out": not_in_digest(), "command": _command(args, settings), "flag": flag}
    find = functools.partial(find_upstream, args.runs_dir, args.dataset, args.upstream, preferred=preferred, **words)
    try:
        return find(settings)
    except ConfigError:
        if not args.is_given("pretr_n_iter"):
            with contextlib.suppress(ConfigError):
                return find({name: value for name, value in settings.items() if name != "n_iter"})
        raise


def _named(flag: str, value: str) -> Path:
    """Returns the run folder or weight file that a flag names."""
    path = Path(value)
    if path.is_file() or (path / "config.json").is_file():
        return path
    raise ConfigError(
        f"--{flag}={value}: expected a run folder (one with config.json) or a weight file (.npz). Found: "
        f"{'another folder' if path.exists() else 'nothing'}. Runs lie in runs/<dataset>/<stage>/ of the checkout."
    )


def _command(args: Training, settings: Mapping[str, Any]) -> str:
    values = {"dataset": args.dataset, "runs_dir": args.runs_dir, "data_root": args.data_root, **settings}
    texts = [f"--{name}={value}" for name, value in values.items() if value is not None]
    texts += [f"--set={text}" for text in args.set]
    texts += ["--mixed_precision"] if args.mixed_precision else []
    return shlex.join(["python", f"{args.upstream}.py", *texts])
