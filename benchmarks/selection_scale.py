"""Greedy k-center and MultiFeature Coreset at growing pools: seconds, time per pick, memory of a fresh process.

    python -m benchmarks.selection_scale --units=10000,100000,1000000 --threads=2
    python -m benchmarks.selection_scale --part=mfc --units=5000,10000

Embeddings, pixels and masks are written to files by one process and memory-mapped by another, which chooses units and
is measured. "allocated" is what it needs beside these files; the high mark counts the pages of the files that it looked
at, too. One small matrix product before the measurement lets the library set up its buffers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import fresh, kcenter
from fewslice.core import app

FLAGS = flags.FLAGS
COLUMNS = 512


def write_inputs(folder: Path, kind: str, units: int) -> float:
    """Writes what is chosen from. Returns the MiB of the embeddings, for mfc of the pixels."""
    if FLAGS.part == "mfc":
        kcenter.random_pool(folder, units, kind)
        return (folder / "pixels.npy").stat().st_size / 2**20
    kcenter.random_features(kind, units, COLUMNS, folder / "features.npy").flush()
    return (folder / "features.npy").stat().st_size / 2**20


def selection(folder: Path, picks: int) -> Callable[[], list[int]]:
    """Returns the function that is measured."""
    if FLAGS.part == "mfc":
        pool = kcenter.open_pool(folder)
        return lambda: kcenter.choose_by_mfc(pool, picks)
    features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
    return lambda: kcenter.choose_by_embedding(features, picks)


def here() -> dict[str, float]:
    """Measures in this process."""
    choose = selection(Path(FLAGS.folder), FLAGS.picks)
    some = np.ones((COLUMNS, COLUMNS), np.float32)
    np.matmul(some, some)
    with fresh.Watch() as watch:
        choose()
    return watch.figures()


def measure(kind: str, units: int) -> str:
    """Returns the line about a pool."""
    picks = FLAGS.picks or (units // 20 if FLAGS.part == "mfc" else 1000)
    with tempfile.TemporaryDirectory(dir=FLAGS.folder or None) as folder:
        size = write_inputs(Path(folder), kind, units)
        given = {"part": FLAGS.part, "folder": folder, "picks": picks, "here": True}
        runs = [fresh.run("benchmarks.selection_scale", given, threads=FLAGS.threads) for _ in range(FLAGS.rounds)]
    cpu, wall = (min(found[name] for found in runs) for name in ("cpu", "wall"))
    allocated, peak, growth = (max(found[name] for found in runs) for name in ("allocated", "peak", "growth"))
    return (
        f"{FLAGS.part} {kind:8} {units:>8} units, {picks} picks: {cpu:7.2f} s CPU, {wall:7.2f} s wall, "
        f"{1e3 * cpu / picks:7.2f} ms CPU per pick; data {size:6.0f} MiB, allocated {allocated:6.1f} MiB "
        f"({100 * allocated / size:.1f} %), high mark {peak:6.0f} MiB, {growth:+.0f} by choosing"
    )


def main(_) -> None:
    """Measures and prints."""
    if FLAGS.here:
        print(json.dumps(here()))
        return
    for kind in FLAGS.kinds or (["uint8"] if FLAGS.part == "mfc" else ["clusters", "normal"]):
        for units in FLAGS.units:
            print(measure(kind, int(units)), flush=True)


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("part", "kcenter", ["kcenter", "mfc"], "What to measure.")
    flags.DEFINE_list("kinds", [], "Embeddings: clusters, normal. Pixels, for mfc: uint8, float16. Empty: usual ones.")
    flags.DEFINE_list("units", ["10000", "100000"], "Sizes of the pool.")
    flags.DEFINE_integer("picks", 0, "Units to choose; 0 takes 1000, for mfc 5 % of the pool.", lower_bound=0)
    flags.DEFINE_integer("rounds", 1, "Processes for each pool; the shortest times and the largest memory are shown.")
    flags.DEFINE_integer("threads", 1, "Threads.", lower_bound=1)
    flags.DEFINE_string("folder", "", "Where the files lie meanwhile; a temporary folder by default.")
    flags.DEFINE_bool("here", False, "Used by the processes that this script starts.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
