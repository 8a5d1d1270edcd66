"""Mean teacher: parts of the networks that learn from unlabelled images (`unimatch.py`, `copy_paste.py`).

Both call the U-Net of `build_unet` in a step together with a teacher, which makes the targets of unlabelled images
within that step: an exponential moving average of the network, or the network itself.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

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
