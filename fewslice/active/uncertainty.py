"""Uncertainty of a network, its dropout passes or an ensemble: maps of a case, and their means over units.

Scores come from class probabilities of M passes (MC dropout) or members (an ensemble) by running sums: memory does not
grow with M, at most four arrays of the size of one pass. Larger is more uncertain. p is the mean over passes,
H(q) = -sum_c q_c log(q_c + 1e-10) in nats.

Source: Vepa et al., 2024, arXiv 2411.15763 (entropy and variance ratio of ensembles); Gal et al., 2017, arXiv
1703.02910 (entropy, BALD, variation ratio); Houlsby et al., 2011, arXiv 1112.5745 (BALD).

Notes:
    Differs from the published code: it computed in float16, where 1e-10 is 0 and BALD may be NaN (which became
    0), and rounded to 7 decimals. Here sums are float32, or float64 for float64 input, and NaN stays and is refused
    when units are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry

SCORES = Registry("uncertainty score")
COMBINES = ("mean_probabilities", "mean_scores")
_TINY = 1e-10
SPREAD, ENTROPIES, VOTES = "spread", "entropies", "votes"
PASSES, IMAGES = "passes", "images"


def register(
    name: str,
    *,
    needs: Sequence[str] = (),
    compares: bool = False,
    source: str = PASSES,
    options: type | None = None,
    needs_labelled: bool = False,
) -> Callable[[Callable], Callable]:
    """Returns a decorator that makes a function a score called `name`.

    Args:
        name: What users call it.
        needs: Sums beside the mean: "spread", "entropies", "votes".
        compares: Whether it is 0 everywhere for a single pass.
        source: What it is made from. "passes": the function gets `PassStatistics` and returns a (n, *space) map.
            "images": it gets the images of all units, (N,) bool which are annotated, its options, and by keyword a
            `folder` for its files and a `seed`, and returns the (N,) scores.
        options: A dataclass of its options; None: it has none.
        needs_labelled: Whether it needs at least one annotated unit, so that it cannot serve the first query.
    """
    facts = {"needs": tuple(needs), "compares": compares, "source": source, "needs_labelled": needs_labelled}
    return SCORES.register(name, options_class=options, **facts)


class PassStatistics:
    """Running sums over the passes of one batch of slices, and the scores made of them.

    Args:
        names: Registered scores to compute; only the sums that they need are kept.

    Attributes:
        passes: int, passes so far.
        mean: (n, *space, C) mean probabilities.
        spread: (n, *space, C) sum of squared differences to the mean.
        entropies: (n, *space) sum over passes of each pass's entropy.
        votes: (n, *space, C) int32, how many passes found each class the most probable (the first among equals).

    Raises:
        ConfigError: unknown score.

    Example:
        >>> statistics = PassStatistics(["entropy", "bald"])
        >>> for probabilities in ([[[[0.0, 1.0]]]], [[[[1.0, 0.0]]]]):
        ...     statistics.update(np.array(probabilities))
        >>> {name: values.round(4).item() for name, values in statistics.maps().items()}
        {'entropy': 0.6931, 'bald': 0.6931}
    """

    def __init__(self, names: Sequence[str] = ("entropy",)):
        self._functions = {name: SCORES.get(name) for name in names}
        self._needs = {need for function in self._functions.values() for need in function.needs}
        self.passes = 0
        self.mean = self.spread = self.entropies = self.votes = None

    def update(self, probabilities: np.ndarray) -> None:
        """Adds a pass: (n, *space, C) float probabilities of the same slices in each pass, at least 2 classes.

        Raises:
            ValueError: a shape that does not fit, or values of the first pass that are no probabilities.
        """
        values = np.asarray(probabilities)
        values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
        if self.passes == 0:
            self._begin(values)
        elif values.shape != self.mean.shape:
            raise ValueError(f"Each pass must have the shape of the first. Received: {values.shape}, {self.mean.shape}")
        self.passes += 1
        difference = values - self.mean
        self.mean += difference / self.passes
        if self.spread is not None:
            self.spread += difference * (values - self.mean)
        if self.entropies is not None:
            self.entropies += entropy(values)
        if self.votes is not None:
            self.votes += values.argmax(axis=-1)[..., None] == np.arange(values.shape[-1])

    def maps(self) -> dict[str, np.ndarray]:
        """Returns for each name the (n, *space) score map. Raises RuntimeError before the first pass."""
        if self.passes == 0:
            raise RuntimeError("There was no pass.")
        return {name: function(self) for name, function in self._functions.items()}

    def _begin(self, values: np.ndarray) -> None:
        if values.ndim < 3 or values.shape[-1] < 2 or 0 in values.shape:
            raise ValueError(f"`probabilities` must be (slices, *space, at least 2 classes). Received: {values.shape}")
        if values.min() < 0 or np.abs(values.sum(axis=-1) - 1).max() > 0.02:
            raise ValueError("`probabilities` must not be negative and sum to 1 over classes. Are they logits?")
        self.mean = np.zeros_like(values)
        self.spread = np.zeros_like(values) if SPREAD in self._needs else None
        self.entropies = np.zeros_like(values[..., 0]) if ENTROPIES in self._needs else None
        self.votes = np.zeros(values.shape, np.int32) if VOTES in self._needs else None


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns (...) the entropy in nats of (..., C) probabilities."""
    return -(probabilities * np.log(probabilities + probabilities.dtype.type(_TINY))).sum(axis=-1)


