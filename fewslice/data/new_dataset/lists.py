"""Split lists of a dataset whose files say which cases are the official test, drawn by a fact; as csv tables too."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

from fewslice.core.errors import ConfigError, few
from fewslice.core.files import write_text
from fewslice.data.new_dataset.files import split_patients
from fewslice.data.readers import Reader
from fewslice.settings.splits import Splits


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


def roles(splits: Splits) -> dict[str, list[str]]:
    """Returns "train", "val" and "test" -> names; the test in the order of its numbers."""
    in_order = sorted(splits.test, key=lambda name: [int(n) if n.isdigit() else n for n in re.split(r"(\d+)", name)])
    return {"train": [*splits.train["trall"]["*"]], "val": [*splits.val["trall"]["*"]], "test": in_order}


def write_tables(folder: Path, reader: Reader, splits: Splits, label_of: Mapping[str, str]) -> list[Path]:
    """Writes train.csv, ... as published: image, mask, number of the label by name; no header, | quotes, CRLF."""
    cases, numbers = {case.patient_id: case for case in reader.cases()}, sorted(set(label_of.values()))
    written = []
    for role, names in roles(splits).items():
        table, chosen = io.StringIO(newline=""), [(cases[name], numbers.index(label_of[name])) for name in names]
        rows = csv.writer(table, quotechar="|", lineterminator="\r\n")
        rows.writerows((case.image_path.name, case.label_path.name, number) for case, number in chosen)
        written.append(folder / f"{role}.csv")
        write_text(written[-1], table.getvalue())
    return written
