"""The table of command-line flags: one row per flag, one column per training script.

Names, types and defaults are those of the published commands (Chaitanya et al. 2020). Two defaults are shared
by all stages here, where the published scripts disagreed with each other: `global_loss_exp_no` is 2
everywhere (was 0 in fine-tuning) and `no_of_decoder_blocks` is 3 (was 1, while the published results used 3).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spec:
    """One flag.

    Args:
        kind: "integer", "float", "string", "bool" or "multi_string".
        default: Its default, unless the column of a stage says otherwise.
        help: What it does, in one or two sentences.
        is_right: Whether a value is allowed.
        must: What an allowed value is, for the message "`name` must be <must>".
    """

    kind: str
    default: Any
    help: str
    is_right: Callable[[Any], bool] | None = None
    must: str = ""


def _integer(default: int, text: str, low: int, high: int | None = None) -> Spec:
    if high is None:
        return Spec("integer", default, text, lambda value: value >= low, f"{low} or larger")
    must = f"a whole number from {low} to {high}"
    return Spec("integer", default, text, lambda value: low <= value <= high, must)


def _choice(default: int, text: str, *allowed: int) -> Spec:
    must = "one of " + ", ".join(map(str, allowed))
    return Spec("integer", default, text, lambda value: value in allowed, must)


def _positive(default: float, text: str) -> Spec:
    return Spec("float", default, text, lambda value: 0 < value < math.inf, "a positive number")


def _text(default: str | None, text: str) -> Spec:
    return Spec("string", default, text)


def _name(default: str, text: str) -> Spec:
    """A text that becomes part of a folder's name."""
    must = "letters, digits, underscores and hyphens"
    return Spec("string", default, text, lambda value: re.fullmatch(r"[\w-]+", value) is not None, must)


