"""The moving average of the weights: a training step without it, with it on the device, and with it on the host.

    python -m benchmarks.average

The host copies every weight out of the backend at each step and averages with NumPy. Two networks: the U-Net (2 million
weights) and the ResNet-50 U-Net (33 million), each with slices of 96 x 96, 4 classes and Adam.
"""

from __future__ import annotations

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS
NETWORKS = ("unet", "resnet50_unet")
WITHOUT, DEVICE, HOST = "step", "step, average on the device", "step, average on the host"
ALONE = "average on the device", "average on the host"


def build(name: str, side: int):
    """Returns a compiled network image -> logits of 4 classes."""
    import keras

    import losses
    import models
    from fewslice.train.setup import optimizer

    shape = (side, side, 1)
    model = models.build_unet(shape, 4) if name == "unet" else models.build_resnet_unet(shape, 4, depth=50)
    model.compile(optimizer(1e-3), loss=losses.get("dice")(), jit_compile=keras.backend.backend() == "jax")
    return model


def measure(name: str, *, side: int, batch_size: int, **options) -> tuple[dict[str, timing.Times], int]:
    """Returns the times of the steps and of the averages by themselves, and the number of weights.

    Args:
        name: One of `NETWORKS`.
        side: Of the slices in pixels.
        batch_size: Slices of a step.
        **options: Of `timing.interleave`.
    """
    import keras
    import numpy as np

    from fewslice.train.callbacks import MovingAverage
    from models import transfer

    model = build(name, side)
    variables = transfer.named_variables(model)
    average, copied = MovingAverage(variables, 0.99, transfer.read_weights(model)), transfer.read_weights(model)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch_size, side, side, 1), dtype=np.float32)
    targets = np.eye(4, dtype=np.float32)[rng.integers(4, size=images.shape[:3])]

    def step() -> None:
        model.train_on_batch(images, targets)

    def on_device() -> None:
        average.update(1000)
        np.asarray(keras.ops.convert_to_numpy(next(reversed(average.values.values()))))  # wait for it

    def on_host() -> None:
        for key, variable in variables.items():
            value = keras.ops.convert_to_numpy(variable)
            copied[key] += np.float32(0.01) * (value - copied[key])

    functions = {
        WITHOUT: step,
        DEVICE: lambda: (step(), on_device()),
        HOST: lambda: (step(), on_host()),
        ALONE[0]: on_device,
        ALONE[1]: on_host,
    }
    return timing.interleave(functions, **options), model.count_params()


def main(_) -> None:
    """Measures and prints a table per network."""
    timing.single_thread()
    for name in NETWORKS:
        times, count = measure(name, side=96, batch_size=FLAGS.batch_size, seconds=FLAGS.seconds)
        print(f"{name}: {count / 1e6:.1f} million weights, {FLAGS.batch_size} slices of 96 x 96")
        print(timing.table(times), end="\n\n")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_integer("batch_size", 4, "Slices of a step.", lower_bound=1)
    flags.DEFINE_float("seconds", 60, "How long to measure each network.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
