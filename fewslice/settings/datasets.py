"""A dataset's settings as one frozen, checked object.

`load_dataset_config("acdc")` executes `experiment_init/init_acdc.py` and `experiment_init/data_cfg_acdc.py`,
applies `--set name=value` overrides, checks everything and reports all problems at once.
"""

import dataclasses
import functools
import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from fewslice.core import registry
from fewslice.core.done import FACTS
from fewslice.core.errors import ConfigError, listed
from fewslice.core.registry import unknown_name
from fewslice.settings import dataset_files
from fewslice.settings.dataset_files import ExperimentFile
from fewslice.settings.declare import Aside, Count, Must, Positive, declared, settings_of
from fewslice.settings.splits import Splits, freeze_table, overlap_problems, table_problems, val_patients

STRIDE = 32  # five 2x2 poolings halve each side five times
# File stem -> patient: what stands before a suffix for the frame, as in "subject7_frame01", "subject7_t03",
# "p1_ED".
PATIENT_PATTERN = r"(.+?)(?:_(?:frame|phase|time|t)\d+|_ED|_ES)?"

# Names of the original configurations that nothing reads; they may stay in a user's file.
_UNUSED = {
    "base_dir", "srt_dir", "fs", "lr", "class_name", "interp_val", "img_size_flat", "size", "dataset_name",
}  # fmt: skip
_TABLES = ("train", "val", "test")
_FOLDERS = ("data_path_tr", "data_path_tr_cropped", "spacing_table")  # may begin with ~


def data_root() -> Path:
    """Returns the folder below which datasets lie by default: FEWSLICE_DATA, or `data_root/` of the checkout."""
    return Path(os.environ.get("FEWSLICE_DATA") or dataset_files.checkout() / "data_root").expanduser()


def _is_pattern(value: str) -> bool:
    try:
        return re.compile(value).groups >= 1
    except (re.error, OverflowError, RecursionError, MemoryError):
        return False


def _are_different(values: tuple[str, ...]) -> bool:
    return len(values) > 0 and len(set(values)) == len(values)


Side = Annotated[
    int,
    Must(
        lambda value: value > 0 and value % STRIDE == 0,
        f"a positive multiple of {STRIDE}, since the network halves it five times",
    ),
]
Numbers, Texts = tuple[float, ...], tuple[str, ...]


