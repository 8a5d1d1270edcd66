"""Geometry of prepared volumes written as NIfTI.

Expected values: a volume whose intensities are its own world coordinates must still be so after cropping, and the
rule of the published script (in-plane diagonal replaced) by hand.
"""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.cache import open_cache
from fewslice.data.export import cropped_geometry, prepare_dataset, write_cropped
from fewslice.data.readers import get_reader
from tests.data import layouts
from tests.data.layouts import dataset, label, save

GRIDS = {
    "padded": (1.0, 64, np.diag([-1.5, -1.25, 8.0, 1.0])),
    "cropped": (0.25, 32, np.diag([1.5, 1.25, 8.0, 1.0])),
    "coarser": (3.1, 32, np.array([[0, -1.25, 0, 5], [1.5, 0, 0, 9], [0, 0, 8, -20], [0, 0, 0, 1.0]])),
}


def prepared(root, resolution, size, affine, spacing=(1.5, 1.25, 8.0), array=None):
    array = label().astype(np.float64) if array is None else array
    save(root / "scans" / "a" / "img.nii.gz", array, affine, spacing)
    settings = dataset(
        "case_folders",
        target_resolution=(resolution, resolution),
        img_size_x=size,
        img_size_y=size,
        anti_aliasing="off",
        percentiles=(0.0, 100.0),
    )
    cases = get_reader(settings, root).cases()
    return open_cache(settings, cases, with_label=False, root=root, progress=False)[0], settings


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_corrected_affine_keeps_every_voxel_in_its_place(tmp_path, name, axis):
    resolution, size, affine = GRIDS[name]
    grid = np.stack(np.meshgrid(*map(np.arange, (14, 12, 3)), indexing="ij"), -1)
    world = (grid @ affine[:3, :3].T + affine[:3, 3])[..., axis]
    volume, settings = prepared(tmp_path, resolution, size, affine, array=world)
    matrix, spacing = cropped_geometry(volume, settings.target_resolution)
    x, y, z = (np.arange(n) for n in (size, size, 3))
    indices = np.stack(np.meshgrid(x, y, z, indexing="ij"), -1)
    found = (indices @ matrix[:3, :3].T + matrix[:3, 3])[..., axis]
    expected = volume.image.transpose(1, 2, 0) * (world.max() - world.min()) + world.min()
    back = np.linalg.inv(affine) @ matrix
    native = indices @ back[:3, :3].T + back[:3, 3]
    inside = ((native[..., :2] >= 0) & (native[..., :2] <= np.array([13, 11]))).all(-1)
    assert inside.sum() > 20
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(matrix[:3, :3], axis=0), spacing, rtol=1e-6)


def test_unit_scale_affine_gets_its_scale_back(tmp_path):
    unit = np.diag([-1.0, -1.0, 1.0, 1.0])
    volume, settings = prepared(tmp_path, 1.25, 32, unit)
    matrix, spacing = cropped_geometry(volume, settings.target_resolution)
    np.testing.assert_allclose(np.diag(matrix)[:3], np.array([-1, -1, 1]) * spacing)
    assert spacing[2] == 8.0


@pytest.mark.parametrize("sign", [-1, 1])
def test_published_affine(tmp_path, sign):
    affine = np.diag([sign * 1.5, sign * 1.25, 8.0, 1.0])
    affine[:3, 3] = 7, -3, 2
    volume, settings = prepared(tmp_path, 1.1, 32, affine)
    matrix, spacing = cropped_geometry(volume, settings.target_resolution, affine="published")
    expected = affine.copy()
    expected[0, 0] = expected[1, 1] = sign * 1.1
    np.testing.assert_allclose(matrix, expected)
    assert spacing == (1.1, 1.1, 8.0)


@pytest.mark.parametrize("size", [32, 64])
def test_stretched_grid_has_the_corners_of_the_file(tmp_path, size):
    affine = GRIDS["coarser"][2]
    volume, settings = prepared(tmp_path, 1.0, size, affine)
    matrix, spacing = cropped_geometry(volume, (), grid="stretch")
    assert spacing == pytest.approx((1.5 * 13 / (size - 1), 1.25 * 11 / (size - 1), 8.0))
    for corner, native in (((0, 0, 0), (0, 0, 0)), ((size - 1, size - 1, 2), (13, 11, 2))):
        np.testing.assert_allclose(matrix @ (*corner, 1), affine @ (*native, 1), atol=1e-9)
    with pytest.raises(ConfigError, match='Use "corrected"'):
        cropped_geometry(volume, (), affine="published", grid="stretch")


def test_colour_is_one_file_per_channel(tmp_path):
    volume, settings = prepared(tmp_path, 1.0, 32, GRIDS["padded"][2])
    colour = dataclasses.replace(volume, image=np.stack([volume.image, 2 * volume.image], axis=-1))
    assert write_cropped(tmp_path / "out", colour, settings.target_resolution)
    for number in range(2):
        picture = nib.load(tmp_path / "out" / colour.case.case_id / f"img_cropped_{number:04d}.nii.gz")
        np.testing.assert_array_equal(np.asarray(picture.dataobj), (number + 1) * volume.image.transpose(1, 2, 0))


def test_files(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    (tmp_path / "scans" / "patient002" / "patient002_frame01_gt.nii.gz").unlink()
    reader = get_reader(dataset("acdc"), tmp_path)
    report = prepare_dataset(reader, patients=["2"], affine="corrected", progress=False)
    assert report.done == ["002_ED", "002_ES"]
    written = sorted(path.relative_to(tmp_path / "cropped").as_posix() for path in tmp_path.glob("cropped/00*/*.gz"))
    assert written == ["002_ED/img_cropped.nii.gz", "002_ES/img_cropped.nii.gz", "002_ES/mask_cropped.nii.gz"]
    cases = [case for case in reader.cases() if case.case_id == "002_ES"]
    volume = open_cache(reader.dataset, cases, with_label=True, root=tmp_path, progress=False)[0]
    picture = nib.load(tmp_path / "cropped" / "002_ES" / "img_cropped.nii.gz")
    mask = nib.load(tmp_path / "cropped" / "002_ES" / "mask_cropped.nii.gz")
    np.testing.assert_array_equal(np.asarray(picture.dataobj), volume.image.transpose(1, 2, 0))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), volume.label.transpose(1, 2, 0))
    assert picture.get_data_dtype() == np.float32 and mask.get_data_dtype() == np.int16
    folder = tmp_path / "cropped"
    assert not write_cropped(folder, volume, (1.5, 1.5))  # it is there already
    assert write_cropped(folder, volume, (1.5, 1.5), affine="published")
    with pytest.raises(DataError, match="none for 5"):
        prepare_dataset(reader, patients=["5"], progress=False)
