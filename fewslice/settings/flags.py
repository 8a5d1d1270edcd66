"""Command-line flags of the training scripts, and the one step that turns them into frozen, checked values.

A script defines them at module level and reads them once in `main`:

    STAGE = "tr_baseline"
    define_stage(STAGE)

    def main(argv):
        args, dataset = read_flags(STAGE)      # args.lr_seg, args.train_ids, args.val_ids, dataset.size, ...

Nothing heavy is imported here, so that `--help` and a mistyped flag answer at once. The flags themselves
stand in `fewslice/settings/flag_specs.py` and `flag_table.py`.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from absl import flags, logging

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.settings import dataset_files, datasets
from fewslice.settings.flag_specs import SPECS, Spec
from fewslice.settings.flag_table import (
    ABSENT_AT_DEFAULT,
    FOREIGN,
    IGNORED,
    LABELED_STAGES,
    NOT_IN_DIGEST,
    STAGES,
    help_text,
)

FLAGS = flags.FLAGS


def define_stage(stage: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines every flag of a training script.

    Args:
        stage: Name of the script without ".py", one of `fewslice.settings.flag_table.STAGES`.
        flag_values: Where to define them; tests pass their own.

    Raises:
        ConfigError: unknown stage.
    """
    if stage not in STAGES:
        raise ConfigError(unknown_name("stage", stage, STAGES))
    for name, default in STAGES[stage].items():
        _define(name, default, help_text(stage, name), flag_values)


