"""Labels that are known in part, from the file to batches and scores. Expected values: by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.augment.segmentation import SegmentationAugmentation, augment_segmentation_batch, one_hot
from fewslice.core.errors import ConfigError, DataError
from fewslice.data.batches import joint
from fewslice.data.batches.contrastive import segmentation_batch
from fewslice.data.cache import open_cache
from fewslice.data.readers import get_reader
from fewslice.data.volume import Case, label_to_grid, partial_label_to_grid
from fewslice.evaluate import scores, validation
from fewslice.evaluate.summary import published_means
from fewslice.settings import datasets
from tests.data import layouts

K = 4  # classes of `layouts.dataset`; also "not annotated"
CASE = Case("a", "a", "", None, None)


def opened(root, codes, **changes):
    """The prepared volume of an image and a label of these codes, (14, 12, 3)."""
    layouts.save(root / "scans" / "images" / "a.nii.gz", layouts.image())
    layouts.save(root / "scans" / "labels" / "a.nii.gz", codes)
    values = {"images_dir": "images", "labels_dir": "labels", "data_root": root, **changes}
    dataset = layouts.dataset("paired_folders", **values)
    (volume,) = open_cache(dataset, get_reader(dataset).cases(), with_label=True, progress=False)
    return dataset, volume


def of_slice_1(code):
    """Codes of which only slice 1 is annotated."""
    codes = layouts.label()
    codes[..., [0, 2]] = code
    return codes


def test_the_code_of_what_is_not_annotated_becomes_the_number_of_classes(tmp_path):
    dataset, volume = opened(tmp_path, of_slice_1(255), ignore_label=255)
    assert (volume.native_label[..., 1] == layouts.label()[..., 1]).all()
    assert (volume.native_label[..., [0, 2]] == K).all() and (volume.label[[0, 2]] == K).all()
    assert volume.annotated_slices.tolist() == [1] and volume.shows_structure and not volume.is_complete
    part = volume.annotated_part()
    assert part.native_shape == (14, 12, 1) and (part.image == volume.image[[1]]).all()
    with pytest.raises(DataError, match=r"(?s)label values 0, 1, 2, 3, 255.*also 9"):
        opened(tmp_path, of_slice_1(9), ignore_label=255)


def test_with_a_label_map_too(tmp_path):
    codes = np.where(of_slice_1(7) == 7, 7, of_slice_1(7) * 100).astype(np.int16)
    label_map = ((0, 0), (100, 1), (200, 2), (300, 3))
    _, volume = opened(tmp_path, codes, ignore_label=7, label_map=label_map)
    assert (volume.native_label == np.where(of_slice_1(7) == 7, K, of_slice_1(7))).all()


def test_a_code_of_a_class_cannot_mean_not_annotated():
    with pytest.raises(ConfigError, match=r"`ignore_label` must be a code that no class has, such as 255. Received: 2"):
        datasets.load_dataset_config("acdc", {"ignore_label": "2"})
    assert datasets.load_dataset_config("acdc", {"ignore_label": "255"}).ignore_label == 255
    assert "ignore_label" not in datasets.config_dict(datasets.load_dataset_config("acdc"))


def test_complete_slices_are_prepared_as_in_full_labels():
    """Beyond the file they are background; a slice with holes is open there."""
    dataset = layouts.dataset("paired_folders", target_resolution=(3.0, 3.0))
    full = layouts.label().astype(np.uint8)
    expected = label_to_grid(full, layouts.SPACING, dataset)
    np.testing.assert_array_equal(partial_label_to_grid(full, layouts.SPACING, dataset), expected)
    holes = full.copy()
    holes[:, :, 0], holes[:7, :, 2] = K, K
    found = partial_label_to_grid(holes, layouts.SPACING, dataset)
    np.testing.assert_array_equal(found[1], expected[1])
    assert (found[0] == K).all() and found[2, 0, 0] == K and (found[2] < K).any() and expected[1, 0, 0] == 0


def test_batches_draw_annotated_slices_only(tmp_path):
    _, volume = opened(tmp_path, of_slice_1(255), ignore_label=255)
    rng = np.random.default_rng(0)
    batch = segmentation_batch(rng, [volume], batch_size=5, num_classes=K, augmentation=SegmentationAugmentation())
    assert (batch.sources == [0, 1]).all() and set(np.unique(batch.labels.sum(axis=-1) > 0.5)) == {True}
    pool = joint.LabelPool([volume.label], K)
    assert pool.present.any(axis=1).tolist() == [False, True, False]


def test_the_same_batches_where_everything_is_annotated(tmp_path):
    _, volume = opened(tmp_path, layouts.label(), ignore_label=255)
    plain = SimpleNamespace(image=volume.image, label=volume.label)
    options = {"batch_size": 6, "num_classes": K, "augmentation": SegmentationAugmentation(), "mixup": 0.5}
    ours, theirs = (segmentation_batch(np.random.default_rng(3), [each], **options) for each in (volume, plain))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("names", [(), ("rotation", "scaling", "mirroring", "noise")], ids=["published", "planned"])
def test_augmentation_fills_open_slices_with_unknown_and_others_with_background(names):
    rng = np.random.default_rng(1)
    images = np.ones((60, 16, 16, 1), np.float32)
    labels = np.ones((60, 16, 16), np.uint8)
    labels[:30, :2, :2] = K
    settings = SegmentationAugmentation(ri_en=False, names=names)
    _, onehot = augment_segmentation_batch(rng, images, labels, K, settings=settings)
    total = onehot.sum(axis=-1)
    assert onehot[:30, ..., 0].max() == 0 and (total[:30] == 0).any()  # no background was made up
    assert set(np.round(np.unique(total), 3)) == {0, 1}  # no half-known pixels at the rims
    assert onehot[30:, ..., 0].max() > 0 and (total[30:] > 0.999).all()
    assert not one_hot(np.full((1, 2, 2), K), K).any()


def test_only_annotated_voxels_are_scored():
    truth, prediction = np.full((4, 4, 3), K, np.uint8), np.ones((4, 4, 3), np.uint8)
    truth[..., 1] = 0
    truth[:2, :, 1] = 1  # half of what is predicted: Dice 2 * 8 / (8 + 16)
    found = scores.score_volume(truth, prediction, case=CASE, spacing_mm=(1, 1, 1), num_classes=K)
    assert found.dice[1] == pytest.approx(2 / 3) and np.isnan(found.dice[2:]).all() and np.isnan(found.hd95_mm).all()
    assert found.notes[0] == "annotated in 1 of 3 slices: no surface distances"
    assert found.notes[1].startswith("absent in truth and prediction; annotated in 1 of 3")
    assert found.absent == ("", "absent in truth and prediction", "absent in truth and prediction")
    assert published_means([found], ("a", "b", "c"))["per_structure"]["a"]["dice"] == pytest.approx(2 / 3)


def test_validation_looks_at_annotated_pixels_only():
    label = np.full((2, 4, 4), K)
    label[1, :2] = 1
    probabilities = np.zeros((2, 4, 4, K))
    probabilities[..., 1] = 1  # right wherever something is known
    assert validation.dice_loss_per_slice(probabilities, label) == pytest.approx([1 - 1 / K])
    assert validation.confident_pixels(probabilities, label, 0.9).tolist() == [8, 8, 8]


def test_without_validation_the_last_weights_count(caplog):
    from fewslice.data.cache import PreparedSet
    from fewslice.train.evaluation import validation_of

    dataset = SimpleNamespace(struct_name=("a",))
    found = validation_of(dataset, None, PreparedSet())()
    assert math.isnan(found["val_dice"]) and math.isnan(found["val_dice_a"])
    assert "the last weights count as the best" in caplog.text
