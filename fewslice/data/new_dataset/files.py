"""The split lists of a new dataset, and the text of its two files for `experiment_init/`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from fewslice.core.errors import ConfigError, few, plural
from fewslice.settings.datasets import PATIENT_PATTERN, DatasetConfig
from fewslice.settings.splits import Splits

_LINE = 100
_MOST_COMBINATIONS = {1: 5, 2: 5, 8: 3}  # patients per list -> lists, as in the published tables


def split_patients(
    labelled: Sequence[str],
    unlabelled: Sequence[str],
    *,
    seed: int,
    val: int | None,
    test: int | None,
    official: Sequence[str] = (),
) -> Splits:
    """Returns seeded lists by patient: test, validation, and training lists of 1, 2, 8 and all other patients.

    Args:
        labelled: Patients with labels.
        unlabelled: Other patients; they join the list for pretraining, the only one if nobody has labels.
        seed: Seed of the shuffle.
        val: Number of validation patients; default 2, or 1 of fewer than 8. They count as labels.
        test: Number of test patients; default a fifth, at least one.
        official: Those of `labelled` that are the test list, in place of drawn ones.

    Raises:
        ConfigError: too few labelled patients; `test` although there is an official list.
    """
    if not labelled and unlabelled:
        return Splits({"unlabeled": {"*": sorted(unlabelled)}}, {}, ())
    if official and test is not None:
        raise ConfigError(f"The {len(official)} official test patients are the test list. Leave out --test={test}.")
    count = len(labelled)
    val = (1 if count - len(official) < 8 else 2) if val is None else val
    test = len(official) or (max(1, round(count / 5)) if test is None else test)
    if val < 1 or test < 0 or count - val - test < 1:
        raise ConfigError(
            f"{plural(count, 'labelled patient')} ({few(labelled, 4)}) cannot be split into {test} to test, {val} to "
            "validate (at least 1) and at least 1 to train. Choose other --test and --val, or another "
            "--patient_pattern if names were taken for one patient."
        )
    drawn = sorted(set(labelled) - set(official))
    order = [*official, *(drawn[index] for index in np.random.default_rng(seed).permutation(len(drawn)))]
    testing, validating, pool = order[:test], order[test : test + val], order[test + val :]
    train: dict[str, dict[str, list[str]]] = {}
    for size, most in _MOST_COMBINATIONS.items():
        lists = [sorted(pool[start : start + size]) for start in range(0, len(pool) - size + 1, size)][:most]
        if lists:
            train[f"tr{size}"] = {f"c{index}": ids for index, ids in enumerate(lists, start=1)}
    train["trall"] = train["al"] = {"*": sorted(pool)}
    validation = {key: {"*": sorted(validating)} for key in train}
    train["unlabeled"] = {"*": sorted({*pool, *unlabelled})}
    return Splits(train, validation, tuple(sorted(testing)))


def init_text(dataset: DatasetConfig, facts: str, *, has_labels: bool = True) -> str:
    """Returns the text of `init_<name>.py`; `facts` are the numbers of volumes and patients, for its header."""
    first = f"pretr_encoder_group_contrastive_loss.py --dataset={dataset.name}"
    if has_labels:
        first = f"tr_baseline.py --dataset={dataset.name} --no_of_tr_imgs=tr1"
    lines = [
        f'"""{dataset.name}: written by scripts/add_dataset.py; edit it freely (README.md here explains it).',
        "",
        f"Found   {facts}",
        f"Try     python train_model/{first}",
        '"""',
        "",
        "# Where the scans are: a full path, or below the data root (FEWSLICE_DATA, or data_root/ here).",
        _line("layout", dataset.layout),
        _line("data_path_tr", dataset.data_path_tr),
        _line("data_path_tr_cropped", dataset.data_path_tr_cropped),
        *_paired_lines(dataset),
        _line("how_to_get", dataset.how_to_get),
        "",
        "# canonical: axes are turned to R, A, S as the headers say, the third stays the slice axis; or as_stored.",
        _line("orientation", dataset.orientation),
        "",
        "# Prepared slices: pixels (multiples of 32) and mm per pixel.",
        *_values(dataset, "img_size_x", "img_size_y", "target_resolution", "image_channel"),
        "",
        "# Classes: 0 is the background, then the structures in order. label_map: code in the file -> class.",
        f"num_classes = {dataset.num_classes}",
        f"struct_name = {_tuple(dataset.struct_name)}",
        f"label_map = {dict(dataset.label_map)!r}",
        f"class_weights = {dataset.class_weights!r}  # background first; for --dsc_loss=0 and 4",
        "",
        "# Which volumes of a patient are used; one empty text if volumes have no phase.",
        f"phases = {_tuple(dataset.phases)}",
        f"unlabeled_phases = {_tuple(dataset.unlabeled_phases)}",
        "",
        f"# Split of data_cfg_{dataset.name}.py that pretraining uses unless --no_of_tr_imgs says otherwise.",
        _line("unlabeled_split", dataset.unlabeled_split),
        "",
        "# Batch sizes in slices, and validation every so many steps.",
        *_values(dataset, "mtask_bs", "batch_size_ft", "val_step_update"),
    ]
    return "\n".join(lines) + "\n"


