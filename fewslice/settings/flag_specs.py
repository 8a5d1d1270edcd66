"""Every command-line flag of the training scripts: type, default, allowed values, help.

Those of group contrastive training stand in `fewslice/settings/flag_specs_group.py`. Which script has which, and with
which defaults, stands in `fewslice/settings/flag_table.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fewslice.settings.flag_kinds import Spec, choice, integer, name, not_negative, positive, text
from fewslice.settings.flag_specs_group import GROUP_SPECS

METHOD_CHOICES = ("contrastive", "unimatch", "copy_paste")
CRF_CHOICES = ("published", "corrected", "none")

SPECS: Mapping[str, Spec] = {
    # What to train on.
    "dataset": text("acdc", "Dataset: the <name> of an experiment_init/init_<name>.py."),
    "no_of_tr_imgs": text(
        None,
        "Key of the split table in data_cfg_<dataset>.py: tr1, tr2, tr8, ... If not given, pretraining uses "
        "the dataset's `unlabeled_split` (tr52 for acdc, tr22 for prostate_md, tr10 for mmwhs).",
    ),
    "comb_tr_imgs": name("c1", "Combination of patients within the key: c1, c2, ..."),
    "set": Spec(
        "multi_string",
        [],
        "name=value: overrides an attribute of init_<dataset>.py for this run; may be repeated. Commas "
        "separate the parts of a tuple: --set target_resolution=1.5,1.5",
    ),
    "data_root": text(None, "Folder that holds all datasets. Default: $FEWSLICE_DATA, or data_root/ in the checkout."),
    # How the run goes.
    "n_iter": integer(10001, "Training steps. A finished run can be extended by a larger number.", 1),
    "ver": integer(0, "Number of the run: another one repeats the same settings beside the first.", 0),
    "seed": integer(0, "Seed of everything random.", 0, 2**32 - 1),
    "runs_dir": text(None, "Folder for the results. Default: runs/ in the checkout."),
    "init_from": text(
        None,
        "Run folder or weight file of an earlier stage to start from, or none for random weights; else the one that "
        "the flags name.",
    ),
    "resume": Spec("bool", True, "Continue an unfinished run of the same settings; --noresume starts it afresh."),
    "mixed_precision": Spec("bool", False, "Compute in 16-bit floats; weights and losses stay 32-bit."),
    "jit_compile": Spec("bool", False, "Compile the training step with XLA."),
    "devices": integer(1, "Number of devices that share each batch.", 1),
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
    "lr_reg": positive(0.001, "Learning rate of pretraining."),
    "temp_fac": positive(0.1, "Temperature of the contrastive loss."),
    "bbox_dim": integer(100, "Side in pixels of the random crop, at most a slice's side, that is resized to it.", 2),
    "global_loss_exp_no": integer(
        2,
        "Global contrastive loss: 0 random pairs (G^R), 1 without matching volumes (G^D-), 2 with them "
        "(G^D), 3 and 4 two augmentations per slice. Shared default of all stages: 2.",
        0,
        4,
    ),
    "n_parts": integer(4, "Partitions per volume.", 2),
    "bt_size": integer(12, "Slices per step of the global stage, before augmentation.", 1),
    "local_loss_exp_no": integer(
        0,
        "Local contrastive loss: 0 within a slice (L^R), 1 across volumes too (L^D). Shared default: 0.",
        0,
        1,
    ),
    "no_of_local_regions": choice(13, "Regions per feature map in the local loss.", 9, 13),
    "no_of_decoder_blocks": integer(3, "Decoder blocks that are pretrained. Shared default of all stages: 3.", 1, 5),
    "local_reg_size": choice(1, "Size of a local region: 1 is 3x3 pixels, 0 is 1x1.", 0, 1),
    "wgt_en": choice(1, "1 projects each 3x3 region to 128 numbers, 0 does not.", 0, 1),
    "no_of_neg_local_regions": integer(5, "Negative regions per region: 1 to 5; 0 takes all others.", 0, 5),
    "no_of_neg_regs_override": integer(4, "The same where local_loss_exp_no=1.", 0, 5),
    "data_aug": choice(1, "0 switches all augmentation off.", 0, 1),
    "strong_views": choice(
        0,
        "1 makes views harder to recognise: gamma, bias field, noise, blur, and intensities drawn for each image.",
        0,
        1,
    ),
    "batch_negatives": choice(
        0, "1 adds the same region of other images of the batch to the local loss' negatives.", 0, 1
    ),
    # Segmentation.
    "lr_seg": positive(0.001, "Learning rate of the segmentation."),
    "dsc_loss": integer(
        2,
        "Segmentation loss: 0 weighted cross-entropy, 1 Dice without background, 2 Dice with background, "
        "3 Dice with background + cross-entropy, 4 Dice without background + weighted cross-entropy.",
        0,
        4,
    ),
    "rd_en": choice(1, "1 deforms slices elastically.", 0, 1),
    "ri_en": choice(1, "1 changes brightness and contrast.", 0, 1),
    "ri_per_image": choice(
        1, "1 draws brightness and contrast for each slice, 0 once for the batch as the published code.", 0, 1
    ),
    "strong_aug": choice(
        0, "1 also changes gamma, bias field, sharpness and noise of the slices that --rd_ni changes.", 0, 1
    ),
    "rd_ni": choice(1, "1 mixes changed and unchanged slices in a batch, 0 leaves all unchanged.", 0, 1),
    "sigma": positive(5, "Standard deviation of the elastic deformation, in pixels."),
    "mixup": not_negative(
        0.0,
        "Mixup: slices and one-hot labels of a batch become mixtures of two, by weights from Beta(mixup, mixup), such "
        "as 0.1. 0: off.",
    ),
    "en_1hot": choice(1, "Labels one-hot.", 0, 1),
    # Joint training with pseudo-labels.
    "method": Spec(
        "string",
        "contrastive",
        "How unlabelled volumes are learned from: contrastive (the paper: pixel embeddings on pseudo-labels), unimatch "
        "(weak-to-strong consistency with CutMix), copy_paste (labelled and unlabelled slices pasted into each other).",
        lambda value: value in METHOD_CHOICES,
        "one of " + ", ".join(METHOD_CHOICES),
    ),
    "unlabelled_bs": integer(
        0, "unimatch, copy_paste: unlabelled slices per step, 2 or more; 0: as many as labelled ones.", 0
    ),
    "consistency_weight": Spec(
        "float",
        1.0,
        "unimatch, copy_paste: weight of the loss of unlabelled slices.",
        lambda value: 0 <= value < math.inf,
        "0 or larger",
    ),
    "confidence": Spec(
        "float",
        0.95,
        "unimatch: pixels whose largest probability is lower do not count.",
        lambda value: 0 <= value < 1,
        "at least 0 and below 1",
    ),
    "soft_labels": choice(
        0, "1 takes probabilities as targets and counts each pixel by its confidence, instead of a decision.", 0, 1
    ),
    "teacher_decay": Spec(
        "float",
        0.99,
        "unimatch, copy_paste: decay per step of the averaged network that makes the targets and predicts; 0: the "
        "network itself.",
        lambda value: 0 <= value < 1,
        "at least 0 and below 1",
    ),
    "largest_component": choice(
        1, "copy_paste: 1 keeps the largest connected component of each structure of a target, as published.", 0, 1
    ),
    "feature_dropout": Spec(
        "float",
        0.5,
        "unimatch: share of the encoder's channels that is dropped in a further view; 0 leaves it out.",
        lambda value: 0 <= value < 1,
        "at least 0 and below 1",
    ),
    "lamda_local": Spec(
        "float", 0.1, "Weight of the pixel contrastive loss.", lambda value: 0 <= value < math.inf, "0 or larger"
    ),
    "no_of_pos_eles": integer(3, "Pixels drawn per class and slice for the pixel contrastive loss.", 1),
    "no_of_neg_eles": integer(3, "Negative pixels per class.", 0),
    "refresh_every": integer(
        5000, "Steps after which new pseudo-labels are made, see --refresh_from; a multiple of `val_step_update`.", 1
    ),
    "refresh_from": Spec(
        "string",
        "best",
        "Which network makes new pseudo-labels: best (of the validations so far, as published) or last.",
        lambda value: value in ("best", "last"),
        "one of best, last",
    ),
    "crf": Spec(
        "string",
        "corrected",
        "How pseudo-labels are refined by a dense CRF: published (the paper's parameters), corrected (parameters with "
        "which intensities count and small structures stay), none.",
        lambda value: value in CRF_CHOICES,
        "one of " + ", ".join(CRF_CHOICES),
    ),
    "test_aug_overlap": choice(0, "1 leaves out volumes whose predictions from two augmented views disagree.", 0, 1),
    "test_f1_threshold": Spec(
        "float",
        0.9,
        "Mean F1 of the two views above which a volume's pseudo-labels are taken.",
        lambda value: 0 <= value < 1,
        "at least 0 and below 1",
    ),
    "min_classes": integer(
        0, "Classes (with the background) that a slice of the pixel contrastive loss must hold; 0: all.", 0
    ),
    "cont_normalisation": Spec(
        "string",
        "mean",
        "Pixel contrastive loss: mean over pairs, or nested as in the published code, where all but the last pair "
        "vanish.",
        lambda value: value in ("mean", "nested"),
        "one of mean, nested",
    ),
    "unl_no_of_tr_imgs": text(None, "Split key of the unlabelled volumes. Default: the dataset's `unlabeled_split`."),
    "unl_comb_tr_imgs": name("c1", "Combination of the unlabelled volumes."),
    "published_lists": choice(
        0,
        "1 gives pseudo-labels to every volume of the unlabelled list, validation and labelled ones included, as the "
        "published code; 0 leaves validation volumes out, and labelled ones have their true masks.",
        0,
        1,
    ),
    "copy_head": choice(
        0,
        "contrastive: 1 starts from a segmentation head too, that of --init_from or else the baseline's; 0 from a new "
        "one, as published. unimatch, copy_paste: no effect, see --init_from.",
        0,
        1,
    ),
    "check_only": Spec("bool", False, "Check the flags and stop; trains nothing."),
    "teacher": text(
        None,
        "Run folder of the baseline that makes the first pseudo-labels (contrastive) or that the network starts from; "
        "else the one that the flags name. unimatch, copy_paste: none is needed where --init_from is given.",
    ),
    # The earlier stage, to find its run.
    "pretr_no_of_tr_imgs": text(None, "Split key of the earlier stage. Default: the dataset's `unlabeled_split`."),
    "pretr_comb_tr_imgs": name("c1", "Combination of the earlier stage."),
    "pretr_ver": integer(0, "Run number of the earlier stage.", 0),
    "pretr_n_iter": integer(10001, "Training steps of the earlier stage.", 1),
    "pretr_data_aug": choice(0, "data_aug of the earlier stage.", 0, 1),
    "pretr_bbox_dim": integer(100, "bbox_dim of the encoder's pretraining.", 2),
    "pretr_cont_bbox_dim": integer(100, "bbox_dim of the decoder's pretraining.", 2),
    **GROUP_SPECS,
}
