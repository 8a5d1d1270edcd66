"""Segments scans with the networks of this folder. It needs NumPy, nibabel, and Keras or onnxruntime.

    python predict.py --images FOLDER_OR_FILES --output FOLDER

What is done to a scan stands in settings.json: intensities scaled by percentiles, axes turned to R, A, S, slices
resampled and cropped or padded; the class probabilities go back to the scan's own grid, where the most probable class
is taken. The labels have the header of the scan. Files that are there already are kept.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

FLIPS = ((), (1,), (2,), (1, 2))  # axes of (slice, row, column, channel)
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
Call = Callable[[np.ndarray], np.ndarray]


# ---- Reading and writing


def read_scan(path: Path, settings: dict[str, Any]) -> tuple[nibabel.nifti1.Nifti1Image, np.ndarray]:
    """Returns a file and its image (X, Y, Z), or (X, Y, Z, C) of colours or channels, float32, axes as stored."""
    file = nibabel.load(path)
    raw = file.dataobj.get_unscaled()
    if raw.dtype.names:
        colours = np.stack([raw[name].astype(np.float32) for name in "RGB"], axis=-1)
        values = colours if settings["num_channels"] == 3 else colours @ np.array(_LUMINANCE, np.float32)
    else:
        slope, intercept = float(file.dataobj.slope), float(file.dataobj.inter)
        values = raw if (slope, intercept) == (1, 0) else raw * slope + intercept
        channel, extra = settings["image_channel"], [size for size in raw.shape[3:] if size > 1]
        if len(extra) > 1:
            raise ValueError(f"its shape is {raw.shape}; 3-D is expected, or 4-D with one axis of channels")
        if extra and raw.shape[2] == 1 and not channel:
            values = values.reshape(*raw.shape[:2], *extra)  # slices along the fourth axis
        else:
            values = values.reshape(*(raw.shape[:3] + (1, 1))[:3], -1)
            if not 1 < settings["num_channels"] == values.shape[3]:
                if channel >= values.shape[3]:
                    raise ValueError(f"it has {values.shape[3]} channels, counted from 0; number {channel} is expected")
                values = values[..., channel]
    image = np.asarray(values, np.float32)
    if (image.shape[3] if image.ndim == 4 else 1) != settings["num_channels"]:
        raise ValueError(f"its shape is {image.shape}; {settings['num_channels']} channel(s) are expected")
    if not image.size or not np.isfinite(image).all():
        raise ValueError("it holds no voxels, or NaN or infinite ones")
    return file, image


def canonical_axes(header: nibabel.nifti1.Nifti1Header, affine: np.ndarray) -> tuple[int, int, int]:
    """Returns the axes to R, A and S, the third staying the third: the stored axis of each, from 1, minus if turned."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (header["sform_code"] > 0 or header["qform_code"] > 0) or not (lengths > 0).all():
        return 1, 2, 3
    cosines, columns = affine[:3, :3] / lengths, np.arange(3)
    best = max(itertools.permutations(range(3)), key=lambda rows: round(abs(cosines[rows, columns]).sum(), 6))
    order = (*sorted((0, 1), key=lambda column: best[column]), 2)
    return tuple((column + 1) * (1 if cosines[best[column], column] > 0 else -1) for column in order)


def voxel_size(header: nibabel.nifti1.Nifti1Header) -> tuple[float, float, float]:
    """Returns the size of a voxel along the stored axes, mm; 1 along a third axis that the file lacks."""
    x, y, z = (float(size) for size in header["pixdim"][1:4])
    return x, y, z if 1e-3 <= z <= 1e3 else 1.0


