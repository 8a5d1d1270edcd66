"""The command-line flags of the training scripts: one frozen class per script, made into flags by `settings.flags`.

Names, types and defaults are those of the published commands (Chaitanya et al. 2020; group contrastive training: Vepa
et al. 2024). Two defaults are shared by all stages here, where the published scripts disagreed with each other:
`global_loss_exp_no` is 2 everywhere (was 0 in fine-tuning) and `no_of_decoder_blocks` is 3 (was 1, while the published
results used 3).
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from absl import logging
from annotated_types import Ge, Gt, Le

from fewslice.core.errors import ConfigError, few
from fewslice.settings import dataset_files, datasets, recipe
from fewslice.settings.declare import (
    Aside,
    BelowOne,
    Count,
    Help,
    Later,
    Must,
    NotNegative,
    Positive,
    Share,
    Switch,
    declared,
    inherited,
    settings_of,
)
from fewslice.settings.group_contrastive import GroupContrastive

GlobalLoss = Annotated[int, Ge(0), Le(4)]
LocalLoss = Annotated[int, Ge(0), Le(1)]
Negatives = Annotated[int, Ge(0), Le(5)]
Number = Annotated[int, Ge(0)]
FolderName = Annotated[
    str, Must(lambda value: re.fullmatch(r"[\w-]+", value) is not None, "letters, digits, underscores and hyphens")
]
Resume = Annotated[bool, Aside("Continue an unfinished run of the same settings; --noresume starts it afresh.")]

_STEPS = "Training steps. A finished run is extended by a larger number, if that is given."
_AVERAGE = (
    "Decay per step of an exponential average of the weights, such as 0.99; the average is what is validated and "
    "saved. 0 keeps none."
)
_VIEWS = "contrastive views are always augmented"


@declared
class ScriptFlags:
    """Flags of any script that reads data and writes results."""

    data_root: Annotated[
        str | None, Aside("Folder that holds all datasets. Default: $FEWSLICE_DATA, or data_root/ in the checkout.")
    ] = None
    runs_dir: Annotated[str | None, Aside("Folder for the results. Default: runs/ in the checkout.")] = None

    given: frozenset[str] | None = None  # the flags on the command line, filled in where they are read

    def is_given(self, name: str) -> bool:
        """Whether a flag stands on the command line; settings that code makes are given."""
        return self.given is None or name in self.given

    @property
    def runs_folder(self) -> str:
        """The full path of the folder for the results."""
        return os.path.abspath(self.runs_dir or dataset_files.checkout() / "runs")

    def completed(self) -> Any:
        """Returns the flags with all derived values filled in."""
        return self

    def no_effect(self, name: str) -> str:
        """Returns why a flag changes nothing beside the others, "" if it does."""
        return settings_of(type(self))[name].help.no_effect


@declared
class OnDataset(ScriptFlags):
    """The dataset that a script works on."""

    dataset: Annotated[str, "Dataset: the <name> of an experiment_init/init_<name>.py."] = "acdc"
    set: Annotated[
        tuple[str, ...],
        Aside(
            "name=value: overrides an attribute of init_<dataset>.py for this run; may be repeated. Commas separate "
            "the parts of a tuple: --set target_resolution=1.5,1.5"
        ),
    ] = ()
    comb_tr_imgs: Annotated[FolderName, "Combination of patients within the key: c1, c2, ..."] = "c1"
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Help("Seed of everything random.", finds_upstream="also")] = 0
    mixed_precision: Annotated[
        bool, Help("Compute in 16-bit floats; weights and losses stay 32-bit.", finds_upstream="prefers")
    ] = False

    def load_dataset(self) -> datasets.DatasetConfig:
        """Returns the settings of the dataset below `--data_root`, with the overrides of `--set`.

        Raises:
            ConfigError: wrong overrides or settings; one message with every problem.
        """
        return datasets.load_dataset_config(self.dataset, datasets.parse_overrides(self.set), data_root=self.data_root)


@declared
class Training(OnDataset):
    """Flags of every training script.

    Attributes:
        stage: Name of the script.
        upstream: Name of the script whose run it starts from, "" if none is looked for.
        train_ids, val_ids: Patients to train on, and those that choose the checkpoint (none for pretraining). Filled
            in by `completed`.
    """

    stage: ClassVar[str] = ""
    upstream: ClassVar[str] = ""
    check_only: ClassVar[bool] = False

    no_of_tr_imgs: Annotated[
        str | None,
        "Key of the split table in data_cfg_<dataset>.py: tr1, tr2, tr8, ... If not given, pretraining uses the "
        "dataset's `unlabeled_split` (tr52 for acdc, tr22 for prostate_md, tr10 for mmwhs).",
    ] = None
    n_iter: Annotated[Count, Aside(_STEPS)] = 10001
    hours: Annotated[
        float | None,
        Gt(0),
        Aside(
            "In place of --n_iter: hours that the training should take on this machine, such as 1 or 0.5. Its first "
            "steps are measured; the number of steps that follows is recorded, and every later call takes it."
        ),
    ] = None
    extend: Annotated[bool, Aside("--noextend leaves a finished run as it is, whatever --n_iter says.")] = True
    ver: Annotated[Number, "Run number; another number repeats the same settings in a run directory of its own."] = 0
    init_from: Annotated[
        str | None,
        "Run folder or weight file of an earlier stage to start from, or none for random weights; else the one "
        "that the flags name.",
    ] = None
    resume: Resume = True
    jit_compile: Annotated[bool, Help("Compile the training step with XLA.", finds_upstream="prefers")] = False
    devices: Annotated[Count, Help("Number of devices that share each batch.", finds_upstream="prefers")] = 1
    tensorboard: Annotated[bool, Aside("Write TensorBoard logs too.")] = False
    average_decay: Annotated[BelowOne, Help(_AVERAGE, finds_upstream="prefers")] = 0.0

    train_ids: tuple[str, ...] = ()
    val_ids: tuple[str, ...] = ()

    def completed(self) -> tuple[Self, datasets.DatasetConfig]:
        """Returns these flags with split keys, folders and patients filled in, and the dataset's settings.

        Raises:
            ConfigError: wrong settings, unknown split, or patients that may not be in it.
        """
        if self.hours and self.given is not None and self.is_given("n_iter"):
            raise ConfigError(
                f"--hours={self.hours:g} and --n_iter={self.n_iter} both set the length of the training. Give one."
            )
        dataset = self.load_dataset()
        filled: dict[str, Any] = {"runs_dir": self.runs_folder, "data_root": str(dataset.data_root)}
        lists = [name for name in settings_of(type(self)) if name.endswith("no_of_tr_imgs")]
        filled |= {name: dataset.unlabeled_split for name in lists if getattr(self, name) is None}
        args = dataclasses.replace(self, **filled)
        args = recipe.filled(dataclasses.replace(args, **args._patients(dataset)), dataset)
        for prefix in ("pretr_", "unl_"):
            if f"{prefix}no_of_tr_imgs" in lists:
                key, comb = (getattr(args, f"{prefix}{name}") for name in ("no_of_tr_imgs", "comb_tr_imgs"))
                datasets.check_pretraining_split(dataset, key, comb, prefix=prefix)
        return args, dataset

    def _patients(self, dataset: datasets.DatasetConfig) -> dict[str, tuple[str, ...]]:
        key, comb = self.no_of_tr_imgs, self.comb_tr_imgs
        shared = datasets.check_pretraining_split(dataset, key, comb)
        if shared:
            text = "%s holds validation patients; only their images are used: %s."
            logging.info(text, key, few(shared))
        return {"train_ids": dataset.splits.train_ids(key, comb)}


def _are_widths(text: str) -> bool:
    return re.fullmatch(r"[1-9]\d*(,[1-9]\d*)+", text) is not None


@declared
class UNet:
    """The network of the stages that train a U-Net."""

    recipe: Annotated[
        Literal["published", "planned"] | None,
        Aside(
            "Where the defaults of other flags come from: the publications, or planned for the images (docs/baseline.md"
            "). Default: `recipe` of init_<dataset>.py."
        ),
    ] = None
    unet: Annotated[
        str | None,
        Must(_are_widths, "two or more numbers separated by commas"),
        Later("Channels of each level of the U-Net. Default: 16,32,64,128,128,128.", finds_upstream="also"),
    ] = None
    normalisation: Annotated[
        Literal["batch", "instance"],
        Later("What convolutions are normalised by: the batch, or each image by itself.", finds_upstream="also"),
    ] = "batch"


@declared
class Earlier:
    """The run of the stage before: `pretr_x` is its setting `x`."""

    pretr_no_of_tr_imgs: Annotated[
        str | None,
        Help("Split key of the earlier stage. Default: the dataset's `unlabeled_split`.", finds_upstream="only"),
    ] = None
    pretr_comb_tr_imgs: Annotated[FolderName, Help("Combination of the earlier stage.", finds_upstream="only")] = "c1"
    pretr_ver: Annotated[Number, Help("Run number of the earlier stage.", finds_upstream="only")] = 0
    pretr_n_iter: Annotated[Count, Help("Training steps of the earlier stage.", finds_upstream="only")] = 10001
    pretr_data_aug: Annotated[Switch, Help("data_aug of the earlier stage.", no_effect=_VIEWS)] = 0


@declared
class GlobalContrastive:
    lr_reg: Annotated[Positive, "Learning rate of pretraining."] = 0.001
    temp_fac: Annotated[Positive, "Temperature of the contrastive loss."] = 0.1
    global_loss_exp_no: Annotated[
        GlobalLoss,
        "Global contrastive loss: 0 random pairs (G^R), 1 without matching volumes (G^D-), 2 with them (G^D), 3 "
        "and 4 two augmentations per slice. Shared default of all stages: 2.",
    ] = 2
    n_parts: Annotated[int, Ge(2), "Partitions per volume."] = 4


@declared
class Crop:
    bbox_dim: Annotated[
        int, Ge(2), "Side in pixels of the random crop, at most a slice's side, that is resized to it."
    ] = 100


@declared
class GlobalBatches(Crop):
    bt_size: Annotated[Count, "Slices per step of the global stage, before augmentation."] = 12


@declared
class LocalContrastive:
    local_loss_exp_no: Annotated[
        LocalLoss, "Local contrastive loss: 0 within a slice (L^R), 1 across volumes too (L^D). Shared default: 0."
    ] = 0
    no_of_local_regions: Annotated[Literal[9, 13], "Regions per feature map in the local loss."] = 13
    no_of_decoder_blocks: Annotated[
        int, Ge(1), Le(5), "Decoder blocks that are pretrained. Shared default of all stages: 3."
    ] = 3
    local_reg_size: Annotated[Switch, "Size of a local region: 1 is 3x3 pixels, 0 is 1x1."] = 1
    wgt_en: Annotated[Switch, "1 projects each 3x3 region to 128 numbers, 0 does not."] = 1
    no_of_neg_local_regions: Annotated[Negatives, "Negative regions per region: 1 to 5; 0 takes all others."] = 5
    no_of_neg_regs_override: Annotated[Negatives, "The same where local_loss_exp_no=1."] = 4

    @property
    def unused_negatives(self) -> str:
        """The flag of the negative regions that this loss does not read."""
        return "no_of_neg_local_regions" if self.local_loss_exp_no == 1 else "no_of_neg_regs_override"


@declared
class Augmentation:
    data_aug: Annotated[Switch, "0 switches all augmentation off."] = 1


@declared
class Views(Augmentation):
    data_aug = inherited(0, no_effect=_VIEWS)
    strong_views: Annotated[
        Switch,
        "1 makes views harder to recognise: gamma, bias field, noise, blur, and intensities drawn for each image.",
    ] = 0


@declared
class Segmentation(Training, UNet):
    """What every stage has that trains on labels."""

    lr_seg: Annotated[Positive, "Learning rate of the segmentation."] = 0.001
    dsc_loss: Annotated[
        int,
        Ge(0),
        Le(4),
        "Segmentation loss: 0 weighted cross-entropy, 1 Dice without background, 2 Dice with background, 3 Dice "
        "with background + cross-entropy, 4 Dice without background + weighted cross-entropy.",
    ] = 2
    rd_en: Annotated[Switch, "1 deforms slices elastically."] = 1
    ri_en: Annotated[Switch, "1 changes brightness and contrast."] = 1
    rd_ni: Annotated[Switch, "1 mixes changed and unchanged slices in a batch, 0 leaves all unchanged."] = 1
    sigma: Annotated[Positive, "Standard deviation of the elastic deformation, in pixels."] = 5.0
    en_1hot: Annotated[Switch, Help("Labels one-hot.", no_effect="labels are always one-hot")] = 1
    ri_per_image: Annotated[
        Switch, "1 draws brightness and contrast for each slice, 0 once for the batch as the published code."
    ] = 1
    strong_aug: Annotated[
        Switch, "1 also changes gamma, bias field, sharpness and noise of the slices that --rd_ni changes."
    ] = 0
    augment: Annotated[
        str,
        Later(
            "Transforms of fewslice/augment/standard.py, separated by commas, in place of the published augmentation "
            "(--rd_en, --ri_en, --rd_ni, --sigma, --ri_per_image, --strong_aug)."
        ),
    ] = ""
    deep_supervision: Annotated[
        Switch, Later("1 trains the decoder's coarser levels on the labels, too, each by a head of its own.")
    ] = 0
    oversample: Annotated[
        Share, Later("Share of the slices of a batch that are drawn among those that show a structure.")
    ] = 0.0
    lr_schedule: Annotated[
        Literal["constant", "polynomial"],
        Later("polynomial: the learning rate falls to 0 by (1 - step / n_iter)^0.9, and a run cannot be extended."),
    ] = "constant"
    keep: Annotated[
        Literal["best", "last"], Later("Weights that count: those of the best validation, or the last ones.")
    ] = "best"
    mirroring: Annotated[
        Switch, Later("1 tests on the mean over each slice as it is, flipped along rows, columns and both.")
    ] = 0
    test: Annotated[
        Switch,
        Aside(
            "1 scores the test volumes when the training ends, 0 leaves them sealed; the same command with --test=1 "
            "then scores them and trains nothing."
        ),
    ] = 1

    def _patients(self, dataset: datasets.DatasetConfig) -> dict[str, tuple[str, ...]]:
        train, val = datasets.check_labeled_split(dataset, self.no_of_tr_imgs, self.comb_tr_imgs)
        return {"train_ids": train, "val_ids": val}


@declared
class Mixup:
    mixup: Annotated[
        NotNegative,
        Help(
            "Mixup: slices and one-hot labels of a batch become mixtures of two, by weights from Beta(mixup, mixup), "
            "such as 0.1. 0: off.",
            in_digest="unless default",
        ),
    ] = 0.0


@declared
class GlobalPretraining(Training, UNet, Views, GlobalBatches, GlobalContrastive):
    stage = "pretr_encoder_global_contrastive_loss"


@declared
class LocalPretraining(Training, UNet, Views, GlobalBatches, LocalContrastive, GlobalContrastive, Earlier):
    stage = "pretr_decoder_local_contrastive_loss"
    upstream = GlobalPretraining.stage

    batch_negatives: Annotated[
        Switch, "1 adds the same region of other images of the batch to the local loss' negatives."
    ] = 0
    pretr_bbox_dim: Annotated[int, Ge(2), Help("bbox_dim of the encoder's pretraining.", finds_upstream="only")] = 100
    bbox_dim = inherited(no_effect="the local loss needs slices that are not cropped; pretr_bbox_dim finds the encoder")
    temp_fac = inherited(
        text="Temperature of the contrastive loss. The encoder is looked for under the same one.", finds_upstream="also"
    )
    n_parts = inherited(finds_upstream="also")
    global_loss_exp_no = bt_size = inherited(finds_upstream="only")


@declared
class GroupPretraining(Training, GroupContrastive):
    stage = "pretr_encoder_group_contrastive_loss"

    n_iter = inherited(
        48301, text=f"{_STEPS} The default is 100 epochs of 483 batches, those of the published list of ACDC."
    )


@declared
class Baseline(Segmentation, Mixup):
    stage = "tr_baseline"

    no_of_tr_imgs = "tr2"


@declared
class EncoderFineTuning(GlobalBatches, GlobalContrastive, Segmentation, Mixup, Augmentation, Earlier):
    stage = "ft_pretr_encoder_net_global_loss"
    upstream = GlobalPretraining.stage

    no_of_tr_imgs = "tr1"
    lr_reg = temp_fac = global_loss_exp_no = n_parts = bt_size = bbox_dim = inherited(finds_upstream="only")


@declared
class DecoderFineTuning(LocalContrastive, GlobalContrastive, Segmentation, Mixup, Augmentation, Earlier):
    stage = "ft_pretr_encoder_decoder_net_local_loss"
    upstream = LocalPretraining.stage

    no_of_tr_imgs = "tr1"
    pretr_cont_bbox_dim: Annotated[
        int, Ge(2), Help("bbox_dim of the decoder's pretraining.", no_effect="the local loss crops nothing")
    ] = 100
    no_of_decoder_blocks = inherited(finds_upstream="also")
    lr_reg = temp_fac = global_loss_exp_no = n_parts = inherited(finds_upstream="only")
    local_loss_exp_no = no_of_local_regions = local_reg_size = wgt_en = inherited(finds_upstream="only")
    no_of_neg_local_regions = no_of_neg_regs_override = inherited(finds_upstream="only")


@declared
class PseudoLabels:
    """The method of the paper: pixel embeddings on pseudo-labels."""

    temp_fac: Annotated[Positive, "Temperature of the contrastive loss."] = 0.1
    bt_size: Annotated[Count, "Pairs of slices per step of the pixel contrastive loss, 2 or more."] = 10
    local_loss_exp_no: Annotated[LocalLoss, "Pixel contrastive loss: 0 within an image, 1 between two images too."] = 1
    lamda_local: Annotated[NotNegative, "Weight of the pixel contrastive loss."] = 0.1
    no_of_pos_eles: Annotated[Count, "Pixels drawn per class and slice for the pixel contrastive loss."] = 3
    refresh_every: Annotated[
        Count, "Steps after which new pseudo-labels are made, see --refresh_from; a multiple of `val_step_update`."
    ] = 5000
    refresh_from: Annotated[
        Literal["best", "last"],
        "Which network makes new pseudo-labels: best (of the validations so far, as published) or last.",
    ] = "best"
    crf: Annotated[
        Literal["published", "corrected", "none"],
        "How pseudo-labels are refined by a dense CRF: published (the paper's parameters), corrected (parameters "
        "with which intensities count and small structures stay), none.",
    ] = "corrected"
    test_aug_overlap: Annotated[Switch, "1 leaves out volumes whose predictions from two augmented views disagree."] = 0
    test_f1_threshold: Annotated[
        BelowOne, "Mean F1 of the two views above which a volume's pseudo-labels are taken."
    ] = 0.9
    min_classes: Annotated[
        Number, "Classes (with the background) that a slice of the pixel contrastive loss must hold; 0: all."
    ] = 0
    cont_normalisation: Annotated[
        Literal["mean", "nested"],
        "Pixel contrastive loss: mean over pairs, or nested as in the published code, where all but the last pair "
        "vanish.",
    ] = "mean"
    copy_head: Annotated[
        Switch,
        "contrastive: 1 starts from a segmentation head too, that of --init_from or else the baseline's; 0 from a "
        "new one, as published. unimatch, copy_paste: no effect, see --init_from.",
    ] = 0


@declared
class MeanTeacher:
    """Methods whose mean teacher makes the targets."""

    unlabelled_bs: Annotated[
        Number, "unimatch, copy_paste: unlabelled slices per step, 2 or more; 0: as many as labelled ones."
    ] = 0
    consistency_weight: Annotated[NotNegative, "unimatch, copy_paste: weight of the loss of unlabelled slices."] = 1.0
    teacher_decay: Annotated[
        BelowOne,
        "unimatch, copy_paste: decay per step of the averaged network that makes the targets and predicts; 0: the "
        "network itself.",
    ] = 0.99


@declared
class UniMatch:
    """Consistency of strongly and weakly augmented views."""

    confidence: Annotated[BelowOne, "unimatch: pixels whose largest probability is lower do not count."] = 0.95
    feature_dropout: Annotated[
        BelowOne, "unimatch: share of the encoder's channels that is dropped in a further view; 0 leaves it out."
    ] = 0.5


@declared
class CopyPaste:
    """Bidirectional copy-paste."""

    largest_component: Annotated[
        Switch, "copy_paste: 1 keeps the largest connected component of each structure of a target, as published."
    ] = 1


# Settings of joint training -> the values of `--method` under which they count.
_METHODS = {
    PseudoLabels: ("contrastive",),
    MeanTeacher: ("unimatch", "copy_paste"),
    UniMatch: ("unimatch",),
    CopyPaste: ("copy_paste",),
}


@declared
class JointTraining(Segmentation, PseudoLabels, MeanTeacher, UniMatch, CopyPaste, Augmentation, Crop):
    """The upstream run is the teacher."""

    stage = "prop_method_joint_tr_rand_init"
    upstream = Baseline.stage

    method: Annotated[
        Literal["contrastive", "unimatch", "copy_paste"],
        "How unlabelled volumes are learned from: contrastive (the paper: pixel embeddings on pseudo-labels), "
        "unimatch (weak-to-strong consistency with CutMix), copy_paste (labelled and unlabelled slices pasted into "
        "each other).",
    ] = "contrastive"
    soft_labels: Annotated[
        Switch, "1 takes probabilities as targets and counts each pixel by its confidence, instead of a decision."
    ] = 0
    unl_no_of_tr_imgs: Annotated[
        str | None, "Split key of the unlabelled volumes. Default: the dataset's `unlabeled_split`."
    ] = None
    unl_comb_tr_imgs: Annotated[FolderName, "Combination of the unlabelled volumes."] = "c1"
    published_lists: Annotated[
        Switch,
        "1 gives pseudo-labels to every volume of the unlabelled list, validation and labelled ones included, as "
        "the published code; 0 leaves validation volumes out, and labelled ones have their true masks.",
    ] = 0
    check_only: Annotated[bool, Aside("Check the flags and stop; trains nothing.")] = False
    teacher: Annotated[
        str | None,
        Aside(
            "Run folder of the baseline that makes the first pseudo-labels (contrastive) or that the network starts "
            "from; else the one that the flags name. unimatch, copy_paste: none is needed where --init_from is given."
        ),
    ] = None
    pretr_n_iter: Annotated[Count, Help("Training steps of the baseline.", finds_upstream="only")] = 5001
    no_of_neg_eles: Annotated[
        Number,
        Help("Negative pixels per class.", no_effect="the negatives are the class means, as in the published code"),
    ] = 3

    data_aug = inherited(
        0, no_effect="labelled slices are always augmented, and those of the contrastive loss change in intensity"
    )
    bbox_dim = inherited(150, no_effect="nothing is cropped")
    n_iter = 15001
    no_of_tr_imgs = inherited("tr2", finds_upstream="also")
    comb_tr_imgs = ver = lr_seg = dsc_loss = rd_en = ri_en = rd_ni = inherited(finds_upstream="also")
    sigma = ri_per_image = strong_aug = augment = oversample = inherited(finds_upstream="also")
    lr_schedule = keep = inherited(finds_upstream="prefers")
    deep_supervision = inherited(no_effect="only labelled slices pass the heads of joint training")
    average_decay = inherited(text=f"{_AVERAGE} unimatch, copy_paste: 0 takes --teacher_decay.")
    init_from = inherited(
        text="Run folder or weight file to start encoder and decoder from, such as pretrained ones, or none for random "
        "weights; else the baseline's. unimatch, copy_paste: the segmentation head too, if there is one."
    )

    @classmethod
    def foreign(cls, method: str) -> dict[str, str]:
        """Returns the flags that belong to other values of `--method` than this one, and to which."""
        parts = {part: methods for part, methods in _METHODS.items() if method not in methods}
        return {name: " or ".join(methods) for part, methods in parts.items() for name in settings_of(part)}

    def no_effect(self, name: str) -> str:
        methods = self.foreign(self.method).get(name)
        return f"it belongs to --method={methods}" if methods else super().no_effect(name)


_IN_ORDER = (GlobalPretraining, LocalPretraining, EncoderFineTuning, DecoderFineTuning, GroupPretraining, Baseline)
STAGES: Mapping[str, type[Training]] = {cls.stage: cls for cls in (*_IN_ORDER, JointTraining)}
LABELLED_STAGES = tuple(stage for stage, cls in STAGES.items() if issubclass(cls, Segmentation))


def digest_values(args: Training) -> dict[str, Any]:
    """Returns the values that decide what a run learns, for its digest.

    Folders, the length of the training, flags without effect and later flags at their default are left out.
    """
    settings = settings_of(type(args))
    left_out = {name for name, each in settings.items() if not each.help.in_digest or args.no_effect(name)} | {"given"}
    left_out |= {name for name, default in later_defaults(args.stage).items() if getattr(args, name) == default}
    names = (field.name for field in dataclasses.fields(args) if field.name not in left_out)
    length = {"length": args.hours or args.n_iter} if getattr(args, "lr_schedule", "constant") != "constant" else {}
    return {"stage": args.stage} | {name: getattr(args, name) for name in names} | length


def defaults(stage: str) -> dict[str, Any]:
    """Returns flag -> default of a training script; {} if there is no such script."""
    return {name: each.default for name, each in settings_of(STAGES[stage]).items()} if stage in STAGES else {}


def later_defaults(stage: str) -> dict[str, Any]:
    """Returns flag -> default of the flags that a run records only where they are not at their default."""
    settings = settings_of(STAGES[stage]).values() if stage in STAGES else ()
    return {each.name: each.default for each in settings if each.help.in_digest == "unless default"}


def not_in_digest() -> set[str]:
    """Returns the flags of all scripts that say where things are or how long a training is, not what is learned."""
    settings = (each for cls in STAGES.values() for each in settings_of(cls).values())
    return {each.name for each in settings if not each.help.in_digest}
