"""Time from the start of the process to the end of its first training step, and peak memory after three.

    python -m benchmarks.memory_and_start --stage=unet

Every measurement is a process of its own; plain, float32 and bfloat16 take turns.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from absl import flags

from benchmarks import timing
from fewslice.core import app

FLAGS = flags.FLAGS
KINDS = ("plain", "float32", "bfloat16")


def measure_here(stage: str, kind: str, sizes) -> dict[str, float]:
    """Trains three steps in this process and returns what it took since the process began.

    Returns:
        "cpu_s" and "until" (seconds since the epoch) at the end of the first step, "peak_mib" after the third.
    """
    timing.single_thread()
    from benchmarks import stages

    step = stages.step(stage, kind, sizes)
    step()
    found = {"cpu_s": time.process_time(), "until": time.time()}
    for _ in range(2):
        step()
    return {**found, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(stage: str, kind: str) -> dict[str, float]:
    """Starts a process for `measure_here`; adds "wall_s"."""
    started = time.time()
    command = [sys.executable, "-m", "benchmarks.memory_and_start", f"--stage={stage}", f"--only={kind}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(output.strip().splitlines()[-1])
    return {**found, "wall_s": found["until"] - started}


def main(_) -> None:
    """Measures and prints a table."""
    if FLAGS.only:
        from benchmarks import stages

        print(json.dumps(measure_here(FLAGS.stage, FLAGS.only, stages.Sizes())))
        return
    rounds = [{kind: measure(FLAGS.stage, kind) for kind in KINDS} for _ in range(FLAGS.rounds)]
    print(f"{FLAGS.stage}: start to first step, peak memory (best of {FLAGS.rounds})")
    for kind in KINDS:
        cpu, wall, peak = (min(found[kind][name] for found in rounds) for name in ("cpu_s", "wall_s", "peak_mib"))
        print(f"{kind:10} {cpu:6.1f} s cpu  {wall:6.1f} s wall  {peak:7.0f} MiB")


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("stage", "unet", ("encoder", "decoder", "unet", "joint"), "Which stage.")
    flags.DEFINE_integer("rounds", 2, "Processes of each kind.")
    flags.DEFINE_string("only", "", "Used by the processes that this script starts.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
