"""One orientation inside, the scan's own outside; labels compared in mm. Expected: SimpleITK, nibabel, and by hand."""

from __future__ import annotations

import dataclasses
import itertools
import re

import nibabel as nib
import numpy as np
import pytest

from fewslice.core.errors import DataError
from fewslice.data import cache
from fewslice.data.geometry_notes import best_orientation, geometry_notes, lie_of
from fewslice.data.io import geometry
from fewslice.data.io.nifti import write_nifti
from fewslice.data.readers import get_reader
from tests.data import headers
from tests.data.headers import KINDS, LPS, SPACING, placed, turn
from tests.data.layouts import dataset, image, label

SHAPE = (11, 14, 4)


def every_way():
    """Yields the axes of all 48 ways to store a volume."""
    for order, signs in itertools.product(itertools.permutations((1, 2, 3)), itertools.product((1, -1), repeat=3)):
        yield tuple(sign * axis for axis, sign in zip(order, signs, strict=True))


def places(affine, shape):
    """Returns (X, Y, Z, 3): where each voxel lies."""
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def test_turning_keeps_every_voxel_in_its_place_and_can_be_undone():
    affine = turn(12) @ turn(-8, 0) @ placed(1, 1, 1)
    here = places(affine, SHAPE)
    for axes in every_way():
        there, matrix = geometry.turned(here, axes), geometry.turned_affine(affine, axes, SHAPE)
        np.testing.assert_allclose(places(matrix, there.shape[:3]), there, atol=1e-9)
        assert np.array_equal(geometry.turned(there, geometry.inverse(axes)), here)
        assert np.allclose(geometry.column_lengths(matrix), geometry.permuted(SPACING, axes))
        assert geometry.axes_between(matrix, affine) == axes


@pytest.mark.parametrize("degrees", [0, 25])
def test_canonical_axes_point_to_r_a_s_and_the_third_stays(degrees):
    affine = turn(degrees) @ placed(1, 1, 1)
    for axes in every_way():
        stored = geometry.turned_affine(affine, axes, SHAPE)
        found = geometry.canonical_axes(stored)
        assert abs(found[2]) == 3
        letters = geometry.letters(geometry.turned_affine(stored, found, geometry.permuted(SHAPE, axes)))
        assert letters == {1: "ASR", 2: "RSA", 3: "RAS"}[abs(axes[2])]


def read(tmp_path, kind="usual", orientation="canonical", **options):
    """Returns (volume, image, label) of a case whose files have a kind of header; the arrays as they are stored."""
    picture, mask = image(shape=SHAPE).astype(np.float32), label(shape=SHAPE).astype(np.uint8)
    headers.write(tmp_path / "scans" / "a" / "img.nii.gz", picture, kind)
    if not (tmp_path / "scans" / "a" / "mask.nii.gz").exists():
        headers.write(tmp_path / "scans" / "a" / "mask.nii.gz", mask, kind)
    reader = get_reader(dataset("case_folders", orientation=orientation), tmp_path)
    return reader.read(reader.cases()[0], **options), picture, mask


def test_however_a_volume_is_stored_it_is_read_alike(tmp_path):
    affine, first = turn(9) @ turn(4, 1) @ LPS, None
    picture, mask = image(shape=SHAPE).astype(np.float32), label(shape=SHAPE).astype(np.uint8)
    settings = dataset("case_folders", orientation="canonical")
    for axes in [(1, 2, 3), (-1, 2, 3), (2, -1, -3), (-2, -1, 3)]:
        root, matrix = tmp_path / str(axes), geometry.turned_affine(affine, axes, SHAPE)
        (root / "scans" / "a").mkdir(parents=True)
        for name, array in (("img", picture), ("mask", mask)):
            nib.save(nib.Nifti1Image(geometry.turned(array, axes), matrix), root / "scans" / "a" / f"{name}.nii.gz")
        cases = get_reader(settings, root).cases()
        (volume,) = cache.open_cache(settings, cases, with_label=True, root=root, progress=False)
        first = first or volume
        for name in ("image", "label", "native_label", "native_shape", "spacing_mm", "affine"):
            np.testing.assert_allclose(getattr(volume, name), getattr(first, name), atol=1e-4)
        assert geometry.letters(volume.affine) == "RAS"
        assert [volume.file_slice(place) for place in range(4)] == ([0, 1, 2, 3] if axes[2] > 0 else [3, 2, 1, 0])
        write_nifti(root / "back.nii.gz", volume.native_label, like=volume.native)
        back = nib.load(root / "back.nii.gz")
        assert np.array_equal(np.asarray(back.dataobj), geometry.turned(mask, axes))
        assert np.allclose(back.affine, matrix, atol=1e-5)


