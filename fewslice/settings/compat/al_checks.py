"""What the keys of an experiment must fulfil together; each problem is noted at the line that would be changed."""

from __future__ import annotations

from collections.abc import Iterator

from fewslice.core.errors import ConfigError
from fewslice.settings.budgets import cumulative_fractions
from fewslice.settings.compat.al_checks_geometry import encoder_problems, geometry_problems
from fewslice.settings.compat.al_checks_idle import note_idle_keys
from fewslice.settings.compat.al_reader import Reader
from fewslice.settings.compat.al_schema_geometry import GeometryConfig
from fewslice.settings.compat.al_schema_model import (
    DROPOUT,
    OWN_ENCODER,
    PRETRAINABLE,
    PRETRAINED,
    SCRATCH,
    UNETS,
    ModelConfig,
)
from fewslice.settings.compat.al_schema_policy import PUBLISHED_SCORES, PolicyConfig, UncertaintyConfig
from fewslice.settings.yaml import Place

_BUILT = {
    "dmpls": ("unet_cct",),
    "db_dmpls": ("unet_cct",),
    "strong": ("unet", PRETRAINABLE),
    "db_strong": ("unet",),  # dropout is needed
}
_CONSTANT = ("variance_ratio", "vote_entropy", "bald", "ensemble_variance")  # 0 for a single pass
_WEIGHTS = ("lvm-med-resnet", "imagenet_v2")
Problems = Iterator[tuple[Place, str]]


def check_together(
    reader: Reader,
    *,
    model: ModelConfig,
    data_geometry: GeometryConfig | None,
    model_uncertainty: UncertaintyConfig | None,
    policy: PolicyConfig,
) -> None:
    """Notes every problem and, where a whole group is idle, that it is."""
    found = [*_model(model), *_weights(model, data_geometry), *_policy(policy)]
    found += _ranking(policy, data_geometry, model_uncertainty)
    if policy.policy_type == "random":
        for name, group in (("data_geometry", data_geometry), ("model_uncertainty", model_uncertainty)):
            if name == "data_geometry" and model.base_original_checkpoint == OWN_ENCODER:
                found += encoder_problems(reader, model, data_geometry) if group is not None else []
            elif group is not None:
                text = "policy_type is random"
                reader.notes.append(f"{name} ({reader.where((name,))}) has no effect: {text}.")
        note_idle_keys(reader, model, None, None, policy)
    else:
        note_idle_keys(reader, model, data_geometry, model_uncertainty, policy)
        if model_uncertainty is not None:
            found += _uncertainty(model, model_uncertainty)
        if data_geometry is not None:
            found += geometry_problems(reader, model, data_geometry, model_uncertainty, policy)
    for place, text in found:
        reader.problem(place, text)


def _model(model: ModelConfig) -> Problems:
    name = model.dataset_name
    if name == "mscmr" and model.ann_type == "label":
        yield _at("ann_type"), f"{model.dataset} has scribbles only. Write scribble and a dmpls model."
    if name in ("davis", "davis2") and model.ann_type == "scribble":
        yield _at("ann_type"), f"{model.dataset} has full masks only. Write `ann_type: label` and a strong model."
    if model.model_type in PRETRAINED and model.ann_type == "scribble":
        text = "lvm_med learns from full masks. Write `ann_type: label` (the published default cannot train)."
        yield _at("ann_type"), text
    channels = model.image_channels
    if channels and model.model_type in UNETS and model.in_chns != channels:
        yield _at("in_chns"), f"images of {model.dataset} have {channels} channels. Write `in_chns: {channels}`."
    if model.model_type in UNETS and model.seg_model not in (built := _BUILT[model.model_type]):
        text = f"`{model.seg_model}` does not fit {model.model_type} or is not part of this software. "
        yield _at("seg_model"), f"{text}Write {' or '.join(built)}."
    if model.warm_start and model.model_type not in PRETRAINED and model.seg_model != PRETRAINABLE:
        text = f"pretrained weights fit `model_type: strong` with `seg_model: {PRETRAINABLE}`, or lvm_med."
        yield _at("warm_start"), f"{text} Write one of these, or remove it."
    if model.network_size and model.patch_size and model.network_size != model.patch_size:
        yield _at("patch_size"), f"network_size says {list(model.network_size)}. Remove one of the two."
    deep = model.model_type in PRETRAINED or model.seg_model == PRETRAINABLE
    if deep and model.size and any(side % 32 for side in model.size):
        key = "network_size" if model.network_size else "patch_size"
        yield _at(key), f"this network needs multiples of 32. Received: {list(model.size)}"


