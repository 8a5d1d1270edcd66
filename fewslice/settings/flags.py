"""Command-line flags, made from declared classes (`stage_flags`, `al_flags`), and read back into them.

    define(Baseline)

    def main(_argv) -> None:
        args, dataset = read(Baseline)      # args.lr_seg, args.train_ids, args.val_ids, dataset.size, ...

Nothing heavy is imported here, so that `--help` and a mistyped flag answer at once.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable
from typing import Any, Literal

from absl import flags, logging

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.settings import dataset_files, datasets
from fewslice.settings.declare import Setting, settings_of
from fewslice.settings.stage_flags import ScriptFlags

FLAGS = flags.FLAGS
_KINDS = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}


def define(cls: type[ScriptFlags], *names: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines the flags of a script.

    Args:
        cls: Declares them.
        *names: Those to define; none means all.
        flag_values: Where to define them; tests pass their own.

    Raises:
        ConfigError: unknown flag name.
    """
    settings = settings_of(cls)
    for name in names or settings:
        if name not in settings:
            raise ConfigError(unknown_name("flag", name, settings))
        _define(settings[name], flag_values)


def read(cls: type[ScriptFlags], flag_values: flags.FlagValues = FLAGS) -> Any:
    """Parses the flags and returns `completed()`: frozen values, for most scripts with the dataset's settings.

    Raises:
        ConfigError: wrong settings, unknown split, or patients that may not be in it.
    """
    defined = [name for name in settings_of(cls) if name in flag_values]
    values = {name: flag_values[name].value for name in defined}
    given = frozenset(name for name in defined if flag_values[name].present)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    args = cls(**values, given=given)
    completed = args.completed()
    for name in defined:
        if name in given and flag_values[name].value != flag_values[name].default and (why := args.no_effect(name)):
            logging.warning("--%s=%s has no effect: %s.", name, values[name], why)
    return completed


def read_from(cls: type[ScriptFlags], texts: Iterable[str]) -> Any:
    """Returns the result of `read` for a script called with the flags `texts` ("--seed=1", ...)."""
    own = flags.FlagValues()
    define(cls, flag_values=own)
    own([cls.__name__, *texts])
    return read(cls, own)


def _define(setting: Setting, flag_values: flags.FlagValues) -> None:
    name, kind = setting.name, setting.kind
    if typing.get_origin(kind) is Literal:
        kind = type(typing.get_args(kind)[0])
    define_flag = flags.DEFINE_multi_string if typing.get_origin(kind) is tuple else _KINDS[kind]
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    define_flag(name, default, help_text(setting), flag_values=flag_values)
    # `--help` shows the flags of the main module only; count ours among them.
    flag_values.register_key_flag_for_module(sys.argv[0], flag_values[name])

    def check(value: Any) -> bool:
        problem = setting.problem(tuple(value) if isinstance(value, list) else value)
        if name == "dataset" and value not in datasets.dataset_names():
            problem = dataset_files.unknown_dataset(dataset_files.experiments_folder(), value)
        if problem:
            raise flags.ValidationError(problem)
        return True

    flags.register_validator(name, check, flag_values=flag_values)


def help_text(setting: Setting) -> str:
    """Returns the text of a flag in `--help`."""
    text, about = setting.help.text, setting.help
    if about.no_effect:
        return f"{text} Accepted and ignored: {about.no_effect}."
    return f"{text} (Here only to find the earlier stage.)" if about.finds_upstream == "only" else text
