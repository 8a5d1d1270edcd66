"""The networks of a round: trained on what is annotated, chosen on validation, scored on test.

rounds/000/member_0/checkpoints/ logs/      as in any training
           member_0/eval/val/ eval/test/    per_volume.csv, summary.json
           member_0/member.json             its numbers; written last
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from absl import logging

import models
from fewslice.active import round_files
from fewslice.active.labels import Labels
from fewslice.core import backend, files
from fewslice.core.done import BEST
from fewslice.data import cache
from fewslice.data.segment import Predict
from fewslice.data.volume import with_channel_axis
from fewslice.evaluate import volumes
from fewslice.evaluate.scores import VolumeScore
from fewslice.evaluate.summary import statistics, summarise
from fewslice.learner.members import MEMBERS
from fewslice.learner.networks import Network, Schedule, network_of
from fewslice.learner.samplers import Batches
from fewslice.learner.trained import SegmentationRun, member_folder
from fewslice.settings import datasets
from fewslice.settings.declare import plain
from fewslice.settings.experiment import RoundPlan
from fewslice.train import setup
from fewslice.train.networks import read_into
from fewslice.train.pace import Following
from fewslice.train.predict import ensemble
from fewslice.train.trainer import Plan, Trainer

MEMBER = "member.json"
_VAL, _TEST = "val", "test"


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """Trains the members of each round anew, with the network that its plan names.

    Attributes:
        test: The test volumes, or None to leave them alone.
        origin: Pretrained weights to start each network from.
        plans: All rounds, to estimate how long they take.
    """

    dataset: datasets.DatasetConfig
    pool: cache.PreparedSet
    val: cache.PreparedSet
    test: cache.PreparedSet | None
    origin: setup.Origin = setup.Origin()
    plans: Sequence[RoundPlan] = ()

    def __call__(self, folder: Path, plan: RoundPlan, labels: Labels) -> dict[str, Any]:
        """Trains, validates and tests the members of a round; finished ones are only read.

        Returns:
            Each member's numbers for metrics.json, and those of the best validation.
        """
        members = []
        for member in range(plan.members.count):
            path = member_folder(folder, member)

            def train(record: Path, path: Path = path, member: int = member) -> None:
                files.write_json(record, self._member(path, plan, labels, member))

            round_files.write_once(folder, f"{path.name}/{MEMBER}", train)
            members.append(files.read_record(path / MEMBER, {"seconds": float}))
        chosen = int(np.argmax([-1.0 if each.get("val_dice") is None else each["val_dice"] for each in members]))
        return {
            "members": members,
            "chosen": chosen,
            "seconds": sum(each["seconds"] for each in members),
            **{name: value for name, value in members[chosen].items() if name not in ("seconds", "steps")},
        }

    def _member(self, path: Path, plan: RoundPlan, labels: Labels, member: int) -> dict[str, Any]:
        started = time.perf_counter()
        backend.release_networks()
        network = network_of(plan.network)
        seed, mine = MEMBERS.get(plan.members.kind)(member, plan.members.count, plan.seed, labels)
        schedule = network.schedule(plan, len(mine))
        model = self._compiled(network, seed, schedule)
        batches = network.batches(mine, case_images(self.pool), seed=seed)
        digest = files.digest([mine.units.tolist(), plan.training_share, member, mine.digest()])
        depends = [digest, plain(plan), datasets.config_dict(self.dataset), self.origin.sha256]
        owner = files.digest([*depends, self.pool.digest, self.val.digest])
        place = SimpleNamespace(dir=path, digest=digest, owner=owner)  # as `Trainer` wants a run
        place.checkpoints, place.logs = path / "checkpoints", path / "logs"
        trainer = Trainer(
            place,
            model,
            Plan(
                make_batch=batches.batch,
                describe_batch=batches.describe,
                n_iter=schedule.steps,
                segment=schedule.segment,
                validate=self._validation(network, model, batches, lambda: trainer.step),
                chooses=network.chooses,
                keeps_last=network.keeps_last,
                average_decay=network.average_decay,
                can_be_extended=False,
                following=self._following(plan, member, schedule),
            ),
        )
        trainer.train()
        tracker = trainer.tracker
        numbers = {network.chooses: tracker.best, "best_step": tracker.best_step, "steps": schedule.steps}
        models.set_weights(model, trainer.load(BEST)[0])
        predict = network.predictor(network.part(model), self.dataset.mtask_bs)
        for role, prepared in ((_VAL, self.val), (_TEST, self.test)):
            if prepared:
                scores = volumes.evaluate_cases(
                    ((volume, volume.native) for volume in prepared),
                    predict,
                    dataset=self.dataset,
                    out_dir=path / "eval" / role,
                    save_predictions=role == _TEST,
                )
                numbers |= summary(scores, self.dataset, prefix=role)
        dice = [f"{role} Dice {numbers[f'{role}_dice']:.3f}" for role in (_VAL, _TEST) if f"{role}_dice" in numbers]
        logging.info("%s: %s", path, ", ".join(dice))
        return numbers | {"seconds": round(time.perf_counter() - started, 3)}

    def _following(self, plan: RoundPlan, member: int, schedule: Schedule) -> Following | None:
        """Returns the steps of the networks after this one; a round has as many units as planned."""
        later = [each for each in self.plans if each.train and each.number > plan.number]
        steps = [each.members.count * network_of(each.network).schedule(each, each.units).steps for each in later]
        steps.append((plan.members.count - member - 1) * schedule.steps)
        return Following("experiment", steps=sum(steps)) if self.plans else None

    def _compiled(self, network: Network, seed: int, schedule: Schedule) -> keras.Model:
        model = build(network, self.dataset, seed=seed)
        setup.copy_origin(model, self.origin, exclude=("seg_",))
        model.compile(
            network.make_optimizer(schedule.steps),
            loss=network.make_loss(self.dataset.num_classes),
            jit_compile=keras.backend.backend() == "jax",
        )
        model.optimizer.build(model.trainable_variables)
        return model

    def _validation(
        self, network: Network, model: keras.Model, batches: Batches, now: Callable[[], int]
    ) -> Callable[[], dict[str, float]]:
        """Returns the function that scores a network; `now` tells the step. It depends on weights and step only."""
        score = network.validator(model, self.val, self.dataset)

        def prepare_and_score() -> dict[str, float]:
            network.before_validation(model, batches, now())
            return score()

        return prepare_and_score


def case_images(volumes: cache.PreparedSet) -> list[np.ndarray]:
    """Returns the (slices, rows, columns, channels) image of each case, memory-mapped."""
    return [with_channel_axis(volume.image) for volume in volumes]


def build(network: Network, dataset: datasets.DatasetConfig, *, seed: int = 0) -> keras.Model:
    """Returns a network for a dataset with its initial weights."""
    shape = network.input_shape(dataset.size, dataset.num_channels)
    return network.build(shape, dataset.num_classes, seed=seed)


def load_network(network: Network, dataset: datasets.DatasetConfig, weights: Path) -> keras.Model:
    """Returns a network with the weights of a file; further ones, such as those of another head, are left out.

    Raises:
        ConfigError: the weights are those of another network.
        DataError: the file is missing, damaged or of another run.
    """
    backend.release_networks()  # layers without a name of their own are called as they were in training
    model = build(network, dataset)
    step = read_into(model, weights, kind=f"a {type(network).__name__} for {dataset.size} pixels")
    logging.info("Segmentation network: %s (step %s).", os.path.relpath(weights), step)
    return model


def load_part(run: SegmentationRun, dataset: datasets.DatasetConfig) -> keras.Model:
    """Returns the network image -> logits of a finished run; raises as `load_network`."""
    return run.network.part(load_network(run.network, dataset, run.weights))


def load_ensemble(
    runs: Sequence[SegmentationRun], dataset: datasets.DatasetConfig, batch_size: int, *, mirroring: bool = False
) -> Predict:
    """Returns the function (slices, rows, columns, channels) -> mean class probabilities of all networks."""
    calls = [run.network.predictor(load_part(run, dataset), batch_size) for run in runs]
    return ensemble(calls, mirroring=mirroring)


def summary(scores: Sequence[VolumeScore], dataset: datasets.DatasetConfig, *, prefix: str) -> dict[str, Any]:
    """Returns the numbers of some volumes for metrics.json: means over structures of means over volumes.

    `prefix` is "val" or "test"; each structure stands in "val_per_structure" or "per_structure", each part of
    `score_groups`, such as test A and test B, in "test_per_group". The scores that `metrics` names are among all.
    """
    groups = {score.case_id: datasets.patient_of(score.case_id, dataset.score_groups) for score in scores}
    found = summarise(scores, dataset.struct_name, further=dataset.metrics, groups=groups)
    means, rows = _numbers(found)
    parts = {name: _numbers(part)[0] for name, part in found.get("per_group", {}).items()}
    return {
        **{f"{prefix}_{name}": value for name, value in means.items()},
        "per_structure" if prefix == _TEST else f"{prefix}_per_structure": rows,
        **({f"{prefix}_per_group": parts} if parts else {}),
    }


def _numbers(part: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Returns the means over structures, and those of each structure, of a part of summary.json."""
    rows = {
        structure: {
            name: value["mean"] if isinstance(value, dict) else value
            for name, value in row.items()
            if not name.startswith("absent_in")
        }
        for structure, row in part["per_structure"].items()
    }
    names = next(iter(rows.values()))
    means = {name: statistics([row[name] for row in rows.values()])["mean"] for name in names}
    return means | {"dice": part["mean_dice"]}, rows
