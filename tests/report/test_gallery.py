"""Galleries and maps: sizes of the pictures, what is drawn where. Expected values: by hand, and scikit-learn's PCA."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewslice.core.colours import structure_colour
from fewslice.core.errors import ConfigError
from fewslice.data.volume import Case
from fewslice.report.figures import embedding_map, gallery


def is_drawn(path, colour, tolerance=25):
    """Returns whether a picture has a pixel of about this colour."""
    target = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.int16)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.int16)
    return np.abs(pixels - target).max(axis=2).min() <= tolerance


def test_titles():
    titles = gallery.pick_titles(["volume1_slice0", "volume0_slice0"], [0.25, float("nan")])
    assert titles == ["1  volume1_slice0\n0.25", "2  volume0_slice0"]


def test_more_rows_make_a_higher_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 12)
    sizes = []
    for count in (0, 1, 6, 14):
        images = np.random.default_rng(0).random((count, 12, 10, 1)).astype(np.float32)
        gallery.draw_gallery(tmp_path / "a.png", images, [f"{n}  $id_slice_{n:02d}" for n in range(count)])
        sizes.append(Image.open(tmp_path / "a.png").size)
    assert len({width for width, _ in sizes}) == 1
    assert sizes[0][1] < sizes[2][1] < sizes[3][1] and sizes[1][1] < sizes[2][1]


def test_scribbles_are_painted_and_masks_outlined(tmp_path):
    images = np.zeros((2, 24, 24), np.float32)
    scribbles = np.full((2, 24, 24), 4, np.uint8)
    scribbles[:, 4:9, 4:9] = 2
    scribbles[:, 12, 1:23] = 0
    path = tmp_path / "a.png"
    gallery.draw_gallery(path, images, ["a", "b"], annotations=scribbles, num_classes=4)
    assert is_drawn(path, structure_colour(2)) and is_drawn(path, structure_colour(3)), "3 stands in the legend"
    masks = np.where(scribbles == 4, 0, scribbles)
    masks[:, :2] = 4  # where the network's grid reaches beyond the file
    gallery.draw_gallery(path, images, ["a", "b"], annotations=masks, num_classes=4, names=("rv", "myo", "lv"))
    assert is_drawn(path, structure_colour(2))
    gallery.draw_gallery(path, images, ["a", "b"])
    assert not is_drawn(path, structure_colour(2))


def test_colour_images(tmp_path):
    images = np.zeros((1, 8, 6, 3), np.float32)
    images[..., 0] = 1
    gallery.draw_gallery(tmp_path / "a.png", images, ["a"])
    assert is_drawn(tmp_path / "a.png", "#ff0000", tolerance=3)


def test_pictures_stand_upright():
    plane = np.arange(6).reshape(2, 3)  # two rows of three pixels, as a picture is stored
    cases = [Case("a", "a", "", Path(f"a{ending}"), None) for ending in (".png", ".nii.gz")]
    assert [gallery.upright(plane, case).shape for case in cases] == [(3, 2), (2, 3)]  # the first axis is shown across


def test_small_pools_get_principal_components():
    features = np.random.default_rng(0).normal(size=(9, 5))
    found = embedding_map.project(features, seed=0)
    centred = features - features.mean(axis=0)
    values = np.linalg.svd(centred, full_matrices=False)[1]
    assert found.points.shape == (9, 2)
    np.testing.assert_allclose(np.linalg.norm(found.points, axis=0), values[:2], rtol=1e-5)
    share = (values[:2] ** 2).sum() / (values**2).sum()
    assert found.note == f"first two principal components, {share:.1%} of the variance"


def test_neighbours_stay_neighbours_and_the_seed_decides():
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(5 * group, 0.1, (12, 4)) for group in range(3)]).astype(np.float32)
    found = embedding_map.project(features, seed=3)
    assert np.array_equal(found.points, embedding_map.project(features, seed=3).points)
    assert found.note.startswith("t-SNE of the first 4 principal components, 100.0% of")
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=2) + 1e9 * np.eye(36)
    assert (distances.argmin(axis=1) // 12 == np.arange(36) // 12).all()


def test_large_pools_are_projected_in_blocks(monkeypatch):
    """Components of a sample, all units projected: the same plane where the data have only two dimensions."""
    monkeypatch.setattr(embedding_map, "_SAMPLE_VALUES", 50 * 6)
    monkeypatch.setattr(embedding_map, "_ROWS", 7)
    monkeypatch.setattr(embedding_map, "MOST", 40)
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 6))
    found = embedding_map.project(features, seed=0)
    assert "100.0%" in found.note
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(found.points[:, None] - found.points[None], axis=2), distances, atol=1e-4)


@pytest.mark.parametrize("features", [np.ones((30, 4)), np.zeros((1, 3)), np.arange(12.0)[:, None]])
def test_degenerate_features(features, tmp_path):
    assert np.isfinite(embedding_map.project(features, seed=0).points).all()


def test_features_that_are_no_numbers():
    with pytest.raises(ConfigError, match="not finite"):
        embedding_map.project(np.array([[0.0, np.nan], [1, 2]]), seed=0)


@pytest.mark.parametrize(("labelled", "chosen"), [((), [3, 9]), ((0, 1), [5]), ((2,), []), (range(25), range(25, 30))])
def test_map_marks_labelled_and_chosen(tmp_path, labelled, chosen):
    is_labelled = np.isin(np.arange(30), list(labelled))
    projection = embedding_map.Projection(np.random.default_rng(0).normal(size=(30, 2)), "by hand")
    path = tmp_path / "map.png"
    marks = {"share": np.linspace(0, 1, 30), "is_labelled": is_labelled, "chosen": np.array(chosen, int)}
    embedding_map.draw_embedding_map(path, projection, title="5 of 30", **marks)
    assert is_drawn(path, "#d1603d", 5) == bool(len(chosen))


def test_titles_say_for_how_many_a_slice_stands():
    assert gallery.pick_titles(["a", "b"], [0.25, float("nan")], [7, 2]) == ["1  a\n0.25, for 7", "2  b\nfor 2"]
    assert gallery.with_value_note("x", [float("nan")], [2]).startswith("x; below a name: 'for n'")