def _weights(model: ModelConfig, geometry: GeometryConfig | None) -> Problems:
    first = model.base_original_checkpoint
    if model.model_type not in PRETRAINED:
        return
    if first in _WEIGHTS:
        yield (
            _at("base_original_checkpoint"),
            f"the weights {first} are not part of this software. Write gcl (the encoder that the experiment "
            "pretrains), scratch, or the run directory of a pretrained encoder.",
        )
    if first != SCRATCH and model.warm_start:
        yield _at("warm_start"), "base_original_checkpoint names other weights. Remove one of the two."
    if first == OWN_ENCODER:
        if geometry is None or not geometry.contrastive:
            yield _at("base_original_checkpoint"), "gcl needs a data_geometry with `contrastive: true`."
        elif geometry.feature_model_params.encoder != model.encoder_name:
            encoder = geometry.feature_model_params.encoder
            yield _at("encoder_name"), f"the encoder that is pretrained is a {encoder}. Write it in both places."


def _policy(policy: PolicyConfig) -> Problems:
    try:
        cumulative_fractions([one.oracle for one in policy.rounds])
    except ConfigError as error:
        yield ("policy", "rounds"), str(error)
    if not policy.rounds[0].oracle > 0:
        yield ("policy", "rounds", 0), "the first round buys nothing. Give it a share above 0."
    if not policy.ensemble_kwargs.inf_val:
        text = "must be true: the network of the best validation is the one that is used."
        yield ("policy", "ensemble_kwargs", "inf_val"), f"`inf_val` {text}"
    for name in ("uncertainty_kwargs", "geometry_kwargs"):
        if getattr(policy, name).skip:
            yield ("policy", name, "skip"), "write rounds without ranking as [share, 0, random]."


def _ranking(
    policy: PolicyConfig,
    geometry: GeometryConfig | None,
    uncertainty: UncertaintyConfig | None,
) -> Problems:
    if policy.policy_type == "ranked" and geometry is None and uncertainty is None:
        text = "ranked needs a data_geometry or model_uncertainty group. Add one, or write random."
        yield ("policy", "policy_type"), text
    if policy.rank_type == "inc" and geometry is not None and policy.policy_type == "ranked":
        text = "inc would buy what the geometry did not choose. Remove it; it is for model_uncertainty."
        yield ("policy", "rank_type"), text
    if policy.rank_type == "inc" and uncertainty is not None and uncertainty.model_uncertainty_type == "stochastic":
        yield ("policy", "rank_type"), "stochastic batches are bought from the highest score down. Remove it."


def _uncertainty(model: ModelConfig, uncertainty: UncertaintyConfig) -> Problems:
    place = ("model_uncertainty", "score_func")
    score = PUBLISHED_SCORES.get(uncertainty.score_func, uncertainty.score_func)
    if score is None:
        if model.model_type not in DROPOUT:
            text = "mean_score averages what MC dropout gives. Write a db_ model, or another score."
            yield place, text
        elif model.db_score_func not in ("bald_score", "entropy_score"):
            text = "mean_score needs `db_score_func: bald_score` or `entropy_score`."
            yield _at("db_score_func"), text
        return
    if model.db_score_func in ("bald_score", "entropy_score") and model.model_type in DROPOUT:
        text = f"{uncertainty.score_func} looks at probabilities, not at a score per network. Write `mean_score`, or "
        yield place, text + "`db_score_func: pass_probs`."
    if score in _CONSTANT and model.ensemble_size == 1 and model.model_type not in DROPOUT:
        text = f"{uncertainty.score_func} of a single network is 0 everywhere. Write `ensemble_size: 2` or more, or a "
        yield place, text + "db_ model."


def _at(key: str) -> Place:
    return ("model", key)
