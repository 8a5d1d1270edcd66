"""What can be refused before Keras is imported: the dataset, its lists and files, and the experiment's own paths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from fewslice.active.measures.mfc import GRID
from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets
from fewslice.settings.compat.al_config import EXP_DIR, Experiment, load_experiment
from fewslice.settings.compat.al_groups import GROUPS
from fewslice.settings.compat.al_schema import keys_of
from fewslice.settings.compat.al_schema_model import OWN_ENCODER, PRETRAINED, SCRATCH, ModelConfig
from fewslice.settings.compat.al_selection import ENCODER_MAP, PREDICTIONS
from fewslice.train.encoder_runs import find_encoder

_WIDTH = 16  # channels of the finest map of the scribble U-Net; each coarser one has twice as many


@dataclasses.dataclass(frozen=True)
class Roles:
    """Patients of an experiment.

    Attributes:
        pool: Their slices can be bought.
        val: Choose the network.
        test: Score it.
    """

    pool: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """An experiment that has passed all checks that need no network.

    Attributes:
        experiment: The experiment.
        dataset: Settings of its dataset.
        overrides: What was overridden in these, "name=value".
        roles: Which patients do what.
    """

    experiment: Experiment
    dataset: datasets.DatasetConfig
    overrides: Sequence[str]
    roles: Roles

    def describe(self) -> str:
        """Returns what will be done, in words."""
        model, selections = self.experiment.model, self.experiment.selections
        strategies = ", ".join(dict.fromkeys(selection.strategy for selection in selections))
        return (
            f"{self.experiment.exp_dir}: {self.dataset.name}, {len(selections)} rounds by {strategies}; "
            f"{model.ensemble_size} x {model.model_type} on {model.ann_type}s of {len(self.roles.pool)} patients, "
            f"{len(self.roles.val)} validate, {len(self.roles.test)} test."
        )


def prepare(path: str, overrides: Mapping[str, str], *, data_root: str | None = None) -> Job:
    """Loads and checks an experiment and its dataset.

    Args:
        path: The experiment's file.
        overrides: "group.key" of the experiment, or the name of an attribute of the dataset -> value as text.
        data_root: See `load_dataset_config`.

    Raises:
        ConfigError, DataError: what is wrong.
    """
    of_experiment, of_dataset = split_overrides(overrides)
    experiment = load_experiment(path, of_experiment)
    dataset, changed = dataset_of(experiment, of_dataset, data_root=data_root)
    check_repeats(experiment, dataset)
    return Job(experiment, dataset, changed, roles_of(experiment, dataset))


def split_overrides(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the overrides of the experiment (names with a group) and those of the dataset (others).

    Raises:
        ConfigError: a group that does not exist, or a key of the experiment without its group.
    """
    groups = {name: value for name, value in overrides.items() if name.split(".")[0] in (*GROUPS, EXP_DIR)}
    others = {name: value for name, value in overrides.items() if name not in groups}
    for name, value in others.items():
        owners = [group for group, keys in GROUPS.items() if name in keys_of(keys)]
        if "." in name:
            text = unknown_name("group", name.split(".")[0], GROUPS)
            raise ConfigError(f"--set {name}={value}: {text}")
        if owners and name not in datasets.ATTRIBUTES:
            meant = " or ".join(f"--set {group}.{name}={value}" for group in owners)
            raise ConfigError(f"--set {name}={value}: {name} is a key of the experiment. Write {meant}")
    return groups, others


def dataset_of(
    experiment: Experiment, overrides: Mapping[str, str], *, data_root: str | None = None
) -> tuple[datasets.DatasetConfig, list[str]]:
    """Returns the dataset's settings for an experiment, and what was overridden in them, "name=value".

    Raises:
        ConfigError: wrong settings, or two sizes for the network's input.
    """
    changed = dict(overrides)
    if experiment.model.size is not None:
        for name, side in zip(("img_size_x", "img_size_y"), experiment.model.size, strict=True):
            if changed.setdefault(name, str(side)) != str(side):
                raise ConfigError(f"--set {name}={changed[name]}, but the experiment says {side}. Give one of them.")
    dataset = datasets.load_dataset_config(experiment.dataset_name, changed, data_root=data_root)
    return dataset, [f"{name}={value}" for name, value in changed.items()]


def check_repeats(experiment: Experiment, dataset: datasets.DatasetConfig) -> None:
    """Checks that features of the segmentation network would enter a distance beside pixels.

    Raises:
        ConfigError: they hold so many values that they are repeated less than once.
    """
    height, width = dataset.img_size_x, dataset.img_size_y
    for selection in experiment.selections:
        if selection.strategy != "mfc" or not selection.options.get("fuse_image_data", True):
            continue
        step = selection.feature_map
        sizes = {
            PREDICTIONS: height * width * dataset.num_classes,
            ENCODER_MAP: (height >> step) * (width >> step) * (_WIDTH << step),
        }
        values = sizes.get(selection.features, 0)
        pixels = GRID[0] * GRID[1] * dataset.num_channels
        share = selection.options["fuse_image_data_size_prop"]
        if values > share * pixels:
            enough = math.ceil(100 * values / pixels) / 100
            raise ConfigError(
                f"{selection.features} of the network hold {values} values and do not enter the distance beside "
                f"{pixels} pixels with `fuse_image_data_size_prop: {share:g}`. Write at least {enough:g}, or "
                "`features: pooled_map` in place of `use_model_features`."
            )


def roles_of(experiment: Experiment, dataset: datasets.DatasetConfig) -> Roles:
    """Returns which patients do what, after finding all their files.

    Raises:
        ConfigError: unknown list, or patients in two roles.
        DataError: files are missing.
    """
    model = experiment.model
    try:
        pool, val = datasets.check_labeled_split(dataset, model.split, model.comb)
    except ConfigError as error:
        text = str(error).replace("--no_of_tr_imgs", "model.split").replace("--comb_tr_imgs", "model.comb")
        raise ConfigError(f"The pool: {text}") from error
    is_tested = experiment.policy.ensemble_kwargs.inf_test
    roles = Roles(pool, val, dataset.splits.test_ids() if is_tested else dataset.splits.test)
    reader = get_reader(dataset)
    for patients in (roles.pool, roles.val, roles.test if is_tested else ()):
        if patients:
            find_cases(reader, patients, dataset.unlabeled_phases)
    for key, path in named_runs(experiment).items():
        find_encoder(path, dataset, flag=f"set {key}")
    return roles


def named_weights(model: ModelConfig) -> tuple[str, str]:
    """Returns what names the initial weights of the segmentation networks, ("", "") if nothing does: key, value."""
    first = model.base_original_checkpoint
    if model.model_type in PRETRAINED and first != SCRATCH:
        return "model.base_original_checkpoint", first
    return ("model.warm_start", model.warm_start) if model.warm_start else ("", "")


def named_runs(experiment: Experiment) -> dict[str, str]:
    """Returns the key and the path of every run that the experiment names."""
    key, path = named_weights(experiment.model)
    found = {key: path} if key and path != OWN_ENCODER else {}
    if experiment.geometry is not None and experiment.geometry.feature_model_params.cl_prev_path:
        name = "data_geometry.feature_model_params.cl_prev_path"
        found[name] = experiment.geometry.feature_model_params.cl_prev_path
    return found
