"""Single layers, forward and backward: batch normalisation with ReLU, up-sampling with the 2x2 convolution after it.

    python -m benchmarks.layers

`models.layers` against Keras' own layers, each in float32 and bfloat16, at two places of the U-Net
(20 images of 192 x 192).
"""

from __future__ import annotations

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS

PRECISIONS = ("float32", "bfloat16")


def _networks(kind: str, ours: bool, shape: tuple[int, int, int], filters: int):
    """Returns a network of one convolution and what follows, or of up-sampling and a convolution."""
    import keras
    from keras import layers

    from models.layers import BatchNormalization, UpsampledConv2D

    inputs = keras.Input(shape)
    if kind == "normalisation":
        x = BatchNormalization()(inputs) if ours else layers.BatchNormalization()(inputs)
        return keras.Model(inputs, layers.ReLU()(x))
    if ours:
        return keras.Model(inputs, UpsampledConv2D(filters)(inputs))
    x = layers.UpSampling2D(2)(inputs)
    return keras.Model(inputs, layers.Conv2D(filters, 2, padding="same", use_bias=False)(x))


def pass_function(kind: str, precision: str, *, ours: bool, shape: tuple[int, int, int, int], filters: int):
    """Returns a function that runs the layer forward and backward on a fixed tensor of `shape`."""
    import keras
    import tensorflow as tf

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        model = _networks(kind, ours, shape[1:], filters)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    inputs = tf.cast(tf.random.stateless_normal(shape, (0, 0)), precision)
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function
    def compute(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs, training=True)
        return outputs, tape.gradient(outputs, [inputs, *weights], output_gradients=tf.ones_like(outputs))

    return lambda: compute(inputs)


def measure(kind: str, shape: tuple[int, int, int, int], filters: int, *, seconds: float) -> dict[str, timing.Times]:
    """Returns the times of Keras' layer and of ours in both precisions; Keras in float32 comes first."""
    functions = {}
    for name, ours in (("keras", False), ("ours", True)):
        for precision in PRECISIONS:
            functions[f"{name} {precision}"] = pass_function(kind, precision, ours=ours, shape=shape, filters=filters)
    return timing.interleave(functions, seconds=seconds)


def main(_) -> None:
    """Measures and prints a table per layer and place."""
    timing.single_thread()
    places = {
        "normalisation": (((20, 192, 192, 16), 16), ((20, 48, 48, 64), 64)),
        "upsampling": (((20, 96, 96, 32), 16), ((20, 24, 24, 128), 64)),
    }
    for kind, cases in places.items():
        for shape, filters in cases:
            print(f"{kind}, input {shape}, {filters} output channels")
            print(timing.table(measure(kind, shape, filters, seconds=FLAGS.seconds)), end="\n\n")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_float("seconds", 10, "How long to measure each comparison.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
