"""Puts experiments together that differ in nothing but their seed, names them, and keeps apart what is not comparable.

A *method* is a strategy with its settings, annotator and scans. A *setup* is everything else: the kind of annotation,
the network, its training. Only methods of one setup are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewslice.active.uncertainty import PUBLISHED, PUBLISHED_PASSES
from fewslice.core.errors import FewSliceError
from fewslice.core.files import digest, read_json
from fewslice.report.reading.experiments import Experiment

RANDOM = "random"

# Names of settings that do not make a method: seeds, names, places, and what is evaluated or kept.
_NOT_THE_METHOD = re.compile(
    r"(^|_)seeds?$|digest|sha256|^(name|tag|ver|version|resume|resume_on_.*|runs_dir|run_dir|exp_dir|data_root|"
    r"devices?|gpus?|tensorboard|stage|command|deterministic|debug|save_im_score_file|delete_preds|inf_train|inf_val|"
    r"inf_test)$"
)
# Settings of these tables, or of these names, belong to the setup; all others are of the method.
_OF_THE_SETUP = re.compile(r"^(dataset|annotation|ann_type|unit|model|pool|split)(\.|$)")
# But these settings of the network only serve scores, which are a matter of the strategy.
_FOR_SCORES = re.compile(r"^model\.(T|db_score_func|inf_train_type|feature_decoder_index)$")
_NETWORK, _DROPOUT = "model.model_type", "db_"  # networks with dropout for scores are compared with those without
_BY_SCORE = ("uncertainty", "stochastic_batches")
_ANNOTATOR, _CASES, _SCANS, _WEIGHTS = "annotator", "cases.", "scans.", "weights_sha256"
_RUN_SUFFIX = re.compile(r"(_s\d+)?-[0-9a-f]{8,}")
_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class ExperimentMethod:
    """Experiments of equal settings with different seeds.

    Attributes:
        label: What figures and tables call it; no other method of the same setup has it.
        experiments: Ordered by seed, each seed once.
        setup: What it has in common with the methods that it can be compared with, in words; "" if there is one
            setup only.
    """

    label: str
    experiments: tuple[Experiment, ...] = field(repr=False)
    setup: str = ""

    @property
    def is_random(self) -> bool:
        """Whether it buys at random: what all others are measured against."""
        return self.experiments[0].strategy == RANDOM

    @property
    def by_seed(self) -> dict[int, Experiment]:
        """Seed -> experiment."""
        return {one.seed: one for one in self.experiments}


def settings(experiment: Experiment) -> dict[str, Any]:
    """Returns dotted name -> value of everything that may tell two methods apart.

    A value that is the folder (or a weight file) of another run stands for the settings of that run, which may differ
    by seed too.
    """
    found = {name: value for name, value in _flat(experiment.config) if value is not None}
    scans = experiment.config.get("scans_digest")
    found |= {f"{_SCANS}{role}": value for role, value in scans.items()} if isinstance(scans, Mapping) else {}
    return found | {_ANNOTATOR: experiment.annotator}


def method_name(experiment: Experiment) -> str:
    """Returns the strategy, by its score where that is all it looks at: "mfc", "entropy", "stochastic_batches bald"."""
    strategy, tables = experiment.strategy, [experiment.config.get(name) for name in ("model_uncertainty", "model")]
    uncertainty, model = (table if isinstance(table, Mapping) else {} for table in tables)
    if strategy not in _BY_SCORE or not uncertainty.get("score_func"):
        return strategy
    named = str(uncertainty["score_func"])
    of_passes = PUBLISHED_PASSES.get(str(model.get("db_score_func")), named)
    score = of_passes if named == "mean_score" else PUBLISHED.get(named, named)
    return score if strategy == _BY_SCORE[0] else f"{strategy} {score}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if _NOT_THE_METHOD.search(str(name)):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str) and _RUN_SUFFIX.search(value):
            other = _config_of(Path(value))
            if other is None:
                yield f"{prefix}{name}", _RUN_SUFFIX.sub("", value)
            else:
                yield from _flat(other, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _config_of(path: Path) -> dict[str, Any] | None:
    """Returns config.json of the run that a path leads to or into, None if it cannot be read."""
    for folder in (path, *list(path.parents)[:3]):
        if (folder / "config.json").is_file():
            try:
                found = read_json(folder / "config.json")
            except FewSliceError:
                return None
            return found if isinstance(found, dict) else None
    return None


def is_of_setup(name: str) -> bool:
    """Whether a dotted setting belongs to the setup instead of the method."""
    return bool(_OF_THE_SETUP.match(name)) and not _FOR_SCORES.match(name)


def group_experiments(experiments: Sequence[Experiment]) -> list[ExperimentMethod]:
    """Puts experiments of equal settings together; `random` comes first, the others by name.

    An experiment with the settings and the seed of another is a method of its own, named after its folder.
    """
    found: dict[str, list[Experiment]] = {}
    for one in sorted(experiments, key=lambda one: (one.strategy != RANDOM, method_name(one), one.seed, str(one.path))):
        found.setdefault(repr((one.strategy, sorted(settings(one).items(), key=str))), []).append(one)
    groups = list(found.values())
    setups = _setups(groups)
    methods = []
    for group, setup in zip(groups, setups, strict=True):
        same = [other for other, place in zip(groups, setups, strict=True) if other is not group and place == setup]
        details = _differences(group, same)
        label = method_name(group[0]) + (f" ({', '.join(details)})" if details else "")
        parts = _by_seed(group)
        for part in parts:
            named = f"{label} [{_repetition(part[0], parts[0])}]" if part is not parts[0] else label
            methods.append(ExperimentMethod(named, tuple(part), setup))
    return methods


def by_setup(methods: Iterable[ExperimentMethod]) -> dict[str, list[ExperimentMethod]]:
    """Returns setup -> its methods, in their order."""
    found: dict[str, list[ExperimentMethod]] = {}
    for method in methods:
        found.setdefault(method.setup, []).append(method)
    return found


def _setups(groups: Sequence[Sequence[Experiment]]) -> list[str]:
    """Returns the setup of each group in words: the settings that are not the same in all groups."""
    found = []
    tables = [{n: _plain(n, value) for n, value in settings(group[0]).items() if is_of_setup(n)} for group in groups]
    names = sorted({name for table in tables for name in table})
    varying = [name for name in names if len({repr(table.get(name)) for table in tables}) > 1]
    for table in tables:
        same = [group for group, other in zip(groups, tables, strict=True) if other == table]
        networks = {str(settings(group[0]).get(_NETWORK)) for group in same}
        shown = {**table, _NETWORK: " and ".join(sorted(networks, key=len))} if _NETWORK in table else table
        found.append(", ".join(_text(name, shown.get(name), varying) for name in varying))
    return found


def _plain(name: str, value: Any) -> Any:
    return str(value).removeprefix(_DROPOUT) if name == _NETWORK else value


def _differences(group: Sequence[Experiment], others: Sequence[Sequence[Experiment]]) -> list[str]:
    """Returns in words by what a method differs from others of its strategy, and whether its network does from any."""
    mine = settings(group[0])
    names = set()
    for other in others:
        theirs = settings(other[0])
        different = {name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}
        if _ANNOTATOR in different or any(name.startswith(_CASES) for name in different):  # then scans differ by that
            different = {name for name in different if not name.startswith(_SCANS)}
        if method_name(other[0]) != method_name(group[0]):
            is_dropout = str(mine.get(_NETWORK, "")).startswith(_DROPOUT)
            different &= {_NETWORK} if is_dropout else set()
        names |= different
    ordered = sorted(names, key=lambda name: (name.count("."), name))
    texts = [_text(name, mine.get(name), ordered) for name in ordered]
    return texts[:_MOST_NAMED] + ([f"{len(texts) - _MOST_NAMED} more"] if len(texts) > _MOST_NAMED else [])


def _text(name: str, value: Any, names: Sequence[str]) -> str:
    """Returns "name value"; of a dotted name the last part where no other name ends so."""
    if name.startswith(_CASES) and value is not None:
        return f"{len(value)} {name.removeprefix(_CASES)} cases, list {digest(value)[:4]}"
    if name.startswith(_SCANS) and value is not None:
        return f"{name.removeprefix(_SCANS)} scans {str(value)[:4]}"
    last = name.rpartition(".")[2]
    short = last if sum(other.rpartition(".")[2] == last for other in names) == 1 else name
    if value is None:
        return f"no {short}"
    if isinstance(value, bool):
        return short if value else f"no {short}"
    text = str(value)
    return f"{short} {text if len(text) <= 32 else text[:29] + '...'}"


def _repetition(one: Experiment, first: Sequence[Experiment]) -> str:
    """Returns the folder of an experiment with the settings and seed of another, and what is known to differ."""
    twin = next(other for other in first if other.seed == one.seed)
    has_others = _WEIGHTS in twin.config and one.config.get(_WEIGHTS) != twin.config[_WEIGHTS]
    return ("other weights, " if has_others else "") + one.path.name


def _by_seed(group: Sequence[Experiment]) -> list[list[Experiment]]:
    """Splits experiments so that no part holds a seed twice."""
    parts: list[list[Experiment]] = []
    for one in group:
        free = next((part for part in parts if all(one.seed != other.seed for other in part)), None)
        if free is None:
            parts.append([one])
        else:
            free.append(one)
    return parts
