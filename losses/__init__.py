"""Keras losses, one per file; see README.md in this folder."""

from __future__ import annotations

import importlib
import pkgutil

from losses.registry import LOSSES, register

# Every module of the package is imported, so that a new file registers its loss by being there.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from losses.copy_paste import CopyPaste  # noqa: E402
from losses.cross_entropy import CrossEntropy  # noqa: E402
from losses.cross_entropy_dice import CrossEntropyDice  # noqa: E402
from losses.dice import Dice  # noqa: E402
from losses.dynamic_pseudo_label import DynamicPseudoLabel, mixing_targets  # noqa: E402
from losses.global_contrastive import GlobalContrastive, row_layout  # noqa: E402
from losses.group_contrastive import GroupContrastive, group_row_layout  # noqa: E402
from losses.local_contrastive import LocalContrastive, local_row_layout  # noqa: E402
from losses.local_regions import RegionTable, region_table  # noqa: E402
from losses.mixture import Mixture  # noqa: E402
from losses.partial_cross_entropy import PartialCrossEntropy  # noqa: E402
from losses.pixel_contrastive import PixelContrastive, pixel_targets  # noqa: E402
from losses.segmentation import segmentation_loss  # noqa: E402
from losses.strong_segmentation import StrongSegmentation  # noqa: E402
from losses.vae import Vae  # noqa: E402
from losses.weak_to_strong import WeakToStrong  # noqa: E402

get = LOSSES.get
names = LOSSES.names

__all__ = [
    "LOSSES",
    "CopyPaste",
    "CrossEntropy",
    "CrossEntropyDice",
    "Dice",
    "DynamicPseudoLabel",
    "GlobalContrastive",
    "GroupContrastive",
    "LocalContrastive",
    "Mixture",
    "PartialCrossEntropy",
    "PixelContrastive",
    "RegionTable",
    "Vae",
    "StrongSegmentation",
    "WeakToStrong",
    "get",
    "group_row_layout",
    "local_row_layout",
    "mixing_targets",
    "names",
    "pixel_targets",
    "region_table",
    "register",
    "row_layout",
    "segmentation_loss",
]
