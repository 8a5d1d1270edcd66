"""Datasets of pictures: GlaS and its lists, folders of pictures with masks, from files to scores."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fewslice.active.pool import open_pool
from fewslice.core.errors import DataError
from fewslice.data import cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.readers.loose import find_scans
from fewslice.evaluate.volumes import evaluate_cases
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.experiment import Named
from tests.data.layouts import SHARED_DATA
from tests.golden_files import golden_param
from tests.scripts import running

HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\r\n"
SIZES = {"train": 85, "testA": 60, "testB": 20}
BENIGN = {"train": 37, "testA": 33, "testB": 4}


def write_glas(root, sizes=None, skip="", draw=False):
    """Writes a folder like GlaS: names and grades alone, or small pictures of two sizes too."""
    folder = root / "glas"
    folder.mkdir(parents=True)
    rows = HEADER
    for part, count in (sizes or SIZES).items():
        for number in range(1, count + 1):
            name, grade = f"{part}_{number}", "benign" if number <= BENIGN[part] * count // SIZES[part] else "malignant"
            rows += f"{name},{number % 16}, {grade}, x\r\n" * (name != skip)
            picture = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), np.uint8)
            mask = np.zeros(picture.shape[:2], np.uint8)
            mask[2:8, 3:9], mask[2:8, 12:20] = 5, 2
            for end, array in (("", picture), ("_anno", mask)):
                if draw:
                    Image.fromarray(array).save(folder / f"{name}{end}.bmp")
                else:
                    (folder / f"{name}{end}.bmp").touch()
    (folder / "Grade.csv").write_bytes(rows.encode())
    return root


def draw(root, out, *flags):
    done = running.run("create_splits", "--dataset=glas", f"--data_root={root}", f"--output_dir={out}", *flags)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("albaselines", "create_splits*.json"))
def test_published_lists(tmp_path, path):
    """As many images in each list as published; grades from the table, and a seed: known differences."""
    expected, root = json.loads(path.read_text(encoding="utf-8")), write_glas(tmp_path / "a")
    lists = []
    for number in range(2):
        status, text = draw(root, tmp_path / str(number), "--published")
        assert status == 0, text
        splits = load_dataset_config("glas", folder=tmp_path / str(number)).splits
        lists.append({"train": splits.train["trall"]["*"], "val": splits.val["trall"]["*"], "test": splits.test})
    assert lists[0] == lists[1] and not expected["second_run_same_val_split"]
    reader = get_reader(load_dataset_config("glas", data_root=root))
    cases = {case.case_id: case for case in reader.cases()}
    for role, names in lists[0].items():
        assert len(names) == expected[role]["rows"] and len(expected[role]["first_line"].split(",")) == 3
        for name in names:
            part, number = name.split("_")
            assert cases[name].label_path.name == f"{name}_anno.bmp" and (role == "test") == name.startswith("test")
            grade = "malignant" if int(number) > BENIGN[part] else "benign"
            assert reader.patient_facts(cases[name])["grade"] == grade
    missing = write_glas(tmp_path / "b", skip="train_7")
    status, text = draw(missing, tmp_path / "none")
    assert status == 1 and "Grade.csv" in text and "none for train_7" in text
    assert expected["train"]["train_7_label"] + expected["val"]["train_7_label"] == ["1"]


def test_shares_of_grades_and_what_is_told(tmp_path):
    root = write_glas(tmp_path / "data")
    status, text = draw(root, tmp_path / "out")
    assert status == 0 and "train: 68 (30 benign, 38 malignant)\nval: 17 (7 benign, 10 malignant)\ntest: 80" in text
    assert "16 of 16 patients have images in several lists" in text
    own, shipped = (load_dataset_config("glas", folder=each).splits for each in (tmp_path / "out", None))
    assert {*own.test} == {*shipped.test} and {*own.train["al"]["*"], *own.val["al"]["*"]} == {
        *shipped.train["al"]["*"], *shipped.val["al"]["*"],
    }  # fmt: skip
    assert draw(root, tmp_path / "out")[0] == 0, "the same again"
    assert (
        draw(root, tmp_path / "out", "--seed=1")[0] == 1 and draw(root, tmp_path / "out", "--seed=1", "--force")[0] == 0
    )
    assert load_dataset_config("glas", folder=tmp_path / "out").splits.train != own.train


def test_glas_from_files_to_scores(tmp_path):
    root = write_glas(tmp_path / "data", {"train": 6, "testA": 2, "testB": 1}, draw=True)
    assert draw(root, tmp_path / "out", "--val=0.3")[0] == 0
    dataset = load_dataset_config("glas", data_root=root, folder=tmp_path / "out")
    reader, test = get_reader(dataset), dataset.splits.test
    for _ in range(2):  # prepared, then from the cache
        volumes = cache.open_cache(dataset, find_cases(reader, test, ("",)), with_label=True)
    assert [volume.image.shape for volume in volumes] == [(1, 21, 30, 3), (1, 22, 30, 3), (1, 21, 30, 3)]
    picture = np.asarray(Image.open(root / "glas" / "testA_2.bmp"))
    assert np.array_equal(volumes[1].image[0], picture / np.float32(255))
    assert np.unique(volumes[1].instances).tolist() == [0, 2, 5] and np.unique(volumes[1].label).tolist() == [0, 1]
    assert np.array_equal(volumes[1].native.instances > 0, volumes[1].native_label > 0)
    pool = open_pool(
        volumes, Named(name="image", options={"label": "grade"}), [reader.patient_facts(v.case) for v in volumes]
    )
    assert pool.labels.tolist() == ["benign", "malignant", "malignant"]

    def predict(images):  # the left gland alone
        result = np.zeros((*images.shape[:3], 2))
        result[..., 0] = 0.5
        result[:, 2:8, 3:9, 1] = 1
        return result

    evaluate_cases([(v, v.native) for v in volumes], predict, dataset=dataset, out_dir=tmp_path / "eval")
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text(encoding="utf-8"))
    gland = summary["per_structure"]["gland"]
    assert gland["object_f1"]["mean"] == pytest.approx(2 / 3) and summary["per_group"]["testB"]["num_volumes"] == 1
    assert gland["pooled_pixel_dice"] == pytest.approx(2 * 36 / (36 + 36 + 48)) == gland["dice"]["mean"]
    saved = np.asarray(Image.open(tmp_path / "eval" / "predictions" / "testA_2.png"))
    assert saved.shape == picture.shape[:2] and saved.sum() == 36


WRONG = [
    (b", benign", b", "),
    (b"benign", b"Unknown"),
    (b"train_2,", b"train_1,"),
    (b"(GlaS)", b""),
    (HEADER.encode(), b""),
]


@pytest.mark.parametrize("old, new", WRONG)
def test_tables_that_are_wrong(tmp_path, old, new):
    root = write_glas(tmp_path, {"train": 3})
    path = root / "glas" / "Grade.csv"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(DataError, match="Grade.csv"):
        get_reader(load_dataset_config("glas", data_root=root)).cases()


def add(folder, *flags):
    places = [f"--images={folder / 'images'}", f"--labels={folder / 'masks'}", f"--output_dir={folder / 'out'}"]
    done = running.run("add_dataset", "--name=mine", *places, *flags)
    return done.returncode, done.stdout + done.stderr


def write_folder(folder, codes=(0, 255)):
    for name in ("images", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number, ending in enumerate(("png", "bmp", "tif", "jpg", "png", "png")):
        picture = rng.integers(0, 256, (400, 660, 3) if number else (30, 40), np.uint8)
        mask = np.array(codes, np.uint8)[rng.integers(0, len(codes), picture.shape[:2])]
        Image.fromarray(picture).save(folder / "images" / f"p{number}.{ending}")
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")
    return folder


def test_a_folder_of_pictures_with_masks_of_255(tmp_path):
    status, text = add(write_folder(tmp_path))
    assert status == 0, text
    assert "255 is class 1" in text and "6 volumes of 6 labelled" in text and "grey became three" in text
    dataset = load_dataset_config("mine", folder=tmp_path / "out")
    assert (dataset.num_channels, dataset.intensity, dataset.size) == (3, "divide_by_255", (224, 320))
    assert dict(dataset.label_map) == {255: 1} and dataset.num_classes == 2
    dataset = dataclasses.replace(dataset, data_root=tmp_path / "data")
    (volume,) = cache.open_cache(dataset, get_reader(dataset).cases()[1:2], with_label=True)
    assert volume.image.shape == (1, 224, 320, 3) and 0 <= volume.image.min() < volume.image.max() <= 1
    assert (
        len(find_scans([str(tmp_path / "images")], dataset))
        == len(find_scans([str(tmp_path / "images/*")], dataset))
        == 6
    )


def test_other_codes_and_damage_are_told(tmp_path):
    folder = write_folder(tmp_path, codes=(0, 1, 255))
    assert "--label_map" in add(folder)[1] and add(folder, "--label_map=1:1,255:1")[0] == 0
    (folder / "masks" / "p2.png").write_bytes(b"\x89PNG no")
    shutil.copy(folder / "images" / "p1.bmp", folder / "masks" / "p3.png")
    status, text = add(folder, "--force")
    assert status == 1 and "2 volumes with problems" in text and "p2.png" in text and "found:    colours" in text


@pytest.mark.realdata
@pytest.mark.skipif(not (SHARED_DATA / "glas").is_dir(), reason=f"no folder {SHARED_DATA / 'glas'}")
def test_real_images(tmp_path):
    reader = get_reader(load_dataset_config("glas", data_root=SHARED_DATA))
    volumes = {case.case_id: reader.read(case) for case in reader.cases()}
    assert len(volumes) == 15 and {volume.image.shape for volume in volumes.values()} >= {(522, 775, 1, 3)}
    grades = [reader.patient_facts(volume.case)["grade"] for volume in volumes.values()]
    assert grades.count("benign") == 7
    for volume in volumes.values():
        assert np.array_equal(volume.instances > 0, volume.label == 1) and volume.instances.max() >= 1
