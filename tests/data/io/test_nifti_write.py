"""Writing NIfTI. Expected values: what nibabel reads from the file, against the header that was asked for."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import FewSliceError
from fewslice.data.io.nifti import read_nifti, write_nifti
from tests.data.layouts import AFFINE, SPACING, image, label


def test_written_header_is_that_of_the_original(tmp_path):
    picture = nib.Nifti1Image(image(), np.diag([-1.0, -1.0, 1.0, 1.0]))
    picture.header.set_zooms((1.367, 1.367, 10.0))
    picture.header.set_xyzt_units("mm", "sec")
    picture.header.set_qform(None, code=0)
    picture.header.set_sform(picture.affine, code=2)
    nib.save(picture, tmp_path / "a.nii.gz")
    write_nifti(tmp_path / "b.nii.gz", label().astype(np.uint8), like=read_nifti(tmp_path / "a.nii.gz"))
    old, new = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
    assert new.header.get_zooms() == old.header.get_zooms()
    assert new.header.get_xyzt_units() == ("mm", "sec")
    assert (int(new.header["qform_code"]), int(new.header["sform_code"])) == (0, 2)
    np.testing.assert_array_equal(new.affine, old.affine)
    np.testing.assert_array_equal(np.asarray(new.dataobj), label())
    assert new.get_data_dtype() == np.uint8


def test_written_affine_and_spacing(tmp_path):
    turned = np.array([[0, -1.25, 0, 3], [1.5, 0, 0, -7], [0, 0, 8, 1], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "a.nii.gz", image(), affine=turned, spacing_mm=SPACING)
    result = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(result.get_sform(), turned, atol=1e-5)
    np.testing.assert_allclose(result.get_qform(), turned, atol=1e-5)
    np.testing.assert_allclose(result.header.get_zooms(), SPACING)
    unit = np.diag([-1.0, -1.0, 1.0, 1.0])
    write_nifti(tmp_path / "b.nii.gz", image(), affine=unit, spacing_mm=(1.367, 1.367, 10))
    result = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(result.header.get_zooms(), (1.367, 1.367, 10), rtol=1e-6)
    np.testing.assert_array_equal(result.affine, unit)
    assert int(result.header["qform_code"]) == 0  # a quaternion would contradict


def test_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, image(), affine=AFFINE, spacing_mm=SPACING)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_nifti(path, image(), affine=AFFINE, spacing_mm=SPACING)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(FewSliceError, match="Cannot write .* No space left"):
        write_nifti(path, image(1), affine=AFFINE, spacing_mm=SPACING)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize("array", [np.zeros((3, 3)), np.zeros((3, 3, 3), complex)], ids=["2d", "complex"])
def test_writer_refuses_what_is_no_volume(tmp_path, array):
    with pytest.raises(RuntimeError, match="3-D numeric"):
        write_nifti(tmp_path / "a.nii.gz", array, affine=AFFINE, spacing_mm=SPACING)
