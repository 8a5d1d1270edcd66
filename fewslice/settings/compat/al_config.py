"""An active-learning experiment as one frozen, checked object.

`load_experiment("experiments/acdc_weak_ours.yml")` reads the file, applies overrides such as policy.seed=3, checks
everything and reports all problems at once, each with its line. experiments/README.md lists every key.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from absl import logging

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.settings.compat import al_checks
from fewslice.settings.compat.al_groups import GROUPS, TYPE_KEYS, effective
from fewslice.settings.compat.al_reader import Reader
from fewslice.settings.compat.al_schema import keys_of, leaves
from fewslice.settings.compat.al_schema_geometry import OWN, PUBLISHED, GeometryConfig
from fewslice.settings.compat.al_schema_model import ModelConfig
from fewslice.settings.compat.al_schema_policy import PASS, PolicyConfig, UncertaintyConfig
from fewslice.settings.compat.al_selection import Selection, main_strategy, selections
from fewslice.settings.yaml import read_yaml

EXP_DIR = "exp_dir"
_COMPULSORY = ("model", "policy", EXP_DIR)
_SPML = "its networks were driven through scripts of a repository that no longer exists, so it never ran"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        model: The networks.
        geometry: How slices are chosen by where they lie; None without.
        uncertainty: How networks score slices; None without.
        policy: What is bought when.
        exp_dir: Name of the run.
        path: The file.
        notes: Keys that have no influence, in words.
    """

    model: ModelConfig
    geometry: GeometryConfig | None
    uncertainty: UncertaintyConfig | None
    policy: PolicyConfig
    exp_dir: str
    path: str = ""
    notes: tuple[str, ...] = ()

    @property
    def dataset_name(self) -> str:
        """Our name of the dataset."""
        return self.model.dataset_name

    @property
    def seed(self) -> int:
        """Seed of everything."""
        return self.policy.seed

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """For each round: which strategy chooses, with which options, and what it has to be given."""
        return selections(self)

    def settings(self) -> dict[str, Any]:
        """Returns everything that decides what is computed, as JSON values, for config.json and its digest.

        The name of the run is not among them, nor are keys that have no influence in any experiment, nor who annotates
        (the run directory adds that).
        """
        groups = {
            "model": self.model,
            "data_geometry": self.geometry,
            "model_uncertainty": self.uncertainty,
            "policy": self.policy,
        }
        found = {name: None if group is None else effective(group) for name, group in groups.items()}
        found["policy"].pop("annotator")
        return found | {"dataset": self.dataset_name, "seed": self.seed, "strategy": main_strategy(self)}


def load_experiment(path: str | os.PathLike, overrides: Mapping[str, str] | None = None) -> Experiment:
    """Loads, overrides and checks an experiment.

    Args:
        path: A YAML file with the groups `model` and `policy`, maybe `data_geometry` and `model_uncertainty`, and
            `exp_dir`.
        overrides: Key with its group -> value as in a file: {"policy.seed": "3", "data_geometry": "null"}.

    Raises:
        DataError: the file cannot be read.
        ConfigError: all that is wrong with it, each with file, line and remedy.
    """
    reader = Reader(read_yaml(path), overrides or {})
    for name in reader.values:
        if name not in (*GROUPS, EXP_DIR):
            reader.problem((name,), unknown_name("group", name, (*GROUPS, EXP_DIR)))
    for name in _COMPULSORY:
        if reader.values.get(name) is None:
            reader.problem((name,), f"`{name}` is missing.")
    groups = {name: _group(reader, name) for name in GROUPS}
    experiment_dir = _exp_dir(reader)
    if not reader.problems:
        al_checks.check_together(reader, **groups)
    reader.raise_problems()
    found = Experiment(
        groups["model"],
        groups["data_geometry"],
        groups["model_uncertainty"],
        groups["policy"],
        experiment_dir,
        path=os.fspath(path),
        notes=tuple(reader.notes),
    )
    for note in found.notes:
        logging.info("%s", note)
    return found


def _group(reader: Reader, name: str) -> Any:
    """Returns the dataclass of a group, None if it is absent, `pass` or unusable."""
    given, before = reader.mapping((name,)), len(reader.problems)
    if given is None:
        return None
    kind = _kind(reader, name, given.get(TYPE_KEYS[name]))
    if len(reader.problems) > before or kind == PASS:
        return None
    if name == "data_geometry":
        return _geometry(reader, kind, given)
    values = reader.group((name,), GROUPS[name], kind=kind)
    return None if len(reader.problems) > before else GROUPS[name](**values)


def _kind(reader: Reader, name: str, kind: Any) -> str:
    """Returns the type of a group, "" if there is none such; then only that is wrong, not keys of another type."""
    if name == "model" and str(kind).startswith("spml"):
        place, shown = (name, TYPE_KEYS[name]), f"{name}.{TYPE_KEYS[name]}"
        reader.problem(place, f"`{shown}`: {kind} cannot be used: {_SPML}. Write dmpls or strong.")
        return ""
    try:
        return keys_of(GROUPS[name])[TYPE_KEYS[name]].read(kind)
    except ValueError:
        return ""


def _geometry(reader: Reader, kind: str, given: Mapping[str, Any]) -> GeometryConfig | None:
    """Reads `data_geometry`; keys of a registered strategy are its own options."""
    place, before = ("data_geometry",), len(reader.problems)
    known = _own_options(kind) if kind and kind not in PUBLISHED else {}
    options = {name: value for name, value in given.items() if name in known}
    reader.values["data_geometry"] = {name: value for name, value in given.items() if name not in known}
    type_of_keys = OWN if kind and kind not in PUBLISHED else kind
    others = tuple(known) if kind else tuple(given)
    values = reader.group(place, GeometryConfig, kind=type_of_keys, others=others)
    if known:
        _check_own(reader, kind, options, known)
    reader.written |= {(*place, name) for name in options}
    return None if len(reader.problems) > before else GeometryConfig(**values, options=options)


def _own_options(kind: str) -> dict[str, Any]:
    from fewslice.active.query import strategy_options
    from fewslice.active.strategies import load_all

    load_all()
    return strategy_options(kind)


def _check_own(reader: Reader, kind: str, options: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Checks the options of a registered strategy one by one for their lines, then together."""
    from fewslice.active.query import check_options
    from fewslice.core.options import checked_options

    place, before = ("data_geometry",), len(reader.problems)
    for name, value in options.items():
        try:
            options[name] = checked_options(f"option of {kind}", {name: known[name]}, {name: value})[name]
        except ConfigError as error:
            reader.problem((*place, name), str(error))
    if len(reader.problems) > before:
        return
    try:
        check_options(kind, options)
    except ConfigError as error:
        for text in str(error).splitlines():
            named = next((name for name in options if f"`{name}`" in text), None)
            reader.problem((*place, named) if named else place, text)


def _exp_dir(reader: Reader) -> str:
    value = reader.values.get(EXP_DIR)
    if value is None:
        return ""
    if not isinstance(value, str):
        reader.problem((EXP_DIR,), f"`exp_dir` must be a text. Received: {value!r}. Put it in quotes.")
        return ""
    if remedy := leaves(value):
        reader.problem((EXP_DIR,), f"`exp_dir` must be a plain name without folders. Received: {value!r}. {remedy}")
    return value
