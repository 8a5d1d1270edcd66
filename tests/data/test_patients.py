"""Names of volumes that may belong to one patient, and files that may be channels; expected values by hand."""

from __future__ import annotations

import dataclasses
import itertools
import re
from types import SimpleNamespace

import pytest

from fewslice.core.errors import DataError
from fewslice.data.readers.paired_folders import channel_bases
from fewslice.data.readers.patients import alike, doubt, notes, question
from fewslice.settings.datasets import patient_of
from tests.data.layouts import dataset

IDS = [f"p{index:02d}" for index in range(1, 7)]
VISITS = {
    "sessions": "_ses-01 _ses-02",
    "sessions_and_more": "_ses-1_run-1_T1w _ses-1_run-2_T1w _ses-2_run-1_T1w",
    "visits": "_v1 _v2 _v3",
    "many_visits": "_V01 _V02 _V03 _V04 _V05 _V06 _V07 _V08",
    "spelled_visits": "-visit-1 -visit-2",
    "time_points": "_tp1 _tp2",
    "baseline": "_baseline _followup",
    "first_without": "_x _followup",
    "months": "_m00 _m12",
    "treatment": "_pre _post",
    "dates": "_20190312 _20200411",
    "dates_with_dashes": "_2019-03-12 _2020-04-11",
    "german_dates": "_12.03.2019 _11.04.2020",
    "dates_and_times": "_20190312_101010 _20200411_111111",
    "short_dates": "_190312 _200411",
    "years": "_2019 _2021",
    "sides": "_L _R",
    "spelled_sides": "-left -right",
    "phases": "_systole _diastole",
    "phases_and_more": "_ED_cine _ES_cine",
    "contrasts": "_T1w _T2w",
    "machines": "_ct _mr",
    "numbers": "_1 _2",
    "letters": "a b",
    "glued": "v1 v2",
    "glued_words": "Baseline Followup",
    "slices": "_slice_01 _slice_02",
    "signs": "+v1 +v2 +v3",
    "copies": "; (2)",
    "one_without_word": "_pct _cbct1 _cbct2",
    "glued_years": "y2019 y2021",
    "glued_scans": "Scan1 Scan2",
    "glued_visits": "v1_T1w v2_T1w",
    "uids": "_1.3.6.1.4.1.14519.5.2.1 _1.3.6.1.4.1.14519.5.2.77",
    "glued_capitals": "KneeLeft KneeRight",
    "counted_with_unit": "_FU001d _FU030d",
    "many_parts": "_x_mr_s1_i1 _x_mr_s2_i2",
}


@pytest.mark.parametrize("name", VISITS)
def test_visits_are_asked_about(name):
    """The pattern of the message puts all names of a patient together, and each patient apart."""
    stems = [patient + visit for patient, visit in itertools.product(IDS, re.split("[ ;](?! )", VISITS[name]))]
    text = question(stems)
    pattern = text.split("--patient_pattern='")[1].split("'")[0]
    groups = {}
    for stem in stems:
        groups.setdefault(patient_of(stem, pattern), []).append(stem)
    assert sorted(groups.values()) == [[stem for stem in stems if stem.startswith(patient)] for patient in IDS]
    assert text.endswith("--patient_pattern='(.+)'") and "\n  p01" in text


