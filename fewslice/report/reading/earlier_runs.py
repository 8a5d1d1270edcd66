"""Facts of runs from before config.json had a table `report`, derived from what it and the command say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewslice.settings import facts
from fewslice.settings.stage_flags import JointTraining

# Flags of joint training that were added later -> what runs did before.
_BEFORE = {"refresh_from": "best", "largest_component": 0}


def facts_of_earlier_run(path: Path, config: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Returns the facts of a run that does not record them, see `fewslice.settings.facts`.

    Args:
        command: Its command.txt, which names the run that it starts from where nothing else does.
    """
    stage = str(config.get("stage") or path.parent.name)
    if stage == "run_al_exp" or (path / "rounds").is_dir():
        is_by_hand = any(path.glob("rounds/*/to_annotate/slices.csv"))
        return facts.of_experiment({facts.ANNOTATOR: "files" if is_by_hand else "simulated", **config})
    if stage == "select_slices":
        return facts.of_selection(config)
    found = {**_BEFORE, **config, "stage": stage} if stage == JointTraining.stage else {**config, "stage": stage}
    return facts.of_training({"start_stage": _start_stage(found, command), **found})


def _start_stage(config: Mapping[str, Any], command: str) -> str:
    """Returns the stage whose weights a run started from: for joint training, the baseline by default."""
    weights, teacher = config.get("initial_weights"), config.get("teacher_sha256")
    if config["stage"] != JointTraining.stage or not weights or weights != teacher:
        return _named_stage(command, "init_from")
    recorded = str(config.get("teacher_stage") or "") or _named_stage(command, "teacher")
    return recorded or ("tr_baseline" if command and "--teacher" not in command else "")


def _named_stage(command: str, flag: str) -> str:
    found = re.search(rf"--{flag}[= ]['\"]?([^\s'\"]+)", command)
    return facts.stage_of(found[1] if found else None)
