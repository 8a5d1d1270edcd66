"""Split lists of a dataset that says which cases are its official test, drawn by a fact: `scripts/create_splits.py`."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fewslice.core.errors import ConfigError, few
from fewslice.core.files import write_text
from fewslice.data.new_dataset.files import split_patients
from fewslice.data.readers import Reader
from fewslice.settings.splits import Splits


def facts_of(reader: Reader, name: str) -> dict[str, str]:
    """Returns name in split lists -> a fact of all cases, such as the grade.

    Raises:
        ConfigError: cases about which it is not known.
    """
    facts = {case.patient_id: reader.patient_facts(case) for case in reader.cases()}
    if lacking := [each for each, known in facts.items() if name not in known]:
        known = ", ".join(sorted({key for each in facts.values() for key in each})) or "nothing"
        raise ConfigError(f"--label={name} is not known of {few(lacking, 5)}. Known of the cases: {known}.")
    return {each: str(known[name]) for each, known in facts.items()}


def draw(reader: Reader, label_of: Mapping[str, str] | None, *, share: float, seed: int) -> Splits:
    """Returns seeded lists: the official test, a share of the others to validate, the rest to train, in drawn order.

    Args:
        reader: Of the dataset; names are those of its cases.
        label_of: Name -> label, of which each list gets its share; None draws without regard to labels, as published.
        share: Of the validation, 0 to 1; rounded up.
        seed: Of the draw.
    """
    cases = {case.patient_id: case for case in reader.cases()}
    official = sorted(name for name, case in cases.items() if reader.is_official_test(case))
    labelled = [name for name, case in cases.items() if case.label_path is not None]
    others = [name for name in cases if name not in labelled and name not in official]
    val = math.ceil(share * len(set(labelled) - set(official)))
    official = [name for name in official if name in labelled]
    how = {"seed": seed, "val": val, "test": None, "official": official, "label_of": label_of}
    return split_patients(labelled, others, **how, is_sorted=False)


def shares(splits: Splits, label_of: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each list: how many cases of each label."""
    for role, names in _roles(splits).items():
        found = [label_of[name] for name in names]
        yield f"{role}: {len(names)} ({', '.join(f'{found.count(each)} {each}' for each in sorted(set(found)))})"


def write_tables(folder: Path, reader: Reader, splits: Splits, label_of: Mapping[str, str]) -> list[Path]:
    """Writes train.csv, val.csv and test.csv as published: image, mask, number of the label; no header, | quotes, CRLF.

    Labels are numbered in the order of their names: benign 0, malignant 1.

    Raises:
        ConfigError: an image without a mask.
        FewSliceError: the file system refuses.
    """
    cases, numbers = {case.patient_id: case for case in reader.cases()}, sorted(set(label_of.values()))
    texts = {}
    for role, names in _roles(splits).items():
        if lacking := [name for name in names if cases[name].label_path is None]:
            raise ConfigError(f"--csv: no mask of {few(lacking)}, which the published table names.")
        table = io.StringIO(newline="")
        rows = csv.writer(table, delimiter=",", quotechar="|", quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
        files = ((cases[name].image_path.name, cases[name].label_path.name) for name in names)
        rows.writerows([*pair, numbers.index(label_of[name])] for pair, name in zip(files, names, strict=True))
        texts[folder / f"{role}.csv"] = table.getvalue()
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def _roles(splits: Splits) -> dict[str, list[str]]:
    """Returns role -> names; the test in the order of its numbers."""
    in_order = sorted(splits.test, key=lambda name: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", name)])
    return {"train": [*splits.train["trall"]["*"]], "val": [*splits.val["trall"]["*"]], "test": in_order}
