"""Scans in files of SimpleITK and in DICOM series. Expected: the same voxels in a NIfTI that SimpleITK wrote."""

from __future__ import annotations

import os
import re
import shutil
import zlib

import nibabel as nib
import numpy as np
import pytest

from fewslice.core import limits
from fewslice.core.errors import DataError
from fewslice.data.io.itk import read_image_file
from fewslice.data.io.nifti import write_nifti
from fewslice.data.readers import get_reader
from tests.data import layouts, slicer

sitk = pytest.importorskip("SimpleITK")
SPACING, ORIGIN = (1.5, 1.25, 3.0), (-10.0, 20.0, 5.0)
TILTED = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
ARRAY = np.random.default_rng(0).integers(-900, 900, (7, 6, 4)).astype(np.int16)  # x, y, z


def as_image(array=ARRAY, direction=TILTED):
    """Returns a SimpleITK image of (X, Y, Z) or (X, Y, Z, C) voxels."""
    image = sitk.GetImageFromArray(np.moveaxis(array, (2, 1, 0), (0, 1, 2)), isVector=array.ndim == 4)
    image.SetSpacing(SPACING), image.SetOrigin(ORIGIN), image.SetDirection(direction)
    return image


def save(path, array=ARRAY, is_compressed=True, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    lower = path.with_name(path.name.lower())
    sitk.WriteImage(as_image(array, **how), str(lower), is_compressed)
    return lower.rename(path)


def series(folder, array=ARRAY, *, change=lambda index, facts: None, order=None, slope=None):
    """Writes a DICOM series with ImageFileWriter as SimpleITK's examples do; `change` alters the facts of a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    image, writer = as_image(array), sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = np.reshape(TILTED, (3, 3))
    for index in range(array.shape[2]):
        part = image[:, :, index]
        place = image.TransformIndexToPhysicalPoint((0, 0, index))
        facts = {
            "0008|0060": "CT", "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0018": f"1.2.3.4.{index + 1}",
            "0020|0032": "\\".join(map(str, place)), "0020|0037": "\\".join(map(str, cosines.T[:2].ravel())),
            "0028|0030": f"{SPACING[1]}\\{SPACING[0]}", "0028|1052": "-1024", "0028|1053": "1",
        }  # fmt: skip
        change(index, facts)
        for tag, value in facts.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{(order or range(99))[index]:03d}.dcm"))
        writer.Execute(part)
    if slope:  # of each slice its own, as in PET
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            changed = re.sub(rb"(\x28\x00\x53\x10(?:DS\x02\x00|\x02\x00\x00\x00))1 ", rb"\g<1>.5", content)
            assert changed != content
            path.write_bytes(changed)
    return folder


@pytest.mark.parametrize("name", ["a.nrrd", "raw.nrrd", "a.mha", "raw.MHA", "a.nhdr", "raw.mhd", "a.mhd", "dicom"])
def test_every_kind_equals_the_nifti_of_the_scan(tmp_path, name):
    expected = read_image_file(save(tmp_path / "scan.nii.gz"))
    path = tmp_path / name
    found = read_image_file(
        series(path, order=[3, 0, 2, 1]) if name == "dicom" else save(path, is_compressed="a." in name)
    )
    assert np.array_equal(found.array, expected.array) and found.array.dtype == np.float32
    assert np.allclose(found.affine, expected.affine, atol=1e-5) and np.allclose(found.spacing_mm, SPACING)
    assert read_image_file(path, is_label=True).array.dtype == np.int32


@pytest.mark.parametrize("name", ["a.nrrd", "dicom"])
def test_predictions_overlay_the_scan(tmp_path, name):
    """SimpleITK and nibabel see a written mask where SimpleITK sees the scan, whatever the axes inside."""
    path = tmp_path / "scans" / "imagesTr" / name
    series(path) if name == "dicom" else save(path)
    reader = get_reader(layouts.dataset("paired_folders", orientation="canonical", data_root=tmp_path))
    (case,) = reader.cases()
    volume = reader.read(case, with_label=False)
    assert volume.axes == (-1, -2, 3) and volume.image.shape == ARRAY.shape
    write_nifti(tmp_path / "mask.nii.gz", volume.image, like=volume)
    seen, scan = sitk.ReadImage(str(tmp_path / "mask.nii.gz")), as_image()
    assert np.array_equal(sitk.GetArrayFromImage(seen).T, ARRAY)
    assert np.allclose(seen.GetOrigin(), scan.GetOrigin(), atol=1e-5)
    assert np.allclose(seen.GetDirection(), scan.GetDirection(), atol=1e-6)
    corner = nib.load(tmp_path / "mask.nii.gz").affine @ [6, 5, 3, 1]
    assert np.allclose(corner[:3], np.multiply(scan.TransformIndexToPhysicalPoint((6, 5, 3)), (-1, -1, 1)), atol=1e-4)
    before = reader.facts(case)
    if name == "dicom":  # a slice that vanishes changes the volume, though all other files are as they were
        assert len(reader.source_files(case)) == 4
        (path / "003.dcm").unlink()
        assert reader.facts(case) != before


def test_slope_and_intercept_are_those_of_each_slice(tmp_path):
    folder = series(tmp_path / "a", slope=0.5)
    series(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "002.dcm", folder / "002.dcm")
    stored = ARRAY.astype(np.float32) + 1024
    expected = stored * 0.5 - 1024
    expected[..., 2] = ARRAY[..., 2]
    assert np.array_equal(read_image_file(folder).array, expected)


def _set(tag, *values):
    return lambda index, facts: facts.update({tag: values[index]} if values[index] is not None else {})


def _shifted(index, facts):
    x, y, z = map(float, facts["0020|0032"].split("\\"))
    facts["0020|0032"] = f"{x + 0.4 * index}\\{y}\\{z}"


def _unequal(index, facts):
    x, y, z = map(float, facts["0020|0032"].split("\\"))
    facts["0020|0032"] = f"{x}\\{y}\\{z + 3 * (index > 1)}"


def _same_place(index, facts):
    if index == 3:
        facts["0020|0032"] = f"{ORIGIN[0]}\\{ORIGIN[1]}\\{ORIGIN[2]}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("0020|000e", "1.2", "1.2", "1.2", "1.9"), r"1.2 \(000.dcm, 3 in all\) and 1.9 \(003.dcm"),
        (_set("0008|0008", *["DERIVED\\PRIMARY\\AXIAL"] * 3, "ORIGINAL\\PRIMARY\\LOCALIZER"), r"localiser \(003"),
        (_set("0020|0037", *["1\\0\\0\\0\\1\\0"] * 3, "0\\1\\0\\0\\0\\1"), "one directions of"),
        (_set("0008|0008", *["ORIGINAL\\PRIMARY\\M\\MOSAIC"] * 4), "one slice per DICOM file"),
        (_unequal, r"distances of 3 to 6 mm: a gap after 001.dcm"),
        (_shifted, r"a shift of 1.2 mm .*gantry tilt of 7.59 degrees"),
        (_same_place, r"4 files at 3 places, such as 000.dcm and 003.dcm"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_single_volume(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read_image_file(series(tmp_path / "a", change=change))


def test_damaged_and_foreign_files_in_a_series(tmp_path):
    folder = series(tmp_path / "a")
    (folder / "notes.txt").write_text("of the radiographer")
    assert read_image_file(folder).notes == ("beside its DICOM files are notes.txt, which were passed over",)
    whole = (folder / "002.dcm").read_bytes()
    for content in (whole[:-20], whole[:200], b""):
        (folder / "002.dcm").write_bytes(content)
        with pytest.raises(DataError, match="expected: an intact file"):
            read_image_file(folder)
    (folder / "002.dcm").write_bytes(whole.replace(b"1.25\\1.5", b"1.35\\1.5"))
    with pytest.raises(DataError, match="one pixel size of"):
        read_image_file(folder)
    (folder / "002.dcm").write_bytes(whole)
    other = series(tmp_path / "b", ARRAY[:5])
    shutil.copy(other / "000.dcm", folder / "000.dcm")
    with pytest.raises(DataError, match="one size of"):
        read_image_file(folder)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 5, 5), np.uint8)), str(folder / "000.dcm"))
    with pytest.raises(DataError, match="3 frames"):
        read_image_file(folder)
    (folder / "000.dcm").write_bytes(whole.replace(b"\x20\x00\x37\x00", b"\x20\x00\x39\x00"))
    with pytest.raises(DataError, match="ImageOrientationPatient"):
        read_image_file(folder)
    (folder / "000.dcm").unlink()
    (folder / "000").symlink_to(tmp_path / "annex")
    with pytest.raises(DataError, match="a link to .*annex, which is not there"):
        read_image_file(folder)
    (tmp_path / "p.nii.gz").mkdir()
    with pytest.raises(DataError, match="Take it out of its folder"):
        read_image_file(tmp_path / "p.nii.gz")


@pytest.mark.parametrize("name", ["a.nrrd", "raw.nrrd", "a.mha", "raw.mha", "a.mhd", "raw.nhdr", "a.nhdr"])
@pytest.mark.parametrize("damage", ["truncated", "one byte", "flipped", "longer"])
def test_damaged_voxels(tmp_path, name, damage):
    """SimpleITK reads most of these without a word."""
    path = save(tmp_path / name, is_compressed="a." in name)
    data = next((each for each in tmp_path.iterdir() if each != path), path)
    content = data.read_bytes()
    if damage == "flipped" and "raw" in name:
        return
    changed = {
        "truncated": content[:-50],
        "one byte": content[:-1],
        "flipped": content[:-60] + bytes([content[-60] ^ 85]) + content[-59:],
        "longer": content + b"12345",
    }[damage]
    data.write_bytes(changed)
    with pytest.raises(DataError, match="expected: (336 bytes of voxels|a complete gzip|an intact gzip)"):
        read_image_file(path)


def test_what_a_header_claims(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.mha"
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nElementSpacing = 1 1 1\n"
        "DimSize = 20000 20000 20000\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    bomb.write_bytes(header.encode() + zlib.compress(bytes(1000)))
    with pytest.raises(DataError, match="limit of 2.5 GB"):
        read_image_file(bomb)
    text = header.replace("20000 20000 20000", "1 1 1\nElementNumberOfChannels = 2000000000")
    bomb.write_bytes(text.encode() + zlib.compress(bytes(1000)))
    with pytest.raises(DataError, match="limit of 2.5 GB"):
        read_image_file(bomb)
    monkeypatch.setattr(limits, "_most", [1e-7])
    for path in (save(tmp_path / "a.nrrd"), series(tmp_path / "s")):
        with pytest.raises(DataError, match="--max_gb"):
            read_image_file(path)


def test_files_that_are_missing_or_special(tmp_path):
    path = save(tmp_path / "a.mhd")
    (data,) = (each for each in tmp_path.iterdir() if each != path)
    data.unlink()
    with pytest.raises(DataError, match=f"(?s){data.name}.*Put it beside a.mhd"):
        read_image_file(path)
    os.mkfifo(data)
    os.mkfifo(tmp_path / "b.nrrd")
    for each in (path, tmp_path / "b.nrrd"):
        with pytest.raises(DataError, match="a pipe"):
            read_image_file(each)
    with pytest.raises(DataError, match="no such file"):
        read_image_file(tmp_path / "c.mha")
    (tmp_path / "d.mha").write_text("not an image")
    with pytest.raises(DataError, match="found: +File cannot be read"):
        read_image_file(tmp_path / "d.mha")


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nii.gz"])
def test_several_values_per_voxel(tmp_path, name):
    colours = np.random.default_rng(1).integers(0, 255, (7, 6, 4, 3)).astype(np.uint8)
    path = save(tmp_path / name, colours)
    assert np.array_equal(read_image_file(path, num_channels=3).array, colours)
    grey = read_image_file(path)
    assert np.allclose(grey.array, colours @ np.array([0.299, 0.587, 0.114]), atol=1e-3) and "grey" in grey.notes[0]
    flat = read_image_file(save(tmp_path / f"flat{name}", colours[:, :, :1]))
    assert np.allclose(flat.array, grey.array[:, :, :1])
    many = save(tmp_path / f"b{name}", np.stack([ARRAY] * 4 + [ARRAY + 1], axis=-1))
    assert read_image_file(many, num_channels=5).array.shape == (7, 6, 4, 5)
    one = read_image_file(many, channel=4)
    assert (
        np.array_equal(one.array, ARRAY + 1)
        and "of the 5 images in a file of shape 7 x 6 x 4 x 5 number 4" in one.notes[0]
    )
    nifti = layouts.save(tmp_path / "c.nii", np.stack([ARRAY] * 2, axis=-1))
    assert read_image_file(nifti, num_channels=2).array.shape == (7, 6, 4, 2)
    with pytest.raises(DataError, match="5 values per voxel"):
        read_image_file(many, is_label=True)
    with pytest.raises(DataError, match="channel 7"):
        read_image_file(many, channel=7)


def test_segments_are_labels_by_name(tmp_path):
    """A cropped segmentation whose numbers are swapped, of a scan in another format; what is in none is background."""
    folder = tmp_path / "scans"
    save(folder / "imagesTr" / "p1.mha")
    label = np.zeros(ARRAY.shape, np.uint8)
    label[2:4, 2:5, 1], label[4, 2:5, 1:3] = 1, 2
    affine = read_image_file(folder / "imagesTr" / "p1.mha").affine
    moved = affine @ np.array([[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    part = np.array([0, 2, 1], np.uint8)[label][1:6, 2:5, :3]
    path = folder / "labelsTr" / "p1.seg.nrrd"
    slicer.segmentation(path, part[np.newaxis], moved, [("Cyst", 0, 1), ("liver", 0, 2)])
    settings = layouts.dataset(
        "paired_folders", data_root=tmp_path, num_classes=3, struct_name=("liver", "cyst"), label_map=((7, 1), (9, 2)),
        class_weights=(),
    )  # fmt: skip
    reader = get_reader(settings)
    (case,) = reader.cases()
    assert case.case_id == "p1" and np.array_equal(reader.read(case).label, label)
    slicer.segmentation(path, part[np.newaxis], moved, [("not annotated", 0, 1), ("liver", 0, 2)])
    with pytest.raises(DataError, match="a mask of the whole volume"):
        reader.read(case)
