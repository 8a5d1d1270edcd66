"""A round of pseudo-labels that was stopped resumes at the next volume.

Expected values: every file of a round that nobody disturbed, and counts of the volumes that are predicted.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fewslice.core import files
from fewslice.core.errors import FewSliceError
from fewslice.data.cache import PreparedVolume
from fewslice.data.volume import Case
from fewslice.refine import pseudo_labels
from fewslice.refine.dense_crf import CrfParameters
from fewslice.refine.pseudo_labels import Settings, Teacher, load_round, make_round

NAMES = tuple(f"{number:03d}_ED" for number in range(8))  # 6 of them are in the gallery: not 002_ED, 005_ED
CRF = CrfParameters(3.0, 0.1, 2.0, 1.0, 1.0, 3)
# Two of the volumes agree less, see `test_an_undisturbed_round_has_volumes_of_every_kind`.
SETTINGS = Settings(3, ("rv", "lv"), crf=CRF, min_agreement=0.95, confidence=True)


class Stopped(Exception):
    """Raised by a test in the middle of a round."""


def volume_of(number: int, size: int = 16) -> PreparedVolume:
    """Two discs of intensities 1 and 2 in noise, another for each volume."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size]
    centre = rng.uniform(0.35, 0.65, 2) * size
    radius = np.hypot(y - centre[0], x - centre[1])
    image = (radius < 0.35 * size).astype(float) + (radius < 0.2 * size)
    image = image + rng.normal(0, 0.1 + 0.2 * (number in (2, 3)), (2, size, size))
    case = Case(f"{number:03d}_ED", f"{number:03d}", "ED", Path("image.nii"), None)
    shape, affine = (size, size, 2), np.eye(4)
    return PreparedVolume(case, image.astype(np.float32), None, shape, (1.0, 1.0, 5.0), affine, f"source {number}")


VOLUMES = tuple(volume_of(number) for number in range(8))
IMAGES = {volume.image.tobytes(): volume.case.case_id for volume in VOLUMES}