def next_steps(name: str, *, images_only: bool) -> str:
    """Returns the commands that make sense after a dataset was added."""
    commands = ["scripts/verify_dataset.py", "train_model/pretr_encoder_global_contrastive_loss.py"]
    if images_only:
        commands[1] = "train_model/pretr_encoder_group_contrastive_loss.py"
    lines = [f"  python {command} --dataset={name}" for command in commands]
    training = f"tr_baseline.py --dataset={name} --no_of_tr_imgs=tr1"
    choosing = f"select_slices.py --dataset={name} --encoder=<the folder in runs/ that the line before names>"
    return "\n".join(["Next:", *lines, f"  python train_model/{choosing if images_only else training}"])


def summary(dataset: DatasetConfig, tables: Splits) -> str:
    """Returns one line about sizes, classes and lists."""
    size = f"{dataset.img_size_x} x {dataset.img_size_y} pixels"
    resolution = " x ".join(f"{side:g}" for side in dataset.target_resolution)
    if "trall" not in tables.train:
        return f"Slices of {size} of {resolution} mm; patients to pretrain on: {len(tables.train['unlabeled']['*'])}."
    counts = [len(ids) for ids in (tables.train["trall"]["*"], tables.val["trall"]["*"], tables.test)]
    lists = f"{plural(counts[0], 'patient')} to train, {counts[1]} to validate, {counts[2]} to test"
    return f"Slices of {size} of {resolution} mm; structures {', '.join(dataset.struct_name)}; {lists}."


def splits_text(name: str, tables: Splits, seed: int) -> str:
    """Returns the text of `data_cfg_<name>.py`; lists that serve several keys stand once, on top."""
    everyone = {"*": []}
    shared = {
        "_training": tables.train.get("trall", everyone)["*"],
        "_validation": tables.val.get("trall", everyone)["*"],
    }
    unlabeled = sorted(set(tables.train["unlabeled"]["*"]) - set(shared["_training"]))
    blocks = [
        f'"""Split lists of {name}: patients, shuffled with seed {seed}.\n\n'
        'key "tr<n>" -> combination -> patients; "*" serves every combination.\n"""\n# fmt: off',
        *(f"{variable} = {_list(ids, 0)}" for variable, ids in shared.items()),
        f"_unlabeled = {_list(unlabeled, 0)}",
        "train = "
        + _table(tables.train, {"trall": "_training", "al": "_training", "unlabeled": "_training + _unlabeled"}),
        "val = " + _table(tables.val, dict.fromkeys(tables.val, "_validation")),
        f"test = {_list(tables.test, 0)}",
        "# Keys for pretraining without labels; only these may contain validation patients.\n"
        'unlabeled = ("unlabeled",)\n',
    ]
    return "\n".join(f"{block.rstrip()}\n" for block in blocks)


def _paired_lines(dataset: DatasetConfig) -> list[str]:
    lines = [_line("images_dir", dataset.images_dir), _line("labels_dir", dataset.labels_dir)]
    lines = lines if dataset.layout == "paired_folders" else []
    if dataset.patient_pattern != PATIENT_PATTERN:
        lines.append(_line("patient_pattern", dataset.patient_pattern))
    return lines


def _values(dataset: DatasetConfig, *names: str) -> list[str]:
    return [f"{name} = {getattr(dataset, name)!r}" for name in names]


def _line(name: str, text: str) -> str:
    return f"{name} = {_quoted(text)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(map(_quoted, texts))}{',' if len(texts) == 1 else ''})"


def _table(table: Mapping[str, Mapping[str, Sequence[str]]], shared: Mapping[str, str]) -> str:
    lines = ["{"]
    for key, combinations in table.items():
        lines.append(f"    {_quoted(key)}: {{")
        for comb, ids in combinations.items():
            lines.append(f"        {_quoted(comb)}: {shared.get(key) or _list(ids, 8)},")
        lines.append("    },")
    return "\n".join([*lines, "}"])


def _list(ids: Sequence[str], indent: int) -> str:
    """Returns a list literal, on one line if it fits, else wrapped."""
    quoted = [_quoted(item) for item in ids]
    if sum(len(item) + 2 for item in quoted) + indent + 8 <= _LINE:
        return f"[{', '.join(quoted)}]"
    lines, line = [], ""
    for item in quoted:
        if line and len(line) + len(item) + indent + 8 > _LINE:
            lines.append(line.rstrip())
            line = ""
        line += f"{item}, "
    blank = " " * (indent + 4)
    return "[\n" + "\n".join(blank + text for text in [*lines, line.rstrip()]) + "\n" + " " * indent + "]"
