"""Training step of each stage: ours in float32 and in bfloat16 against the plain one.

    python -m benchmarks.steps --stage=encoder     24 images of 192 x 192, global contrastive loss
    python -m benchmarks.steps --stage=decoder     20 images, local contrastive loss, frozen encoder
    python -m benchmarks.steps --stage=unet        20 images, Dice
    python -m benchmarks.steps --stage=joint       20 labelled and 20 other images, Dice + 0.1 * pixel contrastive loss
    python -m benchmarks.steps --stage=unet --mixed_precision      without our float32

Fixed batches: nothing but the step is measured.
"""

from __future__ import annotations

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS


def measure(stage: str, kinds: tuple[str, ...], sizes, **options) -> dict[str, timing.Times]:
    """Returns the times of the training steps of one stage, by kind; `options` are those of `timing.interleave`."""
    from benchmarks import stages

    steps = {kind: stages.step(stage, kind, sizes) for kind in kinds}
    return timing.interleave(steps, **options)


def main(_) -> None:
    """Measures and prints a table."""
    from benchmarks import stages

    timing.single_thread()
    kinds = ("plain", "bfloat16") if FLAGS.mixed_precision else ("plain", "float32", "bfloat16")
    print(f"Training step, {FLAGS.stage}")
    sizes = stages.Sizes()
    times = measure(FLAGS.stage, kinds, sizes, seconds=FLAGS.seconds)
    print(timing.table(times))
    for kind in kinds if FLAGS.stage != "decoder" else ():
        network = stages.plain_network if kind == "plain" else stages.our_network
        work = stages.arithmetic(FLAGS.stage, network(FLAGS.stage, sizes), sizes) / 1e9
        print(
            f"{kind:10} {work:6.1f} GFLOP in convolutions and dense layers, {work / min(times[kind].cpu):6.1f} GFLOP/s"
        )


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("stage", "encoder", ("encoder", "decoder", "unet", "joint"), "Which stage.")
    flags.DEFINE_bool("mixed_precision", False, "Measure ours in bfloat16 only; else in float32 and in bfloat16.")
    flags.DEFINE_float("seconds", 60, "How long to measure.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
