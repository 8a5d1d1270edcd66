"""From the keys of an experiment to what each round's choice needs: a strategy, its options and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from fewslice.active.uncertainty import COMBINES, PUBLISHED_PASSES
from fewslice.settings.compat.al_schema_geometry import (
    COREGCN,
    KCENTER,
    TERM_WEIGHTS,
    TYPICLUST,
    VAAL,
    FeatureModelParams,
    GeometryConfig,
)
from fewslice.settings.compat.al_schema_model import ModelConfig
from fewslice.settings.compat.al_schema_policy import PUBLISHED_SCORES, UncertaintyConfig

if TYPE_CHECKING:
    from fewslice.settings.compat.al_config import Experiment

NONE, PIXELS, ENCODER, PREDICTIONS, ENCODER_MAP = "none", "pixels", "encoder", "predictions", "encoder_map"
POOLED, MEMBERS = COMBINES
VAAL_KEYS = (
    "latent_dim", "batch_size", "num_epochs", "vae_steps_per", "discriminator_steps_per", "adversary_param", "vae_beta",
    "discriminator_targets", "learning_rate", "width",
)  # fmt: skip
_TERMS = (*TERM_WEIGHTS, "extra_feature_wt", "max_dist", "wt_max_dist_mult", "metric")


@dataclass(frozen=True)
class Selection:
    """How one round chooses.

    Attributes:
        strategy: Registered name.
        options: Its options.
        features: Registered kind of features (`fewslice.learner.kinds`), or "none".
        scores: Registered score of `fewslice.active.uncertainty`; "vaal" for 1 - D of the discriminator of
            `GeometryConfig` (see `vaal_options`); None if the strategy looks at none.
        passes: MC-dropout passes of each network, 1 for one pass without dropout.
        combine: "mean_probabilities": all passes of all networks make one score. "mean_scores": the mean of one score
            per network.
        masks: Whether it needs the annotations of all units.
        gradients: Whether it needs gradient embeddings.
        feature_map: Which of the encoder's maps features of the network look at, 0 the finest.
        descending: Whether high scores are bought; otherwise the engine negates them.
    """

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    features: str = NONE
    scores: str | None = None
    passes: int = 1
    combine: str = POOLED
    masks: bool = False
    gradients: bool = False
    feature_map: int = 0
    descending: bool = True


def selections(experiment: Experiment) -> tuple[Selection, ...]:
    """Returns the selection of each round.

    A round that is `random`, and one that would rank by scores or gradients of networks while none is trained yet, is
    random. A geometry that would look at the network's features or add its scores does without them until then.
    A round that skips training is chosen like any other.
    """
    found, has_network = [], False
    for one in experiment.policy.all_rounds:
        is_random = experiment.policy.policy_type == "random" or one.split_method == "random"
        found.append(Selection("random") if is_random else _ranked(experiment, has_network))
        has_network |= not one.skip_training
    return tuple(found)


def main_strategy(experiment: Experiment) -> str:
    """Returns the strategy of rounds that rank and have a network to look at, however many rounds there are."""
    return "random" if experiment.policy.policy_type == "random" else _ranked(experiment, True).strategy


def needs_network(features: str) -> bool:
    """Whether a kind of features, or "none", looks at a trained segmentation network."""
    from fewslice.learner import kinds

    return features != NONE and kinds.get(features).needs_network


def vaal_options(geometry: GeometryConfig) -> dict[str, Any]:
    """Returns the published settings of VAAL's networks by name."""
    return {name: getattr(geometry, name) for name in VAAL_KEYS}


def encoder_arguments(params: FeatureModelParams, seed: int) -> dict[str, Any]:
    """Returns the settings of the encoder's pretraining with the names of the script's flags.

    They are those of `fewslice.settings.group_contrastive.GroupContrastive` and `seed`; terms that are off have the
    weight 0, masks are texts such as "2,3".
    """
    shared = (
        "encoder", "projection_dim", "temperature", "lr", "weight_decay", "batch_size", "loss_wt", "positives",
    )  # fmt: skip
    switches = ("use_slice_pos", "use_phase", "use_patient", "reset_sampler_every_epoch")
    found = {name: getattr(params, name) for name in shared} | {name: int(getattr(params, name)) for name in switches}
    terms = params.group_terms
    found |= {f"{name}_wt": terms.get(name, 0.0) for name in ("neg_loss", "pos_loss1", "pos_loss2", "pos_loss3")}
    masks = {f"pos_loss{number}_mask": getattr(params, f"pos_loss{number}_mask") for number in (1, 2, 3)}
    return found | {name: ",".join(map(str, mask)) for name, mask in masks.items()} | {"seed": seed}


