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
from fewslice.settings.datasets import DatasetConfig, load_dataset_config
from fewslice.settings.stage_flags import LABELLED_STAGES
from fewslice.train.encoder_runs import find_encoder
from fewslice.train.networks import embedding_network, segmentation_network
from fewslice.train.predict import predictor


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights.

    Attributes:
        model: Images (batch, NX, NY, C) float32, prepared -> logits (batch, NX, NY, K) of a segmentation network,
            embeddings (batch, D) of an encoder.
        dataset: How its images are prepared, and the names of its classes.
        segments: Whether it is a segmentation network.
    """

    model: keras.Model
    dataset: DatasetConfig
    segments: bool


def load_network(run: str | os.PathLike, dataset: DatasetConfig | None = None) -> TrainedNetwork:
    """Returns the network of a training: its best weights, of a pretraining the last ones.

    Args:
        run: The run's folder, or a weight file in it.
        dataset: Default: the run's, with the settings that it was trained with.

    Raises:
        ConfigError: no such run, or images of another size.
        DataError: weights or settings are missing, damaged or changed.
    """
    if dataset is None:
        path = (Path(run).absolute().parents[1] if Path(run).is_file() else Path(run)) / "config.json"
        if not path.is_file():
            raise ConfigError(f"run={run}: expected the folder of a run, or a weight file in it. Found no config.json.")
        dataset = _dataset(done.read_config(path).get("dataset_config", {}), path)
    found = find_encoder(os.fspath(run), dataset, flag="run")
    segments = found.config["stage"] in LABELLED_STAGES
    return TrainedNetwork((segmentation_network if segments else embedding_network)(found, dataset), dataset, segments)


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
    if not network.segments:
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
    return predict_volume(image, predictor(network.model, batch_size), dataset=network.dataset)[1]


def _dataset(values: dict, path: Path) -> DatasetConfig:
    """Returns the dataset of a run, with the settings that stand in its config.json."""
    if "name" not in values:
        raise ConfigError(f"{path} does not say for which slices this run was trained. Give `dataset`.")
    kept = {name: _tuple(value) for name, value in values.items() if name != "name"}
    return dataclasses.replace(load_dataset_config(values["name"]), **kept)


def _tuple(value: object) -> object:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
