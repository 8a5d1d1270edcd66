"""What the keys of the group `data_geometry` must fulfil together and with the other groups."""

from __future__ import annotations

from collections.abc import Iterator

from fewslice.core.errors import ConfigError
from fewslice.data.batches.group import GroupPlan
from fewslice.settings.compat.al_reader import Reader
from fewslice.settings.compat.al_schema_geometry import (
    ACDC_ONLY,
    KCENTER,
    TERM_WEIGHTS,
    VAAL,
    FeatureModelParams,
    GeometryConfig,
)
from fewslice.settings.compat.al_schema_model import DATASETS, PRETRAINABLE, UNETS, ModelConfig
from fewslice.settings.compat.al_schema_policy import PolicyConfig, UncertaintyConfig
from fewslice.settings.compat.al_selection import PIXELS
from fewslice.settings.yaml_files import Place

Problems = Iterator[tuple[Place, str]]
_GROUP = "data_geometry"
_MAPS = ("encoder_map", "pooled_map")
_PARAMS = (_GROUP, "feature_model_params")


def geometry_problems(
    reader: Reader,
    model: ModelConfig,
    geometry: GeometryConfig,
    uncertainty: UncertaintyConfig | None,
    policy: PolicyConfig,
) -> Problems:
    """Returns (place, message) of every problem of a geometry that ranks."""
    yield from _dataset(model, geometry)
    yield from _idle_features(reader, geometry)
    yield from _kind(model, geometry)
    yield from encoder_problems(reader, model, geometry)
    if geometry.data_geometry_type == KCENTER:
        yield from _distance(reader, model, geometry)
    if geometry.use_labels and policy.annotator != "simulated" and model.ann_type == "label":
        text = (
            "full masks drawn by a person weigh all pixels alike. Write `use_labels: false`, or `annotator: simulated`."
        )
        yield (_GROUP, "use_labels"), text
    if geometry.data_geometry_type == VAAL and model.size and any(side % 32 for side in model.size):
        yield (_GROUP, "data_geometry_type"), f"vaal needs sizes in multiples of 32. Received: {list(model.size)}"
    yield from _scores(geometry, uncertainty)
    yield from _first_round(geometry, policy)


def _dataset(model: ModelConfig, geometry: GeometryConfig) -> Problems:
    if geometry.dataset_type is not None and DATASETS[geometry.dataset_type] != model.dataset_name:
        text = f"the pool is that of model.dataset, {model.dataset}. Remove `dataset_type`, or write it there."
        yield (_GROUP, "dataset_type"), text


def _idle_features(reader: Reader, geometry: GeometryConfig) -> Problems:
    """Returns keys of features that the strategy does not ask for."""
    from fewslice.active.query import FEATURES

    if geometry.is_published or FEATURES in _needs(geometry):
        return
    for name in ("feature_model", "contrastive", "feature_model_params", "use_model_features", "features"):
        if (_GROUP, name) in reader.written:
            yield (_GROUP, name), f"{geometry.data_geometry_type} looks at no features. Remove it."


def encoder_problems(reader: Reader, model: ModelConfig, geometry: GeometryConfig) -> Problems:
    """Returns (place, message) of every problem of the encoder that a geometry pretrains or names."""
    params = geometry.feature_model_params
    if not geometry.feature_model:
        if geometry.contrastive:
            yield (_GROUP, "contrastive"), "needs `feature_model: true`; without it features are raw pixels."
        elif _PARAMS in reader.written:
            yield _PARAMS, "is not looked at without `feature_model: true`. Add that, or remove the group."
        return
    if not geometry.contrastive and not params.cl_prev_path:
        yield (
            (_GROUP, "feature_model"),
            "without `contrastive: true` the encoder would have ImageNet weights, which are not part of this software. "
            "Add that, or name a pretrained run by feature_model_params.cl_prev_path.",
        )
    if params.pretrained:
        yield (*_PARAMS, "pretrained"), "ImageNet weights are not part of this software. Write false."
    channels = model.image_channels
    if channels and params.in_chns != channels:
        place = (*_PARAMS, "in_chns") if (*_PARAMS, "in_chns") in reader.written else _PARAMS
        yield place, f"images of {model.dataset} have {channels} channels. Write `in_chns: {channels}`."
    if params.cl_prev_path in ("none", "pixels"):
        yield (*_PARAMS, "cl_prev_path"), "must be a run directory. Remove it for an encoder of the experiment's own."
    if geometry.contrastive and not params.cl_prev_path:
        yield from _loss(reader, params)
    if params.fuse_image_data and geometry.data_geometry_type != KCENTER:
        yield (*_PARAMS, "fuse_image_data"), f"counts only for {KCENTER}. Remove it."


