"""A graph network of two layers that learns to tell annotated units from the others, in NumPy.

Caramalau et al., 2021, arXiv 2006.10219. The graph is that of `fewslice.active.measures.gcn`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.special import expit

from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name

_TINY = 1e-10


@dataclasses.dataclass(frozen=True)
class Training:
    """How wide the network is and how it is trained, with the published names and values.

    Attributes:
        hidden_units: Width of the hidden layer.
        dropout_rate: Share of hidden values that are set to 0 while training.
        lr_gcn: Learning rate of Adam (beta 0.9 and 0.999, epsilon 1e-8).
        wdecay: Factor of the weights that is added to their gradients.
        lambda_loss: Weight of the unlabelled units' part of the loss.
        num_epochs_gcn: Steps, each over all units.

    Raises:
        ConfigError: values that make no sense, all at once.
    """

    hidden_units: int = 128
    dropout_rate: float = 0.3
    lr_gcn: float = 1e-3
    wdecay: float = 5e-4
    lambda_loss: float = 1.2
    num_epochs_gcn: int = 200

    def __post_init__(self):
        problems = [
            f"`{name}` must be positive. Received: {name}={getattr(self, name)}"
            for name in ("hidden_units", "lr_gcn", "num_epochs_gcn")
            if not getattr(self, name) > 0
        ]
        problems += [
            f"`{name}` must not be negative. Received: {name}={getattr(self, name)}"
            for name in ("wdecay", "lambda_loss")
            if not getattr(self, name) >= 0
        ]
        if not 0 <= self.dropout_rate < 1:
            problems.append(f"`dropout_rate` must lie in [0, 1). Received: dropout_rate={self.dropout_rate}")
        if problems:
            raise ConfigError("\n".join(problems))


def initial_weights(num_features: int, hidden: int, *, rng: np.random.Generator, dtype=np.float32) -> list[np.ndarray]:
    """Returns [(D, hidden), (hidden,), (hidden, 1), (1,)], uniform within 1 / sqrt(number of outputs)."""
    shapes = [(num_features, hidden), (hidden,), (hidden, 1), (1,)]
    return [(rng.uniform(-1.0, 1.0, shape) / np.sqrt(shape[-1])).astype(dtype) for shape in shapes]


def forward(graph: SimilarityGraph, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (N, hidden) hidden values and the (N, 1) outputs before the sigmoid, without dropout."""
    hidden = np.maximum(graph.spread(graph.rows @ weights[0]) + weights[1], 0)
    return hidden, graph.spread(hidden @ weights[2]) + weights[3]


def loss_and_gradient(scores: np.ndarray, is_labelled: np.ndarray, lambda_loss: float) -> tuple[float, np.ndarray]:
    """Returns the loss and its gradient.

    Args:
        scores: (N, 1) outputs after the sigmoid: how likely a unit is annotated.
        is_labelled: (N,) bool, some true and some false.
        lambda_loss: Weight of the second part.

    Returns:
        -mean log(y + 1e-10) over annotated units - lambda mean log(1 - y + 1e-10) over the others; (N, 1) gradient.
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
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Trains with Adam on all units at once.

    Args:
        graph: Of N units.
        weights: As from `initial_weights`; not changed.
        is_labelled: (N,) bool, some true and some false.
        training: How.
        rng: Draws the dropout.

    Returns:
        The trained weights; (num_epochs_gcn,) float64 loss before each step.
    """
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
    graph: SimilarityGraph, is_labelled: np.ndarray, *, training: Training, rng: np.random.Generator
) -> np.ndarray:
    """Returns what a new network learns about each unit: (N, hidden + 1), hidden values and output before the sigmoid.

    Args:
        graph: Of N units.
        is_labelled: (N,) bool, some true and some false.
        training: The network's width and how it is trained.
        rng: Draws the first weights and the dropout.
    """
    weights = initial_weights(graph.rows.shape[1], training.hidden_units, rng=rng, dtype=graph.rows.dtype)
    weights, _ = train(graph, weights, is_labelled=is_labelled, training=training, rng=rng)
    return np.hstack(forward(graph, weights))


_ROUNDING = 8  # a unit without neighbours has a sum of so many rounding errors at most


def _within_k(apart: np.ndarray) -> np.ndarray:
    return (apart <= 1).astype(float)


def _inverse(apart: np.ndarray) -> np.ndarray:
    return 1.0 / np.maximum(apart, 1)


def _exponential(apart: np.ndarray) -> np.ndarray:
    return np.exp(1.0 - np.maximum(apart, 1))


SLICE_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "k_slice_wt": _within_k,
    "inv_slice_wt": _inverse,
    "exp_slice_wt": _exponential,
}


def slice_weights(name: str, apart: np.ndarray) -> np.ndarray:
    """Returns what the similarity of two slices is multiplied with.

    Args:
        name: "k_slice_wt": 1 up to one slice apart, else 0. "inv_slice_wt": 1 / max(d, 1). "exp_slice_wt":
            exp(1 - max(d, 1)).
        apart: (...) int, d, by how many slices they lie apart, at least 0.

    Raises:
        ConfigError: unknown name.

    Notes:
        Published are these three functions, but no code that could use them: the branch stopped with an error. The
        formulas follow from recorded values at d = 0, 1, 3, 4, which leave open whether the first is 1 or 0 at d = 2.
    """
    if name not in SLICE_WEIGHTS:
        raise ConfigError(unknown_name("adj_sim_wt_metric", name, SLICE_WEIGHTS))
    return SLICE_WEIGHTS[name](np.asarray(apart))


class SimilarityGraph:
    """The matrix A + I, A_ij = (w_ij x_i . x_j - [i = j]) / (sum_k A'_kj + 1e-10), A' before the division.

    x are features of length 1, w are 1 or the weights of `slice_weights` by the slices' positions in their volumes,
    whichever volumes these are. The matrix is not made where there are fewer features than units: it is a product of
    the features with themselves, so that memory is linear in the number of units (times the number of different
    positions, if these count) and a step costs units x features. Where there are more features, the (N, N) products
    are held.

    Args:
        features: (N, D) float. Rows are scaled to length 1; float64 stays, all else becomes float32.
        positions: (N,) int, places of the slices in their volumes; only looked at with `weighting`.
        weighting: A name of `slice_weights`, or None.

    Attributes:
        rows: (N, D) the scaled features.

    Notes:
        A unit whose similarities are all 0 keeps what it has; the division by 1e-10 would blow rounding errors up.
        Where features have both signs a column sum can be near 0 and the matrix large; the formula is the published
        one, made for features behind a ReLU.
    """

    def __init__(self, features: np.ndarray, positions: np.ndarray | None = None, weighting: str | None = None):
        dtype = np.float64 if np.asarray(features).dtype == np.float64 else np.float32
        rows = np.array(features, dtype, order="C")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
        self.rows = rows
        self._weights = self._groups = self._products = None
        if weighting is not None:
            levels, place = np.unique(positions, return_inverse=True)
            self._weights = slice_weights(weighting, np.abs(levels[:, None] - levels)).astype(dtype)  # (P, P)
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
