"""What a choice stands for: the nearest chosen unit of every unit, and doubts that its reader should know.

stands_for.csv    unit_id,chosen,distance: one line per unit of the pool, in its order
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fewslice.active.measures.coverage import squared_distances
from fewslice.active.query import tells_apart
from fewslice.active.units import Units
from fewslice.core import files

NAME = "stands_for.csv"
EQUAL = "All embeddings are equal: this choice means no more than a random one. Look at images, encoder."
_ROWS = 128  # compared at a time; pixels are many values


def nearest_chosen(features: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest chosen unit of every unit; a chosen one is its own.

    Args:
        features: (N, D) float, maybe memory-mapped.
        chosen: (n,) int64 units, one or more.

    Returns:
        (N,) int64 places in `chosen`, and (N,) float64 Euclidean distances.
    """
    centres = np.asarray(features[chosen], np.float64)
    places, distances = np.empty(len(features), np.int64), np.empty(len(features))
    for at in range(0, len(features), _ROWS):
        squares = squared_distances(np.asarray(features[at : at + _ROWS], np.float64), centres)
        places[at : at + _ROWS], distances[at : at + _ROWS] = squares.argmin(axis=1), np.sqrt(squares.min(axis=1))
    places[chosen], distances[chosen] = np.arange(len(chosen)), 0.0
    return places, distances


def write_stand_ins(path: Path, pool: Units, chosen: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Writes stands_for.csv and returns (n,) int64, for how many units each chosen one stands, itself included."""
    if not len(chosen):
        return np.zeros(0, np.int64)
    places, distances = nearest_chosen(features, chosen)
    names = pool.unit_ids[chosen]
    columns = zip(pool.unit_ids.tolist(), names[places].tolist(), distances.tolist(), strict=True)
    rows = [{"unit_id": unit, "chosen": name, "distance": f"{distance:.6g}"} for unit, name, distance in columns]
    files.write_csv(path, rows, ("unit_id", "chosen", "distance"))
    return np.bincount(places, minlength=len(chosen))


def doubts(pool: Units, chosen: np.ndarray, features: np.ndarray | None) -> list[str]:
    """Returns sentences on what this choice cannot know.

    Args:
        features: What the strategy compared units by; None if it looked at none.
    """
    patients, picked = ([*dict.fromkeys(map(str, names))] for names in (pool.patients, pool.patients[chosen]))
    notes = []
    if features is not None and len(pool) > 1 and not tells_apart(features):
        notes.append(EQUAL)
    if len(patients) == 1:
        notes.append(
            f"The pool holds one patient ({patients[0]}): nothing here says how others look. Add scans of other "
            "patients before you annotate many slices."
        )
    elif len(picked) == 1 and len(chosen) > 1:
        notes.append(
            f"All {len(chosen)} chosen slices are of one patient ({picked[0]}) of {len(patients)}: the differences "
            "between patients are not annotated. A larger budget, or --strategy=equispaced, takes others too."
        )
    return notes
