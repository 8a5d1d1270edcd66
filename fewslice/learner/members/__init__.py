"""How the networks of a round differ. One way per file.

A file here, or a plugin, registers a function under the name that experiments use (`members: {kind: seeds}`). It gets
the member's number, how many there are, the experiment's seed and what is annotated, and returns the seed of the member
and the labels that it is trained on.
"""

from __future__ import annotations

from collections.abc import Callable

from fewslice.active.labels import Labels
from fewslice.core.registry import Registry

MEMBERS = Registry("kind of members", __name__)
Kind = Callable[[int, int, int, Labels], tuple[int, Labels]]
