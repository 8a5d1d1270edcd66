"""Run folders of untrained networks, written as trainings and experiments would, and scans for them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from PIL import Image

from fewslice.core import checkpoint, files
from fewslice.data.io import geometry
from fewslice.data.io.nifti import write_nifti
from fewslice.settings import datasets
from tests.train_model import tiny, tiny_al

NETWORK = {"name": "scribble_unet", "options": {"batch_size": 2, "steps": 4}}


def config_of(orientation="canonical", **changes):
    """config.json of a training on the tiny dataset, some of whose settings are changed."""
    settings = datasets.config_dict(datasets.load_dataset_config("tiny")) | {"mtask_bs": 4} | changes
    facts = {"orientation": orientation} if orientation else {}
    return {"stage": tiny.BASELINE, "dataset_config": settings, "report": facts}


def write_training(folder, seed=0, **config):
    """A baseline whose network has random weights, statistics of normalisation included."""
    import models

    found = config_of(**config)
    channels = found["dataset_config"]["num_channels"]
    return write(folder, found, models.build_unet((32, 32, channels), 3, seed=seed), seed)


def write_experiment(folder, networks=None, network=NETWORK, **config):
    """An experiment of two rounds, the second of which is not finished."""
    import models

    how = {"widths": tiny_al.WIDTHS, "dropout": tiny_al.DROPOUT}
    networks = networks or [models.build_scribble_unet((32, 32, 1), 3, **how, seed=member) for member in range(2)]
    settings = {"stage": tiny_al.SCRIPT, "network": network, "members": {"count": len(networks)}}
    files.write_json(folder / "config.json", config_of(**config) | settings)
    for member, network in enumerate(networks):
        write(folder / "rounds" / "000" / f"member_{member}", None, network, member)
    files.write_json(folder / "rounds" / "000" / "DONE", {})
    (folder / "rounds" / "001" / "member_0").mkdir(parents=True)
    return folder


def write(folder, config, network, seed):
    import models

    rng = np.random.default_rng(seed)
    weights = models.read_weights(network)
    for name, array in weights.items():
        if name.endswith(("beta", "bias", "moving_mean")):
            weights[name] = rng.normal(0, 0.3, array.shape).astype(np.float32)
        if name.endswith(("gamma", "moving_variance")):
            weights[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    balance(network, weights)
    if config:
        files.write_json(folder / "config.json", config)
        files.write_json(folder / "DONE", {})
    checkpoint.save_arrays(folder / "checkpoints" / "best.npz", weights, {"step": 4})
    return folder


def balance(network, weights):
    """Takes from the head what it answers to the mean of its inputs, so that no class wins everywhere."""
    import keras

    import models

    models.set_weights(network, weights)
    head = network.layers[-1]
    rng = np.random.default_rng(0)
    images = rng.random([side or 32 for side in (2, *network.input_shape[1:])], np.float32)
    maps = keras.Model(network.inputs[0], head.input)(images)
    mean = keras.ops.convert_to_numpy(maps).mean(axis=(0, 1, 2))
    kernel = weights[f"{head.name}/kernel"]
    kernel -= mean[:, np.newaxis] * ((mean @ kernel) / (mean @ mean))[:, :, np.newaxis]
    kernel *= 3 / (kernel.std() * maps.shape[-1] ** 0.5)
    if f"{head.name}/bias" in weights:
        weights[f"{head.name}/bias"][:] = 0


def write_scan(path, seed=0, shape=(30, 34, 3), spacing=(1.4, 1.3, 8.0), affine=None):
    """A scan with a bright ball on noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*(np.arange(n) - n / 2 for n in shape[:2]), indexing="ij")
    image = 60 * rng.random(shape) + 200 * ((x - seed) ** 2 + y**2 < 60)[..., np.newaxis]
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]) if affine is None else affine
    write_nifti(path, image.astype(np.float32), affine=affine, spacing_mm=spacing)
    return path


def write_picture(path, size=(30, 34), seed=0):
    """A picture of colours at random."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def read(path):
    """Voxels of a file, scaled."""
    return np.asarray(nib.load(path).dataobj)


def turned(path, target, axes):
    """Writes the same scan stored with other axes, see `fewslice.data.io.geometry`."""
    file = nib.load(path)
    affine = geometry.turned_affine(file.affine, axes, file.shape)
    spacing = geometry.permuted(file.header.get_zooms()[:3], axes)
    write_nifti(target, geometry.turned(read(path), axes), affine=affine, spacing_mm=spacing)
    return target


def like(run, folder, *, weights=None, **config):
    """Writes a training with the network of another one, some of whose settings, or facts on its weights, differ."""
    arrays, record = checkpoint.load_arrays(run / "checkpoints" / "best.npz")
    checkpoint.save_arrays(folder / "checkpoints" / "best.npz", arrays, {"step": record["step"]} | (weights or {}))
    files.write_json(folder / "config.json", config_of(**config))
    files.write_json(folder / "DONE", {})
    return folder
