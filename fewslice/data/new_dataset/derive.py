"""From a folder of scans to a dataset: finds the files, checks each one and derives the settings.

`scripts/add_dataset.py` prints what happens and writes what `fewslice.data.new_dataset.files` makes of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fewslice.core.errors import ConfigError, DataError, few, listed, plural
from fewslice.data.geometry_notes import Lie, geometry_notes, lie_of
from fewslice.data.io.access import absence, readable
from fewslice.data.io.itk import KINDS, is_series, read_image_file, segment_names
from fewslice.data.io.pictures import is_coloured, is_picture
from fewslice.data.new_dataset.annotations import IGNORE, Painted, sparse_slices
from fewslice.data.new_dataset.crop import LARGEST_SIDE, Footprint, footprint, needed_side
from fewslice.data.readers import Reader, get_reader
from fewslice.data.readers.base import image_files, visible
from fewslice.data.readers.msd import TEST_IMAGES, label_names
from fewslice.data.readers.paired_folders import read_info
from fewslice.data.readers.patients import BIDS_PATTERN, alike, doubt, question
from fewslice.data.verify import grouped_notes, label_notes
from fewslice.data.volume import Case, image_notes
from fewslice.settings.datasets import (
    PATIENT_PATTERN,
    STRIDE,
    DatasetConfig,
    data_root,
    label_pairs,
    patient_of,
    value_problems,
)
from fewslice.settings.splits import Splits

_PATIENT = re.compile(r"patient\d+", re.IGNORECASE)
WHITE = 255
_MOST_CLASSES = 256  # stands for "not known yet" while the labels are read


@dataclass(frozen=True)
class Request:
    """The user's description of the new dataset: the flags of `scripts/add_dataset.py`, which tells their meaning.

    None, () and "" stand for what is derived. Paths below `data_root` are written relative to it.
    """

    name: str
    images: Path
    labels: Path | None = None
    num_classes: int | None = None
    struct_names: tuple[str, ...] = ()
    label_map: str = ""
    patient_pattern: str = ""
    image_channel: int = 0
    ignore_label: int | None = None
    images_only: bool = False
    data_root: Path = field(default_factory=data_root)


@dataclass(frozen=True)
class Checked:
    """One volume that was read without a problem."""

    case: Case
    shape: tuple[int, int, int]  # X, Y, Z
    spacing_mm: tuple[float, float, float]
    classes: tuple[int, ...] | None = None  # that its label holds; None without a label
    footprint: Footprint | None = None  # where its foreground lies; None if there is none
    lie: Lie | None = None
    notes: tuple[str, ...] = ()  # text on what is worth knowing
    sparse: tuple[int, ...] = ()  # slices with structures, if they look like a few that were painted


def provisional(request: Request) -> DatasetConfig:
    """Returns settings with which the request's files can be found and read; sizes are placeholders.

    Raises:
        ConfigError: a name, pattern or other value that cannot be used; names that may belong to one patient, without
            a pattern that says so.
        DataError: folders that are not there, are empty or do not belong together.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", request.name):
        text = "must be small letters, digits and underscores, a letter first"
        raise ConfigError(f"`--name` {text}, since it becomes a file name. Received: --name={request.name}")
    _check_values(request)
    if request.images_only and request.labels is not None:
        raise ConfigError("`--images_only` says that there are no labels. Leave it out, or --labels.")
    layout, folders = locate(request.images, request.labels, images_only=request.images_only)
    is_pair = len(folders) == 2
    base = os.path.commonpath([os.path.dirname(folder) for folder in folders]) if is_pair else folders[0]
    images, labels = (os.path.relpath(folder, base) for folder in folders) if is_pair else ("imagesTr", "labelsTr")
    root = os.path.abspath(request.data_root)
    is_below = os.path.commonpath([root, base]) == root
    names, pairs = _structures(request, Path(base) / "dataset.json" if layout == "msd" else None)
    count = request.num_classes or (len(names) + 1 if layout == "msd" else _MOST_CLASSES)
    if request.images_only:
        count = request.num_classes or max(2, len(names) + 1)
    elif request.ignore_label is not None:
        count = min(count, _MOST_CLASSES - 1)  # one more value than classes
    phases = ("ED", "ES") if layout == "acdc" else ("",)
    draft = DatasetConfig(
        name=request.name,
        layout=layout,
        data_path_tr=Path(os.path.relpath(base, root) if is_below else base).as_posix(),
        data_path_tr_cropped=f"cropped/{request.name}",
        img_size_x=STRIDE,
        img_size_y=STRIDE,
        num_classes=count,
        target_resolution=(1.0, 1.0),
        struct_name=names,
        class_weights=(),
        unlabeled_split="unlabeled",
        how_to_get="Put the scans back where they were when the dataset was added.",
        splits=Splits(train={}, val={}, test=(), dataset=request.name),
        phases=phases,
        unlabeled_phases=phases,
        label_map=pairs,
        image_channel=request.image_channel,
        ignore_label=IGNORE if request.images_only else request.ignore_label,
        images_dir=Path(images).as_posix(),
        labels_dir=Path(labels).as_posix(),
        patient_pattern=request.patient_pattern or PATIENT_PATTERN,
        data_root=Path(root),
    )
    if layout == "paired_folders" and not request.images_only:
        draft = _with_segments(draft, request)
    if layout != "acdc":
        draft = _with_pictures(draft, request)
    if not request.patient_pattern and layout != "acdc":
        stems = [case.case_id for case in _reader(draft).cases()]
        if all(subjects := {patient_of(stem, BIDS_PATTERN) for stem in stems}) and not alike(subjects):
            return dataclasses.replace(draft, patient_pattern=BIDS_PATTERN)
        if text := question(stems):
            raise ConfigError(text)
    return draft


