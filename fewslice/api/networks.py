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
from fewslice.data.volume import Case, image_to_grid
from fewslice.evaluate.volumes import predict_volume
from fewslice.learner import learner
from fewslice.learner.networks import Network
from fewslice.learner.trained import find_trained
from fewslice.settings.datasets import DatasetConfig, config_of_run
from fewslice.train.encoder_runs import PRETRAINING, check_grid, find_network
from fewslice.train.networks import embedding_network
from fewslice.train.predict import averaged


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights, or an ensemble.

    Attributes:
        models: Images (batch, NX, NY, C) float32, prepared -> logits (batch, NX, NY, K) of a segmentation network,
            embeddings (batch, D) of an encoder; several where the run has members.
        dataset: How its images are prepared, and the names of its classes.
        kinds: The registered kind of each; none of an encoder.
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
    else:
        found = find_trained(value)
        kinds = tuple(each.network for each in found)
    dataset = dataset or config_of_run(found[0].config, f"run={value}")
    for each in found:
        check_grid(f"run={value}", each.config, dataset)
    if not kinds:
        return TrainedNetwork((embedding_network(found[0], dataset),), dataset)
    models = [
        kind.part(learner.load_network(kind, dataset, each.weights)) for kind, each in zip(kinds, found, strict=True)
    ]
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
        image: (X, Y, Z) intensities as in the file, (X, Y, Z, C) with several channels; or a volume of `open_volumes`.
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
    if not isinstance(image, PreparedVolume):
        image, dims = np.asarray(image, np.float32), 3 + (network.dataset.num_channels > 1)
        if spacing_mm is None or len(spacing_mm) != 3 or image.ndim != dims or not np.isfinite(image).all():
            raise ConfigError(
                f"`predict` needs an image of {dims} axes with finite values, and `spacing_mm`, three numbers. "
                f"Received: shape {image.shape}, spacing_mm={spacing_mm}"
            )
        case = Case("array", "array", "", "", None)
        grid = image_to_grid(image, spacing_mm, network.dataset)
        image = PreparedVolume(case, grid, None, image.shape[:3], tuple(spacing_mm), np.eye(4), "")
    members = zip(network.kinds, network.models, strict=True)
    call = averaged([kind.predictor(model, batch_size) for kind, model in members])
    return predict_volume(image, call, dataset=network.dataset)[1]
