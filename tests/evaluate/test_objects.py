"""Object scores: cases by hand, plain loops over the definitions, properties; further metrics in tables and summary."""

import json

import numpy as np
import pytest
import skimage.measure

from fewslice.data.volume import Case
from fewslice.evaluate import objects
from fewslice.evaluate.scores import score_volume
from fewslice.evaluate.summary import summarise
from tests import golden_files
from tests.reference import objects as plain

NAMES = tuple(objects.DEFINITIONS)


def scores(truth, prediction, **how):
    """Scores (rows, columns) numbers of objects against a mask."""
    found = objects.objects(truth[..., None] > 0, prediction[..., None], truth[..., None], 2, **how)
    return [float(found[name][0]) for name in NAMES]


def rows(*texts):
    return np.array([[int(letter) for letter in text] for text in texts])


HAND = {
    "equal": ("1102 1102", "1101 1101", [1, 1, 0]),
    "half": ("1111 0000", "1100 0000", [1, 2 / 3, 2]),  # 2 of 4 pixels are half: right
    "less than half": ("11111 00000", "11000 00000", [0, 4 / 7, 3]),
    # one part over glands of 3 and 2: its partner is the first, the second is missed; P = 1, R = 1/2
    "merged": (
        "111022",
        "111111",
        [2 / 3, (3 / 5 * 6 / 9 + 2 / 5 * 4 / 8 + 6 / 9) / 2, (3 / 5 * 3 + 2 / 5 * 4 + 3) / 2],
    ),
    # of two parts of a gland one covers half: P = 1/2, R = 1
    "split": (
        "111111",
        "111011",
        [2 / 3, (6 / 9 + 3 / 5 * 6 / 9 + 2 / 5 * 4 / 8) / 2, (3 + 3 / 5 * 3 + 2 / 5 * 4) / 2],
    ),
    # nothing in common: the nearest object
    "apart": ("1000 0002", "0010 0000", [0, 0, (2 + 2**0.5) / 4 + 2**0.5 / 2]),
}


@pytest.mark.parametrize("truth, prediction, expected", HAND.values(), ids=HAND)
def test_cases_by_hand(truth, prediction, expected):
    assert scores(rows(*truth.split()), rows(*prediction.split())) == pytest.approx(expected)


def test_empty_sides():
    some, none = rows("0110"), rows("0000")
    assert np.isnan(scores(none, none)).all()
    for found in (scores(none, some), scores(some, none)):
        assert found[:2] == [0, 0] and np.isnan(found[2])


def random_pair(rng):
    """Returns blobs with numbers, some of one number apart, and a mask like them."""
    shape = rng.integers(4, 13, 2)
    coarse = rng.integers(0, 5, (shape + 2) // 3) * (rng.random((shape + 2) // 3) < 0.6)
    truth = np.kron(coarse, np.ones((3, 3), int))[: shape[0], : shape[1]] * rng.integers(1, 3)
    flips = rng.random(truth.shape) < rng.choice([0.02, 0.2, 0.5])
    return truth, (np.roll(truth > 0, rng.integers(-2, 3), 1) ^ flips).astype(int)


def test_plain_loops_agree():
    rng = np.random.default_rng(0)
    for _ in range(120):
        truth, mask = random_pair(rng)
        pair = plain.pixels_of(truth), plain.pixels_of(skimage.measure.label(mask, connectivity=2))
        if all(pair):
            expected = [score(*pair) for score in (plain.f1, plain.dice, plain.hausdorff)]
            assert scores(truth, mask) == pytest.approx(expected)
        renumbered = np.where(truth > 0, 7 * truth + 3, 0)  # gaps and other numbers
        assert scores(renumbered, mask) == pytest.approx(scores(truth, mask), nan_ok=True)


def test_many_specks_take_no_time():
    rng = np.random.default_rng(2)
    truth = np.kron(np.arange(1, 13).reshape(3, 4), np.pad(np.ones((80, 100), int), 20))
    found = scores(truth, (rng.random(truth.shape) < 0.02).astype(int))
    assert found[0] == 0 and 0 < found[1] < 0.01 and found[2] > 50


def scored(case_id, truth, prediction, **how):
    case = Case(case_id, case_id, "", None, None)
    how = {"spacing_mm": (1, 1, 1), "num_classes": 2, "further": ("pixels", "objects"), **how}
    return score_volume(truth[..., None], prediction[..., None], case=case, **how)


def test_tables_and_summary():
    empty, whole = np.zeros((2, 4), int), rows("1100", "1100")
    found = [
        scored("testA_1", whole, whole), scored("testA_2", whole, empty), scored("testB_1", empty, empty),
        scored("testB_2", rows("1112", "0000"), whole),
    ]  # fmt: skip
    values = {(row["case_id"], row["metric"]): row["value"] for each in found for row in each.rows(("gland",))}
    assert values["testB_1", "pixel_dice"] == 1 and values["testA_2", "pixel_dice"] == 0
    assert values["testA_1", "object_f1"] == 1 and np.isnan(values["testB_1", "object_f1"])
    assert np.isnan(values["testB_2", "object_f1"]), "annotated in part: class 2 is the ignore value here"
    groups = {each.case_id: each.case_id[:5] for each in found[:3]} | {"testB_2": None}
    summary = summarise(found, ("gland",), further=("pixels", "objects"), groups=groups)
    gland = summary["per_structure"]["gland"]
    assert gland["pooled_pixel_dice"] == pytest.approx(2 * (4 + 2) / (8 + 4 + 0 + 3 + 4 - 0))
    assert gland["object_f1"]["n"] == 2 and gland["object_f1"]["num_undefined"] == 2
    assert summary["per_group"]["testA"]["per_structure"]["gland"]["object_dice"]["mean"] == 0.5
    assert summary["per_group"].keys() == {"testA", "testB"} and "object_f1" in summary["definitions"]
    assert "per_group" not in summarise(found, ("gland",)) and json.dumps(summary)


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_files.golden_param("albaselines", "metrics_loss*.npz"))
def test_pixel_dice_of_the_published_code(path):
    data = np.load(path)
    pairs = list(zip(data["gt"], data["pred"], strict=True))
    found = [scored(str(number), *pair, further=("pixels",)) for number, pair in enumerate(pairs)]
    ours = np.array([each.further["pixel_dice"][0] for each in found])
    np.testing.assert_allclose(ours, data["per_image_dice_bg_fg"][:, 1], rtol=1e-6, atol=1e-9)
    assert ours.mean() == pytest.approx(float(data["mean_dice"]), rel=1e-6)
    pooled = summarise(found, ("gland",), further=("pixels",))["per_structure"]["gland"]["pooled_pixel_dice"]
    assert pooled == pytest.approx(float(data["global_dice"][1]), rel=1e-6)
    assert np.isnan(found[4].dice[1]) == (not data["gt"][4].any() and not data["pred"][4].any()), "a known difference"
