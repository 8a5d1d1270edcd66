"""The split lists of a new dataset, and the text of its two files for `experiment_init/`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fewslice.core.errors import ConfigError, few, plural
from fewslice.data.readers import Reader
from fewslice.settings.datasets import PATIENT_PATTERN, DatasetConfig
from fewslice.settings.splits import Splits

_LINE = 100
IGNORE_LINES = "# Code in the label files that means not annotated.\nignore_label = {}\n"
FEWEST = 5  # labelled patients of whom one is held out for validation
_MOST_COMBINATIONS = {1: 5, 2: 5, 8: 3}  # patients per list -> lists, as in the published tables


def split_patients(
    labelled: Sequence[str],
    unlabelled: Sequence[str],
    *,
    seed: int,
    val: int | None,
    test: int | None,
    official: Sequence[str] = (),
    label_of: Mapping[str, str] | None = None,
    is_sorted: bool = True,
) -> Splits:
    """Returns seeded lists by patient: test, validation, and training lists of 1, 2, 8 and all other patients.

    Args:
        labelled: Patients with labels.
        unlabelled: Other patients; they join the list for pretraining, the only one if nobody has labels.
        seed: Seed of the shuffle.
        val: Number of validation patients; default 2, or 1 of fewer than 8. They count as labels.
        test: Number of test patients; default a fifth, at least one.
        official: Those of `labelled` that are the test list, in place of drawn ones.
        label_of: Patient -> label, of which the test and validation lists get their shares; None: as they are drawn.
        is_sorted: List the training patients by name; False keeps the order in which they were drawn.

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
    order = [drawn[index] for index in np.random.default_rng(seed).permutation(len(drawn))]
    testing = [*official] or _in_proportion(order, test, label_of)
    order = [name for name in order if name not in testing]
    validating = _in_proportion(order, val, label_of)
    order = [name for name in order if name not in validating]
    pool = sorted(order) if is_sorted else order
    train: dict[str, dict[str, list[str]]] = {}
    for size, most in _MOST_COMBINATIONS.items():
        lists = [sorted(order[start : start + size]) for start in range(0, len(pool) - size + 1, size)][:most]
        if lists:
            train[f"tr{size}"] = {f"c{index}": ids for index, ids in enumerate(lists, start=1)}
    train["trall"] = train["al"] = {"*": pool}
    validation = {key: {"*": sorted(validating)} for key in train}
    train["unlabeled"] = {"*": [*pool, *sorted(set(unlabelled) - set(pool))]}
    return Splits(train, validation, tuple(sorted(testing)))


def _in_proportion(order: Sequence[str], count: int, label_of: Mapping[str, str] | None) -> list[str]:
    """Returns so many of the names, of each label its share, rounded by the largest remainders: the first in order."""
    if label_of is None or not count:
        return [*order[:count]]
    groups: dict[str, list[str]] = {label: [] for label in sorted({label_of[name] for name in order})}
    for name in order:
        groups[label_of[name]].append(name)
    shares = {label: count * len(names) / len(order) for label, names in groups.items()}
    counts = {label: int(share) for label, share in shares.items()}
    for label in sorted(shares, key=lambda label: counts[label] - shares[label])[: count - sum(counts.values())]:
        counts[label] += 1
    return [name for label, names in groups.items() for name in names[: counts[label]]]


def facts_of(reader: Reader, name: str) -> dict[str, str]:
    """Returns name in split lists -> a fact, such as the grade. Raises `ConfigError` where it is not known of all."""
    facts = {case.patient_id: reader.patient_facts(case) for case in reader.cases()}
    if lacking := [each for each, known in facts.items() if name not in known]:
        raise ConfigError(f"--label={name} is not known of {few(lacking, 5)}. Known: {', '.join(facts[lacking[0]])}.")
    return {each: str(known[name]) for each, known in facts.items()}


