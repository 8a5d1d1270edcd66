"""How a setting is declared: once, as a field of a frozen dataclass, with type, range, default and help.

    @declared
    class Baseline:
        lr_seg: Annotated[float, Gt(0), Help("Learning rate (Adam).")] = 0.001

Command-line flags are made from such classes without importing pydantic, so that `--help` answers at once
(`fewslice.settings.flags`); files are checked against the same classes by pydantic (`fewslice.settings.yaml`).
"""

from __future__ import annotations

import dataclasses
from typing import dataclass_transform


@dataclasses.dataclass(frozen=True)
class Help:
    """What a setting is for, and what it takes part in; stands in the `Annotated` type of a field.

    Attributes:
        text: For `--help` and the tables of the documentation.
        in_digest: Whether the value decides what a run computes.
        finds_upstream: Whether the value only finds the run of the stage before.
        no_effect: Why the value changes nothing, "" if it does.
    """

    text: str
    in_digest: bool = True
    finds_upstream: bool = False
    no_effect: str = ""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def declared(cls: type) -> type:
    """Makes a class a frozen dataclass, all of whose fields are given by name; files may hold no other keys."""
    made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    made.__pydantic_config__ = {"extra": "forbid", "strict": True}
    return made
