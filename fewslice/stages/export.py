"""Writes trained networks as a folder that segments scans without this software.

<output>/network_0.keras, ...   one for each network, of Keras' own layers alone
         network_0.onnx, ...    the same for onnxruntime, where the extra `onnx` is installed
         settings.json          what is done to a scan before and after the networks; names, versions, checksums
         predict.py             does it (`fewslice.export.runner`), with copies of the modules that it imports in
         fewslice_program/
         README.md
"""

from __future__ import annotations

import importlib.util
import json
import logging as standard_logging
import os
import re
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
from fewslice.data.segment import class_codes
from fewslice.export import runner
from fewslice.learner.trained import describe, open_runs, postprocessing, preparation
from fewslice.settings.predict_flags import ExportArgs

SETTINGS = "settings.json"
FORMAT = 1
PROGRAM = "fewslice_program"  # not `fewslice`, which may be installed there in another version
_NO_ONNX = 'No ONNX files: tf2onnx is not installed (pip install -e ".[onnx]").'
_README = """# Segmentation of {classes}

{count} trained with FewSlice: {names}.

    pip install numpy nibabel tensorflow    # Python 3.11 or later; or keras with a backend; or onnxruntime{onnx}
    python predict.py --images scans/ --output segmentations/

`scans/` holds .nii or .nii.gz files{channels}, or pictures (pip install pillow). Each result has the name, grid and
header of its scan, with the values {labels}. `python predict.py --help` lists the options; settings.json says what is
done to a scan.
"""


def export(args: ExportArgs) -> Path:
    """Writes the folder, whole or not at all, and returns it. What is there already and whole is left as it is.

    Raises:
        ConfigError: no networks, networks that do not fit each other or have layers of a plugin, or a folder in the
            way.
        FewSliceError: the file system refuses.
    """
    runs, dataset = open_runs(args.run, orientation=args.run_orientation)
    folder = args.output_folder
    codes = class_codes(dataset, as_in_files=args.label_codes)
    shapes = [run.network.input_shape(dataset.size, dataset.num_channels) for run in runs]
    if by_passes := [run.name for run in runs if getattr(run.network, "passes", 0)]:
        logging.info("%s: exported without dropout, as predict.py predicts with --passes=0.", ", ".join(by_passes))
    settings = {
        "format": FORMAT,
        "networks": [
            facts | {"file": f"network_{number}", "window": getattr(run.network, "window", None)}
            for number, (run, facts) in enumerate(zip(runs, describe(runs), strict=True))
        ],
        **preparation(dataset),
        "batch_size": 1 if any(None in shape for shape in shapes) else dataset.mtask_bs,
        **postprocessing(args, runs, runner.OPTIONS),
    }
    if _is_there(folder, json.loads(files.to_json(settings))):
        logging.info("Already exported: %s", folder)
        return folder
    backend.configure(seed=0, mixed_precision=False)
    import models
    from fewslice.learner.learner import load_part

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        how = {"prefix": f".{folder.name}.", "dir": folder.parent, "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(**how) as made:
            made, missing = Path(made), ""
            for run, facts in zip(runs, settings["networks"], strict=True):
                try:
                    network = models.standard_network(load_part(run, dataset))
                except ValueError as error:
                    raise ConfigError(f"{run.name} cannot be exported: {error}") from error
                network.save(made / f"{facts['file']}.keras")
                missing = missing or _write_onnx(network, made / f"{facts['file']}.onnx")
            for path in made.glob("*.onnx") if missing else ():  # of an ensemble all or none
                path.unlink()
            logging.info("%s", missing or "Written for Keras and as ONNX.")
            labels = zip(codes, ("background", *dataset.struct_name), strict=True)
            readme = _README.format(
                classes=", ".join(dataset.struct_name),
                count="One network" if len(runs) == 1 else f"{len(runs)} networks that predict together",
                names=", ".join(run.name for run in runs),
                onnx=", but there are no .onnx files here" if missing else "",
                channels="" if dataset.num_channels == 1 else f" with {dataset.num_channels} channels",
                labels=", ".join(f"{code} {name}" for code, name in labels),
            )
            for name, text in (program() | {"README.md": readme}).items():
                files.write_text(made / name, text)
            sums = {path.relative_to(made).as_posix(): files.sha256(path) for path in sorted(made.rglob("*.*"))}
            versions = {name: text for name, text in backend.versions().items() if not name.startswith("plugin ")}
            files.write_json(made / SETTINGS, {**settings, "versions": versions, "sha256": sums})
            made.chmod(0o755)
            os.replace(made, folder)
    except OSError as error:
        raise writing_error(folder, error) from error
    return folder


def program() -> dict[str, str]:
    """Returns file -> text: predict.py, and every module of ours that it needs, as it stands here."""
    root, found, todo = Path(runner.__file__).parents[1], {}, [("predict.py", runner.__name__)]
    while todo:
        name, module = todo.pop()
        path = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
        if name in found or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        for base, names in re.findall(r"^from (fewslice[.\w]*) import (.+)$", text, re.MULTILINE):
            modules = [base, *(f"{base}.{each.strip()}" for each in names.split(","))]
            todo += [(f"{each.replace('.', '/').replace('fewslice', PROGRAM, 1)}.py", each) for each in modules]
        text = re.sub(r"^from fewslice\b", f"from {PROGRAM}", text, flags=re.MULTILINE)
        found[name] = text.replace("from absl import logging", "import logging")
    return found | {f"{PROGRAM}/__init__.py": '"""Modules of FewSlice that predict.py needs."""\n'}


def _is_there(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder holds this export. Raises `ConfigError` if it holds something else."""
    if not os.path.lexists(folder):
        return False
    if (folder / SETTINGS).is_file():
        found = files.read_record(folder / SETTINGS, {"sha256": dict})
        is_same = all(found.get(name) == value for name, value in settings.items())
        sums = found["sha256"].items()
        if is_same and all((folder / name).is_file() and files.sha256(folder / name) == one for name, one in sums):
            return True
    elif folder.is_dir() and not any(folder.iterdir()):
        return False
    raise ConfigError(f"--output={folder} is there and is not this export. Choose a new folder, which keeps it.")


def _write_onnx(network: Any, path: Path) -> str:
    """Writes a network as ONNX, and returns "" or why there is none."""
    if importlib.util.find_spec("tf2onnx") is None:
        return _NO_ONNX
    standard_logging.getLogger("tf2onnx").setLevel("ERROR")  # it tells each of its steps
    try:
        network(np.zeros([side or 32 for side in network.input_shape], np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.export(path, format="onnx", verbose=False)
    except Exception as error:  # of another project, in many kinds; the rest of the export is of use without it
        path.unlink(missing_ok=True)
        return f"No ONNX files: tf2onnx refuses ({type(error).__name__}: {str(error).partition(chr(10))[0]})."
    return ""
