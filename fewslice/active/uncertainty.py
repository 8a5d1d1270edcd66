"""Uncertainty of a network, its dropout passes or an ensemble: maps of a case, reduced to a number for each unit.

Scores (`fewslice.active.scores`, one family per file) come from class probabilities of M passes (MC dropout) or members
(an ensemble) by running sums: memory does not grow with M, at most four arrays of the size of one pass. Larger is more
uncertain. p is the mean over passes, H(q) = -sum_c q_c log(q_c + 1e-10) in nats.

Source: Vepa et al., 2024, arXiv 2411.15763 (entropy and variance ratio of ensembles); Gal et al., 2017, arXiv
1703.02910 (entropy, BALD, variation ratio); Houlsby et al., 2011, arXiv 1112.5745 (BALD).

Notes:
    Differs from the published code: it computed in float16, where 1e-10 is 0 and BALD may be NaN (which became
    0), and rounded to 7 decimals. Here sums are float32, or float64 for float64 input, and NaN stays and is refused
    when units are chosen.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.parallel import default_workers
from fewslice.core.registry import Registry

SCORES = Registry("uncertainty score", "fewslice.active.scores")
COMBINES = ("mean_probabilities", "mean_scores")
_TINY = 1e-10
_BLOCK = 2**17  # probabilities that are added at a time
SPREAD, ENTROPIES, VOTES, LAST, PROFILES = "spread", "entropies", "votes", "last", "profiles"
MEAN, SUM, FOREGROUND = "mean", "sum", "foreground"
PASSES, IMAGES = "passes", "images"


def register(
    name: str,
    *,
    needs: Sequence[str] = (),
    compares: bool = False,
    source: str = PASSES,
    options: type | None = None,
    needs_labelled: bool = False,
    reduce: str = MEAN,
) -> Callable[[Callable], Callable]:
    """Returns a decorator that makes a function a score called `name`.

    Args:
        name: What users call it.
        needs: Sums beside the mean: "spread", "entropies", "votes", "last", "profiles".
        compares: Whether it is 0 everywhere for a single pass.
        source: What it is made from. "passes": the function gets `PassStatistics`, and its options by keyword, and
            returns a (n, *space) map. "images": it gets the images of all units, (N,) bool which are annotated, its
            options, and by keyword a `folder` for its files and a `seed`, and returns the (N,) scores.
        options: A dataclass of the options of a score of images; None: it has none.
        needs_labelled: Whether it needs at least one annotated unit, so that it cannot serve the first query.
        reduce: How a map becomes a number for each unit where the query does not say, see `unit_values`.
    """
    facts = {"needs": tuple(needs), "compares": compares, "source": source, "needs_labelled": needs_labelled}
    facts["reduce"] = reduce
    return SCORES.register(name, options_class=options, **facts)


def bound(name: str, options: Mapping[str, Any]) -> Callable[[PassStatistics], np.ndarray]:
    """Returns a registered score of passes with its options, as `PassStatistics` takes it."""
    score = SCORES.get(name)
    return functools.update_wrapper(functools.partial(score, **options), score)


class PassStatistics:
    """Running sums over the passes of one batch of slices, and the maps made of them.

    Args:
        names: Maps to compute: names of registered scores, or functions of these statistics with an attribute `needs`,
            such as `bound` scores; only the sums that they need are kept.

    Attributes:
        passes: int, passes so far.
        mean: (n, *space, C) mean probabilities; here and below the classes lie one after the other in memory.
        spread: (n, *space, C) sum of squared differences to the mean.
        entropies: (n, *space) sum over passes of each pass's entropy.
        votes: (n, *space, C) int32, how many passes found each class the most probable (the first among equals).
        last: (n, *space) probability of foreground, all but class 0, in the last pass.
        profiles: For each pass (n, ..., C), its means over rows and columns: they alone grow with the passes.

    Slices are independent of each other: large ones are added, and their maps made, in threads on all cores.

    Source: Youngs and Cramer, 1971, Technometrics 13 (3): the spread from running sums.

    Raises:
        ConfigError: unknown score.

    Example:
        >>> statistics = PassStatistics(["entropy", "bald"])
        >>> for probabilities in ([[[[0.0, 1.0]]]], [[[[1.0, 0.0]]]]):
        ...     statistics.update(np.array(probabilities))
        >>> {name: values.round(4).item() for name, values in statistics.maps().items()}
        {'entropy': 0.6931, 'bald': 0.6931}
    """

    def __init__(self, names: Sequence[Hashable] = ("entropy",)):
        self._functions = {name: name if callable(name) else SCORES.get(name) for name in names}
        self._needs = {need for function in self._functions.values() for need in function.needs}
        self.passes, self.profiles = 0, []
        self._sums: dict[str, np.ndarray] = {}  # (n, pixels * C), in memory as the probabilities

    def update(self, probabilities: np.ndarray) -> None:
        """Adds a pass: (n, *space, C) float probabilities of the same slices in each pass, at least 2 classes.

        Raises:
            ValueError: a shape that does not fit, or values of the first pass that are no probabilities.
        """
        values = np.asarray(probabilities)
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        if self.passes == 0:
            self._begin(values)
        elif values.shape != self._shape:
            raise ValueError(f"Each pass must have the shape of the first. Received: {values.shape}, {self._shape}")
        self.passes += 1
        if VOTES in self._sums and self.passes == 256:
            self._sums[VOTES] = self._sums[VOTES].astype(np.int32)
        list(self._map(self._add, range(len(values)), values))
        if LAST in self._needs:
            self._sums[LAST] = 1 - values[..., 0]
        if PROFILES in self._needs:
            self.profiles.append(values.mean(axis=(-3, -2), dtype=np.float64))

    def maps(self) -> dict[Hashable, np.ndarray]:
        """Returns for each name the (n, *space) score map. Raises RuntimeError before the first pass."""
        if self.passes == 0:
            raise RuntimeError("There was no pass.")
        parts = list(self._map(self._maps_of, range(self._shape[0])))
        return {name: np.concatenate([part[name] for part in parts]) for name in self._functions}

    mean = property(lambda self: self._by_class(MEAN) / self.passes)
    spread = property(lambda self: self._by_class(SPREAD))
    entropies = property(lambda self: -self._by_class(ENTROPIES).sum(axis=-1))
    last = property(lambda self: self._sums[LAST])

    @property
    def votes(self) -> np.ndarray:
        count, *space, classes = self._shape
        return np.moveaxis(self._sums[VOTES].astype(np.int32).reshape(count, classes, *space), 1, -1)

    def _by_class(self, name: str) -> np.ndarray:
        """Returns a sum; in memory the classes lie one after the other, which is fast where they are few."""
        return np.moveaxis(np.moveaxis(self._sums[name].reshape(self._shape), -1, 1).copy(order="C"), 1, -1)

    def _maps_of(self, place: int) -> dict[Hashable, np.ndarray]:
        one, here = copy.copy(self), slice(place, place + 1)
        one._shape, one.profiles = (1, *self._shape[1:]), [profile[here] for profile in self.profiles]
        one._sums = {name: sums[here] for name, sums in self._sums.items()}
        return {name: function(one) for name, function in self._functions.items()}

    def _add(self, place: int, values: np.ndarray) -> None:
        """Adds the (*space, C) probabilities of one slice by blocks, which stay in the processor's cache."""
        values, passes, classes = values.reshape(-1), self.passes, values.shape[-1]
        sums = {name: each[place] for name, each in self._sums.items()}
        works = np.empty(min(_BLOCK // classes * classes, len(values)), values.dtype)
        tops = np.empty(len(works) // classes, values.dtype)
        for first in range(0, len(values), len(works)):
            block = slice(first, first + len(works))
            row = values[block]
            work = works[: len(row)]
            sums[MEAN][block] += row
            if SPREAD in sums:
                np.multiply(row, passes, out=work)
                work -= sums[MEAN][block]
                work *= work
                work /= max(passes * (passes - 1), 1)
                sums[SPREAD][block] += work
            if ENTROPIES in sums:
                np.add(row, row.dtype.type(_TINY), out=work)
                np.log(work, out=work)
                work *= row
                sums[ENTROPIES][block] += work
            if VOTES in sums:
                rows = work.reshape(classes, -1)
                np.copyto(rows, row.reshape(-1, classes).T)
                is_won, top = np.ones(rows.shape, bool), rows[0]
                for label in range(1, classes):
                    np.greater(rows[label], top, out=is_won[label])
                    top = np.maximum(rows[label], top, out=tops[: len(top)])
                for label in range(classes - 1, 0, -1):  # the last that exceeds all before it; [0]: not yet won
                    is_won[label] &= is_won[0]
                    is_won[0] ^= is_won[label]
                sums[VOTES][:, first // classes :][:, : len(top)] += is_won.view(np.uint8)

    def _begin(self, values: np.ndarray) -> None:
        self._shape = shape = values.shape
        if len(shape) < 3 or shape[-1] < 2 or 0 in shape:
            raise ValueError(f"`probabilities` must be (slices, *space, at least 2 classes). Received: {shape}")
        if values.min() < 0 or np.abs(values @ np.ones(shape[-1], values.dtype) - 1).max() > 0.02:
            raise ValueError("`probabilities` must not be negative and sum to 1 over classes. Are they logits?")
        count, size, workers = shape[0], math.prod(shape[1:]), min(shape[0], default_workers())
        self._map = ThreadPoolExecutor(workers).map if workers > 1 and size >= _BLOCK else map
        sums = [MEAN, *(self._needs & {SPREAD, ENTROPIES})]
        self._sums = {name: np.zeros((count, size), values.dtype) for name in sums}
        if VOTES in self._needs:
            self._sums[VOTES] = np.zeros((count, shape[-1], size // shape[-1]), np.uint8)  # adds fast; up to 255


def entropy(probabilities: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Returns (...) the entropy in nats of probabilities along an axis."""
    values = np.log(probabilities + probabilities.dtype.type(_TINY))
    values *= probabilities
    return -values.sum(axis=axis)


def predicted_foreground(statistics: PassStatistics) -> np.ndarray:
    """Whether the most probable class of the mean is not 0, the background; a map of `PassStatistics`."""
    return statistics.mean[..., 1:].max(axis=-1) > statistics.mean[..., 0]


def pass_means(statistics: PassStatistics) -> np.ndarray:
    """The (n, ..., M, C) mean probabilities over rows and columns of each pass; a map of `PassStatistics`."""
    return np.stack(statistics.profiles, axis=-2)


def predicted_classes(statistics: PassStatistics) -> np.ndarray:
    """The most probable class of the mean, uint8; a map of `PassStatistics`."""
    return statistics.mean.argmax(axis=-1).astype(np.uint8)


predicted_foreground.needs, predicted_classes.needs, pass_means.needs = (), (), (PROFILES,)


def mean_over_members(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the (n,) mean of (members, n) scores. Raises `ConfigError` for no member or different lengths."""
    if not len(scores) or len({np.shape(score) for score in scores}) > 1:
        raise ConfigError(f"Each member must score the same slices. Received: {[np.shape(score) for score in scores]}")
    return np.mean(np.asarray(scores, np.float64), axis=0)


def unit_values(
    maps: Mapping[Hashable, np.ndarray], name: Hashable, starts: np.ndarray, sizes: np.ndarray, *, reduce: str = MEAN
) -> np.ndarray:
    """Returns the (n,) float64 values of a map over boxes: its mean, its sum, or its mean over predicted foreground.

    Args:
        maps: Name -> (slices, rows, columns) map of a case; for "foreground" `predicted_foreground` among them.
        starts, sizes: See `unit_means`.
        reduce: "mean", "sum", or "foreground": then a box without predicted foreground has the value 0.
    """
    voxels = np.prod(sizes, axis=1)
    if reduce != FOREGROUND:
        return unit_means(maps[name], starts, sizes) * (voxels if reduce == SUM else 1)
    is_foreground = maps[predicted_foreground]
    counts = np.rint(unit_means(is_foreground, starts, sizes) * voxels)
    sums = unit_means(maps[name] * is_foreground, starts, sizes) * voxels
    return np.where(counts > 0, sums / np.maximum(counts, 1), 0.0 * sums)


def unit_means(score_map: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the (n,) float64 means of a case's map over boxes.

    No loop over units: axes that all boxes cover are averaged at once; along the others sums over windows are
    differences of cumulative sums. In memory are two float64 arrays of the size of the map.

    Args:
        score_map: (slices, rows, columns).
        starts: (n, 3) int, first voxel of each box.
        sizes: (n, 3) int, size of each box.
    """
    starts, sizes = np.array(starts), np.array(sizes)
    whole = tuple(axis for axis in range(3) if (sizes[:, axis] == score_map.shape[axis]).all())
    values = score_map.mean(axis=whole, dtype=np.float64, keepdims=True) if whole else score_map
    starts[:, whole], sizes[:, whole] = 0, 1
    means = np.empty(len(starts))
    for size in np.unique(sizes, axis=0):
        chosen = (sizes == size).all(axis=1)
        means[chosen] = _window_means(values, size)[tuple(starts[chosen].T)]
    return means


def _window_means(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns the float64 means over all windows of a size, by their first voxel."""
    for axis, count in enumerate(size.tolist()):
        if count > 1:
            sums = np.cumsum(np.moveaxis(values, axis, 0), axis=0, dtype=np.float64)
            sums[count:] -= sums[:-count].copy()
            values = np.moveaxis(sums[count - 1 :] / count, 0, axis)
    return values
