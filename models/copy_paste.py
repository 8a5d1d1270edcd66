"""The network of bidirectional copy-paste."""

from __future__ import annotations

import keras
from keras import layers

from models.joint import LOGITS, Rows
from models.teacher import CONSISTENCY, AveragedTeacher
from models.unet import build_unet, check_at_least_one


def build_copy_paste_net(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    num_labelled: int,
    num_unlabelled: int,
    teacher_decay: float = 0.99,
    seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Builds the network of bidirectional copy-paste.

    A batch is [num_labelled labelled | u mixed | u unlabelled], u = num_unlabelled. Labelled and mixed rows are
    normalised together and move the statistics; the teacher predicts the unlabelled rows.

    Args:
        image_shape: (height, width, channels); sides are multiples of 32.
        num_classes: Classes including background.
        num_labelled: Labelled rows.
        num_unlabelled: Mixed rows, and unlabelled rows that they are mixed from.
        teacher_decay: Of the averaged teacher; 0 predicts with the present weights in inference mode.
        seed: Of the initial weights.

    Returns:
        The network images -> {"logits": (num_labelled, height, width, num_classes), "consistency": (2 u, height,
        width, num_classes)}, the latter [targets' logits without gradient | logits of the mixed images]; and the
        U-Net that it trains, image -> logits, to predict with.

    Raises:
        ValueError: a number out of range.

    Source:
        Bai et al., 2023, https://arxiv.org/abs/2305.00673, section 3.
    """
    check_at_least_one(num_labelled=num_labelled, num_unlabelled=num_unlabelled)
    unet = build_unet(image_shape, num_classes, seed=seed)
    images = keras.Input(image_shape, name="image")
    num_trained = num_labelled + num_unlabelled
    trained = unet(Rows(0, num_trained, name="trained_rows")(images))
    target = AveragedTeacher(unet, teacher_decay, name="teacher")(Rows(num_trained, name="unlabelled_rows")(images))
    mixed = Rows(num_labelled, num_trained, name="mixed_logits")(trained)
    outputs = {
        LOGITS: Rows(0, num_labelled, name="labelled_logits")(trained),
        CONSISTENCY: layers.Concatenate(axis=0, name="views")([target, mixed]),
    }
    return keras.Model(images, outputs, name="copy_paste"), unet
