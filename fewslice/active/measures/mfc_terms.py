"""Metadata and uncertainty in the distance of MultiFeature Coreset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewslice.active.units import Pool
from fewslice.core.errors import ConfigError

# Option -> the column that it weighs.
COLUMNS = {
    "patient_wt": "patient",
    "phase_wt": "phase",
    "group_wt": "group",
    "height_wt": "height",
    "weight_wt": "weight",
    "slice_rel_pos_wt": "slice_rel_pos",
    "slice_mid_wt": "slice_rel_pos",
    "slice_pos_wt": "slice_pos",
    "uncertainty_wt": "uncertainty",
}


class Extra:
    """The weighted sum of the terms.

    Patient, group and position: 1 minus whether they are the same (of a one-hot group: minus the product). Phase,
    height, weight and relative position: the absolute difference. Middle: 1 - |share_x - 1/2| - |share_c - 1/2|.
    Uncertainty: the sum of both, so that a centre keeps a distance to itself.

    Args:
        weights: Object with the options of `COLUMNS`, `max_dist` and `wt_max_dist_mult` (see `MfcOptions`).
        columns: Name -> (N,) numbers, "group" maybe (N, G). Those without a weight are not looked at.

    Raises:
        ConfigError: a column that has a weight is missing or not finite.
    """

    def __init__(self, weights: Any, columns: Mapping[str, np.ndarray]):
        given = {name: getattr(weights, name) for name in COLUMNS}
        if weights.max_dist is not None:
            limit = weights.max_dist * weights.wt_max_dist_mult
            given = {name: float(np.clip(weight, -limit, limit)) for name, weight in given.items()}
        self.weights = {name: weight for name, weight in given.items() if weight}
        missing = sorted({COLUMNS[name] for name in self.weights} - set(columns))
        if missing:
            raise ConfigError(
                f"There is no {' and no '.join(missing)} for the units, but a weight for it. "
                "Give it, or set the weight 0."
            )
        self.columns = {COLUMNS[name]: np.asarray(columns[COLUMNS[name]], np.float64) for name in self.weights}
        for name, values in self.columns.items():
            if not np.isfinite(values).all():
                raise ConfigError(f"The {name} of some units is not a finite number.")

    def __bool__(self) -> bool:
        return bool(self.weights)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def to(self, rows: np.ndarray, centre: int) -> np.ndarray:
        """Returns the (R,) float64 sums for the units `rows` and a centre."""
        total = np.zeros(len(rows))
        for name, weight in self.weights.items():
            column = self.columns[COLUMNS[name]]
            total += weight * _term(name, column[rows], column[centre])
        return total


def _term(name: str, values: np.ndarray, centre: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return 1 - np.sum(values * centre, axis=1)
    if name in ("patient_wt", "group_wt", "slice_pos_wt"):
        return 1.0 - (values == centre)
    if name == "slice_mid_wt":
        return 1 - np.abs(values - 0.5) - abs(centre - 0.5)
    if name == "uncertainty_wt":
        return values + centre
    return np.abs(values - centre)


def pool_columns(pool: Pool) -> dict[str, np.ndarray]:
    """Returns the columns that a pool gives.

    Its patients, places and depths give "patient", "slice_pos" and "slice_rel_pos" (place / number of slices); its
    metadata "phase" (1 end-diastole, 0 end-systole), "group" (N,) codes or (N, G) one-hot, "height" and "weight",
    which become standard scores over the units (ddof 1).

    Notes:
        Differs from the published code, which read one digit of the slice number, so that slice 10 counted as slice 1.
    """
    columns = {
        "patient": np.unique(pool.patients, return_inverse=True)[1],
        "slice_pos": pool.positions,
        "slice_rel_pos": pool.positions / pool.depths,
    }
    columns |= {name: pool.metadata[name] for name in ("phase", "group") if name in pool.metadata}
    columns |= {name: _standard(pool.metadata[name]) for name in ("height", "weight") if name in pool.metadata}
    return columns


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))
