"""Which folders hold the images and labels of a new dataset, and whether they belong together.

Everything that names alone can show is checked here, before a voxel is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.data.io.access import readable
from fewslice.data.readers.base import nifti_stem, visible
from fewslice.data.readers.selection import few

_PATIENT = re.compile(r"patient\d+", re.IGNORECASE)


def locate(images: Path, labels: Path | None, *, images_only: bool = False) -> tuple[str, tuple[str, ...]]:
    """Returns the layout and its folders: (images, labels), or the one folder that holds everything.

    Args:
        images: What `--images` says.
        labels: What `--labels` says, None if it is not given.
        images_only: There are no labels, or none that shall count. The second folder is then the one where labels may
            be put later; it need not exist.

    Raises:
        DataError: a folder that is not there or is a file, holds no NIfTI file, is raw although `--labels` is given,
            or images and labels none of which have the same name.
    """
    images = _folder(images, "images")
    with readable(images):
        raw = _raw_kind(images)
        if labels is not None:
            labels = _folder(labels, "labels")
            if raw and not _stems(images):
                inner = f", or give --images={images / 'imagesTr'} with --labels" if "imagesTr" in raw else ""
                raise DataError(
                    images,
                    expected=f"image files, since --labels={labels} is given",
                    found=f"a raw folder ({raw}), which holds its own labels",
                    remedy=f"Leave out --labels{inner}.",
                )
            _check_pair(images, labels)
            return "paired_folders", (str(images), str(labels))
        if raw == "patient folders":
            return "acdc", (str(images),)
        if images_only:
            images = images / "imagesTr" if (images / "imagesTr").is_dir() else images
            _check_files(images, "image")
            return "paired_folders", (str(images), f"{images}_labels")
        if raw:
            _check_pair(images / "imagesTr", images / "labelsTr")
            if (images / "dataset.json").is_file():
                return "msd", (str(images),)
            return "paired_folders", (str(images / "imagesTr"), str(images / "labelsTr"))
    raise DataError(
        images,
        expected="imagesTr/ and labelsTr/ (MSD, nnU-Net) or folders patient001, ... (ACDC), as there is no --labels",
        found=_content(images),
        remedy="Give the folder of the labels with --labels, say --images_only if there are none, or correct --images.",
    )


def _folder(path: Path, flag: str) -> Path:
    folder = Path(os.path.normpath(path.absolute()))
    with readable(folder):
        if folder.is_dir():
            return folder
        is_file = folder.exists()
    remedy = f"Give the folder that holds it: --{flag}={path.parent}" if is_file else f"Correct --{flag}={path}."
    found = "a file" if is_file else "no such folder"
    raise DataError(folder, expected=f"a folder of {flag} (`--{flag}`)", found=found, remedy=remedy)


def _raw_kind(folder: Path) -> str:
    if (folder / "imagesTr").is_dir() and (folder / "labelsTr").is_dir():
        return "imagesTr/ and labelsTr/"
    is_acdc = any(path.is_dir() and _PATIENT.fullmatch(path.name) for path in visible(folder))
    return "patient folders" if is_acdc else ""


def _check_pair(images: Path, labels: Path) -> None:
    """Refuses one folder for both, a folder without a NIfTI file, and labels none of which belongs to an image."""
    if images == labels:
        raise DataError(
            labels,
            expected="a folder of labels that is not that of the images",
            found="the same folder for --images and --labels",
            remedy="Put images and labels into two folders, under the same file names.",
        )
    for folder, kind in ((images, "image"), (labels, "label")):
        _check_files(folder, kind)
    found, names = _stems(labels), _stems(images)
    if set(found).isdisjoint([*names, *(re.sub(r"_\d{4}$", "", stem) for stem in names)]):
        raise DataError(
            labels,
            expected=f"a label with the name of each image in {images} that has one",
            found=f"not one: the images are {few(names)}; the labels {few(found)}",
            remedy="Rename them: the image of label <name>.nii.gz is <name>.nii.gz or <name>_0000.nii.gz.",
        )


def _check_files(folder: Path, kind: str) -> None:
    if not _stems(folder):
        hint = ", or say --images_only if there are none" if kind == "label" else ""
        raise DataError(
            folder,
            expected=f"{kind} files, *.nii.gz or *.nii",
            found=_content(folder),
            remedy=f"Put the {kind}s there (convert other formats to NIfTI first), or name their folder{hint}.",
        )


def check_lonely_labels(folder: Path, images: Path, used: set[Path | None]) -> None:
    """Refuses labels that belong to no image.

    Raises:
        DataError: names them.
    """
    with readable(folder):
        lonely = [path.name for path in visible(folder) if nifti_stem(path) and path not in used]
    if lonely:
        raise DataError(
            folder,
            expected=f"an image in {images} for every label (same name)",
            found=f"labels without an image: {few(lonely)}",
            remedy="Rename or remove them. An image may also be called <label>_0000.nii.gz.",
        )


def _stems(folder: Path) -> list[str]:
    return [stem for stem in map(nifti_stem, visible(folder)) if stem]


def _content(folder: Path) -> str:
    names: Sequence[Path] = visible(folder)
    return few([f"{path.name}/" if path.is_dir() else path.name for path in names]) if names else "an empty folder"