SPECS: Mapping[str, Spec] = {
    # What to train on.
    "dataset": _text("acdc", "Dataset: the <name> of an experiment_init/init_<name>.py."),
    "no_of_tr_imgs": _text(
        None,
        "Key of the split table in data_cfg_<dataset>.py: tr1, tr2, tr8, ... If not given, pretraining uses "
        "the dataset's `unlabeled_split` (tr52 for acdc, tr22 for prostate_md, tr10 for mmwhs).",
    ),
    "comb_tr_imgs": _name("c1", "Combination of patients within the key: c1, c2, ..."),
    "set": Spec(
        "multi_string",
        [],
        "name=value: overrides an attribute of init_<dataset>.py for this run; may be repeated. Commas "
        "separate the parts of a tuple: --set target_resolution=1.5,1.5",
    ),
    "data_root": _text(None, "Folder that holds all datasets. Default: $FEWSLICE_DATA, or data_root/ in the checkout."),
    # How the run goes.
    "n_iter": _integer(10001, "Training steps. A finished run can be extended by a larger number.", 1),
    "ver": _integer(0, "Number of the run: another one repeats the same settings beside the first.", 0),
    "seed": _integer(0, "Seed of everything random.", 0, 2**32 - 1),
    "runs_dir": _text(None, "Folder for the results. Default: runs/ in the checkout."),
    "init_from": _text(
        None,
        "Run folder or weight file of an earlier stage to start from; else the one that the flags name.",
    ),
    "resume": Spec("bool", True, "Continue an unfinished run of the same settings; --noresume starts it afresh."),
    "mixed_precision": Spec("bool", False, "Compute in 16-bit floats; weights and losses stay 32-bit."),
    "jit_compile": Spec("bool", False, "Compile the training step with XLA."),
    "devices": _integer(1, "Number of devices that share each batch.", 1),
    "tensorboard": Spec("bool", False, "Write TensorBoard logs too."),
    "average_decay": Spec(
        "float",
        0.0,
        "Decay per step of an exponential average of the weights, such as 0.99; the average is what is "
        "validated and saved. 0 keeps none.",
        lambda value: 0 <= value < 1,
        "at least 0 and below 1",
    ),
    # Contrastive pretraining.
    "lr_reg": _positive(0.001, "Learning rate of pretraining."),
    "temp_fac": _positive(0.1, "Temperature of the contrastive loss."),
    "bbox_dim": _integer(100, "Side in pixels of the random crop that is resized to a whole slice.", 2),
    "global_loss_exp_no": _integer(
        2,
        "Global contrastive loss: 0 random pairs (G^R), 1 without matching volumes (G^D-), 2 with them "
        "(G^D), 3 and 4 two augmentations per slice. Shared default of all stages: 2.",
        0,
        4,
    ),
    "n_parts": _integer(4, "Partitions per volume.", 2),
    "bt_size": _integer(12, "Slices per step of the global stage, before augmentation.", 1),
    "local_loss_exp_no": _integer(
        0,
        "Local contrastive loss: 0 within a slice (L^R), 1 across volumes too (L^D). Shared default: 0.",
        0,
        1,
    ),
    "no_of_local_regions": _choice(13, "Regions per feature map in the local loss.", 9, 13),
    "no_of_decoder_blocks": _integer(3, "Decoder blocks that are pretrained. Shared default of all stages: 3.", 1, 5),
    "local_reg_size": _choice(1, "Size of a local region: 1 is 3x3 pixels, 0 is 1x1.", 0, 1),
    "wgt_en": _choice(1, "1 projects each 3x3 region to 128 numbers, 0 does not.", 0, 1),
    "no_of_neg_local_regions": _integer(5, "Negative regions per region: 1 to 5; 0 takes all others.", 0, 5),
    "no_of_neg_regs_override": _integer(4, "The same where local_loss_exp_no=1.", 0, 5),
    "data_aug": _choice(1, "0 switches all augmentation off.", 0, 1),
    "strong_views": _choice(
        0,
        "1 makes views harder to recognise: gamma, bias field, noise, blur, and intensities drawn for each image.",
        0,
        1,
    ),
    "batch_negatives": _choice(
        0, "1 adds the same region of other images of the batch to the local loss' negatives.", 0, 1
    ),
    # Segmentation.
    "lr_seg": _positive(0.001, "Learning rate of the segmentation."),
    "dsc_loss": _integer(
        2,
        "Segmentation loss: 0 weighted cross-entropy, 1 Dice without background, 2 Dice with background, "
        "3 Dice with background + cross-entropy, 4 Dice without background + weighted cross-entropy.",
        0,
        4,
    ),
    "rd_en": _choice(1, "1 deforms slices elastically.", 0, 1),
    "ri_en": _choice(1, "1 changes brightness and contrast.", 0, 1),
    "rd_ni": _choice(1, "1 mixes changed and unchanged slices in a batch, 0 leaves all unchanged.", 0, 1),
    "sigma": _positive(5, "Standard deviation of the elastic deformation, in pixels."),
    "en_1hot": _choice(1, "Labels one-hot.", 0, 1),
    # The earlier stage, to find its run.
    "pretr_no_of_tr_imgs": _text(None, "Split key of the earlier stage. Default: the dataset's `unlabeled_split`."),
    "pretr_comb_tr_imgs": _name("c1", "Combination of the earlier stage."),
    "pretr_ver": _integer(0, "Run number of the earlier stage.", 0),
    "pretr_n_iter": _integer(10001, "Training steps of the earlier stage.", 1),
    "pretr_data_aug": _choice(0, "data_aug of the earlier stage.", 0, 1),
    "pretr_bbox_dim": _integer(100, "bbox_dim of the encoder's pretraining.", 2),
    "pretr_cont_bbox_dim": _integer(100, "bbox_dim of the decoder's pretraining.", 2),
}

_EVERY = (
    "dataset", "no_of_tr_imgs", "comb_tr_imgs", "set", "data_root", "n_iter", "ver", "seed", "runs_dir",
    "init_from", "resume", "mixed_precision", "jit_compile", "devices", "tensorboard", "average_decay",
)  # fmt: skip
_GLOBAL = ("lr_reg", "temp_fac", "global_loss_exp_no", "n_parts")
_LOCAL = (
    "local_loss_exp_no", "no_of_local_regions", "no_of_decoder_blocks", "local_reg_size", "wgt_en",
    "no_of_neg_local_regions", "no_of_neg_regs_override",
)  # fmt: skip
_SEGMENTATION = ("lr_seg", "dsc_loss", "rd_en", "ri_en", "rd_ni", "sigma", "en_1hot")
_EARLIER = ("pretr_no_of_tr_imgs", "pretr_comb_tr_imgs", "pretr_ver", "pretr_n_iter", "pretr_data_aug")