@declared
class DatasetConfig:
    """Everything that the library knows about one dataset; experiment_init/README.md says more.

    Sizes are pixels, resolutions mm, batch sizes images (slices). The settings are the attributes of `init_<name>.py`;
    `name` and `splits` are filled in. Paths are relative to `data_root`, which --data_root sets and no digest knows.
    """

    name: str
    splits: Splits
    layout: Annotated[str, "How the files lie: a reader of `fewslice.data.readers`."]
    data_path_tr: Annotated[str, Must(bool, "the folder of the scans below the data root"), "Folder of the scans."]
    data_path_tr_cropped: Annotated[
        str, "Folder for the output of scripts/create_cropped_imgs.py. Default: cropped/<name>."
    ] = ""
    how_to_get: Annotated[str, Aside("Shown when the scans are not there.")]
    img_size_x: Annotated[Side, "Rows of a prepared slice."]
    img_size_y: Annotated[Side, "Columns of a prepared slice."]
    grid: Annotated[
        Literal["resample", "stretch", "whole", "native"],
        "resample to `target_resolution`, then crop or pad; whole does neither; stretch to the size by the nearest "
        "pixel; native leaves every volume as it is. whole and native are for networks that take any size.",
    ] = "resample"
    target_resolution: Annotated[
        Numbers,
        Must(lambda value: len(value) == 2 and min(value) > 0, "two positive numbers, mm per pixel"),
        "mm per pixel of a prepared slice, (rows, columns); () where `grid` is stretch or native: unused.",
    ] = ()
    num_classes: Annotated[
        int,
        Must(lambda value: 2 <= value <= 255, "the number of classes including the background, 2 to 255"),
        "Classes, the background included.",
    ]
    struct_name: Annotated[
        Texts,
        Must(
            lambda value: len(set(value)) == len(value) and all(value),
            "a tuple of different names, without the background",
        ),
        "Names of the structures in the order of the labels.",
    ]
    class_weights: Annotated[
        Numbers,
        Must(lambda value: min(value, default=0) >= 0 and sum(value) > 0, "numbers of 0 or more, not all zero"),
        "One weight per class, the background first. Default: all equal.",
    ] = ()
    label_map: Annotated[
        tuple[tuple[int, int], ...],
        Must(lambda value: len({code for code, _ in value}) == len(value), "a dict of whole numbers, each code once"),
        "Code in the label file -> class, if the codes are not 0, 1, 2, ...",
    ] = ()
    label_values: Annotated[
        Literal["classes", "instances"],
        "instances: each number above 0 in a label file is an object of class 1; object scores see which is which.",
    ] = "classes"
    ignore_label: Annotated[
        int | None,
        "Code in the label files that means not annotated; None: every voxel of a label counts. Batches, losses and "
        "scores look at annotated pixels only.",
    ] = None
    unlabeled_split: Annotated[str, "Split key that pretraining uses by default."]
    phases: Annotated[
        Texts,
        Must(_are_different, 'a tuple such as ("ED",); ("",) if there are none'),
        "Volumes of a patient that are trained on with labels, validated and tested.",
    ] = ("",)
    unlabeled_phases: Annotated[
        Texts,
        Must(_are_different, 'a tuple such as ("ED", "ES")'),
        "Volumes that pretraining uses. Default: as `phases`.",
    ] = ("",)
    orientation: Annotated[
        Literal["canonical", "as_stored"],
        Aside(
            "canonical turns arrays to R, A, S as the file's affine says, the third axis staying the slice axis; "
            "as_stored leaves them, as published code does."
        ),
    ] = "canonical"
    image_channel: Annotated[int, Ge(0), "Channel of a 4-D image."] = 0
    num_channels: Annotated[
        int,
        Must(lambda value: 1 <= value <= 64, "1 to 64 (one channel of a 4-D image is chosen with `image_channel`)"),
        "Channels of the network's input.",
    ] = 1
    anti_aliasing: Annotated[Literal["default", "off"], "off resamples without the smoothing of scikit-image."] = (
        "default"
    )
    label_resampling: Annotated[
        Literal["area", "nearest"],
        "How labels and scribbles get to `target_resolution`: the class that covers most of a pixel, or, as published, "
        "that of the nearest native pixel.",
    ] = "area"
    intensity: Annotated[
        Literal["percentiles", "as_stored", "divide_by_255"],
        "as_stored leaves intensities as they are in the file; divide_by_255 brings pictures to 0 ... 1.",
    ] = "percentiles"
    percentiles: Annotated[
        Numbers,
        Must(lambda value: len(value) == 2 and 0 <= value[0] < value[1] <= 100, "two rising numbers in 0 to 100"),
        "Intensities of a volume that become 0 and 1.",
    ] = (1.0, 99.0)
    scribbles: Annotated[Literal["file", "simulated"], Aside("Where scribbles come from, if they are asked for.")] = (
        "file"
    )
    spacing_table: Annotated[str, "csv with voxel sizes, for layouts of .h5 files."] = ""
    images_dir: Annotated[str, "Folder of images below `data_path_tr`."] = "imagesTr"
    labels_dir: Annotated[str, "Folder of labels below `data_path_tr`."] = "labelsTr"
    patient_pattern: Annotated[
        str,
        Must(_is_pattern, "a regular expression with one group, the patient's id"),
        "Regular expression for the stem of a file; its first group is the patient.",
    ] = PATIENT_PATTERN
    surface_tolerance_mm: Annotated[Positive, "Tolerance of the surface Dice, mm."] = 2.0
    metrics: Annotated[Texts, "Further scores of test volumes: `pixels`, `objects`, ... of `fewslice.evaluate`."] = ()
    score_groups: Annotated[
        str,
        Must(lambda value: not value or _is_pattern(value), "a regular expression with one group, or empty"),
        "Regular expression for case ids; scores are also given for each value of its first group.",
    ] = ""
    recipe: Annotated[
        Literal["published", "planned"], Aside("Where flags of trainings have their defaults from: --recipe.")
    ] = "published"
    mtask_bs: Annotated[Count, "Slices per step of a segmentation training."] = 20
    batch_size_ft: Annotated[Count, "Slices per step of the local contrastive stage."] = 10
    val_step_update: Annotated[Count, "Steps from one validation to the next."] = 50
    data_root: Path = dataclasses.field(default_factory=data_root)

    @property
    def size(self) -> tuple[int, int]:
        """(img_size_x, img_size_y): rows and columns of a prepared slice, in pixels."""
        return self.img_size_x, self.img_size_y


