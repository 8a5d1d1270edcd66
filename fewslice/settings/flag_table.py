"""The table of command-line flags: one column per training script. The flags themselves stand in `flag_specs.py`.

Names, types and defaults are those of the published commands (Chaitanya et al. 2020; group contrastive training: Vepa
et al. 2024). Two defaults are shared
by all stages here, where the published scripts disagreed with each other: `global_loss_exp_no` is 2
everywhere (was 0 in fine-tuning) and `no_of_decoder_blocks` is 3 (was 1, while the published results used 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fewslice.settings.flag_specs import SPECS
from fewslice.settings.flag_specs_group import GROUP_SPECS

JOINT = "prop_method_joint_tr_rand_init"
GROUP = "pretr_encoder_group_contrastive_loss"

_EVERY = (
    "dataset", "no_of_tr_imgs", "comb_tr_imgs", "set", "data_root", "n_iter", "ver", "seed", "runs_dir",
    "init_from", "resume", "mixed_precision", "jit_compile", "devices", "tensorboard", "average_decay",
)  # fmt: skip
_GLOBAL = ("lr_reg", "temp_fac", "global_loss_exp_no", "n_parts")
_LOCAL = (
    "local_loss_exp_no", "no_of_local_regions", "no_of_decoder_blocks", "local_reg_size", "wgt_en",
    "no_of_neg_local_regions", "no_of_neg_regs_override",
)  # fmt: skip
_SEGMENTATION = (
    "lr_seg", "dsc_loss", "rd_en", "ri_en", "rd_ni", "sigma", "en_1hot", "ri_per_image", "strong_aug",
)  # fmt: skip
_JOINT = (
    "lamda_local", "no_of_pos_eles", "no_of_neg_eles", "refresh_every", "crf", "test_aug_overlap", "test_f1_threshold",
    "min_classes", "cont_normalisation", "unl_no_of_tr_imgs", "unl_comb_tr_imgs", "published_lists", "copy_head",
    "teacher", "check_only", "method", "unlabelled_bs", "consistency_weight", "confidence", "soft_labels",
    "teacher_decay", "feature_dropout", "refresh_from", "largest_component",
)  # fmt: skip
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
        *_GLOBAL, "bt_size", "bbox_dim", "data_aug", *_SEGMENTATION, "mixup", *_EARLIER, no_of_tr_imgs="tr1"
    ),
    "ft_pretr_encoder_decoder_net_local_loss": _column(
        *_GLOBAL, *_LOCAL, "data_aug", *_SEGMENTATION, "mixup", *_EARLIER, "pretr_cont_bbox_dim", no_of_tr_imgs="tr1"
    ),
    GROUP: _column(*GROUP_SPECS, n_iter=48301),
    "tr_baseline": _column(*_SEGMENTATION, "mixup", no_of_tr_imgs="tr2"),
    JOINT: _column(
        "temp_fac", "bt_size", "local_loss_exp_no", *_JOINT, *_SEGMENTATION, "data_aug", "bbox_dim", "pretr_n_iter",
        no_of_tr_imgs="tr2", n_iter=15001, bt_size=10, local_loss_exp_no=1, data_aug=0, bbox_dim=150, pretr_n_iter=5001,
    ),
}  # fmt: skip

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
    GROUP: (),
    "tr_baseline": (),
    JOINT: ("pretr_n_iter",),
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
    GROUP: {},
    "tr_baseline": _ONE_HOT,
    JOINT: _ONE_HOT
    | {
        "data_aug": "labelled slices are always augmented, and those of the contrastive loss change in intensity",
        "bbox_dim": "nothing is cropped",
        "no_of_neg_eles": "the negatives are the class means, as in the published code",
    },
}

_OF_PSEUDO_LABELS = (
    "temp_fac", "bt_size", "local_loss_exp_no", "lamda_local", "no_of_pos_eles", "refresh_every", "crf",
    "test_aug_overlap", "test_f1_threshold", "min_classes", "cont_normalisation", "copy_head",
    "refresh_from",
)  # fmt: skip
_OF_TEACHERS, _OF_UNIMATCH = ("unlabelled_bs", "consistency_weight", "teacher_decay"), ("confidence", "feature_dropout")
# `--method` -> flags of joint training that belong to other methods and change nothing under it.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "contrastive": (*_OF_TEACHERS, *_OF_UNIMATCH, "largest_component"),
    "unimatch": (*_OF_PSEUDO_LABELS, "largest_component"),
    "copy_paste": _OF_PSEUDO_LABELS + _OF_UNIMATCH,
}

LABELED_STAGES = tuple(stage for stage, column in STAGES.items() if "lr_seg" in column)

# Flags of a run that are no part of its digest: where it lies, how it is shown, how long it is, and `set`,
# whose effect stands in the dataset's settings.
NOT_IN_DIGEST = frozenset({"runs_dir", "data_root", "resume", "tensorboard", "n_iter", "set", "teacher", "check_only"})

# Flags that were added later: at their default they are no part of the digest, so that earlier runs keep theirs.
ABSENT_AT_DEFAULT = frozenset({"mixup"})


_JOINT_HELP = {
    "local_loss_exp_no": "Pixel contrastive loss: 0 within an image, 1 between two images too.",
    "bt_size": "Pairs of slices per step of the pixel contrastive loss, 2 or more.",
    "init_from": "Run folder or weight file to start encoder and decoder from, such as pretrained ones, or none for "
    "random weights; else the baseline's. unimatch, copy_paste: the segmentation head too, if there is one.",
    "pretr_n_iter": "Training steps of the baseline. (Here only to find it.)",
    "average_decay": f"{SPECS['average_decay'].help} unimatch, copy_paste: 0 takes --teacher_decay.",
}


def help_text(stage: str, name: str) -> str:
    """Returns what `--help` of a script says about a flag."""
    text = SPECS[name].help
    if name in IGNORED.get(stage, {}):
        return f"{text} Accepted and ignored: {IGNORED[stage][name]}."
    if stage == JOINT and name in _JOINT_HELP:
        return _JOINT_HELP[name]
    if stage == GROUP and name == "n_iter":
        return f"{text} The default is 100 epochs of 483 batches, those of the published list of ACDC."
    if name in FINDERS.get(stage, ()):
        return f"{text} (Here only to find the earlier stage.)"
    if stage == "pretr_decoder_local_contrastive_loss" and name == "temp_fac":
        return f"{text} The encoder is looked for under the same one."
    return text
