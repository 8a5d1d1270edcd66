"""Batches of joint training, ours and plain, from random numbers, and the plain loss that reads the plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from keras import ops

from benchmarks import joint_loss
from models.joint import EMBEDDINGS, LOGITS

EXP_NO = 1  # inter-image, as published


class PackedPixelLoop(joint_loss.PixelLoop):
    """`PixelLoop` whose `y_true` holds the positions too, see `plain_targets`, so that they change from step to step.

    Args:
        sizes: `stages.Sizes`.
    """

    def __init__(self, sizes: Any):
        super().__init__(EXP_NO, None)
        self.shape = 2 * sizes.pairs, sizes.num_classes - 1, sizes.n_pos

    def call(self, y_true: Any, y_pred: Any) -> Any:
        num_maps, num_foreground, n_pos = self.shape
        pixels = y_true.shape[1] - num_foreground * n_pos
        masks = ops.reshape(y_true[:, :pixels], (num_maps, *y_pred.shape[1:3], num_foreground + 1))
        return self.value(masks, ops.reshape(ops.cast(y_true[:, pixels:], "int32"), self.shape), y_pred)


def plain_targets(masks: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Packs what `PackedPixelLoop` needs into one array, since Keras hands a loss no more.

    Args:
        masks: (2B, H, W, K) one-hot.
        positions: (2B, K - 1, n_pos, 2) rows and columns.

    Returns:
        (2B, H * W * K + (K - 1) * n_pos) float32: the masks, then row * W + column of the pixels.
    """
    places = positions @ (masks.shape[2], 1)
    parts = [part.reshape(len(masks), -1) for part in (masks, places)]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")


def fixed_batch(sizes: Any, *, is_plain: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns images of random numbers [labelled | first of the pairs | second] and the targets of both outputs."""
    from losses import pixel_targets

    given = joint_loss.Sizes(sizes.pairs, sizes.side, channels=1, classes=sizes.num_classes, n_pos=sizes.n_pos)
    labels, positions, valid, _ = joint_loss.batch(given)
    one_hot, rng = np.eye(sizes.num_classes, dtype=np.float32), np.random.default_rng(0)
    truth = rng.integers(sizes.num_classes, size=(sizes.slices, sizes.side, sizes.side))
    images = rng.standard_normal((len(truth) + len(labels), *sizes.image_shape), dtype=np.float32)
    packed = plain_targets(one_hot[labels], positions) if is_plain else pixel_targets(labels, positions, valid)
    return images, {LOGITS: one_hot[truth], EMBEDDINGS: packed}


def our_batches(volumes: Sequence[Any], sizes: Any) -> Callable[[int], Any]:
    """Returns our function step -> batch: what joint training draws and assembles.

    Args:
        volumes: With `image` and `label`, each (depth, side, side); every class is in every slice. They are the
            labelled and the pseudo-labelled ones.
        sizes: `stages.Sizes`.
    """
    from fewslice.augment.segmentation import SegmentationAugmentation
    from fewslice.data.batches import generator, joint
    from fewslice.stages.joint.contrastive import assemble

    pool = joint.LabelPool([volume.label for volume in volumes], sizes.num_classes)
    pools = SimpleNamespace(labelled=pool, unlabelled=pool, labelled_volumes=volumes, unlabelled_volumes=volumes)
    plan = joint.JointPlan(
        bt_size=sizes.pairs, exp_no=EXP_NO, num_labelled=sizes.slices, n_pos=sizes.n_pos, min_classes_seg=3
    )
    augmentation = SegmentationAugmentation()

    def make(step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = generator(0, 0, step)
        drawn = joint.draw_joint_batch(rng, pool, pool, plan=plan)
        return assemble(rng, drawn, pools, augmentation=augmentation)

    return make


def plain_batches(volumes: Sequence[Any], sizes: Any) -> Callable[[int], Any]:
    """Returns the plain function step -> batch: one image after the other; arguments as for `our_batches`."""
    from benchmarks.plain_augmentation import augmented_batch, joint_rows
    from fewslice.data.batches.joint import pair_table

    images = np.concatenate([volume.image for volume in volumes])[..., None]
    labels = np.concatenate([volume.label for volume in volumes])
    pairs = pair_table(sizes.pairs, EXP_NO).reshape(-1)

    def make(step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        rng = np.random.default_rng([0, step])
        chosen = rng.integers(len(images), size=sizes.slices)
        labelled, truth = augmented_batch(rng, images[chosen], labels[chosen], sizes.num_classes)
        chosen = rng.integers(len(images), size=sizes.pairs)[pairs]
        options = {"num_classes": sizes.num_classes, "n_pos": sizes.n_pos}
        views, masks, positions = joint_rows(rng, images[chosen], labels[chosen], **options)
        targets = {LOGITS: truth, EMBEDDINGS: plain_targets(masks, positions)}
        return np.concatenate([labelled, views]), targets

    return make
