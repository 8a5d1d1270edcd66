"""The networks of a round of active learning: trained on what is annotated, chosen on validation, scored on test.

rounds/000/member_0/checkpoints/ logs/      as in any training
           member_0/eval/val/ eval/test/    per_volume.csv, summary.json
           member_0/member.json             its numbers; written last
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import losses
import models
from fewslice.active.annotators import SCRIBBLE
from fewslice.active.loop import RoundPlan
from fewslice.active.round_files import Annotations
from fewslice.active.slices import SliceStack
from fewslice.augment.rot_flip import RotFlip
from fewslice.core import backend, files
from fewslice.data import cache
from fewslice.data.batches.annotated import AnnotatedSlices
from fewslice.evaluate import volumes
from fewslice.evaluate.scores import VolumeScore
from fewslice.evaluate.summary import mean_foreground_dice, statistics
from fewslice.learner.networks import (
    Schedule,
    build_network,
    is_two_branch,
    make_loss,
    make_optimizer,
    member_seed,
    schedule_of,
    segmentation_part,
    set_best,
)
from fewslice.settings import datasets
from fewslice.settings.compat.al_schema_model import ModelConfig
from fewslice.train import setup
from fewslice.train.evaluation import validation_of
from fewslice.train.predict import predictor
from fewslice.train.trainer import Plan, Trainer

MEMBER = "member.json"
_VAL, _TEST = "val", "test"
_STATISTICS = 10  # batches that statistics are measured on


@dataclasses.dataclass(frozen=True)
class MemberFolder:
    """The folder of one network, as `Trainer` wants a run.

    Attributes:
        dir: The folder.
        digest: Stands for what the network is trained on.
    """

    dir: Path
    digest: str

    @property
    def checkpoints(self) -> Path:
        return self.dir / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.dir / "logs"


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Trains an ensemble anew in each round.

    Attributes:
        settings: The group `model` of the experiment.
        dataset: The dataset's settings.
        pool: The prepared volumes that are the pool.
        val: The validation volumes.
        test: The test volumes, or None to leave them alone.
        seed: Of the experiment, see `member_seed`.
        origin: Pretrained weights to start each network from.
    """

    settings: ModelConfig
    dataset: datasets.DatasetConfig
    pool: cache.PreparedSet
    val: cache.PreparedSet
    test: cache.PreparedSet | None
    seed: int
    origin: setup.Origin = setup.Origin()

    def __call__(self, folder: Path, plan: RoundPlan, annotations: Annotations) -> dict[str, Any]:
        """Trains, validates and tests the members of a round; finished ones are only read.

        Returns:
            What metrics.json says about them: each member's numbers, and those of the best validation.
        """
        members = []
        for member in range(self.settings.ensemble_size):
            path = member_folder(folder, member)
            if not (path / MEMBER).exists():
                files.write_json(path / MEMBER, self._member(path, plan, annotations, member))
            members.append(files.read_json(path / MEMBER))
        values = [-1.0 if found["val_dice"] is None else found["val_dice"] for found in members]
        chosen = int(np.argmax(values))
        return {
            "members": members,
            "chosen": chosen,
            "seconds": sum(found["seconds"] for found in members),
            **{name: value for name, value in members[chosen].items() if name not in ("seconds", "steps")},
        }

    def _member(self, path: Path, plan: RoundPlan, annotations: Annotations, member: int) -> dict[str, Any]:
        started = time.perf_counter()
        backend.release_networks()
        seed = member_seed(self.seed, member)
        schedule = schedule_of(self.settings, plan, len(annotations))
        model = self._compiled(seed, schedule)
        main = segmentation_part(model)
        slices = self._slices(annotations, seed)

        def make_batch(step: int) -> tuple[np.ndarray, np.ndarray]:
            batch = slices.batch(step)
            if is_two_branch(self.settings):
                return batch.images, losses.mixing_targets(batch.labels, batch.mixing)
            return batch.images, batch.labels

        digest = files.digest([annotations.units.tolist(), plan.training_share, member, _mask_digest(annotations)])
        trainer = Trainer(
            MemberFolder(path, digest),
            model,
            Plan(
                make_batch=make_batch,
                describe_batch=lambda step: [int(annotations.units[place]) for place in slices.units(step)],
                n_iter=schedule.steps,
                segment=schedule.segment,
                validate=self._validation(main, slices, lambda: trainer.step),
                can_be_extended=False,
            ),
        )
        trainer.train()
        found = {"val_dice": trainer.tracker.best, "best_step": trainer.tracker.best_step, "steps": schedule.steps}
        set_best(model, path)
        for role, prepared in ((_VAL, self.val), (_TEST, self.test)):
            if prepared is not None:
                scores = self._evaluate(main, prepared, path / "eval" / role)
                found |= summary(scores, self.dataset.struct_name, prefix=role)
        logging.info("%s: %s", path, _shown(found))
        return found | {"seconds": round(time.perf_counter() - started, 3)}

    def _validation(
        self, main: keras.Model, slices: AnnotatedSlices, now: Callable[[], int]
    ) -> Callable[[], dict[str, float]]:
        """Returns the function that scores a network; `now` tells the step. It depends on weights and step only."""
        score = validation_of(self.dataset, main, self.val)
        if not self.settings.steady_statistics:
            return score

        def measure_and_score() -> dict[str, float]:
            steps = range(now(), now() + _STATISTICS)
            models.estimate_statistics(main, (slices.batch(step).images for step in steps))
            return score()

        return measure_and_score

    def _slices(self, annotations: Annotations, seed: int) -> AnnotatedSlices:
        images, units = SliceStack(self.pool), annotations.units
        return AnnotatedSlices(
            lambda place: images[units[place]],
            annotations.mask,
            range(len(units)),
            seed=seed,
            batch_size=self.settings.batch_size,
            augmentation=RotFlip(),
            ignore_value=self.dataset.num_classes if self.settings.ann_type == SCRIBBLE else None,
        )

    def _compiled(self, seed: int, schedule: Schedule) -> keras.Model:
        model = build_network(self.settings, self.dataset, seed=seed)
        setup.copy_origin(model, self.origin, exclude=("seg_",))
        model.compile(
            make_optimizer(self.settings, schedule),
            loss=make_loss(self.settings, self.dataset),
            jit_compile=keras.backend.backend() == "jax",
        )
        model.optimizer.build(model.trainable_variables)
        return model

    def _evaluate(self, main: keras.Model, prepared: cache.PreparedSet, folder: Path) -> list[VolumeScore]:
        return volumes.evaluate_cases(
            ((volume, volume.native) for volume in prepared),
            predictor(main, self.dataset.mtask_bs),
            dataset=self.dataset,
            out_dir=folder,
            save_predictions=folder.name == _TEST,
        )


