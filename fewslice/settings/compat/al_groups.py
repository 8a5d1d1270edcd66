"""The four groups of an experiment file, and what is said of their keys elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fewslice.settings.compat.al_schema import REQUIRED, Key, default_of, keys_of
from fewslice.settings.compat.al_schema_geometry import (
    OWN,
    PUBLISHED,
    CoresetKwargs,
    DatasetKwargs,
    FeatureModelParams,
    GeometryConfig,
)
from fewslice.settings.compat.al_schema_model import ModelConfig
from fewslice.settings.compat.al_schema_policy import EnsembleKwargs, PolicyConfig, ScoreKwargs, UncertaintyConfig

GROUPS: Mapping[str, type] = {
    "model": ModelConfig,
    "data_geometry": GeometryConfig,
    "model_uncertainty": UncertaintyConfig,
    "policy": PolicyConfig,
}
TYPE_KEYS = {
    "model": "model_type",
    "data_geometry": "data_geometry_type",
    "model_uncertainty": "model_uncertainty_type",
    "policy": "policy_type",
}
# Groups within groups.
INNER: Mapping[str, type] = {
    "data_geometry.feature_model_params": FeatureModelParams,
    "data_geometry.coreset_kwargs": CoresetKwargs,
    "data_geometry.dataset_kwargs": DatasetKwargs,
    "policy.ensemble_kwargs": EnsembleKwargs,
    "policy.uncertainty_kwargs": ScoreKwargs,
    "policy.geometry_kwargs": ScoreKwargs,
}


def type_of(group: Any) -> str:
    """Returns the type of a group as its keys name it in `Key.types`."""
    key = next(key for name, key in TYPE_KEYS.items() if isinstance(group, GROUPS[name]))
    kind = getattr(group, key)
    return OWN if isinstance(group, GeometryConfig) and kind not in PUBLISHED else kind


def effective(group: Any) -> dict[str, Any]:
    """Returns the keys of a group that have an influence, as JSON values."""
    kind = type_of(group)
    found = {
        name: _plain(getattr(group, name), key) for name, key in keys_of(type(group)).items() if _counts(key, kind)
    }
    if getattr(group, "options", None):
        found["options"] = dict(group.options)
    return found


def key_table() -> list[str]:
    """Returns the lines of the table of all keys, as in experiments/README.md."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, group in {**GROUPS, **INNER}.items():
        for key_name, key in keys_of(group).items():
            if key.group is None:
                default = _default_text(key, default_of(group, key_name))
                lines.append(f"| `{name}.{key_name}` | {default} | {_meaning(key)} |")
    return lines


def _default_text(key: Key, default: Any) -> str:
    if default is REQUIRED:
        return "required"
    if not key.by_type:
        return f"`{_yaml(default)}`"
    kinds: dict[Any, list[str]] = {}
    for kind, value in key.by_type.items():
        kinds.setdefault(value, []).append(kind)
    if len(kinds) == 1:
        return f"`{_yaml(next(iter(kinds)))}`"
    return "; ".join(f"`{_yaml(value)}` ({', '.join(types)})" for value, types in kinds.items())


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value) if value != "" else '""'


def _meaning(key: Key) -> str:
    parts = [key.help]
    if key.must.startswith(("one of ", "1 or 3")) and "`" not in key.help:
        parts.append(key.must[0].upper() + key.must[1:] + ".")
    if key.types:
        parts.append(f"Only for {', '.join(key.types)}.")
    if key.unused:
        parts.append(f"No effect: {key.unused}.")
    return " ".join(part for part in parts if part)


def _counts(key: Key, kind: str) -> bool:
    return not key.unused and (not key.types or kind in key.types)


def _plain(value: Any, key: Key) -> Any:
    if key.group is not None:
        inner = {name: _plain(getattr(value, name), one) for name, one in keys_of(key.group).items() if not one.unused}
        return inner
    if isinstance(value, tuple):
        return [dataclasses.asdict(item) if dataclasses.is_dataclass(item) else item for item in value]
    return value