ATTRIBUTES = settings_of(DatasetConfig)
# Attributes that came later: where they have their default they change nothing, and digests leave them out.
_LATER = (
    "grid", "intensity", "num_channels", "ignore_label", "surface_tolerance_mm", "label_values", "metrics",
    "score_groups",
)  # fmt: skip
LATER_DEFAULTS = {name: ATTRIBUTES[name].default for name in _LATER}
LATER_DEFAULTS["label_resampling"] = "nearest"  # of earlier runs
_NOT_IN_DIGESTS = ("splits", "data_root", *(name for name, each in ATTRIBUTES.items() if not each.help.in_digest))


def dataset_names() -> list[str]:
    """Returns the names that `--dataset` understands, sorted: one for each `init_<name>.py`."""
    return dataset_files.names(dataset_files.experiments_folder())


def load_dataset_config(
    name: str,
    overrides: Mapping[str, str] | None = None,
    *,
    data_root: str | os.PathLike | None = None,
    folder: Path | None = None,
) -> DatasetConfig:
    """Loads, overrides and checks the settings of a dataset.

    Args:
        name: Name of the dataset, as in `dataset_names()`.
        overrides: Attribute name -> value as text, from `--set name=value`. Commas separate the parts of a
            tuple.
        data_root: Folder below which the scans lie; default `data_root()`.
        folder: Where the two files are; default `experiment_init/` or FEWSLICE_EXPERIMENTS.

    Returns:
        The checked settings with their split tables.

    Raises:
        ConfigError: unknown name, broken file or wrong values; one message with every problem, each with its
            line.
    """
    settings, tables = dataset_files.load(folder or dataset_files.experiments_folder(), name)
    values, problems = settings.plain_values(ATTRIBUTES)
    values = {key: tuple(value.items()) if isinstance(value, dict) else value for key, value in values.items()}
    problems += _unknown(settings, "attribute", tuple(ATTRIBUTES), _UNUSED)
    places = {key: settings.where(key) for key in values}
    for key, text in (overrides or {}).items():
        places[key] = f"--set {key}={text:.80}"
        try:
            values[key] = parse(key, text)
        except ConfigError as error:
            problems.append(f"{places[key]}: {error}")
    needed = {key for key, each in ATTRIBUTES.items() if each.default is dataclasses.MISSING}
    needed |= set() if values.get("grid") in ("stretch", "native") else {"target_resolution"}
    missing = [key for key in ATTRIBUTES if key in needed and key not in {*values, *settings.names}]
    problems += [f"{settings.where()}: the attribute `{key}` is missing." for key in missing]
    problems += [f"{places.get(key, settings.where())}: {text}" for key, text in value_problems(values)]
    root = _absolute(data_root)
    cropped = "data_path_tr_cropped"
    if text := _output_problem(values, root, is_override=cropped in (overrides or {})):
        problems.append(f"{places[cropped]}: {text}")
    splits, split_problems = _read_splits(name, tables)
    problems += split_problems
    unlabeled = values.get("unlabeled_split")
    if splits is not None and isinstance(unlabeled, str) and unlabeled not in splits.train:
        text = f"`unlabeled_split`: {unknown_name('split', unlabeled, splits.train)}"
        problems.append(f"{places['unlabeled_split']}: {text}")
    if problems or splits is None:
        raise ConfigError(listed(f"The dataset {name!r}", problems))
    return DatasetConfig(name=name, splits=splits, data_root=root, **_completed(name, values))


