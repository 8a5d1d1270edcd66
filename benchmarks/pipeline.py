"""Training with its input pipeline: `fit` over `StepBatches` with callbacks and an average of the weights, against
augmentation on the training thread.

    python -m benchmarks.pipeline --stage=unet                        20 images, affine and elastic augmentation
    python -m benchmarks.pipeline --stage=encoder --mixed_precision   24 images, crop-and-resize, intensity
    python -m benchmarks.pipeline --stage=joint                       20 labelled images as for the U-Net, 20 others

Also says which share of our step is spent outside the network: 1 - (network alone) / (with everything).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS
STEPS = 6  # of one call of `fit`; training calls it for 50


def volumes(side: int) -> list[Any]:
    """Returns six volumes of ten smooth slices with three nested structures."""
    from types import SimpleNamespace

    import numpy as np
    from scipy import ndimage

    rng = np.random.default_rng(0)
    rows, columns = np.indices((side, side)) - side / 2
    label = np.digitize(-np.hypot(rows, columns), [-side / 4, -side / 6, -side / 8]).astype(np.uint8)
    found = []
    for _ in range(6):
        noise = ndimage.gaussian_filter(rng.standard_normal((10, side, side), dtype=np.float32), (0, 2, 2))
        found.append(SimpleNamespace(image=0.2 * label + 0.5 + noise, label=np.stack([label] * 10)))
    return found


def our_batches(stage: str, sizes) -> Callable[[int], Any]:
    """Returns our function step -> batch."""
    import numpy as np

    from benchmarks import joint
    from fewslice.augment.segmentation import SegmentationAugmentation
    from fewslice.data.batches import contrastive as samplers
    from fewslice.data.batches import generator

    data = volumes(sizes.side)

    def segmentation(step: int) -> tuple[np.ndarray, np.ndarray]:
        augmentation = SegmentationAugmentation()
        options = {"batch_size": sizes.slices, "num_classes": sizes.num_classes, "augmentation": augmentation}
        drawn = samplers.segmentation_batch(generator(0, 0, step), data, **options)
        return drawn.images, drawn.labels

    def contrastive(step: int) -> tuple[np.ndarray, np.ndarray]:
        plan = samplers.plan_global_batch(2, bt_size=2 * sizes.slots, n_parts=4)
        drawn = samplers.contrastive_batch(generator(0, 0, step), data, plan, box=100)
        return drawn.images, drawn.ids.astype(np.float32)

    if stage == "joint":
        return joint.our_batches(data, sizes)
    return segmentation if stage == "unet" else contrastive


def plain_batches(stage: str, sizes) -> Callable[[int], Any]:
    """Returns the plain function step -> batch."""
    import numpy as np

    import losses
    from benchmarks import joint
    from benchmarks.plain_augmentation import augmented_batch, contrastive_batch

    data = volumes(sizes.side)
    if stage == "joint":
        return joint.plain_batches(data, sizes)
    images = np.concatenate([volume.image for volume in data])[..., None]
    labels = np.concatenate([volume.label for volume in data])
    ids = losses.row_layout(2, sizes.slots).astype(np.float32)

    def make(step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([0, step])
        if stage == "unet":
            chosen = rng.integers(len(images), size=sizes.slices)
            return augmented_batch(rng, images[chosen], labels[chosen], sizes.num_classes)
        chosen = rng.integers(len(images), size=4 * sizes.slots)
        return contrastive_batch(rng, images[chosen], 100 * sizes.side // 192), ids

    return make


def runners(stage: str, kind: str, sizes, *, steps: int = STEPS) -> dict[str, Callable[[], None]]:
    """Returns what is compared, `steps` training steps each: plain, ours, our network alone."""
    from benchmarks import stages
    from fewslice.data.batches.steps import StepBatches
    from fewslice.train.callbacks import MovingAverage, StepMonitor, StopSignal
    from models import transfer

    plain_model, plain_make = stages.compiled(stage, "plain", sizes), plain_batches(stage, sizes)
    model, make = stages.compiled(stage, kind, sizes), our_batches(stage, sizes)
    average = MovingAverage(transfer.named_variables(model), 0.99, transfer.read_weights(model))
    alone = stages.step(stage, kind, sizes)

    def plain() -> None:
        for step in range(steps):
            plain_model.train_on_batch(*plain_make(step))

    def ours() -> None:
        monitor = StepMonitor(0, steps, StopSignal(), after_step=average.update, totals={})
        data = StepBatches(make, 0, steps)
        model.fit(data, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[monitor])

    def network() -> None:
        for _ in range(steps):
            alone()

    return {"plain": plain, "ours": ours, "our network alone": network}


def outside(times: dict[str, timing.Times]) -> dict[str, float]:
    """Returns the share of our step outside the network, by processor and by wall time, from the shortest runs."""
    ours, alone = times["ours"], times["our network alone"]
    return {name: 1 - min(getattr(alone, name)) / min(getattr(ours, name)) for name in ("cpu", "wall")}


def main(_) -> None:
    """Measures and prints a table."""
    from benchmarks import stages

    timing.single_thread()
    sizes, kind = stages.Sizes(), "bfloat16" if FLAGS.mixed_precision else "float32"
    compared = runners(FLAGS.stage, kind, sizes, steps=FLAGS.steps)
    times = timing.interleave(compared, seconds=FLAGS.seconds, warm_up=1)
    images = FLAGS.steps * len(stages.batch(FLAGS.stage, sizes)[0])
    print(f"{FLAGS.stage}, ours in {kind}: {FLAGS.steps} steps each")
    print(timing.table(times, unit="s"))
    for name in ("plain", "ours"):
        print(f"{name}: {images / min(times[name].cpu):.1f} images per second of processor time")
    shares = outside(times)
    print(f"Outside the network: {shares['cpu']:.1%} of the processor time, {shares['wall']:.1%} of the wall time")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("stage", "unet", ("encoder", "unet", "joint"), "Which stage.")
    flags.DEFINE_integer("steps", STEPS, "Training steps of one run.", lower_bound=1)
    flags.DEFINE_bool("mixed_precision", False, "Ours in bfloat16.")
    flags.DEFINE_float("seconds", 60, "How long to measure.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
