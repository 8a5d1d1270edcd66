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
from fewslice.data.readers import get_reader
from fewslice.data.readers.selection import find_readable
from fewslice.settings import datasets

_ARGUMENTS = {
    FEATURES: "`embeddings`, (N, D), for instance of an encoder that `load_network` loads",
    SCORES: "`scores`, (N,), larger is more uncertain, for instance the entropy of a network's probabilities",
    GRADIENTS: "`gradients`, (N, E), which a segmentation network gives (`fewslice.learner.features`), or "
    "select_slices.py --network",
    PIXELS: "`pixels`, (N, H, W)",
    MASKS: "`masks`, (N, H, W)",
}


def load_dataset(name: str, *, data_root: str | os.PathLike | None = None, **changes: Any) -> datasets.DatasetConfig:
    """Returns the settings and lists of a dataset, those of `experiment_init/init_<name>.py`.

    Args:
        data_root: Folder below which all datasets lie; default $FEWSLICE_DATA, or data_root/ in the checkout.
        **changes: Attributes to override, as `--set` does: `img_size_x=96`, `target_resolution=(1.5, 1.5)`.

    Raises:
        ConfigError: unknown name, wrong values.
    """
    texts = {key: ",".join(map(str, each)) if isinstance(each, tuple) else str(each) for key, each in changes.items()}
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
    cases = find_readable(get_reader(dataset), patients, phases, with_label=with_label)
    return cache.open_cache(dataset, cases, with_label=with_label)


def select(
    strategy: str,
    embeddings: np.ndarray | None = None,
    *,
    budget: int,
    labelled: Sequence[int] = (),
    rng: np.random.Generator | int = 0,
    scores: np.ndarray | None = None,
    gradients: np.ndarray | None = None,
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
    arrays = {need: None if array is None else np.asarray(array) for need, array in arrays.items()}
    needs = STRATEGIES.get(strategy).needs
    count = next((len(array) for array in arrays.values() if array is not None), len(volumes or ()))
    known = query_lib.strategy_options(strategy)
    for need, switch in ((PIXELS, "fuse_image_data"), (MASKS, "use_labels")):
        if need in needs and arrays[need] is None and switch in known and options.setdefault(switch, False) is False:
            arrays[need] = np.zeros((count, 1, 1), np.uint8)  # is not looked at
    for need in needs:
        if arrays[need] is None:
            raise ConfigError(f"The strategy {strategy!r} needs {_ARGUMENTS[need]}.")
    pool = _units(count, volumes, positions, patients)
    if not set(map(int, labelled)) <= set(range(count)):
        raise ConfigError(f"`labelled` must hold rows from 0 to {count - 1}. Received: {list(labelled)}")
    is_labelled = np.isin(np.arange(count), np.asarray(labelled, np.int64))
    query = Query(pool=pool, is_labelled=is_labelled, budget=budget, rng=rng, ignore_value=ignore_value, **arrays)
    return query_lib.select(strategy, query, options).indices


def _units(count: int, volumes: Sequence | None, positions: Sequence | None, patients: Sequence | None) -> Units:
    """Returns a pool of slices of one pixel."""
    for name, column in (("volumes", volumes), ("positions", positions), ("patients", patients)):
        if not count or (column is not None and len(column) != count):
            found = "no array" if not count else f"{count} rows of the arrays, {len(column)} {name}"
            raise ConfigError(f"A pool needs an array with a row per unit, and `{name}` of that length. Found: {found}")
    names = np.arange(count) if volumes is None else np.asarray(volumes)
    _, first, case = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(case, kind="stable")
    place = np.empty(count, np.int64)
    place[order] = np.arange(count) - np.searchsorted(case[order], case[order])
    place = place if positions is None else np.asarray(positions, np.int64)
    of = [str(names[row]) if patients is None else patients[row] for row in first]
    deepest = int(place.max()) + 1
    cases = [Case(str(names[row]), patient, (deepest, 1, 1)) for row, patient in zip(first, of, strict=True)]
    starts = np.stack([place, np.zeros_like(place), np.zeros_like(place)], axis=1)
    ids = [f"{names[row]}_{place[row]}" for row in range(count)]
    return Units(cases, case, starts, np.ones(3, np.int32), unit_ids=ids)