@pytest.mark.parametrize("orientation", ["canonical", "as_stored"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_lies_on_the_scan(tmp_path, kind, orientation):
    itk = pytest.importorskip("SimpleITK")
    volume, _, mask = read(tmp_path, kind, orientation)
    path, scan = tmp_path / "prediction.nii.gz", volume.case.image_path
    write_nifti(path, volume.label, like=volume)
    assert np.array_equal(np.asarray(nib.load(path).dataobj), mask)
    ours, theirs = nib.load(path).header, nib.load(scan).header
    assert np.allclose(nib.load(path).affine, nib.load(scan).affine)
    for name in ("sform_code", "qform_code", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "xyzt_units"):
        assert np.array_equal(ours[name], theirs[name]), name
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        seen = [getattr(itk.ReadImage(str(each)), name)() for each in (path, scan)]
        assert seen[0] == pytest.approx(seen[1], abs=1e-5)


def test_orientation_of_files_that_say_none_stays(tmp_path):
    volume, picture, _ = read(tmp_path, "no_codes")
    assert volume.axes == geometry.STORED and np.array_equal(volume.image, picture)
    assert read(tmp_path, "mirrored", "as_stored", with_label=False)[0].axes == geometry.STORED


@pytest.mark.parametrize("kind", KINDS)
def test_labels_painted_in_an_itk_program_are_taken(tmp_path, kind):
    itk = pytest.importorskip("SimpleITK")
    volume, _, mask = read(tmp_path, kind)
    drawn = itk.ReadImage(str(volume.case.label_path))
    itk.WriteImage(drawn, str(volume.case.label_path))
    again, _, _ = read(tmp_path, kind)
    assert np.array_equal(again.label, volume.label)
    scan = nib.load(volume.case.image_path)
    nib.save(nib.Nifti1Image(mask, scan.affine), volume.case.label_path)  # what most scripts do
    assert np.array_equal(read(tmp_path, kind)[0].label, volume.label)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_saved_with_the_axes_of_another_program_are_turned(tmp_path, kind):
    volume, _, mask = read(tmp_path, kind)
    if kind in ("no_codes", "shear", "wrong_sform", "wrong_sform_4"):
        return  # the header does not say, or not only one thing
    nib.save(nib.as_closest_canonical(nib.load(volume.case.label_path)), volume.case.label_path)
    assert np.array_equal(read(tmp_path, kind)[0].label, volume.label)


def test_a_label_with_other_axes_on_a_scan_without_orientation_is_turned(tmp_path):
    """ITK reads such a scan as LPS and writes that down; another program then stores the label as RAS."""
    itk = pytest.importorskip("SimpleITK")
    volume, _, mask = read(tmp_path, "no_codes")
    path = volume.case.label_path
    itk.WriteImage(itk.ReadImage(str(path)), str(path))
    nib.save(nib.as_closest_canonical(nib.load(path)), path)
    assert not np.array_equal(np.asarray(nib.load(path).dataobj), mask)
    assert np.array_equal(read(tmp_path, "no_codes")[0].label, mask)


@pytest.mark.parametrize(
    "move",
    [turn(0.55), turn(0.55, 0), placed(1, 1, 1, spacing=(1, 1, 1)) - np.eye(4), "mirror", "slice", "larger"],
    ids=["about z", "about x", "far", "mirror", "slice", "larger"],
)
def test_labels_that_lie_elsewhere_are_refused_in_mm(tmp_path, move):
    _, _, mask = read(tmp_path)
    affine = LPS.copy()
    if isinstance(move, str):
        affine[:, 0] *= -1 if move == "mirror" else 1.02 if move == "larger" else 1
        affine[2, 3] += 9.0 if move == "slice" else 0
    elif move.shape == (4, 4) and np.allclose(move[3], [0, 0, 0, 1]):
        affine = move @ LPS
    else:
        affine = LPS + move
    path = tmp_path / "scans" / "a" / "mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, affine), path)
    with pytest.raises(DataError, match=r"a corner [\d.]+ mm off(.|\n)*only its header is wrong") as error:
        read(tmp_path)
    assert error.value.path == str(path) and "egin again" not in str(error.value)


def test_half_a_degree_on_a_large_slice():
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    turned, moved = turn(0.55) @ affine, affine + np.eye(4, k=3) * 0.04
    off = geometry.distance_mm(affine, turned, (320, 320, 3))
    assert off == pytest.approx(2 * np.sin(np.deg2rad(0.55) / 2) * 319 * np.sqrt(2), abs=1e-6)  # 4.33 mm
    found = [geometry.fits([affine], [each], (320, 320, 3)) for each in (affine, moved, turned)]
    assert found == [True, True, False]


def lies(tmp_path, *kinds, **spacing):
    return {f"p{place}": lie_of(read(tmp_path / str(place), kind)[0]) for place, kind in enumerate(kinds)}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("usual", "mirrored", "usual"), r"in several orientations, 2 LPS \(p0, p2\), 1 RPS \(p1\): arrays are turned"),
        (("usual", "usual", "sagittal"), r"does not run alike .*: 2 feet-head \(p0, p1\), 1 left-right \(p2\)"),
        (("usual", "no_codes"), r"1 of 2 volumes have no orientation .*: p1\)"),
        (("pixdim_1",), "pixdim says 1 x 1 x 1 mm, the affine 1.6 x 1.4 x 9 mm in p0"),
        (("usual", "unit_scale"), "the affine 1 x 1 x 1 mm in p1"),
        (("wrong_sform", "wrong_sform"), "sform and qform place all 2 volumes .* mm apart"),
    ],
)
def test_notes_name_the_volumes(tmp_path, kinds, words):
    (found,) = [note for note in geometry_notes(lies(tmp_path, *kinds), "canonical") if re.search(words, note)]
    assert found


