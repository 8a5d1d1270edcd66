"""The networks of finished runs, and what they predict."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from fewslice.core import done
from fewslice.core.errors import ConfigError
from fewslice.data.cache import PreparedVolume
from fewslice.data.segment import predict_volume, segment
from fewslice.data.volume import Case, Volume
from fewslice.learner.learner import load_part
from fewslice.learner.networks import Network
from fewslice.learner.trained import open_runs
from fewslice.settings.datasets import DatasetConfig, config_of_run
from fewslice.train.encoder_runs import PRETRAINING, check_grid, find_network
from fewslice.train.networks import embedding_network
from fewslice.train.predict import ensemble


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights, or an ensemble.

    Attributes:
        models: Images (batch, NX, NY, C) float32, prepared -> logits (batch, NX, NY, K) of a segmentation network,
            embeddings (batch, D) of an encoder; several where the run has members.
        dataset: How its images are prepared, and the names of its classes.
        kinds: The registered kind of each; () of an encoder.
    """

    models: tuple[keras.Model, ...]
    dataset: DatasetConfig
    kinds: tuple[Network, ...] = ()

    @property
    def model(self) -> keras.Model:
        """The (first) network."""
        return self.models[0]


def load_network(run: str | os.PathLike, dataset: DatasetConfig | None = None) -> TrainedNetwork:
    """Returns the network of a run: its best weights, of a pretraining the last ones.

    Args:
        run: The run's folder, or a weight file in it; of an experiment, a round or a member as `scripts/predict.py`.
        dataset: Default: the run's, with the settings that it was trained with.

    Raises:
        ConfigError: no such run, or images of another size.
        DataError: weights or settings are missing, damaged or changed.
    """
    value, path = os.fspath(run), Path(run).absolute()
    config = (path.parents[1] if path.is_file() else path) / "config.json"
    if config.is_file() and done.read_config(config).get("stage") in PRETRAINING:
        found, kinds = [find_network(value, flag="run", stages=PRETRAINING)], ()
        dataset = dataset or config_of_run(found[0].config, f"run={value}")
    else:
        found, theirs = open_runs([value])
        dataset, kinds = dataset or theirs, tuple(run.network for run in found)
    for each in found:
        check_grid(f"run={value}", each.config, dataset)
    models = [load_part(run, dataset) for run in found] if kinds else [embedding_network(found[0], dataset)]
    return TrainedNetwork(tuple(models), dataset, kinds)


def predict(
    network: TrainedNetwork | str | os.PathLike,
    image: np.ndarray | PreparedVolume,
    spacing_mm: Sequence[float] | None = None,
    *,
    batch_size: int = 16,
) -> np.ndarray:
    """Segments a volume on its own grid.

    Args:
        network: Of `load_network`, or the folder of its run.
        image: (X, Y, Z) intensities as in the file, (X, Y, Z, C) with several channels; where the `orientation` of
            `network.dataset` is canonical, with axes to R, A, S (the third across the slices). Or a volume of
            `open_volumes`.
        spacing_mm: Size of a voxel of an array along x, y and z.
        batch_size: Slices at a time.

    Returns:
        (X, Y, Z) uint8 classes, 0 the background, in the order of `dataset.struct_name`.

    Raises:
        ConfigError: no segmentation network, no spacing, or an array of another form.
    """
    network = network if isinstance(network, TrainedNetwork) else load_network(network)
    if not network.kinds:
        raise ConfigError("`predict` needs a segmentation network. Found: an encoder; use its `model.predict`.")
    pairs = zip(network.kinds, network.models, strict=True)
    call, dataset = ensemble([kind.predictor(model, batch_size) for kind, model in pairs]), network.dataset
    if isinstance(image, PreparedVolume):
        return predict_volume(image, call, dataset=dataset)[1]
    image, channels = np.asarray(image, np.float32), (dataset.num_channels,) * (dataset.num_channels > 1)
    is_whole = image.ndim >= 3 and image.shape[3:] == channels and image.size and np.isfinite(image).all()
    if spacing_mm is None or len(spacing_mm) != 3 or not is_whole:
        axes = ", ".join(("X", "Y", "Z", *map(str, channels)))
        raise ConfigError(
            f"`predict` needs an image of {3 + len(channels)} axes ({axes}), finite, and `spacing_mm`, three "
            f"numbers. Received: shape {image.shape}, spacing_mm={spacing_mm}"
        )
    case = Case("array", "array", "", Path("array"), None)
    return segment(Volume(case, image, None, None, tuple(spacing_mm), np.eye(4)), call, dataset)[0]
