"""The distance of MultiFeature Coreset. Expected values: by hand and tests/reference/kcenter.py."""

import numpy as np
import pytest

from fewslice.active.measures import mfc as mfc_pixels
from fewslice.active.measures.kcenter import greedy
from fewslice.active.measures.mfc import Extra, MaskedPixels, MfcDistance, MfcOptions, pool_columns
from fewslice.active.measures.pixels import as_pixel_store, stored_pixels
from fewslice.active.query import select
from fewslice.augment.interpolate import resize_nearest
from fewslice.core.errors import ConfigError
from tests.active.measures.test_kcenter import query
from tests.reference import kcenter as reference

COUNT, SIDE, IGNORE = 18, 6, 4
EVERYTHING = np.arange(COUNT)


@pytest.fixture(name="case")
def _case():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, SIDE, SIDE)).astype(np.uint8)
    images[5] = images[2]
    masks = np.where(rng.random(images.shape) < 0.3, rng.integers(0, 4, images.shape), IGNORE).astype(np.uint8)
    features = rng.normal(size=(COUNT, 4)).astype(np.float32)
    features[5] = features[2]
    return images, masks, features


def distance_of(case, images=None, **options):
    weights = MfcOptions(**options)
    masks = case[1] if weights.use_labels else None
    pixels = MaskedPixels(
        case[0] if images is None else images,
        masks,
        label_wt=weights.label_wt,
        default_pos_val=weights.default_pos_val,
    )
    return MfcDistance(weights, pixels=pixels, features=case[2])


def reference_distance(case, scale=1.0, **options):
    images, masks, features = case
    weights = MfcOptions(**options)
    repeats = int(weights.fuse_image_data_size_prop * SIDE * SIDE / features.shape[1])

    def distance(unit, centre, _=0):
        mask = np.where(masks[centre] != IGNORE, weights.label_wt, weights.default_pos_val)
        return reference.mfc(
            (images[unit] * scale, features[unit]),
            (images[centre] * scale, features[centre]),
            mask=mask if weights.use_labels else np.ones_like(mask),
            pos_wt=weights.pos_wt,
            normalise=weights.normalize_pos_by_label_ct,
            repeats=repeats,
        )

    return distance


OPTIONS = {
    "published": {"fuse_image_data_size_prop": 0.3},
    "weights": {"fuse_image_data_size_prop": 0.5, "label_wt": 8, "pos_wt": 0.3, "normalize_pos_by_label_ct": False},
    "all pixels": {"fuse_image_data_size_prop": 0.5, "label_wt": 2, "default_pos_val": 0.5, "pos_wt": 0.1},
    "no labels": {"fuse_image_data_size_prop": 1.0, "use_labels": False, "pos_wt": 0.01},
}


def test_by_hand():
    # two pixels under the scribble of unit 0: 3 and 4 away; 2 of them counted; embeddings 2 away, repeated once
    images = np.array([[[0, 0], [9, 9]], [[3, 4], [0, 0]]], np.uint8)
    masks = np.array([[[1, 0], [4, 4]], [[4, 4], [4, 4]]], np.uint8)
    features = np.array([[0.0], [2.0]])
    options = MfcOptions(pos_wt=10.0, fuse_image_data_size_prop=0.25)
    distance = MfcDistance(options, pixels=MaskedPixels(images, masks), features=features)
    np.testing.assert_allclose(distance.exact(np.arange(2), 0), [0, 10 * 5 / 2 + 2])
    # nothing is drawn in unit 1: the pixels say nothing
    np.testing.assert_allclose(distance.exact(np.arange(2), 1), [2, 0])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_equals_the_loops(case, options, dtype):
    case = (case[0].astype(dtype), *case[1:])
    distance, expected = distance_of(case, **options), reference_distance(case, **options)
    for centre in (0, 5):
        exact = distance.exact(EVERYTHING, centre)
        np.testing.assert_allclose(exact, [expected(unit, centre) for unit in EVERYTHING], rtol=1e-12, atol=1e-12)
        lower, upper = distance.bounds(centre)
        assert (lower <= exact).all() and (exact <= upper).all()
        np.testing.assert_allclose(upper[exact > 0], lower[exact > 0], rtol=1e-4)
    chosen, _ = reference.greedy(COUNT, expected, 9, already=[3])
    assert greedy(distance, 9, labelled=[3], rng=None).indices.tolist() == chosen


