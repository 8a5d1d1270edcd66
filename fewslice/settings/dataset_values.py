"""The attributes of an `init_<name>.py`: which exist, what `--set` text means, what values are allowed."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fewslice.core import registry
from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

ANTI_ALIASING = ("default", "off")
GRIDS = ("resample", "stretch", "native")
INTENSITIES = ("percentiles", "as_stored")
SCRIBBLES = ("file", "simulated")
_PHASES = ("ED", "ES")
STRIDE = 32  # five 2x2 poolings halve each side five times

# File stem -> patient: what stands before a suffix for the frame, as in "subject7_frame01", "subject7_t03",
# "p1_ED".
PATIENT_PATTERN = r"(.+?)(?:_(?:frame|phase|time|t)\d+|_ED|_ES)?"

_INTEGERS = (
    "img_size_x", "img_size_y", "num_channels", "num_classes", "image_channel", "mtask_bs", "batch_size_ft",
    "val_step_update",
)  # fmt: skip
_TEXTS = (
    "layout", "data_path_tr", "data_path_tr_cropped", "anti_aliasing", "spacing_table", "images_dir",
    "labels_dir", "patient_pattern", "unlabeled_split", "how_to_get", "grid", "intensity", "scribbles",
)  # fmt: skip
_TEXT_LISTS = ("struct_name", "phases", "unlabeled_phases")
_NUMBER_LISTS = ("target_resolution", "class_weights", "percentiles")

REQUIRED = (
    "layout", "data_path_tr", "img_size_x", "img_size_y", "num_classes", "struct_name", "unlabeled_split",
    "how_to_get",
)  # fmt: skip
OPTIONAL = tuple(
    name for name in _INTEGERS + _TEXTS + _TEXT_LISTS + _NUMBER_LISTS + ("label_map",) if name not in REQUIRED
)


def required(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the attributes that must be given beside these values; only a resampled grid has a resolution."""
    return REQUIRED if values.get("grid") in ("stretch", "native") else (*REQUIRED, "target_resolution")


def layouts() -> tuple[str, ...]:
    """Returns the names of all readers, those of plugins included."""
    return tuple(sorted({*_own_layouts(), *registry.of("layout").names()}))


@functools.cache
def _own_layouts() -> tuple[str, ...]:
    """Returns the names that our readers register, found in their source: importing them would take long."""
    sources = (Path(__file__).parents[1] / "data" / "readers").glob("*.py")
    found = (re.findall(r'^@READERS\.register\("(\w+)"\)', path.read_text(encoding="utf-8"), re.M) for path in sources)
    return tuple(name for names in found for name in names)


