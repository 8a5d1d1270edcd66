"""Features that the units of a pool are compared by.

A file here, or a plugin, registers a function under the name that experiments use (`features: encoder`). It gets
`Inputs`, and its options by keyword, and returns (N, D) finite numbers, a row for each unit of the pool in its order;
a function of its inputs, maybe memory-mapped from a file in `Inputs.folder`.

Names are known before Keras is loaded, which takes seconds: functions import networks when they are called.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewslice.active.pool import Crops
from fewslice.active.units import Units
from fewslice.core import files
from fewslice.core.registry import Registry
from fewslice.data import cache
from fewslice.data.cache import PreparedSet
from fewslice.settings.datasets import DatasetConfig

if TYPE_CHECKING:
    import keras

    from fewslice.learner.networks import Network
    from fewslice.train.encoder_runs import EncoderRun

FEATURES = Registry("kind of features", __name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of features.

    Attributes:
        folder: Where files come to lie that all rounds of an experiment share.
        find_encoder: Returns the run of the pretrained encoder; trains it at its first call.
        find_network: Returns the kind of segmentation network, and the whole network of the best validation of the last
            round that trained.
        batch_size: Units that the segmentation network gets at a time.
    """

    volumes: PreparedSet
    pool: Units
    dataset: DatasetConfig
    folder: Path
    find_encoder: Callable[[], EncoderRun]
    find_network: Callable[[], tuple[Network, keras.Model]]
    batch_size: int = 16

    @cached_property
    def images(self) -> Crops:
        """The images of all units, float32 with a channel axis, read when they are asked for."""
        return Crops(self.volumes, self.pool)

    @property
    def key(self) -> dict[str, Any]:
        """Identifies the images, as JSON values."""
        return image_key(self.volumes, self.pool, self.dataset)

    def rows(self, network: keras.Model, **how: Any) -> np.ndarray:
        """Returns the maps of a network as rows, see `fewslice.learner.features.network_features`."""
        from fewslice.learner.features import network_features

        path = self.folder / "network_features.npy"
        return network_features(network, self.images, path=path, batch_size=self.batch_size, **how)


def image_key(volumes: PreparedSet, pool: Units, dataset: DatasetConfig) -> dict[str, Any]:
    """Returns the identity of the images of all units, as JSON values."""
    every = np.arange(len(pool))
    boxes = np.concatenate([pool.starts(every), pool.sizes(every)], axis=1).astype("<i8")
    return {
        "scans": volumes.digest,
        "units": len(pool),
        "boxes": hashlib.sha256(boxes.tobytes()).hexdigest(),
        "prepared": json.loads(files.to_json(cache.settings(dataset))),
    }


Kind = Callable[..., np.ndarray]


def register(name: str, *, needs_encoder: bool = False, needs_network: bool = False) -> Callable[[Kind], Kind]:
    """Returns a decorator that makes a function a kind of features.

    Args:
        name: What users call it.
        needs_encoder: Whether it calls `Inputs.find_encoder`.
        needs_network: Whether it calls `Inputs.find_network`. As long as no network is trained, the experiment takes
            the encoder's features in its place, or pixels.
    """
    return FEATURES.register(name, needs_encoder=needs_encoder, needs_network=needs_network)
