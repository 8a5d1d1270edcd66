"""Networks that learn from unlabelled images by a mean teacher: UniMatch and bidirectional copy-paste.

Both call the U-Net of `build_unet` in a step together with a teacher, which makes the targets of unlabelled images
within that step: an exponential moving average of the network, or the network itself.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from models.joint import LOGITS, Rows
from models.layers import BatchNormalization
from models.unet import build_unet, check_at_least_one

CONSISTENCY = "consistency"
TEACHER_PREFIX = "ema_"


class AveragedTeacher(layers.Layer):
    """Predicts with an exponential moving average of a network's weights, moving statistics included.

    In training, every call first moves the average one step: average += (1 - decay) (weights - average), so that it
    follows the weights of the step before.

    Args:
        student: The network to follow; not part of this layer.
        decay: In [0, 1). 0 predicts with the student's present weights.

    It follows another network and has no `get_config`: a network that holds one is stored by its weights.

    Input: what the network takes. Output: its output in inference mode, without gradient.

    Source:
        Tarvainen and Valpola, 2017, https://arxiv.org/abs/1703.01780.
    """

    def __init__(self, student: keras.Model, decay: float, **kwargs):
        # The average is taken in float32, also under mixed precision.
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` must be at least 0 and below 1. Received: decay={decay}")
        self.decay = float(decay)
        self.network = keras.models.clone_model(student, clone_function=_renamed)
        self.network.trainable = False
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="float32", name="calls")
        self._warms_up = False
        self._student = lambda: student  # hidden from Keras, which would make it a part of this layer

    def start(self, *, warm_up: bool = False) -> None:
        """Sets the average to the present weights; to be called when these have been loaded, before the first step.

        Args:
            warm_up: Whether the decay grows: that of step t = 1, 2, ... is min(decay, t / (9 + t)). For a student that
                starts from random weights, which the average would hold on to for long.
        """
        self._warms_up = bool(warm_up)
        for own, followed in self._pairs():
            own.assign(np.array(ops.convert_to_numpy(followed)))  # a copy: JAX would share the buffer

    def compute_output_shape(self, input_shape):
        return self.network.compute_output_shape(input_shape)

    def call(self, inputs, training=False):
        if training:
            decay = self.decay
            if self._warms_up:
                self.calls.assign(self.calls + 1.0)
                decay = ops.minimum(decay, self.calls / (9.0 + self.calls))
            for own, followed in self._pairs():
                own.assign(own + (1.0 - decay) * (ops.stop_gradient(ops.convert_to_tensor(followed)) - own))
        return ops.stop_gradient(self.network(inputs, training=False))

    def _pairs(self):
        return zip(self.network.variables, self._student().variables, strict=True)


def _renamed(layer: layers.Layer) -> layers.Layer:
    """Returns a new layer of the same settings whose name tells that it is the teacher's."""
    return layer.__class__.from_config({**layer.get_config(), "name": TEACHER_PREFIX + layer.name})


@keras.saving.register_keras_serializable("fewslice")
class StopGradient(layers.Layer):
    """Passes its input on and no gradient back."""

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs):
        return ops.stop_gradient(inputs)


def start_teacher(model: keras.Model, *, warm_up: bool = False) -> None:
    """Starts the averaged teacher of `model`, if it has one, with its weights of now; see `AveragedTeacher.start`."""
    teacher = model.get_layer("teacher")
    if isinstance(teacher, AveragedTeacher):
        teacher.start(warm_up=warm_up)


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
    levels = [layer.output for layer in unet.layers if layer.name.startswith("enc_") and layer.name.endswith("b_relu")]
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
        image_shape, num_classes, num_labelled, seed: As for `build_unimatch_net`.
        num_unlabelled: Mixed rows, and unlabelled rows that they are mixed from.
        teacher_decay: Of the averaged teacher; 0 predicts with the present weights in inference mode.

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
