"""Segments scans with the networks of this folder. It needs NumPy, nibabel, and Keras or onnxruntime.

    python predict.py --images FOLDER_OR_FILES --output FOLDER

What is done to a scan stands in settings.json: axes turned to R, A, S, intensities scaled by percentiles, slices
resampled and cropped or padded; the class probabilities go back to the scan's own grid, where the most probable class
is taken. The labels have the header of the scan. Files that are there already are kept. Pictures (.png, .bmp, .tif,
.jpg) need Pillow; their labels are .png.
"""

from __future__ import annotations

import argparse
import functools
import glob
import importlib.util
import itertools
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fewslice.core import files, limits
from fewslice.core.errors import ConfigError, DataError, FewSliceError, few
from fewslice.data.io import geometry
from fewslice.data.io.nifti import read_nifti
from fewslice.data.io.pictures import is_picture, label_name, read_picture, write_label
from fewslice.data.segment import Predict, class_codes, segment
from fewslice.data.volume import Case, Volume, image_notes
from fewslice.train.predict import ensemble, predictor

OPTIONS = ("largest_component", "mirroring", "label_codes")  # of post-processing; settings.json has their defaults
_MODULES = {"keras": "keras", "onnx": "onnxruntime"}
_ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def read_scan(path: Path, dataset: Any) -> Volume:
    """Returns a scan, its axes as `orientation` says. Raises `DataError` for damaged files and other channels."""
    read = read_picture if is_picture(path) else read_nifti
    grid = read(path, channel=dataset.image_channel, num_channels=dataset.num_channels)
    channels = grid.array.shape[3] if grid.array.ndim == 4 else 1
    if channels != dataset.num_channels:
        raise ConfigError(f"{path} has {channels} channel(s); the networks take {dataset.num_channels}. Leave it out.")
    is_turned = dataset.orientation == "canonical" and geometry.has_orientation(grid.header)
    axes = geometry.canonical_axes(grid.affine) if is_turned else geometry.STORED
    image, spacing = geometry.turned(grid.array, axes), geometry.permuted(grid.spacing_mm, axes)
    case, notes = Case(path.name, path.name, "", path, None), (*grid.notes, *image_notes(image, dataset))
    return Volume(case, image, None, None, spacing, grid.affine, notes, grid.header, axes)


def load(folder: Path, settings: dict[str, Any], engine: str | None) -> Predict:
    """Returns the function (slices, rows, columns, channels) -> mean class probabilities of all networks."""
    names = [each["file"] for each in settings["networks"]]
    possible = [one for one in (_MODULES if engine is None else [engine]) if importlib.util.find_spec(_MODULES[one])]
    possible = [one for one in possible if all((folder / f"{name}.{one}").is_file() for name in names)]
    if not possible:
        raise ConfigError(
            f"Nothing here runs {', '.join(names)} of {folder}. Install keras with a backend (pip install tensorflow); "
            "or onnxruntime (pip install onnxruntime), if the folder has .onnx files."
        )
    paths = [folder / f"{name}.{possible[0]}" for name in names]
    for path in paths:
        if files.sha256(path) != settings["sha256"].get(path.name):
            expected, remedy = "the network as it was exported", "Get a fresh copy of the folder, or export it again."
            raise DataError(path, expected=expected, found="another content", remedy=remedy)
    if possible[0] == "keras":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            import keras

            networks = [keras.saving.load_model(path, compile=False) for path in paths]
        except (ImportError, TypeError, ValueError) as error:
            version = settings["versions"].get("keras")
            remedy = f"It needs a backend (pip install tensorflow); the networks are of Keras {version}."
            raise ConfigError(f"Keras cannot load {paths[0]}: {error}\n{remedy}") from error
    else:
        import onnxruntime

        every = onnxruntime.get_available_providers()
        sessions = [onnxruntime.InferenceSession(path, providers=every) for path in paths]
        networks = [SimpleNamespace(predict_on_batch=functools.partial(_run, one)) for one in sessions]
    both = zip(networks, settings["networks"], strict=True)
    calls = [predictor(network, settings["batch_size"], facts["window"]) for network, facts in both]
    return ensemble(calls, mirroring=settings["mirroring"])


