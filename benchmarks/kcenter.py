"""Greedy k-center and MultiFeature Coreset: seconds and memory against the plain update per pick, the same picks.

python -m benchmarks.kcenter --units=100000 --picks=100
python -m benchmarks.kcenter --part=mfc --units=5000 --plain_picks=5

"plain" computes all distances to the newest centre: "float64" from differences, as the picks are defined, "float32"
from differences in single precision, "product" in single precision as |x|^2 + |c|^2 - 2 x.c. A plain way may make fewer
picks (`--plain_picks`); its time is given for all of them, in proportion. Random features: "clusters" are 50 normal
distributions of unequal width, "normal" is one. Memory: the largest growth while selecting, of what the
process allocated (not of mapped files, whose pages the system can drop at any time).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import fresh
from fewslice.active.measures.kcenter import euclidean_k_center, greedy
from fewslice.active.measures.mfc import MaskedPixels, MfcDistance, MfcOptions
from fewslice.active.measures.pixels import PixelStore
from fewslice.core import app

FLAGS = flags.FLAGS
SIDE, SCRIBBLE = 256, 585


def random_features(kind: str, count: int, columns: int, path: Path | None = None) -> np.ndarray:
    """Returns (count, columns) float32; memory-mapped if `path` says where."""
    rng, shape = np.random.default_rng(0), (count, columns)
    found = np.empty(shape, np.float32) if path is None else np.lib.format.open_memmap(path, "w+", np.float32, shape)
    centres, widths = rng.standard_normal((50, columns), dtype=np.float32), rng.uniform(0.2, 0.6, (50, 1))
    for start in range(0, count, 16384):
        part = found[start : start + 16384]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        if kind == "clusters":
            member = rng.integers(0, 50, len(part))
            part *= widths[member].astype(np.float32)
            part += centres[member]
    return found


def squares_float64(features: np.ndarray, centre: int) -> np.ndarray:
    """Returns the (N,) squared distances from float64 differences, in blocks."""
    found = np.empty(len(features))
    for start in range(0, len(features), 2048):
        difference = features[start : start + 2048].astype(np.float64) - features[centre].astype(np.float64)
        found[start : start + 2048] = np.square(difference, out=difference).sum(axis=1)
    return found


def squares_float32(features: np.ndarray, centre: int) -> np.ndarray:
    """Returns the (N,) squared distances from float32 differences, in blocks."""
    found = np.empty(len(features), np.float32)
    for start in range(0, len(features), 2048):
        difference = features[start : start + 2048] - features[centre]
        found[start : start + 2048] = np.square(difference, out=difference).sum(axis=1)
    return found


def squares_product(features: np.ndarray, centre: int, *, squares: np.ndarray) -> np.ndarray:
    """Returns the (N,) squared distances by a product in single precision."""
    return squares + squares[centre] - 2 * (features @ features[centre])


def plain(distances: Callable[[int], np.ndarray], first: int, picks: int) -> list[int]:
    """Returns the picks after `first` with a full update per pick."""
    nearest, chosen = distances(first), []
    for _ in range(picks):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distances(chosen[-1]))
    return chosen


def compare(ways: dict[str, Callable[[int], list[int]]], picks: int, plain_picks: int) -> None:
    """Runs each way once and prints a line for it; the first is ours and makes all picks."""
    ours, ours_cpu = None, None
    for name, way in ways.items():
        count = picks if ours is None else min(picks, plain_picks)
        with fresh.Watch() as watch:
            chosen = way(count)
        if ours is None:
            ours, ours_cpu = chosen, watch.cpu
        same = next((place for place, pair in enumerate(zip(chosen, ours, strict=False)) if pair[0] != pair[1]), count)
        cpu = watch.cpu * picks / count
        print(
            f"{name:16} {watch.cpu:8.2f} s CPU {watch.wall:8.2f} s wall for {count:5} picks; all {cpu:8.2f} s CPU, "
            f"{cpu / ours_cpu:6.2f} x; + {watch.allocated:7.1f} MiB; first {same} picks as ours",
            flush=True,
        )


def euclidean_part() -> None:
    """Compares on embeddings."""
    features, picks = random_features(FLAGS.kind, FLAGS.units, FLAGS.columns), FLAGS.picks or 100
    print(f"{FLAGS.kind}, {features.shape}, {features.nbytes / 2**20:.0f} MiB, {picks} picks after unit 0")
    ways = {"ours": lambda picks: choose_by_embedding(features, picks)}
    if FLAGS.plain_picks:
        squares = np.einsum("ij,ij->i", features, features)
        ways |= {
            "plain float64": lambda picks: plain(lambda c: squares_float64(features, c), 0, picks),
            "plain float32": lambda picks: plain(lambda c: squares_float32(features, c), 0, picks),
            "plain product": lambda picks: plain(lambda c: squares_product(features, c, squares=squares), 0, picks),
        }
    compare(ways, picks, FLAGS.plain_picks)


def random_pool(folder: Path, count: int, pixel_type: str) -> None:
    """Writes pixels (65536, N), masks (N, 256, 256) with 585 drawn pixels each and features (N, 512) to `folder`."""
    rng, pixels = np.random.default_rng(0), SIDE * SIDE
    array = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.dtype(pixel_type), (pixels, count))
    for start in range(0, pixels, 1024):
        block = rng.integers(0, 256, (1024, count), np.uint8)
        array[start : start + 1024] = block if pixel_type == "uint8" else block / 255
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (count, SIDE, SIDE))
    for unit in range(count):
        mask = np.full(pixels, 4, np.uint8)
        for row in rng.integers(0, SIDE - 1, 13):  # strokes of 45 pixels
            mask[row * SIDE + rng.integers(0, 200) :][:45] = 1
        masks[unit] = mask.reshape(SIDE, SIDE)
    array.flush()
    masks.flush()
    np.save(folder / "features.npy", rng.standard_normal((count, 512), dtype=np.float32))


def open_pool(folder: Path) -> tuple[PixelStore, np.ndarray, np.ndarray]:
    """Returns the pixels, masks and features of `random_pool`, the first two memory-mapped."""
    modes = {"pixels": "r", "masks": "r", "features": None}
    found = {name: np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False) for name, mode in modes.items()}
    return PixelStore(found["pixels"], (SIDE, SIDE)), found["masks"], found["features"]


def choose_by_mfc(pool: tuple[PixelStore, np.ndarray, np.ndarray], picks: int) -> list[int]:
    """Returns the picks after unit 0 in the published configuration."""
    store, masks, features = pool
    distance = MfcDistance(MfcOptions(), pixels=MaskedPixels(store, masks), features=features)
    return greedy(distance, picks, labelled=[0], rng=np.random.default_rng(0)).indices.tolist()


def choose_by_embedding(features: np.ndarray, picks: int) -> list[int]:
    """Returns the picks after unit 0."""
    return euclidean_k_center(features, picks, labelled=[0], rng=np.random.default_rng(0)).indices.tolist()


def mfc_part() -> None:
    """Compares on pixels under the centre's scribble and embeddings, in the published configuration."""
    with tempfile.TemporaryDirectory(dir=FLAGS.folder or None) as folder:
        random_pool(Path(folder), FLAGS.units, FLAGS.pixel_type)
        pool = store, masks, features = open_pool(Path(folder))
        picks = FLAGS.picks or len(store) // 20
        print(f"{FLAGS.pixel_type} pixels {store.array.shape}, {store.array.nbytes / 2**20:.0f} MiB, {picks} picks")
        ways = {"ours": lambda count: choose_by_mfc(pool, count)}
        if FLAGS.plain_picks:
            ways["plain float64"] = lambda count: plain(
                lambda centre: plain_mfc(store, masks, features, centre), 0, count
            )
        compare(ways, picks, FLAGS.plain_picks)


