"""Which slices make a batch. Expected values: golden files, tests/reference/samplers.py, and hand cases."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.data.batches.contrastive import (
    gather_slices,
    locate_slices,
    partition_edges,
    sample_partitions,
    sample_slices,
)
from tests.golden_files import golden_param
from tests.reference import samplers as reference


def _volumes(depths, shape=(2, 2)):
    """Volumes whose voxels say 1000 * (volume + 1) + slice."""
    return [
        np.broadcast_to((1000.0 * (index + 1) + np.arange(depth))[:, None, None], (depth, *shape)).astype(np.float32)
        for index, depth in enumerate(depths)
    ]


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "sampler_*.npz"))
def test_golden_partitions(path):
    """The published sampler leaves rows black (value 0) that have no volume; ours has no such rows."""
    data = np.load(path)
    depths, n_parts = data["depths"].tolist(), int(data["n_parts"])
    draw = random.Random(int(data["seed_python_random"]))
    rows, volumes = reference.published_partition_sampler(
        depths, int(data["batch_sz"]), int(data["n_vols"]), n_parts, draw
    )
    values = [0 if row is None else 1000 * (row[0] + 1) + row[1] for row in rows]
    assert values == data["out"].tolist() and volumes == data["drawn_volumes"].tolist()

    slices = data["drawn_slices"]
    slots, parts = np.divmod(np.arange(len(slices)), n_parts)
    drawn = np.stack([data["drawn_volumes"][slots], slices], axis=1)
    images = gather_slices(_volumes(depths), drawn)
    np.testing.assert_array_equal(images[:, 0, 0, 0], data["out"][: len(drawn)])
    for (volume, index), part in zip(drawn, parts, strict=True):
        edges = reference.published_edges(depths[volume], n_parts)
        assert edges[part] <= index < edges[part + 1]

    blank = int((data["out"] == 0).sum())
    assert blank == int(data["batch_sz"]) - len(drawn)
    ours = sample_partitions(np.random.default_rng(0), depths, int(data["n_vols"]), n_parts)
    ours_values = gather_slices(_volumes(depths), ours.reshape(-1, 2))[:, 0, 0, 0]
    assert len(ours_values) == int(data["n_vols"]) * n_parts and (ours_values > 0).all()


@pytest.mark.golden
@pytest.mark.parametrize("path", golden_param("contrastive/data", "shuffle_minibatch*.npz"))
def test_golden_slices(path):
    """The published draw (NumPy's old generator), located in volumes of our making."""
    data = np.load(path)
    total, count = int(data["n_slices"]), len(data["slices"])
    old = np.random.RandomState(int(data["seed_numpy"]))  # noqa: NPY002 (the published generator)
    flat = old.choice(np.arange(total), size=count, replace=True)
    np.testing.assert_array_equal(flat, data["slices"])
    depths = [total // 3, total - total // 3]
    drawn = locate_slices(flat, depths)
    values = np.arange(total, dtype=np.float32)
    volumes = [
        np.broadcast_to(part[:, None, None], (len(part), *data["shape"][1:3])) for part in np.split(values, [depths[0]])
    ]
    images = gather_slices(volumes, drawn)
    assert images.shape == tuple(data["shape"])
    np.testing.assert_array_equal(images[:, 0, 0, 0], data["slices"])
    np.testing.assert_array_equal(images[:, 0, 0, 0] + 100, data["labels"])


def test_locate_slices_by_hand():
    drawn = locate_slices(np.array([0, 2, 3, 4, 9]), [3, 1, 0, 6])
    assert drawn.tolist() == [[0, 0], [0, 2], [1, 0], [3, 0], [3, 5]]


def test_slices_are_uniform_over_all_slices():
    depths = [2, 5, 13]
    drawn = sample_slices(np.random.default_rng(0), depths, 40_000)
    volumes, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(volumes) == 20
    np.testing.assert_allclose(counts, 2000, rtol=0.1)


@pytest.mark.parametrize("depth", [4, 5, 9, 10, 11, 37])
@pytest.mark.parametrize("n_parts", [1, 2, 3, 4])
def test_partitions_cover_every_slice(depth, n_parts):
    edges = partition_edges(np.array([depth]), n_parts)[0]
    parts = [list(range(edges[k], edges[k + 1])) for k in range(n_parts)]
    assert parts == reference.covering_partitions(depth, n_parts)
    sizes = [len(part) for part in parts]
    assert sum(sizes) == depth and max(sizes) - min(sizes) <= 1


def test_partition_sampling():
    depths = [11, 8, 16, 9, 4]
    seen = set()
    for seed in range(300):
        drawn = sample_partitions(np.random.default_rng(seed), depths, 4, 4)
        assert drawn.shape == (4, 4, 2)
        assert len(set(drawn[:, 0, 0])) == 4 and (drawn[:, :, 0] == drawn[:, :1, 0]).all()
        for slot in drawn:
            parts = reference.covering_partitions(depths[slot[0, 0]], 4)
            assert all(index in part for part, index in zip(parts, slot[:, 1], strict=True))
        seen |= set(drawn[drawn[:, 0, 0] == 0][:, :, 1].ravel().tolist())
    assert seen == set(range(11))


def test_too_few_slices_names_the_volume_and_what_would_work():
    words = r"`n_parts`=6 .*007_ED \(5\), 009_ES \(3\).*--n_parts=3 or less"
    with pytest.raises(ConfigError, match=words):
        sample_partitions(np.random.default_rng(0), [9, 5, 3], 1, 6, names=["001", "007_ED", "009_ES"])


def test_no_slices():
    with pytest.raises(ConfigError, match="no slices to draw from"):
        sample_slices(np.random.default_rng(0), [], 3)


def test_gather_from_objects_and_memory_maps(tmp_path):
    np.save(tmp_path / "image.npy", _volumes([5])[0])
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    label = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 2, 2), np.uint8)
    volume = SimpleNamespace(image=mapped, label=label)
    images = gather_slices([volume], np.array([[0, 3], [0, 1]]))
    labels = gather_slices([volume], np.array([[0, 3], [0, 1]]), field="label")
    assert images.dtype == np.float32 and images[:, 0, 0, 0].tolist() == [1003, 1001]
    assert type(images) is np.ndarray and images.flags.writeable
    assert labels.dtype == np.uint8 and labels[:, 0, 0].tolist() == [3, 1]


def test_gather_refuses_sizes_that_differ_and_missing_labels():
    mixed = [np.zeros((3, 4, 4), np.float32), np.zeros((3, 5, 4), np.float32)]
    with pytest.raises(ConfigError, match="must have one size"):
        gather_slices(mixed, np.array([[0, 0], [1, 0]]))
    with pytest.raises(ConfigError, match="002_ED has no label"):
        volume = SimpleNamespace(image=mixed[0], label=None, case=SimpleNamespace(case_id="002_ED"))
        gather_slices([volume], np.array([[0, 0]]), field="label")