def _with_segments(draft: DatasetConfig, request: Request) -> DatasetConfig:
    """Returns the draft; where labels hold named segments, with a class for each name of a structure."""
    labels = [case.label_path for case in _reader(draft).cases() if case.label_path]
    found = dict.fromkeys(name for path in labels for name in segment_names(path))
    if found and not draft.struct_name:
        raise ConfigError(
            "Labels are segmentations of 3D Slicer, which are matched by name. Name the structures, in the order of "
            f"their classes: --struct_names={shlex.quote(','.join(found))}"
        )
    count = request.num_classes or len(draft.struct_name) + 1
    return dataclasses.replace(draft, num_classes=count) if found else draft


def _with_pictures(draft: DatasetConfig, request: Request) -> DatasetConfig:
    """Returns the draft; of pictures with their channels and range, and class 1 for 255 if masks are black and white.

    Pictures that cannot be read are left to the check of all files.
    """
    cases, channels, codes = _reader(draft).cases(), 1, {WHITE}
    if not all(is_picture(case.image_path) for case in cases):
        return draft
    has_given_codes = draft.label_map or draft.layout == "msd" or request.images_only or request.ignore_label
    for case in cases:
        with contextlib.suppress(DataError):
            channels = 3 if channels == 3 or is_coloured(case.image_path) else 1
            if case.label_path and not has_given_codes and codes <= {0, WHITE}:
                codes |= {*np.unique(read_image_file(case.label_path, is_label=True).array).tolist()}
    white = ((WHITE, 1),) if codes == {0, WHITE} else draft.label_map
    return dataclasses.replace(draft, num_channels=channels, intensity="divide_by_255", label_map=white)