def plain_mfc(store: PixelStore, masks: np.ndarray, features: np.ndarray, centre: int) -> np.ndarray:
    """Returns the (N,) distances from float64 differences, only the pixels under the scribble."""
    drawn = np.flatnonzero(masks[centre].reshape(-1) != 4)
    values = store.array[drawn].astype(np.float64)
    pixels = np.sqrt(np.square(values - values[:, [centre]]).sum(axis=0)) * 1500 / len(drawn)
    return pixels + np.sqrt(12 * squares_float64(features, centre))


def main(_) -> None:
    """Runs the chosen part once."""
    {"euclidean": euclidean_part, "mfc": mfc_part}[FLAGS.part]()


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_enum("part", "euclidean", ["euclidean", "mfc"], "What to measure.")
    flags.DEFINE_enum("kind", "clusters", ["clusters", "normal"], "Random features.")
    flags.DEFINE_enum("pixel_type", "uint8", ["uint8", "float16", "float32"], "Type of the pixels.")
    flags.DEFINE_integer("units", 10000, "Units of the pool.", lower_bound=2)
    flags.DEFINE_integer("columns", 512, "Values of an embedding.", lower_bound=1)
    flags.DEFINE_integer("picks", 0, "Units to choose; 0 takes 100, for mfc 5 % of the pool.", lower_bound=0)
    flags.DEFINE_integer("plain_picks", 20, "Picks of the plain ways; 0 leaves them out.", lower_bound=0)
    flags.DEFINE_string("folder", "", "Where the pixels are written meanwhile; a temporary folder by default.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
