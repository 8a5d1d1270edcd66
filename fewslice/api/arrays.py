"""Datasets, their volumes, and choices from plain arrays, without Keras."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from fewslice.active import query as query_lib
from fewslice.active.query import FEATURES, GRADIENTS, MASKS, PIXELS, SCORES, STRATEGIES, Query
from fewslice.active.units import Case, Units
from fewslice.core.errors import ConfigError
from fewslice.data import cache
from fewslice.settings import datasets
from fewslice.settings.experiment import PASS_MEANS


def load_dataset(name: str, *, data_root: str | os.PathLike | None = None, **changes: Any) -> datasets.DatasetConfig:
    """Returns the settings and lists of a dataset, those of `experiment_init/init_<name>.py`.

    Args:
        data_root: Folder below which all datasets lie; default $FEWSLICE_DATA, or data_root/ in the checkout.
        **changes: Attributes to override, as `--set` does: `img_size_x=96`, `target_resolution=(1.5, 1.5)`.

    Raises:
        ConfigError: unknown name, wrong values.
    """
    texts = {name: ",".join(map(str, np.atleast_1d(each).tolist())) for name, each in changes.items()}
    return datasets.load_dataset_config(name, texts, data_root=data_root)


def open_volumes(
    dataset: datasets.DatasetConfig,
    patients: str | Sequence[str] | None = None,
    *,
    phases: Sequence[str] | None = None,
    with_label: bool = True,
) -> cache.PreparedSet:
    """Returns the prepared volumes of some patients, memory-mapped; those that are not prepared yet are first.

    Args:
        patients: Names, or a list of the dataset: "tr1", "tr8", ... or "test"; None is its `unlabeled_split`.
        phases: Default: the dataset's phases with labels, or without `with_label` all.
        with_label: False for patients without labels, whose volumes have images alone.

    Returns:
        `image` (Z, NX, NY) float32, `label` (Z, NX, NY) uint8, `native_label` (X, Y, Z), `spacing_mm`, ... of each; see
        `fewslice.data.cache.PreparedVolume`.

    Raises:
        ConfigError: no such list or patient.
        DataError: a file is missing or wrong.
    """
    if patients == "test":
        patients = dataset.splits.test_ids()
    elif patients is None or isinstance(patients, str):
        patients = dataset.splits.train_ids(patients or dataset.unlabeled_split, "c1")
    phases = phases or (dataset.phases if with_label else dataset.unlabeled_phases)
    return cache.open_volumes(dataset, patients, phases, with_label=with_label)


def select(
    strategy: str,
    embeddings: np.ndarray | None = None,
    *,
    budget: int,
    labelled: Sequence[int] = (),
    rng: np.random.Generator | int = 0,
    scores: np.ndarray | None = None,
    gradients: np.ndarray | None = None,
    pass_means: np.ndarray | None = None,
    pixels: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    ignore_value: int = 255,
    volumes: Sequence[Hashable] | None = None,
    positions: Sequence[int] | None = None,
    patients: Sequence[Hashable] | None = None,
    **options: Any,
) -> np.ndarray:
    """Chooses units to annotate, from arrays with a row per unit (slice, image, ...).

    Args:
        strategy: "mfc", "kcenter", "typiclust", "probcover", "uncertainty", ...; docs/active_learning.md lists them.
        embeddings: (N, D) float.
        budget: Units to choose.
        labelled: Rows that are annotated already; they are not chosen.
        rng: Generator or seed.
        scores: (N,) float uncertainty, larger is more uncertain.
        gradients: (N, E) gradient embeddings, for "badge".
        pass_means: (N, T, C) mean class probabilities of each unit in each dropout pass, for "batchbald".
        pixels: (N, H, W) images of one size. Without them "mfc" looks at embeddings and `**options` alone.
        masks: (N, H, W) annotation, such as scribbles, with `ignore_value` elsewhere. Without them "mfc" weighs all
            pixels alike.
        volumes, positions, patients: (N,) each unit's volume, its place there, its patient. Default: a volume each; the
            order of the rows; the volume.
        **options: Of the strategy.

    Returns:
        (budget,) int64 rows, in the order of choice.

    Raises:
        ConfigError: unknown strategy or option; an array that the strategy needs is missing, not finite or of another
            length.

    Example:
        >>> import numpy as np
        >>> embeddings = np.array([[0.0], [1.0], [1.1], [5.0]])
        >>> sorted(select("kcenter", embeddings, budget=2, rng=0, labelled=[1]).tolist())
        [0, 3]
    """
    arrays = {FEATURES: embeddings, SCORES: scores, GRADIENTS: gradients, PIXELS: pixels, MASKS: masks}
    arrays[PASS_MEANS] = pass_means
    arrays = {need: np.asarray(array) for need, array in arrays.items() if array is not None}
    needs, known = STRATEGIES.get(strategy).needs, query_lib.strategy_options(strategy)
    columns = {"volumes": volumes, "positions": positions, "patients": patients}
    columns = {name: np.asarray(column) for name, column in columns.items() if column is not None}
    count = len(next(iter((arrays | columns).values()), ()))
    for need, switch in ((PIXELS, "fuse_image_data"), (MASKS, "use_labels")):
        if need in needs and need not in arrays and switch in known and options.setdefault(switch, False) is False:
            arrays[need] = np.zeros((count, 1, 1), np.uint8)  # is not looked at
    pool = _units(count, **columns)
    if not set(map(int, labelled)) <= set(range(count)):
        raise ConfigError(f"`labelled` must hold rows from 0 to {count - 1}. Received: {list(labelled)}")
    is_labelled = np.isin(np.arange(count), np.asarray(labelled, np.int64))
    query = Query(pool=pool, is_labelled=is_labelled, budget=budget, rng=rng, ignore_value=ignore_value, **arrays)
    return query_lib.select(strategy, query, options).indices


def _units(count: int, volumes: Any = None, positions: Any = None, patients: Any = None) -> Units:
    """Returns a pool of slices of one pixel."""
    volumes = np.arange(count) if volumes is None else volumes
    names, first, case = np.unique(volumes, return_index=True, return_inverse=True)
    patients = volumes.astype(str) if patients is None else patients
    if positions is None:
        order, positions = np.argsort(case, kind="stable"), np.empty(len(case), np.int64)
        positions[order] = np.arange(len(case)) - np.searchsorted(case[order], case[order])
    lengths = {"volumes": len(case), "positions": len(positions), "patients": len(patients)}
    if not count or set(lengths.values()) != {count}:
        raise ConfigError(
            "A pool needs an array with a row per unit, and `volumes`, `positions` and `patients` of that length. "
            f"Found: {count} rows, of {lengths}"
        )
    shape = (int(positions.max()) + 1, 1, 1)
    cases = [Case(str(name), patients[row], shape) for name, row in zip(names, first, strict=True)]
    starts = np.pad(np.asarray(positions, np.int64)[:, None], ((0, 0), (0, 2)))
    ids = [f"{volume}_{position}" for volume, position in zip(volumes, positions, strict=True)]
    return Units(cases, case, starts, np.ones(3, np.int32), unit_ids=ids)
