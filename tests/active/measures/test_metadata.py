"""Metadata of the pool.

Expected values: by hand; a plain loop in `tests/reference/metadata.py`; `metadata.json`, recorded from the published
code (heights, weights and groups in it are made up).
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fewslice.active.measures.mfc import PHASES, patient_metadata, pool_columns
from fewslice.core.errors import ConfigError
from tests.active.units import make_pool
from tests.golden_files import golden_param
from tests.reference import metadata as reference

FACTS = {
    "7": {"group": "NOR", "height_cm": 160.0, "weight_kg": 60.0},
    "9": {"group": "DCM", "height_cm": 180.0, "weight_kg": 60.0},
}


COLUMNS = ("patient", "phase", "group", "height", "weight", "slice_rel_pos", "slice_pos")


def phase_column(phases):
    return np.array([PHASES[phase] for phase in phases])


def metadata_array(pool):
    """Returns the columns of a pool side by side, as the published code holds them, and name -> its columns.

    The patient is the number at the end of the id, or a running number where an id has none.
    """
    digits = [re.search(r"\d+$", str(patient)) for patient in pool.patients]
    numbers = [int(match[0]) for match in digits] if all(digits) else np.unique(pool.patients, return_inverse=True)[1]
    columns = pool_columns(pool) | {"patient": np.asarray(numbers, np.float64)}
    parts, places, width = [], {}, 0
    for name in (name for name in COLUMNS if name in columns):
        parts.append(np.asarray(columns[name], np.float64).reshape(len(pool), -1))
        places[name] = slice(width, width := width + parts[-1].shape[1])
    return np.concatenate(parts, axis=1), places


def pool_of(patients, positions, metadata):
    names = [f"{patient}_{position}" for patient, position in zip(patients, positions, strict=True)]
    return make_pool(names, patients, patients, positions, metadata=metadata)


def test_by_hand():
    patients = ["7", "9", "9", "9"]
    found = patient_metadata(patients, FACTS)
    np.testing.assert_array_equal(found["group"], [[1, 0], [0, 1], [0, 1], [0, 1]])  # NOR occurs first
    np.testing.assert_array_equal(found["height"], [160, 180, 180, 180])
    found["phase"] = phase_column(["ED", "ES", "ES", "ES"])
    array, places = metadata_array(pool_of(patients, [0, 0, 1, 2], found))
    # heights: mean 175, spread 10 (ddof 1); the weights are all alike
    expected = [
        [7, 1, 1, 0, -1.5, 0, 0 / 1, 0],
        [9, 0, 0, 1, 0.5, 0, 0 / 3, 0],
        [9, 0, 0, 1, 0.5, 0, 1 / 3, 1],
        [9, 0, 0, 1, 0.5, 0, 2 / 3, 2],
    ]
    np.testing.assert_allclose(array, expected, rtol=1e-12)
    assert {name: (part.start, part.stop) for name, part in places.items()} == {
        "patient": (0, 1), "phase": (1, 2), "group": (2, 4), "height": (4, 5), "weight": (5, 6),
        "slice_rel_pos": (6, 7), "slice_pos": (7, 8),
    }  # fmt: skip


def test_what_a_patient_lacks_is_left_out():
    facts = {"7": FACTS["7"], "9": {"group": "DCM", "weight_kg": 70.0}}
    assert sorted(patient_metadata(["7", "9"], facts)) == ["group", "weight"]
    assert patient_metadata(["7", "8"], FACTS) == {}
    array, places = metadata_array(pool_of(["a", "b"], [0, 0], {}))
    assert list(places) == ["patient", "slice_rel_pos", "slice_pos"] and array[:, 0].tolist() == [0, 1]


def test_false_values():
    with pytest.raises(ConfigError, match="height_cm"):
        patient_metadata(["7"], {"7": {"height_cm": float("nan")}})


def published(case):
    """Returns patient, volume, true slice number of each file, and the pool with the metadata of the cfg values."""
    files = case["files"]
    matches = [re.search(r"(patient_?(\d+)(?:_frame(\d+))?)_slice_(\d+)\.h5", name) for name in files]
    patients, volumes = [match[2] for match in matches], [match[1] for match in matches]
    numbers = [int(match[4]) for match in matches]
    metadata = {}
    if "cfg" in case:
        facts = {
            patient: {"group": cfg["Group"], "height_cm": cfg["Height"], "weight_kg": cfg["Weight"]}
            for patient, cfg in zip(patients, case["cfg"], strict=True)
        }
        phases = ["ED" if int(m[3]) == cfg["ED"] else "ES" for m, cfg in zip(matches, case["cfg"], strict=True)]
        metadata = {**patient_metadata(patients, facts), "phase": phase_column(phases)}
    return make_pool(files, patients, volumes, numbers, metadata=metadata), files


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("coreclr", "metadata*.json"))
def test_as_published(path):
    for name, case in json.loads(path.read_text()).items():
        if not {"files", "meta_array"} <= case.keys():
            continue
        pool, files = published(case)
        array, places = metadata_array(pool)
        expected = np.asarray(case["meta_array"], np.float64)
        recorded = {key: slice(case["indices"][f"{key}_starting_index"], case["indices"][f"{key}_ending_index"])
                    for key in places if f"{key}_starting_index" in case["indices"]}  # fmt: skip
        assert {"patient", "slice_pos"} <= recorded.keys(), name
        if "cfg" in case:
            assert recorded == places, name
            numbers = reference.numbers(files)
            one_digit = reference.array(files, case["cfg"], [reference.one_digit(file) for file in files])
            np.testing.assert_allclose(one_digit, expected, rtol=1e-9, atol=1e-12, err_msg=name)
            np.testing.assert_allclose(reference.array(files, case["cfg"], numbers), array, rtol=1e-9, atol=1e-12)
        is_read_right = np.array([reference.one_digit(file) for file in files]) == reference.numbers(files)
        is_read_right |= "cfg" not in case  # only ACDC's numbers were read from one digit
        for key, columns in recorded.items():
            rows = is_read_right if key.startswith("slice") else np.full(len(files), True)
            np.testing.assert_allclose(array[rows, places[key]], expected[rows, columns], rtol=1e-9, atol=1e-12)
        collided = np.flatnonzero(~is_read_right)
        assert (expected[collided, recorded["slice_pos"].start] == 1).all()  # slice 10 counted as slice 1
        assert (array[collided, places["slice_pos"].start] >= 10).all()
        assert len(collided) > 0 or "collision" not in name
