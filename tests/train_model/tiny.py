"""A dataset of seven tiny patients, and the training scripts as functions, for the tests of this folder."""

from __future__ import annotations

import contextlib
import csv
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags as absl_flags
from absl import logging

from tests.scripts.running import run

SCRIPTS = Path(__file__).resolve().parents[2] / "train_model"
GLOBAL = "pretr_encoder_global_contrastive_loss"
GROUP = "pretr_encoder_group_contrastive_loss"
LOCAL = "pretr_decoder_local_contrastive_loss"
ENCODER = "ft_pretr_encoder_net_global_loss"
ENCODER_DECODER = "ft_pretr_encoder_decoder_net_local_loss"
BASELINE = "tr_baseline"
JOINT = "prop_method_joint_tr_rand_init"

INIT = """
layout = "acdc"
data_path_tr = "tiny"
data_path_tr_cropped = "cropped/tiny"
how_to_get = "The tests make it."
img_size_x = 32
img_size_y = 32
target_resolution = (1.5, 1.5)
num_classes = 3
struct_name = ("rv", "lv")
class_weights = (0.1, 0.4, 0.5)
phases = ("ED",)
unlabeled_phases = ("ED",)
unlabeled_split = "tr4"
mtask_bs = 2
batch_size_ft = 2
val_step_update = 2
"""
SPLITS = """
train = {"tr1": {"c1": ["001"]}, "tr4": {"*": ["001", "002", "003", "004"]}}
val = {"tr1": {"*": ["005"]}}
test = ["006", "007"]
unlabeled = ("tr4",)
"""

# Small and quick settings of each stage; the pretraining stages share what finds them again.
_FIND, _BLOCKS = ("--n_parts=2", "--bt_size=2"), ("--no_of_decoder_blocks=1",)
FLAGS = {
    GLOBAL: (*_FIND, "--bbox_dim=20", "--n_iter=4"),
    GROUP: ("--n_iter=4",),
    LOCAL: (*_FIND, *_BLOCKS, "--n_iter=4", "--pretr_n_iter=4", "--pretr_bbox_dim=20"),
    ENCODER: (*_FIND, "--bbox_dim=20", "--n_iter=4", "--pretr_n_iter=4"),
    ENCODER_DECODER: ("--n_parts=2", *_BLOCKS, "--n_iter=4", "--pretr_n_iter=4"),
    BASELINE: ("--no_of_tr_imgs=tr1", "--n_iter=4"),
    JOINT: ("--no_of_tr_imgs=tr1", "--n_iter=6", "--pretr_n_iter=4", "--bt_size=2", "--refresh_every=4"),
}
TIMES = ("seconds", "steps_per_s")
FILTERS = (16,) * 2  # of the U-Net's levels, see `quick_networks`


def write_dataset(root: Path) -> Path:
    """Writes `root/tiny/patient001 ... 007` in ACDC's layout and `root/experiments/{init,data_cfg}_tiny.py`."""
    from fewslice.data.io.nifti import write_nifti

    (root / "experiments").mkdir(parents=True)
    (root / "experiments" / "init_tiny.py").write_text(INIT)
    (root / "experiments" / "data_cfg_tiny.py").write_text(SPLITS)
    for patient in range(1, 8):
        rng = np.random.default_rng(patient)
        shape = (30 + patient, 34 - patient, 4)
        x, y = np.meshgrid(*(np.arange(n) - n / 2 for n in shape[:2]), indexing="ij")
        label = np.zeros(shape, np.uint8)
        for index in range(shape[2]):
            radius = 5 + patient % 3 - index
            label[(x + 3) ** 2 + y**2 < radius**2, index] = 1
            label[(x - 6) ** 2 + y**2 < radius**2, index] = 2
        image = (100 * label + 30 * rng.random(shape)).astype(np.float32)
        folder = root / "tiny" / f"patient{patient:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\n")
        spacing = (1.4 + 0.05 * patient, 1.4 + 0.05 * patient, 8.0)
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
        affine[:3, 3] = (11.0, -7.0, 3.0)
        for suffix, array in (("", image), ("_gt", label)):
            path = folder / f"patient{patient:03d}_frame01{suffix}.nii.gz"
            write_nifti(path, array, like=None, affine=affine, spacing_mm=spacing)
    return root


def environment(root: Path) -> dict[str, str]:
    """Returns the environment in which the library finds the dataset that `write_dataset` wrote."""
    return {"FEWSLICE_DATA": str(root), "FEWSLICE_EXPERIMENTS": str(root / "experiments")}