def _run(session: Any, images: np.ndarray) -> np.ndarray:
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def find_scans(places: Sequence[str], output: Path) -> dict[str, Path]:
    """Returns name -> file of all scans named, and of those in folders named.

    Raises:
        ConfigError: nothing there, two scans of one name, channels of one scan, or scans in the folder for the results.
    """
    found: dict[str, Path] = {}
    matches = [[each] if Path(each).exists() else sorted(glob.glob(each)) or [each] for each in places]
    for place in map(Path, itertools.chain(*matches)):
        inside = sorted(place.iterdir()) if place.is_dir() else [place] * os.path.lexists(place)
        inside = [path for path in inside if path.name[0] != "."]
        scans = [path for path in inside if _ENDING.search(path.name)] or [path for path in inside if is_picture(path)]
        if not scans:
            raise ConfigError(
                f"{place}: expected a scan (.nii, .nii.gz), a picture (.png, .bmp, .tif, .jpg) or a folder of them. "
                "Found: none. Other formats (.nrrd, .mha, DICOM) are not read here: convert them, with 3D Slicer or "
                "dcm2niix, or use FewSlice itself."
            )
        if others := [path.name for path in inside if path not in scans]:
            print(f"{place}: no {scans[0].suffix} files and left out: {few(others)}", file=sys.stderr)
        stems = {path.stem if is_picture(path) else _ENDING.sub("", path.name): path for path in scans}
        bases, is_many = Counter(re.sub(r"_\d{4}$", "", stem) for stem in stems), place.is_dir()
        if channels := [base for base, count in bases.items() if is_many and count > 1 and f"{base}_0000" in stems]:
            raise ConfigError(
                f"{place}: {channels[0]}_0000, ... may be channels of one scan. Name the files of the right channel "
                f"(--images {place / '*_0000.nii.gz'}), or put them into a folder of their own."
            )
        for name, path in stems.items():
            if found.setdefault(name, path).resolve() != path.resolve():
                raise ConfigError(f"{found[name]} and {path} have one name. Segment them into different folders.")
    if output.resolve() in {path.resolve().parent for path in found.values()}:
        raise ConfigError(f"--output {output} holds scans of --images. Choose a folder of its own.")
    return found


def segment_all(args: argparse.Namespace, folder: Path) -> dict[str, Exception]:
    """Segments the scans that are not segmented yet, and returns scan -> error."""
    settings = files.read_record(
        folder / "settings.json", {"networks": list, "num_classes": int, "sha256": dict, "versions": dict}
    )
    settings |= {name: value for name, value in vars(args).items() if name in settings and value is not None}
    dataset = SimpleNamespace(**settings, size=(settings["img_size_x"], settings["img_size_y"]))
    scans, problems = find_scans(args.images, args.output), {}
    codes = class_codes(dataset, as_in_files=dataset.label_codes)
    for one in settings["networks"]:
        pixels = math.prod(one.get("window") or dataset.size) * dataset.num_channels
        if found := limits.exceeded(4.0 * settings["batch_size"] * pixels):
            raise ConfigError(f"--batch_size {settings['batch_size']} needs too much memory: {found}. Choose less.")
    call = load(folder, settings, args.engine)
    for number, (name, path) in enumerate(scans.items(), start=1):
        names, started, text = [label_name(name, path)], time.monotonic(), "there already"
        names += [f"{name}_probabilities.nii.gz"] * args.probabilities
        missing = [each for each in names if not (args.output / each).exists()]
        if missing:
            try:
                volume = read_scan(path, dataset)
                label, maps = segment(
                    volume, call, dataset, largest=dataset.largest_component, with_maps=args.probabilities
                )
            except (FewSliceError, MemoryError) as error:
                problems[name], text = error, "FAILED"
            else:
                for each in missing:
                    write_label(args.output / each, codes[label] if each == names[0] else maps, like=volume)
                text = "; ".join([f"{time.monotonic() - started:.1f} s", *volume.notes])
        print(f"[{number}/{len(scans)}] {name}: {text}", flush=True)
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Segments the scans that the command line names. Returns 1 if one could not be segmented, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True, help="scans, pictures, or folders of them")
    parser.add_argument("--output", type=Path, required=True, help="folder for the labels")
    parser.add_argument("--batch_size", type=int, help="slices at a time; default: as in training")
    parser.add_argument("--probabilities", action="store_true", help="also write <scan>_probabilities.nii.gz")
    for name in OPTIONS:
        text = f"as --{name} of FewSlice; default: settings.json"
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
    parser.add_argument("--engine", choices=tuple(_MODULES), help="default: keras where it is installed")
    parser.add_argument(f"--{limits.FLAG}", type=float, default=limits.DEFAULT, help=limits.HELP)
    args = parser.parse_args(arguments)
    if args.batch_size is not None and args.batch_size < 1:
        parser.error(f"--batch_size must be 1 or more. Received: {args.batch_size}")
    limits.set_most(args.max_gb)
    try:
        problems = segment_all(args, Path(__file__).resolve().parent)
    except (FewSliceError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    if problems:
        listed = "\n".join(f"{name}: {error or 'memory runs out'}" for name, error in problems.items())
        print(f"\nERROR: not segmented:\n{listed}", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
