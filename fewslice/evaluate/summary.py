"""Means over volumes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fewslice.evaluate.objects import METRICS
from fewslice.evaluate.scores import VolumeScore

DEFINITIONS = {
    "dice": "2 |T and P| / (|T| + |P|) on the original grid; undefined if the structure is absent in both",
    "hd95_mm": "larger of the directed 95th percentiles of surface distances; undefined if absent in either",
    "hd95_voxels": "95th percentile of the pooled surface distances in voxels; undefined if absent in either",
    "published": "Dice and HD95 in voxels with 0 wherever a structure is absent in truth or prediction; means over "
    "volumes, then over structures (as CoreCLR reports them)",
    "assd_mm": "mean of the surface distances of both directions; undefined if absent in either",
    "nsd": "share of the surface voxels of both that lie within the tolerance (mm) of the other surface; undefined if "
    "absent in either",
    "mean_dice": "mean over volumes of the mean over the structures with a defined Dice (no background)",
    "std": "sample standard deviation over volumes",
}


def mean_foreground_dice(volume_scores: Sequence[VolumeScore]) -> float:
    """Returns the mean over volumes of each volume's mean foreground Dice; NaN if no volume has one.

    Undefined classes (NaN) are left out of a volume's mean, and volumes without any defined class out of the
    mean.
    """
    return statistics([score.mean_dice for score in volume_scores])["mean"]


def statistics(values: Sequence[float] | np.ndarray) -> dict[str, float | int]:
    """Returns mean, sample standard deviation, and how many values are defined and undefined (NaN)."""
    values = np.asarray(values, np.float64)
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else float("nan"),
        "std": float(defined.std(ddof=1)) if defined.size > 1 else float("nan"),
        "n": int(defined.size),
        "num_undefined": int(values.size - defined.size),
    }


def summarise(
    scores: Sequence[VolumeScore],
    struct_name: Sequence[str],
    *,
    further: Sequence[str] = (),
    groups: Mapping[str, str | None] | None = None,
) -> dict:
    """Returns the content of summary.json: over all volumes, and per phase and group (of case ids) where there are any.

    `further` are names of `metrics.METRICS` that the scores have.
    """
    chosen = [METRICS.get(name) for name in further]
    result = _group(scores, struct_name, chosen)

    def each(group_of: Mapping[str, str | None]) -> dict[str, dict]:
        found = {name: [score for score in scores if group_of[score.case_id] == name] for name in group_of.values()}
        return {name: _group(found[name], struct_name, chosen) for name in sorted(filter(None, found))}

    result["per_phase"] = each({score.case_id: score.phase for score in scores})
    result |= {"per_group": found} if (found := each(groups or {})) else {}
    result["published"] = published_means(scores, struct_name)
    result["per_volume_mean_dice"] = {score.case_id: score.mean_dice for score in scores}
    result["definitions"] = functools.reduce(dict.__or__, [metric.definitions for metric in chosen], DEFINITIONS)
    return result


def published_means(scores: Sequence[VolumeScore], struct_name: Sequence[str]) -> dict:
    """Returns the numbers that CoreCLR reports, to be compared with its tables only.

    Args:
        scores: The scores of all volumes, with surface distances.
        struct_name: Names of the K - 1 structures.

    Returns:
        "mean_dice" and "mean_hd95_voxels" over volumes and then structures, and "per_structure" the same for each. A
        structure that is absent in truth or prediction counts as Dice 0 and, which flatters, as HD95 0.

    Source:
        Evaluation of CoreCLR (Vepa et al. 2024, arXiv 2411.15763).

    Notes:
        Differs from the published code for a structure that fills its whole volume, which counts as 0 there.
    """
    per_structure = {}
    for index, structure in enumerate(struct_name):
        dice = [0.0 if score.absent[index] else score.dice[index + 1] for score in scores]
        distances = [0.0 if score.absent[index] else score.hd95_voxels[index] for score in scores]
        per_structure[structure] = {"dice": float(np.mean(dice)), "hd95_voxels": float(np.mean(distances))}
    means = {name: float(np.mean([row[name] for row in per_structure.values()])) for name in ("dice", "hd95_voxels")}
    return {f"mean_{name}": value for name, value in means.items()} | {"per_structure": per_structure}


def _group(scores: Sequence[VolumeScore], struct_name: Sequence[str], chosen: Sequence[Callable]) -> dict:
    per_structure = {}
    tables = {name: np.stack([score.further[name] for score in scores]) for name in scores[0].further if chosen}
    pooled = {name: values for metric in chosen if metric.pool for name, values in metric.pool(tables).items()}
    for index, structure in enumerate(struct_name):
        notes = [score.absent[index] for score in scores]
        distances = ("hd95_mm", "hd95_voxels", "assd_mm", "nsd")
        per_structure[structure] = {
            "dice": statistics([score.dice[index + 1] for score in scores]),
            **{name: statistics([getattr(score, name)[index] for score in scores]) for name in distances},
            **{name: statistics(tables[name][:, index]) for metric in chosen for name in metric.definitions},
            **{f"pooled_{name}": float(values[index]) for name, values in pooled.items()},
            "absent_in_truth_only": notes.count("absent in truth"),
            "absent_in_prediction_only": notes.count("absent in prediction"),
            "absent_in_both": notes.count("absent in truth and prediction"),
        }
    means = statistics([score.mean_dice for score in scores])
    return {
        "num_volumes": len(scores),
        "mean_dice": means["mean"],
        "std_dice": means["std"],
        "num_volumes_without_dice": means["num_undefined"],
        "per_structure": per_structure,
    }