def _check_values(request: Request) -> None:
    """Refuses flags whose values the init file could not hold."""
    values = {"struct_name": request.struct_names, "label_map": label_pairs(request.label_map)}
    values |= {"patient_pattern": request.patient_pattern, "num_classes": request.num_classes}
    given = {name: value for name, value in values.items() if value}
    joint = {"num_classes": _MOST_CLASSES - 1} | {
        name: given[name] for name in ("label_map", "num_classes") if name in given
    }
    if wrong := value_problems(given) or value_problems(joint):
        texts = [f"--{name.replace('struct_name', 'struct_names')}: {text}" for name, text in wrong]
        raise ConfigError(listed("The request", texts))


def check_files(
    draft: DatasetConfig, *, with_labels: bool = True
) -> Iterator[tuple[int, int, Case, Checked | list[DataError]]]:
    """Yields (number, how many, volume, what was found or everything that is wrong) for every volume.

    Raises:
        DataError: no volume at all, or labels without an image.
    """
    reader = _reader(draft)
    cases = reader.cases()
    if with_labels and draft.layout != "acdc":
        images, labels = reader.folder / draft.images_dir, reader.folder / draft.labels_dir
        check_lonely_labels(labels, images, {case.label_path for case in cases})
    for number, case in enumerate(cases, start=1):
        volume, problems = reader.examine(case, with_label=with_labels and case.label_path is not None)
        if volume is None:
            yield number, len(cases), case, problems
            continue
        facts = {"lie": lie_of(volume), "notes": (*volume.notes, *image_notes(volume.image, draft))}
        if volume.label is not None:
            is_known = volume.label < draft.num_classes
            label = np.where(is_known, volume.label, 0)
            facts |= {"classes": tuple(np.unique(label).tolist()), "footprint": footprint(label, volume.spacing_mm)}
            facts["sparse"] = sparse_slices(label) if is_known.all() else ()
        yield number, len(cases), case, Checked(case, volume.image.shape, volume.spacing_mm, **facts)


def _reader(draft: DatasetConfig) -> Reader:
    return get_reader(dataclasses.replace(draft, how_to_get="Give the folder of the scans with --images."))


def derive(draft: DatasetConfig, checked: Sequence[Checked], *, with_labels: bool = True) -> DatasetConfig:
    """Returns the settings that fit the volumes.

    The resolution is the median spacing within slices, of pictures one at which they are seen whole; the sides are the
    smallest multiples of 32 that cover the median field of view and all foreground of every volume, 32 to 320 pixels
    (`new_dataset.crop`). Without labels the classes are those of the draft, the result of `provisional`.

    Raises:
        DataError: no volume has a label.
        ConfigError: no labelled volume, labels whose classes are ambiguous, or too many or few names.
    """
    count = _count_classes(draft, checked) if with_labels else draft.num_classes
    names = draft.struct_name or tuple(f"structure{index}" for index in range(1, count))
    if len(names) != count - 1:
        raise ConfigError(
            f"`--struct_names` must have {count - 1} names (classes without the background). "
            f"Received {len(names)}: {', '.join(names)}"
        )
    resolution = tuple(float(f"{np.median([c.spacing_mm[axis] for c in checked]):.5g}") for axis in (0, 1))
    if draft.intensity == "divide_by_255":  # a picture is seen whole
        longest = max(np.median([item.shape[axis] for item in checked]) for axis in (0, 1))
        resolution = tuple(float(f"{side * max(1.0, longest / LARGEST_SIDE):.5g}") for side in resolution)
    sides, where = [], list(footprints(checked).values())
    for axis in (0, 1):
        field_mm = np.median([item.shape[axis] * item.spacing_mm[axis] for item in checked])
        side = math.ceil(field_mm / resolution[axis] / STRIDE - 1e-3) * STRIDE
        sides.append(min(max(side, needed_side(axis, resolution[axis], where)), LARGEST_SIDE))
    phases = {item.case.phase for item in checked if item.classes is not None}
    return dataclasses.replace(
        draft, num_classes=count, struct_name=names, target_resolution=resolution, img_size_x=sides[0],
        img_size_y=sides[1], class_weights=tuple(round(1 / count, 4) for _ in range(count)),
        phases=tuple(phase for phase in draft.phases if phase in phases) or draft.phases,
    )  # fmt: skip


