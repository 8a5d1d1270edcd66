"""Batches for group contrastive training: groups of related slices, each from another patient.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763. Every slice is the anchor of one group: the anchor and, as chosen,
a neighbouring slice, another slice of its volume, another slice of its patient, all different. A batch of B slices
holds B / G groups of different patients; an epoch ends when too few patients have groups left.
Without partners batches are shuffled slices (SimCLR).

Everything drawn is a pure function of (seed, epoch, index).

Notes:
    Differs from the published code, which draws again until a partner is new and so never ends where a volume or
    patient has too few slices (here `ConfigError`), and takes the neighbour of a volume's only slice from the next
    volume. The law of the draws is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewslice.augment.group_views import group_view
from fewslice.core.errors import ConfigError
from fewslice.data.batches import generator
from fewslice.data.batches.contrastive import ContrastiveBatch, gather_slices
from fewslice.settings.group_contrastive import batch_size_problem

_PLAN = 2**31 - 2  # step numbers from which the batches of an epoch and their order are drawn; no training step
_ORDER = 2**31 - 3


@dataclass(frozen=True)
class GroupPlan:
    """Composition of a batch.

    Raises:
        ConfigError: B is no multiple of the group size, or leaves fewer than two groups.
    """

    batch_size: int  # B, slices of a batch; each gives two rows
    use_slice_pos: bool = False  # whether groups have a neighbouring slice
    use_phase: bool = False  # whether they have another slice of the volume
    use_patient: bool = False  # whether they have another slice of the patient

    def __post_init__(self):
        if problem := batch_size_problem(self.batch_size, self.group_size):
            raise ConfigError(problem)

    @property
    def group_size(self) -> int:
        """G, slices of a group."""
        return 1 + self.use_slice_pos + self.use_phase + self.use_patient

    @property
    def num_groups(self) -> int:
        """Groups of a batch."""
        return self.batch_size // self.group_size

    def ids(self) -> np.ndarray:
        """Returns (2B, 3) int32: image, group, position in the group; first views, then second views."""
        image = np.arange(self.batch_size, dtype=np.int32)
        return np.tile(np.stack([image, image // self.group_size, image % self.group_size], axis=-1), (2, 1))


class SliceHierarchy:
    """All slices in the order patient, volume, slice ("flat order"), and where each belongs.

    Args:
        depths: Slices of each volume, at least 1.
        patients: Patient of each volume; None: each volume has its own. A patient's volumes need not follow
            each other; patients keep the order of their first volume.
        names: Of the volumes, for messages.

    Attributes:
        sources: (N, 2) int64 volume index, slice index.
        patient: (N,) int64 number of the patient, ascending.
        volume_first, volume_size: (N,) int64 first slice of the volume in flat order, number of its slices.
        patient_first, patient_size: (N,) int64 the same of the patient.
        num_patients: Patients.
    """

    def __init__(
        self, depths: Sequence[int], patients: Sequence[Hashable] | None = None, *, names: Sequence[str] | None = None
    ):
        patients = list(range(len(depths)) if patients is None else patients)
        if not len(depths) or min(depths) < 1 or len(patients) != len(depths):
            raise ConfigError(
                "Groups need volumes with slices, and one patient for each volume. "
                f"Received: {len(depths)} volumes, {len(patients)} patients, depths {list(depths)[:10]}"
            )
        self.names = list(names) if names is not None else [f"volume {index}" for index in range(len(depths))]
        number = {patient: index for index, patient in enumerate(dict.fromkeys(patients))}
        of_volume = np.array([number[patient] for patient in patients])
        order = np.argsort(of_volume, kind="stable")
        sizes = np.asarray(depths)[order]
        first = np.cumsum(sizes) - sizes
        self.num_patients = len(number)
        self.volume_first, self.volume_size = np.repeat(first, sizes), np.repeat(sizes, sizes)
        index = np.arange(sizes.sum()) - self.volume_first
        self.sources = np.stack([np.repeat(order, sizes), index], axis=-1)
        self.patient = np.repeat(of_volume[order], sizes)
        per_patient = np.bincount(self.patient)
        self.patient_first = (np.cumsum(per_patient) - per_patient)[self.patient]
        self.patient_size = per_patient[self.patient]

    def __len__(self) -> int:
        return len(self.sources)

    def check(self, plan: GroupPlan) -> None:
        """Raises `ConfigError` if some slice has too few others for its group, or a batch too few patients."""
        problems = []
        in_volume = 1 + plan.use_slice_pos + plan.use_phase
        short = self.volume_size < in_volume
        if short.any():
            problems.append(
                f"a group takes {in_volume} different slices of a volume, but there are fewer in "
                f"{self._named(short)}; leave these out of the split, or out of the groups use_slice_pos or use_phase"
            )
        short = (self.patient_size < plan.group_size) & ~short if plan.use_patient else np.zeros(len(self), bool)
        if short.any():
            problems.append(
                f"a group takes {plan.group_size} different slices of a patient, but there are fewer in the "
                f"volumes of the patient of {self._named(short)}; leave these out of the split, or use smaller groups"
            )
        if plan.group_size > 1 and plan.num_groups > self.num_patients:
            size = self.num_patients * plan.group_size
            remedy = f"batch_size={size} or less, or more patients" if self.num_patients > 1 else "more patients"
            problems.append(
                f"a batch takes {plan.num_groups} different patients, but there are {self.num_patients}; use {remedy}"
            )
        if plan.group_size == 1 and len(self) < plan.batch_size:
            problems.append(f"a batch takes {plan.batch_size} slices, but there are {len(self)}; use fewer")
        if problems:
            raise ConfigError("\n".join(f"Groups cannot be made: {problem}." for problem in problems))

    def _named(self, mask: np.ndarray) -> str:
        volumes = list(dict.fromkeys(self.sources[mask, 0].tolist()))
        more = f" and {len(volumes) - 5} others" if len(volumes) > 5 else ""
        return ", ".join(self.names[volume] for volume in volumes[:5]) + more


def draw_groups(rng: np.random.Generator | int, hierarchy: SliceHierarchy, plan: GroupPlan) -> np.ndarray:
    """Draws the group of every slice: for all the neighbours, then the volume partners, then the patient partners.

    Returns:
        (N, G) int64 positions in flat order: anchor, neighbour, volume partner, patient partner. All of a row
        are different.

    Raises:
        ConfigError: See `SliceHierarchy.check`.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    hierarchy.check(plan)
    anchor = np.arange(len(hierarchy))
    members = anchor[:, None]
    if plan.use_slice_pos:
        step = 2 * rng.integers(2, size=len(anchor)) - 1
        step = np.where(anchor == hierarchy.volume_first, 1, step)
        step = np.where(anchor == hierarchy.volume_first + hierarchy.volume_size - 1, -1, step)
        members = np.column_stack([members, anchor + step])
    for is_used, first, size in (
        (plan.use_phase, hierarchy.volume_first, hierarchy.volume_size),
        (plan.use_patient, hierarchy.patient_first, hierarchy.patient_size),
    ):
        if is_used:
            members = np.column_stack([members, _draw_others(rng, members, first, size)])
    return members


