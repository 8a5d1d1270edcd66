"""Training slices and volumes in .h5 files: layouts of the al-seg branch of WSL4MIS.

Expected values: the arrays that are written here with h5py, and of ACDC's .h5 volumes what their own reader returns.
"""

from __future__ import annotations

import collections
import csv
import json

import h5py
import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.data.cache import build_cache, open_cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.verify import examine_dataset
from fewslice.settings.datasets import load_dataset_config
from tests.data import layouts
from tests.data.layouts import SHARED_DATA, SPACING, dataset
from tests.golden_files import golden_param

ACDC = "acdc_slices_h5"


def arrays(seed=0, shape=(3, 12, 14), *, colours=(), classes=4, scribble=True, label=True):
    """Returns the (z, y, x) arrays of a volume as the files hold them."""
    rng = np.random.default_rng(seed)
    found = {"image": rng.random((*shape, *colours)).astype(np.float32)}
    if label:
        found["label"] = rng.integers(0, classes, shape).astype(np.uint8)
    if scribble:
        found["scribble"] = rng.integers(0, classes + 1, shape).astype(np.uint16)
    return found


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in content.items():
            file.create_dataset(key, data=array)
    return path


def slices(folder, name, content, *, form="{}_slice_{}.h5"):
    """Writes one file per slice."""
    for number in range(len(content["image"])):
        write(folder / form.format(name, number), {key: array[number] for key, array in content.items()})


def same(volume, content):
    np.testing.assert_array_equal(volume.image, np.swapaxes(content["image"], 0, 2))
    assert volume.image.dtype == np.float32
    np.testing.assert_array_equal(volume.label, content["label"].T)
    if "scribble" in content:
        np.testing.assert_array_equal(volume.scribble, content["scribble"].T)


def everything(reader, case):
    """Reads the label if there is one, and the scribble with it."""
    return reader.read(case, with_label=case.label_path is not None)


def test_slices_are_stacked_by_their_numbers(tmp_path):
    content = arrays(shape=(12, 8, 6))  # slice 10 comes after slice 9, though its name comes after slice 1
    slices(tmp_path / "scans" / "training_slices", "patient_3", content)
    reader = get_reader(dataset("slices_h5"), tmp_path)
    (case,) = reader.cases()
    assert (case.case_id, case.patient_id, case.phase) == ("patient_3", "patient_3", "")
    volume = reader.read(case)
    same(volume, content)
    assert volume.image.shape == (6, 8, 12) and volume.spacing_mm == (1, 1, 1)
    np.testing.assert_array_equal(volume.affine, np.diag([-1.0, -1, 1, 1]))
    assert [path.name for path in reader.source_files(case)] == [f"patient_3_slice_{n}.h5" for n in range(12)]
    assert reader.facts(case) == {"spacing_mm": [1, 1, 1], "slices": 12}
    assert get_reader(dataset("slices_h5"), tmp_path).source_files(case) == reader.source_files(case)  # a new reader
    assert "lengths in mm are lengths in voxels" in reader.notes[0]


