"""The command-line flags of the selection of slices, and the step that reads them.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from absl import flags

from fewslice.core.errors import ConfigError
from fewslice.settings import dataset_files, datasets
from fewslice.settings import flags as shared
from fewslice.settings.flag_kinds import Spec, integer, one_of, text

STAGE = "select_slices"
# Scores of one network in one pass; the others compare passes or members of an ensemble.
SINGLE_SCORES = ("entropy", "least_confidence", "margin")

SELECT_SPECS: Mapping[str, Spec] = {
    "encoder": text(
        "none",
        "Run folder of a network that turns slices into vectors, such as one of pretr_encoder_group_contrastive_loss, "
        "or pixels, or none.",
    ),
    "budget": Spec(
        "string",
        "5%",
        "Slices to choose: a share of the pool, such as 5%, or a number, such as 12.",
        lambda value: re.fullmatch(r"\s*(\d+|(\d+(\.\d*)?|\.\d+)\s*%)\s*", value, re.ASCII) is not None,
        "a number of slices, such as 12, or a share of the pool, such as 5%",
    ),
    "strategy": text("mfc", "How to choose: mfc, kcenter, typiclust, probcover, random, ...; see fewslice/active."),
    "options": Spec("multi_string", [], "name=value: an option of the strategy; may be repeated."),
    "split": text(
        None,
        "List in data_cfg_<dataset>.py whose patients are the pool, such as tr52. Default: the dataset's "
        "`unlabeled_split`. Test patients are refused.",
    ),
    "phases": text(None, "Phases of the pool, separated by commas: ED or ED,ES. Default: `unlabeled_phases`."),
    "labelled": text(
        None, "CSV file with a column unit_id, such as a former query.csv: slices that are annotated already."
    ),
    "network": text(None, "Run folder of a segmentation network, for strategies that look at its uncertainty."),
    "score": one_of("entropy", "Which uncertainty of --network: entropy, least_confidence or margin.", *SINGLE_SCORES),
    "with_scribbles": Spec(
        "bool", False, "mfc: weigh pixels by each slice's scribble, where the dataset has them already (an experiment)."
    ),
    "batch_size": integer(32, "Slices that go through a network at a time.", 1),
    "output": text(None, "Folder for the result. Default: runs/<dataset>/select_slices/<strategy>-<digest>/."),
}
_SHARED = ("dataset", "set", "data_root", "runs_dir", "comb_tr_imgs", "seed", "mixed_precision")


@dataclasses.dataclass(frozen=True)
class SelectArgs:
    """The flags as frozen values; `strategy_options` are those of `--options`, paths are absolute or None."""

    dataset: str
    runs_dir: str
    split: str
    comb_tr_imgs: str
    phases: tuple[str, ...]
    seed: int
    mixed_precision: bool
    encoder: str
    budget: str
    strategy: str
    strategy_options: Mapping[str, Any]
    labelled: str | None
    network: str | None
    score: str
    with_scribbles: bool
    batch_size: int
    output: str | None


def define_select(flag_values: flags.FlagValues = shared.FLAGS) -> None:
    """Defines every flag of the script; tests pass `flag_values` of their own."""
    shared.define(*_SHARED, flag_values=flag_values)
    shared.define_specs(SELECT_SPECS, flag_values)


def read_select(flag_values: flags.FlagValues = shared.FLAGS) -> tuple[SelectArgs, datasets.DatasetConfig]:
    """Returns the flags as frozen values, and the dataset's settings.

    Raises:
        ConfigError: wrong settings or options, an unknown list, or one with test patients.
    """
    dataset = shared.load_dataset(flag_values)
    values = {name: flag_values[name].value for name in (*_SHARED, *SELECT_SPECS)}
    split = values["split"] or dataset.unlabeled_split
    try:
        datasets.check_pretraining_split(dataset, split, values["comb_tr_imgs"])
    except ConfigError as error:
        raise ConfigError(str(error).replace("--no_of_tr_imgs", "--split")) from error
    phases = values["phases"].split(",") if values["phases"] else dataset.unlabeled_phases
    given = {name: values[name] for name in ("dataset", "comb_tr_imgs", "seed", "mixed_precision", "encoder", "budget")}
    given |= {name: values[name] for name in ("strategy", "score", "with_scribbles", "batch_size", "network")}
    return SelectArgs(
        **given,
        runs_dir=os.path.abspath(values["runs_dir"] or dataset_files.checkout() / "runs"),
        split=split,
        phases=tuple(phase.strip() for phase in phases),
        strategy_options=parse_options(values["options"]),
        labelled=os.path.abspath(values["labelled"]) if values["labelled"] else None,
        output=os.path.abspath(values["output"]) if values["output"] else None,
    ), dataset


def read_select_from(values: Iterable[str]) -> tuple[SelectArgs, datasets.DatasetConfig]:
    """Returns what `read_select` would if the script were called with the flags `values` ("--budget=12", ...)."""
    own = flags.FlagValues()
    define_select(own)
    own([STAGE, *values])
    return read_select(own)


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Returns option -> value from "name=value" texts; values are numbers, true, false, null or text.

    Raises:
        ConfigError: a text without "=", or the same name twice.
    """
    found = shared.parse_overrides(texts, flag="options", example="k_nn=20")
    return {name: _value(value.strip()) for name, value in found.items()}


def _value(value: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if value.lower() in words:
        return words[value.lower()]
    if re.fullmatch(r"[+-]?\d+", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", value, re.ASCII | re.IGNORECASE):
        return float(value)
    return value
