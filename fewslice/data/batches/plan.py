"""How many volumes, partitions and views a contrastive batch has, and which row is which.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511. The losses work from the ids of the rows (volume
slot, partition, view), so that positives and negatives follow from what a row shows and not from where it
stands.

Notes:
    Differs from the published code, which fixed the number of rows first (4 * bt_size, or 5 * bt_size + 4)
    and left those that no group of blocks filled black: 16 of 48 in the default setting. Here the number of
    volumes follows from `bt_size` and `n_parts`, every row is filled, and a `bt_size` that does not fit
    raises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fewslice.core.errors import ConfigError

GLOBAL_EXPERIMENTS = (0, 1, 2, 3, 4)
LOCAL_EXPERIMENTS = (0, 1)


@dataclass(frozen=True)
class BatchPlan:
    """The shape of a contrastive batch.

    Attributes:
        num_slots: Volumes (or, without partitions, slices) in the batch.
        n_parts: Partitions of each; 1 without partitions.
        num_views: Views of each slice.
        include_original: Whether view 0 is the slice as it is.
        use_partitions: Whether slices are drawn by partition; otherwise uniformly from all slices.
        draws: Independent draws of brightness and contrast per view.
    """

    num_slots: int
    n_parts: int
    num_views: int
    include_original: bool
    use_partitions: bool
    draws: int = 1

    @property
    def num_rows(self) -> int:
        """Rows of the batch."""
        return self.num_slots * self.n_parts * self.num_views

    def ids(self) -> np.ndarray:
        """Returns (num_rows, 3) int32: volume slot, partition, view of each row.

        Rows run slot by slot, then view by view, then partition by partition: [a, ã, b, b̃, ...], each a
        block of `n_parts` rows; without partitions ã₀, â₀, ã₁, â₁, ...
        """
        grid = np.indices((self.num_slots, self.num_views, self.n_parts), dtype=np.int32).reshape(3, -1)
        return np.ascontiguousarray(grid[[0, 2, 1]].T)


def _check(kind: str, value: int, known: tuple[int, ...], bt_size: int, n_parts: int) -> None:
    problems = []
    if value not in known:
        problems.append(f"`{kind}` must be one of {', '.join(map(str, known))}. Received: {kind}={value}")
    if bt_size < 1:
        problems.append(f"`bt_size` must be at least 1. Received: bt_size={bt_size}")
    if n_parts < 1:
        problems.append(f"`n_parts` must be at least 1. Received: n_parts={n_parts}")
    if problems:
        raise ConfigError("\n".join(problems))


def _slots(bt_size: int, n_parts: int, *, slices_per_bt: int, least: int) -> int:
    """Returns bt_size * slices_per_bt / n_parts if that is a whole number of at least `least` volumes."""
    slices = bt_size * slices_per_bt
    if slices % n_parts == 0 and slices // n_parts >= least:
        return slices // n_parts
    step = n_parts // math.gcd(n_parts, slices_per_bt)
    smallest = step * math.ceil(least * n_parts / (slices_per_bt * step))
    below = max(bt_size // step * step, smallest)
    near = sorted({below, max(-(-bt_size // step) * step, smallest)})
    raise ConfigError(
        f"`bt_size`={bt_size} does not give {least} or more whole volumes of `n_parts`={n_parts} partitions "
        f"({slices} slices). Use --bt_size={' or '.join(map(str, near))}, or another --n_parts."
    )


def plan_global_batch(exp_no: int, bt_size: int, n_parts: int) -> BatchPlan:
    """Returns the plan of a batch for global pre-training.

    exp_no 0 (G^R): 2 augmented views of bt_size slices. 1 (G^D-): original and 2 augmented views of bt_size
    slices, bt_size / n_parts volumes. 2 (G^D): original and augmented view, 4 * bt_size rows, 2 * bt_size /
    n_parts volumes. 3, 4: original and 2 augmented views, about 4 * bt_size rows.

    Args:
        exp_no: Variant, 0 to 4.
        bt_size: The batch size of the command line.
        n_parts: Partitions of a volume; not used by variant 0.

    Raises:
        ConfigError: An unknown variant, or a `bt_size` that leaves a volume incomplete; the message names the
            nearest that do not.
    """
    _check("global_loss_exp_no", exp_no, GLOBAL_EXPERIMENTS, bt_size, n_parts)
    if exp_no == 0:
        return BatchPlan(bt_size, 1, num_views=2, include_original=False, use_partitions=False)
    if exp_no == 1:
        slots = _slots(bt_size, n_parts, slices_per_bt=1, least=1)
        return BatchPlan(slots, n_parts, num_views=3, include_original=True, use_partitions=True)
    if exp_no == 2:
        slots = _slots(bt_size, n_parts, slices_per_bt=2, least=2)
        return BatchPlan(slots, n_parts, num_views=2, include_original=True, use_partitions=True, draws=2)
    slots = max(2, round(4 * bt_size / (3 * n_parts)))
    return BatchPlan(slots, n_parts, num_views=3, include_original=True, use_partitions=True, draws=2)


def plan_local_batch(exp_no: int, bt_size: int, n_parts: int) -> BatchPlan:
    """Returns the plan of a batch for local pre-training.

    exp_no 0 (L^R): 2 views of bt_size slices. 1 (L^D): 2 views of bt_size slices, bt_size / n_parts volumes,
    2 at least.

    Args:
        exp_no: Variant, 0 or 1.
        bt_size: Slices of the batch.
        n_parts: Partitions of a volume; not used by variant 0.

    Raises:
        ConfigError: As for `plan_global_batch`.
    """
    _check("local_loss_exp_no", exp_no, LOCAL_EXPERIMENTS, bt_size, n_parts)
    if exp_no == 0:
        return BatchPlan(bt_size, 1, num_views=2, include_original=False, use_partitions=False)
    slots = _slots(bt_size, n_parts, slices_per_bt=1, least=2)
    return BatchPlan(slots, n_parts, num_views=2, include_original=False, use_partitions=True)
