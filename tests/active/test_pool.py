"""Pools of prepared volumes. Expected values: by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.active.pool import Crops, open_pixels, open_pool
from fewslice.active.units.slices import slice_name
from fewslice.core import files
from fewslice.core.errors import ConfigError
from fewslice.data.volume import Case
from fewslice.settings.experiment import Named


def volume(case_id, depth, *, phase="", channels=0, seed=0, side=6):
    patient = case_id.split("_")[0]
    rng = np.random.default_rng([seed, depth])
    shape = (depth, side, 4) + ((channels,) if channels else ())
    label = rng.integers(0, 3, shape[:3]).astype(np.uint8)
    image = (rng.random(shape) * 1.4 - 0.2).astype(np.float32)
    arrays = {"image": image, "label": label, "scribble": None, "axes": (1, 2, 3)}
    return SimpleNamespace(case=Case(case_id, patient, phase, None, None), **arrays)


class Volumes(list):
    @property
    def digest(self):
        return files.digest([(v.case.case_id, float(v.image.sum())) for v in self])


def test_units_patients_volumes_positions():
    pool = open_pool([volume("001_ED", 2, phase="ED"), volume("001_ES", 1, phase="ES")])
    assert pool.unit_ids.tolist() == ["001_ED_slice_00", "001_ED_slice_01", "001_ES_slice_00"]
    assert pool.patients.tolist() == ["001"] * 3 and pool.volumes.tolist() == ["001_ED", "001_ED", "001_ES"]
    assert pool.positions.tolist() == [0, 1, 0] and pool.depths.tolist() == [2, 2, 1]
    assert pool.metadata["phase"].tolist() == [1, 1, 0]
    assert slice_name("001_ED", 103) == "001_ED_slice_103"


def test_metadata_only_where_all_volumes_have_them():
    volumes = [volume("001_ED", 2, phase="ED"), volume("002", 1)]
    facts = [{"group": "DCM", "height_cm": 180.0, "weight_kg": 70}, {"group": "ARV", "weight_kg": 80}]
    pool = open_pool(volumes, facts=facts)
    assert set(pool.metadata) == {"group", "weight"}
    assert pool.metadata["group"].tolist() == [[1, 0], [1, 0], [0, 1]] and pool.metadata["weight"][2] == 80


def test_a_volume_twice():
    with pytest.raises(ConfigError, match="The case 001 is in the pool twice"):
        open_pool([volume("001", 2), volume("001", 2)])


@pytest.mark.parametrize("channels", [0, 3])
def test_crops_of_slices(channels):
    volumes = [volume("001", 2, channels=channels), volume("002", 3, channels=channels)]
    pool = open_pool(volumes)
    crops = Crops(volumes, pool)
    expected = np.concatenate([v.image if channels else v.image[..., None] for v in volumes])
    assert crops.shape == expected.shape == (5, 6, 4, channels or 1) and crops.dtype == np.float32
    assert all(np.array_equal(one, other) for one, other in zip(crops, expected, strict=True))
    assert np.array_equal(crops.take([4, 0]), expected[[4, 0]])
    labels = Crops(volumes, pool, "label")
    assert labels.shape == (5, 6, 4) and np.array_equal(labels[np.int64(3)], volumes[1].label[1])
    large = Crops(volumes, pool, size=(12, 4))
    assert large.shape == (5, 12, 4, channels or 1) and large.take([0, 1]).shape == (2, *large.shape[1:])
    assert np.array_equal(large[2][[0, -1]], expected[2][[0, -1]]), "corners lie on corners"
    with pytest.raises(IndexError, match="0 to 4. Received: 5"):
        crops[5]


def test_crops_of_patches_and_of_images_of_different_sizes():
    volumes = [volume("001", 4), volume("002", 3, side=8)]
    pool = open_pool(volumes, Named(name="patch", options={"size": (2, 3, 2), "stride": 2}))
    crops, unit = Crops(volumes, pool, "label", dims=3), pool.find("002_patch_1_5_2")
    assert np.array_equal(crops[unit], volumes[1].label[1:3, 5:8, 2:4])
    assert Crops(volumes, pool, dims=3)[unit].shape == (2, 3, 2, 1)
    with pytest.raises(ConfigError, match="units of one slice. 002_patch_1_5_2 has 2"):
        Crops(volumes, pool)[unit]
    images = [volume("a", 1, channels=3), volume("b", 1, channels=3, side=8)]
    whole = Crops(images, open_pool(images, Named(name="image")))
    assert [image.shape for image in whole] == [(6, 4, 3), (8, 4, 3)]


def test_missing_arrays_and_other_volumes_are_refused():
    volumes = [volume("001", 2), volume("002", 1)]
    pool = open_pool(volumes)
    with pytest.raises(ConfigError, match="needs a scribble for every unit, but there is no scribble of 001, 002"):
        Crops(volumes, pool, "scribble")
    with pytest.raises(ConfigError, match="not those of the pool"):
        Crops(volumes[::-1], pool)


@pytest.mark.parametrize("channels", [0, 3])
def test_pixels_are_written_once(tmp_path, channels, monkeypatch):
    volumes = Volumes([volume("001", 2, channels=channels), volume("002", 3, channels=channels)])
    pool = open_pool(volumes)
    store = open_pixels(volumes, pool, tmp_path, shape=(6, 4))
    expected = np.concatenate([v.image for v in volumes]).astype(np.float16)
    assert store.shape == expected.shape[1:] and np.array_equal(store.array.T, expected.reshape(5, -1))
    monkeypatch.setattr(files, "atomic_path", None)
    assert np.array_equal(open_pixels(volumes, pool, tmp_path, shape=(6, 4)).array, store.array)
