"""A graph network of two layers that learns to tell annotated units from the others, in NumPy.

Caramalau et al., 2021, arXiv 2006.10219.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from scipy.special import expit

from fewslice.active.measures.coverage import unit_rows
from fewslice.settings.declare import BelowOne, Count, NotNegative, Positive, declared

_TINY = 1e-10


@declared
class Training:
    """Width of the network and its training by Adam (beta 0.9 and 0.999), with the published names and values."""

    hidden_units: Annotated[Count, "Width of the hidden layer."] = 128
    dropout_rate: Annotated[BelowOne, "Share of hidden values that are set to 0 while training."] = 0.3
    lr_gcn: Annotated[Positive, "Learning rate."] = 1e-3
    wdecay: Annotated[NotNegative, "Factor of the weights that is added to their gradients."] = 5e-4
    lambda_loss: Annotated[NotNegative, "Weight of the unlabelled units' part of the loss."] = 1.2
    num_epochs_gcn: Annotated[Count, "Steps, each over all units."] = 200


def initial_weights(features: int, hidden: int, *, rng: np.random.Generator | int, dtype=np.float32) -> list:
    """Returns [(D, hidden), (hidden,), (hidden, 1), (1,)], uniform within 1 / sqrt(number of outputs)."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    shapes = [(features, hidden), (hidden,), (hidden, 1), (1,)]
    return [(rng.uniform(-1.0, 1.0, shape) / np.sqrt(shape[-1])).astype(dtype) for shape in shapes]


def forward(graph: SimilarityGraph, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (N, hidden) hidden values and the (N, 1) outputs before the sigmoid, without dropout."""
    hidden = np.maximum(graph.spread(graph.rows @ weights[0]) + weights[1], 0)
    return hidden, graph.spread(hidden @ weights[2]) + weights[3]


def loss_and_gradient(scores: np.ndarray, is_labelled: np.ndarray, lambda_loss: float) -> tuple[float, np.ndarray]:
    """Returns -mean log(y + 1e-10) over annotated units - lambda mean log(1 - y + 1e-10) over others; (N, 1) gradient.

    Args:
        scores: (N, 1) y, outputs after the sigmoid: how likely a unit is annotated.
        is_labelled: (N,) bool, some true and some false.
        lambda_loss: Weight of the second part.
    """
    chosen = is_labelled[:, None]
    share = np.where(chosen, 1 / is_labelled.sum(), lambda_loss / (~is_labelled).sum()).astype(scores.dtype)
    likelihood = np.where(chosen, scores, 1 - scores) + scores.dtype.type(_TINY)
    return float(-(share * np.log(likelihood)).sum()), np.where(chosen, -share, share) / likelihood


def train(
    graph: SimilarityGraph,
    weights: list[np.ndarray],
    *,
    is_labelled: np.ndarray,
    training: Training,
    rng: np.random.Generator | int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Trains with Adam on all units at once. Returns the weights, and the (num_epochs_gcn,) loss before each step.

    Args:
        graph: Of N units.
        weights: As from `initial_weights`; not changed.
        is_labelled: (N,) bool, some true and some false.
        training: Settings.
        rng: Draws the dropout.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    weights = [weight.copy() for weight in weights]
    spread_rows = graph.spread(graph.rows)  # (N, D), the same in each step
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    losses = np.empty(training.num_epochs_gcn)
    for step in range(training.num_epochs_gcn):
        before = spread_rows @ weights[0] + weights[1]
        keep = (before > 0).astype(before.dtype)
        if training.dropout_rate > 0:
            keep *= (rng.random(keep.shape, np.float32) >= training.dropout_rate) / keep.dtype.type(
                1 - training.dropout_rate
            )
        hidden = before * keep
        scores = expit(graph.spread(hidden @ weights[2]) + weights[3])
        losses[step], slope = loss_and_gradient(scores, is_labelled, training.lambda_loss)
        slope = slope * scores * (1 - scores)
        back = graph.spread_back(slope)  # (N, 1), gradient of hidden @ weights[2]
        slope_before = (back @ weights[2].T) * keep
        gradients = [spread_rows.T @ slope_before, slope_before.sum(axis=0), hidden.T @ back, slope.sum(axis=0)]
        for weight, gradient, mean, square in zip(weights, gradients, first, second, strict=True):
            gradient += training.wdecay * weight
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            root = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
            weight -= training.lr_gcn / (1 - 0.9 ** (step + 1)) * mean / root
    return weights, losses


def learn(
    graph: SimilarityGraph, is_labelled: np.ndarray, *, training: Training, rng: np.random.Generator | int
) -> np.ndarray:
    """Returns the embedding (N, hidden + 1) of a newly trained network: hidden values and output before the sigmoid."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    weights = initial_weights(graph.rows.shape[1], training.hidden_units, rng=rng, dtype=graph.rows.dtype)
    weights, _ = train(graph, weights, is_labelled=is_labelled, training=training, rng=rng)
    return np.hstack(forward(graph, weights))


_ROUNDING = 8  # a unit without neighbours has a sum of so many rounding errors at most

# Factor of the similarity of two slices by d, how many slices they lie apart (int array, at least 0). Published are
# these names, but no code that could use them: the branch stopped with an error. The formulas follow from recorded
# values at d = 0, 1, 3, 4, which leave open whether the first is 1 or 0 at d = 2.
SLICE_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "k_slice_wt": lambda apart: (apart <= 1).astype(float),
    "inv_slice_wt": lambda apart: 1.0 / np.maximum(apart, 1),
    "exp_slice_wt": lambda apart: np.exp(1.0 - np.maximum(apart, 1)),
}


