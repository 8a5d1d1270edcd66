"""The slices with labels or pseudo-labels that the steps of joint training are drawn from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

import models
from fewslice.core import checkpoint, files
from fewslice.core.done import BEST, LAST
from fewslice.core.errors import ConfigError, DataError, FewSliceError, TrainingError
from fewslice.core.progress import Progress
from fewslice.data import cache
from fewslice.data.batches import joint
from fewslice.refine import pseudo_labels
from fewslice.refine.dense_crf import NONE, parameter_set
from fewslice.report.figures import contours, style
from fewslice.stages.joint.job import Job
from fewslice.train import setup
from fewslice.train.networks import fill
from fewslice.train.predict import predictor
from fewslice.train.trainer import Interrupted


class Pools:
    """The slices that a step is drawn from. `update` gives the pseudo-labels that belong to a step.

    Args:
        job: The run. It keeps every round of pseudo-labels; its teacher makes the first one.
    """

    def __init__(self, job: Job):
        self._args, self._dataset = job.args, job.dataset
        self._volumes, self._run, self._teacher = job.volumes, job.run, job.teacher
        self._network: keras.Model | None = None
        self.round: pseudo_labels.Round | None = None
        self.labelled_volumes = list(job.volumes.train)
        self.labelled = joint.LabelPool(
            [volume.label for volume in job.volumes.train],
            job.dataset.num_classes,
            names=setup.case_ids(job.volumes.train),
        )
        self.unlabelled_volumes: list[cache.PreparedVolume] = []
        self.unlabelled: joint.LabelPool | None = None
        self.min_classes = job.dataset.num_classes

    def update(self, step: int, is_stopping: Callable[[], bool]) -> None:
        """Loads or makes the round of pseudo-labels that is used from `step` on.

        Args:
            is_stopping: Whether the user asked to stop; looked at after each volume of a round.

        Raises:
            Interrupted: the user asked to stop.
        """
        index = step // self._args.refresh_every
        if self.round is not None and self.round.index == index:
            return
        folder = self._folder(index)
        made = pseudo_labels.load_round(folder)
        if made is None:
            made = self._make(folder, index, is_stopping)
        self._log()
        if not made.labels:  # no volume was accepted: the labels of the round before stay
            last = self._last_accepted(index)
            made = dataclasses.replace(made, labels=last.labels, confidence=last.confidence)
        self._use(made)

    def _folder(self, index: int) -> Path:
        return self._run.dir / "pseudo_labels" / f"round_{index:02d}"

    def _make(self, folder: Path, index: int, is_stopping: Callable[[], bool]) -> pseudo_labels.Round:
        path, weights, steps = self._teacher_of(folder, index)
        if self._network is None:
            shape, arch = setup.image_shape(self._dataset), setup.architecture(vars(self._args))
            self._network = models.build_unet(shape, self._dataset.num_classes, arch=arch)
        fill(self._network, weights, path=path, kind="a U-Net of this dataset")

        def report(name: str) -> None:
            progress.update(1, name)
            if is_stopping():
                raise Interrupted("Stopped while making pseudo-labels; the training before them is saved.")

        if self._args.crf != NONE:
            text = "Pseudo-labels of %d volumes are refined by a dense CRF, which takes seconds for each; %s"
            logging.info(text, len(self._volumes.unlabeled), "--crf=none is the quick way, for a first look.")
        with Progress(len(self._volumes.unlabeled), f"Pseudo-labels {index + 1}") as progress:
            made = pseudo_labels.make_round(
                folder,
                index=index,
                teacher=pseudo_labels.Teacher(path, steps, predictor(self._network, self._dataset.mtask_bs)),
                volumes=self._volumes.unlabeled,
                settings=self._settings(),
                truth=self._volumes.truth.get,
                progress=report,
                draw=functools.partial(draw_gallery, struct_name=self._dataset.struct_name),
            )
        logging.info("Pseudo-labels %d: %s", index + 1, pseudo_labels.summary(made))
        return made

    def _teacher_of(self, folder: Path, index: int) -> tuple[Path, setup.Arrays, Any]:
        """Returns the weight file that makes a round, its weights and the steps that it was trained.

        A round whose network was written down is made again by that one: best and last may have changed since.
        """
        kept = folder / pseudo_labels.TEACHER
        if index == 0:
            return self._teacher.path, self._teacher.weights, self._teacher.step
        path = kept if kept.exists() else self._run.checkpoints / {"best": BEST, "last": LAST}[self._args.refresh_from]
        try:
            weights, record = checkpoint.load_arrays(path)
            checkpoint.check_owner(path, record, self._run.owner)
        except DataError as error:
            remedy = "Restore it; it cannot be made again. Without a copy, --noresume trains the same network again."
            raise DataError(path, expected=error.expected, found=error.found, remedy=remedy) from error
        return path, weights, record["step"]

    def _last_accepted(self, index: int) -> pseudo_labels.Round:
        for earlier in range(index - 1, -1, -1):
            made = pseudo_labels.load_round(self._folder(earlier))
            if made is not None and made.labels:
                return made
        raise ConfigError(
            f"--test_f1_threshold={self._args.test_f1_threshold}: of no volume do two augmented views agree that well. "
            "Lower the threshold, or train the baseline longer."
        )

    def _use(self, made: pseudo_labels.Round) -> None:
        members = [(v, made.labels[v.case.case_id]) for v in self._volumes.unlabeled if v.case.case_id in made.labels]
        if not members:
            raise FewSliceError("The pseudo-labels are those of other volumes. Start afresh with --noresume.")
        self.min_classes = self._classes_to_show(members)
        confidence = dict(made.confidence)
        if not self._args.published_lists:
            found = {volume.case.case_id: place for place, (volume, _) in enumerate(members)}
            for volume in self._volumes.train:  # with their true masks
                name, label = volume.case.case_id, volume.label
                if name not in found:
                    members.append((volume, label))
                elif self._dataset.ignore_label is not None:  # annotated in part
                    known = label < self._dataset.num_classes
                    members[found[name]] = volume, np.where(known, label, members[found[name]][1])
                    if name in confidence:
                        confidence[name] = np.where(known, np.uint8(255), confidence[name])
        self.round = made
        self.unlabelled_volumes = [volume for volume, _ in members]
        self.unlabelled = self._pool(members, confidence)

    def _pool(
        self,
        members: Sequence[tuple[cache.PreparedVolume, np.ndarray]],
        confidence: Mapping[str, np.ndarray] | None = None,
    ) -> joint.LabelPool:
        names, labels = setup.case_ids([volume for volume, _ in members]), [labels for _, labels in members]
        weights = None
        if confidence:  # true masks are certain
            pairs = zip(names, labels, strict=True)
            weights = [confidence.get(name, np.broadcast_to(np.uint8(255), each.shape)) for name, each in pairs]
        return joint.LabelPool(labels, self._dataset.num_classes, names=names, confidence=weights)

    def _classes_to_show(self, members: Sequence[tuple[cache.PreparedVolume, np.ndarray]]) -> int:
        """Returns how many classes a slice of the contrastive loss must show: as many as asked for, if slices do."""
        pool = self._pool(members)
        asked = self._args.min_classes or self._dataset.num_classes
        for each, kind, remedy in (
            (self.labelled, "labelled", "Choose other labelled volumes."),
            (pool, "pseudo-labelled", "Train the network that made them longer."),
        ):
            if not each.present[:, 1:].any():
                raise TrainingError(f"No {kind} slice shows a structure, so there is nothing to contrast. {remedy}")
        most = min(int(each.present.sum(axis=1).max()) for each in (self.labelled, pool))
        shown = min(asked, most)
        if most < asked:
            text = "No slice shows %d classes in its (pseudo-)labels; the contrastive loss takes those with %d."
            logging.warning(text, asked, shown)
        count = int((pool.present.sum(axis=1) >= shown).sum())
        logging.info("%d of %d pseudo-labelled slices show %d classes.", count, len(pool.present), shown)
        return shown

    def _settings(self) -> pseudo_labels.Settings:
        args, dataset = self._args, self._dataset
        return pseudo_labels.Settings(
            num_classes=dataset.num_classes,
            struct_name=dataset.struct_name,
            crf=None if args.crf == NONE else parameter_set(args.crf, dataset.name),
            min_agreement=args.test_f1_threshold if args.test_aug_overlap else None,
            seed=args.seed,
            refresh_every=args.refresh_every,
            confidence=bool(args.soft_labels),
        )

    def _log(self) -> None:
        rows = pseudo_labels.table(self._run.dir / "pseudo_labels")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        files.write_csv(self._run.logs / "pseudo_labels.csv", rows, columns)


def draw_gallery(
    path: Path, shown: Sequence[pseudo_labels.Shown], truth: pseudo_labels.Truth, *, struct_name: Sequence[str]
) -> None:
    """Draws a few volumes: lines are pseudo-labels; the fill is the truth, or the network's own answer without it."""
    has_truth = all(truth(volume.case.case_id) is not None for volume, _, _ in shown)
    rows = []
    for volume, before, after in shown:
        other = truth(volume.case.case_id) if has_truth else before
        image, label, other = (np.moveaxis(np.asarray(array), 0, 2) for array in (volume.image, after, other))
        slices = contours.choose_slices(other, label)
        window = contours.choose_window([other, label], (1.0, 1.0, 1.0))
        captions = tuple(f"slice {volume.file_slice(index) + 1}" for index in slices)
        rows.append(contours.Row(volume.case.case_id, image, other, label, (1.0, 1.0, 1.0), slices, window, captions))
    names = ("line: pseudo-label", "filled: true" if has_truth else "filled: before refinement")
    files.write_bytes(path, style.png_bytes(contours.plot_rows(rows, struct_name, names=names)))
