"""All benchmarks, one function each."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.harness import Work, benchmark

Stages = Literal["encoder", "decoder", "group", "unet", "joint", "scribble", "dmpls", "strided"]
Precision = Literal["float32", "bfloat16"]
Way = Literal["ours", "plain"]
CHECKOUT = Path(__file__).resolve().parents[1]
DEPTH, GRID, SCRIBBLE = 16, 256, 13  # slices of a volume; side of the compared pixels; strokes of 45 pixels

# --- training -------------------------------------------------------------------------------------------------------


@benchmark(stage="unet", side=32, rows=2)
def steps(stage: Stages = "encoder", side: int = 192, rows: int = 0) -> Work:
    """Training step on one fixed batch: plainly written (all but four), in float32 and in bfloat16.

    Rows 0: the published batch (of joint training 20 labelled slices and 20 others).
    """
    from benchmarks import stages

    prepared = stages.stage(stage, side, rows)
    kinds = (*(["plain"] if prepared.plain else []), *stages.POLICIES)
    return Work({kind: prepared.step(kind) for kind in kinds}, len(prepared.batches(0)[0]))


@benchmark(stage="unet", side=32, rows=2, steps=1)
def batches(
    stage: Stages = "unet", precision: Precision = "float32", side: int = 192, rows: int = 0, steps: int = 6
) -> Work:
    """Training with its input pipeline, `fit` with the callbacks and the moving average, and its parts.

    The network alone is the reference: 1 - ratio is the share of the step outside it.
    """
    from benchmarks import stages
    from fewslice.data.batches.steps import StepBatches
    from fewslice.train.callbacks import MovingAverage, StepMonitor, StopSignal
    from models import transfer

    prepared = stages.stage(stage, side, rows)
    step, model, numbers = prepared.step(precision), prepared.compiled(precision), itertools.count()
    average = MovingAverage(transfer.named_variables(model), 0.99, transfer.read_weights(model))

    def fit() -> None:
        monitor = StepMonitor(0, steps, StopSignal(), after_step=average.update, totals={})
        data = StepBatches(prepared.batches, 0, steps)
        model.fit(data, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[monitor])

    functions = {
        f"{steps} steps of the network alone": lambda: [step() for _ in range(steps)],
        f"{steps} steps with batches, callbacks, average": fit,
        f"making {steps} batches": lambda: [prepared.batches(next(numbers)) for _ in range(steps)],
    }
    return Work(functions, steps * len(prepared.batches(0)[0]))


# --- data and start -------------------------------------------------------------------------------------------------


@benchmark(patients=1)
def cache(folder: Path, patients: int = 20) -> Work:
    """Building the cache of prepared volumes from the phantom's NIfTI files, and opening it again."""
    from fewslice.data.cache import open_cache
    from fewslice.data.phantom.dataset import generate_phantom
    from fewslice.data.readers import find_cases, get_reader
    from fewslice.settings import datasets

    dataset = datasets.load_dataset_config("phantom")
    generate_phantom(folder / dataset.data_path_tr, patients)
    names = [f"{number:03d}" for number in range(1, patients + 1)]
    cases = find_cases(get_reader(dataset, folder), names, dataset.unlabeled_phases)
    open_again = functools.partial(open_cache, dataset, cases, with_label=True, root=folder, progress=False)

    def build() -> object:
        shutil.rmtree(folder / dataset.data_path_tr_cropped, ignore_errors=True)
        return open_again()

    return Work({"build": build, "open": open_again}, len(cases))


@benchmark(script="train_model/tr_baseline")
def start(script: str = "train_model/tr_baseline") -> Work:
    """Start of the interpreter, and a script of the checkout with `--help`, which must not load Keras."""

    def call(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], cwd=CHECKOUT, capture_output=True, check=True)

    return Work({"interpreter": lambda: call("-c", ""), "--help": lambda: call(f"{script}.py", "--help")})


# --- queries --------------------------------------------------------------------------------------------------------


