"""The encoder that gives slice embeddings: an upstream run, pixels, or none.

Needs no Keras, so that a wrong path is refused at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewslice.core import done, files
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.settings.datasets import LATER_DEFAULTS, DatasetConfig
from fewslice.settings.stage_flags import LABELLED_STAGES, GlobalPretraining, GroupPretraining, LocalPretraining

PIXELS, NONE = "pixels", "none"
RESNET, UNET = "resnet", "unet"
_PRETRAINING = (GlobalPretraining.stage, LocalPretraining.stage, GroupPretraining.stage)
WEIGHTS = dict.fromkeys(_PRETRAINING, "last.npz") | dict.fromkeys(LABELLED_STAGES, "best.npz")


@dataclasses.dataclass(frozen=True)
class EncoderRun:
    """A trained network.

    Attributes:
        kind: "resnet": embedding h of group contrastive training. "unet": the U-Net's encoder.
    """

    path: Path
    weights: Path
    config: Mapping[str, Any]
    kind: str

    @property
    def digest(self) -> str:
        """Stands for the network and its weights."""
        return files.digest({"weights": files.sha256(self.weights), "kind": self.kind})


def find_encoder(value: str, dataset: DatasetConfig, *, flag: str = "encoder") -> EncoderRun | None:
    """Returns the run that a flag names, see `find_network`; None for "pixels" and "none"."""
    return None if value in (PIXELS, NONE) else find_network(value, dataset, flag=flag, stages=tuple(WEIGHTS))


def find_segmentation(value: str, dataset: DatasetConfig, *, flag: str = "network") -> EncoderRun:
    """Returns the run of a segmentation network that a flag names.

    Raises:
        ConfigError, FewSliceError: see `find_network`; or another number of classes.
    """
    run = find_network(value, dataset, flag=flag, stages=LABELLED_STAGES)
    classes = run.config["dataset_config"].get("num_classes")
    if classes != dataset.num_classes:
        raise ConfigError(f"--{flag}={value} has {classes} classes, {dataset.name} has {dataset.num_classes}.")
    return run


def find_network(value: str, dataset: DatasetConfig, *, flag: str, stages: tuple[str, ...]) -> EncoderRun:
    """Returns the run that a flag names: its folder, or a weight file in its checkpoints/.

    Args:
        dataset: Its slices go into the network.

    Raises:
        ConfigError: no such run, no weights in it, another stage, or slices of another size.
        FewSliceError: its config.json is damaged or was changed.
    """
    path = Path(value)
    folder = path.absolute().parent.parent if path.is_file() else path
    if not (folder / "config.json").is_file():
        others = f", {PIXELS} or {NONE}" if flag == "encoder" else ""
        found = "a file that lies in no run" if path.is_file() else "another folder" if path.exists() else "nothing"
        raise ConfigError(
            f"--{flag}={value}: expected a run folder (one with config.json){others}. Found: {found}. Runs lie in "
            f"runs/<dataset>/<stage>/ of the checkout; of these stages: {', '.join(stages)}."
        )
    config = done.read_config(folder / "config.json")
    stage = config.get("stage")
    if stage not in stages:
        raise ConfigError(
            f"--{flag}={value} is a run of {stage or 'no known stage'}. One of these will do: {', '.join(stages)}."
        )
    weights = path if path.is_file() else folder / "checkpoints" / WEIGHTS[stage]
    if not weights.is_file():
        raise ConfigError(f"--{flag}={value}: this run has no {weights.name} in checkpoints/. Is it finished?")
    _check_grid(f"--{flag}={value}", config, dataset)
    return EncoderRun(folder, weights, config, RESNET if stage == GroupPretraining.stage else UNET)


def differences(run: EncoderRun, dataset: DatasetConfig) -> list[str]:
    """Returns the further differences between a run's dataset and this one, which may make its embeddings worse."""
    theirs, mine = run.config["dataset_config"], vars(dataset)
    texts = []
    for name in ("name", "target_resolution", "percentiles", "grid", "intensity", "num_channels"):
        value = list(mine[name]) if isinstance(mine[name], tuple) else mine[name]
        before = theirs.get(name, LATER_DEFAULTS.get(name))
        texts += [f"{name} was {before} and is {value}"] * (before != value)
    return texts


def _check_grid(what: str, config: Mapping[str, Any], dataset: DatasetConfig) -> None:
    theirs = config.get("dataset_config")
    if not isinstance(theirs, Mapping):
        raise FewSliceError(f"{what}: its config.json does not say for which slices it was trained.")
    names = ("img_size_x", "img_size_y", "num_channels")
    differing = {name: theirs.get(name) for name in names if theirs.get(name) != getattr(dataset, name)}
    if differing:
        parts = ", ".join(f"{name} {value} and not {getattr(dataset, name)}" for name, value in differing.items())
        raise ConfigError(
            f"{what} was trained for other slices than those of {dataset.name}: {parts}. Choose another run, or "
            f"prepare the slices alike: {' '.join(f'--set {name}={value}' for name, value in differing.items())} "
            "(and target_resolution, data_path_tr_cropped, as in that run's command.txt)."
        )
