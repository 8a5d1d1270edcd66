"""Members that see the same labels and start from other weights: a deep ensemble."""

from __future__ import annotations

from fewslice.active.labels import Labels
from fewslice.learner.members import MEMBERS

_BETWEEN = 100_003


@MEMBERS.register("seeds")
def seeds(member: int, count: int, seed: int, labels: Labels) -> tuple[int, Labels]:
    """Returns a seed of its own for each member; experiments with neighbouring seeds share none of them."""
    return seed + member * _BETWEEN, labels
