"""Small volumes, a dataset and a network stand-in for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fewslice.data import preprocess
from fewslice.data.volume import Case, Volume


def dataset(num_classes: int = 4, *, resolution: float = 1.36719, size=(32, 32)) -> SimpleNamespace:
    """The attributes of a DatasetConfig that evaluation reads."""
    names = tuple("abcdefgh"[: num_classes - 1])
    return SimpleNamespace(
        name="fake",
        num_classes=num_classes,
        struct_name=names,
        target_resolution=(resolution, resolution),
        anti_aliasing="default",
        grid="resample",
        surface_tolerance_mm=2.0,
        metrics=(),
        score_groups="",
        img_size_x=size[0],
        img_size_y=size[1],
    )


def item(config, image, label, spacing_mm, *, case_id: str, phase: str = "", affine=None):
    """Returns (prepared, native) of one volume, image not yet normalised."""
    case = Case(case_id, case_id.split("_")[0], phase, Path(f"{case_id}.nii.gz"), None)
    affine = np.eye(4) if affine is None else affine
    spacing_mm = tuple(float(value) for value in spacing_mm)
    native = Volume(case, image.astype(np.float32), label.astype(np.uint8), None, spacing_mm, affine)
    size = (config.img_size_x, config.img_size_y)
    grid = {"target_resolution": config.target_resolution, "size": size}
    prepared = SimpleNamespace(
        case=case,
        image=preprocess.prepare_image(preprocess.normalise(image), spacing_mm, **grid),
        label=preprocess.prepare_label(label.astype(np.uint8), spacing_mm, **grid, rule="nearest"),
        native_shape=image.shape,
        spacing_mm=spacing_mm,
        affine=affine,
    )
    return prepared, native


def stub_network(image: np.ndarray) -> np.ndarray:
    """The recorded stand-in: softmax(4 [0.3, v, 1 - |v - 0.5|, 0.2 + 0.6 v^2]) of the pixel value v."""
    v = image[..., 0].astype(np.float64)
    logits = 4 * np.stack([np.full_like(v, 0.3), v, 1 - np.abs(v - 0.5), 0.2 + 0.6 * v**2], axis=-1)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
