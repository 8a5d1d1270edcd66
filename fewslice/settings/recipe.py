"""The two recipes of a training: the published one, and one that is planned for the images.

A recipe is a set of defaults of flags; a flag on the command line always counts, so that each ingredient can be
switched off or on by itself: `--recipe=planned --average_decay=0`, `--recipe=published --normalisation=instance`.

Source: Isensee et al., 2021, nnU-Net, https://doi.org/10.1038/s41592-020-01008-z, for the rules of depth and width, the
loss, the schedule and the augmentation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from absl import logging

from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.declare import settings_of

Flags = TypeVar("Flags")
PUBLISHED, PLANNED, MIRRORING = "published", "planned", "mirroring"
TRANSFORMS = (
    "rotation", "scaling", MIRRORING, "noise", "blur", "brightness", "contrast", "bias_field", "low_resolution",
    "gamma", "inverted_gamma",
)  # fmt: skip
FIRST_WIDTH, MOST_WIDTH = 16, 256
COARSEST = 6  # pixels of the coarsest level at least
CHOOSING = 5  # validation patients from which on validation chooses the weights
_SIDES = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)")


def planned(dataset: DatasetConfig, val_ids: Sequence[str]) -> dict[str, Any]:
    """Returns flag -> value of the planned recipe, for prepared slices of this size and these structures."""
    return {
        "unet": ",".join(map(str, widths(dataset.size))),
        "normalisation": "instance",
        "dsc_loss": 3,
        "augment": ",".join(transforms(dataset.struct_name)),
        "deep_supervision": 1,
        "oversample": 0.33,
        "lr_schedule": "polynomial",
        "average_decay": 0.99,
        "keep": "best" if len(val_ids) >= CHOOSING else "last",
        "mirroring": int(MIRRORING in transforms(dataset.struct_name)),
    }


def widths(size: Sequence[int]) -> tuple[int, ...]:
    """Returns the channels of each level: sides are halved while 6 pixels or more are left, widths doubled.

    >>> widths((96, 96)), widths((192, 256))
    ((16, 32, 64, 128, 256), (16, 32, 64, 128, 256, 256))
    """
    side, found = min(size), [FIRST_WIDTH]
    while side % 2 == 0 and side // 2 >= COARSEST:
        side //= 2
        found.append(min(2 * found[-1], MOST_WIDTH))
    return tuple(found)


def transforms(structures: Sequence[str]) -> tuple[str, ...]:
    """Returns the transforms of the planned augmentation: no mirroring where names tell left from right."""
    has_sides = any(_SIDES.search(name.lower()) for name in structures)
    return tuple(name for name in TRANSFORMS if not (has_sides and name == MIRRORING))


def filled(args: Flags, dataset: DatasetConfig) -> Flags:
    """Returns flags with the recipe's values for those that are not on the command line."""
    known = settings_of(type(args))
    if "recipe" not in known:
        return args
    recipe = args.recipe or dataset.recipe
    if recipe == PUBLISHED:
        return dataclasses.replace(args, recipe=recipe)
    values = {name: value for name, value in planned(dataset, args.val_ids).items() if name in known}
    used = {name: value for name, value in values.items() if not args.is_given(name) and not args.no_effect(name)}
    return dataclasses.replace(args, recipe=recipe, **used)


def as_planned(args: Any, dataset: DatasetConfig) -> dict[str, Any]:
    """Returns flag -> value of those that are as planned; {} with the published recipe."""
    if getattr(args, "recipe", None) != PLANNED:
        return {}
    values = planned(dataset, args.val_ids).items()
    return {name: value for name, value in values if getattr(args, name, None) == value}


def describe(args: Any, dataset: DatasetConfig) -> None:
    """Logs the recipe of a training, and where flags differ from it."""
    if args.recipe == PLANNED:
        names = [name for name in planned(dataset, args.val_ids) if hasattr(args, name)]
        others = [name for name in names if name not in as_planned(args, dataset)]
        logging.info("Recipe: planned: %s.", ", ".join(f"{name} {getattr(args, name)}" for name in names))
        if others:
            logging.info("Not as planned, but as asked for: %s.", ", ".join(others))
    else:
        logging.info("Recipe: published; the other one, for few labels, is --recipe=planned (docs/baseline.md).")
