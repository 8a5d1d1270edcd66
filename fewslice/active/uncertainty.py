"""How unsure a network, its dropout passes or an ensemble are about each slice.

All scores come from class probabilities of M passes (one network: M = 1; MC dropout: passes; an ensemble: members) by
running sums, so that memory does not grow with M: at most four arrays of the size of one pass. Larger is more
uncertain. p is the mean over passes, H(q) = -sum_c q_c log(q_c + 1e-10) in nats.

Source: Vepa et al., 2024, arXiv 2411.15763 (entropy and variance ratio of ensembles); Gal et al., 2017, arXiv
1703.02910 (entropy, BALD, variation ratio). The scores are files in `fewslice/active/scores/`.

Notes:
    Differs from the published code: it computed in float16, where 1e-10 is 0 and BALD may be no number (which became
    0), and rounded to 7 decimals. Here sums are float32, or float64 for float64 input, and what is no number stays so
    and is refused when units are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fewslice.core.errors import ConfigError
from fewslice.core.registry import Registry, unknown_name

SCORES = Registry("uncertainty score", "fewslice.active.scores")
REGIONS = ("all", "foreground")
COMBINES = ("mean_probabilities", "mean_scores")
# What the published settings call a score of several networks, and the registered one that it is.
PUBLISHED = {
    "entropy_w_label_probs": "entropy",
    "ensemble_variance_ratio": "variance_ratio",
    "entropy_w_label_counts": "vote_entropy",
}
# Likewise for the dropout passes of one network; the mean over networks is then called "mean_score".
PUBLISHED_PASSES = {"entropy_score": "entropy", "bald_score": "bald"}
MEAN_SCORE, MAPS = "mean_score", "pass_probs"
_TINY = 1e-10
SPREAD, ENTROPIES, VOTES = "spread", "entropies", "votes"


def register(name: str, *, needs: Sequence[str] = (), compares: bool = False) -> Callable:
    """Returns a decorator that makes a function `PassStatistics` -> (n, *space) map a score called `name`.

    Args:
        name: What users call it.
        needs: Sums beside the mean that it looks at: "spread", "entropies", "votes".
        compares: Whether it is 0 everywhere for a single pass.
    """

    def decorate(function: Callable) -> Callable:
        function.needs = tuple(needs)
        function.compares = compares
        return SCORES.register(name)(function)

    return decorate


def get(name: str) -> Callable:
    """Returns the score called `name`. Raises `ConfigError` with the nearest known name."""
    return SCORES.get(name)


class PassStatistics:
    """Running sums over the passes of one batch of slices, and the scores made of them.

    Args:
        names: Registered scores to compute; only the sums that they look at are kept.
        region: "all": a slice's score is the mean over its pixels. "foreground": over those whose most probable class
            in the mean is not 0; a slice without such a pixel gets 0.

    Attributes:
        passes: int, passes so far.
        mean: (n, *space, C) mean probabilities.
        spread: (n, *space, C) sum of squared differences to the mean.
        entropies: (n, *space) sum over passes of each pass's entropy.
        votes: (n, *space, C) int32, how many passes found each class the most probable (the first among equals).

    Raises:
        ConfigError: unknown score or region.

    Example:
        >>> statistics = PassStatistics(["entropy", "bald"])
        >>> for probabilities in ([[[[0.0, 1.0]]]], [[[[1.0, 0.0]]]]):
        ...     statistics.update(np.array(probabilities))
        >>> {name: float(values[0].round(4)) for name, values in statistics.finish().items()}
        {'entropy': 0.6931, 'bald': 0.6931}
    """

    def __init__(self, names: Sequence[str] = ("entropy",), *, region: str = "all"):
        if region not in REGIONS:
            raise ConfigError(unknown_name("region", region, REGIONS))
        self._functions = {name: get(name) for name in names}
        self._needs = {need for function in self._functions.values() for need in function.needs}
        self._region = region
        self.passes = 0
        self.mean = self.spread = self.entropies = self.votes = None

    def update(self, probabilities: np.ndarray) -> None:
        """Adds a pass.

        Args:
            probabilities: (n, *space, C) float, at least 2 classes, for instance (n, H, W, C); the same slices in each
                pass.

        Raises:
            ValueError: a shape that does not fit, or values of the first pass that are no probabilities
                (negative, sums not 1).
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

    def finish(self) -> dict[str, np.ndarray]:
        """Returns for each name the (n,) float64 scores of the slices. Raises RuntimeError before the first pass."""
        if self.passes == 0:
            raise RuntimeError("There was no pass.")
        return {name: self._reduce(function(self)) for name, function in self._functions.items()}

    def _begin(self, values: np.ndarray) -> None:
        if values.ndim < 3 or values.shape[-1] < 2 or 0 in values.shape:
            raise ValueError(f"`probabilities` must be (slices, *space, at least 2 classes). Received: {values.shape}")
        if values.min() < 0 or np.abs(values.sum(axis=-1) - 1).max() > 0.02:
            raise ValueError("`probabilities` must not be negative and sum to 1 over classes. Are they logits?")
        self.mean = np.zeros_like(values)
        self.spread = np.zeros_like(values) if SPREAD in self._needs else None
        self.entropies = np.zeros_like(values[..., 0]) if ENTROPIES in self._needs else None
        self.votes = np.zeros(values.shape, np.int32) if VOTES in self._needs else None

    def _reduce(self, pixels: np.ndarray) -> np.ndarray:
        axes = tuple(range(1, pixels.ndim))
        if self._region == "all":
            return pixels.mean(axis=axes, dtype=np.float64)
        is_inside = self.mean.argmax(axis=-1) != 0
        sums = np.where(is_inside, pixels, 0).sum(axis=axes, dtype=np.float64)
        return sums / np.maximum(is_inside.sum(axis=axes), 1)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns (...) the entropy in nats of (..., C) probabilities."""
    return -(probabilities * np.log(probabilities + probabilities.dtype.type(_TINY))).sum(axis=-1)


def mean_over_members(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the (n,) mean of (members, n) scores, for instance the BALD of each network of an ensemble.

    Raises:
        ConfigError: no member, or members with scores of different lengths.
    """
    if not len(scores) or len({np.shape(score) for score in scores}) > 1:
        raise ConfigError(f"Each member must score the same slices. Received: {[np.shape(score) for score in scores]}")
    return np.mean(np.asarray(scores, np.float64), axis=0)
