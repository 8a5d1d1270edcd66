"""The cache of prepared volumes: what it holds, when it is made again, and that nothing harms it.

Expected values: `fewslice.data.preprocess` (tested by itself) applied to the arrays that the test wrote, and the
rules in the docstrings of `cache`.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fewslice.core import checkpoint, files
from fewslice.core.errors import DataError, FewSliceError
from fewslice.core.locks import folder_lock
from fewslice.data import cache, preprocess
from fewslice.data.cache import build_cache, open_cache
from fewslice.data.readers import get_reader
from fewslice.data.readers.base import Grid
from fewslice.data.scribbles import case_generator, simulate_scribbles
from fewslice.data.verify import describe, examine_dataset
from fewslice.data.volume import image_to_grid, label_to_grid
from tests.data import layouts
from tests.data.layouts import AFFINE, SPACING, dataset, image, label, save
from tests.data.test_readers import real
from tests.golden_files import REPOSITORY


@pytest.fixture
def scans(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    return tmp_path


def build(root, settings=None, **options):
    reader = get_reader(settings or dataset("acdc"), root)
    return build_cache(reader, reader.cases(), with_label=options.pop("with_label", True), progress=False, **options)


def opened(root, settings=None, **options):
    settings = settings or dataset("acdc")
    cases = get_reader(settings, root).cases()
    options = {"with_label": True, **options}
    return open_cache(settings, cases, root=root, progress=False, **options)


def path(root, case="001_ED", name="image.npy"):
    return next(root.glob(f"cropped/*/{case}/{name}"))


def test_holds_the_prepared_volumes(scans):
    volumes = opened(scans)
    assert [volume.case.case_id for volume in volumes] == ["001_ED", "001_ES", "002_ED", "002_ES"]
    grid = {"target_resolution": (1.5, 1.5), "size": (32, 32)}
    for volume, seed in zip(volumes, (10, 11, 20, 21), strict=True):
        expected = preprocess.prepare_image(preprocess.normalise(image(seed)), SPACING, **grid)
        np.testing.assert_array_equal(volume.image, expected)
        np.testing.assert_array_equal(volume.label, preprocess.prepare_label(label(seed), SPACING, **grid))
        assert isinstance(volume.image, np.memmap) and isinstance(volume.label, np.memmap)
        assert not volume.image.flags.writeable
        assert (volume.image.dtype, volume.label.dtype) == (np.float32, np.uint8)
        assert volume.native_shape == (14, 12, 3) and volume.spacing_mm == SPACING
    assert len(volumes[1:3]) == 2 and volumes[1:3][0] is volumes[1]


def test_a_line_for_several_volumes_only(scans, capsys):
    """Lists of one volume, three in a baseline with one label, make no line of a log."""
    cases = get_reader(dataset("acdc"), scans).cases()
    for some in (cases[:1], cases[1:]):
        open_cache(dataset("acdc"), some, with_label=True, root=scans)
    assert capsys.readouterr().err == "Preparing acdc 3/3 0:00\n"


def test_second_opening_makes_nothing(scans):
    first = build(scans)
    before = {entry: entry.stat().st_mtime_ns for entry in scans.rglob("*") if entry.is_file()}
    second = build(scans)
    assert (len(first.done), len(second.done), len(second.skipped)) == (4, 0, 4)
    assert before == {entry: entry.stat().st_mtime_ns for entry in scans.rglob("*") if entry.is_file()}


def test_result_does_not_depend_on_workers(scans):
    build(scans, workers=1)
    one = {p.relative_to(scans): p.read_bytes() for p in scans.glob("cropped/*/*/*")}
    shutil.rmtree(scans / "cropped")
    build(scans, workers=4)
    assert one == {p.relative_to(scans): p.read_bytes() for p in scans.glob("cropped/*/*/*")}


CHANGES = {
    "target_resolution": (1.0, 1.0),
    "img_size_x": 64,
    "percentiles": (2.0, 98.0),
    "anti_aliasing": "off",
    "label_resampling": "nearest",
    "label_map": ((1, 1), (2, 2), (3, 2)),
    "num_classes": 5,
    "image_channel": 0,
}


@pytest.mark.parametrize("name", CHANGES)
def test_settings_that_matter_have_their_own_folder(scans, name):
    old, new = dataset("acdc"), dataclasses.replace(dataset("acdc"), **{name: CHANGES[name]})
    folders = {build(scans, settings).folder for settings in (old, new)}
    assert len(folders) == (1 if getattr(old, name) == CHANGES[name] else 2)


def test_settings_that_do_not_matter_share_the_folder(scans):
    other = dataclasses.replace(dataset("acdc"), mtask_bs=3, how_to_get="", class_weights=(1.0,) * 4)
    assert build(scans, other).folder == build(scans).folder
    assert build(scans).done == []


def test_changed_source_is_prepared_again(scans):
    before = opened(scans)
    save(scans / "scans" / "patient001" / "patient001_frame01.nii.gz", image(99))
    report = build(scans)
    assert report.done == ["001_ED"] and len(report.skipped) == 3
    after = opened(scans)
    assert not np.array_equal(before[0].image, after[0].image) and before.digest != after.digest


def test_touched_source_of_the_same_content_is_not(scans):
    build(scans)
    for source in (scans / "scans").rglob("*.nii.gz"):
        os.utime(source)
    stored = path(scans).stat().st_mtime_ns
    assert build(scans).done == [] and path(scans).stat().st_mtime_ns == stored
    recorded = json.loads(path(scans, name="entry.json").read_text())["sources"]
    stamps = {name: (scans / name).stat().st_mtime_ns for name in recorded}
    assert {name: source["mtime_ns"] for name, source in recorded.items()} == stamps


def test_changed_voxel_size_in_the_table_is_noticed(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    settings = dataset("acdc_h5", spacing_table="spacing.csv")
    build(tmp_path, settings)
    table = tmp_path / "spacing.csv"
    table.write_text(table.read_text().replace("patient002,ED,1.5", "patient002,ED,1.6"))
    assert build(tmp_path, settings).done == ["002_ED"]
    assert opened(tmp_path, settings)[1].spacing_mm == (1.6, 1.25, 8.0)


def _flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def _as_pickle(file):
    with open(file, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        stream.write(b"cos\nsystem\n")


DAMAGE = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-4]),
    "missing": lambda file: file.unlink(),
    "header": lambda file: file.write_bytes(b"?" * 10 + file.read_bytes()[10:]),
    "pickle": _as_pickle,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_array_is_made_again(scans, name):
    good = np.array(opened(scans)[0].image)
    DAMAGE[name](path(scans))
    np.testing.assert_array_equal(opened(scans)[0].image, good)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0}', '{"format": 1, "arrays": {}}'])
def test_damaged_entry_is_made_again(scans, content):
    build(scans)
    path(scans, name="entry.json").write_text(content)
    assert build(scans).done == ["001_ED"]


def _with_its_time(file, change):
    status = file.stat()
    change(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["image.npy", "label.npy", "native_label.npy"])
@pytest.mark.parametrize("place", [6, 80, -5])
def test_flipped_bit_is_prepared_again(scans, name, place, caplog):
    """In the magic number, in the header, in the values; with a new time, and with the one it had."""

    def flip(file):
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)

    good = {key: np.array(getattr(opened(scans)[0], key)) for key in ("image", "label", "native_label")}
    for change in (flip, lambda file: _with_its_time(file, flip)):
        change(path(scans, name=name))
        volume = opened(scans)[0]
        for key, array in good.items():
            np.testing.assert_array_equal(getattr(volume, key), array)
        assert f"{name} is not as it was prepared" in caplog.text
        caplog.clear()
    _with_its_time(path(scans, name=name), flip)
    assert build(scans).done == [] and build(scans, verify=True).done == ["001_ED"]


def test_large_cache_is_compared_beside_the_training(scans, monkeypatch):
    """What depends on a changed array is not written; the repeated command prepares it again."""
    good = np.array(opened(scans)[0].image)
    monkeypatch.setattr(cache, "AT_ONCE", 0)
    _with_its_time(path(scans), _flip)
    opened(scans)
    with pytest.raises(DataError, match="image.npy(.|\n)*Nothing that depends on the array was saved"):
        checkpoint.save_arrays(scans / "weights.npz", {"a": good})
    assert not (scans / "weights.npz").exists()
    np.testing.assert_array_equal(opened(scans)[0].image, good)
    checkpoint.save_arrays(scans / "weights.npz", {"a": good})


def test_copied_cache_is_compared_once(scans):
    """Times are new after a copy; the content says that nothing is to be made."""
    build(scans)
    file = path(scans, name="image.npy")
    time.sleep(0.01)
    file.touch()
    before = file.with_name("entry.json").read_bytes()
    assert build(scans).done == [] and file.stat().st_mtime_ns < file.with_name("entry.json").stat().st_mtime_ns
    assert file.with_name("entry.json").read_bytes() == before


def _edited(change):
    def apply(file):
        entry = json.loads(file.read_text())
        change(entry)
        file.write_text(json.dumps(entry))

    return apply


EDITS = {
    "spacing": lambda entry: entry["spacing_mm"].__setitem__(0, entry["spacing_mm"][0] + 2),
    "affine": lambda entry: entry["affine"][1].__setitem__(3, 7.0),
    "shape": lambda entry: entry["native_shape"].__setitem__(2, 2),
    "header": lambda entry: entry.update(header=entry["header"][:-4] + "AAA="),
    "key": lambda entry: entry["arrays"]["image"].update(sha257=entry["arrays"]["image"].pop("sha256")),
    "arrays": lambda entry: entry.update(arrays=["image"]),
}


@pytest.mark.parametrize("is_old", [False, True], ids=["", "without a checksum"])
@pytest.mark.parametrize("name", EDITS)
def test_changed_entry_is_made_again(scans, name, is_old):
    """One of an earlier version vouches for its arrays only: the rest is read again from the scan."""
    opened(scans)
    file = path(scans, name="entry.json")
    good = file.read_text()
    change = _edited(lambda entry: (EDITS[name](entry), is_old and entry.pop("checksum")))
    _with_its_time(file, change)
    volume = opened(scans)[0]
    assert volume.spacing_mm == SPACING and volume.native_shape == (14, 12, 3)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert file.read_text() == good


def test_labels_stay_closed_unless_asked_for(scans):
    for file in (scans / "scans").rglob("*_gt.nii.gz"):
        file.rename(file.with_suffix(".away"))
    volumes = opened(scans, with_label=False)
    assert all(volume.label is None for volume in volumes)
    with pytest.raises(FewSliceError, match="4 volumes cannot be used(.|\n)*without a label"):
        opened(scans)
    for file in (scans / "scans").rglob("*.away"):
        file.rename(file.with_suffix(".gz"))
    assert len(build(scans).done) == 4 and build(scans, with_label=False).done == []
    assert opened(scans, with_label=False).digest == volumes.digest
    assert opened(scans, with_label=False)[0].label is None


def test_refused_volume_does_not_stop_the_others(scans):
    image_path = scans / "scans" / "patient001" / "patient001_frame02.nii.gz"
    image_path.write_bytes(image_path.read_bytes()[:-9])
    report = build(scans)
    assert list(report.refused) == ["001_ES"] and len(report.done) == 3
    assert "3 prepared, 0 up to date, 1 refused" in report.describe() and str(image_path) in report.describe()
    with pytest.raises(DataError, match="patient001_frame02"):
        opened(scans)


def test_notes_are_kept(scans):
    save(scans / "scans" / "patient001" / "patient001_frame01.nii.gz", image() * 0 + 3)
    corner = label() * 0
    corner[0, 0, 0] = 2
    save(scans / "scans" / "patient002" / "patient002_frame01_gt.nii.gz", corner)
    settings = dataset("acdc", target_resolution=(0.1, 0.1))
    for _ in range(2):
        notes = build(scans, settings).notes
        assert "constant (3)" in notes["001_ED"][0] and "nothing of myo is left" in notes["002_ED"][0]


def test_manifest_lists_everything(scans):
    folder = build(scans).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["cases"]) == ["001_ED", "001_ES", "002_ED", "002_ES"]
    assert manifest["settings"]["target_resolution"] == [1.5, 1.5]
    sources = manifest["cases"]["002_ES"]["sources"]["scans/patient002/patient002_frame02.nii.gz"]
    assert set(sources) == {"sha256", "size", "mtime_ns"} and manifest["settings"]["format"] == cache.FORMAT


@pytest.mark.parametrize("harm", ["missing", "damaged", "outdated"])
def test_manifest_is_mended(scans, harm):
    """A kill can come between the last entry and the manifest, and while it is written."""
    file = build(scans).folder / "manifest.json"
    good = file.read_text()
    halves = [file.with_name(".manifest.json.x.tmp.json"), file.parent / "001_ED" / ".entry.json.x.tmp.json"]
    for half in halves:
        half.write_text("{")
    if harm == "missing":
        file.unlink()
    else:
        file.write_text(good[:-9] if harm == "damaged" else good.replace("002_ES", "002_XX"))
    assert build(scans).done == []
    assert file.read_text() == good and not any(half.exists() for half in halves)


def test_a_ready_cache_is_read_once(scans, monkeypatch):
    """Each entry for all checks and the opening; the manifest is compared by its time and the number of its cases."""
    opened(scans)
    read = []
    monkeypatch.setattr(cache, "_entry", lambda file, entry=cache._entry: read.append(file) or entry(file))
    opened(scans)
    assert sorted(read) == sorted(scans.glob("cropped/*/*/entry.json")) and len(read) == 4
    shutil.rmtree(path(scans).parent)
    settings = dataset("acdc")
    build_cache(get_reader(settings, scans), get_reader(settings, scans).cases()[1:], with_label=True, progress=False)
    assert sorted(json.loads(next(scans.glob("cropped/*/manifest.json")).read_text())["cases"])[0] == "001_ES"


def test_full_disk_stops_with_one_message(scans, monkeypatch):
    def full(target, _):
        raise files.writing_error(target, OSError(28, "No space left on device"))

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(FewSliceError, match="No space left on device(.|\n)*repeat the same command"):
        build(scans)


def test_one_file_for_image_and_label_serves_both(tmp_path):
    """In .h5 volumes both lie in one file: labels that are missing in the cache are added, others not made again."""
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    settings = dataset("acdc_h5", spacing_table="spacing.csv")
    without = opened(tmp_path, settings, with_label=False)
    assert build(tmp_path, settings, with_label=False).done == []
    assert build(tmp_path, settings).done == ["001_ED", "002_ED"], "a cache without labels is not used where they count"
    volumes = opened(tmp_path, settings)
    grid = {"target_resolution": (1.5, 1.5), "size": (32, 32)}
    for seed, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.label, preprocess.prepare_label(label(seed), SPACING, **grid))
    assert build(tmp_path, settings, with_label=False).done == build(tmp_path, settings).done == []
    assert opened(tmp_path, settings, with_label=False).digest == without.digest


def test_label_changed_while_only_images_were_asked_for(tmp_path):
    """All files are copied anew, one label with another content; pretraining comes first and looks at images only."""
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    build(tmp_path)
    for source in (tmp_path / "scans").rglob("*.nii.gz"):
        os.utime(source)
    save(tmp_path / "scans" / "patient001" / "patient001_frame01_gt.nii.gz", label(77))
    assert build(tmp_path, with_label=False).done == []
    assert build(tmp_path).done == ["001_ED"]
    grid = {"target_resolution": (1.5, 1.5), "size": (32, 32)}
    np.testing.assert_array_equal(opened(tmp_path)[0].label, preprocess.prepare_label(label(77), SPACING, **grid))


def test_label_that_was_taken_away_is_not_served(tmp_path):
    """The stored one would be taken for the truth; images can still be opened."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    opened(tmp_path)
    next(tmp_path.rglob("*frame01_gt.nii.gz")).unlink()
    with pytest.raises(DataError, match="an image without a label"):
        opened(tmp_path)
    with pytest.raises(DataError, match="an image without a label"):
        opened(tmp_path, dataset("acdc", scribbles="simulated"), with_label=False, with_scribble=True)
    assert len(opened(tmp_path, with_label=False)) == 2