@pytest.mark.parametrize(
    "stems, groups",
    [
        ("left_01 right_01 left_02 right_02", {"01": ["left_01", "right_01"], "02": ["left_02", "right_02"]}),
        ("visit1_p1 visit2_p1 visit1_p2", {"p1": ["visit1_p1", "visit2_p1"]}),
        ("20190312_a1 20190312_a2 20200411_a2", {"a2": ["20190312_a2", "20200411_a2"]}),
        ("smith_2019 smith_2020 jones_2019", {"smith": ["smith_2019", "smith_2020"]}),
        ("BraTS-GLI-00000-000 BraTS-GLI-00000-001 BraTS-GLI-00002-000 BraTS-GLI-00003-000 BraTS-GLI-00003-001",
         {"brats-gli-00000": ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001"],
          "brats-gli-00003": ["BraTS-GLI-00003-000", "BraTS-GLI-00003-001"]}),
        ("11_208_2_0 11_209_2_0 12_208_2_0 12_209_2_0 13_208_2_0",
         {"11": ["11_208_2_0", "11_209_2_0"], "12": ["12_208_2_0", "12_209_2_0"]}),
        ("p1 p2 p3 p3_2", {"p3": ["p3", "p3_2"]}),
        ("1810111_67390467 1810111_81366283 1810188_67390469",
         {"1810111": ["1810111_67390467", "1810111_81366283"]}),
        ("smith1 smith2 jones1 jones2 lee1 lee2",
         {"jones": ["jones1", "jones2"], "lee": ["lee1", "lee2"], "smith": ["smith1", "smith2"]}),
        ("L001 R001 L002 R002", {"001": ["L001", "R001"], "002": ["L002", "R002"]}),
        ("T1P01 T2P01 T1P02 T2P02", {"p01": ["T1P01", "T2P01"], "p02": ["T1P02", "T2P02"]}),
        ("baseline_01 followup_01 baseline_02", {"01": ["baseline_01", "followup_01"]}),
        ("V1_01 V2_01 V1_02", {"01": ["V1_01", "V2_01"]}),
        ("scan_01_pre scan_01_post scan_02_pre scan_02_post",
         {"01": ["scan_01_post", "scan_01_pre"], "02": ["scan_02_post", "scan_02_pre"]}),
        ("study_v1_01_t1w study_v2_01_t1w study_v1_02_t1w",
         {"study_01": ["study_v1_01_t1w", "study_v2_01_t1w"]}),
        ("a1_v1 a1_v2 b1-7 b1-8 b2-7 b2-8 b3-7 b3-8 c1 c2",
         {"a1": ["a1_v1", "a1_v2"], "b1": ["b1-7", "b1-8"], "b2": ["b2-7", "b2-8"], "b3": ["b3-7", "b3-8"]}),
        ("inspiration_P1 expiration_P1 inspiration_P2", {"p1": ["expiration_P1", "inspiration_P1"]}),
        ("PatABefore PatAAfter PatBBefore PatBAfter PatCBefore PatCAfter",
         {"pata": ["PatAAfter", "PatABefore"], "patb": ["PatBAfter", "PatBBefore"],
          "patc": ["PatCAfter", "PatCBefore"]}),
        ("pat1 pat01 pat2 pat10", {"pat1": ["pat01", "pat1"]}),
        ("p1_ses-1 p1_ses-2 p1_ses-3", {"p1": ["p1_ses-1", "p1_ses-2", "p1_ses-3"]}),
    ],
    ids=["sides_first", "visit_first", "date_first", "names", "running_visits", "codes", "second_visit", "numbers",
         "surnames", "glued_sides", "glued_visit", "baseline_first", "v_first", "after_scan", "between", "hospitals",
         "spelled_first", "capitals", "zeros", "one"],
)  # fmt: skip
def test_groups(stems, groups):
    assert alike(stems.split()) == groups


@pytest.mark.parametrize(
    "form",
    "p{:02d} case_{:03d} img_{:04d} {}_hippocampus hippocampus_{:03d} sub-{:02d} LUNG1-{:03d} volume-{} s{:04d} "
    "t{:02d} v{:02d} {:03d} mr_train_{} visit_{:03d} frame_{:03d} scan_{} T1_{:03d} liver_{}_ct ABD_{:03d}_left "
    "R{:02d} case_{}_2019 IXI{:03d}-Guys-0828-T1 BraTS20_Training_{:03d}_flair".split(),
)
def test_running_numbers_are_not_asked_about(form):
    assert question(form.format(index) for index in range(1, 40)) == ""


@pytest.mark.parametrize(
    "stems",
    [
        [f"img_{index}" for index in range(1990, 2030)],
        [f"case_{index:04d}" for index in range(1850, 2100)],
        [f"{group}_{index:03d}" for group in ("ctrl", "pat") for index in range(20)],
        [f"site{site}_{index:03d}" for site in (1, 2, 3) for index in range(20)],
        [f"TCGA-{site:02d}-{site * 997 + index * 31:04d}" for site in range(1, 9) for index in range(6)],
        [f"p_{index * 7919 % 900000 + 100000}" for index in range(1, 300)],
    ],
    ids=["years", "beyond_years", "cohorts", "sites", "barcodes", "six_digits"],
)
def test_more_running_numbers(stems):
    assert question(stems) == ""