def member_folder(folder: Path, member: int) -> Path:
    """Returns the folder of a member in a round's folder."""
    return folder / f"member_{member}"


def _mask_digest(annotations: Annotations) -> str:
    whole = hashlib.sha256()
    for place in range(len(annotations)):
        whole.update(np.ascontiguousarray(annotations.mask(place)).tobytes())
    return whole.hexdigest()


def summary(scores: Sequence[VolumeScore], struct_name: Sequence[str], *, prefix: str) -> dict[str, Any]:
    """Returns the numbers of some volumes for metrics.json: means over structures of means over volumes.

    Args:
        scores: The volumes.
        struct_name: Names of the structures.
        prefix: "val" or "test"; each structure stands in "val_per_structure" or "per_structure".
    """
    tables = {
        "dice": np.array([score.dice[1:] for score in scores]),
        "hd95_mm": np.array([score.hd95_mm for score in scores]),
        "hd95_voxels": np.array([score.hd95_voxels for score in scores]),
    }
    means = {name: [statistics(column)["mean"] for column in table.T] for name, table in tables.items()}
    found: dict[str, Any] = {f"{prefix}_dice": mean_foreground_dice(scores)}
    for name in ("hd95_mm", "hd95_voxels"):
        found[f"{prefix}_{name}"] = statistics(means[name])["mean"]
    rows = {
        structure: {name: values[index] for name, values in means.items()}
        for index, structure in enumerate(struct_name)
    }
    return found | ({"per_structure": rows} if prefix == _TEST else {f"{prefix}_per_structure": rows})


def _shown(found: Mapping[str, Any]) -> str:
    names = [(name, found[key]) for key, name in (("val_dice", "validation"), ("test_dice", "test")) if key in found]
    return ", ".join(f"{name} Dice {value:.3f}" for name, value in names)
