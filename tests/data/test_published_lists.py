"""Split lists of datasets against the published ones where these are at hand.

Expected values: `coreclr_splits.json`, the lists of the code of Vepa et al. 2024, and `ssl4mis_acdc_splits.json`, those
of SSL4MIS; the counts of patients are those of the code.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fewslice.settings.datasets import check_labeled_split, load_dataset_config, patient_of
from tests.golden_files import ROOT

LISTS = ROOT.parent / "spec" / "coreclr_splits.json"
SSL4MIS = LISTS.with_name("ssl4mis_acdc_splits.json")
COUNTS = {
    "acdc_wsl4mis": ("ACDC", 80, 20, 50),
    "chaos_ct": ("CHAOS_CT", 15, 2, 3),
    "chaos_mri": ("CHAOS_MRI", 14, 2, 4),
    "davis": ("DAVIS", 30, 5, 15),
    "davis2": ("DAVIS", 30, 5, 15),
    "lvsc": ("LVSC", 50, 10, 40),
    "mscmr": ("MSCMR", 25, 5, 15),
}


@pytest.mark.parametrize("name", COUNTS)
def test_sizes_and_settings(name):
    dataset = load_dataset_config(name)
    train, val = check_labeled_split(dataset, "al", "c1")
    assert (len(train), len(val), len(dataset.splits.test_ids())) == COUNTS[name][1:]
    assert dataset.size == (256, 256) and (dataset.grid, dataset.intensity) == ("stretch", "as_stored")
    assert dataset.num_channels == (3 if name.startswith("davis") else 1)


@pytest.mark.golden
@pytest.mark.parametrize("name", COUNTS)
def test_lists_are_the_published_ones(name):
    if not LISTS.is_file():
        pytest.skip(f"no {LISTS}")
    dataset = load_dataset_config(name)
    published = json.loads(LISTS.read_text())[COUNTS[name][0]]

    def patients(volumes):
        stems = [Path(volume).stem for volume in volumes]
        if name == "acdc_wsl4mis":
            return {re.fullmatch(r"patient(\d+)_frame\d+", stem)[1] for stem in stems}
        return {patient_of(stem, dataset.patient_pattern) for stem in stems}

    assert set(dataset.splits.train_ids("al", "c1")) == patients(published["train"])
    assert set(dataset.splits.val_ids("al", "c1")) == patients(published["val"])
    assert set(dataset.splits.test_ids()) == patients(published["test"])


def test_sizes_and_settings_of_the_semi_supervised_split():
    dataset = load_dataset_config("acdc_ssl4mis")
    assert dataset.size == (256, 256) and (dataset.grid, dataset.intensity) == ("stretch", "as_stored")
    assert dataset.phases == dataset.unlabeled_phases == ("ED", "ES") and dataset.recipe == "planned"
    sizes = {key: len(dataset.splits.train_ids(key, "c1")) for key in dataset.splits.train}
    assert sizes == {f"tr{n}": n for n in (1, 3, 7, 14, 21, 28, 35, 70)} | {"al": 70}
    everybody = [*dataset.splits.train_ids("tr70", "c1"), *dataset.splits.val_ids("tr7", "c1"), *dataset.splits.test]
    assert sorted(everybody) == [f"{number:03d}" for number in range(1, 101)]


@pytest.mark.golden
def test_semi_supervised_split_is_the_published_one():
    if not SSL4MIS.is_file():
        pytest.skip(f"no {SSL4MIS}")
    splits, published = load_dataset_config("acdc_ssl4mis").splits, json.loads(SSL4MIS.read_text())
    for key in splits.train:
        assert list(splits.val_ids(key, "c1")) == published["val_patients"]
    assert list(splits.test) == published["test_patients"]
    assert list(splits.train_ids("tr1", "c1")) == published["train_patients_in_order_of_slices"][:1]
    for count, labelled in published["labelled_by_count"].items():
        assert list(splits.train_ids(f"tr{count.split()[0]}", "c1")) == labelled["patients"]


def test_pools_of_the_other_datasets():
    acdc, h5, phantom = (load_dataset_config(name).splits for name in ("acdc", "acdc_h5", "phantom"))
    for splits, pool, val in ((acdc, 64, 16), (phantom, 24, 6)):  # as 80 to 20; together all but the test patients
        train, validation = set(splits.train_ids("al", "c1")), set(splits.val_ids("al", "c1"))
        assert (len(train), len(validation)) == (pool, val) and not train & validation
        assert len(train | validation | set(splits.test_ids())) == pool + val + len(splits.test_ids())
    assert not set(acdc.val_ids("al", "c1")) & set(acdc.train_ids("tr52", "c1"))
    assert set(h5.train_ids("al", "c1")) == set(h5.train_ids("tr15", "c1")) - {"011", "071"}
    assert h5.val_ids("al", "c1") == ("011", "071")
