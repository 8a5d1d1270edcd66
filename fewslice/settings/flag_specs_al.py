"""The command-line flags of an experiment of active learning, and the step that reads them.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from absl import flags

from fewslice.core.errors import ConfigError
from fewslice.settings import dataset_files
from fewslice.settings import flags as shared
from fewslice.settings.flag_kinds import Spec, text

AL_SPECS: Mapping[str, Spec] = {
    "config": text(None, "The experiment, a .yml file."),
    "set": Spec(
        "multi_string",
        [],
        "group.key=value overrides the experiment, such as policy.seed=1; name=value an attribute of "
        "init_<dataset>.py, such as img_size_x=96 (crops; with target_resolution it shrinks). May be repeated.",
    ),
    "check_only": Spec("bool", False, "Check the experiment and its dataset, say what it would do, and stop."),
}
_SHARED = ("data_root", "runs_dir", "resume")


@dataclasses.dataclass(frozen=True)
class AlArgs:
    """The flags as frozen values; `overrides` are those of `--set`, `runs_dir` is absolute."""

    config: str
    overrides: Mapping[str, str]
    data_root: str | None
    runs_dir: str
    resume: bool
    check_only: bool


def define_al(flag_values: flags.FlagValues = shared.FLAGS) -> None:
    """Defines every flag of the script; tests pass `flag_values` of their own."""
    shared.define(*_SHARED, flag_values=flag_values)
    shared.define_specs(AL_SPECS, flag_values)


def read_al(flag_values: flags.FlagValues = shared.FLAGS) -> AlArgs:
    """Returns the flags as frozen values.

    Raises:
        ConfigError: no experiment is named, an override without "=", or the same one twice.
    """
    values = {name: flag_values[name].value for name in (*_SHARED, *AL_SPECS)}
    if not values["config"]:
        known = sorted(path.stem for path in (dataset_files.checkout() / "experiments").glob("*.yml"))
        listed = f" There are: {', '.join(known)}." if known else ""
        raise ConfigError(f"Which experiment? Give --config=../experiments/<name>.yml.{listed}")
    return AlArgs(
        config=values["config"],
        overrides=shared.parse_overrides(values["set"]),
        data_root=values["data_root"],
        runs_dir=os.path.abspath(values["runs_dir"] or dataset_files.checkout() / "runs"),
        resume=values["resume"],
        check_only=values["check_only"],
    )