class SimilarityGraph:
    """The matrix A + I, A_ij = (w_ij x_i . x_j - [i = j]) / (sum_k A'_kj + 1e-10), A' before the division.

    x are features of length 1, w are 1 or the weights of `SLICE_WEIGHTS` by the slices' positions in their volumes,
    whichever volumes these are. The matrix is not made where there are fewer features than units: it is a product of
    the features with themselves, so that memory is linear in the number of units (times the number of different
    positions, if these count) and a step costs units x features. Where there are more features, the (N, N) products
    are held.

    Args:
        features: (N, D) float. Rows are scaled to length 1; float64 stays, all else becomes float32.
        positions: (N,) int, places of the slices in their volumes; only looked at with `weighting`.
        weighting: A name of `SLICE_WEIGHTS`, or None.

    Attributes:
        rows: (N, D) the scaled features.

    Notes:
        A unit whose similarities are all 0 keeps what it has; the division by 1e-10 would blow rounding errors up.
        Where features have both signs a column sum can be near 0 and the matrix large; the formula is the published
        one, made for features behind a ReLU.
    """

    def __init__(self, features: np.ndarray, positions: np.ndarray | None = None, weighting: str | None = None):
        dtype = np.float64 if np.asarray(features).dtype == np.float64 else np.float32
        self.rows = rows = unit_rows(features, dtype=dtype)
        self._weights = self._groups = self._products = None
        if weighting is not None:
            levels, place = np.unique(positions, return_inverse=True)
            self._weights = SLICE_WEIGHTS[weighting](np.abs(levels[:, None] - levels)).astype(dtype)  # (P, P)
            self._groups = [np.flatnonzero(place == level) for level in range(len(levels))]
        if rows.shape[1] > len(rows):
            self._products = rows @ rows.T
            if weighting is not None:
                self._products *= self._weights[place][:, place]
        sums = self._times(np.ones((len(rows), 1), dtype)) - 1  # (N, 1)
        is_alone = np.abs(sums) <= _ROUNDING * np.finfo(dtype).eps
        self._scale = np.where(is_alone, 0, 1 / (sums + dtype(_TINY)))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Returns the matrix times (N, K) values."""
        scaled = self._scale * values
        return self._times(scaled) - scaled + values

    def spread_back(self, values: np.ndarray) -> np.ndarray:
        """Returns the transposed matrix times (N, K) values, for gradients."""
        return self._scale * (self._times(values) - values) + values

    def _times(self, values: np.ndarray) -> np.ndarray:
        """Returns the matrix of w_ij x_i . x_j times (N, K) values."""
        if self._products is not None:
            return self._products @ values
        if self._groups is None:
            return self.rows @ (self.rows.T @ values)
        sums = np.stack([self.rows[group].T @ values[group] for group in self._groups])  # (P, D, K)
        mixed = np.tensordot(self._weights, sums, axes=1)
        out = np.empty((len(self.rows), values.shape[1]), np.result_type(self.rows, values))
        for group, sum_of_near in zip(self._groups, mixed, strict=True):
            out[group] = self.rows[group] @ sum_of_near
        return out