def _kind(model: ModelConfig, geometry: GeometryConfig) -> Problems:
    """Returns what is wrong with `features`, which names a kind, or with `use_model_features`."""
    from fewslice.learner import kinds

    has_maps = model.model_type in UNETS and model.seg_model != PRETRAINABLE
    wants_map = geometry.features in _MAPS or (geometry.use_model_features and model.inf_train_type == "features")
    if wants_map and not has_maps:
        place = ("model", "inf_train_type") if geometry.use_model_features else (_GROUP, "features")
        yield place, "maps of the encoder can be had of `unet` and `unet_cct` only. Look at predictions."
    if geometry.features is None:
        return
    place, kind = (_GROUP, "features"), kinds.get(geometry.features)
    if geometry.use_model_features:
        yield place, "says otherwise than `use_model_features: true`. Remove one of the two."
    if kind.needs_encoder and not geometry.feature_model:
        yield place, f"{geometry.features} needs an encoder. Write `feature_model: true`."
    elif geometry.feature_model and not kind.needs_encoder and not kind.needs_network:
        yield (
            place,
            f"{geometry.features} does not look at the encoder of `feature_model: true`. Remove one of the two.",
        )


def _loss(reader: Reader, params: FeatureModelParams) -> Problems:
    terms = params.group_terms
    for term in ("neg_loss", "pos_loss1", "pos_loss2", "pos_loss3"):
        for name in (f"{term}_wt", f"{term}_mask"):
            if (*_PARAMS, name) in reader.written and not getattr(params, term):
                yield (*_PARAMS, name), f"has no effect without `{term}: true`. Add that, or remove it."
    if not params.loss_wt and not any(terms.values()):
        yield (*_PARAMS, "loss_wt"), "all terms of the loss have the weight 0. Give one a weight."
    if terms and not params.partners:
        yield (
            (*_PARAMS, next(iter(terms))),
            "a group term needs groups. Write use_slice_pos, use_phase or use_patient: true.",
        )
        return
    if params.partners and not terms:
        on = next(name for name in ("use_slice_pos", "use_phase", "use_patient") if getattr(params, name))
        yield (*_PARAMS, on), "groups have no effect without a group term. Write `pos_loss1: true`, or remove it."
        return
    try:
        plan = GroupPlan(params.batch_size, params.use_slice_pos, params.use_phase, params.use_patient)
    except ConfigError as error:
        yield (*_PARAMS, "batch_size"), str(error)
        return
    for number in (1, 2, 3) if params.positives == "group" else ():
        mask = getattr(params, f"pos_loss{number}_mask")
        if f"pos_loss{number}" in terms and set(range(plan.group_size)) <= set(mask):
            place = (*_PARAMS, f"pos_loss{number}_mask")
            yield place, f"leaves out all {plan.group_size} positions of a group. Name fewer."


