"""Keys that are right by themselves and count for nothing in their experiment: the log names them.

Published files are full of them, so they are not refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from fewslice.settings.compat.al_reader import Reader, name_of
from fewslice.settings.compat.al_schema_geometry import TERM_WEIGHTS, GeometryConfig
from fewslice.settings.compat.al_schema_model import PRETRAINED, ModelConfig
from fewslice.settings.compat.al_schema_policy import PolicyConfig, UncertaintyConfig
from fewslice.settings.yaml import Place

_GEOMETRY = "data_geometry"
_PARAMS = (_GEOMETRY, "feature_model_params")
_OF_A_GIVEN_ENCODER = (
    "inf_batch_size", "in_chns", "fuse_image_data", "fuse_image_data_size_prop", "cl_prev_path",
)  # fmt: skip


def note_idle_keys(
    reader: Reader,
    model: ModelConfig,
    geometry: GeometryConfig | None,
    uncertainty: UncertaintyConfig | None,
    policy: PolicyConfig,
) -> None:
    """Adds a note for every key that is written and has no effect.

    Args:
        reader: Knows what is written.
        model: The group.
        geometry: The group, None where the policy is random or there is none.
        uncertainty: Likewise.
        policy: The group.
    """
    found = [*_of_model(geometry, uncertainty), *_of_policy(model, policy)]
    if geometry is not None:
        found += _of_geometry(geometry)
        _note_training(reader, geometry)
    for place, reason in found:
        if place in reader.written:
            reader.notes.append(f"{name_of(place)} ({reader.where(place)}) has no effect: {reason}.")


def _of_model(geometry: GeometryConfig | None, uncertainty: UncertaintyConfig | None) -> Iterator[tuple[Place, str]]:
    from fewslice.learner import kinds

    uses_network = geometry is not None and geometry.use_model_features
    if not uses_network:
        yield ("model", "inf_train_type"), "`use_model_features` is not true"
    named = geometry.features if geometry is not None else None
    if not uses_network and not (named and kinds.get(named).needs_network):
        yield ("model", "feature_decoder_index"), "no features of the segmentation network are looked at"
    if uncertainty is None:
        for name in ("T", "db_score_func"):
            yield ("model", name), "nothing looks at scores of networks"


def _of_policy(model: ModelConfig, policy: PolicyConfig) -> Iterator[tuple[Place, str]]:
    if policy.policy_type == "random":
        yield ("policy", "rank_type"), "policy_type is random"
    if model.model_type in PRETRAINED and any(one.pseudo for one in policy.rounds):
        yield ("policy", "rounds"), f"the second number of a round, {model.model_type} trains for epochs"


def _of_geometry(geometry: GeometryConfig) -> Iterator[tuple[Place, str]]:
    if not (geometry.use_uncertainty or any(getattr(geometry, name) for name in TERM_WEIGHTS)):
        for name in ("extra_feature_wt", "max_dist", "wt_max_dist_mult"):
            yield (_GEOMETRY, name), "there is no term of metadata or uncertainty"
    if geometry.alg_string != "pkcenter_greedy":
        for name in ("temp_init", "temp_scale"):
            yield (_GEOMETRY, "coreset_kwargs", name), "alg_string is not pkcenter_greedy"
    if not geometry.feature_model_params.fuse_image_data:
        yield (*_PARAMS, "fuse_image_data_size_prop"), "`fuse_image_data` is not true"


def _note_training(reader: Reader, geometry: GeometryConfig) -> None:
    """Adds one note for all settings of an encoder that is not trained."""
    if not geometry.feature_model_params.cl_prev_path:
        return
    written = sorted(place[-1] for place in reader.written if place[:-1] == _PARAMS)
    idle = [name for name in written if name not in _OF_A_GIVEN_ENCODER]
    if idle:
        where = reader.where(_PARAMS)
        text = "`cl_prev_path` names an encoder that is used as it is"
        reader.notes.append(f"{name_of(_PARAMS)} ({where}): no effect have {', '.join(idle)}: {text}.")
