"""Writes trained networks as a folder that segments scans without this software.

<output>/network_0.keras, ...   one for each network, of Keras' own layers alone
         network_0.onnx, ...    the same for onnxruntime, where the extra `onnx` is installed
         settings.json          what is done to a scan before and after the networks; names, versions, checksums
         predict.py             does it (`fewslice.export.runner`)
         README.md
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.core import backend, files
from fewslice.core.errors import ConfigError
from fewslice.core.files import writing_error
from fewslice.export import runner
from fewslice.settings.predict_flags import ExportArgs
from fewslice.stages.predict import describe, open_runs, preparation

SETTINGS = "settings.json"
FORMAT = 1
_NO_ONNX = 'No ONNX files: tf2onnx is not installed (pip install -e ".[onnx]").'
_README = """# Segmentation of {classes}

{count} trained with FewSlice: {names}.

    pip install numpy nibabel tensorflow            # or another backend of Keras 3 with keras; or onnxruntime{onnx}
    python predict.py --images scans/ --output segmentations/

`scans/` holds .nii or .nii.gz files{channels}. Each result has the name, grid and header of its scan, with the values
{labels}. `python predict.py --help` lists the options; settings.json says what is done to a scan.
"""


def export(args: ExportArgs) -> Path:
    """Writes the folder, whole or not at all, and returns it. What is there already and whole is left as it is.

    Raises:
        ConfigError: no networks, networks that do not fit each other or have layers of a plugin, or a folder in the
            way.
        FewSliceError: the file system refuses.
    """
    runs, dataset = open_runs(args)
    folder, facts = args.output_folder, describe(runs)
    places = [{"file": f"network_{number}"} for number in range(len(runs))]
    windows = [{"window": getattr(run.network, "window", None)} for run in runs]
    settings = {
        "format": FORMAT,
        "networks": [a | b | c for a, b, c in zip(places, facts, windows, strict=True)],
        **preparation(dataset),
        "batch_size": dataset.mtask_bs,
        "largest_component": args.largest_component,
        "mirroring": args.mirroring,
    }
    if _is_there(folder, json.loads(files.to_json(settings))):
        logging.info("Already exported: %s", folder)
        return folder
    backend.configure(seed=0, mixed_precision=False)
    import models
    from fewslice.learner.learner import load_network

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise writing_error(folder, error) from error
    try:
        for run, place in zip(runs, places, strict=True):
            part = run.network.part(load_network(run.network, dataset, run.weights))
            try:
                network = models.standard_network(part)
            except ValueError as error:
                raise ConfigError(f"{run.name} cannot be exported: {error}") from error
            network.save(made / f"{place['file']}.keras")
            missing = _write_onnx(network, made / f"{place['file']}.onnx")
        if missing:
            logging.info("%s", missing)
        files.write_text(made / "predict.py", Path(runner.__file__).read_text(encoding="utf-8"))
        files.write_text(made / "README.md", _readme(settings, has_onnx=not missing))
        sums = {path.name: files.sha256(path) for path in sorted(made.iterdir())}
        versions = {name: text for name, text in backend.versions().items() if not name.startswith("plugin ")}
        files.write_json(made / SETTINGS, {**settings, "versions": versions, "sha256": sums})
        made.chmod(0o755)
        os.replace(made, folder)
    except OSError as error:
        raise writing_error(folder, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _is_there(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder holds this export. Raises `ConfigError` if it holds something else."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not names and not folder.exists():
        return False
    if SETTINGS in names:
        found = files.read_record(folder / SETTINGS, {"sha256": dict})
        is_same = all(found.get(name) == value for name, value in settings.items())
        if is_same and all(
            (folder / n).is_file() and files.sha256(folder / n) == s for n, s in found["sha256"].items()
        ):
            return True
    if names or not folder.is_dir():
        raise ConfigError(f"--output={folder} is there and is not this export. Choose a new folder, which keeps it.")
    return False


def _write_onnx(network: Any, path: Path) -> str:
    """Writes a network as ONNX, and returns "" or why there is none."""
    if importlib.util.find_spec("tf2onnx") is None:
        return _NO_ONNX
    try:
        network(np.zeros((1, *network.input_shape[1:]), np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.export(path, format="onnx", verbose=False)
    except Exception as error:  # of another project, in many kinds; the rest of the export is of use without it
        path.unlink(missing_ok=True)
        return f"No ONNX files: tf2onnx refuses ({type(error).__name__}: {str(error).splitlines()[:1]})."
    return ""


def _readme(settings: Mapping[str, Any], *, has_onnx: bool) -> str:
    networks, channels = settings["networks"], settings["num_channels"]
    return _README.format(
        classes=", ".join(settings["struct_name"]),
        count="One network" if len(networks) == 1 else f"{len(networks)} networks that predict together",
        names=", ".join(each["name"] for each in networks),
        onnx="" if has_onnx else ", but there are no .onnx files here",
        channels="" if channels == 1 else f" with {channels} channels",
        labels=", ".join(f"{number} {name}" for number, name in enumerate(["background", *settings["struct_name"]])),
    )
