"""The segmentation loss that `--dsc_loss` names."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from losses import checks
from losses.cross_entropy import CrossEntropy
from losses.dice import Dice
from losses.mixture import Mixture

DSC_LOSSES = {
    0: "weighted cross-entropy",
    1: "Dice without background",
    2: "Dice with background",
    3: "Dice with background + cross-entropy",
    4: "Dice without background + weighted cross-entropy",
}


def segmentation_loss(dsc_loss: int = 2, class_weights: Sequence[float] | None = None) -> keras.losses.Loss:
    """Returns the loss number `dsc_loss`; see `DSC_LOSSES`.

    All take one-hot or soft labels and logits of shape (batch, ..., class).

    Args:
        dsc_loss: 0 to 4.
        class_weights: One number per class; needed by 0 and 4 and not used by the others.

    Raises:
        ValueError: If the number is unknown or the weights are missing.

    Notes:
        In the published code every number but 1 and 2 means weighted cross-entropy; here an unknown number is
        an error.
    """
    checks.one_of("dsc_loss", dsc_loss, DSC_LOSSES)
    if dsc_loss in (0, 4) and class_weights is None:
        raise ValueError(
            f"`class_weights` must be given for dsc_loss={dsc_loss} ({DSC_LOSSES[dsc_loss]}); set them in "
            "the configuration of the data set. Received: class_weights=None"
        )
    if dsc_loss == 0:
        return CrossEntropy(class_weights, name="weighted_cross_entropy")
    dice = Dice(with_background=dsc_loss in (2, 3), name="dice")
    if dsc_loss in (1, 2):
        return dice
    return Mixture([dice, CrossEntropy(class_weights if dsc_loss == 4 else None)], name="dice_cross_entropy")
