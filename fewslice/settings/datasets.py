"""A dataset's settings as one frozen, checked object.

`load_dataset_config("acdc")` executes `experiment_init/init_acdc.py` and `experiment_init/data_cfg_acdc.py`,
applies `--set name=value` overrides, checks everything and reports all problems at once.
experiment_init/README.md explains each attribute.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.settings import dataset_files, dataset_values
from fewslice.settings.dataset_files import ExperimentFile
from fewslice.settings.splits import (
    Splits,
    freeze_table,
    labeled_overlap,
    overlap_problems,
    table_problems,
    val_patients,
)

# Names of the original configurations that nothing reads; they may stay in a user's file.
_UNUSED = {
    "base_dir",
    "srt_dir",
    "fs",
    "lr",
    "class_name",
    "interp_val",
    "img_size_flat",
    "size",
    "dataset_name",
}
_TABLES = ("train", "val", "test")

# Attributes that came later: where they have these values they change nothing, and digests leave them out.
LATER_DEFAULTS = {"grid": "resample", "intensity": "percentiles", "num_channels": 1}
_NOT_IN_DIGESTS = ("splits", "how_to_get", "scribbles")


@dataclass(frozen=True)
class DatasetConfig:
    """Everything that the library knows about one dataset. experiment_init/README.md explains each attribute.

    Sizes are pixels, resolutions mm, batch sizes images (slices). Paths are relative to the data root.
    `target_resolution` may be () where `grid` is "stretch" or "native", which do not read it.
    `struct_name` leaves out the background, `class_weights` starts with it.
    """

    name: str
    layout: str
    data_path_tr: str
    data_path_tr_cropped: str
    img_size_x: int
    img_size_y: int
    num_classes: int
    target_resolution: tuple[float, ...]
    struct_name: tuple[str, ...]
    class_weights: tuple[float, ...]
    unlabeled_split: str
    how_to_get: str
    splits: Splits
    num_channels: int = 1
    phases: tuple[str, ...] = ("",)
    unlabeled_phases: tuple[str, ...] = ("",)
    label_map: tuple[tuple[int, int], ...] = ()
    image_channel: int = 0
    anti_aliasing: str = "default"
    grid: str = "resample"
    intensity: str = "percentiles"
    scribbles: str = "file"
    percentiles: tuple[float, float] = (1.0, 99.0)
    spacing_table: str = ""
    images_dir: str = "imagesTr"
    labels_dir: str = "labelsTr"
    patient_pattern: str = dataset_values.PATIENT_PATTERN
    mtask_bs: int = 20
    batch_size_ft: int = 10
    val_step_update: int = 50

    @property
    def size(self) -> tuple[int, int]:
        """(img_size_x, img_size_y): rows and columns of a prepared slice, in pixels."""
        return self.img_size_x, self.img_size_y


def data_root() -> Path:
    """Returns the folder below which all datasets lie: FEWSLICE_DATA, or `data_root/` of the checkout."""
    return Path(os.environ.get("FEWSLICE_DATA") or dataset_files.checkout() / "data_root")


def dataset_names() -> list[str]:
    """Returns the names that `--dataset` understands, sorted: one for each `init_<name>.py`."""
    return dataset_files.names(dataset_files.experiments_folder())


def load_dataset_config(
    name: str, overrides: Mapping[str, str] | None = None, *, folder: Path | None = None
) -> DatasetConfig:
    """Loads, overrides and checks the settings of a dataset.

    Args:
        name: Name of the dataset, as in `dataset_names()`.
        overrides: Attribute name -> value as text, from `--set name=value`. Commas separate the parts of a
            tuple.
        folder: Where the two files are; default `experiment_init/` or FEWSLICE_EXPERIMENTS.

    Returns:
        The checked settings with their split tables.

    Raises:
        ConfigError: unknown name, broken file or wrong values; one message with every problem, each with its
            line.
    """
    settings, tables = dataset_files.load(folder or dataset_files.experiments_folder(), name)
    values, problems = _read_settings(settings)
    places = {key: settings.where(key) for key in values}
    for key, text in (overrides or {}).items():
        places[key] = f"--set {key}={text}"
        try:
            values[key] = dataset_values.parse(key, text)
        except ConfigError as error:
            problems.append(f"{places[key]}: {error}")
    problems += [
        f"{settings.where()}: the attribute `{key}` is missing."
        for key in dataset_values.required(values)
        if key not in values
    ]
    problems += [f"{places.get(key, settings.where())}: {text}" for key, text in dataset_values.problems(values)]
    splits, split_problems = _read_splits(name, tables)
    problems += split_problems
    unlabeled = values.get("unlabeled_split")
    if splits is not None and unlabeled is not None and unlabeled not in splits.train:
        text = f"`unlabeled_split`: {unknown_name('split', unlabeled, splits.train)}"
        problems.append(f"{places['unlabeled_split']}: {text}")
    if problems or splits is None:
        raise ConfigError(_all_at_once(name, problems))
    return DatasetConfig(name=name, splits=splits, **dataset_values.completed(name, values))


def config_dict(config: DatasetConfig) -> dict[str, Any]:
    """Returns the settings as a plain dict for digests and `config.json`.

    The split tables, `how_to_get` and `scribbles` are left out: another list in the file must not change the digest of
    a run that does not use it. A run records the ids that it does use, and the digest of prepared volumes tells where
    their scribbles come from. Attributes that came later are left out where they change nothing, so that the digest of
    an older run stays.
    """
    fields = (field.name for field in dataclasses.fields(config))
    values = {name: getattr(config, name) for name in fields if name not in _NOT_IN_DIGESTS}
    return without_later_defaults(values, always=("num_channels",))


def without_later_defaults(values: Mapping[str, Any], *, always: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the settings without those of `LATER_DEFAULTS` that have their default; `always` names others to keep."""
    return {
        name: value
        for name, value in values.items()
        if name in always or name not in LATER_DEFAULTS or value != LATER_DEFAULTS[name]
    }