PUBLISHED = {  # name -> training slices, validation volume, test volume, pattern of the slice files
    "chaos_ct": ("patient_10", "patient_14", "patient_22", "{}_slice_{}.h5"),
    "chaos_mri": ("patient01", "patient_03_volume", "patient_31_volume", "{}_slice_{}.h5"),
    "mscmr": ("patient_13", "patient_1", "patient_10", "{}_slice_{}.h5"),
    "lvsc": ("DET0001101_SA1", "DET0005001_LA1", "DET0014201_SA2", "{}_slice_{}.h5"),
    "davis": ("bear", "cows", "blackswan", "{}_slice_{:05d}.h5"),
    "davis2": ("bear", "cows", "blackswan", "{}_slice_{:05d}.h5"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts(tmp_path, name):
    settings = load_dataset_config(name)
    train, val, test, form = PUBLISHED[name]
    options = {
        "classes": settings.num_classes,
        "scribble": name == "mscmr",
        "colours": (3,) if name.startswith("davis") else (),
    }
    training = arrays(1, label=name != "mscmr", **options)
    whole = arrays(2, (4, 12, 14), **options)
    folder = tmp_path / settings.data_path_tr
    raised = {**training, "image": training["image"] * (255 if name.startswith("davis") else 1)}
    slices(folder / "training_slices", train, raised, form=form)
    write(folder / "val_volumes" / f"{val}.h5", whole)
    write(folder / "testing_volumes" / f"{test}.h5", whole)
    reader = get_reader(settings, tmp_path)
    by_id = {case.case_id: case for case in reader.cases()}
    assert set(by_id) == {train, val, test}
    listed = {train: settings.splits.train_ids("al", "c1"), val: settings.splits.val_ids("al", "c1")}
    for case_id, ids in {**listed, test: settings.splits.test_ids()}.items():
        assert by_id[case_id].patient_id in ids
        assert find_cases(reader, [by_id[case_id].patient_id], settings.phases)[0].image_path
    same(everything(reader, by_id[val]), whole)
    volume = everything(reader, by_id[train])
    np.testing.assert_allclose(volume.image, np.swapaxes(training["image"], 0, 2), rtol=1e-6)
    assert (by_id[train].label_path is None) == (name == "mscmr") and reader.source_files(by_id[train])
    if name != "mscmr":
        assert volume.scribble is None
        np.testing.assert_array_equal(volume.label, training["label"].T)


def test_several_volumes_of_one_patient(tmp_path):
    settings = load_dataset_config("lvsc")
    folder = tmp_path / settings.data_path_tr / "training_slices"
    for plane in ("DET0001101_SA1", "DET0001101_SA10", "DET0001101_LA2", "DET0001301_SA1"):
        slices(folder, plane, arrays(classes=2, scribble=False))
    write(folder / "readme.h5", {"image": np.zeros((2, 2))})
    reader = get_reader(settings, tmp_path)
    found = find_cases(reader, ["DET0001101"], ("",))
    assert sorted(case.case_id for case in found) == ["DET0001101_LA2", "DET0001101_SA1", "DET0001101_SA10"]
    assert any("readme.h5 does not fit `patient_pattern`" in note for note in reader.notes)


def test_scribble_without_label(tmp_path):
    content = arrays(label=False)
    slices(tmp_path / "scans" / "training_slices", "patient_13", content)
    reader = get_reader(dataset("slices_h5"), tmp_path)
    (case,) = reader.cases()
    assert case.label_path is None
    with pytest.raises(DataError, match="an image without a label"):
        reader.read(case)
    assert reader.has_scribble(case) and examine_dataset(reader, [case]).problems == []
    volume = reader.read(case, with_label=False, with_scribble=True)
    np.testing.assert_array_equal(volume.scribble, content["scribble"].T)
    np.testing.assert_array_equal(volume.image, content["image"].T)
    assert volume.label is None and reader.read(case, with_label=False).scribble is None


def test_scribbles_alone_reach_the_cache(tmp_path):
    settings = load_dataset_config("mscmr", {"img_size_x": "32", "img_size_y": "32"})
    content = arrays(shape=(2, 32, 32), label=False)
    slices(tmp_path / settings.data_path_tr / "training_slices", "patient_13", content)
    cases = get_reader(settings, tmp_path).cases()
    options = {"root": tmp_path, "progress": False}
    for _ in range(2):
        (volume,) = open_cache(settings, cases, with_label=False, with_scribble=True, **options)
        np.testing.assert_array_equal(volume.scribble, content["scribble"].transpose(0, 2, 1))
        np.testing.assert_array_equal(
            volume.image, content["image"].transpose(0, 2, 1)
        )  # as stored, nothing to stretch
    with pytest.raises(DataError, match="an image without a label"):
        open_cache(settings, cases, with_label=True, **options)


def test_a_slice_more_or_less_is_noticed_by_the_cache(tmp_path):
    settings = load_dataset_config("acdc_wsl4mis", {"img_size_x": "32", "img_size_y": "32"})
    folder = tmp_path / settings.data_path_tr / "ACDC_training_slices"
    content = arrays(shape=(3, 40, 48))
    slices(folder, "patient001_frame01", content)
    last = folder / "patient001_frame01_slice_2.h5"
    bytes_of_last = last.read_bytes()

    def build():
        reader = get_reader(settings, tmp_path)
        report = build_cache(reader, reader.cases(), with_label=True, progress=False)
        (volume,) = open_cache(settings, reader.cases(), with_label=True, root=tmp_path, progress=False)
        return len(report.done), len(volume.image)

    assert [build(), build()] == [(1, 3), (0, 3)]
    last.unlink()
    assert [build(), build()] == [(1, 2), (0, 2)]
    last.write_bytes(bytes_of_last)
    assert build() == (1, 3)


def test_colour_and_simulated_scribbles_reach_the_cache(tmp_path):
    settings = load_dataset_config("davis", {"img_size_x": "32", "img_size_y": "64"})
    content = arrays(shape=(2, 40, 48), colours=(3,), classes=5, scribble=False)
    slices(tmp_path / settings.data_path_tr / "training_slices", "bear", content, form="{}_slice_{:05d}.h5")
    reader = get_reader(settings, tmp_path)
    options = {"with_label": True, "with_scribble": True, "root": tmp_path, "progress": False}
    (volume,) = open_cache(settings, reader.cases(), **options)
    assert volume.image.shape == (2, 32, 64, 3) and volume.label.shape == volume.scribble.shape == (2, 32, 64)
    assert set(np.unique(volume.label)) == {0, 1} and 2 in volume.scribble  # any object is one; 2 = not annotated


def damaged(change):
    """Returns a function that changes one slice file."""

    def apply(folder):
        change(folder / "p_slice_1.h5")

    return apply


def change(key, array):
    def apply(path):
        with h5py.File(path, "a") as file:
            del file[key]
            if array is not None:
                file[key] = array

    return damaged(apply)


DAMAGE = {
    "gap": (damaged(lambda p: p.unlink()), "p_slice_2.h5\n.*0, 1, 2, ...*\n.*no slice 1 before"),
    "start": (lambda f: (f / "p_slice_0.h5").unlink(), "p_slice_1.h5\n.*\n.*no slice 0 before"),
    "twice": (damaged(lambda p: p.with_name("p_slice_01.h5").write_bytes(p.read_bytes())), "p_slice_01.h5 and p_slice"),
    "shape": (change("image", np.zeros((12, 13), np.float32)), r"slice_1.h5\n.*\(12, 14\).*slice_0.h5\n.*\(12, 13\)"),
    "label_shape": (change("label", np.zeros((13, 14), np.uint8)), r"`label` of shape \(12, 14\)"),
    "volume": (change("image", np.zeros((3, 12, 14), np.float32)), r"2-D array `image` \(y, x\)"),
    "no_label": (change("label", None), "`label`"),
    "half": (change("label", np.full((12, 14), 0.5)), "whole numbers"),
    "some_scribbles": (change("scribble", None), "slice_1.h5\n.*`scribble` in every slice(.|\n)*1 of 3"),
    "scribble": (change("scribble", np.full((12, 14), 5, np.uint8)), "0 to 4"),
    "code": (change("label", np.full((12, 14), 9, np.uint8)), "9 .168 voxels"),
    "nan": (change("image", np.full((12, 14), np.nan, np.float32)), "168 NaN or infinite of 504"),
    "no_h5": (damaged(lambda p: p.write_bytes(b"x" * 99)), "slice_1.h5\n.*intact .h5"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_slices(tmp_path, name):
    folder = tmp_path / "scans" / "training_slices"
    slices(folder, "p", arrays())
    spoil, words = DAMAGE[name]
    spoil(folder)
    reader = get_reader(dataset("slices_h5"), tmp_path)
    with pytest.raises(DataError, match=words):
        reader.read(reader.cases()[0])


COLOUR = {"num_channels": 3}


@pytest.mark.parametrize("top, divisor", [(1, 1), (0.2, 1), (255, 255), (60, 255)])
def test_colours_become_0_to_1(tmp_path, top, divisor):
    content = arrays(colours=(3,))
    content["image"] *= top / content["image"].max()
    slices(tmp_path / "scans" / "training_slices", "bear", content, form="{}_slice_{:05d}.h5")
    write(tmp_path / "scans" / "val_volumes" / "cows.h5", content)
    reader = get_reader(dataset("slices_h5", **COLOUR), tmp_path)
    for case in reader.cases():
        volume = reader.read(case)
        assert volume.image.shape == (14, 12, 3, 3) and volume.label.shape == (14, 12, 3)
        np.testing.assert_allclose(volume.image, np.swapaxes(content["image"], 0, 2) / divisor, rtol=1e-6)


@pytest.mark.parametrize(
    "image, settings, words",
    [
        (np.full((3, 12, 14, 3), 300.0), COLOUR, "0 to 255(.|\n)*300"),
        (np.full((3, 12, 14, 3), -1.0), COLOUR, "-1 to -1"),
        (np.zeros((3, 12, 14, 4)), COLOUR, "4 channels"),
        (np.zeros((3, 12, 14)), COLOUR, r"4-D array `image` \(z, y, x, rgb\)"),
        (np.zeros((3, 12, 14, 3)), {}, r"3-D array `image` \(z, y, x\)"),
        (np.zeros((3, 12, 15, 3)), COLOUR, r"shape \(15, 12, 3\), as its image"),
    ],
)
def test_false_colours(tmp_path, image, settings, words):
    write(tmp_path / "scans" / "volumes" / "a.h5", {**arrays(), "image": image})
    reader = get_reader(dataset("slices_h5", **settings), tmp_path)
    with pytest.raises(DataError, match=words):
        reader.read(reader.cases()[0])


def test_one_volume_in_two_folders(tmp_path):
    for folder in ("val_volumes", "testing_volumes"):
        write(tmp_path / "scans" / folder / "patient_1.h5", arrays())
    with pytest.raises(DataError, match="patient_1 in one folder"):
        get_reader(dataset("slices_h5"), tmp_path).cases()


def table(path, names, columns=("volume", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *([name, *SPACING] for name in names)])


def test_spacing_table(tmp_path):
    slices(tmp_path / "scans" / "training_slices", "patient_1", arrays())
    write(tmp_path / "scans" / "val_volumes" / "patient_2.h5", arrays())
    table(tmp_path / "mm.csv", ["Patient_1"])
    reader = get_reader(dataset("slices_h5", spacing_table="mm.csv"), tmp_path)
    first, second = reader.cases()
    assert reader.read(first).spacing_mm == SPACING and reader.notes == []
    np.testing.assert_array_equal(np.diag(reader.read(first).affine)[:3], np.multiply(SPACING, (-1, -1, 1)))
    with pytest.raises(DataError, match="a row for the volume patient_2"):
        reader.read(second)
    (tmp_path / "mm.csv").write_text("volume,spacing_x_mm\na,1\n")
    with pytest.raises(DataError, match="no column spacing_y_mm; no column spacing_z_mm"):
        reader = get_reader(dataset("slices_h5", spacing_table="mm.csv"), tmp_path)
        reader.facts(reader.cases()[0])


def test_acdc_phases_by_order_and_by_cfg(tmp_path):
    folder = tmp_path / "scans" / "ACDC_training_slices"
    contents = {frame: arrays(frame) for frame in (1, 4, 12)}
    for name in ("patient001_frame01", "patient001_frame12", "patient002_frame04", "patient002_frame12"):
        slices(folder, name, contents[int(name[-2:])])
    write(tmp_path / "scans" / "ACDC_training_volumes" / "patient001_frame01.h5", contents[4])
    write(tmp_path / "scans" / "ACDC_testing_volumes" / "patient101_frame01.h5", contents[1])
    write(tmp_path / "scans" / "ACDC_testing_volumes" / "other.h5", contents[1])
    (folder / "patient002.cfg").write_text("ED: 12\nES: 4\nGroup: HCM\nHeight: 170.5\nNbFrame: 30\nWeight: 80\n")
    reader = get_reader(dataset(ACDC), tmp_path)
    cases = {case.case_id: case for case in reader.cases()}
    frames = {"001_ED": 1, "001_ES": 12, "002_ED": 12, "002_ES": 4, "101_ED": 1}
    assert sorted(cases) == sorted(frames)
    for case_id, frame in frames.items():
        assert (cases[case_id].patient_id, cases[case_id].phase) == tuple(case_id.split("_"))
        same(reader.read(cases[case_id]), contents[frame])  # of 001_ED the slices, not the volume
    assert any("1 volumes are there as slices too" in note for note in reader.notes)
    assert any("other.h5 is not named" in note for note in reader.notes)
    facts = {"group": "HCM", "height_cm": 170.5, "weight_kg": 80.0}
    assert reader.patient_facts(cases["002_ED"]) == reader.patient_facts(cases["002_ES"]) == facts
    assert reader.patient_facts(cases["001_ED"]) == {}


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "patient001.cfg with the lines(.|\n)*3 frames: 1, 4, 12"),
        ("ED: 1\nES: 4\n", "frames of this patient that are here: 1, 4, 12\n.*ED: 1, ES: 4"),
        ("ED: 1\n", "two different frames"),
    ],
)
def test_acdc_frames_that_do_not_fit(tmp_path, text, words):
    folder = tmp_path / "scans" / "ACDC_training_slices"
    for frame in (1, 4, 12):
        slices(folder, f"patient001_frame{frame:02d}", arrays())
    if text:
        (folder / "patient001.cfg").write_text(text)
    with pytest.raises(DataError, match=words):
        get_reader(dataset(ACDC), tmp_path).cases()


@pytest.mark.parametrize("line, words", [("Height: tall", "height_cm\n.*'tall'"), ("Weight: -3", "weight_kg")])
def test_false_facts(tmp_path, line, words):
    folder = layouts.acdc(tmp_path, {"001": (1, 3)})
    (folder / "patient001" / "Info.cfg").write_text(f"ED: 1\nES: 3\n{line}\n")
    reader = get_reader(dataset("acdc"), tmp_path)
    with pytest.raises(DataError, match=words):
        reader.patient_facts(reader.cases()[0])


def test_facts_of_the_other_layouts(tmp_path):
    folder = layouts.acdc(tmp_path, {"001": (1, 3), "002": (1, 3)})
    (folder / "patient002" / "Info.cfg").unlink()
    reader = get_reader(dataset("acdc"), tmp_path)
    assert [reader.patient_facts(case) for case in reader.cases()] == [{"group": "NOR"}] * 2 + [{}] * 2
    layouts.h5(tmp_path / "h5", {"patient001_frame01": "ED"})
    reader = get_reader(dataset("acdc_h5", spacing_table="spacing.csv"), tmp_path / "h5")
    assert reader.patient_facts(reader.cases()[0]) == {}


def test_phases_of_the_settings_are_checked():
    with pytest.raises(ConfigError, match="may hold"):
        load_dataset_config("acdc_wsl4mis", {"phases": "ED,end"})


@pytest.mark.realdata
def test_real_volumes_cut_into_slices(tmp_path):
    """Slices cut from ACDC's .h5 volumes read like the volumes, with the facts of ACDC's own table."""
    root = SHARED_DATA
    if not (root / "acdc_h5" / "volumes").is_dir():
        pytest.skip("no real scans; set FEWSLICE_SHARED_DATA")
    whole = get_reader(load_dataset_config("acdc_h5"), root)
    chosen = [case for case in whole.cases() if case.patient_id in ("043", "081")]
    settings = load_dataset_config("acdc_wsl4mis", {"spacing_table": str(root / whole.dataset.spacing_table)})
    folder = tmp_path / settings.data_path_tr / "ACDC_training_slices"
    for case in chosen:
        with h5py.File(case.image_path) as file:
            slices(folder, case.image_path.stem, {key: file[key][()] for key in file})
    reader = get_reader(settings, tmp_path)
    assert [case.case_id for case in reader.cases()] == [case.case_id for case in chosen]
    for case, other in zip(reader.cases(), chosen, strict=True):
        volume, expected = reader.read(case), whole.read(other)
        for name in ("image", "label", "scribble", "affine", "spacing_mm"):
            np.testing.assert_array_equal(getattr(volume, name), getattr(expected, name))
        assert reader.patient_facts(case) == whole.patient_facts(other)
    assert reader.patient_facts(case) == {"group": "RV", "height_cm": 177.0, "weight_kg": 70.0}  # its row


@pytest.mark.golden
@pytest.mark.realdata
@pytest.mark.parametrize("path", golden_param("coreclr", "acdc_facts*.json"))
def test_real_slices_are_among_those_that_were_counted(path):
    """The 80 patients of the published pool were counted; the end-diastolic volumes of some of them are here."""
    reader = get_reader(load_dataset_config("acdc_wsl4mis", {"data_path_tr": "acdc_h5"}), SHARED_DATA)
    if not reader.folder.is_dir():
        pytest.skip("no real scans; set FEWSLICE_SHARED_DATA")
    facts = json.loads(path.read_text())
    pool = reader.dataset.splits.train_ids("al", "c1")
    cases = [case for case in reader.cases() if case.patient_id in pool and case.phase == "ED"]
    shapes, drawn, empty = collections.Counter(), [], 0
    for case in cases[::2]:
        volume = reader.read(case)
        shapes[str(volume.image.shape[1::-1])] += volume.image.shape[2]
        drawn += np.count_nonzero(volume.scribble < 4, axis=(0, 1)).tolist()
        empty += np.count_nonzero(~volume.label.any(axis=(0, 1)))
    assert len(drawn) > 50
    assert all(count <= facts["shapes"].get(shape, 0) for shape, count in shapes.items())
    assert facts["labelled_pixels_min"] <= min(drawn) <= max(drawn) <= facts["labelled_pixels_max"]
    assert min(drawn) > 0 and empty <= facts["background_only_slices"]


@pytest.mark.parametrize(
    "key, value, settings",
    [("label", 9, {}), ("scribble", 9, {}), ("image", np.nan, {}), ("image", 300, {"num_channels": 3})],
    ids=["label", "scribble", "not finite", "colour"],
)
def test_wrong_value_is_told_of_its_own_file(tmp_path, key, value, settings):
    content = arrays(colours=(3,) if settings else ())
    content[key][1, 3, 4] = value
    slices(tmp_path / "scans" / "training_slices", "p_1", content)
    reader = get_reader(dataset("slices_h5", **settings), tmp_path)
    with pytest.raises(DataError) as caught:
        reader.read(reader.cases()[0], with_scribble=True)
    assert caught.value.path.endswith("p_1_slice_1.h5")