class House:
    """Makes a round in a folder, again and again, and counts.

    Attributes:
        folder: Of the round.
        predicted: Case ids whose own images (not views of them) were predicted, of the last call.
        told: Case ids that the progress was told, of the last call.
    """

    def __init__(self, folder: Path):
        self.folder, self.teacher = folder / "round_01", folder / "best.npz"
        self.teacher.parent.mkdir(parents=True, exist_ok=True)
        self.write_teacher(0.0)
        self.predicted, self.told = [], []

    def write_teacher(self, bias: float) -> None:
        with open(self.teacher, "wb") as file:
            np.savez(file, bias=np.float32(bias))

    def make(self, *, stop_after=None, settings=SETTINGS, volumes=VOLUMES, truth=lambda _: None, index=1):
        with np.load(self.teacher) as archive:
            bias = archive["bias"]
        self.predicted, self.told = [], []

        def predict(images):
            name = {**IMAGES, **{v.image.tobytes(): v.case.case_id for v in volumes}}.get(images.tobytes())
            self.predicted += [name] if name and name not in self.predicted else []  # a view may be the image itself
            scores = -4 * (images - np.arange(3, dtype=np.float32) - bias) ** 2
            odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
            return odds / odds.sum(axis=-1, keepdims=True)

        def told(name):
            self.told.append(name)
            if len(self.told) == stop_after:
                raise Stopped

        return make_round(
            self.folder,
            index=index,
            teacher=Teacher(self.teacher, 7, predict),
            volumes=volumes,
            settings=settings,
            truth=truth,
            progress=told,
            draw=draw,
        )

    def stop(self, after: int, **arguments) -> None:
        with pytest.raises(Stopped):
            self.make(stop_after=after, **arguments)

    def part(self, name: str) -> Path:
        return self.folder / pseudo_labels.PARTS / name

    def sums(self) -> dict[str, str]:
        """Relative path -> checksum of every file, and the empty folders."""
        found = {path.relative_to(self.folder).as_posix(): path for path in sorted(self.folder.rglob("*"))}
        return {name: files.sha256(path) if path.is_file() else "folder" for name, path in found.items()}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A round that nobody disturbed."""
    house = House(tmp_path_factory.mktemp("calm"))
    house.made = house.make()
    return house


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def draw(path, shown, truth):
    """In place of a picture the names and arrays that it would show."""
    content = b"".join(volume.case.case_id.encode() + np.stack(pair).tobytes() for volume, *pair in shown)
    files.write_bytes(path, content)


def test_an_undisturbed_round_has_volumes_of_every_kind(calm):
    assert tuple(calm.predicted) == tuple(calm.told) == NAMES
    refused = [row["case_id"] for row in calm.made.rows if not row["accepted"]]
    assert refused == ["002_ED", "003_ED"], "one that the gallery does not show, one that it shows"
    assert any(row["changed"] > 0 for row in calm.made.rows)
    names = sorted(set(NAMES) - set(refused))
    expected = {f"{kind}/{name}.npy" for kind in ("labels", "confidence") for name in names}
    assert set(calm.sums()) == expected | {"labels", "confidence", "teacher.npz", "gallery.png", "round.json"}
    assert sorted(calm.made.labels) == sorted(calm.made.confidence) == names


def test_a_round_that_is_stopped_after_each_volume_ends_with_the_same_files(calm, house):
    predicted = []
    for after in range(1, 9):
        house.stop(after)
        predicted += house.predicted
        assert tuple(house.told) == NAMES[:after], "volumes that were finished count as progress"
        assert load_round(house.folder) is None
    made = house.make()
    assert not house.predicted and tuple(predicted) == NAMES, "each is predicted once"
    assert house.sums() == calm.sums() and made.rows == calm.made.rows


def test_temporary_files_of_a_killed_attempt_are_removed(house, calm):
    house.stop(2)
    for name in (".round.json.x.tmp.json", "parts/.003_ED.npy.x.tmp.npy", "labels/.000_ED.npy.x.tmp.npy"):
        (house.folder / name).write_bytes(b"half")
    house.make()
    assert house.sums() == calm.sums()


def with_teacher(house):
    house.write_teacher(0.1)
    return {}


CHANGES = {
    "teacher": with_teacher,
    "crf": lambda _: {"settings": Settings(3, ("rv", "lv"), min_agreement=0.95, confidence=True)},
    "threshold": lambda _: {"settings": Settings(3, ("rv", "lv"), crf=CRF, min_agreement=0.999, confidence=True)},
    "no confidence": lambda _: {"settings": Settings(3, ("rv", "lv"), crf=CRF, min_agreement=0.95)},
    "seed": lambda _: {"settings": Settings(3, ("rv", "lv"), crf=CRF, min_agreement=0.95, confidence=True, seed=1)},
    "index": lambda _: {"index": 2},
    "truth": lambda _: {"truth": lambda _name: np.ones((2, 16, 16), np.uint8)},
    "order": lambda _: {"volumes": VOLUMES[::-1]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_taken_over_if_anything_has_changed(house, tmp_path, change):
    house.stop(5)
    changed = CHANGES[change](house)
    house.make(**changed)
    assert sorted(house.predicted) == list(NAMES)
    fresh = House(tmp_path / "fresh")
    CHANGES[change](fresh)
    fresh.make(**changed)
    assert house.sums() == fresh.sums(), "nothing of the other attempt is left"


def test_a_volume_with_another_content_is_made_again_and_one_that_left_leaves_nothing(house):
    house.stop(5)
    other = volume_of(11)
    changed = PreparedVolume(**{**vars(VOLUMES[1]), "image": other.image})
    house.make(volumes=(VOLUMES[0], changed, *VOLUMES[2:]))
    assert house.predicted == ["001_ED", *NAMES[5:]]
    house.stop(5)
    made = house.make(volumes=VOLUMES[:4])
    assert [row["case_id"] for row in made.rows] == list(NAMES[:4])
    assert sorted(path.name for path in (house.folder / "labels").iterdir()) == ["000_ED.npy", "001_ED.npy"]


def test_the_same_truth_is_taken_over_with_its_statistics(house, tmp_path):
    truth = {name: (v.image > 0.5).astype(np.uint8) for name, v in zip(NAMES, VOLUMES, strict=True)}
    truth["004_ED"] = np.zeros_like(truth["004_ED"])  # no structure: its Dice may be undefined
    del truth["001_ED"]
    house.stop(6, truth=truth.get)
    house.make(truth=truth.get)
    assert tuple(house.predicted) == NAMES[6:]
    fresh = House(tmp_path / "fresh")
    fresh.make(truth=truth.get)
    assert house.sums() == fresh.sums()


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def another(path):
    path.write_text("[1, 2]")


def other_row(path):
    record = json.loads(path.read_text())
    record["row"]["pixels_rv"] += 1
    path.write_text(json.dumps(record))


DAMAGE = [
    ("parts/001_ED.json", cut),
    ("parts/001_ED.json", empty),
    ("parts/001_ED.json", another),
    ("parts/001_ED.json", other_row),
    ("parts/001_ED.json", os.unlink),
    ("parts/001_ED.npy", flip),
    ("parts/001_ED.npy", os.unlink),
    ("labels/001_ED.npy", flip),
    ("labels/001_ED.npy", cut),
    ("labels/001_ED.npy", os.unlink),
    ("confidence/001_ED.npy", flip),
    ("confidence/001_ED.npy", os.unlink),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_a_damaged_part_is_made_again_and_no_other(house, calm, name, damage):
    house.stop(4)
    damage(house.folder / name)
    house.make()
    assert house.predicted == ["001_ED", *NAMES[4:]]
    assert house.sums() == calm.sums()


def test_a_finished_round_that_is_made_again_is_no_round_meanwhile(house, calm):
    house.make()
    house.write_teacher(0.1)
    house.stop(1)
    assert load_round(house.folder) is None
    house.write_teacher(0.0)
    house.make()
    assert tuple(house.predicted) == NAMES
    assert house.sums() == calm.sums()


def test_parts_left_beside_a_finished_round_do_no_harm(house, monkeypatch):
    monkeypatch.setattr(pseudo_labels.shutil, "rmtree", lambda *_args, **_names: None)
    made = house.make()
    assert house.part("000_ED.json").is_file() and load_round(house.folder).rows == made.rows
    assert len(pseudo_labels.table(house.folder.parent)) == 8


def test_a_full_disk_stops_the_round_and_what_was_done_counts(house, calm, monkeypatch):
    real = files.write_array

    def write(path, array):
        if path.name == "004_ED.npy":
            raise FewSliceError("disk full")
        real(path, array)

    monkeypatch.setattr(files, "write_array", write)
    with pytest.raises(FewSliceError, match="disk full"):
        house.make()
    monkeypatch.setattr(files, "write_array", real)
    house.make()
    assert tuple(house.predicted) == NAMES[4:]
    assert house.sums() == calm.sums()


def test_volumes_with_several_channels_are_refined_by_their_mean():
    from fewslice.refine.pseudo_labels import _one

    grey = volume_of(0)
    colours = dataclasses.replace(grey, image=np.stack([grey.image] * 3, axis=-1))

    def predict(images):
        shares = np.exp(-((images.mean(axis=-1)[..., None] - np.arange(3)) ** 2))
        return (shares / shares.sum(axis=-1, keepdims=True)).astype(np.float32)

    expected, found = (_one(each, (0, 0), predict, SETTINGS, None) for each in (grey, colours))
    np.testing.assert_array_equal(found[2], expected[2])
    assert found[0]["agreement_of_views"] == pytest.approx(expected[0]["agreement_of_views"], abs=0.02)


def test_the_row_of_a_volume_by_hand():
    """Of 12 pixels 4 change; 5 are of a structure before or after; class 2 is gone. Dice: 2 x 1 / 3; none; none."""
    before = np.array([[[0, 1, 1], [0, 2, 0]], [[0, 0, 2], [0, 0, 0]]], np.uint8)
    after = np.array([[[0, 1, 0], [3, 0, 0]], [[0, 0, 0], [0, 0, 0]]], np.uint8)
    row = pseudo_labels._row(VOLUMES[0], before, after, Settings(4, ("rv", "myo", "lv")), before)
    assert (row["changed"], row["changed_foreground"]) == (pytest.approx(4 / 12), pytest.approx(4 / 5))
    assert row["lost"] == ["myo"] and [row[f"pixels_{name}"] for name in ("rv", "myo", "lv")] == [1, 0, 1]
    assert row["dice_rv"] == pytest.approx(2 / 3) and row["dice_myo"] == row["dice_lv"] == 0
    assert row["dice"] == pytest.approx(2 / 9) and row["dice_before"] == 1
    none = pseudo_labels._row(VOLUMES[0], 0 * before, 0 * before, Settings(4, ("rv", "myo", "lv")), None)
    assert none["changed"] == 0 and np.isnan(none["changed_foreground"]) and "dice" not in none