def _count_classes(draft: DatasetConfig, checked: Sequence[Checked]) -> int:
    """Returns the number of classes with the background, as the draft says or as found in the labels."""
    if all(item.classes is None for item in checked):
        expected, found = "labels, at least of some volumes", f"{len(checked)} images without a label"
        remedy = "Put the labels beside them as the layout wants it (docs/data.md), or say --images_only."
        raise DataError(draft.data_root / draft.data_path_tr, expected=expected, found=found, remedy=remedy)
    found = sorted({value for item in checked for value in item.classes or ()})
    if not any(found):
        raise ConfigError("No label holds anything but background (0). Is --labels the right folder?")
    count, codes = draft.num_classes, [value for value in found if value]
    if count >= _MOST_CLASSES - 1:
        count = found[-1] + 1
        if found[-1] > len(codes):
            pairs = ",".join(f"{code}:{label}" for label, code in enumerate(codes, start=1))
            text = f"The labels hold the values {', '.join(map(str, found))}, with gaps. "
            if count < _MOST_CLASSES:
                translate = f"Give --num_classes={count} if the missing ones exist, or translate"
                raise ConfigError(f"{text}{translate} them with --label_map={pairs}")
            hint = "; if 255 marks voxels that nobody annotated, say --ignore_label=255" if len(codes) > 1 else ""
            raise ConfigError(f"{text}Translate them with --label_map={pairs}{hint}")
    return count


def without_labels(request: Request, dataset: DatasetConfig) -> DatasetConfig:
    """Returns a dataset as it is without its masks, with a place of its own for partial labels.

    Raises:
        ConfigError: that place is the folder of the masks, or masks lie among the images.
    """
    found = {"num_classes": dataset.num_classes, "struct_names": dataset.struct_name, "label_map": ""}
    draft = provisional(dataclasses.replace(request, labels=None, images_only=True, **found))
    folders = [_reader(each).folder / each.labels_dir for each in (draft, dataset)]
    if draft.layout == "acdc" or folders[0] == folders[1]:
        raise ConfigError(
            "--sparse_labels=partial writes partial labels beside the images, where the masks are. Put the masks into "
            "a folder of another name, with the names of the images, and give it with --labels."
        )
    names = ("layout", "data_path_tr", "images_dir", "labels_dir", "ignore_label", "phases", "unlabeled_phases")
    return dataclasses.replace(dataset, label_map=(), **{name: getattr(draft, name) for name in names})


def painted_slices(dataset: DatasetConfig, cases: Sequence[Case]) -> Iterator[Painted]:
    """Yields masks of which only the slices with structures are annotated."""
    for case in cases:
        volume = _reader(dataset).read(case)
        is_shown = (volume.label > 0).any(axis=(0, 1))
        yield Painted.of(volume, np.where(is_shown, volume.label, np.uint8(255)), 255)


def patients(dataset: DatasetConfig, checked: Sequence[Checked]) -> tuple[list[str], list[str], list[str]]:
    """Returns the patients with a label of each phase, the others, and those with a label among the official test."""
    phases: dict[str, set[str]] = {item.case.patient_id: set() for item in checked}
    labelled = [item.case for item in checked if item.classes is not None]
    for case in labelled:
        phases[case.patient_id].add(case.phase)
    whole = {patient for patient, found in phases.items() if found >= set(dataset.phases)}
    tested = {case.patient_id for case in labelled if case.image_path.parent.name == TEST_IMAGES}
    return sorted(whole), sorted(phases.keys() - whole), sorted(tested & whole if dataset.layout == "msd" else ())