def plain(value: Any) -> Any:
    """Returns `value` with lists and dicts as tuples, so that the settings cannot change afterwards."""
    if isinstance(value, Mapping):
        return tuple((key, item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value


def parse(name: str, text: str) -> Any:
    """Returns the value that `--set name=text` means.

    Raises:
        ConfigError: there is no such attribute (with the nearest one), or the text does not fit its type.
    """
    if name not in REQUIRED + OPTIONAL:
        raise ConfigError(unknown_name("attribute", name, REQUIRED + OPTIONAL))
    text = text.strip()
    parts = [part.strip() for part in text.split(",")] if text else []
    try:
        if name in _INTEGERS:
            return int(text)
        if name in _NUMBER_LISTS:
            return tuple(float(part) for part in parts)
        if name == "label_map":
            return label_pairs(text)
    except ValueError:
        raise ConfigError(f"expected {_expected(name)}.") from None
    return tuple(parts) or ("",) if name in _TEXT_LISTS else text


def completed(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns checked values with the defaults that depend on other values, and floats where due."""
    values = dict(values)
    for key in _NUMBER_LISTS:
        if key in values:
            values[key] = tuple(float(number) for number in values[key])
    values.setdefault("class_weights", (1.0 / values["num_classes"],) * values["num_classes"])
    values.setdefault("data_path_tr_cropped", f"cropped/{name}")
    values.setdefault("unlabeled_phases", values.get("phases", ("",)))
    values.setdefault("target_resolution", ())
    return values


def patient_of(stem: str, pattern: str = PATIENT_PATTERN) -> str | None:
    """Returns the patient id in a file stem, or None if the stem does not fit.

    Args:
        stem: File name without its suffix (and without the channel number "_0000").
        pattern: Regular expression for the whole stem, upper and lower case alike; its first group is the
            patient.
    """
    match = re.fullmatch(pattern, stem, re.IGNORECASE)
    return match[1] if match else None


def label_pairs(text: str) -> tuple[tuple[int, int], ...]:
    """Returns the (code, class) pairs of a text such as "205:1,420:2". Raises `ConfigError` if it is none."""
    try:
        return tuple(_pair(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise ConfigError(f"expected code:label pairs separated by commas. Received: {text}") from None


def _pair(text: str) -> tuple[int, int]:
    code, separator, label = text.partition(":")
    if not separator:
        raise ValueError(text)
    return int(code), int(label)


def _expected(name: str) -> str:
    return "a whole number" if name in _INTEGERS else "numbers separated by commas"


def problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns everything that is wrong with the values that are present, as (attribute, message) pairs."""
    wrong = _type_problems(values)
    bad = {name for name, _ in wrong}
    good = {name: value for name, value in values.items() if name not in bad}
    for name, is_right, must in _RULES:
        if name in good and not is_right(good[name]):
            wrong.append((name, f"`{name}` must be {must}. Received: {name}={good[name]!r}"))
    return wrong + _joint_problems(good)


def _type_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    kinds: list[tuple[tuple[str, ...], Callable[[Any], bool], str]] = [
        (_INTEGERS, _is_integer, "a whole number"),
        (_TEXTS, lambda v: isinstance(v, str), "a text in quotes"),
        (
            _TEXT_LISTS,
            lambda v: isinstance(v, tuple) and all(isinstance(i, str) for i in v),
            "a tuple of texts",
        ),
        (
            _NUMBER_LISTS,
            lambda v: isinstance(v, tuple) and all(_is_number(i) for i in v),
            "a tuple of numbers",
        ),
        (("label_map",), _is_label_map, "a dict: code in the file -> label"),
    ]
    return [
        (name, f"`{name}` must be {must}. Received: {name}={values[name]!r}")
        for names, is_right, must in kinds
        for name in names
        if name in values and not is_right(values[name])
    ]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_label_map(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(_is_integer(item) for item in pair) for pair in value
    )


def _is_pattern(value: str) -> bool:
    try:
        return re.compile(value).groups >= 1
    except re.error:
        return False


def _is_side(value: int) -> bool:
    return value > 0 and value % STRIDE == 0


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("data_path_tr", lambda v: bool(v), "the folder of the scans below the data root"),
    ("img_size_x", _is_side, f"a positive multiple of {STRIDE}, since the network halves it five times"),
    ("img_size_y", _is_side, f"a positive multiple of {STRIDE}, since the network halves it five times"),
    ("num_channels", lambda v: 1 <= v <= 64, "1 to 64 (one channel of a 4-D image is chosen with `image_channel`)"),
    ("num_classes", lambda v: 2 <= v <= 255, "the number of classes including the background, 2 to 255"),
    ("target_resolution", lambda v: len(v) == 2 and min(v) > 0, "two positive numbers, mm per pixel"),
    (
        "struct_name",
        lambda v: len(set(v)) == len(v) and all(v),
        "a tuple of different names, without the background",
    ),
    ("class_weights", lambda v: all(w >= 0 for w in v) and sum(v) > 0, "non-negative, not all zero"),
    (
        "phases",
        lambda v: len(v) > 0 and len(set(v)) == len(v),
        'a tuple such as ("ED",); ("",) if there are none',
    ),
    ("unlabeled_phases", lambda v: len(v) > 0 and len(set(v)) == len(v), 'a tuple such as ("ED", "ES")'),
    ("image_channel", lambda v: v >= 0, "0 or larger"),
    ("anti_aliasing", lambda v: v in ANTI_ALIASING, f"one of {', '.join(ANTI_ALIASING)}"),
    ("grid", lambda v: v in GRIDS, f"one of {', '.join(GRIDS)}"),
    ("intensity", lambda v: v in INTENSITIES, f"one of {', '.join(INTENSITIES)}"),
    ("scribbles", lambda v: v in SCRIBBLES, f"one of {', '.join(SCRIBBLES)}"),
    ("percentiles", lambda v: len(v) == 2 and 0 <= v[0] < v[1] <= 100, "two rising numbers in 0 to 100"),
    ("label_map", lambda v: len({code for code, _ in v}) == len(v), "a dict with each code once"),
    ("patient_pattern", _is_pattern, "a regular expression with one group, the patient's id"),
    ("mtask_bs", lambda v: v > 0, "positive"),
    ("batch_size_ft", lambda v: v > 0, "positive"),
    ("val_step_update", lambda v: v > 0, "positive"),
)


def _joint_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = []
    if "layout" in values and values["layout"] not in layouts():
        wrong.append(("layout", f"`layout`: {unknown_name('layout', values['layout'], layouts())}"))
    classes = values.get("num_classes")
    names, weights = values.get("struct_name"), values.get("class_weights")
    if classes is not None and names is not None and len(names) != classes - 1:
        expected = f"`struct_name` must have num_classes - 1 = {classes - 1} names."
        text = f"{expected} Received {len(names)}: {', '.join(names)}"
        wrong.append(("struct_name", text))
    if classes is not None and weights is not None and len(weights) != classes:
        text = f"`class_weights` must have num_classes = {classes} numbers. Received {len(weights)}: {weights}"
        wrong.append(("class_weights", text))
    outside = [pair for pair in values.get("label_map", ()) if classes is not None and not 0 <= pair[1] < classes]
    if outside:
        text = f"`label_map` must lead to labels 0 to {classes - 1} (num_classes - 1). Received: {dict(outside)}"
        wrong.append(("label_map", text))
    for name in ("phases", "unlabeled_phases"):
        strange = sorted(set(values.get(name, ())) - set(_PHASES))
        if strange and values.get("layout") in ("acdc", "acdc_h5", "acdc_slices_h5"):
            received = ", ".join(map(repr, strange))
            wrong.append((name, f'`{name}` may hold "ED" and "ES" in this layout. Received: {received}'))
    if values.get("layout") == "acdc_h5" and not values.get("spacing_table"):
        text = "`spacing_table` must name the csv with the voxel sizes, since .h5 volumes hold none."
        wrong.append(("layout", text))
    return wrong
