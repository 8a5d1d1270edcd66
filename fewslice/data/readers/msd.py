"""Medical Segmentation Decathlon and nnU-Net raw folders.

dataset.json
imagesTr/hippocampus_001.nii.gz        nnU-Net: hippocampus_001_0000.nii.gz, one file per channel
labelsTr/hippocampus_001.nii.gz
imagesTs/...                           read as unlabelled volumes (nnU-Net: labelled if labelsTs/ has a file)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewslice.core.errors import DataError
from fewslice.data.readers.base import READERS, image_stem
from fewslice.data.readers.paired_folders import PairedFoldersReader, read_info
from fewslice.data.volume import Case

TEST_IMAGES = "imagesTs"  # the official test images


@READERS.register("msd")
class MsdReader(PairedFoldersReader):
    """Reads MSD and nnU-Net raw folders; the case id is the file's stem. Checks `labels` of dataset.json."""

    expects = "imagesTr/, labelsTr/ and dataset.json, as in the Medical Segmentation Decathlon or nnU-Net raw"

    def _find(self) -> list[Case]:
        path = self.folder / "dataset.json"
        if not os.path.lexists(path):
            raise DataError(path, expected=self.expects, found="no dataset.json", remedy=self.dataset.how_to_get)
        info = read_info(path)
        self._check_labels(path, label_names(path, info))
        has_test = (self.folder / TEST_IMAGES).is_dir() and self.dataset.images_dir != TEST_IMAGES
        own = (self.dataset.images_dir, self.dataset.labels_dir)
        cases = self._pairs(own, *([(TEST_IMAGES, "labelsTs")] if has_test else []))
        return cases + self._listed_but_missing(info, {case.case_id for case in cases})

    def _check_labels(self, path: Path, codes: Mapping[int, str]) -> None:
        """Compares the codes that dataset.json names with `label_map` and `num_classes`."""
        known = {0: 0, **dict(self.dataset.label_map)} if self.dataset.label_map else {}
        classes = [known.get(code) for code in codes] if known else sorted(codes)
        listed = ", ".join(f"{code} {name}" for code, name in sorted(codes.items()))
        if None in classes:
            unknown = ", ".join(str(code) for code in sorted(codes.keys() - known.keys()))
            expected = "a class for each label in `label_map`"
            found = f"none for {unknown} (the file lists {listed})"
        elif set(classes) != set(range(self.dataset.num_classes)):
            expected = f"labels for the {self.dataset.num_classes} classes 0 to {self.dataset.num_classes - 1}"
            found = listed
        else:
            return
        remedy = "Set `num_classes` and `label_map` of the dataset to these labels."
        if any("ignore" in name.lower() for name in codes.values()):
            remedy += " Masks with an ignore label cannot be read as full masks."
        raise DataError(path, expected=expected, found=found, remedy=remedy)

    def _listed_but_missing(self, info: Mapping[str, Any], found: set[str]) -> list[Case]:
        """Returns cases for files that dataset.json lists and the folder lacks: reading them says so."""
        cases = []
        for item in info.get("training", ()):
            if not isinstance(item, Mapping) or not isinstance(item.get("image"), str):
                continue
            image = self.folder / item["image"]
            stem = image_stem(image)
            if stem and stem not in found and stem.removesuffix("_0000") not in found:
                label = self.folder / item["label"] if isinstance(item.get("label"), str) else None
                cases.append(self._case(stem, image, label))
        return cases


def label_names(path: Path, info: Mapping[str, Any]) -> dict[int, str]:
    """Returns code -> name from either form of `labels`: {"0": "background"} or {"background": 0}.

    Raises:
        DataError: `labels` is missing, has several codes for a name, or one code twice.
    """
    labels = info.get("labels")
    items = list(labels.items()) if isinstance(labels, Mapping) else []
    pairs = [(value, key) if _is_code(value) else (key, value) for key, value in items]
    if not pairs or not all(_is_code(code) and isinstance(name, str) for code, name in pairs):
        expected = '`labels` such as {"0": "background", "1": "heart"} or {"background": 0, "heart": 1}'
        remedy = "Give one integer per label (nnU-Net's region-based labels are not supported)."
        raise DataError(path, expected=expected, found=f"labels = {json.dumps(labels)[:200]}", remedy=remedy)
    codes = {int(code): name for code, name in pairs}
    if len(codes) != len(pairs):
        found = f"labels = {json.dumps(labels)[:200]}"
        raise DataError(path, expected="a different code for each label", found=found, remedy="Correct `labels`.")
    return codes


def _is_code(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int) and not isinstance(value, bool)