def turned(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Returns a stored array (X, Y, Z, ...) with these axes."""
    moved = array.transpose(*(abs(axis) - 1 for axis in axes), *range(3, array.ndim))
    return np.ascontiguousarray(moved[tuple(slice(None, None, 1 if axis > 0 else -1) for axis in axes)])


def turned_back(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Returns an array of `turned` with the axes of its file."""
    places = {abs(axis): place if axis > 0 else -place for place, axis in enumerate(axes, start=1)}
    return turned(array, [places[1], places[2], places[3]])


def write(path: Path, array: np.ndarray, like: nibabel.nifti1.Nifti1Image) -> None:
    """Writes an array (X, Y, Z) or (X, Y, Z, K) with the header of a scan; a kill leaves no half of a file."""
    header = like.header.copy()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_zooms((*voxel_size(header), 1.0)[: array.ndim])
    header["cal_min"] = header["cal_max"] = 0
    temporary = path.with_name(f".tmp.{path.name}")
    nibabel.save(type(like)(array, None, header), temporary)
    os.replace(temporary, path)


# ---- To the network's grid


def find_padding(image: np.ndarray, percentiles: Sequence[float]) -> np.ndarray | None:
    """Returns where a volume is filled with one value far from the rest (a scanner's padding), None if nowhere."""
    for value, tail in ((image.min(), percentiles[0]), (image.max(), 100 - percentiles[1])):
        is_value = image == value
        share = np.count_nonzero(is_value) / image.size
        if not max(tail, 1.0) <= 100 * share < 100:
            continue
        rest = image[~is_value]
        low, high = np.percentile(rest, percentiles).tolist()
        near = low if value < low else high
        gap = abs(near - float(value)) / (high - low) if high > low else 0.0
        is_scan = len(np.unique(rest[:: max(1, rest.size // 10000)])) > 15
        if gap > (2.0 if value == 0 else 0.5) and (is_scan or (value != 0 and gap > 4)):
            limit = (float(value) + near) / 2
            return image < limit if value < limit else image > limit
    return None


def normalise(image: np.ndarray, percentiles: Sequence[float]) -> np.ndarray:
    """Scales intensities so that two percentiles of the volume become 0 and 1; padding is left out and becomes 0."""
    image = np.asarray(image, np.float64)
    padding = find_padding(image, percentiles)
    low, high = np.percentile(image if padding is None else image[~padding], percentiles)
    if padding is None and high <= low:
        low, high = image.min(), image.max()
        if high == low:
            return np.zeros_like(image)
    scaled = (image - low) / (high - low)
    return scaled if padding is None else np.where(padding, 0.0, scaled)


@functools.lru_cache(maxsize=64)
def resize_matrix(size: int, new_size: int, smooth: bool) -> np.ndarray:
    """Returns the (new_size, size) matrix of linear resizing along an axis, zero outside.

    With `smooth` a shrinking axis is first filtered by a Gaussian of (size / new_size - 1) / 2 pixels.
    """
    matrix, sigma = np.eye(size), (size / new_size - 1) / 2
    if smooth and sigma > 0:
        radius = int(4 * sigma + 0.5)
        weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
        weights = np.pad(weights / weights.sum(), size)
        places = np.arange(size)
        matrix = weights[np.clip(places - places[:, np.newaxis] + radius + size, 0, len(weights) - 1)]
    if new_size == size:
        return matrix
    position = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    distance = abs(position[:, np.newaxis] - np.arange(size))
    return np.maximum(0, 1 - distance) @ matrix


def overlap(length: int, size: int) -> tuple[slice, slice]:
    """Returns the part that is kept of an axis of `length`, and its place in an axis of `size`, centres together."""
    start, common = abs(length - size) // 2, min(length, size)
    whole, middle = slice(0, common), slice(start, start + common)
    return (middle, whole) if length > size else (whole, middle)


def nearest(size: int, new: int) -> np.ndarray:
    """Returns the (new,) nearest input pixel of every output pixel, corners on corners."""
    return (2 * np.arange(new) * (size - 1) + (new - 1)) // max(1, 2 * (new - 1)) * (new > 1)


def to_grid(image: np.ndarray, spacing: Sequence[float], settings: dict[str, Any]) -> np.ndarray:
    """Returns an image (X, Y, Z) or (X, Y, Z, C) as the network takes it: (Z, NX, NY, C) float32."""
    if settings["intensity"] == "percentiles":
        image = normalise(image, settings["percentiles"])
    size = (settings["img_size_x"], settings["img_size_y"])
    channels = np.moveaxis(image[..., np.newaxis] if image.ndim == 3 else image, 2, 0)  # (Z, X, Y, C)
    if settings["grid"] == "native":
        return np.ascontiguousarray(channels, np.float32)
    if settings["grid"] == "stretch":
        rows, columns = (nearest(old, new) for old, new in zip(image.shape[:2], size, strict=True))
        return np.ascontiguousarray(channels[:, rows[:, np.newaxis], columns], np.float32)
    axes, places = [], []
    for native, side, mm, target in zip(image.shape[:2], size, spacing[:2], settings["target_resolution"], strict=True):
        rescaled = max(int(np.round(float(mm) / target * native)), 1)
        kept, place = overlap(rescaled, side)
        axes.append(resize_matrix(native, rescaled, settings["anti_aliasing"] == "default")[kept])
        places.append(place)
    result = np.zeros((channels.shape[0], *size, channels.shape[-1]), np.float32)
    for z, c in np.ndindex(channels.shape[0], channels.shape[-1]):
        picture = np.asarray(channels[z, :, :, c], np.float64)
        result[z, places[0], places[1], c] = np.clip(axes[0] @ picture @ axes[1].T, picture.min(), picture.max())
    return result


# ---- The networks


def batches(items: Iterator[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches of one shape, the last one filled up with zeros, and how many of their rows count."""
    while chunk := list(itertools.islice(items, size)):
        yield np.stack(chunk + [np.zeros_like(chunk[0])] * (size - len(chunk))), len(chunk)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis, float32."""
    exponentials = np.exp(np.asarray(logits, np.float32) - np.max(logits, axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def of_slices(network: Call, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns the class probabilities (Z, NX, NY, K) of slices (Z, NX, NY, C)."""
    return np.concatenate([softmax(network(batch)[:count]) for batch, count in batches(iter(images), batch_size)])


def of_windows(network: Call, image: np.ndarray, batch_size: int, window: Sequence[int]) -> np.ndarray:
    """Returns the class probabilities (Z, X, Y, K) of a volume: the mean over windows that overlap by half."""
    shape = image.shape[:3]
    image = np.pad(image, [*((0, max(0, side - n)) for side, n in zip(window, shape, strict=True)), (0, 0)])
    axes = []
    for length, side in zip(image.shape[:3], window, strict=True):
        count = -(-(length - side) // max(1, side // 2)) + 1
        axes.append(sorted(set(np.linspace(0, length - side, count).round().astype(int).tolist())))
    boxes = [tuple(slice(a, a + b) for a, b in zip(start, window, strict=True)) for start in itertools.product(*axes)]
    places, sums, counts = iter(boxes), 0, np.zeros((*image.shape[:3], 1), np.float32)
    for batch, count in batches((image[box] for box in boxes), batch_size):
        for answer in softmax(network(batch)[:count]):
            box = next(places)
            sums = np.zeros((*image.shape[:3], answer.shape[-1]), np.float32) if np.isscalar(sums) else sums
            sums[box] += answer
            counts[box] += 1
    return (sums / counts)[tuple(slice(0, length) for length in shape)]


def load_networks(folder: Path, names: Sequence[str], engine: str) -> list[Call]:
    """Returns the networks as functions images -> logits."""
    if engine == "keras":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        loaded = [keras.saving.load_model(folder / f"{name}.keras", compile=False) for name in names]
        return [lambda images, network=network: np.asarray(network.predict_on_batch(images)) for network in loaded]
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    sessions = [onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=providers) for name in names]
    return [lambda images, one=one: one.run(None, {one.get_inputs()[0].name: images})[0] for one in sessions]


def probabilities_of(networks: Sequence[Call], image: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Returns the mean class probabilities (Z, NX, NY, K) of all networks, and of flipped slices if asked for."""

    def of_volume(network: Call, facts: dict[str, Any], images: np.ndarray) -> np.ndarray:
        if facts["window"]:
            return of_windows(network, images, settings["batch_size"], facts["window"])
        return of_slices(network, images, settings["batch_size"])

    total, flips = 0, FLIPS if settings["mirroring"] else FLIPS[:1]
    for axes in flips:
        every = zip(networks, settings["networks"], strict=True)
        mean = sum(of_volume(*one, np.flip(image, axes)) for one in every) / np.float32(len(networks))
        total = total + np.flip(mean, axes)
    return total / np.float32(len(flips))


# ---- Back to the scan's own grid


def from_grid(
    probabilities: np.ndarray, shape: Sequence[int], spacing: Sequence[float], settings: dict[str, Any], with_maps: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the label (X, Y, Z) uint8 on the native grid, and `with_maps` the probabilities (X, Y, Z, K) float32.

    Outside of the crop background has the probability 1.
    """
    if settings["grid"] != "resample":
        rows, columns = (nearest(old, new) for old, new in zip(probabilities.shape[1:3], shape[:2], strict=True))
        native = np.moveaxis(probabilities, 0, 2)[rows[:, np.newaxis], columns]
        return native.argmax(axis=-1).astype(np.uint8), native if with_maps else None
    axes, kept, is_padded = [], [slice(None)], False
    options = zip(shape[:2], probabilities.shape[1:3], spacing[:2], settings["target_resolution"], strict=True)
    for native, size, mm, target in options:
        rescaled = max(int(np.round(float(mm) / target * native)), 1)
        source, place = overlap(size, rescaled)
        axes.append(resize_matrix(rescaled, native, settings["anti_aliasing"] == "default")[:, place])
        kept.append(source)
        is_padded |= rescaled > size
    label = np.empty(shape[:3], np.uint8)
    result = np.empty((*shape[:3], probabilities.shape[-1]), np.float32) if with_maps else None
    for z, maps in enumerate(probabilities[tuple(kept)]):
        low, high = maps.min(initial=0.0 if is_padded else np.inf), maps.max()
        full = np.einsum("ax,xyk,by->abk", axes[0], maps.astype(np.float64), axes[1], optimize=True)
        full = np.clip(full, low, high) if low > 0 else full
        label[..., z] = full.argmax(axis=-1)
        if with_maps:
            sums = full.sum(axis=-1, keepdims=True)
            full[..., :1] += sums == 0
            result[:, :, z] = full / np.where(sums > 0, sums, 1)
    return label, result


def largest_components(label: np.ndarray) -> np.ndarray:
    """Returns a label (X, Y, Z) with the largest part of each structure alone; parts are voxels that touch by a face.

    Of parts of equal size the one with the first voxel stays. Every voxel points to one of its part with a lower
    number, until all point to the lowest (Zhang, Azad and Hu, 2020, https://arxiv.org/abs/1910.05971).
    """
    result = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        mask = label == value
        numbers = np.where(mask, np.cumsum(mask).reshape(mask.shape) - 1, -1)
        pairs = []
        for axis in range(3):
            places = np.arange(numbers.shape[axis] - 1)
            low, high = numbers.take(places, axis), numbers.take(places + 1, axis)
            both = (low >= 0) & (high >= 0)
            pairs.append(np.stack([low[both], high[both]]))
        one, other = np.concatenate(pairs, axis=1)
        parent, before = np.arange(np.count_nonzero(mask)), None
        while before is None or not np.array_equal(parent, before):
            before = parent.copy()
            np.minimum.at(parent, before[one], before[other])
            np.minimum.at(parent, before[other], before[one])
            parent = np.minimum(parent, parent[parent])
        parent = parent[parent]
        sizes = np.bincount(parent)
        result[mask] = np.where(parent == sizes.argmax(), value, 0)
    return result


# ---- From files to files


def segment(
    path: Path, networks: Sequence[Call], settings: dict[str, Any], with_maps: bool
) -> tuple[nibabel.nifti1.Nifti1Image, list[np.ndarray]]:
    """Returns a scan's file, and its label (X, Y, Z) and `with_maps` probabilities (X, Y, Z, K), axes as stored."""
    file, image = read_scan(path, settings)
    is_canonical = settings["orientation"] == "canonical"
    axes = canonical_axes(file.header, file.affine) if is_canonical else (1, 2, 3)
    image = turned(image, axes)
    stored = voxel_size(file.header)
    spacing = [stored[abs(axis) - 1] for axis in axes]
    found = probabilities_of(networks, to_grid(image, spacing, settings), settings)
    if not np.isfinite(found).all():
        raise ValueError("the network's output holds NaN or infinite values")
    label, maps = from_grid(found, image.shape, spacing, settings, with_maps)
    label = largest_components(label) if settings["largest_component"] else label
    return file, [turned_back(array, axes) for array in (label, maps) if array is not None]


def find_scans(places: Sequence[str]) -> dict[str, Path]:
    """Returns name -> file of all scans named, and of those in folders named."""
    found: dict[str, Path] = {}
    for place in map(Path, places):
        inside = sorted(place.iterdir()) if place.is_dir() else [place]
        scans = [path for path in inside if path.name.lower().endswith((".nii", ".nii.gz")) and path.name[0] != "."]
        if not scans:
            sys.exit(f"ERROR: {place}: expected a scan (.nii, .nii.gz) or a folder of scans. Found: none.")
        others = [path.name for path in inside if path not in scans and path.name[0] != "."]
        if others:
            more = ", ..." if len(others) > 8 else ""
            print(f"{place}: no NIfTI files and left out: {', '.join(others[:8])}{more}", file=sys.stderr)
        for path in scans:
            name = path.name[: path.name.lower().rindex(".nii")]
            if found.setdefault(name, path) != path:
                sys.exit(f"ERROR: {found[name]} and {path} have one name. Segment them into different folders.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Segments the scans that the command line names. Returns 1 if one could not be segmented, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True, help="scans (.nii, .nii.gz) or folders of scans")
    parser.add_argument("--output", type=Path, required=True, help="folder for the labels")
    parser.add_argument("--batch_size", type=int, help="slices at a time; default: as in training")
    parser.add_argument("--probabilities", action="store_true", help="also write <scan>_probabilities.nii.gz")
    for name in ("largest_component", "mirroring"):
        text = f"as --{name} of FewSlice; default: settings.json"
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
    parser.add_argument("--engine", choices=("keras", "onnx"), help="default: keras where it is installed")
    args = parser.parse_args(arguments)
    folder = Path(__file__).resolve().parent
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    settings |= {name: value for name, value in vars(args).items() if name in settings and value is not None}
    scans, problems, engine = find_scans(args.images), {}, args.engine
    engine = engine or ("keras" if importlib.util.find_spec("keras") else "onnx")
    args.output.mkdir(parents=True, exist_ok=True)
    networks = load_networks(folder, [each["file"] for each in settings["networks"]], engine)
    for number, (name, path) in enumerate(scans.items(), start=1):
        targets = [args.output / f"{name}{end}.nii.gz" for end in ["", "_probabilities"][: 1 + args.probabilities]]
        if all(target.exists() for target in targets):
            print(f"[{number}/{len(scans)}] {name}: there already", flush=True)
            continue
        try:
            started = time.monotonic()
            file, arrays = segment(path, networks, settings, args.probabilities)
            for target, array in zip(targets, arrays, strict=True):
                if not target.exists():
                    write(target, array, file)
            print(f"[{number}/{len(scans)}] {name}: {time.monotonic() - started:.1f} s", flush=True)
        except (OSError, ValueError, EOFError, zlib.error, ImageFileError, HeaderDataError) as error:
            problems[name] = f"{path}: {error}"
            print(f"[{number}/{len(scans)}] {name}: FAILED", flush=True)
    if problems:
        print("\nERROR: not segmented:\n" + "\n".join(problems.values()), file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
