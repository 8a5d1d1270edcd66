"""The losses alone: forward and backward against the loop, their share of the training step, time to trace the graph.

python -m benchmarks.losses                     all three stages, float32
python -m benchmarks.losses --mixed_precision   embeddings and logits in bfloat16
"""

from __future__ import annotations

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS


def measure(stage: str, kind: str, sizes, *, seconds: float) -> tuple[dict[str, timing.Times], dict[str, float]]:
    """Measures one stage.

    Args:
        stage: A member of `stages.STAGES`.
        kind: Precision of ours, "float32" or "bfloat16".
        sizes: `stages.Sizes`.
        seconds: How long to measure.

    Returns:
        Times of "loop", "ours" and "step" (ours, with the network), and the seconds that tracing took of both losses.
    """
    import tensorflow as tf

    from benchmarks import stages

    step = stages.step(stage, kind, sizes)
    _, targets = stages.batch(stage, sizes)
    shape = stages.our_network(stage, sizes).output_shape[1:]
    outputs = tf.random.stateless_normal((len(targets), *shape), (0, 0))
    given = {"loop": (stages.plain_loss(stage, sizes), outputs)}
    given["ours"] = (stages.our_loss(stage, sizes), tf.cast(outputs, kind))
    functions, tracing = {}, {}
    for name, (loss, values) in given.items():
        functions[name], tracing[name] = timing.gradient_function(loss, tf.constant(targets), values)
    times = timing.interleave(functions, seconds=seconds, most=200)
    return times | timing.interleave({"step": step}, seconds=seconds, most=8), tracing


def main(_) -> None:
    """Measures and prints a table per stage."""
    from benchmarks import stages

    timing.single_thread()
    kind = "bfloat16" if FLAGS.mixed_precision else "float32"
    for stage in stages.STAGES:
        times, tracing = measure(stage, kind, stages.Sizes(), seconds=FLAGS.seconds)
        step = times.pop("step")
        print(f"Loss of the stage {stage}, ours in {kind}")
        print(timing.table(times))
        share = min(times["ours"].cpu) / min(step.cpu)
        print(f"Share of the step ({min(step.cpu):.3f} s): {share:.2%}")
        print(f"Tracing: loop {tracing['loop']:.2f} s, ours {tracing['ours']:.2f} s\n")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_bool("mixed_precision", False, "Give our loss bfloat16, and compare with the step in bfloat16.")
    flags.DEFINE_float("seconds", 12, "How long to measure each loss.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