def _column(*names: str, **defaults: Any) -> Mapping[str, Any]:
    return {name: SPECS[name].default for name in _EVERY + names} | defaults


# Script -> flag -> default.
STAGES: Mapping[str, Mapping[str, Any]] = {
    "pretr_encoder_global_contrastive_loss": _column(*_GLOBAL, "bt_size", "bbox_dim", "strong_views", data_aug=0),
    "pretr_decoder_local_contrastive_loss": _column(
        *_GLOBAL,
        "bt_size",
        "bbox_dim",
        *_LOCAL,
        "batch_negatives",
        "strong_views",
        *_EARLIER,
        "pretr_bbox_dim",
        data_aug=0,
    ),
    "ft_pretr_encoder_net_global_loss": _column(
        *_GLOBAL, "bt_size", "bbox_dim", "data_aug", *_SEGMENTATION, *_EARLIER, no_of_tr_imgs="tr1"
    ),
    "ft_pretr_encoder_decoder_net_local_loss": _column(
        *_GLOBAL, *_LOCAL, "data_aug", *_SEGMENTATION, *_EARLIER, "pretr_cont_bbox_dim", no_of_tr_imgs="tr1"
    ),
    "tr_baseline": _column(*_SEGMENTATION, no_of_tr_imgs="tr2"),
}

# Flags that a script only uses to find the run of the stage before it.
FINDERS: Mapping[str, tuple[str, ...]] = {
    "pretr_encoder_global_contrastive_loss": (),
    "pretr_decoder_local_contrastive_loss": (
        "global_loss_exp_no", "bt_size", *_EARLIER[:4], "pretr_bbox_dim",
    ),
    "ft_pretr_encoder_net_global_loss": (*_GLOBAL, "bt_size", "bbox_dim", *_EARLIER[:4]),
    "ft_pretr_encoder_decoder_net_local_loss": (
        *_GLOBAL, *(name for name in _LOCAL if name != "no_of_decoder_blocks"), *_EARLIER[:4],
        "pretr_cont_bbox_dim",
    ),
    "tr_baseline": (),
}  # fmt: skip

_VIEWS = "contrastive views are always augmented"
_EARLIER_VIEWS = {"pretr_data_aug": _VIEWS}
_ONE_HOT = {"en_1hot": "labels are always one-hot"}

# Flags that the published scripts accept and that change nothing, with the reason.
IGNORED: Mapping[str, Mapping[str, str]] = {
    "pretr_encoder_global_contrastive_loss": {"data_aug": _VIEWS},
    "pretr_decoder_local_contrastive_loss": {
        "data_aug": _VIEWS,
        "bbox_dim": "the local loss needs slices that are not cropped; pretr_bbox_dim finds the encoder",
        **_EARLIER_VIEWS,
    },
    "ft_pretr_encoder_net_global_loss": _ONE_HOT | _EARLIER_VIEWS,
    "ft_pretr_encoder_decoder_net_local_loss": _ONE_HOT
    | _EARLIER_VIEWS
    | {"pretr_cont_bbox_dim": "the local loss crops nothing"},
    "tr_baseline": _ONE_HOT,
}

LABELED_STAGES = tuple(stage for stage, column in STAGES.items() if "lr_seg" in column)

# Flags of a run that are no part of its digest: where it lies, how it is shown, how long it is, and `set`,
# whose effect stands in the dataset's settings.
NOT_IN_DIGEST = frozenset({"runs_dir", "data_root", "resume", "tensorboard", "n_iter", "set"})


def help_text(stage: str, name: str) -> str:
    """Returns what `--help` of a script says about a flag."""
    text = SPECS[name].help
    if name in IGNORED.get(stage, {}):
        return f"{text} Accepted and ignored: {IGNORED[stage][name]}."
    if name in FINDERS.get(stage, ()):
        return f"{text} (Here only to find the earlier stage.)"
    if stage == "pretr_decoder_local_contrastive_loss" and name == "temp_fac":
        return f"{text} The encoder is looked for under the same one."
    return text
