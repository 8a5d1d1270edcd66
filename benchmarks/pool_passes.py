"""Passes over a pool: embedding its slices, and scoring them by dropout passes. Slices per second and memory.

    python -m benchmarks.pool_passes --part=embed --sides=96,192
    python -m benchmarks.pool_passes --part=dropout --sides=96,192 --units=160,480 --passes=5,20

Embedding: `embed` with a ResNet-18, from prepared volumes on the disk to the finished file. Dropout:
`slice_maps` with the scribble U-Net, 4 classes, BALD. Random numbers. Every line is a process of its own, which first
runs one batch, so that what the libraries keep counts as neither time nor memory; building the encoder (a second) does.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import fresh
from fewslice.core import app

FLAGS = flags.FLAGS
DEPTH = 16  # slices of a volume
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def random_volumes(folder: Path, side: int, count: int):
    """Returns `count` slices in memory-mapped volumes of 16."""
    from fewslice.data.cache import PreparedSet, PreparedVolume
    from fewslice.data.volume import Case

    rng, volumes = np.random.default_rng(0), []
    for start in range(0, count, DEPTH):
        name, shape = f"{start:06d}", (min(DEPTH, count - start), side, side)
        path = folder / f"{name}.npy"
        np.save(path, rng.standard_normal(shape, dtype=np.float32))
        image = np.load(path, mmap_mode="r", allow_pickle=False)
        case = Case(name, name, "", path, None)
        volumes.append(PreparedVolume(case, image, None, shape[::-1], (1.0, 1.0, 1.0), np.eye(4), name))
    return PreparedSet(volumes)


def embed(side: int, units: int, batch_size: int, precision: str, *, folder: str | None = None) -> dict[str, float]:
    """Embeds slices in this process; files lie below `folder` meanwhile. Returns the figures of `fresh.Watch`."""
    import models
    from fewslice.active.pool import SLICES, Crops, open_pool
    from fewslice.core import checkpoint
    from fewslice.learner.features import embed as embed_images
    from fewslice.settings import datasets
    from fewslice.train.encoder_runs import RESNET, EncoderRun

    dataset = dataclasses.replace(datasets.load_dataset_config("acdc"), img_size_x=side, img_size_y=side)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        folder = Path(name)
        network = models.build_group_encoder((side, side, 1), depth=18, projection_size=128)
        checkpoint.save_arrays(folder / "last.npz", models.read_weights(network))
        settings = {"encoder": "resnet18", "projection_dim": 128}
        run = EncoderRun(folder, folder / "last.npz", settings, RESNET)
        volumes = random_volumes(folder, side, units)
        options = {"batch_size": batch_size, "mixed_precision": precision == "bfloat16"}
        images = [Crops(part, open_pool(part, SLICES)) for part in (volumes[:1], volumes)]
        embed_images(run, images[0], dataset, key={"of": "first"}, path=folder / "first.npy", **options)
        with fresh.Watch() as watch:
            embed_images(run, images[1], dataset, key={"of": "all"}, path=folder / "all.npy", **options)
    return watch.figures()


def dropout(side: int, units: int, passes: int, batch_size: int, precision: str) -> dict[str, float]:
    """Scores slices in this process. Returns the figures of `fresh.Watch`."""
    import keras

    import models
    from fewslice.learner.passes import DropoutPasses, slice_maps

    keras.config.set_dtype_policy(PRECISIONS[precision])
    network = DropoutPasses(models.dropout_part(models.build_scribble_unet((side, side, 1), 4)))
    images = np.random.default_rng(0).standard_normal((64, side, side, 1), dtype=np.float32)

    def run(count: int) -> None:
        cases = [images[: min(DEPTH, count - start)] for start in range(0, count, DEPTH)]
        for _ in slice_maps([network], cases, ["bald"], passes=passes, batch_size=batch_size):
            pass

    run(batch_size)
    with fresh.Watch() as watch:
        run(units)
    return watch.figures()


def one() -> dict[str, float]:
    """Measures what the flags say in this process."""
    side, units, precision = int(FLAGS.sides[0]), int(FLAGS.units[0]), FLAGS.precisions[0]
    if FLAGS.part == "embed":
        return embed(side, units, FLAGS.batch_size, precision, folder=FLAGS.folder or None)
    return dropout(side, units, int(FLAGS.passes[0]), FLAGS.batch_size, precision)


def report() -> None:
    """Measures every combination in a process of its own and prints a line for it."""
    passes = FLAGS.passes if FLAGS.part == "dropout" else [1]
    cases = [
        (side, precision, units, number)
        for side in FLAGS.sides
        for precision in FLAGS.precisions
        for units in FLAGS.units
        for number in passes
    ]
    for side, precision, units, number in cases:
        case = {"sides": side, "precisions": precision, "units": units, "passes": number}
        common = {"part": FLAGS.part, "batch_size": FLAGS.batch_size, "folder": FLAGS.folder, "here": True}
        found = fresh.run("benchmarks.pool_passes", {**common, **case}, threads=FLAGS.threads)
        count = int(units)
        print(
            f"{FLAGS.part} {side:>4} x {side:<4} {precision:8} {units:>6} slices, {number:>2} passes: "
            f"{count / found['cpu']:8.2f} slices per CPU second, {count / found['wall']:8.2f} per second; "
            f"peak {found['peak']:6.0f} MiB, of it since the first batch {found['growth']:+6.1f} "
            f"({found['allocated']:+.1f} without mapped files)",
            flush=True,
        )


def main(_) -> None:
    """Measures."""
    if FLAGS.here:
        print(json.dumps(one()))
    else:
        report()


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("part", "embed", ["embed", "dropout"], "What to measure.")
    flags.DEFINE_list("sides", ["96", "192"], "Sides of the slices in pixels.")
    flags.DEFINE_list("precisions", ["float32"], "Of float32 and bfloat16.")
    flags.DEFINE_list("units", ["160", "480"], "Slices of the pool.")
    flags.DEFINE_list("passes", ["20"], "Dropout passes.")
    flags.DEFINE_integer("batch_size", 16, "Slices at a time.", lower_bound=1)
    flags.DEFINE_integer("threads", 1, "Threads.", lower_bound=1)
    flags.DEFINE_string("folder", "", "Where volumes and vectors lie meanwhile; a temporary folder by default.")
    flags.DEFINE_bool("here", False, "Used by the processes that this script starts.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
