"""What figures and tables call a run: its method, what it starts from and the volumes it was trained on."""

from __future__ import annotations

import re
from pathlib import PurePath

from fewslice.report.reading.runs import Run
from fewslice.settings.stage_flags import GroupPretraining, JointTraining

GROUP, JOINT = GroupPretraining.stage, JointTraining.stage

STAGE_TITLES = {
    "pretr_encoder_global_contrastive_loss": "Encoder pretraining (global loss)",
    "pretr_decoder_local_contrastive_loss": "Decoder pretraining (local loss)",
    GROUP: "Encoder pretraining (group loss)",
    "tr_baseline": "Baseline",
    "ft_pretr_encoder_net_global_loss": "Pretrained encoder",
    "ft_pretr_encoder_decoder_net_local_loss": "Pretrained encoder + decoder",
    JOINT: "Joint training",
}
JOINT_TITLES = {"contrastive": "Joint training", "unimatch": "UniMatch", "copy_paste": "Copy-paste"}  # by `method`
_CONTRASTS = {0: "intra-image", 1: "inter-image"}  # by `local_loss_exp_no`


def kind(run: Run) -> tuple[str, str]:
    """Returns what runs must share for their settings to be compared: the stage, in joint training its method too."""
    return run.stage, str(run.config.get("method", "contrastive")) if run.stage == JOINT else ""


def title(run: Run) -> str:
    """Returns the name of a run's method without its settings, such as "UniMatch, from pretrained weights"."""
    stage, method = kind(run)
    text = STAGE_TITLES.get(stage, stage.replace("_", " "))
    if stage == JOINT:
        text = JOINT_TITLES.get(method, method.replace("_", " "))
        contrast = _CONTRASTS.get(run.config.get("local_loss_exp_no"), "") if method == "contrastive" else ""
        text += f", {contrast}" if contrast else ""
        return f"{text}, from {start(run)} weights" if start(run) else text
    return f"{text} script with --init_from" if "baseline" in stage.lower() and start(run) else text


def is_baseline(run: Run) -> bool:
    """Whether a run trains on the labelled volumes alone, from random weights."""
    return "baseline" in run.stage.lower() and not start(run)


def start(run: Run) -> str:
    """Returns what a run starts from if that is not usual: "pretrained", or "random" although it has a teacher."""
    weights, teacher = run.config.get("initial_weights"), run.config.get("teacher_sha256")
    if weights and weights == teacher:
        return "pretrained" if start_stage(run).startswith("ft_pretr") else ""
    if weights:
        return "pretrained"
    return "random" if teacher and weights is not None else ""


def start_stage(run: Run) -> str:
    """Returns the stage whose weights a run starts from, "" where that is not recorded.

    Runs from before `teacher_stage` was recorded name the folder of the teacher in their command, or else took the
    baseline.
    """
    weights, teacher = run.config.get("initial_weights"), run.config.get("teacher_sha256")
    if run.stage != JOINT or not weights or weights != teacher:
        return _stage_in_command(run, "init_from")
    recorded = str(run.config.get("teacher_stage") or "")
    named = _stage_in_command(run, "teacher")
    is_found_by_flags = bool(run.command) and "--teacher" not in run.command
    return recorded or named or ("tr_baseline" if is_found_by_flags else "")


def _stage_in_command(run: Run, flag: str) -> str:
    found = re.search(rf"--{flag}[= ]['\"]?([^\s'\"]+)", run.command)
    parts = PurePath(found[1]).parts if found else ()
    return next((part for part in parts if part in STAGE_TITLES), "")


def split(run: Run) -> str:
    """Returns the labelled split of a segmenting run, such as "tr1 c1"; "?" if unknown, "" for pretraining."""
    return "" if run.is_contrastive else named_split(run)


def named_split(run: Run) -> str:
    """Returns the split of any run as its flags name it, "?" if they are not recorded."""
    parts = [str(run.config[name]) for name in ("no_of_tr_imgs", "comb_tr_imgs") if run.config.get(name)]
    return " ".join(parts) or "?"