def test_strategy_takes_the_options(case):
    images, masks, features = case
    options = OPTIONS["weights"]
    expected, _ = reference.greedy(COUNT, reference_distance(case, **options), 7, already=[1, 2])
    parts = query(COUNT, 7, [1, 2], pixels=images, masks=masks, features=features)
    choice = select("mfc", parts, options)
    assert choice.indices.tolist() == expected


def test_without_embeddings(case):
    """Pixels alone, as where all embeddings are one; embeddings far apart would decide."""
    images, masks, features = case
    repeated = {"fuse_image_data_size_prop": 0.5}
    expected, _ = reference.greedy(COUNT, reference_distance((images, masks, 0 * features), **repeated), 7, already=[1])
    choice = select("mfc_pixels", query(COUNT, 7, [1], pixels=images, masks=masks), {})
    assert choice.indices.tolist() == expected
    both = select("mfc", query(COUNT, 7, [1], pixels=images, masks=masks, features=1e4 * features), repeated)
    assert both.indices.tolist() != expected


TERMS = {
    "patient_wt": 1.5,
    "phase_wt": 0.7,
    "group_wt": 0.9,
    "height_wt": -0.3,
    "weight_wt": 0.2,
    "slice_rel_pos_wt": 0.8,
    "slice_mid_wt": 0.4,
    "slice_pos_wt": 1.1,
    "extra_feature_wt": 2.0,
}


def unit_terms(columns, unit):
    return {name: values[unit] for name, values in columns.items()}


@pytest.mark.parametrize("limit", [{}, {"max_dist": 2.0, "wt_max_dist_mult": 0.25}], ids=["free", "clamped"])
def test_terms_equal_the_loops(limit):
    rng = np.random.default_rng(0)
    pool = query(COUNT, 1).pool
    metadata = {
        "phase": rng.integers(0, 2, COUNT).astype(float),
        "group": np.eye(3)[rng.integers(0, 3, COUNT)],
        "height": rng.normal(170, 9, COUNT),
        "weight": rng.normal(70, 9, COUNT),
    }
    pool.metadata.update(metadata)
    columns = pool_columns(pool)
    assert columns["height"].mean() == pytest.approx(0, abs=1e-12) and columns["height"].std(ddof=1) == pytest.approx(1)
    options = MfcOptions(**TERMS, **limit)
    distance = MfcDistance(options, extra=Extra(options, columns))
    for centre in (0, 7):
        expected = [
            reference.terms(unit_terms(columns, unit), unit_terms(columns, centre), TERMS | limit)
            for unit in EVERYTHING
        ]
        np.testing.assert_allclose(distance.exact(EVERYTHING, centre), expected, rtol=1e-12, atol=1e-12)


def test_uncertainty_adds_up_and_no_unit_is_chosen_twice(case):
    images, masks, features = case
    scores = np.random.default_rng(0).random(COUNT)
    scores[1] = np.nan  # labelled
    parts = query(COUNT, 10, [1], pixels=images, masks=masks, features=features, scores=scores)
    options = {"uncertainty_wt": 1e9, "fuse_image_data_size_prop": 0.2}
    order = np.argsort(-np.where(np.arange(COUNT) == 1, -1, scores))
    assert select("mfc", parts, options).indices.tolist() == order[:10].tolist()