def config_of_run(config: Mapping[str, Any], name: str, *, orientation: str | None = None) -> DatasetConfig:
    """Returns the settings that a run was trained with, from its config.json alone; without split lists.

    Args:
        config: Its content.
        name: Of the run, for messages.
        orientation: Of earlier runs, which do not record it.

    Raises:
        ConfigError: it holds no such settings, or ones that are wrong.
    """
    found = config.get("dataset_config")
    if not isinstance(found, Mapping):
        raise ConfigError(f"{name}: its config.json does not say for which slices it was trained.")
    given = {key for key, value in found.items() if key in ATTRIBUTES and value != []}  # such as target_resolution
    values = {**LATER_DEFAULTS, **{key: _as_tuple(value) for key, value in found.items() if key in given}}
    recorded = config.get(FACTS, {}).get("orientation", orientation)
    values["orientation"] = "as_stored" if str(values.get("layout")).endswith("h5") else recorded
    if values["orientation"] is None:
        raise ConfigError(
            f"{name} is of an earlier version, which did not record whether scans were turned to R, A, S. Add "
            f"--orientation=canonical or as_stored, as `orientation` in init_{found.get('name')}.py said when it was "
            "trained (canonical if nothing); in Python give the dataset."
        )
    problems = [text for key, text in value_problems(values) if key != "layout"]  # a plugin's may be unknown here
    if problems or "num_classes" not in values:
        raise ConfigError(listed(f"config.json of {name}", problems or ["no `num_classes`"]))
    nowhere = Splits(train={}, val={}, test=())
    return DatasetConfig(name=str(found.get("name")), splits=nowhere, how_to_get="", **values)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def config_dict(config: DatasetConfig) -> dict[str, Any]:
    """Returns the settings as a plain dict for digests and `config.json`.

    The split tables, `how_to_get`, `scribbles`, `orientation` and `data_root` are left out: another list in the file
    must not change the digest of a run that does not use it. A run records the ids that it does use, and the digest of
    prepared volumes tells where their scribbles come from and which were turned. Attributes that came later are left
    out where they change nothing, so that the digest of an older run stays.
    """
    fields = (field.name for field in dataclasses.fields(config))
    values = {name: getattr(config, name) for name in fields if name not in _NOT_IN_DIGESTS}
    return without_later_defaults(values, always=("num_channels",))


