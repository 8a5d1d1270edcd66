"""The group `model` of an experiment file. Names and defaults are the published ones, unless the text says ours.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from dataclasses import dataclass

from fewslice.active.uncertainty import MAPS, PUBLISHED_PASSES
from fewslice.settings.compat.al_schema import REQUIRED, choice, file_name, flag, integer, number, size, text, word

WEAK, STRONG, PRETRAINED = ("dmpls", "db_dmpls"), ("strong", "db_strong"), ("lvm_med",)
DROPOUT = ("db_dmpls", "db_strong")
UNETS = WEAK + STRONG
MODEL_TYPES = ("dmpls", "strong", "db_dmpls", "db_strong", "lvm_med")

# Published name of a dataset -> ours.
DATASETS = {
    "ACDC": "acdc_wsl4mis",
    "CHAOS_CT": "chaos_ct",
    "MSCMR": "mscmr",
    "LVSC": "lvsc",
    "DAVIS": "davis",
    "DAVIS2": "davis2",
}
_CHANNELS = {"davis": 3, "davis2": 3, "acdc_wsl4mis": 1, "chaos_ct": 1, "mscmr": 1, "lvsc": 1}
ANNOTATIONS = ("scribble", "label")
DB_SCORES = (MAPS, *PUBLISHED_PASSES)
PRETRAINABLE = "pretrainable_unet"  # the U-Net of our contrastive stages
SCRATCH, OWN_ENCODER = "scratch", "gcl"
SEED_NOTE = "policy.seed seeds everything"


def _dataset_names() -> list[str]:
    from fewslice.settings.datasets import dataset_names

    return [*DATASETS, *dataset_names()]


@dataclass(frozen=True)
class ModelConfig:
    """The segmentation networks of each round. experiments/README.md lists the keys; sizes are pixels."""

    model_type: str = word(
        REQUIRED,
        "`dmpls` scribbles, two decoders that teach each other; `strong` full masks, U-Net; `db_dmpls`, `db_strong` "
        "the same with MC dropout for scores; `lvm_med` full masks, U-Net on a ResNet.",
        MODEL_TYPES,
    )
    dataset: str = word("ACDC", "A published name (" + ", ".join(DATASETS) + ") or a dataset of ours.", _dataset_names)
    ann_type: str = word(
        None,
        "What an annotator draws: scribbles or full masks.",
        ANNOTATIONS,
        optional=False,
        by_type={**dict.fromkeys(WEAK, "scribble"), **dict.fromkeys(STRONG, "label"), "lvm_med": "scribble"},
    )
    ensemble_size: int = integer(1, "Networks per round; the one of the best validation is tested.", 1)
    in_chns: int = choice(
        None,
        "Channels of an image. The dataset decides; for U-Nets on published datasets this must agree with it.",
        1,
        3,
        optional=False,
        by_type=dict.fromkeys(UNETS, 1) | {"lvm_med": 3},
    )
    seg_model: str = word(
        None,
        "Network: `unet_cct` has two decoders, for scribbles; `unet` one, for full masks; `pretrainable_unet` (ours, "
        "for strong) is the U-Net of `train_model/pretr_*.py`, for `warm_start`. The other names are not built.",
        ("unet", "unet_cct", PRETRAINABLE, "unet_cct_3h", "unet_ds", "efficient_unet", "pnet"),
        types=UNETS,
        optional=False,
        by_type={**dict.fromkeys(WEAK, "unet_cct"), **dict.fromkeys(STRONG, "unet")},
    )
    batch_size: int = integer(
        None, "Slices per step.", 1, optional=False, by_type=dict.fromkeys(UNETS, 6) | {"lvm_med": 8}
    )
    base_lr: float = number(
        None,
        "First learning rate.",
        0,
        open_low=True,
        optional=False,
        by_type=dict.fromkeys(UNETS, 0.01) | {"lvm_med": 1e-4},
    )
    max_iterations: int = integer(
        60000, "Steps if the whole pool were annotated; a round trains for its share of it.", 1, types=UNETS
    )
    patch_size: tuple[int, int] | None = size(
        None, "Another name of `network_size`; 256 x 256 in the published datasets.", 16
    )
    inf_train_type: str = word(
        "preds",
        "What `use_model_features` looks at: `preds` class probabilities, `features` a map of the encoder.",
        ("preds", "features"),
    )
    feature_decoder_index: int = integer(0, "Which of the encoder's five maps, 0 the finest.", 0, 4)
    T: int = integer(40, "MC-dropout passes per network.", 2, types=DROPOUT)
    db_score_func: str | None = word(
        None,
        "Score of each network's passes for `score_func: mean_score`: `bald_score` or `entropy_score`; `pass_probs` "
        "pools the passes of all networks. The published default names no score.",
        DB_SCORES,
        types=DROPOUT,
    )
    encoder_name: str = word("resnet50", "Encoder.", ("resnet50", "resnet18"), types=PRETRAINED)
    val_epoch: int = integer(1, "Epochs between validations.", 1, types=PRETRAINED)
    num_epochs: int = integer(50, "Epochs over the annotated slices.", 1, types=PRETRAINED)
    base_original_checkpoint: str = text(
        SCRATCH,
        "First weights of the encoder: `scratch`, `gcl` (the encoder that this experiment pretrains; ours), or the run "
        "directory of a pretrained encoder.",
        types=PRETRAINED,
    )
    train_beta1: float = number(0.9, "Adam.", 0, high=0.9999, types=PRETRAINED)
    train_beta2: float = number(0.999, "Adam.", 0, high=0.999999, types=PRETRAINED)
    train_weight_decay: float = number(0.0, "Adam.", 0, types=PRETRAINED)
    train_scheduler: int = choice(0, "1: cosine of the learning rate, 10 steps, down to 1e-5.", 0, 1, types=PRETRAINED)
    amp: bool = flag(False, "As `mixed_precision`.", types=PRETRAINED)
    seed: int = integer(0, "Seed.", 0, unused=SEED_NOTE)
    gpus: str = text("cuda:0", "Device.", unused="the backend chooses the device")
    deterministic: int = integer(1, "", 0, 1, unused="the published code does not read it; runs repeat exactly here")
    tag: str = file_name("", "Part of a file's name.", unused="names of files are fixed")
    warm_start: str = text(
        "",
        "Ours: run directory of an encoder that every network starts from; for pretrainable_unet and lvm_med.",
    )
    val_every: int = integer(200, "Ours: steps between validations.", 1, types=UNETS)
    split: str = text("al", "Ours: list of `data_cfg_<dataset>.py` whose training slices are the pool.")
    comb: str = text("c1", "Ours: its combination.")
    steady_statistics: bool = flag(
        False,
        "Ours: before every validation the statistics of batch normalisation are measured anew on ten training "
        "batches, without dropout, as the network is used.",
        types=("dmpls", "strong"),
    )
    mixed_precision: bool = flag(False, "Ours: computes in half precision where that is exact enough.")
    network_size: tuple[int, int] | None = size(None, "Ours: size of the network's input; null is the dataset's.", 16)

    @property
    def dataset_name(self) -> str:
        """Our name of the dataset."""
        return DATASETS.get(self.dataset, self.dataset)

    @property
    def image_channels(self) -> int | None:
        """Channels of the images of a published dataset, None for others."""
        return _CHANNELS.get(self.dataset_name)

    @property
    def size(self) -> tuple[int, int] | None:
        """(rows, columns) of the network's input, None for the dataset's."""
        return self.network_size or self.patch_size

    @property
    def has_dropout_passes(self) -> bool:
        """Whether scores come from MC dropout."""
        return self.model_type in DROPOUT

    @property
    def is_half_precision(self) -> bool:
        """Whether to compute in mixed precision, by either name."""
        return self.mixed_precision or self.amp
