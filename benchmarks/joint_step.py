"""The step of joint training in parts: the share of its contrastive part, and how long a batch takes to make.

    python -m benchmarks.joint_step                    both, the share in float32 and in bfloat16
    python -m benchmarks.joint_step --part=batches     one of them

The contrastive part is the contrast head, its loss and their gradients: the step with them less the step of the same
network and the same 40 rows without, in which only the labelled rows have a loss. For comparison head and loss are also
measured by themselves, on fixed features. `benchmarks.pipeline --stage=joint` measures the step with its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS
WHOLE, WITHOUT, ALONE = "whole step", "without the contrastive part", "head and loss alone"


def _without(kind: str, sizes) -> Callable[[], Any]:
    """Returns a function that trains a step on the same rows without the contrast head and its loss."""
    import keras
    import tensorflow as tf

    from benchmarks import stages
    from fewslice.train.setup import optimizer
    from models.joint import LOGITS

    whole = stages.compiled("joint", kind, sizes)
    model = keras.Model(whole.input, {LOGITS: whole.output[LOGITS]})
    model.compile(optimizer(1e-3), loss={LOGITS: stages.our_loss("joint", sizes)[LOGITS]}, jit_compile=False)
    inputs, targets = stages.batch("joint", sizes)
    inputs, targets = tf.constant(inputs), {LOGITS: tf.constant(targets[LOGITS])}
    return lambda: model.train_on_batch(inputs, targets)


def _alone(kind: str, sizes) -> Callable[[], Any]:
    """Returns a function that computes head, loss and the gradients of weights and features, on fixed features."""
    import keras
    import tensorflow as tf

    from benchmarks import stages
    from models.joint import EMBEDDINGS

    whole = stages.compiled("joint", kind, sizes)
    head = keras.Model(whole.get_layer("cont_c1_a").input, whole.output[EMBEDDINGS])
    loss = stages.our_loss("joint", sizes)[EMBEDDINGS]
    shape = (2 * sizes.pairs, *head.input.shape[1:])
    features = tf.cast(tf.random.stateless_normal(shape, (0, 0)), head.input.dtype)
    targets = tf.constant(stages.batch("joint", sizes)[1][EMBEDDINGS])

    @tf.function
    def compute(given, y_true):
        with tf.GradientTape() as tape:
            tape.watch(given)
            value = loss(y_true, head(given, training=True))
        return tape.gradient(value, [given, *(variable.value for variable in head.trainable_variables)])

    return lambda: compute(features, targets)


def measure_share(kind: str, sizes, **options) -> dict[str, timing.Times]:
    """Returns the times of the step, of the step without its contrastive part, and of that part by itself.

    Args:
        kind: "float32" or "bfloat16".
        sizes: `stages.Sizes`.
        **options: Of `timing.interleave`.
    """
    from benchmarks import stages

    functions = {WHOLE: stages.step("joint", kind, sizes), WITHOUT: _without(kind, sizes), ALONE: _alone(kind, sizes)}
    return timing.interleave(functions, **options)


def shares(times: dict[str, timing.Times]) -> dict[str, float]:
    """Returns the share of the contrastive part in the step.

    Returns:
        "minima" and "median": the difference of the steps, of the shortest runs and as the median over rounds.
        "alone": head and loss by themselves.
    """
    of_minima, of_rounds = timing.ratio(times[WHOLE].cpu, times[WITHOUT].cpu)
    alone = min(times[ALONE].cpu) / min(times[WHOLE].cpu)
    return {"minima": 1 - 1 / of_minima, "median": 1 - 1 / of_rounds, "alone": alone}


def measure_batches(sizes, **options) -> dict[str, timing.Times]:
    """Returns the times of making a batch, "plain" and "ours"; `options` are those of `timing.interleave`."""
    from itertools import count

    from benchmarks import pipeline

    def maker(make: Callable[[int], Any]) -> Callable[[], Any]:
        steps = count()
        return lambda: make(next(steps))

    makers = {"plain": pipeline.plain_batches("joint", sizes), "ours": pipeline.our_batches("joint", sizes)}
    return timing.interleave({name: maker(make) for name, make in makers.items()}, **options)


def main(_) -> None:
    """Measures and prints tables."""
    from benchmarks import stages

    timing.single_thread()
    sizes = stages.Sizes()
    for kind in stages.PRECISIONS if FLAGS.part in ("both", "share") else ():
        times = measure_share(kind, sizes, seconds=FLAGS.seconds)
        print(f"Step of joint training, ours in {kind}")
        print(timing.table(times))
        found = {name: f"{share:.1%}" for name, share in shares(times).items()}
        print(
            f"Contrastive part: {found['minima']} of the step by the shortest runs, {found['median']} by the median "
            f"over rounds; its head and loss alone {found['alone']}\n"
        )
    if FLAGS.part in ("both", "batches"):
        print(f"Making a batch of {sizes.slices} labelled and {2 * sizes.pairs} other images")
        print(timing.table(measure_batches(sizes, seconds=FLAGS.seconds, most=100)))


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("part", "both", ("both", "share", "batches"), "What to measure.")
    flags.DEFINE_float("seconds", 60, "How long to measure each.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
