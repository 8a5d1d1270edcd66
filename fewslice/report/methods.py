"""Puts runs together that differ in nothing but their seed, and names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewslice.errors import ConfigError
from fewslice.files import digest
from fewslice.flag_table import JOINT
from fewslice.report.runs import Run, read_run

STAGE_TITLES = {
    "pretr_encoder_global_contrastive_loss": "Encoder pretraining (global loss)",
    "pretr_decoder_local_contrastive_loss": "Decoder pretraining (local loss)",
    "tr_baseline": "Baseline",
    "ft_pretr_encoder_net_global_loss": "Pretrained encoder",
    "ft_pretr_encoder_decoder_net_local_loss": "Pretrained encoder + decoder",
    JOINT: "Joint training",
}
JOINT_TITLES = {"contrastive": "Joint training", "unimatch": "UniMatch", "copy_paste": "Copy-paste"}  # by `method`
_CONTRASTS = {0: "intra-image", 1: "inter-image"}  # by `local_loss_exp_no`
# What may differ between the runs of one method: the seed, and where things are.
_NOT_THE_METHOD = {"seed", "ver", "pretr_ver", "runs_dir", "data_root", "resume", "tensorboard", "devices", "teacher"}
# An earlier stage differs by seed too.
_NOT_THE_METHOD_PARTS = ("digest", "sha256", "init_from", "former", "initial_weights")


@dataclass(frozen=True, eq=False)
class Method:
    """Runs of the same stage and settings with different seeds.

    Attributes:
        label: What figures and tables call it.
        runs: Ordered by seed.
        is_baseline: Whether it trains from random weights.
    """

    label: str
    runs: tuple[Run, ...] = field(repr=False)
    is_baseline: bool = False

    @property
    def protocol(self) -> tuple:
        """What must be equal for two methods to be compared: labelled volumes and number of steps."""
        config = self.runs[0].config
        return tuple(config.get(name) for name in ("no_of_tr_imgs", "comb_tr_imgs", "n_iter"))

    @property
    def continues_a_baseline(self) -> bool:
        """Whether it goes on from a trained baseline, so that more steps are part of the method."""
        return bool(self.runs[0].config.get("teacher_sha256"))

    @property
    def has_scores(self) -> bool:
        """Whether any of its runs was evaluated on test volumes."""
        return any(run.scores for run in self.runs)


def group_runs(runs: Iterable[Run]) -> list[Method]:
    """Puts runs of equal stage and settings together; baselines come first, pretraining last.

    Methods of one stage that differ in their settings are told apart by the settings that differ.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        settings = _settings(run)
        settings["start"] = _start(run)  # which weights may differ, by seed; of what kind they are may not
        groups.setdefault(digest([run.dataset, run.stage, settings]), []).append(run)
    ordered = sorted((part for group in groups.values() for part in _by_seed(group)), key=lambda part: _rank(part[0]))
    methods = []
    for group in ordered:
        first = group[0]
        others = [other[0] for other in ordered if other is not group and _kind(other[0]) == _kind(first)]
        label, details = _title(first), _differences(first, others)
        label = f"{label} ({', '.join(details)})" if details else label
        repeat = sum(method.label.partition(" [")[0] == label for method in methods)
        label = f"{label} [repeat {repeat + 1}]" if repeat else label
        methods.append(Method(label, tuple(group), _is_baseline(first)))
    return methods


def _by_seed(group: Sequence[Run]) -> list[list[Run]]:
    """Splits runs so that no part holds a seed twice: repetitions under another --ver are no further seeds."""
    parts: list[list[Run]] = []
    for run in sorted(group, key=lambda run: (run.seed, str(run.path))):
        free = next((part for part in parts if all(run.seed != other.seed for other in part)), None)
        if free is None:
            parts.append([run])
        else:
            free.append(run)
    return parts


def read_methods(run_dirs: Sequence[str | Path]) -> list[Method]:
    """Reads run directories of one dataset and groups them.

    Raises:
        ConfigError: no run directory was given, or runs of several datasets.
        DataError: one of them is none, or a table in it is damaged.
    """
    runs = [read_run(path) for path in dict.fromkeys(Path(path) for path in run_dirs)]
    if not runs:
        raise ConfigError("There is no run to report. Train one first, or name run directories with --runs.")
    names = sorted({run.dataset for run in runs})
    if len(names) > 1:
        raise ConfigError(f"A report compares runs of one dataset. Received runs of: {', '.join(names)}")
    return group_runs(runs)


def _is_setting(name: str) -> bool:
    return name not in _NOT_THE_METHOD and not any(part in name for part in _NOT_THE_METHOD_PARTS)


def _settings(run: Run) -> dict[str, Any]:
    """Returns what makes the method of a run."""
    return {name: value for name, value in run.config.items() if _is_setting(name)}


def _kind(run: Run) -> tuple[str, str]:
    """Returns what runs must share for their settings to be compared: the stage, in joint training its method too."""
    return run.stage, str(run.config.get("method", "contrastive")) if run.stage == JOINT else ""


def _title(run: Run) -> str:
    stage, method = _kind(run)
    title = STAGE_TITLES.get(stage, stage.replace("_", " "))
    if stage == JOINT:
        title = JOINT_TITLES.get(method, method.replace("_", " "))
        contrast = _CONTRASTS.get(run.config.get("local_loss_exp_no"), "") if method == "contrastive" else ""
        title += f", {contrast}" if contrast else ""
        return f"{title}, from {_start(run)} weights" if _start(run) else title
    return f"{title} script with --init_from" if "baseline" in stage.lower() and _start(run) else title


def _is_baseline(run: Run) -> bool:
    return "baseline" in run.stage.lower() and not _start(run)


def _start(run: Run) -> str:
    """Returns what a run starts from if that is not usual: "pretrained", or "random" although it has a teacher."""
    weights, teacher = run.config.get("initial_weights"), run.config.get("teacher_sha256")
    if weights and weights == teacher:
        return "pretrained" if run.config.get("teacher_stage", "").startswith("ft_pretr") else ""
    if weights:
        return "pretrained"
    return "random" if teacher and weights is not None else ""


def _rank(run: Run) -> tuple:
    stages, methods = list(STAGE_TITLES), list(JOINT_TITLES)
    stage = stages.index(run.stage) if run.stage in stages else len(stages)
    name = _kind(run)[1]
    method = methods.index(name) if name in methods else len(methods)
    return run.is_contrastive, not _is_baseline(run), stage, method, _title(run), str(run.path)


def _differences(run: Run, others: Sequence[Run]) -> list[str]:
    mine, theirs = _settings(run), [_settings(other) for other in others]
    titled = {"method", "local_loss_exp_no"} if _kind(run) == (JOINT, "contrastive") else {"method"}
    names = sorted({name for settings in [mine, *theirs] for name in settings} - titled)
    different = [name for name in names if any(mine.get(name) != other.get(name) for other in theirs)]
    return [f"{name} {mine.get(name)}" for name in different[:3]]