@contextlib.contextmanager
def quick_networks() -> Iterator[pytest.MonkeyPatch]:
    """Makes small U-Nets, lets TensorFlow run operation by operation, and draws coarsely, for the length of a block.

    Most of the time of a run of a few steps would be spent on tracing, and on writing weights. Of what is left, a fifth
    would be the many small operations of Keras' Adam, for which one kernel on the same state does, and a tenth the way
    of every weight through TensorFlow's distribution over devices, of which there is one.
    """
    import keras
    import tensorflow as tf

    import models.unet
    from fewslice.report.figures import style

    is_eager, optimizers = tf.config.functions_run_eagerly(), keras.optimizers
    png_bytes = style.png_bytes
    plain_step, plain_steps = optimizers.Adam.update_step, optimizers.Optimizer._distributed_tf_update_step

    def update_step(self, gradient, variable, learning_rate):
        if not tf.executing_eagerly():
            return plain_step(self, gradient, variable, learning_rate)
        place, step = self._get_variable_index(variable), 1 + int(self.iterations.numpy())
        m, v = (each[place].value.handle for each in (self._momentums, self._velocities))
        powers = {"beta1_power": self.beta_1**step, "beta2_power": self.beta_2**step, "lr": learning_rate}
        options = {"beta1": self.beta_1, "beta2": self.beta_2, "epsilon": self.epsilon, "grad": gradient}
        tf.raw_ops.ResourceApplyAdam(var=variable.handle, m=m, v=v, **powers, **options)
        return None

    def update_steps(self, distribution, gradients, learning_rate):
        if distribution.num_replicas_in_sync > 1 or not tf.executing_eagerly():
            return plain_steps(self, distribution, gradients, learning_rate)
        for gradient, variable in gradients:
            self.update_step(gradient, variable, learning_rate)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers.Adam, "update_step", update_step)
        patch.setattr(optimizers.Optimizer, "_distributed_tf_update_step", update_steps)
        patch.setattr(models.unet, "ENCODER_FILTERS", FILTERS)
        patch.setattr(style, "png_bytes", lambda figure, **_: png_bytes(figure, dpi=20, colours=0))
        tf.config.run_functions_eagerly(True)
        try:
            yield patch
        finally:
            tf.config.run_functions_eagerly(is_eager)


def arguments(script: str, runs: Path, *more: str) -> list[str]:
    """Returns the command line of a script with its tiny settings; a flag in `more` replaces the tiny one."""
    given = {text.split("=")[0] for text in more}
    kept = [text for text in FLAGS[script] if text.split("=")[0] not in given]
    return ["--dataset=tiny", f"--runs_dir={runs}", *kept, *more]


def execute(script: str, argv: list[str]) -> None:
    """Runs `train_model/<script>.py` in this process. Its flags are its own; errors come out as exceptions."""
    from fewslice.core import app

    values = absl_flags.FLAGS
    before, argv = set(values), [f"{script}.py", *argv]
    logging.set_verbosity(logging.INFO)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", argv)
            patch.setattr(app, "run", lambda main: main(values(argv)))
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    finally:
        for name in set(values) - before:
            delattr(values, name)


def read(script: str, runs: Path, *more: str):
    """Returns the flags and the dataset that a training script would work with."""
    from fewslice.settings.flags import read_from
    from fewslice.settings.stage_flags import STAGES

    return read_from(STAGES[script], arguments(script, runs, *more))


def run_dir(runs: Path, script: str) -> Path:
    """Returns the only run directory of a stage."""
    (folder,) = (path for path in (runs / "tiny" / script).iterdir() if path.is_dir())
    return folder


def weights(folder: Path, name: str = "last.npz") -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint, the record of metadata included."""
    with np.load(folder / "checkpoints" / name) as archive:
        return dict(archive)


def log(folder: Path) -> list[dict[str, str]]:
    """Returns the lines of train.csv without the times."""
    return content(folder / "logs" / "train.csv")


def content(path: Path) -> Any:
    """Returns what a result file says without how long it took, as values that can be compared bit by bit."""
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            return [_untimed(row) for row in csv.DictReader(file) if row.get("metric") not in TIMES]
    if path.suffix == ".json":
        return json.loads(path.read_text(), object_hook=_untimed)
    if path.suffix == ".npz":
        with np.load(path) as archive:
            found = {name: (array.dtype, array.shape, array.tobytes()) for name, array in archive.items()}
        record = json.loads(found.pop("record.json")[2], object_hook=_untimed)
        for name in ("run", "sha256 of record and arrays"):  # runs of other settings may have the same weights
            record.pop(name, None)
        return found | {"record": record}
    return path.read_bytes()


def _untimed(found: dict) -> dict:
    return {name: value for name, value in found.items() if name not in TIMES}


def assert_same(one: Path, other: Path, *patterns: str) -> None:
    """Compares the files that fit the patterns: there are the same ones in both folders, with the same content."""
    names = [
        sorted({path.relative_to(folder) for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
        for folder in (one, other)
    ]
    assert names[0] == names[1] and names[0]
    for name in names[0]:
        mine, theirs = content(one / name), content(other / name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            assert [key for key in mine.keys() | theirs if mine.get(key) != theirs.get(key)] == [], name
        assert mine == theirs, name


def assert_same_run(one: Path, other: Path) -> None:
    """Compares weights, log and scores of two run directories bit by bit."""
    assert_same(one, other, "best.npz", "last.npz", "train.csv", "per_volume.csv")


def assert_predict_repeats(folder: Path, root: Path, output: Path) -> None:
    """Segments the test scans by scripts/predict.py and compares the files with those of the run, bit by bit."""
    scans = root / "tiny" / "patient00[67]" / "*01.nii.gz"
    result = run("predict", f"--run={folder}", f"--images={scans}", f"--output={output}")
    assert result.returncode == 0, result.stderr
    for patient in ("006", "007"):
        theirs = folder / "eval" / "predictions" / f"{patient}_ED.nii.gz"
        assert (output / f"patient{patient}_frame01.nii.gz").read_bytes() == theirs.read_bytes()
