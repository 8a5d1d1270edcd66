"""What strategies are told about the pool: embeddings, pixels, scribbles, and what the last round's networks say."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

import models
from fewslice.active.annotators import SCRIBBLE
from fewslice.active.loop import Situation, Source
from fewslice.active.measures.mfc import GRID
from fewslice.active.measures.pixels import PixelStore
from fewslice.active.query import FEATURES, GRADIENTS, MASKS, PIXELS, SCORES
from fewslice.active.slices import SliceStack, open_pixels
from fewslice.active.strategies.vaal import VaalOptions
from fewslice.augment.interpolate import resize_nearest
from fewslice.core import files
from fewslice.data import cache
from fewslice.learner import kinds
from fewslice.learner.features import gradient_embeddings
from fewslice.learner.kinds import Inputs
from fewslice.learner.learner import member_folder
from fewslice.learner.networks import load_network, member_seed, segmentation_part
from fewslice.learner.scores import DropoutPasses, pool_scores
from fewslice.learner.vaal import train_vaal
from fewslice.settings import datasets
from fewslice.settings.compat.al_schema_model import ModelConfig
from fewslice.settings.compat.al_selection import VAAL, Selection


@dataclasses.dataclass(frozen=True, eq=False)
class Sources:
    """Makes what the strategy of a round needs, when it is asked for.

    Attributes:
        settings: The group `model`.
        dataset: The dataset's settings.
        volumes: The prepared volumes of the pool.
        selections: What each round's strategy has to be given.
        folder: Where arrays that all rounds share come to lie.
        find_encoder: Returns the run directory of the encoder; trains it at its first call.
        embedding_batch: Slices embedded at a time.
        batch_size: Slices scored at a time.
        seed: Of dropout passes and VAAL.
        vaal: How VAAL's networks are trained.
    """

    settings: ModelConfig
    dataset: datasets.DatasetConfig
    volumes: cache.PreparedSet
    selections: Sequence[Selection]
    folder: Path
    find_encoder: Callable[[], Path | str]
    embedding_batch: int
    batch_size: int
    seed: int
    vaal: VaalOptions | None = None

    def table(self) -> dict[str, Source]:
        """Returns need -> what makes it, for all rounds."""
        return {
            FEATURES: self.features,
            PIXELS: lambda situation: self.pixels,
            MASKS: self.masks,
            SCORES: self.scores,
            GRADIENTS: self.gradients,
        }

    @cached_property
    def images(self) -> SliceStack:
        """The images of all units."""
        return SliceStack(self.volumes)

    @cached_property
    def pixels(self) -> PixelStore:
        """The pixels of all units, side by side, on the published grid."""
        return open_pixels(self.volumes, self.folder, shape=GRID)

    def features(self, situation: Situation) -> np.ndarray:
        """Returns (N, D) vectors of the kind that the round looks at."""
        selection = self._selection(situation)
        inputs = Inputs(
            self.volumes,
            self.dataset,
            self.folder,
            self.find_encoder,
            lambda: self._best(situation.trained),
            selection.feature_map,
            self.embedding_batch,
            self.batch_size,
        )
        return kinds.get(selection.features)(inputs)

    def masks(self, situation: Situation) -> Any:
        """Returns the scribble of every unit, or only those that were bought where nobody drew the others."""
        if all(volume.scribble is not None for volume in self.volumes):
            return SliceStack(self.volumes, SCRIBBLE, size=GRID)
        return BoughtMasks(situation, len(self.images), self.dataset.num_classes)

    def scores(self, situation: Situation) -> np.ndarray | None:
        """Returns (N,) uncertainty of the last round's networks, or VAAL's; None if the round looks at none."""
        selection = self._selection(situation)
        if selection.scores == VAAL:
            folder = situation.folder / "vaal"
            return train_vaal(folder, self.images, situation.is_labelled, options=self.vaal, seed=self.seed)
        if selection.scores is None:
            return None
        found = pool_scores(
            self._members(situation.trained, with_dropout=selection.passes > 1),
            self.images,
            [selection.scores],
            passes=selection.passes,
            batch_size=self.batch_size,
            combine=selection.combine,
        )[selection.scores]
        return found if selection.descending else -found

    def gradients(self, situation: Situation) -> np.ndarray | None:
        """Returns (N, E) gradient embeddings of the last round's best network."""
        return gradient_embeddings(
            segmentation_part(self._best(situation.trained)),
            self.images,
            path=self.folder / "gradients.npy",
            batch_size=self.batch_size,
        )

    def _selection(self, situation: Situation) -> Selection:
        return self.selections[situation.plan.number]

    def _best(self, trained: Path) -> keras.Model:
        chosen = files.read_json(trained / "metrics.json")["chosen"]
        return load_network(self.settings, self.dataset, member_folder(trained, chosen))

    def _members(self, trained: Path, *, with_dropout: bool) -> list[keras.Model | DropoutPasses]:
        found: list[keras.Model | DropoutPasses] = []
        for member in range(self.settings.ensemble_size):
            model = load_network(self.settings, self.dataset, member_folder(trained, member))
            seed = member_seed(self.seed, member)
            found.append(
                DropoutPasses(models.dropout_part(model), seed=seed) if with_dropout else segmentation_part(model)
            )
        return found


class BoughtMasks:
    """Masks (N, H, W) of what was bought before; nothing is annotated in the others.

    Args:
        situation: What was bought.
        count: Units of the pool.
        ignore_value: Stands for "not annotated".
    """

    def __init__(self, situation: Situation, count: int, ignore_value: int):
        self._places = {int(unit): place for place, unit in enumerate(situation.annotations.units)}
        self._annotations = situation.annotations
        self._blank = np.full(GRID, ignore_value, np.uint8)
        self.shape = (count, *GRID)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, unit: int) -> np.ndarray:
        place = self._places.get(int(unit))
        return self._blank if place is None else resize_nearest(self._annotations.mask(place), GRID)