def test_pixdim_notes_stand_by_value(tmp_path):
    """Volumes with the same two voxel sizes share a note; others have one of their own."""
    found = lies(tmp_path, "pixdim_1", "unit_scale", "pixdim_1", "usual")
    notes = [note for note in geometry_notes(found, "as_stored") if note.startswith("pixdim says")]
    assert ["p0, p2: pixdim" in note for note in notes] == [True, False]
    assert "pixdim says 1.6 x 1.4 x 9 mm, the affine 1 x 1 x 1 mm in p1:" in notes[1]
    many = {f"q{mm}": dataclasses.replace(found["p1"], spacing_mm=(mm, mm, 9.0)) for mm in (2.0, 3.0, 4.0, 5.0, 6.0)}
    notes = geometry_notes(many, "as_stored")
    assert len(notes) == 4 and notes[3] == "pixdim and affine differ, with other values, in 2 more: q5.0, q6.0"


def test_notes_only_where_something_is_odd(tmp_path):
    assert geometry_notes(lies(tmp_path, "usual", "sform_only", "qform_only", "oblique"), "canonical") == []
    assert geometry_notes(lies(tmp_path / "none", "no_codes", "no_codes"), "canonical") == []
    mixed = geometry_notes(lies(tmp_path / "mixed", "usual", "head_first"), "as_stored")
    assert len(mixed) == 1 and '"canonical" turns them' in mixed[0]
    (lie,) = lies(tmp_path, "usual").values()
    (note,) = geometry_notes(
        {"a": dataclasses.replace(lie, spacing_mm=(5.0, 1.5, 1.5), lengths_mm=(5.0, 1.5, 1.5))}, "canonical"
    )
    assert "5 x 1.5 x 1.5 mm) lies on axis 1 in a" in note
    tilted = {"a": dataclasses.replace(lie, tilt_degrees=44.0)}
    assert "44 degrees" in geometry_notes(tilted, "canonical")[0] and geometry_notes(tilted, "as_stored") == []


def test_oblique_scans_that_are_stored_alike_stay_so(tmp_path):
    (lie,) = lies(tmp_path, "usual").values()

    def lying(tilt, *affines):
        cosines = [affine[:3, :3] / SPACING for affine in affines]
        return [dataclasses.replace(lie, cosines=each, tilt_degrees=tilt) for each in cosines]

    for tilt, affines, found in [
        (43, (turn(43) @ LPS, turn(47) @ LPS, turn(60) @ LPS), "as_stored"),
        (43, (turn(43) @ LPS, turn(43) @ placed(1, -1, 1)), "canonical"),
        (43, (turn(43) @ LPS, turn(43) @ placed(1, 1, 1)), "canonical"),
        (10, (turn(10) @ LPS, LPS), "canonical"),
    ]:
        assert best_orientation(lying(tilt, *affines)) == found


def test_caches_and_digests_change_only_where_arrays_do(tmp_path):
    as_stored = dataset("case_folders", orientation="as_stored")
    canonical = dataclasses.replace(as_stored, orientation="canonical")
    assert "orientation" not in cache.settings(as_stored) and "orientation" in cache.settings(canonical)
    assert "orientation" not in cache.settings(dataclasses.replace(canonical, layout="slices_h5"))
    digests = {}
    for kind, settings in itertools.product(("no_codes", "mirrored"), (as_stored, canonical)):
        read(tmp_path / kind, kind)
        cases = get_reader(settings, tmp_path / kind).cases()
        opened = cache.open_cache(settings, cases, with_label=True, root=tmp_path / kind, progress=False)
        digests.setdefault(kind, set()).add(opened.digest)
    assert {kind: len(found) for kind, found in digests.items()} == {"no_codes": 1, "mirrored": 2}