def notes(dataset: DatasetConfig, checked: Sequence[Checked], tables: Splits, official: Sequence[str]) -> Iterator[str]:
    """Yields notes on volumes that are not used like the others of their patients, on what is not read, on geometry."""
    if official:
        count = sum(item.case.patient_id in official and item.classes is not None for item in checked)
        found = f"{plural(len(official), 'patient')}, {plural(count, 'volume')}"
        yield f"the patients of the labelled volumes of {TEST_IMAGES}/ are the test list: {found}"
    training, validation = (table.get("trall", {}).get("*", ()) for table in (tables.train, tables.val))
    with_label = {item.case.patient_id for item in checked if item.classes is not None}
    held_out = {*validation, *tables.test}
    for text, ids in ("for pretraining only", {*tables.train["unlabeled"]["*"]}), ("left out", held_out):
        used = held_out.union(training) & ids
        those = [item for item in checked if item.case.patient_id in with_label & ids]
        found = [item.case.case_id for item in those if item.classes is None or item.case.patient_id not in used]
        if found:
            count = plural(len(found), "volume")
            yield f"{count} {text}, since not all of their patients' volumes have labels: {few(found)}"
    reader = _reader(dataset)
    read = {path.parent for case in reader.cases() for path in (case.image_path, case.label_path) if path}
    yield from reader.notes
    if dataset.intensity == "divide_by_255":
        yield f"pictures: `num_channels` {dataset.num_channels}, values divided by 255, a pixel counts as 1 mm"
        yield from ["masks are black and white: 255 is class 1 (`label_map`)"] * (dataset.label_map == ((WHITE, 1),))
    if dataset.layout != "acdc" and (text := doubt(dataset, (item.case.patient_id for item in checked))):
        yield text
    for folder in sorted((reader.folder / dataset.images_dir).parent.glob("*")) if dataset.layout != "acdc" else ():
        if folder not in read and re.match("images|labels|test|val", folder.name, re.I) and image_files(folder):
            yield f"{folder.name}/: {len(image_files(folder))} scans beside {dataset.images_dir}/ are not read"
    yield from geometry_notes({item.case.case_id: item.lie for item in checked}, dataset.orientation)
    names = ("background", *dataset.struct_name)
    shown = [(each, label_notes(each.classes, names) if each.classes is not None else ()) for each in checked]
    yield from grouped_notes((each.case.case_id, note) for each, more in shown for note in (*each.notes, *more))


def footprints(checked: Sequence[Checked]) -> dict[str, Footprint]:
    """Returns case id -> where the foreground lies, of the volumes that have any."""
    return {item.case.case_id: item.footprint for item in checked if item.footprint is not None}


def _structures(request: Request, info: Path | None) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Returns the structures' names and the (code, class) pairs, from the flags or else from dataset.json."""
    if request.label_map or request.struct_names or info is None:
        return request.struct_names, label_pairs(request.label_map)
    codes = label_names(info, read_info(info))
    ignored = [name for name in codes.values() if "ignore" in name.lower()]
    if ignored:
        raise ConfigError(f"{info}: `labels` must hold structures, none to ignore. Received: {', '.join(ignored)}")
    structures = sorted(codes.keys() - {0})
    is_plain = structures == list(range(1, len(structures) + 1))
    pairs = () if is_plain else tuple((code, label) for label, code in enumerate(structures, start=1))
    names = tuple(codes[code] for code in structures)
    for _, text in value_problems({"struct_name": names}):
        raise DataError(info, expected="names of structures", found=text, remedy="Correct it, or give --struct_names.")
    return names, pairs


