"""Group contrastive training: what a batch is made of, and which slices belong to which volume and patient.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.settings.group_contrastive import batch_size_problem


@dataclass(frozen=True)
class GroupPlan:
    """What a batch is made of.

    Attributes:
        batch_size: B, slices of a batch; each gives two rows.
        use_slice_pos: Whether groups have a neighbouring slice.
        use_phase: Whether they have another slice of the volume.
        use_patient: Whether they have another slice of the patient.

    Raises:
        ConfigError: B is no multiple of the group size, or leaves fewer than two groups.
    """

    batch_size: int
    use_slice_pos: bool = False
    use_phase: bool = False
    use_patient: bool = False

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
        names: What to call the volumes in messages.

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