def _draw_others(rng: np.random.Generator, members: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Draws for each row a number of [first, first + size) that is none of its members, which all lie there."""
    drawn = first + rng.integers(size - members.shape[1])
    for taken in np.sort(members, axis=1).T:  # the r-th free number: step over those taken, in ascending order
        drawn += drawn >= taken
    return drawn


def draw_batches(rng: np.random.Generator | int, hierarchy: SliceHierarchy, plan: GroupPlan) -> np.ndarray:
    """Draws the batches of an epoch, in random order.

    Returns:
        (batches, B) int64 positions in flat order, group after group; at least one batch. With groups all
        of a batch are of different patients, and each slice is an anchor once at most.

    Raises:
        ConfigError: See `SliceHierarchy.check`.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    groups = draw_groups(rng, hierarchy, plan)
    if plan.group_size == 1:
        count = len(hierarchy) // plan.batch_size
        return rng.permutation(len(hierarchy))[: count * plan.batch_size].reshape(count, -1)
    anchors = rng.permutation(len(hierarchy))
    anchors = anchors[np.argsort(hierarchy.patient[anchors], kind="stable")]  # patient by patient, shuffled within
    left = np.bincount(hierarchy.patient)
    first = np.cumsum(left) - left
    batches = []
    while len(live := np.flatnonzero(left)) >= plan.num_groups:
        chosen = rng.permutation(live)[: plan.num_groups]
        left[chosen] -= 1
        batches.append(anchors[first[chosen] + left[chosen]])
    order = rng.permutation(len(batches))
    return groups[np.array(batches)[order]].reshape(len(batches), plan.batch_size)


class GroupSampler:
    """The batches of all epochs; that of a step depends on the seed and its number only.

    Args:
        hierarchy, plan: The slices, and the composition of a batch.
        reset_every_epoch: Whether each epoch draws new groups and batches, whose number then varies by about 1%;
            otherwise the batches of the first come in a new order. Without groups they are always new.

    Raises:
        ConfigError: See `SliceHierarchy.check`.
    """

    def __init__(self, hierarchy: SliceHierarchy, plan: GroupPlan, *, seed: int, reset_every_epoch: bool = False):
        self.hierarchy, self.plan, self.seed = hierarchy, plan, seed
        self.reset_every_epoch = reset_every_epoch or plan.group_size == 1
        self._lock = threading.Lock()  # steps are prepared in one thread and described in another
        self._kept: tuple[int, np.ndarray] | None = None
        self._ends: list[int] = []
        self.batches(0)

    def batches(self, epoch: int) -> np.ndarray:
        """Returns (batches, B) int64, the batches of an epoch in flat order."""
        with self._lock:
            drawn = self._drawn(epoch if self.reset_every_epoch else 0)
        if self.reset_every_epoch:
            return drawn
        return drawn[generator(self.seed, epoch, _ORDER).permutation(len(drawn))]

    def at_step(self, step: int) -> tuple[int, np.ndarray]:
        """Returns the epoch of a step, counted from 0, and (B, 2) int64: volume index, slice index of its slices."""
        epoch, index = self._place(step)
        return epoch, self.hierarchy.sources[self.batches(epoch)[index]]

    def _place(self, step: int) -> tuple[int, int]:
        """Returns the epoch of a step and its number in the epoch."""
        if not self.reset_every_epoch or self.plan.group_size == 1:
            return divmod(step, len(self.batches(0)))
        with self._lock:
            while not self._ends or self._ends[-1] <= step:
                length = len(self._drawn(len(self._ends)))
                self._ends.append(length + (self._ends[-1] if self._ends else 0))
            epoch = int(np.searchsorted(self._ends, step, side="right"))
            return epoch, step - (self._ends[epoch - 1] if epoch else 0)

    def _drawn(self, epoch: int) -> np.ndarray:
        """Draws the batches of an epoch, or returns them if they were the last to be drawn."""
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, draw_batches(generator(self.seed, epoch, _PLAN), self.hierarchy, self.plan)
        return self._kept[1]


def group_batch(
    rng: np.random.Generator | int, volumes: Sequence[Any], sources: np.ndarray, plan: GroupPlan
) -> ContrastiveBatch:
    """Makes the two views of a batch, the first ones first, from `sources` (B, 2) of `GroupSampler.at_step`.

    Returns:
        2B rows, with ids image, group, position in the group.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    images = gather_slices(volumes, sources)
    views = [group_view(rng, images) for _ in range(2)]
    return ContrastiveBatch(np.concatenate(views), plan.ids(), np.tile(sources, (2, 1)).astype(np.int32))
