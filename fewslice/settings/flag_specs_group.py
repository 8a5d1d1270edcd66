"""The command-line flags of group contrastive training; defaults are the published configuration for ACDC.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763. Names are those of the published configuration files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fewslice.settings.flag_kinds import Spec, choice, integer, not_negative, one_of, positive

ENCODERS = {"resnet18": 18, "resnet50": 50}  # name -> depth


def positions(text: str) -> tuple[int, ...]:
    """Returns the positions in the group that a mask names: "2,3" -> (2, 3), "" -> ()."""
    return tuple(int(part) for part in text.split(",") if part)


def _mask(default: str, number: int) -> Spec:
    text = (
        f"Positions in the group that group-positive term {number} leaves out, separated by commas. The anchor is 0, "
        "its partners follow in the order neighbour, volume, patient, as far as they are on."
    )
    must = "positions from 0 to 3 separated by commas, such as 2,3, or empty"
    return Spec("string", default, text, lambda value: re.fullmatch(r"|[0-3](,[0-3])*", value) is not None, must)


def _term(default: float, number: int) -> Spec:
    return not_negative(default, f"Weight of group-positive term {number}: rows of a group are drawn together.")


GROUP_SPECS: Mapping[str, Spec] = {
    "encoder": one_of("resnet18", "Network: resnet18 or resnet50.", *ENCODERS),
    "projection_dim": integer(64, "Numbers per slice that the loss compares.", 1),
    "temperature": positive(0.5, "Temperature of every term of the group contrastive loss."),
    "lr": positive(3e-4, "Learning rate (Adam)."),
    "weight_decay": not_negative(1e-6, "L2 decay of every weight, added to its gradient."),
    "batch_size": integer(9, "Slices per step, each in two views; a multiple of the group's size.", 2),
    "loss_wt": not_negative(1.0, "Weight of NT-Xent: two views of a slice against all other rows."),
    "neg_loss_wt": not_negative(0.0, "Weight of NT-Xent against the rows of other groups only."),
    "pos_loss1_wt": _term(0.35, 1),
    "pos_loss2_wt": _term(0.05, 2),
    "pos_loss3_wt": _term(0.0, 3),
    "pos_loss1_mask": _mask("2", 1),
    "pos_loss2_mask": _mask("", 2),
    "pos_loss3_mask": _mask("", 3),
    "positives": one_of(
        "group",
        "Positives of the group-positive terms: group (the rows of the group that the mask leaves) or all (every other "
        "row of the batch whatever the mask, as the published code).",
        "group",
        "all",
    ),
    "use_slice_pos": choice(0, "1 puts a neighbouring slice into every group.", 0, 1),
    "use_phase": choice(1, "1 puts another slice of the volume into every group.", 0, 1),
    "use_patient": choice(1, "1 puts another slice of the patient, of any phase, into every group.", 0, 1),
    "reset_sampler_every_epoch": choice(
        0, "1 draws new groups for every epoch; 0 keeps those of the first and changes the order of the batches.", 0, 1
    ),
}