def stamps(root, *names):
    return {file: file.stat().st_mtime_ns for name in names for file in root.glob(f"cropped/*/*/{name}")}


def test_native_labels_and_headers_are_kept(tmp_path):
    """Evaluation needs no scan: what it takes from the file lies in the cache."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    volumes = opened(tmp_path)
    reader = get_reader(dataset("acdc"), tmp_path)
    for volume in volumes:
        expected = reader.read(volume.case)
        assert isinstance(volume.native_label, np.memmap) and not volume.native_label.flags.writeable
        np.testing.assert_array_equal(volume.native.label, expected.label)
        assert volume.native.header.binaryblock == expected.header.binaryblock
        assert volume.native.spacing_mm == expected.spacing_mm and volume.native.case is volume.case
    assert opened(tmp_path, with_label=False)[0].native_label is None


def test_cache_of_an_earlier_version_is_completed(tmp_path):
    """Native labels and headers came later: they are added, and nothing else is made again."""
    layouts.acdc(tmp_path, {"001": (1, 2)})
    before = opened(tmp_path)
    for file in tmp_path.glob("cropped/*/*/entry.json"):
        entry = json.loads(file.read_text())
        del entry["header"], entry["arrays"]["native_label"], entry["checksum"]
        file.write_text(json.dumps(entry))
        file.with_name("native_label.npy").unlink()
    kept = stamps(tmp_path, "image.npy", "label.npy")
    assert build(tmp_path).done == ["001_ED", "001_ES"] and build(tmp_path).done == []
    arrays = stamps(tmp_path, "image.npy", "label.npy")
    assert len(arrays) == 4 and arrays.items() <= kept.items()
    after = opened(tmp_path)
    assert after.digest == before.digest
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old.native_label, new.native_label)
        assert old.header.binaryblock == new.header.binaryblock


def test_new_label_leaves_the_image_as_it_is(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2)})
    build(tmp_path)
    image = stamps(tmp_path, "image.npy")
    save(tmp_path / "scans" / "patient001" / "patient001_frame01_gt.nii.gz", label(77))
    np.testing.assert_array_equal(opened(tmp_path)[0].native_label, label(77))
    assert stamps(tmp_path, "image.npy") == image
    path(tmp_path, name="native_label.npy").write_bytes(b"")
    assert build(tmp_path).done == ["001_ED"] and stamps(tmp_path, "image.npy") == image


def h5_settings(**changes):
    return dataset("acdc_h5", spacing_table="spacing.csv", **{"scribbles": "file", **changes})


@pytest.fixture
def packed(tmp_path):
    layouts.h5(tmp_path, {"patient001_frame01": "ED", "patient002_frame01": "ED"})
    return tmp_path


def test_scribbles_of_the_files(packed):
    settings = h5_settings()
    assert opened(packed, settings)[0].scribble is None
    volumes = opened(packed, settings, with_label=False, with_scribble=True)
    for seed, volume in enumerate(volumes):
        expected = label_to_grid(label(seed, codes=(0, 3, 4)), SPACING, settings, outside=4)
        np.testing.assert_array_equal(volume.scribble, expected)
        assert isinstance(volume.scribble, np.memmap) and volume.label is None
        assert volume.scribble.dtype == np.uint8
        assert volume.scribble[0, 0, 0] == 4, "14 x 12 pixels do not fill the grid; outside nothing is annotated"
    assert build(packed, settings).done == build(packed, settings, with_scribble=True).done == []
    assert opened(packed, settings, with_scribble=True)[1].label.any(), "the label was kept when scribbles were added"


def test_scribble_is_checked_like_a_label(packed):
    settings = h5_settings()
    build(packed, settings, with_scribble=True)
    path(packed, name="scribble.npy").write_bytes(b"")
    assert build(packed, settings, with_scribble=True).done == ["001_ED"]
    assert build(packed, settings, with_label=False, with_scribble=True, verify=True).done == []
    layouts.h5(packed, {"patient001_frame01": "ED", "patient002_frame01": "ED"}, scribble=False)
    report = build(packed, settings, with_label=False, with_scribble=True)
    assert sorted(report.refused) == ["001_ED", "002_ED"]
    assert "scribbles of case 001_ED" in str(report.refused["001_ED"])
    assert 'Set `scribbles = "simulated"`' in str(report.refused["001_ED"])
    assert len(build(packed, settings).done) == 2


def test_simulated_scribbles(packed):
    settings = h5_settings(scribbles="simulated")
    for volume in opened(packed, settings, with_label=False, with_scribble=True):
        seed = {"001": 0, "002": 1}[volume.case.patient_id]
        native = simulate_scribbles(label(seed).astype(np.uint8), 4, rng=case_generator(volume.case.case_id))
        np.testing.assert_array_equal(volume.scribble, label_to_grid(native, SPACING, settings, outside=4))
        assert volume.label is None
    drawn = h5_settings()
    made, found = (opened(packed, kind, with_scribble=True) for kind in (settings, drawn))
    assert made.digest != found.digest and (made[0].scribble != found[0].scribble).any()
    options = {"with_scribble": True}
    for kind, asked in ((settings, options), (drawn, options), (drawn, {})):
        assert build(packed, kind, **asked).done == []
    reader = get_reader(settings, packed)
    case = reader.cases()[0]
    assert reader.read(case).scribble is None
    assert reader.read(case, with_label=False, with_scribble=True).label is None


def test_simulated_scribbles_in_files_of_other_layouts(tmp_path):
    layouts.acdc(tmp_path, {"001": (1, 2), "002": (1, 2)})
    reader = get_reader(dataset("acdc", scribbles="file"), tmp_path)
    with pytest.raises(DataError, match="none in its files"):
        reader.read(reader.cases()[0], with_scribble=True)
    (tmp_path / "scans" / "patient002" / "patient002_frame01_gt.nii.gz").unlink()
    report = build(tmp_path, dataset("acdc", scribbles="simulated"), with_label=None, with_scribble=True)
    assert list(report.refused) == ["002_ED"] and "a label for case 002_ED" in str(report.refused["002_ED"])
    layouts.acdc(tmp_path, {"002": (1, 2)})
    volume = opened(tmp_path, dataset("acdc", scribbles="simulated"), with_scribble=True)[0]
    assert set(np.unique(volume.scribble)) == {0, 1, 2, 3, 4}


def test_scribble_of_another_shape(packed, monkeypatch):
    reader = get_reader(h5_settings(), packed)
    monkeypatch.setattr(reader, "_read_scribble", lambda case: np.full((14, 12, 2), 4, np.uint8))
    with pytest.raises(DataError, match=r"scribbles of shape \(14, 12, 3\)"):
        reader.read(reader.cases()[0])


def test_settings_enter_the_digest_only_when_they_change_something():
    plain = dataset("acdc", scribbles="file")
    written = cache.settings(plain)
    assert not {"grid", "intensity", "scribbles", "num_channels"} & set(written)
    digests = {files.digest(written)}
    changes = ({"grid": "stretch"}, {"intensity": "as_stored"}, {"scribbles": "simulated"}, {"num_channels": 3})
    for change in changes:
        digests.add(files.digest(cache.settings(dataclasses.replace(plain, **change))))
    assert len(digests) == 4, "scribbles of both origins lie side by side"
    stretched = dataset("acdc", grid="stretch")
    without = dataclasses.replace(stretched, target_resolution=(), anti_aliasing="off")
    assert cache.settings(stretched) == cache.settings(without)


def test_stretched_and_as_stored(packed):
    settings = h5_settings(grid="stretch", intensity="as_stored", target_resolution=())
    for seed, volume in enumerate(opened(packed, settings, with_scribble=True)):
        np.testing.assert_array_equal(volume.image, image_to_grid(image(seed), SPACING, settings))
        np.testing.assert_array_equal(volume.label, label_to_grid(label(seed), SPACING, settings))
        assert set(np.unique(volume.image)) <= set(np.unique(image(seed)))
        assert volume.image[0, 0, 0] == image(seed)[0, 0, 0] and volume.image[2, -1, -1] == image(seed)[-1, -1, 2]
    entry = json.loads(path(packed, name="entry.json").read_text())
    assert entry["notes"] == []


def colour(reader, monkeypatch):
    pictures = np.stack([image(seed) for seed in range(3)], axis=-1).astype(np.float32)
    monkeypatch.setattr(type(reader), "_read_image", lambda self, case: Grid(pictures, SPACING, AFFINE))
    return pictures


def test_colour_images(packed, monkeypatch):
    settings = h5_settings(num_channels=3)
    reader = get_reader(settings, packed)
    pictures = colour(reader, monkeypatch)
    volume = opened(packed, settings)[0]
    assert volume.image.shape == (3, 32, 32, 3) and volume.native_shape == (14, 12, 3)
    np.testing.assert_array_equal(volume.image, image_to_grid(pictures, SPACING, settings))
    assert examine_dataset(reader, reader.cases()[:1]).problems == []
    grey = get_reader(h5_settings(), packed)
    with pytest.raises(DataError, match=r"1 channel \(`num_channels`\)(.|\n)*Set `num_channels = 3`"):
        grey.read(grey.cases()[0])
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"3 channels(.|\n)*Set `num_channels = 1`"):
        reader.read(reader.cases()[0])


def test_check_of_a_dataset_tells_about_scribbles(packed):
    reader = get_reader(h5_settings(), packed)
    findings = examine_dataset(reader, reader.cases())
    drawn = [label(seed, codes=(0, 3, 4)) for seed in range(2)]
    share = np.mean([(scribble < 4).mean() for scribble in drawn])
    assert f"  scribbles 2 volumes, {share:.2%} of their pixels" in describe(reader, reader.cases(), findings)
    wrong = int(((drawn[0] < 4) & (drawn[0] != label(0))).sum())
    assert f"001_ED: {wrong} of {(drawn[0] < 4).sum()} scribbled pixels have another class" in findings.notes[0]


BUILD = """
import sys
from tests.data.test_cache import build
from pathlib import Path
print(len(build(Path(sys.argv[1]), workers=1).done), flush=True)
"""


def _start(root):
    command = [sys.executable, "-c", BUILD, str(root)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_killed_build_is_continued(tmp_path):
    layouts.acdc(tmp_path, {f"{number:03d}": (1, 2) for number in range(1, 13)})
    process = _start(tmp_path)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("cropped/*/*/entry.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = build(tmp_path)
    assert report.skipped and report.done and len(report.done) + len(report.skipped) == 24
    killed = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.glob("cropped/*/*/*")}
    shutil.rmtree(tmp_path / "cropped")
    build(tmp_path)
    assert killed == {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.glob("cropped/*/*/*")}


def test_second_process_waits_and_uses_what_the_first_made(scans):
    reader = get_reader(dataset("acdc"), scans)
    with folder_lock(cache.Store(reader).folder):
        process = _start(scans)
        time.sleep(1.5)
        assert process.poll() is None and not list(scans.glob("cropped/*/*/entry.json"))
        store = cache.Store(reader)
        for case in reader.cases():
            store.build(case, frozenset({cache.LABEL}))
    assert process.communicate(timeout=60)[0] == "0\n" and process.returncode == 0


@pytest.mark.realdata
def test_real_volumes(tmp_path):
    reader = real("acdc_h5", "acdc_h5/volumes")
    (tmp_path / "acdc_h5").symlink_to(reader.root / "acdc_h5")
    cases = get_reader(reader.dataset, tmp_path).cases()[:6]
    volumes = open_cache(reader.dataset, cases, with_label=True, root=tmp_path, progress=False)
    for volume in volumes:
        assert volume.image.shape == (volume.native_shape[2], 192, 192) == volume.label.shape
        assert set(np.unique(volume.label)) == {0, 1, 2, 3} and np.isfinite(volume.image).all()
        assert 0.0 < np.median(volume.image[volume.label == 3]) < 1.5
