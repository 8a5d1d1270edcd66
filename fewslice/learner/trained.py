"""Trained segmentation networks: of trainings and of the rounds of an experiment, one or an ensemble.

Needs no Keras, so that a wrong path is refused at once; `learner.load_network` loads what is found here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from fewslice.core import done, files
from fewslice.core.errors import ConfigError
from fewslice.learner.networks import Network, network_of
from fewslice.settings.datasets import DatasetConfig, config_of_run
from fewslice.settings.experiment import Named
from fewslice.settings.predict_flags import ExportArgs
from fewslice.settings.stage_flags import LABELLED_STAGES
from fewslice.train.encoder_runs import UNET, EncoderRun, check_grid, find_network

EXPERIMENT = "run_al_exp"
PREPARATION = (
    "orientation", "image_channel", "num_channels", "intensity", "percentiles", "grid", "target_resolution",
    "img_size_x", "img_size_y", "anti_aliasing", "num_classes", "struct_name", "label_map",
)  # fmt: skip
_UNET = "pretrainable_unet"  # the network of every training with labels
_OPTIONS = ("unet", "normalisation")  # of that network


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationRun(EncoderRun):
    """A trained segmentation network.

    Attributes:
        name: What tells it from others: the folder of its run, and round and member in an experiment.
        network: Its kind, with options.
    """

    name: str
    network: Network


def find_trained(value: str, *, flag: str = "run") -> list[SegmentationRun]:
    """Returns the networks that a flag names.

    Args:
        value: A training's folder or weight file, a member, a round (all its members), an experiment (those of the last
            finished round that trained), or a folder of such runs, all of which count.

    Raises:
        ConfigError: no trained network there.
        FewSliceError: a config.json is damaged or was changed.
    """
    path = Path(value).absolute()
    run = next((each for each in (path, *path.parents[:5]) if (each / "config.json").is_file()), path)
    runs = sorted(each.parent for each in path.glob("*/config.json")) if run == path and path.is_dir() else []
    if runs and not (path / "config.json").is_file():
        return [run for each in runs for run in find_trained(str(each), flag=flag)]
    if (run / "config.json").is_file() and done.read_config(run / "config.json").get("stage") == EXPERIMENT:
        return _members(run, path.relative_to(run).parts, f"--{flag}={value}")
    found = find_network(value, flag=flag, stages=(*LABELLED_STAGES, EXPERIMENT))
    if not (found.path / done.NAME).exists():
        logging.warning("%s is not finished: these are its best weights so far.", found.path)
    name = found.path.absolute().name
    network = network_of(Named(_UNET, {name: found.config[name] for name in _OPTIONS if name in found.config}))
    return [SegmentationRun(found.path, found.weights, found.config, UNET, name=name, network=network)]


def _members(run: Path, inside: Sequence[str], what: str) -> list[SegmentationRun]:
    """Returns the networks of an experiment that a path inside of it names: ("rounds", "002", "member_1", ...)."""
    config = done.read_config(run / "config.json")
    named = config.get("network")
    if not (isinstance(named, dict) and {"name", "options"} <= named.keys()):
        raise ConfigError(f"{what}: this experiment is of an earlier version, which did not record its network.")
    ended = [each.parent for each in sorted(run.glob("rounds/*/DONE")) if (each.parent / "member_0").is_dir()]
    if not (ended or inside):
        raise ConfigError(f"{what}: no round of this experiment has trained a network and is finished.")
    folder = run.joinpath(*inside[:2]) if inside else ended[-1]
    options = {name: tuple(each) if isinstance(each, list) else each for name, each in named["options"].items()}
    network, found = network_of(Named(named["name"], options)), []
    for number in range(config["members"]["count"]):
        path, weights = member_folder(folder, number), weights_of(folder, number)
        if inside[2:3] and inside[2] != path.name:
            continue
        weights = run.joinpath(*inside) if inside[4:] else weights
        if not weights.is_file():
            raise ConfigError(f"{what}: {path} has no weights (yet). Is the round finished?")
        name = f"{run.name}/{path.relative_to(run).as_posix()}"
        found.append(SegmentationRun(path, weights, config, named["name"], name=name, network=network))
    if not found:
        raise ConfigError(f"{what}: this round has no such member, only 0 to {config['members']['count'] - 1}.")
    return found


def member_folder(folder: Path, member: int) -> Path:
    """Returns the folder of a member in a round's folder."""
    return folder / f"member_{member}"


def weights_of(folder: Path, member: int) -> Path:
    """Returns the best weights of a member of the round in `folder`."""
    return member_folder(folder, member) / "checkpoints" / done.BEST


def open_runs(values: Sequence[str], *, orientation: str | None = None) -> tuple[list[SegmentationRun], DatasetConfig]:
    """Returns the networks that `--run` names, and the settings with which scans are prepared for all of them.

    Args:
        values: As `find_trained` takes them.
        orientation: For runs of earlier versions, which do not record it.

    Raises:
        ConfigError: no networks, or networks for slices that are prepared differently, or for other structures.
    """
    runs = list({run.weights.resolve(): run for value in values for run in find_trained(value)}.values())
    every = [config_of_run(run.config, f"--run={run.path}", orientation=orientation) for run in runs]
    for run, dataset in zip(runs, every, strict=True):
        mine, first = preparation(dataset), preparation(every[0])
        if differing := [f"{name} {first[name]} and {mine[name]}" for name in mine if mine[name] != first[name]]:
            raise ConfigError(
                f"{runs[0].name} and {run.name} cannot predict together: {'; '.join(differing)}. Name runs of one "
                "preparation and the same structures."
            )
    if every[0].layout.endswith("h5") and every[0].intensity == "as_stored":
        logging.warning("%s learned from intensities as .h5 files hold them: scans must be scaled alike.", runs[0].name)
    return runs, every[0]


def postprocessing(args: ExportArgs, runs: Sequence[SegmentationRun], names: Iterable[str]) -> dict[str, Any]:
    """Returns the flags `names`; `mirroring`, where it is not given, as all the runs were tested."""
    mirrors = all(run.config.get("mirroring", False) for run in runs) if args.mirroring is None else args.mirroring
    return {name: bool(mirrors) if name == "mirroring" else getattr(args, name) for name in names}


def preparation(dataset: DatasetConfig) -> dict[str, Any]:
    """Returns the settings that decide how a scan goes into a network and how its labels come back, as JSON values."""
    return json.loads(files.to_json({name: getattr(dataset, name) for name in PREPARATION}))


def describe(runs: Sequence[SegmentationRun]) -> list[dict[str, str]]:
    """Returns name, stage, kind and checksum of networks."""
    return [
        {"name": run.name, "stage": run.config["stage"], "kind": run.kind, "weights_sha256": files.sha256(run.weights)}
        for run in runs
    ]


def find_segmentation(value: str, dataset: DatasetConfig, *, flag: str = "network") -> SegmentationRun:
    """Returns the network that a flag names, for slices of a dataset.

    Raises:
        ConfigError: as `find_trained`; several networks, slices of another size, or another number of classes.
    """
    what, found = f"--{flag}={value}", find_trained(value, flag=flag)
    if len(found) > 1:
        raise ConfigError(
            f"{what} names {len(found)} networks. Choose one: {', '.join(str(run.path) for run in found)}"
        )
    check_grid(what, found[0].config, dataset)
    classes = found[0].config["dataset_config"].get("num_classes")
    if classes != dataset.num_classes:
        raise ConfigError(f"{what} has {classes} classes, {dataset.name} has {dataset.num_classes}.")
    return found[0]
