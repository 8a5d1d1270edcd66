"""Vectors of slices, by the network of an earlier stage; written to disk batch by batch.

A run of group contrastive training gives h, the input of its projection head (Vepa et al., 2024,
https://arxiv.org/abs/2411.15763); any run with the U-Net the global average of its encoder's last map. Vectors are not
scaled to length 1. Pixels serve as vectors, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fewslice.active.slices import SliceStack
from fewslice.core import backend, files
from fewslice.core.errors import ConfigError
from fewslice.core.locks import folder_lock
from fewslice.core.progress import Progress
from fewslice.data import cache_store
from fewslice.data.cache import PreparedSet
from fewslice.settings.datasets import DatasetConfig
from fewslice.train.encoder_runs import PIXELS, EncoderRun, find_encoder
from fewslice.train.networks import embedding_network
from fewslice.train.predict import padded_batches
from fewslice.train.setup import image_shape

_SAVE_EVERY = 20  # batches between two marks of how far it is


def embed_volumes(
    run: EncoderRun | str | os.PathLike,
    volumes: PreparedSet,
    dataset: DatasetConfig,
    *,
    batch_size: int,
    out_path: Path,
    mixed_precision: bool = False,
) -> np.ndarray:
    """Returns the vectors of all slices of the volumes, in order (those of `pool_of_volumes`).

    A finished file of the same network and scans is opened again, an unfinished one is continued. Of a kill between,
    only what stands in `out_path` counts, and that is complete. In memory is one batch.

    Args:
        run: The network: as found by `find_encoder`, a run directory, a weight file in one, or "pixels".
        volumes: Prepared with the settings of `dataset`.
        dataset: The dataset's settings.
        batch_size: Slices at a time.
        out_path: Ends in .npy; a .json beside it says what it was made of.
        mixed_precision: Compute in bfloat16.

    Returns:
        (N, D) float32, memory-mapped: D is 512 or 2048 for a ResNet, 128 for a U-Net, all pixel values for "pixels".

    Raises:
        ConfigError: no such run, or one that does not fit.
        DataError: its weights are damaged.
        FewSliceError: the file system refuses.
    """
    out_path, stack = Path(out_path), SliceStack(volumes)
    if not isinstance(run, EncoderRun) and run != PIXELS:
        run = find_encoder(os.fspath(run), dataset)
    if run is None:
        raise ConfigError("Without an encoder there are no vectors.")
    key = {
        "encoder": run.digest if isinstance(run, EncoderRun) else run,
        "scans": volumes.digest,
        "slices": len(stack),
        "prepared": json.loads(files.to_json(cache_store.settings(dataset))),
        "bfloat16": bool(mixed_precision),
    }
    with folder_lock(out_path.parent):
        if not _is_finished(out_path, key):
            encode, size = _encoder(run, dataset, batch_size, mixed_precision)
            _write(out_path, key, stack, encode, (batch_size, size))
    return np.load(out_path, mmap_mode="r", allow_pickle=False)


def _encoder(
    run: EncoderRun | str, dataset: DatasetConfig, batch_size: int, mixed_precision: bool
) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Returns the function (n, rows, columns, channels) -> (n, D) float32, n <= batch_size, and D."""
    if run == PIXELS:
        return lambda images: images.reshape(len(images), -1), int(np.prod(image_shape(dataset)))
    with backend.precision("mixed_bfloat16" if mixed_precision else "float32"):
        model = embedding_network(run, dataset)

    def encode(images: np.ndarray) -> np.ndarray:
        ((filled, count),) = padded_batches(images, batch_size)
        return np.asarray(model.predict_on_batch(filled), np.float32)[:count]

    return encode, int(model.output_shape[-1])


def _is_finished(path: Path, key: dict[str, Any]) -> bool:
    try:
        return path.exists() and files.read_json(path.with_suffix(".json")) == key
    except OSError:
        return False


def _write(
    path: Path, key: dict[str, Any], stack: SliceStack, encode: Callable[[np.ndarray], np.ndarray], sizes: tuple
) -> None:
    """Writes the vectors, continuing an unfinished file of the same key; `sizes`: (batch size, D)."""
    batch_size, size = sizes
    partial, mark = path.with_suffix(".partial.npy"), path.with_suffix(".partial.json")
    try:
        done, array = _resume(partial, mark, key, (len(stack), size))
        with Progress(len(stack), "Embedding slices") as progress:
            progress.update(done)
            for number, start in enumerate(range(done, len(stack), batch_size), 1):
                units = range(start, min(start + batch_size, len(stack)))
                array[units.start : units.stop] = encode(stack.take(units))
                progress.update(len(units))
                if number % _SAVE_EVERY == 0 or units.stop == len(stack):
                    array.flush()
                    files.write_json(mark, {**key, "done": units.stop})
        del array
        path.unlink(missing_ok=True)
        files.write_json(path.with_suffix(".json"), key)
        os.replace(partial, path)
        files.sync_folder(path.parent)
        mark.unlink()
    except OSError as error:
        raise files.writing_error(path, error) from error


def _resume(partial: Path, mark: Path, key: dict[str, Any], shape: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Returns how many rows are written already, and the array to write into."""
    try:
        found = files.read_json(mark)
        done = found.pop("done")
        array = np.load(partial, mmap_mode="r+", allow_pickle=False)
        if found == key and array.shape == shape and array.dtype == np.float32:
            return int(done), array
    except (OSError, ValueError, KeyError):
        pass
    mark.unlink(missing_ok=True)
    return 0, np.lib.format.open_memmap(partial, "w+", np.float32, shape)