def draw(reader: Reader, label_of: Mapping[str, str] | None, *, share: float, seed: int) -> Splits:
    """Returns lists in drawn order: the official test, a share of the others (rounded up) to validate, the rest.

    `label_of`, name -> label, gives each list its share of each label; None draws without regard to labels.
    """
    cases = {case.patient_id: case for case in reader.cases()}
    labelled = [name for name, case in cases.items() if case.label_path is not None]
    official = [name for name in labelled if reader.is_official_test(cases[name])]
    others = [name for name, case in cases.items() if name not in labelled and not reader.is_official_test(case)]
    val = math.ceil(share * (len(labelled) - len(official)))
    how = {"seed": seed, "val": val, "test": None, "official": official, "label_of": label_of}
    return split_patients(labelled, others, **how, is_sorted=False)


def extend_patients(
    old: Splits,
    labelled: Sequence[str],
    others: Sequence[str],
    *,
    seed: int,
    val: int | None,
    test: int | None,
    is_partial: bool = True,
) -> Splits:
    """Returns lists with new labelled patients; who trains, validates or tests already goes on to do so.

    The new ones go to test and validation as far as these are short, and then to training: to `trall`, and to `al`,
    the pool of active learning. Lists of other keys stay; test patients leave `unlabeled`, which otherwise only grows.

    Args:
        old: The lists so far.
        labelled: Patients with labels.
        others: Those without.
        seed: Seed of the shuffle.
        val: Number of validation patients; default as in `split_patients`, or a fifth where labels are partial.
        test: Number of test patients; default: those of `old`.
        is_partial: Labels are partial: `al` gets the patients without labels too, and of fewer than five labelled
            patients all train, and the list `folds` leaves each out in turn.

    Raises:
        ConfigError: no new patient is left to train.
    """
    train, validation = ({key: dict(combs) for key, combs in table.items()} for table in (old.train, old.val))
    held = [*validation.get("trall", {}).get("*", ())]
    named = {*old.test}.union(*(ids for key in validation for ids in validation[key].values()))
    named.update(*(ids for key in validation for ids in train.get(key, {}).values() if key != "al"))
    new, count = sorted(set(labelled) - named), len(named.union(labelled))
    order = [new[index] for index in np.random.default_rng(seed).permutation(len(new))]
    is_few = is_partial and count < FEWEST
    a_fifth = 0 if is_few else round(count / 5)  # one slice of each may be all there is
    val = (a_fifth if is_partial else 1 if count < 8 else 2) if val is None else val
    short = [max(0, (test or 0) - len(old.test)), max(0, val - len(held))]
    trained = [*train.get("trall", {}).get("*", ())]
    if len(trained) + len(order) - sum(short) < 1:
        raise ConfigError(
            f"{count} labelled patients cannot be split into {test or 0} to test, {val} to validate and at "
            "least 1 to train. Choose other --test and --val, or label more."
        )
    testing = sorted([*old.test, *order[: short[0]]])
    held += sorted(order[short[0] : sum(short)])
    trained += sorted(order[sum(short) :])
    pool = trained
    if "*" in train.get("unlabeled", {"*": ()}):
        before = train.get("unlabeled", {}).get("*", ())
        more = sorted({*trained, *others} - {*before, *held})
        train["unlabeled"] = {"*": [name for name in [*before, *more] if name not in testing]}
        pool = train["unlabeled"]["*"] if is_partial else trained
    for key, ids in (("trall", trained), ("al", pool)):
        ids = dict.fromkeys([*train.get(key, {}).get("*", ()), *ids])
        ids = [name for name in ids if name not in (*held, *testing)]
        if ids and (key not in train or "*" in train[key]):
            train.setdefault(key, {})["*"], validation.setdefault(key, {})["*"] = ids, held
    if is_few and not held and len(trained) > 1:
        train["folds"] = {f"c{n}": [name for name in trained if name != out] for n, out in enumerate(trained, 1)}
        validation["folds"] = {f"c{n}": [out] for n, out in enumerate(trained, 1)}
    return Splits(train, validation, tuple(testing), old.unlabeled or ("unlabeled",), old.dataset)


