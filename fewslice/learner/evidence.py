"""Evidence for strategies: features, pixels and annotations of units; scores and gradients of the last networks.

A score comes from maps of each case by passes of networks, reduced to a number over the units' boxes; or from the
images of the units by a training of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fewslice.active import uncertainty
from fewslice.active.loop import Evidence, Situation
from fewslice.active.measures.coverage import squared_distances
from fewslice.active.measures.mfc import GRID
from fewslice.active.measures.pixels import PixelStore
from fewslice.active.pool import SCRIBBLE, Crops, open_pixels
from fewslice.active.query import CLASSES, FEATURES, GRADIENTS, MASKS, PIXELS, SCORES
from fewslice.active.round_files import MAPS
from fewslice.active.uncertainty import COMBINES, FOREGROUND, IMAGES, MEAN, PASSES, mean_over_members, unit_values
from fewslice.active.units import Units
from fewslice.augment.interpolate import resize_nearest
from fewslice.core import files
from fewslice.core.errors import ConfigError
from fewslice.data import cache
from fewslice.learner.features import gradient_embeddings
from fewslice.learner.kinds import FEATURES as KINDS
from fewslice.learner.kinds import Inputs
from fewslice.learner.learner import case_images, load_network
from fewslice.learner.members import MEMBERS
from fewslice.learner.networks import SCORING_BATCH, Network, network_of
from fewslice.learner.passes import DropoutPasses, Maps, Passes
from fewslice.learner.trained import weights_of
from fewslice.settings import datasets
from fewslice.settings.experiment import PASS_MEANS
from fewslice.train.encoder_runs import EncoderRun


@dataclasses.dataclass(frozen=True, eq=False)
class PoolEvidence:
    """The evidence of all rounds, made when it is needed.

    Attributes:
        folder: Folder of arrays that all rounds share.
        find_encoder: Returns the run of the encoder; trains it at its first call.
        networks: Gives the trained networks by `best` and `members`; None: those of the last round that trained.
        batch_size: Slices or units that a segmentation network gets at a time.
    """

    dataset: datasets.DatasetConfig
    volumes: cache.PreparedSet
    pool: Units
    folder: Path
    find_encoder: Callable[[], EncoderRun]
    networks: Any = None
    batch_size: int = SCORING_BATCH

    def best(self, situation: Situation) -> tuple[Network, keras.Model]:
        """Returns the kind of network, and the best of the round."""
        network = network_of(situation.plan.network)
        chosen = files.read_record(situation.trained / "metrics.json", {"chosen": int})["chosen"]
        return network, load_network(network, self.dataset, weights_of(situation.trained, chosen))

    def members(self, situation: Situation) -> tuple[Network, list[tuple[keras.Model, int]]]:
        """Returns the kind of network, and all of the round with their seeds."""
        plan, models = situation.plan, []
        network, kind = network_of(plan.network), MEMBERS.get(plan.members.kind)
        for member in range(plan.members.count):
            model = load_network(network, self.dataset, weights_of(situation.trained, member))
            seed, _ = kind(member, plan.members.count, plan.seed, situation.labels)
            models.append((model, seed))
        return network, models

    def table(self) -> dict[str, Evidence]:
        """Returns need -> the method that makes it."""
        return {
            FEATURES: self.features,
            PIXELS: lambda situation: self.pixels,
            MASKS: self.masks,
            SCORES: self.scores,
            GRADIENTS: self.gradients,
            PASS_MEANS: lambda situation: unit_pass_means(self.pool, self._maps(situation, [uncertainty.pass_means])),
            CLASSES: self.classes,
        }

    @cached_property
    def images(self) -> Crops:
        """The images of all units."""
        return Crops(self.volumes, self.pool)

    @cached_property
    def pixels(self) -> PixelStore:
        """The pixels of all units, side by side, on the published grid."""
        return open_pixels(self.volumes, self.pool, self.folder, shape=GRID)

    def features(self, situation: Situation) -> np.ndarray | None:
        """Returns (N, D) features of the round's kind; None if it names none."""
        named = situation.plan.query.features
        if named is None:
            return None
        return KINDS.get(named.name)(self._inputs(situation), **named.options)

    def _inputs(self, situation: Situation) -> Inputs:
        parts = (self.volumes, self.pool, self.dataset, self.folder, self.find_encoder)
        return Inputs(*parts, lambda: (self.networks or self).best(situation), batch_size=self.batch_size)

    def classes(self, situation: Situation) -> np.ndarray | None:
        """Returns (N,) the image-level class of the annotated unit that is nearest in features of the best network.

        Features are its deepest map, averaged over pixels. Classes of other units are not looked at. None before a
        network is trained.
        """
        if situation.trained is None:
            return None
        known = np.flatnonzero(situation.is_labelled)
        rows = np.asarray(KINDS.get("pooled_map")(self._inputs(situation), level=-1), np.float64)
        return self.pool.labels[known[squared_distances(rows, rows[known]).argmin(axis=1)]]

    def masks(self, situation: Situation) -> Any:
        """Returns the scribble of every unit, or only those of annotated units where nobody drew the others."""
        if all(volume.scribble is not None for volume in self.volumes):
            return Crops(self.volumes, self.pool, SCRIBBLE, size=GRID)
        return AnnotatedMasks(situation)

    def scores(self, situation: Situation) -> np.ndarray | None:
        """Returns the (N,) uncertainty of all units; None if the round names no score."""
        named = situation.plan.query.score
        if named is None:
            return None
        make = {PASSES: self._by_passes, IMAGES: self._by_images}
        return make[uncertainty.SCORES.get(named.name).source](situation)

    def _by_passes(self, situation: Situation) -> np.ndarray:
        query = situation.plan.query
        score = uncertainty.bound(query.score.name, query.score.options)
        reduce = query.reduce or score.reduce
        names = [score, *([uncertainty.predicted_foreground] if reduce == FOREGROUND else [])]
        names += [uncertainty.predicted_classes] * query.save_maps
        maps = self._maps(situation, names)
        if query.save_maps:
            maps = _written(maps, score, [case.case_id for case in self.pool.cases], situation.folder / MAPS)
        return unit_scores(self.pool, maps, score, reduce=reduce)

    def _maps(self, situation: Situation, names: Sequence[Hashable]) -> Maps:
        """Yields maps of each case by the networks of the last round."""
        query = situation.plan.query
        network, models = (self.networks or self).members(situation)
        members = [
            DropoutPasses(network.dropping(model), seed=seed) if query.passes > 1 else Passes(network.part(model))
            for model, seed in models
        ]
        how = {"passes": query.passes, "is_joint": query.combine == COMBINES[0], "batch_size": self.batch_size}
        return network.maps(members, case_images(self.volumes), names, **how)

    def _by_images(self, situation: Situation) -> np.ndarray:
        named = situation.plan.query.score
        score, folder = uncertainty.SCORES.get(named.name), situation.folder / named.name
        options = score.options_class(**named.options) if score.options_class else None
        return score(self.images, situation.is_labelled, options, folder=folder, seed=situation.plan.seed)

    def gradients(self, situation: Situation) -> np.ndarray:
        """Returns (N, E) gradient embeddings of the last round's best network."""
        network, model = (self.networks or self).best(situation)
        path = self.folder / "gradients.npy"
        return gradient_embeddings(network.part(model), self.images, path=path, batch_size=self.batch_size)