def without_later_defaults(values: Mapping[str, Any], *, always: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the settings without those of `LATER_DEFAULTS` that have their default; `always` names others to keep."""
    return {
        name: value
        for name, value in values.items()
        if name in always or name not in LATER_DEFAULTS or value != LATER_DEFAULTS[name]
    }


def check_labeled_split(dataset: DatasetConfig, key: str, comb: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the (training, validation) patients of a labelled training.

    Raises:
        ConfigError: unknown key or combination, or training and validation share patients.
    """
    known = ", ".join(dataset.splits.labelled_keys())
    only = "serves pretraining without labels only. For a labelled training " + (
        f"choose one of {known}." if known else f"add a list to `train` and `val` of data_cfg_{dataset.name}.py."
    )
    if key in dataset.splits.train and key not in dataset.splits.val:
        raise ConfigError(f"--no_of_tr_imgs={key}: {dataset.name} has no validation list for {key}; it {only}")
    train, val = dataset.splits.train_ids(key, comb), dataset.splits.val_ids(key, comb)
    if shared := sorted(set(train) & set(val)):
        raise ConfigError(
            f"--no_of_tr_imgs={key} --comb_tr_imgs={comb}: training and validation list of {dataset.name} share "
            f"patients {', '.join(shared)}; this list {only}"
        )
    return train, val


def check_pretraining_split(dataset: DatasetConfig, key: str, comb: str, *, prefix: str = "") -> tuple[str, ...]:
    """Checks a list for pretraining without labels.

    Returns:
        Its patients that validate some labelled training, sorted, so that the script can log them.

    Raises:
        ConfigError: unknown key or combination, or test patients are in the list.
    """
    ids = set(dataset.splits.train_ids(key, comb, prefix=prefix))
    leaked = sorted(ids & set(dataset.splits.test))
    if leaked:
        raise ConfigError(f"{dataset.name} {key} {comb} contains the test patients {', '.join(leaked)}. Remove them.")
    return tuple(sorted(ids & val_patients(dataset.splits)))


def _read_splits(name: str, file: ExperimentFile) -> tuple[Splits | None, list[str]]:
    tables, problems = file.plain_values((*_TABLES, "unlabeled"))
    problems += file.duplicate_keys_and_missing_commas() + _unknown(file, "table", (*_TABLES, "unlabeled"), set())
    problems += [f"{file.where()}: the table `{key}` is missing." for key in _TABLES if key not in file.names]
    for key in [key for key in _TABLES if key in tables]:
        problems += [f"{file.where(*place)}: {text}" for place, text in table_problems(key, tables[key])]
    unlabeled = tables.get("unlabeled", ())
    if not (isinstance(unlabeled, tuple) and all(isinstance(key, str) for key in unlabeled)):
        received = f"Received: {unlabeled!r:.80}"
        problems.append(f"{file.where('unlabeled')}: `unlabeled` must be a tuple of keys, in quotes. {received}")
    if problems:
        return None, problems
    train, val = freeze_table(tables["train"]), freeze_table(tables["val"])
    splits = Splits(train=train, val=val, test=tables["test"], unlabeled=unlabeled, dataset=name)
    unknown = [
        unknown_name("split", key, splits.train) for key in dict.fromkeys(splits.unlabeled) if key not in splits.train
    ]
    problems = [f"{file.where('unlabeled')}: `unlabeled`: {text}" for text in unknown]
    return splits, problems + [f"{file.where(*place)}: {text}" for place, text in overlap_problems(splits)]


def _unknown(file: ExperimentFile, kind: str, known: tuple[str, ...], ignored: set[str]) -> list[str]:
    return [
        f"{file.where(key)}: {unknown_name(kind, key, known)} (Your own helpers start with `_`.)"
        for key in file.assigned
        if key not in known and key not in ignored
    ]


def layouts() -> tuple[str, ...]:
    """Returns the names of all readers, those of plugins included."""
    return tuple(sorted({*_own("data/readers", "READERS"), *registry.of("layout").names()}))


@functools.cache
def _own(folder: str, table: str) -> tuple[str, ...]:
    """Returns the names that our code registers, found in its source: importing it would take long."""
    sources = (Path(__file__).parents[1] / folder).glob("*.py")
    line = re.compile(rf'^@?{table}\.register\(\s*"(\w+)"', re.M)
    return tuple(name for path in sources for name in line.findall(path.read_text(encoding="utf-8")))


def parse_overrides(texts: Iterable[str], *, flag: str = "set", example: str = "mtask_bs=10") -> dict[str, str]:
    """Returns name -> text from the "name=value" texts of a flag.

    Raises:
        ConfigError: a text without "=", or the same name twice.
    """
    overrides: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise ConfigError(f"--{flag} must be name=value, such as --{flag} {example}. Received: --{flag} {text}")
        if name in overrides:
            raise ConfigError(f"--{flag} {name} is given twice: {overrides[name]} and {value}")
        overrides[name] = value
    return overrides


def parse(name: str, text: str) -> Any:
    """Returns the value that `--set name=text` means.

    Raises:
        ConfigError: there is no such attribute (with the nearest one), or the text does not fit its type.
    """
    if name not in ATTRIBUTES:
        raise ConfigError(unknown_name("attribute", name, ATTRIBUTES))
    kind, text = ATTRIBUTES[name].kind, dataset_files.plain(text.strip())
    parts = [part.strip() for part in text.split(",")] if text else []
    if kind == Texts:
        return tuple(parts) or ("",)
    if typing.get_origin(kind) is tuple and kind != Numbers:
        return label_pairs(text)
    try:
        return tuple(map(float, parts)) if kind == Numbers else dataset_files.plain(int(text)) if kind is int else text
    except ValueError:
        expected = "a whole number" if kind is int else "numbers separated by commas"
        raise ConfigError(f"expected {expected}.") from None


def label_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Returns the (code, class) pairs of a text such as "205:1,420:2". Raises `ConfigError` if it is none."""
    try:
        pairs = [part.split(":") for part in text.split(",")] if text.strip() else []
        return tuple((int(code), int(label)) for code, label in pairs)
    except ValueError:
        raise ConfigError(f"expected code:label pairs separated by commas. Received: {text}") from None


def patient_of(stem: str, pattern: str = PATIENT_PATTERN) -> str | None:
    """Returns the patient id in a file stem, or None if the stem does not fit.

    Args:
        stem: File name without its suffix (and without the channel number "_0000").
        pattern: Regular expression for the whole stem, upper and lower case alike; its first group is the
            patient.
    """
    match = re.fullmatch(pattern, stem, re.IGNORECASE)
    return match[1] if match else None


def value_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns everything that is wrong with the values that are present, as (attribute, message) pairs."""
    found = {name: ATTRIBUTES[name].problem(value, "{!r:.80}".format) for name, value in values.items()}
    good = {name: value for name, value in values.items() if not found[name]}
    return [(name, text) for name, text in found.items() if text] + [*_joint_problems(good)]


def _completed(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns checked values with the defaults that depend on other values, and floats where due."""
    values = {
        "class_weights": (1.0 / values["num_classes"],) * values["num_classes"],
        "data_path_tr_cropped": f"cropped/{name}",
        "unlabeled_phases": values.get("phases", ("",)),
        "label_resampling": "nearest" if values.get("grid") in ("stretch", "native") else "area",
        **values,
    }
    values |= {key: os.path.expanduser(values[key]) for key in _FOLDERS if key in values}
    is_numbers = {key: ATTRIBUTES[key].kind == Numbers for key in values}
    return {key: tuple(map(float, value)) if is_numbers[key] else value for key, value in values.items()}


def _absolute(root: str | os.PathLike | None) -> Path:
    return Path(os.path.abspath(root or data_root()))


def _output_problem(values: Mapping[str, Any], root: Path, *, is_override: bool) -> str:
    """Returns why prepared volumes may not be written where `data_path_tr_cropped` says, "" if they may.

    A relative path stays below the data root, and beside the scans. Only an init file may name a folder elsewhere, in
    full.
    """
    output, scans = (values.get(name) for name in ("data_path_tr_cropped", "data_path_tr"))
    if not isinstance(output, str):
        return ""
    output = os.path.expanduser(output)
    place = os.path.normpath(root / output)
    scans = os.path.normpath(root / os.path.expanduser(scans)) if isinstance(scans, str) else str(root)
    remedy = "Choose a folder of its own below the data root, such as cropped/mine"
    own = [each for each in map(values.get, ("images_dir", "labels_dir")) if isinstance(each, str)]
    for folder in [os.path.normpath(os.path.join(scans, each)) for each in own] or [scans]:
        if place in (scans, str(root)) or (folder != str(root) and f"{place}/".startswith(f"{folder}/")):
            return f"`data_path_tr_cropped` must not lie among the scans ({folder}). {remedy}."
    if Path(place).is_relative_to(root) or (os.path.isabs(output) and not is_override):
        return ""
    return f"`data_path_tr_cropped` leads out of the data root ({root}). {remedy}; or name it in full in the init file."


def _joint_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    layout, classes = values.get("layout"), values.get("num_classes")
    names, weights = values.get("struct_name"), values.get("class_weights")
    if layout is not None and layout not in layouts():
        yield "layout", f"`layout`: {unknown_name('layout', layout, layouts())}"
    if classes is not None and names is not None and len(names) != classes - 1:
        received = f"{len(names)}: {', '.join(names)}"
        yield "struct_name", f"`struct_name` must have num_classes - 1 = {classes - 1} names. Received {received}"
    if classes is not None and weights is not None and len(weights) != classes:
        received = f"{len(weights)}: {weights}"
        yield "class_weights", f"`class_weights` must have num_classes = {classes} numbers. Received {received}"
    if classes is not None and any(not 0 <= label < classes for _, label in values.get("label_map", ())):
        outside = {code: label for code, label in values["label_map"] if not 0 <= label < classes}
        must = f"must lead to labels 0 to {classes - 1} (num_classes - 1)"
        yield "label_map", f"`label_map` {must}. Received: {outside}"
    metrics = {*_own("evaluate", "METRICS"), *registry.of("metric").names()}
    for name in (name for name in values.get("metrics", ()) if name not in metrics):
        yield "metrics", f"`metrics`: {unknown_name('metric', name, metrics)}"
    if values.get("label_values") == "instances" and classes not in (None, 2):
        yield "label_values", f"`label_values` instances needs `num_classes = 2`. Received: {classes}"
    ignored, coded = values.get("ignore_label"), {code for code, _ in values.get("label_map", ())}
    if ignored is not None and (ignored in coded if coded else 0 <= ignored < (classes or 0)):
        text = "must be a code that no class has, such as 255"
        yield "ignore_label", f"`ignore_label` {text}. Received: {ignored}"
    for name in ("phases", "unlabeled_phases"):
        strange = sorted(set(values.get(name, ())) - {"ED", "ES"})
        if strange and layout in ("acdc", "acdc_h5", "acdc_slices_h5"):
            received = ", ".join(map(repr, strange))
            yield name, f'`{name}` may hold "ED" and "ES" in this layout. Received: {received}'
    if layout == "acdc_h5" and not values.get("spacing_table"):
        yield "layout", "`spacing_table` must name the csv with the voxel sizes, since .h5 volumes hold none."
