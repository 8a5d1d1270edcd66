"""What the slices of a pool are compared by: one kind of features per file.

A file here, or one that a user imports, registers a function under the name that experiments call it by
(`data_geometry.features`). It gets `Inputs` and returns (N, D) finite numbers, a row for each slice of the pool in its
order, the same ones whenever it is asked with the same inputs; maybe memory-mapped from a file in `Inputs.folder`.

Names are known before Keras is loaded, which takes seconds: functions import networks when they are called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fewslice.active.slices import SliceStack
from fewslice.core.registry import Registry
from fewslice.data.cache import PreparedSet
from fewslice.settings.datasets import DatasetConfig

if TYPE_CHECKING:
    import keras

FEATURES = Registry("kind of features", __name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What features are made from.

    Attributes:
        volumes: The prepared volumes of the pool.
        dataset: The dataset's settings.
        folder: Where files come to lie that all rounds of an experiment share.
        find_encoder: Returns the run directory of the pretrained encoder; trains it at its first call.
        find_network: Returns the whole segmentation network of the best validation of the round before.
        map_index: Which of the network's five encoder maps is meant, 0 the finest.
        embedding_batch: Slices that the encoder gets at a time.
        batch_size: Slices that the segmentation network gets at a time.
    """

    volumes: PreparedSet
    dataset: DatasetConfig
    folder: Path
    find_encoder: Callable[[], Path | str]
    find_network: Callable[[], keras.Model]
    map_index: int = 0
    embedding_batch: int = 128
    batch_size: int = 16

    @cached_property
    def images(self) -> SliceStack:
        """The images of all slices, (N, NX, NY, C) float32, read when they are asked for."""
        return SliceStack(self.volumes)

    def rows(self, network: keras.Model, kind: str) -> np.ndarray:
        """Returns what a network makes of all slices, see `fewslice.learner.features.network_features`."""
        from fewslice.learner.features import network_features

        path = self.folder / "network_features.npy"
        return network_features(network, self.images, kind, path=path, batch_size=self.batch_size)


Kind = Callable[[Inputs], np.ndarray]


def register(name: str, *, needs_encoder: bool = False, needs_network: bool = False) -> Callable[[Kind], Kind]:
    """Returns a decorator that makes a function a kind of features.

    Args:
        name: What users call it.
        needs_encoder: Whether it calls `Inputs.find_encoder`.
        needs_network: Whether it calls `Inputs.find_network`. As long as no network is trained, the experiment takes
            the encoder's features in its place, or pixels.
    """

    def decorate(function: Kind) -> Kind:
        function.needs_encoder = needs_encoder
        function.needs_network = needs_network
        return FEATURES.register(name)(function)

    return decorate


def load_all() -> None:
    """Imports every kind of this folder, so that their names are known."""
    FEATURES.load()


def get(name: str) -> Kind:
    """Returns the kind called `name`. Raises `ConfigError` with the nearest known name."""
    return FEATURES.get(name)