def still_there(old: Splits, known: Iterable[str]) -> Splits:
    """Returns lists without patients that a dataset has no longer, and without lists that are empty then."""
    names = set(known)
    tables = []
    for table in (old.train, old.val):
        kept = {key: {c: [i for i in ids if i in names] for c, ids in combs.items()} for key, combs in table.items()}
        tables.append({key: found for key, combs in kept.items() if (found := {c: i for c, i in combs.items() if i})})
    return Splits(*tables, tuple(name for name in old.test if name in names), old.unlabeled, old.dataset)


def extended_text(name: str, text: str, old: Splits, new: Splits, seed: int) -> str:
    """Returns the text of `data_cfg_<name>.py` with new lists: what was edited by hand stays, with lines behind it."""
    written = re.search(r"shuffled with seed (\d+)", text)
    seed = int(written[1]) if written else seed
    if text == splits_text(name, old, seed):
        return splits_text(name, new, seed)
    lines = []
    for table in ("train", "val"):
        before, after = getattr(old, table), getattr(new, table)
        for key, combinations in after.items():
            for comb, ids in combinations.items():
                if key not in before or list(before[key].get(comb, "?")) != list(ids):
                    lines.append(f"{table}.setdefault({_literal(key)}, {{}})[{_literal(comb)}] = {_list(ids, 0)}")
    lines += [f"test = {_list(new.test, 0)}"] if list(old.test) != list(new.test) else []
    head = "\n# Added with new labels: the lists above, changed.\n"
    return text.rstrip("\n") + "\n" + head + "\n".join(lines) + "\n" if lines else text


def init_text(dataset: DatasetConfig, facts: str, *, has_labels: bool = True) -> str:
    """Returns the text of `init_<name>.py`; `facts` are the numbers of volumes and patients, for its header."""
    first = f"pretr_encoder_group_contrastive_loss.py --dataset={dataset.name}"
    if has_labels:
        first = f"tr_baseline.py --dataset={dataset.name} --no_of_tr_imgs=tr1"
    paired = ["images_dir", "labels_dir"] if dataset.layout == "paired_folders" else []
    paired += ["patient_pattern"] if dataset.patient_pattern != PATIENT_PATTERN else []
    pictures = []
    if dataset.intensity != "percentiles":
        pictures = ['# Pictures. Networks that take any size see them as they are with grid = "native".']
        pictures += [*_settings(dataset, "num_channels", "intensity"), ""]
    lines = [
        f'"""{dataset.name}: written by scripts/add_dataset.py; edit it freely (README.md here explains it).',
        "",
        f"Found   {facts}",
        f"Try     python train_model/{first}",
        '"""',
        "",
        "# Where the scans are: a full path, or below the data root (FEWSLICE_DATA, or data_root/ here).",
        *_settings(dataset, "layout", "data_path_tr", "data_path_tr_cropped", *paired, "how_to_get"),
        "",
        "# canonical: axes are turned to R, A, S as the headers say, the third stays the slice axis; or as_stored.",
        *_settings(dataset, "orientation"),
        "",
        "# Prepared slices: pixels (multiples of 32) and mm per pixel.",
        *_settings(dataset, "img_size_x", "img_size_y", "target_resolution", "image_channel"),
        "",
        *pictures,
        "# Classes: 0 is the background, then the structures in order. label_map: code in the file -> class.",
        *_settings(dataset, "num_classes", "struct_name"),
        f"label_map = {dict(dataset.label_map)!r}",
        *(IGNORE_LINES.format(dataset.ignore_label).splitlines() if dataset.ignore_label is not None else ()),
        f"class_weights = {dataset.class_weights!r}  # background first; for --dsc_loss=0 and 4",
        "",
        "# Which volumes of a patient are used; one empty text if volumes have no phase.",
        *_settings(dataset, "phases", "unlabeled_phases"),
        "",
        f"# Split of data_cfg_{dataset.name}.py that pretraining uses unless --no_of_tr_imgs says otherwise.",
        *_settings(dataset, "unlabeled_split"),
        "",
        "# Batch sizes in slices, and validation every so many steps.",
        *_settings(dataset, "mtask_bs", "batch_size_ft", "val_step_update"),
    ]
    return "\n".join(lines) + "\n"


