"""The input of every method of joint training: volumes, weights to start from, flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from absl import logging

from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.data.readers import get_reader
from fewslice.data.volume import Case
from fewslice.settings import datasets
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages.checks import unlabelled_cases
from fewslice.stages.segmentation import open_labelled
from fewslice.train import setup


@dataclasses.dataclass(frozen=True, eq=False)
class Volumes:
    """Volumes of a run.

    Attributes:
        val: Labelled volumes that choose the best weights.
        test: Labelled volumes that are scored at the end.
        truth: case_id -> true labels of these (Z, NX, NY) where they exist, for statistics only.
    """

    train: cache.PreparedSet
    val: cache.PreparedSet
    test: cache.PreparedSet
    unlabeled: cache.PreparedSet
    truth: dict[str, np.ndarray]


def open_all(args: JointTraining, dataset: datasets.DatasetConfig) -> Volumes:
    """Opens all volumes."""
    labelled = open_labelled(args, dataset)
    cases = unlabelled_cases(args, dataset, [each.case.case_id for each in labelled["train"] if each.is_complete])
    truth = _truth(dataset, cases) if args.method == "contrastive" else {}  # only rounds of pseudo-labels need it
    return Volumes(**labelled, unlabeled=cache.open_cache(dataset, cases, with_label=False), truth=truth)


def _truth(dataset: datasets.DatasetConfig, cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Returns the true labels that exist. A label that cannot be read costs its statistics and nothing else."""
    labelled = [case for case in cases if case.label_path is not None and Path(case.label_path).exists()]
    refused = cache.build_cache(get_reader(dataset), labelled, with_label=True).refused
    for case_id, error in refused.items():
        logging.warning("No agreement with the truth for %s: %s", case_id, error)
    good = [case for case in labelled if case.case_id not in refused]
    opened = cache.open_cache(dataset, good, with_label=True)
    return {volume.case.case_id: volume.label for volume in opened if volume.is_complete}


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """One run of joint training, before its network exists.

    Attributes:
        teacher: The baseline; without a path where none is needed.
        origin: Weights that encoder and decoder start from: the baseline's, or those of `--init_from`.
    """

    args: JointTraining
    dataset: datasets.DatasetConfig
    volumes: Volumes
    run: Run
    teacher: setup.Origin
    origin: setup.Origin

    def start_weights(self, model: keras.Model, *, heads: Sequence[setup.Origin]) -> None:
        """Copies the weights to start from into `model`, by name. With `--init_from=none` all weights stay.

        Args:
            model: Its encoder and decoder get those of `origin`.
            heads: Its segmentation head gets that of the first of these that has one; if there is none, it stays.

        Raises:
            ConfigError: shapes differ, or nothing could be copied.
        """
        if self.origin.path is None:
            return
        setup.copy_origin(model, self.origin, exclude=("seg_", "cont_", "ema_", "teacher"))
        for source in heads:
            head = {name: values for name, values in source.weights.items() if name.startswith("seg_")}
            if head:
                source = dataclasses.replace(source, weights=head)
                setup.copy_origin(model, source, exclude=("enc_", "dec_", "cont_", "ema_", "teacher"))
                return
        if heads:
            logging.info("%s has no segmentation head; it starts from random weights.", self.origin.path)
