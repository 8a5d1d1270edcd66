"""How the networks of a round differ.

A function here, or in a plugin, is registered under the name that experiments use (`members: {kind: seeds}`). It gets
the member's number, how many there are, the experiment's seed and what is annotated, and returns the seed of the member
and the labels that it is trained on.
"""

from __future__ import annotations

from fewslice.active.labels import Labels
from fewslice.core.registry import Registry

MEMBERS = Registry("kind of members")
_BETWEEN = 100_003


@MEMBERS.register("seeds")
def seeds(member: int, count: int, seed: int, labels: Labels) -> tuple[int, Labels]:
    """A deep ensemble: returns a seed of its own for each member; neighbouring seeds of experiments share none."""
    return seed + member * _BETWEEN, labels