def _distance(reader: Reader, model: ModelConfig, geometry: GeometryConfig) -> Problems:
    fused = geometry.feature_model_params.fuse_image_data and geometry.feature_model
    is_raw = geometry.features in (None, PIXELS) and not (geometry.feature_model or geometry.use_model_features)
    if geometry.use_labels and not (fused or is_raw):
        yield (
            (_GROUP, "use_labels"),
            "the annotation weights pixels, and none enter the distance. Write `feature_model: true` and "
            "`fuse_image_data: true` in feature_model_params, or let features be raw pixels.",
        )
    metadata = [name for name in TERM_WEIGHTS if getattr(geometry, name)]
    for name in metadata:
        if name in ACDC_ONLY and model.dataset in DATASETS and model.dataset != "ACDC":
            yield (_GROUP, name), f"{model.dataset} has no such metadata. Remove it."
    plain = (
        not (fused or metadata or geometry.use_uncertainty or geometry.use_labels) and geometry.metric == "euclidean"
    )
    if geometry.alg_string != KCENTER and not plain:
        yield (
            (_GROUP, "alg_string"),
            f"{geometry.alg_string} looks at plain features and Euclidean distances only. Write {KCENTER}, or remove "
            "fuse_image_data, use_labels, use_uncertainty, metric and the weights.",
        )
    if geometry.use_uncertainty and not geometry.uncertainty_wt:
        yield (_GROUP, "use_uncertainty"), "has no effect with `uncertainty_wt: 0`. Give it a weight, or remove it."
    if geometry.uncertainty_wt and not geometry.use_uncertainty:
        yield (_GROUP, "uncertainty_wt"), "has no effect without `use_uncertainty: true`. Add that, or remove it."
    weights = ("pos_wt", "normalize_pos_by_label_ct", "label_wt", "default_pos_val")[2 if fused else 0 :]
    idle = next((name for name in weights if (_GROUP, name) in reader.written), None)
    if idle and not geometry.use_labels:
        missing = "`use_labels: true`" if fused or is_raw else "`feature_model_params: {fuse_image_data: true}`"
        yield (_GROUP, idle), f"has no effect without {missing}. Add that, or remove it."


def _scores(geometry: GeometryConfig, uncertainty: UncertaintyConfig | None) -> Problems:
    needs_scores = geometry.use_uncertainty or (not geometry.is_published and "scores" in _needs(geometry))
    place: Place = (_GROUP, "use_uncertainty") if geometry.use_uncertainty else (_GROUP, "data_geometry_type")
    if needs_scores and uncertainty is None:
        text = "needs scores of networks. Add the group model_uncertainty (ensemble, entropy_w_label_probs)."
        yield place, text
    if not geometry.is_published and geometry.options.get("uncertainty_wt"):
        text = f"{geometry.data_geometry_type} gets no scores under this name. Write `data_geometry_type: {KCENTER}`, "
        yield (_GROUP, "uncertainty_wt"), text + "`fuse_image_data: true` and `use_uncertainty: true` for the same."
    if uncertainty is not None and not needs_scores:
        text = "a geometry ranks alone. Remove the group model_uncertainty"
        if geometry.data_geometry_type == KCENTER:
            text += ", or let it enter the distance with `use_uncertainty: true` and `uncertainty_wt`"
        yield ("model_uncertainty",), f"{text}."
    if uncertainty is not None and needs_scores and uncertainty.model_uncertainty_type == "stochastic":
        text = "stochastic ranks batches and no geometry. Write ensemble, or remove data_geometry."
        yield ("model_uncertainty", "model_uncertainty_type"), text


def _first_round(geometry: GeometryConfig, policy: PolicyConfig) -> Problems:
    from fewslice.active.query import STRATEGIES
    from fewslice.active.strategies import load_all

    load_all()
    name = geometry.data_geometry_type
    first = policy.rounds[0]
    if name != KCENTER and STRATEGIES.get(name).needs_labelled and first.split_method != "random":
        text = f"{name} needs annotated slices. Write the first round as [{first.oracle:g}, 0, random]."
        yield ("policy", "rounds", 0), text


def _needs(geometry: GeometryConfig) -> tuple[str, ...]:
    from fewslice.active.query import STRATEGIES

    return STRATEGIES.get(geometry.data_geometry_type).needs
