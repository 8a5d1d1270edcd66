"""The group `data_geometry` of an experiment file. Names and defaults are the published ones.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fewslice.settings.compat.al_schema import (
    REQUIRED,
    choice,
    custom,
    file_name,
    flag,
    integer,
    nested,
    number,
    positions,
    size,
    text,
    word,
)
from fewslice.settings.compat.al_schema_model import DATASETS, SEED_NOTE

KCENTER, COREGCN, VAAL, TYPICLUST = "kcenter_greedy", "coregcn", "vaal", "typiclust"
PUBLISHED = (KCENTER, COREGCN, VAAL, TYPICLUST)
OWN = "a registered strategy"  # stands for every other type
ALGORITHMS = ("kcenter_greedy", "gpu_kcenter_greedy", "pkcenter_greedy")
_K, _C, _V, _T = (KCENTER,), (COREGCN,), (VAAL,), (TYPICLUST,)
_FEATURES = (KCENTER, COREGCN, TYPICLUST, OWN)
_NOT_READ = "the published code does not read it"
_GRID = "networks get the size of their input, pixels are compared at 256 x 256"

# Weights of the terms that metadata add to the distance.
TERM_WEIGHTS = (
    "patient_wt", "phase_wt", "group_wt", "height_wt", "weight_wt", "slice_rel_pos_wt", "slice_mid_wt", "slice_pos_wt",
)  # fmt: skip
ACDC_ONLY = ("phase_wt", "group_wt", "height_wt", "weight_wt")  # published for ACDC alone


@dataclass(frozen=True)
class FeatureModelParams:
    """The encoder that gives embeddings, and how it is pretrained."""

    encoder: str = word("resnet18", "Network.", ("resnet18", "resnet50"))
    pretrained: bool = flag(
        False, "Only false: ImageNet weights are not part of this software (published: true, its encoder starts there)."
    )
    in_chns: int = choice(1, "Channels of an image. The dataset decides; this must agree with it.", 1, 3)
    patch_size: tuple[int, int] | None = size(None, "", 32, unused=_GRID)
    inf_batch_size: int = integer(128, "Slices embedded at once.", 1)
    fuse_image_data: bool = flag(False, "Pixels enter the distance beside the embedding.")
    fuse_image_data_size_prop: float = number(
        0.1, "The embedding of d values is repeated floor(this x pixels / d) times.", 0, open_low=True
    )
    lr: float = number(3e-4, "Learning rate (Adam).", 0, open_low=True)
    weight_decay: float = number(1e-6, "L2 decay.", 0)
    batch_size: int = integer(64, "Slices per step, each in two views; a multiple of the group's size.", 2)
    temperature: float = number(0.5, "Of every term of the loss.", 0, open_low=True)
    projection_dim: int = integer(64, "Values per slice that the loss compares.", 1)
    num_epochs: int = integer(100, "Epochs.", 1)
    loss: str = text("nt_xent", "", unused=_NOT_READ)
    loss_wt: float = number(1.0, "Weight of NT-Xent.", 0)
    neg_loss: bool | None = flag(None, "Adds the group-negative term.")
    neg_loss_wt: float = number(0.1, "Its weight.", 0)
    pos_loss1: bool | None = flag(None, "Adds group-positive term 1.")
    pos_loss1_wt: float = number(0.1, "Its weight.", 0)
    pos_loss1_mask: tuple[int, ...] = positions("Positions of the group that term 1 leaves out; the anchor is 0.")
    pos_loss2: bool | None = flag(None, "Adds group-positive term 2.")
    pos_loss2_wt: float = number(0.1, "Its weight.", 0)
    pos_loss2_mask: tuple[int, ...] = positions("As for term 1.")
    pos_loss3: bool | None = flag(None, "Adds group-positive term 3.")
    pos_loss3_wt: float = number(0.1, "Its weight.", 0)
    pos_loss3_mask: tuple[int, ...] = positions("As for term 1.")
    use_slice_pos: bool = flag(False, "Groups hold a neighbouring slice.")
    use_phase: bool = flag(False, "Groups hold another slice of the volume.")
    use_patient: bool = flag(False, "Groups hold another slice of the patient.")
    reset_sampler_every_epoch: bool = flag(False, "Draws new groups for every epoch.")
    patience: int = integer(5, "", 0, unused="early stopping never happens in the published code")
    tol: float = number(0.01, "", 0, unused="as `patience`")
    cl_model_save_name: str = file_name("cl_feature_model.pt", "", unused="the encoder has its own run directory")
    cl_prev_path: str | None = text(None, "Run directory of an encoder that is used as it is, without pretraining.")
    seed: int = integer(0, "Seed.", 0, unused=SEED_NOTE)
    debug: bool = flag(False, "", unused="the log says what happens")
    positives: str = word(
        "group",
        "Ours: positives of the group-positive terms, `group` (what the masks leave) or `all` (every other row of the "
        "batch, as the published code computes it).",
        ("group", "all"),
    )

    @property
    def partners(self) -> int:
        """Slices that join the anchor in a group."""
        return self.use_slice_pos + self.use_phase + self.use_patient

    @property
    def group_terms(self) -> dict[str, float]:
        """Name -> weight of the group terms that are on."""
        names = ("neg_loss", "pos_loss1", "pos_loss2", "pos_loss3")
        return {name: getattr(self, f"{name}_wt") for name in names if getattr(self, name)}


@dataclass(frozen=True)
class CoresetKwargs:
    """What the algorithm of `alg_string` gets."""

    seed: int | None = integer(None, "Seed.", 0, unused=SEED_NOTE)
    temp_init: float = number(1.0, "Temperature of pkcenter_greedy.", 0, open_low=True)
    temp_scale: str | None = word(None, "`inv_iter`: divided by 1 + units annotated so far.", ("inv_iter",))


@dataclass(frozen=True)
class DatasetKwargs:
    """How the published code reads images."""

    patch_size: tuple[int, int] | None = size(None, "", unused=_GRID)


def _geometry_types() -> list[str]:
    from fewslice.active.query import STRATEGIES
    from fewslice.active.strategies import load_all

    load_all()
    return [*dict.fromkeys([*PUBLISHED, "pass", *STRATEGIES.names()])]


def _feature_names() -> list[str]:
    from fewslice.learner import kinds as features

    features.load_all()
    return features.FEATURES.names()


def _subset(value: Any) -> int | str:
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError
    return value


@dataclass(frozen=True)
class GeometryConfig:
    """How slices are chosen by where they lie among each other. experiments/README.md lists the keys.

    `options` holds what a registered strategy of another name is told.
    """

    data_geometry_type: str = word(
        REQUIRED,
        "`kcenter_greedy` (Coreset, MultiFeature Coreset), `coregcn`, `vaal`, `typiclust`, the name of any strategy in "
        "`fewslice/active/strategies/`, or `pass`, which is as no group.",
        _geometry_types,
    )
    alg_string: str = word(
        KCENTER,
        "`gpu_kcenter_greedy` is the same for plain features; `pkcenter_greedy` draws by distance.",
        ALGORITHMS,
        types=_K,
    )
    metric: str = word("euclidean", "Distance.", ("euclidean", "cosine", "dot"), types=_K)
    coreset_kwargs: CoresetKwargs = nested(CoresetKwargs, "Of the algorithm.", types=_K)
    dataset_type: str | None = word(
        None, "Published name of the dataset; null is `model.dataset`.", tuple(DATASETS), types=_FEATURES
    )
    dataset_kwargs: DatasetKwargs = nested(DatasetKwargs, "Of the images.", types=_FEATURES)
    feature_model: bool = flag(False, "false: features are raw pixels; true: those of an encoder.", types=_FEATURES)
    contrastive: bool = flag(False, "true: the encoder is pretrained contrastively.", types=_FEATURES)
    feature_model_params: FeatureModelParams = nested(FeatureModelParams, "The encoder.", types=_FEATURES)
    use_model_features: bool = flag(
        False, "Features of the segmentation network of the round before, once there is one.", types=_FEATURES
    )
    features: str | None = word(
        None,
        "Ours: any kind of features of `fewslice/stages/features/` by its name; null is what `feature_model` and "
        "`use_model_features` say. One of a network is used once there is one.",
        _feature_names,
        types=_FEATURES,
    )
    use_labels: bool = flag(
        False,
        "The annotation weights the pixels of the distance. With `policy.annotator: files` a slice has one only after "
        "the round that buys it; until then all its pixels weigh `default_pos_val`.",
        types=_K,
    )
    label_wt: float = number(1.0, "Weight of an annotated pixel.", 0, types=_K)
    default_pos_val: float = number(1.0, "Weight of another pixel.", 0, types=_K)
    pos_wt: float = number(1.0, "Weight of the distance of pixels.", 0, types=_K)
    normalize_pos_by_label_ct: bool = flag(False, "Divides it by the number of pixels with a weight.", types=_K)
    use_uncertainty: bool = flag(False, "Uncertainty enters the distance; needs model_uncertainty.", types=_K)
    uncertainty_score_file: str = file_name("entropy.txt", "", types=_K, unused="scores are in scores.csv")
    uncertainty_wt: float = number(0.0, "Weight of the sum of both uncertainties.", types=_K)
    extra_feature_wt: float = number(1.0, "Weight of the sum of uncertainty and metadata.", types=_K)
    patient_wt: float = number(0.0, "Weight of 1 for another patient.", types=_K)
    phase_wt: float = number(0.0, "Weight of the difference of phases.", types=_K)
    group_wt: float = number(0.0, "Weight of 1 for another diagnosis.", types=_K)
    height_wt: float = number(0.0, "Weight of the difference of heights.", types=_K)
    weight_wt: float = number(0.0, "Weight of the difference of body weights.", types=_K)
    slice_rel_pos_wt: float = number(0.0, "Weight of the difference of relative positions.", types=_K)
    slice_mid_wt: float = number(0.0, "Weight of 1 - both distances from the middle.", types=_K)
    slice_pos_wt: float = number(0.0, "Weight of 1 for another position.", types=_K)
    max_dist: float | None = number(
        None, "Limits each of these weights, with the next key; null is no limit.", 0, types=_K
    )
    wt_max_dist_mult: float = number(1.0, "The limit is `max_dist` times this.", 0, types=_K)
    subset_size: int | str = custom(
        "all", "Unannotated slices in the graph.", "all or a whole number, 1 or larger", _subset, types=_C
    )
    hidden_units: int = integer(128, "Width of the graph network.", 1, types=_C)
    dropout_rate: float = number(0.3, "Its dropout.", 0, high=0.99, types=_C)
    lr_gcn: float = number(1e-3, "Its learning rate.", 0, open_low=True, types=_C)
    wdecay: float = number(5e-4, "Its weight decay.", 0, types=_C)
    lambda_loss: float = number(1.2, "Weight of unannotated slices in its loss.", 0, types=_C)
    num_epochs_gcn: int = integer(200, "Its epochs.", 1, types=_C)
    s_margin: float = number(0.1, "", types=_C, unused=_NOT_READ)
    starting_sample: int = integer(5, "Annotated slices that it needs.", 1, types=_C)
    use_random_start: bool = flag(True, "Those before are drawn at random; false: by k-center.", types=_C)
    adj_sim_wt_metric: str | None = word(
        None,
        "How similarity falls with the distance of slices in their volumes.",
        ("k_slice_wt", "inv_slice_wt", "exp_slice_wt"),
        types=_C,
    )
    latent_dim: int = integer(32, "Latent values of the VAE.", 1, types=_V)
    batch_size: int = integer(128, "Slices per step, annotated and others each.", 1, types=_V)
    num_epochs: int = integer(50, "Steps = this x slices / batch size.", 1, types=_V)
    vae_steps_per: int = integer(2, "Steps of the VAE per iteration.", 1, types=_V)
    discriminator_steps_per: int = integer(1, "Steps of the discriminator per iteration.", 1, types=_V)
    beta: float = number(1.0, "", types=_V, unused=_NOT_READ)
    adversary_param: float = number(1.0, "Weight of deceiving the discriminator.", 0, types=_V)
    input_chann: int = choice(1, "", 1, 3, types=_V, unused="the images say how many channels they have")
    vae_beta: float = number(1.0, "Weight of the KL divergence.", 0, open_low=True, types=_V)
    discriminator_targets: str = word(
        "corrected",
        "Ours: `published` has the published mistake, a discriminator that calls everything annotated.",
        ("corrected", "published"),
        types=_V,
    )
    learning_rate: float = number(5e-4, "Ours: of both Adams.", 0, open_low=True, types=_V)
    width: int = integer(64, "Ours: channels of the first convolution.", 1, types=_V)
    min_cluster_size: int = integer(5, "Clusters of this size or smaller are left out.", 0, types=_T)
    max_num_clusters: int = integer(500, "Clusters at most.", 1, types=_T)
    k_nn: int = integer(20, "Neighbours that typicality looks at.", 1, types=_T)
    knn_model: str = word("sklearn", "", ("sklearn",), types=_T, unused="there is one way to find neighbours")
    patch_size: tuple[int, int] | None = size(None, "", types=_K + _V + _T, unused=_GRID)
    in_chns: int = choice(1, "", 1, 3, types=_FEATURES, unused=_NOT_READ)
    ann_type: str = word("scribble", "", ("scribble", "label"), unused="model.ann_type says it")
    gpus: str = text("cuda:0", "", unused="the backend chooses the device")
    seed: int = integer(0, "", 0, unused=SEED_NOTE)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_published(self) -> bool:
        """Whether the type is one of the published ones."""
        return self.data_geometry_type in PUBLISHED