class AnnotatedMasks:
    """Masks (N, H, W) of the annotated units; the ignore value in the others."""

    def __init__(self, situation: Situation):
        self._labels = situation.labels
        self._places = {int(unit): place for place, unit in enumerate(self._labels.units)}
        self._blank = np.full(GRID, self._labels.ignore_value, np.uint8)
        self.shape = (len(self._labels.pool), *GRID)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, unit: int) -> np.ndarray:
        place = self._places.get(int(unit))
        return self._blank if place is None else resize_nearest(self._labels.labels(place)[0], GRID)


def unit_scores(pool: Units, maps: Maps, name: Hashable, *, reduce: str = MEAN) -> np.ndarray:
    """Returns the (N,) float64 scores of all units: the maps (`fewslice.learner.passes`) reduced over their boxes.

    Networks that are scored by themselves are averaged. `reduce`: see `unit_values`.
    """
    scores = np.empty(len(pool))
    for units, networks in _by_case(pool, maps):
        boxes = pool.starts(units), pool.sizes(units)
        scores[units] = mean_over_members([unit_values(maps, name, *boxes, reduce=reduce) for maps in networks])
    return scores


def _written(maps: Maps, name: Hashable, case_ids: Sequence[str], folder: Path) -> Maps:
    """Yields the maps of each case, and writes the mean over its networks, and the classes that they predict."""
    folder.mkdir(exist_ok=True)
    for case_id, networks in zip(case_ids, maps, strict=True):
        values = np.mean([found[name] for found in networks], axis=0, dtype=np.float32)
        files.write_array(folder / f"{case_id}.npy", values)
        files.write_array(folder / f"{case_id}_prediction.npy", networks[0][uncertainty.predicted_classes])
        yield networks


def unit_pass_means(pool: Units, maps: Maps) -> np.ndarray:
    """Returns the (N, T, C) float64 mean probabilities of all units in each pass; `maps` are those of `pass_means`.

    Raises:
        ConfigError: units that do not cover whole slices.
    """
    found = {}
    for units, networks in _by_case(pool, maps):
        profiles = np.concatenate([maps[uncertainty.pass_means] for maps in networks], axis=-2)  # (slices, T, C)
        for unit in units.tolist():
            box = pool.box(unit)
            if box.size[1:] != tuple(pool.cases[box.case].shape[1:]):
                raise ConfigError(
                    f"Mean probabilities of passes are those of whole slices. {pool.name(unit)} is a part of one: use "
                    "another strategy, such as `power` with the score `bald`."
                )
            found[unit] = profiles[box.slices[0]].mean(axis=0)
    return np.stack([found[unit] for unit in range(len(pool))])


def _by_case(pool: Units, maps: Maps) -> Iterator[tuple[np.ndarray, list[dict[Hashable, np.ndarray]]]]:
    """Yields the units of each case, and the maps of its networks."""
    of_unit = pool.case_of(np.arange(len(pool)))
    order = np.argsort(of_unit, kind="stable")
    ends = np.searchsorted(of_unit[order], np.arange(len(pool.cases) + 1))
    for case, networks in enumerate(maps):
        yield order[ends[case] : ends[case + 1]], networks