def locate(images: Path, labels: Path | None, *, images_only: bool = False) -> tuple[str, tuple[str, ...]]:
    """Returns the layout and its folders: (images, labels), or the one folder that holds everything.

    With `images_only` the second folder is the one where labels may be put later; it need not exist.

    Raises:
        DataError: a folder that is not there or is a file, holds no scan, is raw although `--labels` is given,
            or images and labels none of which have the same name.
    """
    images = _folder(images, "images")
    with readable(images):
        raw = _raw_kind(images)
        if labels is not None:
            labels = _folder(labels, "labels")
            if raw and not image_files(images):
                inner = f", or give --images={images / 'imagesTr'} with --labels" if "imagesTr" in raw else ""
                expected = f"image files, since --labels={labels} is given"
                found = f"a raw folder ({raw}), which holds its own labels"
                raise DataError(images, expected=expected, found=found, remedy=f"Leave out --labels{inner}.")
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
            if os.path.lexists(images / "dataset.json"):
                return "msd", (str(images),)
            return "paired_folders", (str(images / "imagesTr"), str(images / "labelsTr"))
    expected = "imagesTr/ and labelsTr/ (MSD, nnU-Net) or folders patient001, ... (ACDC), as there is no --labels"
    remedy = "Give the folder of the labels with --labels, say --images_only if there are none, or correct --images."
    raise DataError(images, expected=expected, found=_content(images), remedy=remedy)


def _folder(path: Path, flag: str) -> Path:
    folder = Path(os.path.normpath(path.absolute()))
    with readable(folder):
        if folder.is_dir():
            return folder
        is_file = folder.exists()
    remedy = f"Give the folder that holds it: --{flag}={path.parent}" if is_file else f"Correct --{flag}={path}."
    found = "a file" if is_file else absence(folder)[0] if folder.is_symlink() else "no such folder"
    raise DataError(folder, expected=f"a folder of {flag} (`--{flag}`)", found=found, remedy=remedy)


def _raw_kind(folder: Path) -> str:
    if (folder / "imagesTr").is_dir() and (folder / "labelsTr").is_dir():
        return "imagesTr/ and labelsTr/"
    folders = (path for path in visible(folder) if path.is_dir() and _PATIENT.fullmatch(path.name))
    return "patient folders" if not all(map(is_series, folders)) else ""


def _check_pair(images: Path, labels: Path) -> None:
    """Refuses one folder for both, a folder without a scan, and labels none of which belongs to an image."""
    if images == labels:
        expected = "a folder of labels that is not that of the images"
        remedy = "Put images and labels into two folders, under the same file names."
        raise DataError(labels, expected=expected, found="the same folder for --images and --labels", remedy=remedy)
    for folder, kind in ((images, "image"), (labels, "label")):
        _check_files(folder, kind)
    found, names = [*image_files(labels)], [*image_files(images)]
    if set(found).isdisjoint([*names, *(re.sub(r"_\d{4}$", "", stem) for stem in names)]):
        expected = f"a label with the name of each image in {images} that has one"
        found = f"not one: the images are {few(names)}; the labels {few(found)}"
        remedy = "Rename them: the image of label <name>.nii.gz is <name>.nii.gz or <name>_0000.nii.gz."
        raise DataError(labels, expected=expected, found=found, remedy=remedy)


def _check_files(folder: Path, kind: str) -> None:
    if not image_files(folder):
        hint = ", or say --images_only if there are none" if kind == "label" else ""
        move = f"Put the {kind}s there (convert other formats first), or name their folder"
        move = "Give each series a folder of its own below that folder" if is_series(folder) else move
        raise DataError(folder, expected=f"{kind} files: {KINDS}", found=_content(folder), remedy=f"{move}{hint}.")


def check_lonely_labels(folder: Path, images: Path, used: set[Path | None]) -> None:
    """Raises `DataError` that names the labels which belong to no image."""
    with readable(folder):
        lonely = [path.name for path in image_files(folder).values() if path not in used]
    if lonely:
        expected = f"an image in {images} for every label (same name)"
        remedy = "Rename or remove them. An image may also be called <label>_0000.nii.gz."
        raise DataError(folder, expected=expected, found=f"labels without an image: {few(lonely)}", remedy=remedy)


def _content(folder: Path) -> str:
    names: Sequence[Path] = visible(folder)
    return few([f"{path.name}/" if path.is_dir() else path.name for path in names]) if names else "an empty folder"
