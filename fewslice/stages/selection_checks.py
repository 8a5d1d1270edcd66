"""What can be refused about a selection before Keras is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.active import query as query_lib
from fewslice.active.selection_files import budget_units, read_labelled
from fewslice.active.slices import pool_of_volumes
from fewslice.active.strategies import load_all
from fewslice.core.errors import ConfigError, DataError
from fewslice.data import cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.readers.selection import resolve_patients
from fewslice.settings import datasets
from fewslice.settings.al_flags import SelectArgs
from fewslice.settings.splits import val_patients
from fewslice.stages.select_slices import Selection
from fewslice.train.encoder_runs import NONE, PIXELS, find_encoder, find_segmentation

_USE_LABELS = "use_labels"  # option of strategies that look at annotations
_NEEDS_ROUNDS = {"vaal": "a discriminator that is trained on what is annotated"}
_ENCODER_REMEDY = (
    "Give --encoder=<run folder>, for instance of pretr_encoder_group_contrastive_loss.py (no labels needed), or "
    "--encoder=pixels, or choose a strategy that needs none, such as random or equispaced."
)
_OF_NETWORK = {query_lib.SCORES: "uncertainty", query_lib.GRADIENTS: "gradients"}
_NETWORK_REMEDY = (
    "Give --network=<run folder> of a segmentation network, for instance of tr_baseline.py, or choose a strategy that "
    "needs none, such as kcenter."
)


def check_selection(args: SelectArgs, dataset: datasets.DatasetConfig) -> Selection:
    """Returns what was asked for, checked; prepares the volumes of the pool where that was not done before.

    Raises:
        ConfigError: an unknown strategy or option, something the strategy needs and that was not given, wrong runs.
        DataError: volumes or files that are missing or wrong.
    """
    load_all()
    options, notes = check_strategy(args)
    encoder = PIXELS if args.encoder == PIXELS else find_encoder(args.encoder, dataset)
    network = find_segmentation(args.network, dataset) if args.network else None
    if args.labelled and not Path(args.labelled).is_file():
        remedy = "Give a CSV file with a column unit_id, such as the query.csv of a former selection."
        raise DataError(args.labelled, expected="a list of annotated slices", found="no such file", remedy=remedy)
    cases = _cases(args, dataset)
    volumes = cache.open_cache(dataset, cases, with_label=False, **_scribbles(args))
    reader = get_reader(dataset)
    pool = pool_of_volumes(volumes, [reader.patient_facts(case) for case in cases])
    is_labelled = read_labelled(Path(args.labelled), pool) if args.labelled else np.zeros(len(pool), bool)
    budget = budget_units(args.budget, len(pool))
    if not budget:
        raise ConfigError(f"--budget={args.budget} chooses no slice. Give 1 or more, or a share such as 5%.")
    return Selection(args, dataset, volumes, pool, is_labelled, budget, options, encoder, network, tuple(notes))


def check_strategy(args: SelectArgs) -> tuple[dict[str, Any], list[str]]:
    """Returns the options of the strategy as it will get them, and what the user should know about them.

    Raises:
        ConfigError: unknown strategy or options; something it needs is not given.
    """
    strategy = query_lib.STRATEGIES.get(args.strategy)
    query_lib.check_options(args.strategy, args.strategy_options)
    options, notes, needs = dict(args.strategy_options), [], strategy.needs
    if args.strategy in _NEEDS_ROUNDS:
        raise ConfigError(
            f"The strategy {args.strategy!r} needs {_NEEDS_ROUNDS[args.strategy]}, so it belongs to rounds of training "
            "(run_al_exp.py). Choose another one."
        )
    if query_lib.FEATURES in needs and args.encoder == NONE:
        raise ConfigError(f"The strategy {args.strategy!r} needs vectors of the slices. {_ENCODER_REMEDY}")
    for need, words in _OF_NETWORK.items():
        if need in needs and not args.network:
            raise ConfigError(f"The strategy {args.strategy!r} needs the {words} of a network. {_NETWORK_REMEDY}")
    if query_lib.MASKS in needs and not args.with_scribbles:
        if _USE_LABELS not in query_lib.strategy_options(args.strategy) or options.get(_USE_LABELS):
            raise ConfigError(
                f"The strategy {args.strategy!r} looks at annotations that exist before anything is chosen. Where the "
                f"dataset has scribbles give --with_scribbles; otherwise --options {_USE_LABELS}=false."
            )
        if _USE_LABELS not in options:
            notes.append(
                "There are no scribbles before anything is annotated: all pixels weigh the same (use_labels=false). "
                "--with_scribbles uses those that the dataset has."
            )
        options[_USE_LABELS] = False
    if args.network and not set(needs) & set(_OF_NETWORK) and not options.get("uncertainty_wt"):
        notes.append(f"--network has no effect: {args.strategy} looks neither at scores nor at gradients.")
    if args.with_scribbles and not (query_lib.MASKS in needs and options.get(_USE_LABELS, True)):
        notes.append(f"--with_scribbles has no effect: {args.strategy} looks at no scribbles.")
    return options, notes


def _scribbles(args: SelectArgs) -> dict[str, bool]:
    return {"with_scribble": True} if args.with_scribbles else {}


def _cases(args: SelectArgs, dataset: datasets.DatasetConfig) -> list:
    """Returns the volumes of the pool; refuses test patients, however they are written, and tells validation ones."""
    reader = get_reader(dataset)
    patients = dataset.splits.train_ids(args.split, args.comb_tr_imgs)
    cases = find_cases(reader, patients, args.phases)
    if dataset.splits.test:
        tested = resolve_patients(reader, dataset.splits.test)
        leaked = [name for name in patients if resolve_patients(reader, [name]) & tested]
        if leaked:
            raise ConfigError(
                f"The list {args.split} of {dataset.name} contains the test patients {', '.join(leaked)}."
            )
    shared = sorted(set(patients) & val_patients(dataset.splits))
    if shared:
        text = "%s holds validation patients (%s). Slices of these that are chosen should not be trained on."
        logging.info(text, args.split, ", ".join(shared))
    return cases