def test_what_is_missing_is_named(case):
    images, masks, features = case
    parts = query(COUNT, 3, [1], pixels=images, masks=masks, features=features)
    with pytest.raises(ConfigError, match="no height and no uncertainty for the units"):
        options = {"uncertainty_wt": 1.0, "height_wt": 1.0, "fuse_image_data_size_prop": 0.5}
        select("mfc", parts, options)
    with pytest.raises(ConfigError, match="do not enter .* Give at least fuse_image_data_size_prop=") as caught:
        select("mfc", parts, {"fuse_image_data_size_prop": 0.01})
    enough = float(str(caught.value).split("size_prop=")[1].split(",")[0])
    assert len(select("mfc", parts, {"fuse_image_data_size_prop": enough}).indices) == 3
    with pytest.raises(ConfigError, match="must not be negative"):
        select("mfc", parts, {"max_dist": -1})


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_other_metrics(case, metric):
    images, masks, features = case
    distance = distance_of(case, metric=metric, pos_wt=2.0, fuse_image_data_size_prop=0.4)  # repeated 3 times
    drawn = masks[3] != IGNORE
    pair = getattr(reference, metric)
    factor = 3 if metric == "dot" else 1
    expected = [
        2 * pair(images[unit][drawn], images[3][drawn]) / drawn.sum() + factor * pair(features[unit], features[3])
        for unit in EVERYTHING
    ]
    np.testing.assert_allclose(distance.exact(EVERYTHING, 3), expected, rtol=1e-12, atol=1e-12)
    assert len(set(greedy(distance, 9, labelled=[3], rng=None).indices)) == 9


def test_halves_are_widened_exactly():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16)
    values = values[np.isfinite(values)]
    np.testing.assert_array_equal(mfc_pixels._widened(values), values.astype(np.float32))


def test_colours_are_all_weighted(case):
    images, masks, features = case
    colours = np.repeat(images[..., None], 3, axis=-1)
    distance = MaskedPixels(colours, masks)
    assert distance.weighted(3) == 3 * (masks[3] != IGNORE).sum()
    np.testing.assert_allclose(
        distance.exact(EVERYTHING, 3), np.sqrt(3) * MaskedPixels(images, masks).exact(EVERYTHING, 3)
    )


def test_store(case, tmp_path, monkeypatch):
    monkeypatch.setattr("fewslice.active.measures.pixels._BLOCK_BYTES", 5 * 2 * SIDE * SIDE)
    images, path = case[0][:, :4, :, None] / 255.0, tmp_path / "pixels.npy"
    store = stored_pixels(path, images, (SIDE, SIDE))
    resized = np.stack([resize_nearest(image[..., 0], (SIDE, SIDE)) for image in images]).astype(np.float16)
    assert len(store) == COUNT and store.shape == (SIDE, SIDE) and isinstance(store.array, np.memmap)
    np.testing.assert_array_equal(store.array.T, resized.reshape(COUNT, -1))
    stored, plain = (MaskedPixels(pixels, case[1]) for pixels in (store, resized))
    exact = stored.exact(EVERYTHING, 3)
    np.testing.assert_array_equal(exact, plain.exact(EVERYTHING, 3))
    lower, upper = stored.bounds(3)
    assert (lower <= exact).all() and (exact <= upper).all()
    assert sorted(tmp_path.iterdir()) == [path.with_suffix(".json"), path]
    whole = path.read_bytes()
    for damage in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damage)
        np.testing.assert_array_equal(stored_pixels(path, images, (SIDE, SIDE)).array.T, resized.reshape(COUNT, -1))
        assert path.read_bytes() == whole


def test_resize_by_hand():
    image = np.array([[0, 1], [2, 3]])
    assert resize_nearest(image, (3, 3)).tolist() == [[0, 1, 1], [2, 3, 3], [2, 3, 3]]
    assert resize_nearest(np.arange(5)[None].repeat(5, 0), (1, 3)).tolist() == [[0, 2, 4]]
    assert as_pixel_store(image[None]).array.tolist() == [[0], [1], [2], [3]]
