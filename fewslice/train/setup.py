"""Steps that all stages share: volumes, run directories, weights of earlier stages, optimizer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import models
from fewslice.core import backend, checkpoint
from fewslice.core.done import BEST, LAST, NAME
from fewslice.core.errors import ConfigError
from fewslice.core.run import Run, settings_text, unmatched_settings
from fewslice.data import cache
from fewslice.settings import datasets, facts, recipe
from fewslice.settings.stage_flags import JointTraining, Segmentation, Training, defaults, digest_values, not_in_digest
from fewslice.train import pace, upstream
from fewslice.train.trainer import Plan

Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Initial weights of a stage, with their source.

    Attributes:
        path: Weight file, or None for random weights.
        weights: Weight name -> array.
        sha256: Of the file.
        step: Training steps of the weights, as far as the file says so.
    """

    path: Path | None = None
    weights: Arrays = dataclasses.field(default_factory=dict)
    sha256: str = ""
    step: Any = "unknown"


def image_shape(dataset: datasets.DatasetConfig) -> tuple[int, int, int]:
    """Returns (rows, columns, channels) of a prepared slice."""
    return (*dataset.size, dataset.num_channels)


def architecture(settings: Mapping[str, Any]) -> models.Architecture:
    """Returns the U-Net that flags, or the config.json of a run, describe."""
    named = {name: settings[name] for name in ("unet", "normalisation") if settings.get(name)}
    if "unet" in named:
        named["widths"] = tuple(map(int, named.pop("unet").split(",")))
    return models.Architecture(**named)


def find_origin(args: Training, dataset: datasets.DatasetConfig) -> Origin:
    """Returns the weights to start from: `--init_from`, else the upstream run that the flags describe, else none.

    The log names the settings of that run by which it was not looked for, such as `strong_views`, if they are unusual
    or if they tell it from another run. Raises as `upstream.locate` and `checkpoint.load_weights`.
    """
    path = upstream.locate(args, dataset)
    if path is None:
        return Origin()
    folder = path if path.is_dir() else path.absolute().parent.parent
    settings = None if args.init_from else upstream.settings_of_upstream(args)
    unmatched = unmatched_settings(folder, settings, defaults=defaults, left_out=not_in_digest())
    origin = _read(path, LAST, "its last weights may be those of an earlier length.")
    unusual = f"; {settings_text(unmatched)}" if unmatched else ""
    logging.info("Starting from %s (step %s%s).", os.path.relpath(origin.path), origin.step, unusual)
    return origin


def find_teacher(args: JointTraining, dataset: datasets.DatasetConfig) -> Origin:
    """Returns the best weights of the baseline that joint training begins with: `--teacher`, else by its settings.

    With unimatch and copy_paste `--init_from` makes it needless; then it is not looked for. Raises as `find_origin`.
    """
    if not upstream.needs_teacher(args):
        return Origin()
    path = upstream.locate(args, dataset, flag="teacher")
    origin = _read(path, BEST, "when its best weights change, this run starts anew.")
    use = "First pseudo-labels from" if args.method == "contrastive" else "Starting from the baseline"
    logging.info("%s %s (step %s).", use, os.path.relpath(origin.path), origin.step)
    return origin


def _read(path: Path, name: str, risk: str) -> Origin:
    """Returns the weights of a file, or those called `name` of a run; `risk` is what it means if this one resumes."""
    if path.is_dir():
        if not (path / NAME).exists():
            logging.warning("%s is not finished; %s", path, risk)
        path = path / "checkpoints" / name
    weights, record, sha256 = checkpoint.load_weights(path)
    return Origin(path, weights, sha256, record.get("step", "unknown"))


def copy_origin(model: keras.Model, origin: Origin, *, exclude: Sequence[str] = ()) -> None:
    """Copies weights of an earlier stage by name and logs what was copied, what was not and why.

    Raises:
        ConfigError: nothing could be copied, or shapes differ.
    """
    if origin.path is None:
        return
    report = models.copy_by_name(model, origin.weights, exclude=exclude)
    if not report.copied or report.mismatched:
        raise ConfigError(f"The weights of {origin.path} do not fit this network: {report.summary()}")
    logging.info("Weights from %s: %s.", origin.path, report.summary())


def optimizer(learning_rate: float) -> keras.optimizers.Optimizer:
    """Returns Adam as the papers use it (epsilon 1e-8; Keras' default is 1e-7)."""
    return keras.optimizers.Adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)