def check_labeled_split(dataset: DatasetConfig, key: str, comb: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the (training, validation) patients of a labelled training.

    Raises:
        ConfigError: unknown key or combination, or training and validation share patients.
    """
    known = dataset.splits.keys(labeled_only=True)
    if key in dataset.splits.train and key not in dataset.splits.val:
        raise ConfigError(
            f"--no_of_tr_imgs={key}: {dataset.name} has no validation list for {key}; it serves pretraining "
            f"without labels only. For a labelled training choose one of {', '.join(known)}."
        )
    shared = labeled_overlap(dataset.splits, key, comb)
    if shared:
        raise ConfigError(
            f"--no_of_tr_imgs={key} --comb_tr_imgs={comb}: training and validation list of {dataset.name} "
            f"share patients {', '.join(shared)}; this list serves pretraining without labels only. For a "
            f"labelled training choose one of {', '.join(known)}."
        )
    return dataset.splits.train_ids(key, comb), dataset.splits.val_ids(key, comb)


def check_pretraining_split(dataset: DatasetConfig, key: str, comb: str, *, prefix: str = "") -> tuple[str, ...]:
    """Checks a list for pretraining without labels.

    Returns:
        Its patients that validate some labelled training, sorted, so that the script can log them.

    Raises:
        ConfigError: unknown key or combination, or test patients are in the list.
    """
    ids = set(dataset.splits.train_ids(key, comb, prefix=prefix))
    leaked = sorted(ids & set(dataset.splits.test))
    if leaked:
        raise ConfigError(f"{dataset.name} {key} {comb} contains the test patients {', '.join(leaked)}. Remove them.")
    return tuple(sorted(ids & val_patients(dataset.splits)))


def _read_settings(file: ExperimentFile) -> tuple[dict[str, Any], list[str]]:
    known = dataset_values.REQUIRED + dataset_values.OPTIONAL
    values = {key: dataset_values.plain(value) for key, value in file.values.items() if key in known}
    return values, _unknown(file, "attribute", known, _UNUSED)


def _read_splits(name: str, file: ExperimentFile) -> tuple[Splits | None, list[str]]:
    problems = file.slips() + _unknown(file, "table", (*_TABLES, "unlabeled"), set())
    problems += [f"{file.where()}: the table `{key}` is missing." for key in _TABLES if key not in file.values]
    for key in _TABLES:
        if key in file.values:
            problems += [f"{file.where(*place)}: {text}" for place, text in table_problems(key, file.values[key])]
    unlabeled = file.values.get("unlabeled", ())
    if not isinstance(unlabeled, (tuple, list)):
        problems.append(f"{file.where('unlabeled')}: `unlabeled` must be a tuple of keys. Received: {unlabeled!r}")
    if problems:
        return None, problems
    splits = Splits(
        train=freeze_table(file.values["train"]),
        val=freeze_table(file.values["val"]),
        test=tuple(file.values["test"]),
        unlabeled=tuple(unlabeled),
        dataset=name,
    )
    unknown = [unknown_name("split", key, splits.train) for key in splits.unlabeled if key not in splits.train]
    problems = [f"{file.where('unlabeled')}: `unlabeled`: {text}" for text in unknown]
    return splits, problems + [f"{file.where(*place)}: {text}" for place, text in overlap_problems(splits)]


def _unknown(file: ExperimentFile, kind: str, known: tuple[str, ...], ignored: set[str]) -> list[str]:
    return [
        f"{file.where(key)}: {unknown_name(kind, key, known)} (Your own helpers start with `_`.)"
        for key in file.assigned
        if key not in known and key not in ignored
    ]


def _all_at_once(name: str, problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"The dataset {name!r} has {len(problems)} problems:\n" + "\n".join(f"  - {text}" for text in problems)
