"""From native files to prepared arrays and back, against numbers recorded from the published code.

The recorded native volumes are written as files in the dataset's layout, read, prepared and stored in the cache by our
code, and compared with the recorded normalised and cropped volumes, affines and predictions.
"""

import re

import numpy as np
import pytest

from fewslice.data import preprocess
from fewslice.data.cache import open_cache
from fewslice.data.export import cropped_geometry
from fewslice.data.readers import get_reader
from tests.data.layouts import dataset, save
from tests.golden_files import golden_param

TOLERANCE = 1e-6


def recorded(path):
    """Returns the recorded volumes: prefix -> arrays, or skips where the file holds none in a form known here."""
    data = dict(np.load(path))
    names = [key[: -len("_img")] for key in data if key.endswith("_img") and not key.endswith("_crop_img")]
    volumes = {}
    for name in names:
        fields = {key[len(name) + 1 :]: value for key, value in data.items() if key.startswith(f"{name}_")}
        if {"img", "px", "crop_img"} <= fields.keys():
            volumes[name] = fields
    if not volumes:
        pytest.skip(f"{path.name} has no <name>_img with <name>_px and <name>_crop_img: {', '.join(data)}")
    return data, volumes


def write(root, volumes):
    """Writes the native volumes in a layout that fits them. Returns settings and the prepared volumes."""
    is_acdc = all(name.startswith("acdc_") for name in volumes)
    for name, fields in volumes.items():
        number = re.search(r"\d+$", name)[0] if re.search(r"\d+$", name) else name
        affine = fields.get("affine", np.diag([*fields["px"], 1.0]))
        stems = (f"patient{number}/patient{number}_frame01", "_gt") if is_acdc else (f"{number}/", "mask")
        image = f"{stems[0]}" if is_acdc else f"{stems[0]}img"
        save(root / "scans" / f"{image}.nii.gz", fields["img"], affine, tuple(fields["px"]))
        if "lab" in fields:
            label = f"{stems[0]}{stems[1]}"
            save(root / "scans" / f"{label}.nii.gz", fields["lab"], affine, tuple(fields["px"]))
    first = next(iter(volumes.values()))
    resolution = 1.36719 if is_acdc else 0.625
    if "cropped_affine" in first:
        resolution = abs(float(first["cropped_affine"][0, 0]))
    size = first["crop_img"].shape
    settings = dataset(
        "acdc" if is_acdc else "case_folders",
        target_resolution=(resolution, resolution),
        img_size_x=size[0],
        img_size_y=size[1],
        label_resampling="nearest",
        **({} if is_acdc else {"num_classes": 3, "struct_name": ("pz", "cz")}),
    )
    cases = get_reader(settings, root).cases()
    with_label = all("lab" in fields for fields in volumes.values())
    return settings, open_cache(settings, cases, with_label=with_label, root=root, progress=False)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "pipeline_*.npz"))
def test_prepared_volumes(path, tmp_path):
    _, volumes = recorded(path)
    settings, prepared = write(tmp_path, volumes)
    reader = get_reader(settings, tmp_path)
    assert len(prepared) == len(volumes)
    for volume, fields in zip(prepared, volumes.values(), strict=True):
        native = reader.read(volume.case, with_label=False)
        if "norm" in fields:
            found = preprocess.normalise(native.image)
            np.testing.assert_allclose(found, fields["norm"], rtol=TOLERANCE, atol=TOLERANCE)
        found = np.moveaxis(volume.image, 0, -1)
        np.testing.assert_allclose(found, fields["crop_img"], rtol=TOLERANCE, atol=TOLERANCE)
        if "crop_lab" in fields:
            np.testing.assert_array_equal(np.moveaxis(volume.label, 0, -1), fields["crop_lab"])
        if "pxread" in fields:
            np.testing.assert_allclose(volume.spacing_mm, fields["pxread"], rtol=TOLERANCE)
        if "affine" in fields:
            np.testing.assert_allclose(volume.affine, fields["affine"], atol=TOLERANCE)
        if "cropped_affine" in fields:
            matrix, _ = cropped_geometry(volume, settings.target_resolution, affine="published")
            np.testing.assert_allclose(matrix, fields["cropped_affine"], atol=TOLERANCE)


def stub(image):
    """Returns the recorded stub network's probabilities (Z, NX, NY, 4) for prepared slices."""
    value = np.asarray(image, np.float64)
    scores = np.stack([np.full_like(value, 0.3), value, 1 - np.abs(value - 0.5), 0.2 + 0.6 * value**2], -1)
    powers = np.exp(4 * scores)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "pipeline_*.npz"))
def test_validation_and_predictions(path, tmp_path):
    data, volumes = recorded(path)
    settings, prepared = write(tmp_path, volumes)
    if "val_img_shapes" in data:
        shapes = [[*volume.image.shape, 1] for volume in prepared]
        np.testing.assert_array_equal(shapes, data["val_img_shapes"])
    if "val_img0" in data:
        expected = data["val_img0"][..., 0]
        np.testing.assert_allclose(prepared[0].image, expected, rtol=TOLERANCE, atol=TOLERANCE)
        np.testing.assert_array_equal(prepared[0].label, data["val_lab0"])
    for volume, name in zip(prepared, volumes, strict=True):
        prediction = data.get(f"pred_{name.split('_')[-1]}")
        if prediction is not None:
            found = preprocess.restore_probabilities(
                stub(volume.image),
                volume.native_shape,
                volume.spacing_mm,
                target_resolution=settings.target_resolution,
            )
            np.testing.assert_array_equal(found, prediction)
