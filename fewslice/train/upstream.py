"""Which run a stage starts from, found by its settings. Needs no Keras, so that a missing run is told at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewslice.core.errors import ConfigError
from fewslice.core.run import find_former
from fewslice.settings.datasets import config_dict
from fewslice.settings.flag_table import JOINT

GLOBAL_STAGE = "pretr_encoder_global_contrastive_loss"
LOCAL_STAGE = "pretr_decoder_local_contrastive_loss"
BASELINE_STAGE = "tr_baseline"
NO_WEIGHTS = "none"  # --init_from=none

# Settings of the earlier run that have flags of their own here: its name -> ours.
_RENAMED = {
    "no_of_tr_imgs": "pretr_no_of_tr_imgs",
    "comb_tr_imgs": "pretr_comb_tr_imgs",
    "ver": "pretr_ver",
    "n_iter": "pretr_n_iter",
}
_GLOBAL = ("lr_reg", "temp_fac", "global_loss_exp_no", "n_parts", "seed")
_LOCAL = ("local_loss_exp_no", "no_of_local_regions", "no_of_decoder_blocks", "local_reg_size", "wgt_en")
# Of the baseline that joint training begins with.
_BASELINE = (
    "no_of_tr_imgs", "comb_tr_imgs", "ver", "seed", "dsc_loss", "lr_seg", "rd_en", "ri_en", "rd_ni", "sigma",
    "ri_per_image", "strong_aug",
)  # fmt: skip
_SHARED = ("mixed_precision", "average_decay", "jit_compile", "devices")  # of this stage and the earlier one


def former_of(args: Any) -> tuple[str | None, dict[str, Any]]:
    """Returns the stage whose weights `args.stage` starts from and the settings its run must have.

    The stage is None where no earlier one is needed: joint training starts from its teacher, see `teacher_of`.
    """
    if args.stage == LOCAL_STAGE:
        names = ("global_loss_exp_no", "n_parts", "temp_fac", "bt_size", "seed")
        return GLOBAL_STAGE, _values(args, names, **_RENAMED, bbox_dim="pretr_bbox_dim")
    if args.stage == "ft_pretr_encoder_net_global_loss":
        return GLOBAL_STAGE, _values(args, (*_GLOBAL, "bt_size", "bbox_dim"), **_RENAMED)
    if args.stage == "ft_pretr_encoder_decoder_net_local_loss":
        negatives = "no_of_neg_regs_override" if args.local_loss_exp_no == 1 else "no_of_neg_local_regions"
        return LOCAL_STAGE, _values(args, (*_GLOBAL, *_LOCAL, negatives), **_RENAMED)
    return None, {}


def needs_teacher(args: Any) -> bool:
    """Returns whether joint training begins with a baseline: it makes pseudo-labels, or the network starts from it."""
    return args.stage == JOINT and (args.method == "contrastive" or not args.init_from)


def teacher_of(args: Any) -> tuple[str, dict[str, Any]]:
    """Returns the stage of joint training's teacher and the settings its run must have."""
    return BASELINE_STAGE, _values(args, _BASELINE, n_iter="pretr_n_iter")


def _values(args: Any, names: Sequence[str], **renamed: str) -> dict[str, Any]:
    return {name: getattr(args, flag) for name, flag in {**renamed, **{name: name for name in names}}.items()}


def check_named(args: Any) -> None:
    """Looks for the runs and files that the user named.

    Raises:
        ConfigError: `--init_from` or `--teacher` is no run and no file, or a run without weights.
    """
    for flag in ("init_from", "teacher"):
        value = getattr(args, flag, None)
        if value and not (flag == "init_from" and value == NO_WEIGHTS):
            path = _named(flag, value)
            weights = path / "checkpoints" / ("last.npz" if flag == "init_from" else "best.npz")
            if path.is_dir() and not weights.exists():
                raise ConfigError(f"--{flag}={value}: this run has no {weights.name} in checkpoints/. Is it finished?")


def check_former(args: Any, dataset: Any) -> None:
    """Finds the runs that a stage starts from.

    Raises:
        ConfigError: no such run, or several.
    """
    locate(args, *former_of(args), dataset=dataset)
    if needs_teacher(args):
        locate(args, *teacher_of(args), flag="teacher", dataset=dataset)


def locate(
    args: Any, stage: str | None, wanted: Mapping[str, Any], *, flag: str = "init_from", dataset: Any = None
) -> Path | None:
    """Returns the run folder or weight file that a flag names, else the finished run of `stage` with these settings.

    Args:
        args: The flags.
        stage: The earlier stage; None if nothing is looked for.
        wanted: Setting -> value that its run must have.
        flag: "init_from" or "teacher".
        dataset: The dataset's settings. Of several runs the one with these, with the same precision, averaging and
            devices as this stage and without mixup is taken.

    Returns:
        The path; None with `--init_from=none`, or if nothing is named and nothing looked for.

    Raises:
        ConfigError: no such run, or several.
    """
    named = getattr(args, flag)
    if named:
        return None if flag == "init_from" and named == NO_WEIGHTS else _named(flag, named)
    if stage is None:
        return None
    preferred = {"mixup": 0.0, **_values(args, [name for name in _SHARED if hasattr(args, name)])}
    if dataset is not None:
        preferred["dataset_config"] = config_dict(dataset)
    texts = {"command": _command(stage, args, wanted), "flag": flag}
    return find_former(args.runs_dir, args.dataset, stage, wanted, preferred=preferred, **texts)


def _named(flag: str, value: str) -> Path:
    """Returns the run folder or weight file that a flag names."""
    path = Path(value)
    if path.is_file() or (path / "config.json").is_file():
        return path
    raise ConfigError(
        f"--{flag}={value}: expected a run folder (one with config.json) or a weight file (.npz). Found: "
        f"{'another folder' if path.exists() else 'nothing'}. Runs lie in runs/<dataset>/<stage>/ of the checkout."
    )


def _command(stage: str, args: Any, wanted: Mapping[str, Any]) -> str:
    given = {"dataset": args.dataset, "runs_dir": args.runs_dir, "data_root": args.data_root, **wanted}
    texts = [f"--{name}={value}" for name, value in given.items()] + [f"--set={text}" for text in args.set]
    return shlex.join(["python", f"{stage}.py", *texts, *(["--mixed_precision"] if args.mixed_precision else [])])
