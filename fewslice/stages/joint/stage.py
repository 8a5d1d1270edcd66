"""Joint training on labelled and other volumes, from a baseline that was trained on the labelled ones alone.

`contrastive.py` is the paper's method, `mean_teacher.py` holds UniMatch and copy-paste.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3.
"""

from __future__ import annotations

from pathlib import Path

from fewslice.core import done
from fewslice.settings import datasets
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages import segmentation
from fewslice.stages.joint import contrastive, mean_teacher
from fewslice.stages.joint.job import Job, open_all
from fewslice.train import setup

METHODS = {"contrastive": contrastive.prepare, "unimatch": mean_teacher.unimatch, "copy_paste": mean_teacher.copy_paste}


def train_joint(args: JointTraining, dataset: datasets.DatasetConfig) -> None:
    """Trains the U-Net on labelled and on other volumes, by the method that `--method` names."""
    teacher = setup.find_teacher(args, dataset)
    origin = setup.find_origin(args, dataset) if args.init_from else teacher
    volumes = open_all(args, dataset)
    roles = {name: getattr(volumes, name) for name in ("train", "val", "test", "unlabeled")}
    stages = {"teacher_stage": _stage_of(teacher.path), "start_stage": _stage_of(origin.path)}
    method = f"local{args.local_loss_exp_no}" if args.method == "contrastive" else args.method
    segmentation.train_and_score(
        args,
        dataset,
        f"{method}_s{args.seed}",
        origin,
        roles,
        lambda run: METHODS[args.method](Job(args, dataset, volumes, run, teacher, origin)),
        extra={"teacher_sha256": teacher.sha256, **stages},
    )


def _stage_of(weights: Path | None) -> str:
    """Returns the stage of the run that a weight file belongs to, "" if it lies elsewhere or there is none."""
    path = weights.parent.parent / "config.json" if weights else None
    return done.read_config(path).get("stage", "") if path and path.is_file() else ""
