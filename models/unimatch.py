"""The network of UniMatch: weak-to-strong consistency with two strong views and one of dropped features."""

from __future__ import annotations

import keras
from keras import layers

from models.joint import LOGITS, Rows
from models.layers import BatchNormalization
from models.teacher import CONSISTENCY, AveragedTeacher, StopGradient
from models.unet import ENCODER_FILTERS, build_unet, check_at_least_one


def without_statistics(network: keras.Model) -> keras.Model:
    """Returns the same network on the same weights, which in training leaves the moving statistics alone.

    It normalises by the statistics of its own batch, as usual. For images unlike those of inference, such as strongly
    changed ones, whose statistics would spoil the prediction.
    """

    def call(layer, *args, **kwargs):
        if isinstance(layer, BatchNormalization):
            kwargs["update_statistics"] = False
        return layer(*args, **kwargs)

    still = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
    inputs = still.inputs if len(still.inputs) > 1 else still.inputs[0]
    return keras.Model(inputs, still.outputs[0], name=f"{network.name}_still")


def build_unimatch_net(
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    num_labelled: int,
    num_unlabelled: int,
    teacher_decay: float = 0.99,
    feature_dropout: float = 0.5,
    seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Builds the network of weak-to-strong consistency with two strong views and one of dropped features.

    A batch is [num_labelled labelled | u unlabelled, weakly changed | u strongly changed | u strongly changed again],
    u = num_unlabelled. Labelled and weakly changed rows are normalised together and move the statistics; the strong
    rows are normalised by themselves and do not, nor does the pass with dropped features.

    Args:
        image_shape: (height, width, channels); sides are multiples of 32.
        num_classes: Classes including background.
        num_labelled: Labelled rows.
        num_unlabelled: Unlabelled slices, u.
        teacher_decay: Of the averaged teacher that makes the targets; 0: the network itself makes them, as published,
            from the weakly changed rows as it is trained on them.
        feature_dropout: Share of the channels of each encoder level that is dropped; 0 leaves that pass out.
        seed: Of the initial weights and of the dropout.

    Returns:
        The network images -> {"logits": (num_labelled, height, width, num_classes), "consistency": (3 u or 4 u,
        height, width, num_classes)}, the latter [targets' logits without gradient | dropped features | strong |
        strong again]; and the U-Net that it trains, image -> logits, to predict with.

    Raises:
        ValueError: a number out of range.

    Source:
        Yang et al., 2023, https://arxiv.org/abs/2208.09910, section 3.

    Notes:
        Differs from the published code in that the strong views' statistics are kept out of inference, and in the
        averaged teacher. There, all rows move the statistics.
    """
    check_at_least_one(num_labelled=num_labelled, num_unlabelled=num_unlabelled)
    if not 0 <= feature_dropout < 1:
        raise ValueError(f"`feature_dropout` must be at least 0 and below 1. Received: {feature_dropout}")
    unet = build_unet(image_shape, num_classes, seed=seed)
    images = keras.Input(image_shape, name="image")
    num_clean = num_labelled + num_unlabelled
    levels = [unet.get_layer(f"enc_c{level}_b_relu").output for level in range(1, len(ENCODER_FILTERS) + 1)]
    decoder = keras.Model(levels, unet.output, name="decoder")
    clean_levels = keras.Model(unet.input, levels, name="encoder")(Rows(0, num_clean, name="clean_rows")(images))
    clean = decoder(clean_levels)
    if teacher_decay:
        weak = Rows(num_labelled, num_clean, name="weak_images")(images)
        views = [AveragedTeacher(unet, teacher_decay, name="teacher")(weak)]
    else:
        views = [StopGradient(name="teacher")(Rows(num_labelled, num_clean, name="weak_logits")(clean))]
    if feature_dropout:
        dropped = []
        for level, x in enumerate(clean_levels, start=1):
            x = Rows(num_labelled, num_clean, name=f"weak_level{level}")(x)
            drop = layers.SpatialDropout2D(feature_dropout, seed=seed + level, name=f"feature_dropout{level}")
            dropped.append(drop(x))
        views.append(without_statistics(decoder)(dropped))
    views.append(without_statistics(unet)(Rows(num_clean, name="strong_rows")(images)))
    outputs = {
        LOGITS: Rows(0, num_labelled, name="labelled_logits")(clean),
        CONSISTENCY: layers.Concatenate(axis=0, name="views")(views),
    }
    return keras.Model(images, outputs, name="unimatch"), unet
