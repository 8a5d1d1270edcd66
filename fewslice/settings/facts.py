"""Facts that the report needs of a run; they stand in its config.json under `report` and are no part of its digest.

    "report": {
      "kind":        "pretraining", "training", "experiment" or "selection"
      "method":      its name in tables without its settings, such as "UniMatch" or "bald"
      "settings":    {name: value}: what tells methods of one name apart
      "setup":       {name: value}: what methods must share to be compared; a setting of the same name refines it
      "seed":        the seed; runs that differ in nothing else are one method
      "budget_unit": what is annotated, such as "slices"
      "is_baseline": whether others are measured against it: no pretraining, or random choice
      "orientation": that of the dataset, for new scans (no part of `dataset_config`); missing in earlier versions
    }

Seeds, versions, places and digests of weights are in neither table: they differ between the seeds of one method.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewslice.core.errors import FewSliceError
from fewslice.core.files import digest, read_record
from fewslice.core.run import FACTS
from fewslice.settings.compat.coreclr import MEAN_SCORE, SCORES, SCORES_OF_PASSES
from fewslice.settings.stage_flags import GroupPretraining, JointTraining, later_defaults

SPLIT = "labelled split"
FROM = "from"  # setting: what weights a run starts from, where that is not usual
CASES, SCANS, ANNOTATOR = "cases.", "scans.", "annotator"
SAFE = "query.safe"  # setting of an experiment
# In the order in which tables list them.
STAGE_TITLES = {
    "pretr_encoder_global_contrastive_loss": "Encoder pretraining (global loss)",
    "pretr_decoder_local_contrastive_loss": "Decoder pretraining (local loss)",
    GroupPretraining.stage: "Encoder pretraining (group loss)",
    "tr_baseline": "Baseline",
    "ft_pretr_encoder_net_global_loss": "Pretrained encoder",
    "ft_pretr_encoder_decoder_net_local_loss": "Pretrained encoder + decoder",
    JointTraining.stage: "Joint training",
}
JOINT_TITLES = {"contrastive": "Joint training", "unimatch": "UniMatch", "copy_paste": "Copy-paste"}  # by `--method`
_CONTRASTS = {0: "intra-image", 1: "inter-image"}  # by `--local_loss_exp_no`

_NOT_THE_METHOD = {
    "runs_dir", "data_root", "resume", "tensorboard", "devices", "teacher", "seed", "ver", "pretr_ver", "stage",
    "name", "tag", "init_from", "initial_weights", "teacher_stage", "start_stage", "train_ids", "val_ids", "inf_val",
    "inf_test", FACTS,
}  # fmt: skip
_NOT_THE_METHOD_PARTS = ("digest", "sha256", "former")
_SPLIT_FLAGS = ("no_of_tr_imgs", "comb_tr_imgs")
# Tables of an experiment that belong to its setup, and entries of them that only serve scores.
_SETUP_TABLES = {"dataset", "annotation", "unit", "network", "members", "warm_start", "size", "split", "comb", "pool"}
_SETUP_TABLES |= {"model"}  # of runs from before experiments had a form of their own
_FOR_SCORES = {"model.T", "model.db_score_func", "model.inf_train_type", "model.feature_decoder_index"}
_NETWORK, _DROPOUT = "model.model_type", "db_"  # networks with dropout for scores are compared with those without
_RUN_NAME = re.compile(r"(_s\d+)?-[0-9a-f]{8,}")  # how the name of a run ends


def of_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the facts of a pretraining or training.

    Args:
        config: Its settings with `n_iter`, `initial_weights` and, if known, `start_stage` and `teacher_sha256`.
    """
    stage, method = str(config["stage"]), str(config.get("method", "contrastive"))
    is_pretraining, start = stage.startswith("pretr_"), _start(config)
    settings = later_defaults(stage) | _all(config)
    settings = {name: value for name, value in settings.items() if name not in ("dataset", "method")}
    title = STAGE_TITLES.get(stage, stage.replace("_", " "))
    if stage == JointTraining.stage:
        foreign = JointTraining.foreign(method) if method in JOINT_TITLES else {}
        settings = {name: value for name, value in settings.items() if name not in foreign}
        title = JOINT_TITLES.get(method, method.replace("_", " "))
        if method == "contrastive" and settings.get("local_loss_exp_no") in _CONTRASTS:
            title += f", {_CONTRASTS[settings.pop('local_loss_exp_no')]}"
        title += f", from {start} weights" if start else ""
    elif "baseline" in stage and start:
        title += " script with --init_from"
    if start and config.get("start_stage"):
        settings[FROM] = STAGE_TITLES.get(config["start_stage"], config["start_stage"]).lower()
    setup = {} if is_pretraining else {SPLIT: split_of(config)}
    return {
        "kind": "pretraining" if is_pretraining else "training",
        "method": title,
        "settings": {name: value for name, value in settings.items() if is_pretraining or name not in _SPLIT_FLAGS},
        "setup": setup,
        "seed": int(config.get("seed") or 0),
        "budget_unit": "labelled volumes",
        "is_baseline": "baseline" in stage and not start,
    }


