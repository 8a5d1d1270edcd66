"""Saving the training state: its time, and which part of a segment of 50 steps that is.

python -m benchmarks.checkpoint --stage=unet --mixed_precision
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS
SEGMENT = 50


def measure(stage: str, kind: str, sizes, *, seconds: float) -> tuple[dict[str, timing.Times], int]:
    """Returns the times of "save" (weights and optimizer) and "step", and the size of the file in bytes."""
    import keras
    import tensorflow as tf

    from benchmarks import stages
    from fewslice.core import checkpoint

    model = stages.compiled(stage, kind, sizes)
    inputs, targets = (tf.constant(array) for array in stages.batch(stage, sizes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"

        def save() -> None:
            variables = [*model.variables, *model.optimizer.variables]
            arrays = {f"{i:04d}/{v.path}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
            checkpoint.save_state(path, arrays, {"step": 0})

        functions = {"step": lambda: model.train_on_batch(inputs, targets), "save": save}
        return timing.interleave(functions, seconds=seconds), path.stat().st_size


def main(_) -> None:
    """Measures and prints a table."""
    from benchmarks import stages

    timing.single_thread()
    kind = "bfloat16" if FLAGS.mixed_precision else "float32"
    times, size = measure(FLAGS.stage, kind, stages.Sizes(), seconds=FLAGS.seconds)
    print(f"Saving the state of {FLAGS.stage}, {size / 2**20:.1f} MiB, {kind}")
    print(timing.table(times))
    save, step = times["save"], times["step"]
    for name in ("cpu", "wall"):
        share = min(getattr(save, name)) / (SEGMENT * min(getattr(step, name)))
        print(f"{share:.2%} of {SEGMENT} steps ({name})")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("stage", "unet", ("encoder", "decoder", "unet"), "Which stage.")
    flags.DEFINE_bool("mixed_precision", False, "Steps in bfloat16.")
    flags.DEFINE_float("seconds", 20, "How long to measure.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