def next_steps(name: str, *, images_only: bool) -> str:
    """Returns the commands that make sense after a dataset was added."""
    kind = "group" if images_only else "global"
    commands = ["scripts/verify_dataset.py", f"train_model/pretr_encoder_{kind}_contrastive_loss.py"]
    lines = [f"  python {command} --dataset={name}" for command in commands]
    training = f"tr_baseline.py --dataset={name} --no_of_tr_imgs=tr1"
    choosing = f"select_slices.py --dataset={name} --encoder=<the folder in runs/ that the line before names>"
    return "\n".join(["Next:", *lines, f"  python train_model/{choosing if images_only else training}"])


def training_steps(name: str, new: Splits, old: Splits) -> str:
    """Returns who trains, validates and tests after labels were added, and the commands that make sense then."""
    trained, held = new.train_ids("trall", "*"), new.val_ids("trall", "*")
    lines = [f"{len(trained)} patients to train, {len(held)} to validate, {len(new.test)} to test (list trall)."]
    if moved := set(new.test) & {*old.train.get("unlabeled", {}).get("*", ())}:
        text = "leave the list for pretraining; networks pretrained before have seen their images, without labels"
        lines.append(f"Note: the test patients {few(sorted(moved))} {text}.")
    command = f"  python train_model/tr_baseline.py --dataset={name} --no_of_tr_imgs="
    if not held:
        lines.append("Nobody validates: a network trains on all of them, and its last weights count.")
    lines += ["Next:", f"{command}trall"]
    if not held and (folds := list(new.train.get("folds", ()))):
        more = f"and so on to {folds[-1]}: each leaves one patient out, whose slices validate"
        lines.append(f"{command}folds --comb_tr_imgs=c1     # {more}")
    return "\n".join(lines)


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
    unlabeled, trained = [*tables.train.get("unlabeled", everyone)["*"]], [*shared["_training"]]
    is_first = unlabeled[: len(trained)] == trained
    unlabeled = unlabeled[len(trained) :] if is_first else unlabeled
    pretraining = "_training + _unlabeled" if is_first else "_unlabeled"
    validating = [*shared["_validation"]]
    held_alike = [key for key, combs in tables.val.items() if [*combs.get("*", "-")] == validating]
    pool = [*tables.train.get("al", everyone).get("*", ())]
    shared_pool = "_training" if pool == trained else ""
    if pool and pool == [name for name in tables.train.get("unlabeled", everyone)["*"] if name not in validating]:
        shared_pool = shared_pool or f"[name for name in {pretraining} if name not in _validation]"
    blocks = [
        f'"""Split lists of {name}: patients, shuffled with seed {seed}.\n\n'
        'key "tr<n>" -> combination -> patients; "*" serves every combination.\n"""\n# fmt: off',
        *(f"{variable} = {_list(ids, 0)}" for variable, ids in shared.items()),
        f"_unlabeled = {_list(unlabeled, 0)}",
        "train = " + _table(tables.train, {"trall": "_training", "al": shared_pool, "unlabeled": pretraining}),
        "val = " + _table(tables.val, dict.fromkeys(held_alike, "_validation")),
        f"test = {_list(tables.test, 0)}",
        "# Keys for pretraining without labels; only these may contain validation patients.\n"
        'unlabeled = ("unlabeled",)\n',
    ]
    return "\n".join(f"{block.rstrip()}\n" for block in blocks)


def _settings(dataset: DatasetConfig, *names: str) -> list[str]:
    return [f"{name} = {_literal(getattr(dataset, name))}" for name in names]


def _literal(value: object) -> str:
    """Returns a value as it stands in a module, texts in double quotes."""
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _table(table: Mapping[str, Mapping[str, Sequence[str]]], shared: Mapping[str, str]) -> str:
    lines = ["{"]
    for key, combinations in table.items():
        lines.append(f"    {_literal(key)}: {{")
        for comb, ids in combinations.items():
            lines.append(f"        {_literal(comb)}: {shared.get(key) or _list(ids, 8)},")
        lines.append("    },")
    return "\n".join([*lines, "}"])


def _list(ids: Sequence[str], indent: int) -> str:
    """Returns a list literal, on one line if it fits, else wrapped."""
    quoted = [_literal(item) for item in ids]
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
