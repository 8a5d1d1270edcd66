"""Pools and queries for tests: every strategy gets what it says it needs."""

import dataclasses

import numpy as np

from fewslice.active.labels import Labels, Revealed, join
from fewslice.active.query import STRATEGIES, Query, select
from fewslice.active.units import Case, Units


def make_pool(unit_ids, patients, volumes, positions, *, metadata=None):
    """Returns a pool of slices at these positions of their volumes."""
    volumes = np.asarray(volumes)
    names = list(dict.fromkeys(volumes.tolist()))
    patient_of = dict(zip(volumes.tolist(), np.asarray(patients).tolist(), strict=True))
    cases = [Case(name, patient_of[name], (int(np.max(positions)) + 1, 1, 1)) for name in names]
    start = np.array([[position, 0, 0] for position in positions])
    case = [names.index(name) for name in volumes.tolist()]
    return Units(cases, case, start, (1, 1, 1), unit_ids=unit_ids, metadata=metadata)


def make_units(depths=(7, 5, 6, 4, 8)):
    """Returns a pool of volumes of these depths, two volumes to a patient."""
    volumes = [volume for volume, depth in enumerate(depths) for _ in range(depth)]
    positions = [place for depth in depths for place in range(depth)]
    names = [f"volume{volume}_slice{place}" for volume, place in zip(volumes, positions, strict=True)]
    phase = [volume % 2 for volume in volumes]
    return make_pool(names, [volume // 2 for volume in volumes], volumes, positions, metadata={"phase": phase})


def volume_of(labels, case):
    """Returns the partial label volume of a case, (slices, rows, columns) uint8."""
    volume = np.full(labels.pool.cases[case].shape, labels.ignore_value, np.uint8)
    for place, box in enumerate(labels.boxes):
        if box.case == case:
            known = labels.labels(place)
            np.copyto(volume[box.slices], known, where=known != labels.ignore_value)
    return volume


def means(statistics):
    """Returns {score: (n,) float64 means of its maps} of `PassStatistics`."""
    maps = statistics.maps().items()
    return {name: values.mean(axis=tuple(range(1, values.ndim)), dtype=np.float64) for name, values in maps}


def make_inputs(count, seed=0):
    """Returns everything that a strategy may need, for `count` units."""
    rng = np.random.default_rng(seed)
    masks = np.full((count, 8, 8), 4, np.uint8)
    masks[:, 2:5, 3:6] = rng.integers(0, 4, (count, 3, 3))
    return {
        "features": rng.normal(size=(count, 6)).astype(np.float32),
        "scores": rng.random(count),
        "pixels": rng.random((count, 8, 8)).astype(np.float32),
        "masks": masks,
        "gradients": rng.normal(size=(count, 12)).astype(np.float32),
        "pass_means": rng.dirichlet([0.7, 0.7, 0.7], (count, 4)),
    }


def make_query(name, budget=4, labelled=(), *, seed=0, pool=None, inputs=None, **changes):
    """Returns a query with what the strategy needs and nothing else; arrays cannot be written to."""
    pool = pool or make_units()
    inputs = make_inputs(len(pool)) if inputs is None else inputs
    is_labelled = np.zeros(len(pool), bool)
    is_labelled[list(labelled)] = True
    given = {need: inputs[need] for need in STRATEGIES.get(name).needs}
    given["is_labelled"] = is_labelled
    for values in given.values():
        values.flags.writeable = False
    query = Query(pool=pool, budget=budget, rng=np.random.default_rng(seed), ignore_value=4, **given)
    return dataclasses.replace(query, **changes)


def query_of(name, budget, labelled=(), *, seed=0, **values):
    """Returns a query for as many units as there are values, one volume of one slice each."""
    values = {key: np.asarray(value) for key, value in values.items()}
    pool = make_units([1] * len(next(iter(values.values()))))
    return make_query(name, budget, labelled, seed=seed, pool=pool, inputs=make_inputs(len(pool)) | values)


def annotate(pool, ignore_value, *rounds):
    """Returns the labels of rounds, each a dict of the name of a unit -> the labels of its box."""
    labels = Labels(pool, ignore_value)
    for number, drawn in enumerate(rounds):
        units = np.array([pool.find(name) for name in drawn])
        boxes = tuple(pool.box(unit) for unit in units)
        labels = labels.extended(Revealed(number, units, boxes, join(list(drawn.values()))))
    return labels


def choose(name, budget, labelled=(), *, options=None, **values):
    """Returns the list of chosen indices and their values."""
    choice = select(name, query_of(name, budget, labelled, **values), options)
    return choice.indices.tolist(), choice.values
