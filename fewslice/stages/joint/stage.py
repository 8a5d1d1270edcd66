"""Joint training on labelled and other volumes, from a baseline that was trained on the labelled ones alone.

`contrastive.py` is the paper's method, `mean_teacher.py` holds UniMatch and copy-paste.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, section 3.
"""

from __future__ import annotations

from pathlib import Path

from absl import logging

from fewslice.core import backend, files
from fewslice.settings import datasets
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages.joint import contrastive, mean_teacher
from fewslice.stages.joint.job import Job
from fewslice.stages.joint.pools import open_all
from fewslice.train import setup
from fewslice.train.evaluation import evaluate_run
from fewslice.train.trainer import Trainer

METHODS = {
    "contrastive": contrastive.prepare,
    "unimatch": mean_teacher.unimatch,
    "copy_paste": mean_teacher.copy_paste,
}


def train_joint(args: JointTraining, dataset: datasets.DatasetConfig) -> None:
    """Trains the U-Net on labelled and on other volumes, by the method that `--method` names."""
    teacher = setup.find_teacher(args, dataset)
    origin = setup.find_origin(args, dataset) if args.init_from else teacher
    volumes = open_all(args, dataset)
    roles = {name: getattr(volumes, name) for name in ("train", "val", "test", "unlabeled")}
    extra = {
        "teacher_sha256": teacher.sha256,
        "teacher_stage": _stage_of(teacher.path),
        "start_stage": _stage_of(origin.path),
    }
    with setup.open_run(args, dataset, _name(args), origin, roles, extra=extra) as run:
        if run.is_done:
            logging.info("Already finished: %s", run.dir)
            return
        backend.configure(seed=args.seed, mixed_precision=args.mixed_precision)
        run.start(backend.versions())
        texts = (", ".join(setup.case_ids(prepared)) for prepared in roles.values())
        logging.info("%s: training on %s, validation %s, test %s, without labels %s.", run.dir, *texts)
        made = METHODS[args.method](Job(args, dataset, volumes, run, teacher, origin))
        trainer = Trainer(run, made.model, made.plan)
        trainer.train()
        kept = made.plan.kept or made.model
        results = evaluate_run(run, kept, dataset, volumes.test, network=made.network)
        run.finish({"best_step": trainer.tracker.best_step, "val_dice": trainer.tracker.best, **results})
        logging.info("Finished: %s", run.dir)


def _stage_of(weights: Path | None) -> str:
    """Returns the stage of the run that a weight file belongs to, "" if it lies elsewhere or there is none."""
    if weights is None:
        return ""
    path = weights.parent.parent / "config.json"
    return files.read_json(path).get("stage", "") if path.is_file() else ""


def _name(args: JointTraining) -> str:
    variant = f"local{args.local_loss_exp_no}" if args.method == "contrastive" else args.method
    return f"{args.no_of_tr_imgs}_{args.comb_tr_imgs}_{variant}_s{args.seed}"