def of_experiment(config: Mapping[str, Any], *, method: str = "", unit: str = "slices") -> dict[str, Any]:
    """Returns the facts of an experiment of active learning.

    Args:
        config: Its settings, with the annotator and the number of rounds (`n_iter`).
        method: Its name in tables; default: the strategy or, where it only looks at scores, the score.
    """
    found = {name: value for name, value in _all(config).items() if value is not None}
    is_setup = {name: name.split(".")[0] in _SETUP_TABLES and name not in _FOR_SCORES for name in found}
    setup = {name: found[name] for name in found if is_setup[name]}
    settings = {name: value for name, value in found.items() if not is_setup[name]}
    if _NETWORK in setup:
        settings[_NETWORK], setup[_NETWORK] = setup[_NETWORK], str(setup[_NETWORK]).removeprefix(_DROPOUT)
    strategy = str(config.get("strategy") or "unknown strategy")
    return {
        "kind": "experiment",
        "method": method or _method(config, strategy),
        "settings": settings,
        "setup": setup,
        "seed": config["seed"] if isinstance(config.get("seed"), int) else 0,
        "budget_unit": unit,
        "is_baseline": strategy == "random" and not settings.get(SAFE),
    }


def of_selection(config: Mapping[str, Any], *, unit: str = "slices") -> dict[str, Any]:
    """Returns the facts of one choice from a pool."""
    return {**of_experiment(config, method=config["strategy"], unit=unit), "kind": "selection"}


def split_of(config: Mapping[str, Any]) -> str:
    """Returns the split that the flags of a run name, such as "tr1 c1"; "?" if they are not recorded."""
    return " ".join(str(config[name]) for name in _SPLIT_FLAGS if config.get(name)) or "?"


def stage_of(path: str | Path | None) -> str:
    """Returns the stage to which a path of a run or of its weights belongs, "" if to none."""
    return next((part for part in Path(path or "").parts if part in STAGE_TITLES), "")


def _start(config: Mapping[str, Any]) -> str:
    """Returns the start of a run if that is not usual: "pretrained", or "random" although it has a teacher."""
    weights, teacher = config.get("initial_weights"), config.get("teacher_sha256")
    if weights and weights == teacher:
        return "pretrained" if str(config.get("start_stage") or "").startswith("ft_pretr") else ""
    if weights:
        return "pretrained"
    return "random" if teacher and weights is not None else ""


def _method(config: Mapping[str, Any], strategy: str) -> str:
    query, uncertainty, model = (config.get(name) for name in ("query", "model_uncertainty", "model"))
    if isinstance(query, Mapping):
        strategy = f"safe {strategy}" if query.get("safe") else strategy
        score = (query.get("score") or {}).get("name")
    else:  # a run from before experiments had a form of their own
        score = uncertainty.get("score_func") if isinstance(uncertainty, Mapping) else None
        of_passes = model.get("db_score_func") if isinstance(model, Mapping) else None
        score = SCORES_OF_PASSES.get(of_passes, score) if score == MEAN_SCORE else SCORES.get(score, score)
    if strategy not in ("uncertainty", "stochastic_batches") or not score:
        return strategy
    return score if strategy == "uncertainty" else f"{strategy} {score}"


def _all(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all settings but those of `_NOT_THE_METHOD`, with the digests of the scans of each role."""
    scans = config.get("scans_digest") or {}
    scans = scans if isinstance(scans, Mapping) else {"pool": scans}
    found = {**dict(_flat(config)), **{f"{SCANS}{role}": value for role, value in scans.items()}}
    if "cases" not in config:
        roles = {role: config.get(f"{role}_ids") for role in ("train", "val")}
        found |= _of_cases({role: ids for role, ids in roles.items() if ids is not None})
    return found


def _of_cases(cases: Any) -> dict[str, str]:
    """Returns the number and a digest of the cases of each role."""
    roles = cases if isinstance(cases, Mapping) else {"pool": cases}
    return {f"{CASES}{role}": f"{len(ids)} {digest(ids)}" for role, ids in roles.items()}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted name and value of settings; the folder of another run counts as the settings of that run."""
    for name, value in config.items():
        is_own_name = name == "name" and prefix  # of a network, a strategy, ...; the run's name stands at the top
        is_left_out = name in _NOT_THE_METHOD or any(part in str(name) for part in _NOT_THE_METHOD_PARTS)
        if is_left_out and not is_own_name:
            continue
        if name == "cases":
            yield from ((f"{prefix}{role}", text) for role, text in _of_cases(value).items())
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str) and _RUN_NAME.search(value):
            other = _config_of(Path(value))
            if other is None:
                yield f"{prefix}{name}", _RUN_NAME.sub("", value)
            else:
                yield from _flat(other, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _config_of(path: Path) -> dict[str, Any] | None:
    """Returns config.json of the run that a path leads to or into, None if it cannot be read."""
    for folder in (path, *list(path.parents)[:3]):
        if (folder / "config.json").is_file():
            with contextlib.suppress(FewSliceError):
                return read_record(folder / "config.json")
            return None
    return None