def _ranked(experiment: Experiment, has_network: bool) -> Selection:
    model, geometry, uncertainty = experiment.model, experiment.geometry, experiment.uncertainty
    if geometry is None:
        ranked = _by_uncertainty(model, uncertainty, descending=experiment.policy.rank_type == "desc")
        return ranked if has_network else Selection("random")
    if not has_network:
        uncertainty = None
    inputs = {"features": _features(model, geometry, has_network), "feature_map": model.feature_decoder_index}
    if geometry.data_geometry_type == KCENTER:
        return _kcenter(model, geometry, uncertainty, inputs)
    if geometry.data_geometry_type == VAAL:
        return Selection(VAAL, scores=VAAL)
    if geometry.data_geometry_type == TYPICLUST:
        options = {name: getattr(geometry, name) for name in ("min_cluster_size", "max_num_clusters", "k_nn")}
        return Selection(TYPICLUST, options, **inputs)
    if geometry.data_geometry_type == COREGCN:
        return Selection(COREGCN, _coregcn_options(geometry), **inputs)
    return _registered(model, geometry, uncertainty, inputs, has_network)


def _features(model: ModelConfig, geometry: GeometryConfig, has_network: bool) -> str:
    wanted = geometry.features
    if geometry.use_model_features:
        wanted = ENCODER_MAP if model.inf_train_type == "features" else PREDICTIONS
    if wanted and (has_network or not needs_network(wanted)):
        return wanted
    return ENCODER if geometry.feature_model else PIXELS


def _kcenter(
    model: ModelConfig, geometry: GeometryConfig, uncertainty: UncertaintyConfig | None, inputs: Mapping[str, Any]
) -> Selection:
    """Returns the coreset that the keys describe: of pixels, of embeddings, or of several features."""
    params = geometry.feature_model_params
    if geometry.alg_string == "pkcenter_greedy":
        options = {"temp_init": geometry.coreset_kwargs.temp_init, "temp_scale": geometry.coreset_kwargs.temp_scale}
        return Selection("pkcenter", options, **inputs)
    fused = params.fuse_image_data and geometry.feature_model
    scored = _scored(model, uncertainty) if geometry.use_uncertainty and uncertainty else {}
    has_terms = any(getattr(geometry, name) for name in TERM_WEIGHTS)
    if not (fused or scored or has_terms or geometry.use_labels or geometry.metric != "euclidean"):
        if inputs["features"] == PIXELS:
            return Selection("coreset")
        return Selection("kcenter", **inputs)
    options = {name: getattr(geometry, name) for name in _TERMS}
    options |= {name: getattr(geometry, name) for name in ("use_labels", "label_wt", "default_pos_val", "pos_wt")}
    options["normalize_pos_by_label_ct"] = geometry.normalize_pos_by_label_ct
    options["uncertainty_wt"] = geometry.uncertainty_wt if scored else 0.0
    if geometry.use_labels and inputs["features"] == PIXELS:
        return _with_needs("mfc_pixels", options, {**inputs, **scored})
    options["fuse_image_data"] = fused
    options["fuse_image_data_size_prop"] = params.fuse_image_data_size_prop
    return _with_needs("mfc", options, {**inputs, **scored})


def _by_uncertainty(model: ModelConfig, uncertainty: UncertaintyConfig, *, descending: bool) -> Selection:
    scored = _scored(model, uncertainty)
    if uncertainty.model_uncertainty_type == "stochastic":
        return Selection("stochastic_batches", {"sbatch_size": uncertainty.sbatch_size}, **scored)
    return Selection("uncertainty", descending=descending, **scored)


def _scored(model: ModelConfig, uncertainty: UncertaintyConfig) -> dict[str, Any]:
    """Returns which score, of how many passes, and how networks are combined."""
    passes = model.T if model.has_dropout_passes else 1
    score = PUBLISHED_SCORES.get(uncertainty.score_func, uncertainty.score_func)
    if score is None:
        return {"scores": PUBLISHED_PASSES[model.db_score_func], "passes": passes, "combine": MEMBERS}
    return {"scores": score, "passes": passes, "combine": POOLED}


def _coregcn_options(geometry: GeometryConfig) -> dict[str, Any]:
    from fewslice.active.query import strategy_options
    from fewslice.active.strategies import load_all

    load_all()
    known = {item.name for item in fields(GeometryConfig)} - {"s_margin"}
    return {name: getattr(geometry, name) for name in strategy_options(COREGCN) if name in known}


def _registered(
    model: ModelConfig,
    geometry: GeometryConfig,
    uncertainty: UncertaintyConfig | None,
    inputs: Mapping[str, Any],
    has_network: bool,
) -> Selection:
    scored = _scored(model, uncertainty) if uncertainty else {}
    found = _with_needs(geometry.data_geometry_type, dict(geometry.options), {**inputs, **scored})
    return found if has_network or not _ranks_by_network(found) else Selection("random")


def _ranks_by_network(selection: Selection) -> bool:
    return selection.gradients or "scores" in _needs(selection.strategy)


def _needs(strategy: str) -> tuple[str, ...]:
    from fewslice.active.query import STRATEGIES
    from fewslice.active.strategies import load_all

    load_all()
    return STRATEGIES.get(strategy).needs


def _with_needs(strategy: str, options: Mapping[str, Any], inputs: Mapping[str, Any]) -> Selection:
    """Returns the selection with the inputs that the registered strategy asks for."""
    needs, given = _needs(strategy), dict(inputs)
    if "features" not in needs:
        given["features"] = NONE
    return Selection(
        strategy,
        options,
        masks="masks" in needs and options.get("use_labels", True),
        gradients="gradients" in needs,
        **given,
    )