@benchmark(memory=True, kind="clusters", units=300, columns=8, picks=40)
def kcenter(
    folder: Path,
    kind: Literal["clusters", "normal"] = "clusters",
    units: int = 100_000,
    columns: int = 512,
    picks: int = 1000,
    way: Way = "ours",
) -> Work:
    """Greedy k-center on memory-mapped embeddings: 50 normal distributions of unequal width, or one.

    "plain" computes all distances to each pick.
    """
    from fewslice.active.measures.kcenter import euclidean_k_center
    from tests.reference import plain_queries as plain

    rng, path = np.random.default_rng(0), folder / "features.npy"
    features = np.lib.format.open_memmap(path, "w+", np.float32, (units, columns))
    centres, widths = rng.standard_normal((50, columns), dtype=np.float32), rng.uniform(0.2, 0.6, (50, 1))
    for first in range(0, units, 16384):
        part = features[first : first + 16384]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        if kind == "clusters":
            member = rng.integers(0, 50, len(part))
            part *= widths[member].astype(np.float32)
            part += centres[member]
    del features, part  # its pages
    embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    np.matmul(centres, centres.T)  # sets up the library's buffers
    options = {"labelled": [0], "rng": np.random.default_rng(0)}
    functions = {
        "ours": lambda: euclidean_k_center(embeddings, picks, **options).indices.tolist(),
        "plain": lambda: plain.greedy(lambda centre: plain.squares(embeddings, centre), picks),
    }
    return Work({way: functions[way]}, picks)


@benchmark(memory=True, units=12, picks=6)
def mfc(folder: Path, units: int = 5000, picks: int = 250, way: Way = "ours") -> Work:
    """MultiFeature Coreset in the published configuration: memory-mapped pixels and scribbles, 512-d embeddings."""
    from fewslice.active.measures.kcenter import greedy
    from fewslice.active.measures.mfc import MaskedPixels, MfcDistance, MfcOptions
    from fewslice.active.measures.pixels import PixelStore
    from tests.reference import plain_queries as plain

    rng, size = np.random.default_rng(0), GRID * GRID
    writable = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.float16, (size, units))
    for first in range(0, size, 1024):
        writable[first : first + 1024] = rng.integers(0, 256, (1024, units), np.uint8) / 255
    drawn = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (units, GRID, GRID))
    for unit in range(units):
        mask = np.full(size, 4, np.uint8)
        for row in rng.integers(0, GRID - 1, SCRIBBLE):
            mask[row * GRID + rng.integers(0, 200) :][:45] = 1
        drawn[unit] = mask.reshape(GRID, GRID)
    del writable, drawn  # their pages
    values, masks = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("pixels", "masks"))
    features = rng.standard_normal((units, 512), dtype=np.float32)

    def choose() -> list[int]:
        source = MaskedPixels(PixelStore(values, (GRID, GRID)), masks)
        distance = MfcDistance(MfcOptions(), pixels=source, features=features)
        return greedy(distance, picks, labelled=[0], rng=np.random.default_rng(0)).indices.tolist()

    def choose_plainly() -> list[int]:
        return plain.greedy(lambda centre: plain.mfc(values, masks, features, centre), picks)

    return Work({way: {"ours": choose, "plain": choose_plainly}[way]}, picks)


# --- passes over a pool ---------------------------------------------------------------------------------------------


@benchmark(memory=True, side=32, units=3, batch_size=2)
def embed(
    folder: Path, side: int = 96, precision: Precision = "float32", units: int = 400, batch_size: int = 16
) -> Work:
    """Embedding of slices by a ResNet-18, from prepared volumes on disk to the finished file.

    Includes building the network (a second); one batch runs before the measurement.
    """
    import models
    from fewslice.active.pool import Crops, open_pool
    from fewslice.core import checkpoint
    from fewslice.learner import features
    from fewslice.settings import datasets
    from fewslice.train.encoder_runs import RESNET, EncoderRun

    dataset = dataclasses.replace(datasets.load_dataset_config("acdc"), img_size_x=side, img_size_y=side)
    network = models.build_group_encoder((side, side, 1), depth=18, projection_size=128)
    checkpoint.save_arrays(folder / "last.npz", models.read_weights(network))
    run = EncoderRun(folder, folder / "last.npz", {"encoder": "resnet18", "projection_dim": 128}, RESNET)
    volumes = _random_volumes(folder, side, units)
    options = {"batch_size": batch_size, "mixed_precision": precision == "bfloat16", "key": {}}

    def compute(chosen: Any, name: str) -> object:
        return features.embed(run, Crops(chosen, open_pool(chosen)), dataset, path=folder / f"{name}.npy", **options)

    compute(volumes[:1], "first")
    return Work({"embedding": lambda: compute(volumes, "all")}, units)


