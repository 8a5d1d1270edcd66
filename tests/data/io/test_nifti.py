"""Strict reading and writing of NIfTI.

Expected values: nibabel's own reading of sound files, and the rule that a damaged file is either refused or gives
exactly what the sound one gives (some bits of a gzip stream, such as its time stamp, mean nothing).
"""

import gzip
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import DataError, FewSliceError
from fewslice.data.io import nifti
from fewslice.data.io.nifti import read_nifti, write_nifti
from tests.data.layouts import AFFINE, SHARED_DATA, SPACING, image, label, save

TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_reads_what_nibabel_reads(tmp_path, dtype, suffix):
    array = image(1, dtype=np.float64).astype(dtype)
    path = save(tmp_path / f"a{suffix}", array)
    result = read_nifti(path)
    assert result.array.dtype == np.float32
    np.testing.assert_array_equal(result.array, array.astype(np.float32))
    np.testing.assert_allclose(result.spacing_mm, SPACING)
    np.testing.assert_array_equal(result.affine, AFFINE)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image], ids=["nifti1", "nifti2"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
def test_reads_both_versions_and_byte_orders(tmp_path, kind, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype("int16").newbyteorder(order))
    nib.save(kind(image(2), AFFINE, header), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").array, image(2))


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_memory_is_that_of_the_result(tmp_path, monkeypatch, slope):
    picture = nib.Nifti1Image(np.zeros((100, 100, 100), np.int16), AFFINE)
    picture.header.set_slope_inter(slope, -1024)
    nib.save(picture, tmp_path / "a.nii.gz")
    monkeypatch.setattr(nifti, "_BLOCK", 24_000)
    tracemalloc.start()
    array = read_nifti(tmp_path / "a.nii.gz").array
    assert tracemalloc.get_traced_memory()[1] < 1.1 * array.nbytes + (1 << 20)  # a buffer of isal
    tracemalloc.stop()
    assert array.dtype == np.float32 and (array == -1024).all()


def test_scale_is_applied(tmp_path):
    picture = nib.Nifti1Image(image(3), AFFINE)
    picture.header.set_slope_inter(0.5, -3.0)
    nib.save(picture, tmp_path / "a.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    raw[112:120] = struct.pack("<ff", 0.5, -3.0)
    (tmp_path / "b.nii").write_bytes(raw)
    stored = np.asarray(nib.load(tmp_path / "b.nii").dataobj)
    np.testing.assert_allclose(read_nifti(tmp_path / "b.nii").array, stored, rtol=1e-6)
    assert not np.allclose(stored, image(3))


@pytest.mark.parametrize(
    "shape, expected",
    [((9, 8), (9, 8, 1)), ((9, 8, 1), (9, 8, 1)), ((9, 8, 4, 1), (9, 8, 4)), ((9, 8, 4, 1, 1), (9, 8, 4)),
     ((1, 8, 4), (1, 8, 4))],
    ids=["2d", "one_slice", "4d_single", "5d_single", "one_row"],
)  # fmt: skip
def test_axes_of_length_one(tmp_path, shape, expected):
    path = save(tmp_path / "a.nii.gz", image(4, shape))
    assert read_nifti(path).array.shape == expected
    np.testing.assert_array_equal(read_nifti(path).array.ravel(), image(4, shape).ravel())


@pytest.mark.parametrize("shape", [(7, 6, 5, 2), (7, 6, 5, 1, 2)], ids=["4d", "5d_vector"])
def test_channel_is_chosen(tmp_path, shape):
    array = image(5, shape)
    path = save(tmp_path / "a.nii.gz", array)
    for channel in (0, 1):
        np.testing.assert_array_equal(read_nifti(path, channel=channel).array, array.reshape(7, 6, 5, 2)[..., channel])
    with pytest.raises(DataError, match="channel 2"):
        read_nifti(path, channel=2)
    with pytest.raises(DataError, match="one value per voxel"):
        read_nifti(path, is_label=True)


@pytest.mark.parametrize("shape", [(7, 6, 1, 5), (7, 6, 1, 1, 5), (7, 6, 1, 1, 1, 5)])
def test_slices_in_a_later_axis(tmp_path, shape):
    path = save(tmp_path / "a.nii.gz", image(5, shape))
    for is_label in (False, True):
        result = read_nifti(path, is_label=is_label)
        np.testing.assert_array_equal(result.array, image(5, shape).reshape(7, 6, 5))
        assert "was read as a volume of 5 slices" in result.notes[0] and "7 x 6 x 1 x" in result.notes[0]
    chosen = read_nifti(path, channel=2)  # channels of a single slice, since one is asked for
    np.testing.assert_array_equal(chosen.array, image(5, shape).reshape(7, 6, 1, 5)[..., 2])


@pytest.mark.parametrize("channel", [0, 2])
def test_other_images_of_a_file_are_told(tmp_path, channel):
    found = read_nifti(save(tmp_path / "a.nii.gz", image(5, (7, 6, 5, 4))), channel=channel)
    text = f"of the 4 images in a file of shape 7 x 6 x 5 x 4 number {channel}, counted from 0, was read"
    assert found.notes == (text,)
    assert read_nifti(save(tmp_path / "b.nii.gz", image(5, (7, 6, 5, 1)))).notes == ()


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
@pytest.mark.parametrize("shape", [(7, 6, 5), (7, 6), (7, 6, 1, 5)])
def test_colours(tmp_path, names, shape):
    parts = [image(seed, shape, np.uint8) for seed in range(len(names))]
    voxels = np.rec.fromarrays(parts, dtype=[(name, "u1") for name in names])
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    red, green, blue = (part.reshape(7, 6, -1).astype(np.float32) for part in parts[:3])
    grey = read_nifti(path)
    np.testing.assert_allclose(grey.array, 0.299 * red + 0.587 * green + 0.114 * blue, rtol=1e-5)
    assert grey.array.dtype == np.float32
    assert f"are {names} and" in grey.notes[-1] and "`num_channels = 3`" in grey.notes[-1]
    colour = read_nifti(path, num_channels=3)
    np.testing.assert_array_equal(colour.array, np.stack([red, green, blue], axis=-1))
    assert not any("RGB" in note for note in colour.notes)
    if names == "RGB":
        write_nifti(tmp_path / "b.nii.gz", voxels.reshape(7, 6, -1), affine=AFFINE, spacing_mm=(1, 1, 1))
        np.testing.assert_array_equal(read_nifti(tmp_path / "b.nii.gz", num_channels=3).array, colour.array)
    with pytest.raises(DataError, match=f"{names} voxels"):
        read_nifti(path, is_label=True)


def test_complex_voxels_are_no_damage(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 2), np.complex64), AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"complex64\).*\n.*magnitude") as error:
        read_nifti(tmp_path / "a.nii.gz")
    assert "fresh copy" not in str(error.value)


def test_spacing_is_pixdim_where_the_affine_has_unit_scale(tmp_path):
    path = save(tmp_path / "a.nii.gz", image(), np.diag([-1.0, -1.0, 1.0, 1.0]), (1.367, 1.367, 10.0))
    result = read_nifti(path)
    np.testing.assert_allclose(result.spacing_mm, (1.367, 1.367, 10.0), rtol=1e-6)
    np.testing.assert_array_equal(result.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


@pytest.mark.parametrize("share", [0, 1, 10, 50, 90, 99, "one_byte", "trailer"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_file_is_refused(tmp_path, share, suffix):
    path = save(tmp_path / f"a{suffix}", image())
    content = path.read_bytes()
    lost = {"one_byte": 1, "trailer": 8}.get(share)
    path.write_bytes(content[:-lost] if lost else content[: len(content) * share // 100])
    with pytest.raises(DataError, match="remedy: ") as error:
        read_nifti(path)
    assert str(path) in str(error.value)


def test_flipped_bit_of_a_gzip_file_is_refused_or_harmless(tmp_path):
    path = save(tmp_path / "a.nii.gz", image(shape=(4, 4, 2), dtype=np.uint8))
    sound, content = read_nifti(path), path.read_bytes()
    refused = 0
    positions = range(0, len(content) * 8, 3)
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            result = read_nifti(path)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(result.array, sound.array)
            assert result.spacing_mm == sound.spacing_mm
            np.testing.assert_array_equal(result.affine, sound.affine)
    assert len(positions) - refused < 8 * 20  # bits of the gzip header: time, system, flags


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_flipped_bit_of_a_header_is_refused_or_readable(tmp_path):
    path = save(tmp_path / "a.nii", image(shape=(4, 4, 2), dtype=np.uint8))
    content = path.read_bytes()
    for position in range(0, 352 * 8, 3):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            result = read_nifti(path)
        except DataError:
            continue
        assert np.isfinite(result.array).all() and np.isfinite(result.affine).all()
        assert result.array.nbytes < 1e6 and all(1e-3 <= size <= 1e3 for size in result.spacing_mm)


def _header(**fields):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 4, 2))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


FALSE_HEADERS = {
    "negative_axis": ({"dim": [3, -4, 4, 2, 1, 1, 1, 1]}, "axes of positive length"),
    "eight_axes": ({"dim": [8, 4, 4, 2, 1, 1, 1, 1]}, "axes of positive length"),
    "two_channel_axes": ({"dim": [5, 2, 2, 2, 2, 2, 1, 1]}, "one axis of channels"),
    "complex": ({"datatype": 32, "bitpix": 64}, "real numbers"),
    "unknown_type": ({"datatype": 3}, "real numbers"),
    "bitpix": ({"bitpix": 16}, "bitpix 8"),
    "offset": ({"vox_offset": np.nan}, "vox_offset"),
    "zero_spacing": ({"pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}, "voxel sizes"),
    "negative_spacing": ({"pixdim": [1, 1, -1, 1, 1, 1, 1, 1]}, "drops the signs"),
    "nan_spacing": ({"pixdim": [1, 1, np.nan, 1, 1, 1, 1, 1]}, "voxel sizes"),
    "metres": ({"xyzt_units": 1}, "units of mm"),
    "infinite_scale": ({"scl_slope": np.inf}, "finite scl_slope"),
    "singular_affine": ({"sform_code": 1}, "invertible affine"),
    "bad_quaternion": ({"qform_code": 1, "quatern_b": 3.0}, "valid qform or sform"),
    "pair": ({"magic": b"ni1"}, "single-file NIfTI"),
    "no_magic": ({"magic": b""}, "single-file NIfTI"),
    "header_size": ({"sizeof_hdr": 340}, "single-file NIfTI"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", FALSE_HEADERS)
def test_false_header_is_refused(tmp_path, name, suffix):
    fields, words = FALSE_HEADERS[name]
    content = _header(**fields) + bytes(32)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(DataError, match=words):
        read_nifti(path)


def test_header_bomb_takes_no_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(_header(dim=[3, 2000, 2000, 1000, 1, 1, 1, 1]) + bytes(1 << 20)))
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(DataError, match="cannot hold them"):
        read_nifti(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_data_behind_the_voxels_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    content = _header() + bytes(40)
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(DataError, match="further data"):
        read_nifti(path)


def test_wrong_names_and_kinds(tmp_path):
    packed = save(tmp_path / "a.nii.gz", image())
    plain = save(tmp_path / "b.nii", image())
    (tmp_path / "c.nii").write_bytes(packed.read_bytes())
    (tmp_path / "d.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "e.nii.gz").write_bytes(b"")
    (tmp_path / "f.nii").write_text("<html>not found</html>" * 40)
    (tmp_path / "g.nii.gz").mkdir()
    (tmp_path / "h.mha").write_bytes(b"x")
    cases = {
        "c.nii": "gzip data",
        "d.nii.gz": "no gzip data",
        "e.nii.gz": "empty file",
        "f.nii": "single-file NIfTI",
        "g.nii.gz": "a folder",
        "h.mha": "ends with .nii",
        "i.nii.gz": "no such file",
    }
    for name, words in cases.items():
        with pytest.raises(DataError, match=words):
            read_nifti(tmp_path / name)


def test_nan_and_infinity_are_counted(tmp_path):
    array = image(dtype=np.float32)
    array[0, 0, :2], array[1, 1, 0] = np.nan, -np.inf
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(DataError, match=f"2 NaN and 1 infinite of {array.size} voxels"):
        read_nifti(path)


def test_value_beyond_float32(tmp_path):
    array = image(dtype=np.float64)
    array[0, 0, 0] = 1e300
    with pytest.raises(DataError, match="range of float32"):
        read_nifti(save(tmp_path / "a.nii.gz", array))


def test_labels_are_integers(tmp_path):
    codes = label().astype(np.float32)
    result = read_nifti(save(tmp_path / "a.nii.gz", codes + 5e-4), is_label=True)
    assert result.array.dtype == np.int32
    np.testing.assert_array_equal(result.array, label())
    codes[0, 0, 0] = 1.5
    with pytest.raises(DataError, match="1 of 504 voxels in between, such as 1.5"):
        read_nifti(save(tmp_path / "b.nii.gz", codes), is_label=True)


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
    with pytest.raises(RuntimeError, match="numeric array"):
        write_nifti(tmp_path / "a.nii.gz", array, affine=AFFINE, spacing_mm=SPACING)


@pytest.mark.realdata
@pytest.mark.parametrize("pattern", ["acdc_nifti/*/*.nii.gz", "hippocampus_msd/*/*1.nii.gz"])
def test_real_files(pattern, tmp_path):
    paths = sorted(SHARED_DATA.glob(pattern))
    if not paths:
        pytest.skip(f"no scans {SHARED_DATA / pattern}; set FEWSLICE_SHARED_DATA")
    for path in paths:
        is_label = "_gt" in path.name or "labels" in path.parent.name
        result, expected = nifti.read_nifti(path, is_label=is_label), nib.load(path)
        np.testing.assert_array_equal(result.array, np.asarray(expected.dataobj).astype(result.array.dtype))
        assert result.spacing_mm == tuple(float(size) for size in expected.header.get_zooms())
        np.testing.assert_array_equal(result.affine, expected.affine)
    write_nifti(tmp_path / "a.nii.gz", result.array, like=result)
    again = nib.load(tmp_path / "a.nii.gz")
    assert again.header.get_zooms() == expected.header.get_zooms()
    np.testing.assert_array_equal(again.affine, expected.affine)
    for code in ("qform_code", "sform_code"):
        assert int(again.header[code]) == int(expected.header[code])
