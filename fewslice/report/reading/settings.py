"""Which settings make two runs the same method, and how methods with different settings are told apart.

A setting that one of two runs does not record (an older revision did not have it) is unknown, not different, unless it
is known what that revision did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewslice.report.reading.runs import Run
from fewslice.report.reading.titles import STAGE_TITLES, kind, split, start, start_stage
from fewslice.settings.stage_flags import LABELLED_STAGES, JointTraining

JOINT = JointTraining.stage

Settings = Mapping[str, Any]

# What may differ between the runs of one method: the seed, and where things are.
_PLACES = {"runs_dir", "data_root", "resume", "tensorboard", "devices", "teacher", "seed"}
_NOT_THE_METHOD = _PLACES | {"ver", "pretr_ver", "teacher_stage", "method", "stage", "dataset"}
# An earlier stage differs by seed too.
_NOT_THE_METHOD_PARTS = ("digest", "sha256", "init_from", "former", "initial_weights")
# The labelled volumes: methods are told apart by them elsewhere, see `fewslice.report.reading.methods.by_split`.
_NAMES_OF_SPLITS = {"no_of_tr_imgs", "comb_tr_imgs"}
_OF_SPLITS = _NAMES_OF_SPLITS | {"train", "val", "train_ids", "val_ids", "unlabeled", "scans_digest", "cases"}
# Flags that were added later -> what runs did before, which do not record them; mixup is recorded where it is on.
_BEFORE = {stage: {"mixup": 0.0} for stage in LABELLED_STAGES}
_BEFORE[JOINT] = {"refresh_from": "best", "largest_component": 0}
_START = "start_stage"
_MOST_NAMED = 3


def settings(run: Run) -> dict[str, Any]:
    """Returns what makes the method of a run, beside its stage and kind of start."""
    foreign = JointTraining.foreign(kind(run)[1]) if run.stage == JOINT else ()
    recorded = {**_BEFORE.get(run.stage, {}), **run.config}
    found = {name: value for name, value in recorded.items() if _is_setting(name) and name not in foreign}
    if start(run) and start_stage(run):
        found[_START] = start_stage(run)
    return found


def _is_setting(name: str) -> bool:
    return name not in _NOT_THE_METHOD and not any(part in name for part in _NOT_THE_METHOD_PARTS)


def agree(first: Settings, second: Settings) -> bool:
    """Whether two runs differ in no setting that both record."""
    return all(first[name] == second[name] for name in first.keys() & second.keys())


def group(runs: Sequence[Run]) -> list[list[Run]]:
    """Puts runs together whose settings agree.

    A run of an older revision that agrees with several different methods belongs to none of them.
    """
    found = {id(run): settings(run) for run in runs}
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: (-len(found[id(run)]), str(run.path))):
        mine = found[id(run)]
        same = [g for g in groups if any(found[id(other)] == mine for other in g)]
        fitting = same or [g for g in groups if all(agree(mine, found[id(other)]) for other in g)]
        if len(fitting) == 1:
            fitting[0].append(run)
        else:
            groups.append([run])
    return groups


def merged(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the settings of one method: what any of its runs records."""
    return {name: value for run in runs for name, value in settings(run).items()}


def differences(runs: Sequence[Run], others: Sequence[Sequence[Run]]) -> list[str]:
    """Returns in words by what a method differs from others of its kind, at most three settings.

    Args:
        runs: The runs of the method.
        others: Those of each other method of the same kind.
    """
    mine, names = merged(runs), []
    own_split, is_contrast_named = split(runs[0]), kind(runs[0]) == (JOINT, "contrastive")
    for other in others:
        theirs, here = merged(other), split(other[0]) == own_split
        skipped = (_NAMES_OF_SPLITS if here else _OF_SPLITS) if own_split else set()
        names += [name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name] and name not in skipped]
    names = sorted(set(names) - ({"local_loss_exp_no"} if is_contrast_named else set()))
    texts = [_text(name, mine[name]) for name in names]
    more = [f"{len(texts) - _MOST_NAMED} more"] if len(texts) > _MOST_NAMED else []
    return texts[:_MOST_NAMED] + more or _unknown(mine, [merged(o) for o in others if split(o[0]) == own_split])


def _text(name: str, value: Any) -> str:
    if name == _START:
        title = STAGE_TITLES.get(value, value)
        return f"from {title[:1].lower()}{title[1:]}"
    text = str(value)
    return f"{name} {text if len(text) <= 40 else text[:37] + '...'}"


def _unknown(mine: Settings, others: Sequence[Settings]) -> list[str]:
    """Names the settings that a run of an older revision would have to record to belong to one of `others`."""
    rivals = [other for other in others if agree(mine, other)]
    missing = {name for other in rivals for name in other} - mine.keys()
    values = {name: {str(other[name]) for other in rivals if name in other} for name in missing}
    return [f"{name} not recorded" for name in sorted(missing) if len(values[name]) > 1][:_MOST_NAMED]


def unrecorded(runs: Sequence[Run]) -> list[str]:
    """Returns the settings of a method that some of its runs do not record; they count as equal all the same."""
    found = [set(settings(run)) for run in runs]
    return sorted(set.union(*found) - set.intersection(*found))


def repeat_name(run: Run, first: Run, number: int) -> str:
    """Returns what tells a run from another of equal settings and seed: --ver, weights, software, or else nothing.

    Args:
        run: The run to name.
        first: The other run, which needs no name.
        number: Of the repetition, 2 or larger, if nothing else differs.
    """
    common = [name for name in run.config if name in first.config and name not in _PLACES | {"digest"}]
    different = [name for name in common if run.config[name] != first.config[name] and not _is_setting(name)]
    versions = [name for name in ("ver", "pretr_ver") if name in different]
    if versions:
        return ", ".join(f"{name} {run.config[name]}" for name in versions)
    weights = next((name for name in ("initial_weights", "teacher_sha256") if name in different), None)
    if weights:
        what = "start" if weights == "initial_weights" else "teacher"
        return f"{what} {str(run.config[weights])[:8] or 'random'}"
    if different:
        return ", ".join(f"{name} {str(run.config[name])[:12]}" for name in different[:_MOST_NAMED])
    both = sorted(run.versions.keys() & first.versions.keys())
    software = [name for name in both if run.versions[name] != first.versions[name]]
    if software:
        return ", ".join(f"{name} {run.versions[name]}" for name in software[:_MOST_NAMED])
    return f"repeat {number}"
