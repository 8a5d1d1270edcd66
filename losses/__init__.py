"""Keras losses, one per file; see README.md in this folder."""
# ruff: noqa: E402, F401  what is imported here is what `losses` offers

from __future__ import annotations

import importlib
import pkgutil

from losses.registry import LOSSES, register

# Every module of the package is imported, so that a new file registers its loss by being there.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from losses.copy_paste import CopyPaste
from losses.cross_entropy import CrossEntropy
from losses.cross_entropy_dice import CrossEntropyDice
from losses.dice import Dice
from losses.dynamic_pseudo_label import DynamicPseudoLabel, mixing_targets
from losses.global_contrastive import GlobalContrastive, row_layout
from losses.group_contrastive import GroupContrastive, group_row_layout
from losses.local_contrastive import LocalContrastive, local_row_layout
from losses.local_regions import RegionTable, region_table
from losses.mixture import Mixture
from losses.partial_cross_entropy import PartialCrossEntropy
from losses.pixel_contrastive import PixelContrastive, pixel_targets
from losses.segmentation import segmentation_loss
from losses.strong_segmentation import StrongSegmentation
from losses.vae import Vae
from losses.weak_to_strong import WeakToStrong

get = LOSSES.get
names = LOSSES.names