def open_run(
    args: Training,
    dataset: datasets.DatasetConfig,
    method: str,
    origin: Origin,
    volumes: Mapping[str, cache.PreparedSet],
    *,
    extra: Mapping[str, Any] | None = None,
) -> Run:
    """Returns the run directory that belongs to these settings and scans (to be used in a `with` block).

    Args:
        volumes: Role ("train", "val", ...) -> the volumes that have it.
        extra: Further settings on which the result depends.
    """
    config = datasets.config_dict(dataset)
    if all(volume.label is None for prepared in volumes.values() for volume in prepared):
        for name in ("label_resampling", "surface_tolerance_mm", "ignore_label"):  # pretraining depends on none
            config.pop(name, None)
    settings = {
        **digest_values(args),
        "dataset_config": config,
        "initial_weights": origin.sha256,
        "backend": keras.backend.backend(),
        "cases": {role: case_ids(prepared) for role, prepared in volumes.items()},
        "scans_digest": {role: prepared.digest for role, prepared in volumes.items()},
        **(extra or {}),
    }
    settings.pop("init_from", None)
    planned = recipe.as_planned(args, dataset)
    shown = {name: value for name, value in settings.items() if name not in planned}
    shown |= {"recipe": recipe.PLANNED} if planned else {}
    known = facts.of_training({"start_stage": facts.stage_of(origin.path), "n_iter": args.n_iter, **shown})
    known["orientation"] = dataset.orientation  # new scans are turned alike
    return Run(
        args.runs_dir, dataset.name, args.stage, method, settings, n_iter=args.n_iter, resume=args.resume, facts=known
    )


def begin(run: Run, args: Training) -> bool:
    """Configures the backend and starts a run; returns False, and says so, if it is finished."""
    if args.hours:
        pace.recall(run, args.hours)
    if run.is_done or (run.steps_done and not (args.extend and args.is_given("n_iter"))):
        more = "" if run.is_done else f" with {run.steps_done} steps; a larger --n_iter would extend it"
        logging.info("Already finished%s: %s", more, run.dir)
        return False
    backend.configure(seed=args.seed, mixed_precision=args.mixed_precision, devices=args.devices)
    run.start(backend.versions())
    return True


def build(
    args: Training,
    make: Callable[[], keras.Model],
    loss: keras.losses.Loss | Mapping[str, keras.losses.Loss],
    learning_rate: float,
    *,
    loss_weights: Mapping[str, float] | None = None,
    make_optimizer: Callable[[float], keras.optimizers.Optimizer] = optimizer,
) -> keras.Model:
    """Builds and compiles a network for the devices asked for; `make_optimizer` gets the learning rate."""
    use_jit = args.jit_compile or keras.backend.backend() == "jax"  # without it JAX runs operation by operation
    with backend.device_scope(args.devices):
        model = make()
        model.compile(make_optimizer(learning_rate), loss=loss, loss_weights=loss_weights, jit_compile=use_jit)
        model.optimizer.build(model.trainable_variables)  # its variables must be made in this scope
    return model


def plan(args: Training, dataset: datasets.DatasetConfig, **parts: Any) -> Plan:
    """Returns the plan of a training: `parts` of it, and what the flags say."""
    flags = {name: getattr(args, name) for name in ("n_iter", "average_decay", "tensorboard")}
    flags |= {"hours": args.hours or 0.0, "segment": dataset.val_step_update}
    if isinstance(args, Segmentation):
        decays = args.lr_schedule != "constant"
        flags |= {"keeps_last": args.keep == "last", "decays": decays, "can_be_extended": not decays}
    return Plan(**flags | parts)


def warn_of_nothing(train: cache.PreparedSet) -> None:
    """Warns if no training volume shows a structure, or if all images are constant."""
    names = ", ".join(case_ids(train))
    if not any(volume.shows_structure for volume in train):
        logging.warning("No structure in the training volumes %s: a network learns background alone.", names)
    if all(np.ptp(volume.image) == 0 for volume in train):
        logging.warning("The images of the training volumes %s are constant: a network learns nothing.", names)


def case_ids(volumes: cache.PreparedSet) -> list[str]:
    """Returns the ids of prepared volumes, in order."""
    return [volume.case.case_id for volume in volumes]


def describe_slices(
    volumes: Sequence[cache.PreparedVolume], sources: np.ndarray, **labels: str
) -> list[dict[str, Any]]:
    """Returns where the slices of a batch come from, for the record of a divergence.

    Args:
        sources: (n, 2) place of the volume, and of the slice in it.
        **labels: Stand in every entry.
    """
    named = ((volumes[volume], int(index)) for volume, index in sources)
    return [{**labels, "case_id": of.case.case_id, "slice_index": of.file_slice(index)} for of, index in named]
