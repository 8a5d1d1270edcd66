"""Split lists of a dataset whose files say which cases are the official test, drawn by a fact of its cases."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fewslice.core.errors import ConfigError, few
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