@register("entropy")
def predictive_entropy(statistics: PassStatistics) -> np.ndarray:
    """H(p), the entropy of the mean: aleatoric and epistemic uncertainty. Published as `entropy_w_label_probs`."""
    return entropy(statistics.mean)


@register("expected_entropy", needs=(ENTROPIES,))
def expected_entropy(statistics: PassStatistics) -> np.ndarray:
    """Mean of H over passes: aleatoric uncertainty only."""
    return statistics.entropies / statistics.passes


@register("bald", needs=(ENTROPIES,), compares=True)
def bald(statistics: PassStatistics) -> np.ndarray:
    """BALD, H(p) minus the expected entropy: passes that contradict each other only."""
    return entropy(statistics.mean) - statistics.entropies / statistics.passes


@register("ensemble_variance", needs=(SPREAD,), compares=True)
def ensemble_variance(statistics: PassStatistics) -> np.ndarray:
    """Variance of the probabilities over passes (divided by M), mean over classes."""
    return statistics.spread.mean(axis=-1) / statistics.passes


@register("least_confidence")
def least_confidence(statistics: PassStatistics) -> np.ndarray:
    """1 - the largest mean probability."""
    return 1.0 - statistics.mean.max(axis=-1)


@register("margin")
def margin(statistics: PassStatistics) -> np.ndarray:
    """1 - (largest - second largest mean probability)."""
    top = np.partition(statistics.mean, -2, axis=-1)
    return 1.0 - (top[..., -1] - top[..., -2])


@register("variance_ratio", needs=(VOTES,), compares=True)
def variance_ratio(statistics: PassStatistics) -> np.ndarray:
    """1 - (passes that vote for the most frequent class) / M. Published as `ensemble_variance_ratio`."""
    return 1.0 - statistics.votes.max(axis=-1) / statistics.passes


@register("vote_entropy", needs=(VOTES,), compares=True)
def vote_entropy(statistics: PassStatistics) -> np.ndarray:
    """Entropy of the shares of the passes' votes. Published as `entropy_w_label_counts`, there of equal values."""
    return entropy(statistics.votes / statistics.passes)


def mean_over_members(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the (n,) mean of (members, n) scores. Raises `ConfigError` for no member or different lengths."""
    if not len(scores) or len({np.shape(score) for score in scores}) > 1:
        raise ConfigError(f"Each member must score the same slices. Received: {[np.shape(score) for score in scores]}")
    return np.mean(np.asarray(scores, np.float64), axis=0)


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
