"""The settings of group contrastive training, for the flags of its script and for experiments of active learning.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763. Names and defaults are those of the published configuration for
ACDC.
"""

import re
from typing import Annotated, Literal

from annotated_types import Ge

from fewslice.core.errors import ConfigError
from fewslice.settings.declare import Count, Help, Must, NotNegative, Positive, Switch, declared

ENCODERS = {"resnet18": 18, "resnet50": 50}  # name -> depth
TERMS = (1, 2, 3)  # the group-positive terms
PARTNERS = ("use_slice_pos", "use_phase", "use_patient")  # in the order of their positions in a group

Mask = Annotated[
    str,
    Must(
        lambda value: re.fullmatch(r"|[0-3](,[0-3])*", value) is not None,
        "positions from 0 to 3 separated by commas, such as 2,3, or empty",
    ),
]


def _weight(number: int) -> Help:
    return Help(f"Weight of group-positive term {number}: rows of a group are drawn together.")


def _mask(number: int) -> Help:
    return Help(
        f"Positions in the group that group-positive term {number} leaves out, separated by commas. The anchor is 0, "
        "its partners follow in the order neighbour, volume, patient, as far as they are on."
    )


@declared
class GroupContrastive:
    """The encoder, the terms of its loss, and what its batches are made of."""

    encoder: Annotated[Literal["resnet18", "resnet50"], "Network: resnet18 or resnet50."] = "resnet18"
    projection_dim: Annotated[Count, "Dimension of the projection head's output."] = 64
    temperature: Annotated[Positive, "Temperature of every term of the group contrastive loss."] = 0.5
    lr: Annotated[Positive, "Learning rate (Adam)."] = 3e-4
    weight_decay: Annotated[NotNegative, "L2 decay of every weight, added to its gradient."] = 1e-6
    batch_size: Annotated[int, Ge(2), "Slices per step, each in two views; a multiple of the group's size."] = 9
    loss_wt: Annotated[NotNegative, "Weight of NT-Xent: two views of a slice against all other rows."] = 1.0
    neg_loss_wt: Annotated[NotNegative, "Weight of NT-Xent against the rows of other groups only."] = 0.0
    pos_loss1_wt: Annotated[NotNegative, _weight(1)] = 0.35
    pos_loss2_wt: Annotated[NotNegative, _weight(2)] = 0.05
    pos_loss3_wt: Annotated[NotNegative, _weight(3)] = 0.0
    pos_loss1_mask: Annotated[Mask, _mask(1)] = "2"
    pos_loss2_mask: Annotated[Mask, _mask(2)] = ""
    pos_loss3_mask: Annotated[Mask, _mask(3)] = ""
    positives: Annotated[
        Literal["group", "all"],
        "Positives of the group-positive terms: group (the rows of the group that the mask leaves) or all (every "
        "other row of the batch whatever the mask, as the published code).",
    ] = "group"
    use_slice_pos: Annotated[Switch, "1 puts a neighbouring slice into every group."] = 0
    use_phase: Annotated[Switch, "1 puts another slice of the volume into every group."] = 1
    use_patient: Annotated[Switch, "1 puts another slice of the patient, of any phase, into every group."] = 1
    reset_sampler_every_epoch: Annotated[
        Switch, "1 draws new groups for every epoch; 0 keeps those of the first and changes the order of the batches."
    ] = 0

    @property
    def partners(self) -> tuple[str, ...]:
        """The partners of an anchor that are on, in the order of their positions in the group."""
        return tuple(name for name in PARTNERS if getattr(self, name))

    @property
    def group_size(self) -> int:
        """Slices of a group."""
        return 1 + len(self.partners)

    def positive_terms(self) -> dict[int, tuple[float, tuple[int, ...]]]:
        """Returns the group-positive terms with a weight: number -> (weight, positions that the term leaves out)."""
        found = {}
        for number in TERMS:
            mask = getattr(self, f"pos_loss{number}_mask")
            weight = getattr(self, f"pos_loss{number}_wt")
            if weight:
                found[number] = weight, tuple(int(part) for part in mask.split(",") if part)
        return found

    def check(self, dash: str = "--") -> None:
        """Checks what settings demand of each other; `dash` stands before their names in messages.

        Raises:
            ConfigError: all problems, one per line.
        """
        if problems := self.problems(dash):
            raise ConfigError("\n".join(problems.values()))

    def problems(self, dash: str = "") -> dict[str, str]:
        """Returns setting -> what is wrong with it beside the others; see `check`."""
        found = {}
        names = ("neg_loss_wt", *(f"pos_loss{number}_wt" for number in TERMS))
        weighted = [name for name in names if getattr(self, name)]
        off = " ".join(f"{dash}{name}=0" for name in weighted or self.partners)
        if not weighted and not self.loss_wt:
            text = "All terms of the loss have the weight 0. Give {}loss_wt=1, or a weight of a group term."
            found["loss_wt"] = text.format(dash)
        if weighted and not self.partners:
            given = ", ".join(f"{dash}{name}={getattr(self, name)}" for name in weighted)
            found[weighted[0]] = (
                f"{given}: a group term needs groups, and no partner is on. For SimCLR give {off}; else "
                f"{dash}use_slice_pos=1, {dash}use_phase=1 or {dash}use_patient=1."
            )
        if self.partners and not weighted:
            given = ", ".join(f"{dash}{name}=1" for name in self.partners)
            found[self.partners[0]] = (
                f"{given}: groups have no effect where no group term has a weight. For SimCLR give {off}; else a "
                f"weight, such as {dash}pos_loss1_wt=0.35."
            )
        size = self.group_size
        if text := batch_size_problem(self.batch_size, size):
            found["batch_size"] = text
        for number, (_, mask) in self.positive_terms().items() if self.positives == "group" else ():
            if set(range(size)) <= set(mask) and self.partners:
                name = f"pos_loss{number}_mask"
                found[name] = (
                    f"{dash}{name}={getattr(self, name)} leaves out all {size} positions of a group: its term compares "
                    f"nothing. Name fewer, or give {dash}pos_loss{number}_wt=0."
                )
        return found


def batch_size_problem(batch_size: int, group_size: int) -> str:
    """Returns the mistake in the batch size for groups, "" if it is two whole groups or more."""
    if batch_size % group_size == 0 and batch_size >= 2 * group_size:
        return ""
    near = sorted({max(count, 2) * group_size for count in (batch_size // group_size, -(-batch_size // group_size))})
    return (
        f"`batch_size` must be a multiple of the group size, {group_size}, and at least {2 * group_size}. "
        f"Received: {batch_size}. Use {' or '.join(map(str, near))}."
    )