def _random_volumes(folder: Path, side: int, count: int) -> Any:
    """Returns `count` slices of random numbers in memory-mapped volumes."""
    from fewslice.data.cache import PreparedSet, PreparedVolume
    from fewslice.data.volume import Case

    rng, volumes = np.random.default_rng(0), []
    for first in range(0, count, DEPTH):
        name, shape = f"{first:06d}", (min(DEPTH, count - first), side, side)
        path = folder / f"{name}.npy"
        np.save(path, rng.standard_normal(shape, dtype=np.float32))
        image = np.load(path, mmap_mode="r", allow_pickle=False)
        case = Case(name, name, "", path, None)
        volumes.append(PreparedVolume(case, image, None, shape[::-1], (1.0, 1.0, 1.0), np.eye(4), name))
    return PreparedSet(volumes)


@benchmark(memory=True, side=16, units=3, passes=2, batch_size=2)
def dropout(
    side: int = 96, precision: Precision = "float32", units: int = 160, passes: int = 20, batch_size: int = 16
) -> Work:
    """BALD scores of slices by dropout passes of the scribble U-Net, 4 classes; one batch runs before."""
    import keras

    import models
    from benchmarks.stages import POLICIES
    from fewslice.learner.passes import DropoutPasses, slice_maps

    keras.config.set_dtype_policy(POLICIES[precision])
    network = DropoutPasses(models.dropping(models.build_scribble_unet((side, side, 1), 4)))
    images = np.random.default_rng(0).standard_normal((DEPTH, side, side, 1), dtype=np.float32)

    def score(count: int) -> list[Any]:
        cases = [images[: min(DEPTH, count - first)] for first in range(0, count, DEPTH)]
        maps = slice_maps([network], cases, ["bald"], passes=passes, batch_size=batch_size)
        return [of_case[0]["bald"].mean(axis=(1, 2)) for of_case in maps]

    score(batch_size)
    return Work({"scores": functools.partial(score, units)}, units)


@benchmark(rows=32, columns=48, passes=2)
def passes(rows: int = 522, columns: int = 775, passes: int = 5, score: str = "bald") -> Work:
    """Dropout passes of the strided U-Net over a colour image: all of it, what drops alone, and with a score."""
    import models
    from fewslice.learner.passes import DropoutPasses, mean_over_passes, slice_maps

    network = models.dropping(models.build_strided_unet((None, None, 3), 2))
    member, image = DropoutPasses(network), np.random.default_rng(0).random((1, rows, columns, 3), np.float32)
    functions = {
        "whole passes": lambda: [network.predict_on_batch(image) for _ in range(passes)],
        "first part once": lambda: list(map(member.over(image, 0), range(passes))),
        "first part once, mean": lambda: mean_over_passes(member, passes)(image),
        "first part once, score": lambda: list(slice_maps([member], [image], [score], passes=passes, batch_size=1)),
    }
    return Work(functions, passes)


@benchmark(score="all", side=16, units=4, passes=2)
def scores(score: str = "all", classes: int = 2, side: int = 256, units: int = 40, passes: int = 20) -> Work:
    """Scores of images from given probabilities: image by image in NumPy and SciPy, and by running sums.

    Both get the same four images again and again, in the layout of their code: (C, H, W, T), one by one, and passes of
    (4, H, W, C). "all": all scores, each by itself, and together.
    """
    from fewslice.active.uncertainty import PassStatistics
    from tests.reference.scores import PLAIN

    names = list(PLAIN) if score == "all" else [score]
    draws = np.random.default_rng(0).standard_gamma(0.3, (4, passes, side, side, classes), dtype=np.float32) + 1e-3
    given = draws / draws.sum(axis=-1, keepdims=True)
    stacks = [np.ascontiguousarray(image.transpose(3, 1, 2, 0)) for image in given]

    def ours(images: np.ndarray) -> list[float]:
        statistics = PassStatistics(names)
        for number in range(passes):
            statistics.update(images[:, number])
        return [values.mean(axis=(1, 2)) for values in statistics.maps().values()]

    def plain(stack: np.ndarray) -> list[float]:
        return [PLAIN[name](stack) for name in names]

    functions = {"image by image": lambda: [plain(stacks[unit % 4]) for unit in range(units)]}
    return Work(functions | {"running sums": lambda: [ours(given) for _ in range(units // 4)]}, units)