def test_a_question_joins_nobody():
    """Smith and smith are two to every pattern, so none is proposed; sub-1-ses-1 is no subject of BIDS."""
    text = question(f"{name}_{visit}" for name in ("Smith", "smith", "jones") for visit in ("v1", "v2"))
    assert "smith: Smith_v1, Smith_v2, smith_v1, smith_v2" in text and "--patient_pattern=..." in text
    assert alike(["sub-1-ses-1", "sub-1-ses-2", "sub-2-ses-1"]) == {"sub-1": ["sub-1-ses-1", "sub-1-ses-2"]}


def test_doubtful_names_are_noted():
    """Names that no rule takes for visits but that share a part, once for each dataset without a pattern of its own."""
    config = dataset("paired_folders")
    for stems, words in [
        ("avant_01 avant_02 apres_01 apres_02", "apres_01, avant_01 count as patients of their own, and so do 1 more"),
        ("p1_0713 p1_0815 p2_0911 p2_1122", "p1_0713, p1_0815 count"),
        ("avant_01 avant_02 apres_03", ""),
    ]:
        text = doubt(config, stems.split())
        assert text.startswith(words) and bool(text) == bool(words)
        assert not doubt(dataclasses.replace(config, patient_pattern="(.+)"), stems.split())


def reader_of(config):
    return SimpleNamespace(dataset=config, cases=list)


def test_notes_on_lists_written_by_hand():
    """A note where two visits stand in two lists, none in one list or with a pattern that decides."""
    config = dataset("paired_folders")
    splits = dataclasses.replace(config.splits, test=("p1_v2", "p2_v2"))
    config = dataclasses.replace(config, splits=splits)
    found = list(notes(reader_of(config), ["p1_v1", "p2_v1"], ["p3_v1"]))
    assert len(found) == 2 and "(training: p1_v1; test: p1_v2)" in found[0]
    assert not list(notes(reader_of(config), ["p3_v1", "p3_v2"], ["p4_v1", "p4_v2"]))
    assert not list(notes(reader_of(dataclasses.replace(config, patient_pattern="(.+)")), ["p1_v1"], ["p2_v1"]))


def numbered(base, *numbers):
    return {f"{base}_{number:04d}" for number in numbers}


TEN, TWO = range(10), (0, 1)


@pytest.mark.parametrize(
    "stems, labels, declared, bases",
    [
        (numbered("img", *TEN), set(), 0, ""),
        (numbered("img", *range(1, 9)), set(), 0, ""),
        (numbered("img", *TEN), numbered("img", 0, 1, 2), 0, ""),
        (numbered("img", *TEN), set(), 1, ""),
        (numbered("a", *TEN) | numbered("b", *range(13)), set(), 0, ""),
        (numbered("a", 0) | numbered("b", 0), set(), 0, "a b"),
        (numbered("a", *TWO) | numbered("b", *TWO), set(), 0, "a b"),
        (numbered("a", *TWO) | numbered("b", 0), {"a"}, 0, "a b"),
        (numbered("a", *TWO) | numbered("b", 0), set(), 2, "a b"),
        (numbered("a", *range(6)) | numbered("b", *range(6)), {"a", "b"}, 0, "a b"),
        (numbered("a", *TWO) | numbered("b", 0), set(), 0, None),
        (numbered("a", *range(6)) | numbered("b", *range(6)), set(), 0, None),
        (numbered("a", *TWO) | numbered("b", *range(5)), {"a"}, 0, None),
        (numbered("img", *TWO) | {"img"}, {"img"}, 0, None),
        (numbered("img", *TWO), {"img", "img_0001"}, 0, None),
    ],
)  # fmt: skip
def test_channels(tmp_path, stems, labels, declared, bases):
    """`bases` None: files that could be either are refused by name."""
    if bases is not None:
        assert channel_bases(tmp_path, stems, labels, declared) == set(bases.split())
        return
    with pytest.raises(DataError, match="both may be meant: (a|b|img)_0000.*\n.*rename them"):
        channel_bases(tmp_path, stems, labels, declared)