def define(*names: str, flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines single flags of the table, for scripts that are no training stage.

    Args:
        *names: For instance "dataset", "data_root", "set", "seed".
        flag_values: Where to define them; tests pass their own.

    Raises:
        ConfigError: unknown flag name.
    """
    for name in names:
        if name not in SPECS:
            raise ConfigError(unknown_name("flag", name, SPECS))
        _define(name, SPECS[name].default, SPECS[name].help, flag_values)


def define_specs(specs: Mapping[str, Spec], flag_values: flags.FlagValues = FLAGS) -> None:
    """Defines flags that only one script has.

    Args:
        specs: Name -> flag; the script reads them by `flag_values_of`.
        flag_values: Where to define them; tests pass their own.
    """
    for name, spec in specs.items():
        _define_spec(name, spec, spec.default, spec.help, flag_values)


def flag_values_of(flag_values: flags.FlagValues = FLAGS) -> dict[str, Any]:
    """Returns name -> value of the defined flags of the table and of those of the script itself."""
    own = (flag.name for flag in flag_values.get_key_flags_for_module(sys.argv[0]))
    names = dict.fromkeys([*(name for name in SPECS if name in flag_values), *own])
    return {name: flag_values[name].value for name in names}


def load_dataset(flag_values: flags.FlagValues = FLAGS) -> datasets.DatasetConfig:
    """Returns the settings of `--dataset` with the overrides of `--set`, after pointing to `--data_root`.

    Raises:
        ConfigError: wrong overrides or settings; one message with every problem.
    """
    values = flag_values_of(flag_values)
    if values.get("data_root"):
        os.environ["FEWSLICE_DATA"] = os.path.abspath(values["data_root"])  # read by worker processes too
    return datasets.load_dataset_config(values["dataset"], parse_overrides(values.get("set", ())))


def read_flags(stage: str, flag_values: flags.FlagValues = FLAGS) -> tuple[Any, datasets.DatasetConfig]:
    """Returns the flags of a training script as frozen values, and the dataset's settings.

    Args:
        stage: As given to `define_stage`.
        flag_values: Where the flags are defined.

    Returns:
        A frozen dataclass with one field per flag, and the checked settings. Split keys and folders that were
        not given are filled in. Added fields: `stage`; `train_ids`, the patients to train on; `val_ids`, the
        patients that choose the checkpoint (empty for pretraining).

    Raises:
        ConfigError: wrong settings, unknown split, or patients that may not be in it.
    """
    values = flag_values_of(flag_values)
    dataset = load_dataset(flag_values)
    values["runs_dir"] = os.path.abspath(values["runs_dir"] or dataset_files.checkout() / "runs")
    values["data_root"] = str(datasets.data_root())
    values["set"] = tuple(values["set"])
    for key in ("no_of_tr_imgs", "pretr_no_of_tr_imgs", "unl_no_of_tr_imgs"):
        if key in values and values[key] is None:
            values[key] = dataset.unlabeled_split
    values["train_ids"], values["val_ids"] = _patients(stage, dataset, values)
    if "pretr_no_of_tr_imgs" in values:
        datasets.check_pretraining_split(
            dataset, values["pretr_no_of_tr_imgs"], values["pretr_comb_tr_imgs"], prefix="pretr_"
        )
    if "unl_no_of_tr_imgs" in values:
        datasets.check_pretraining_split(
            dataset, values["unl_no_of_tr_imgs"], values["unl_comb_tr_imgs"], prefix="unl_"
        )
    method = values.get("method", "")
    foreign = {name: f"it belongs to --method={_methods_of(name)}" for name in FOREIGN.get(method, ())}
    for name, reason in (IGNORED[stage] | foreign).items():
        if flag_values[name].present and values[name] != flag_values[name].default:
            logging.warning("--%s=%s has no effect: %s.", name, values[name], reason)
    return _frozen({**values, "stage": stage}), dataset


def _methods_of(name: str) -> str:
    return " or ".join(method for method, others in FOREIGN.items() if name not in others)


def read_flags_from(stage: str, values: Iterable[str]) -> tuple[Any, datasets.DatasetConfig]:
    """Returns what `read_flags` would if the training script were called with the flags `values` ("--seed=1", ...)."""
    own = flags.FlagValues()
    define_stage(stage, own)
    own([stage, *values])
    return read_flags(stage, own)


def digest_values(args: Any) -> dict[str, Any]:
    """Returns the values of `read_flags` that decide what a run learns, for its digest.

    Folders, the length of the training, flags without effect and later flags at their default are left out.
    """
    column = STAGES[args.stage]
    left_out = NOT_IN_DIGEST | set(IGNORED[args.stage]) | set(FOREIGN.get(getattr(args, "method", ""), ()))
    left_out |= {name for name in ABSENT_AT_DEFAULT & set(column) if getattr(args, name) == column[name]}
    names = (field.name for field in dataclasses.fields(args))
    return {name: getattr(args, name) for name in names if name not in left_out}


def parse_overrides(texts: Iterable[str], *, flag: str = "set", example: str = "mtask_bs=10") -> dict[str, str]:
    """Returns name -> text from the "name=value" texts of a flag.

    Args:
        texts: What the flag was given.
        flag: Its name, for messages.
        example: A right value of it, for messages.

    Raises:
        ConfigError: a text without "=", or the same name twice.
    """
    overrides: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise ConfigError(f"--{flag} must be name=value, such as --{flag} {example}. Received: --{flag} {text}")
        if name in overrides:
            raise ConfigError(f"--{flag} {name} is given twice: {overrides[name]} and {value}")
        overrides[name] = value
    return overrides


def _patients(stage: str, dataset: datasets.DatasetConfig, values: dict[str, Any]) -> tuple[tuple, tuple]:
    key, comb = values["no_of_tr_imgs"], values["comb_tr_imgs"]
    if stage in LABELED_STAGES:
        return datasets.check_labeled_split(dataset, key, comb)
    shared = datasets.check_pretraining_split(dataset, key, comb)
    if shared:
        logging.info("%s holds validation patients; only their images are used: %s.", key, ", ".join(shared))
    return dataset.splits.train_ids(key, comb), ()


def _frozen(values: dict[str, Any]) -> Any:
    return dataclasses.make_dataclass("Args", list(values), frozen=True)(**values)


def _define(name: str, default: Any, text: str, flag_values: flags.FlagValues) -> None:
    _define_spec(name, SPECS[name], default, text, flag_values)


def _define_spec(name: str, spec: Spec, default: Any, text: str, flag_values: flags.FlagValues) -> None:
    define_flag = getattr(flags, f"DEFINE_{spec.kind}")
    define_flag(name, default, text, flag_values=flag_values)
    # `--help` shows the flags of the main module only; count ours among them.
    flag_values.register_key_flag_for_module(sys.argv[0], flag_values[name])
    if name == "dataset":
        flags.register_validator(name, _check_dataset, flag_values=flag_values)
    elif spec.is_right is not None:
        flags.register_validator(name, _checker(name, spec), flag_values=flag_values)


def _checker(name: str, spec: Spec) -> Any:
    def check(value: Any) -> bool:
        if value is None or not spec.is_right(value):
            raise flags.ValidationError(f"`{name}` must be {spec.must}. Received: {name}={value}")
        return True

    return check


def _check_dataset(name: str) -> bool:
    if name not in datasets.dataset_names():
        raise flags.ValidationError(dataset_files.unknown_dataset(dataset_files.experiments_folder(), name))
    return True
