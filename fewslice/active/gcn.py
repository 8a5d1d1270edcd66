"""A graph network of two layers that learns to tell annotated units from the others, in NumPy.

Caramalau et al., 2021, arXiv 2006.10219. The graph joins units by the cosine of their features. Its matrix
is never made: it is a product of the features with themselves and a diagonal, so that memory is linear in the number
of units and a step costs units x features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from fewslice.errors import ConfigError

_TINY = 1e-10


class SimilarityGraph:
    """The matrix A + I, A_ij = (x_i . x_j - [i = j]) / (sum_k A'_kj + 1e-10), x of length 1, A' before the division.

    Args:
        features: (N, D) float. Rows are scaled to length 1; float64 stays, all else becomes float32.

    Attributes:
        rows: (N, D) the scaled features.

    Notes:
        Where features have both signs a column sum can be near 0 and the matrix large; the formula is the published
        one, made for features behind a ReLU.
    """

    def __init__(self, features: np.ndarray):
        dtype = np.float64 if np.asarray(features).dtype == np.float64 else np.float32
        rows = np.array(features, dtype, order="C")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        self.rows = rows / np.where(lengths > 0, lengths, 1)
        self._scale = 1 / (self.rows @ self.rows.sum(axis=0) - 1 + dtype(_TINY))[:, None]  # (N, 1)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Returns the matrix times (N, K) values."""
        scaled = self._scale * values
        return self.rows @ (self.rows.T @ scaled) - scaled + values

    def spread_back(self, values: np.ndarray) -> np.ndarray:
        """Returns the transposed matrix times (N, K) values, for gradients."""
        return self._scale * (self.rows @ (self.rows.T @ values) - values) + values


@dataclasses.dataclass(frozen=True)
class Training:
    """How wide the network is and how it is trained; the published values.

    Attributes:
        hidden_units: Width of the hidden layer.
        dropout: Share of hidden values that are set to 0 while training.
        learning_rate: Of Adam (beta 0.9 and 0.999, epsilon 1e-8).
        weight_decay: Factor of the weights that is added to their gradients.
        lambda_loss: Weight of the unlabelled units' part of the loss.
        num_epochs: Steps, each over all units.

    Raises:
        ConfigError: a value that makes no sense.
    """

    hidden_units: int = 128
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    lambda_loss: float = 1.2
    num_epochs: int = 200

    def __post_init__(self):
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"`dropout` must lie in [0, 1). Received: dropout={self.dropout}")
        for name in ("hidden_units", "learning_rate", "num_epochs"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"`{name}` must be positive. Received: {name}={getattr(self, name)}")


def training_of(options: Mapping[str, float]) -> Training:
    """Returns the settings with these options. Raises `ConfigError` if there is no such option."""
    unknown = sorted(set(options) - {field.name for field in dataclasses.fields(Training)})
    if unknown:
        raise ConfigError(f"CoreGCN has no option {unknown[0]!r}.")
    return Training(**options)


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
        The trained weights; (num_epochs,) float64 loss before each step.
    """
    weights = [weight.copy() for weight in weights]
    spread_rows = graph.spread(graph.rows)  # (N, D), the same in each step
    first = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    losses = np.empty(training.num_epochs)
    for step in range(training.num_epochs):
        before = spread_rows @ weights[0] + weights[1]
        keep = (before > 0).astype(before.dtype)
        if training.dropout > 0:
            keep *= (rng.random(keep.shape, np.float32) >= training.dropout) / keep.dtype.type(1 - training.dropout)
        hidden = before * keep
        scores = expit(graph.spread(hidden @ weights[2]) + weights[3])
        losses[step], slope = loss_and_gradient(scores, is_labelled, training.lambda_loss)
        slope = slope * scores * (1 - scores)
        back = graph.spread_back(slope)  # (N, 1), gradient of hidden @ weights[2]
        slope_before = (back @ weights[2].T) * keep
        gradients = [spread_rows.T @ slope_before, slope_before.sum(axis=0), hidden.T @ back, slope.sum(axis=0)]
        for weight, gradient, mean, square in zip(weights, gradients, first, second, strict=True):
            gradient += training.weight_decay * weight
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            root = np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8
            weight -= training.learning_rate / (1 - 0.9 ** (step + 1)) * mean / root
    return weights, losses


def learn(features: np.ndarray, is_labelled: np.ndarray, *, training: Training, rng: np.random.Generator) -> np.ndarray:
    """Returns what a new network learns about each unit: (N, hidden + 1), hidden values and output before the sigmoid.

    Args:
        features: (N, D) float.
        is_labelled: (N,) bool, some true and some false.
        training: The network's width and how it is trained.
        rng: Draws the first weights and the dropout.
    """
    graph = SimilarityGraph(features)
    weights = initial_weights(graph.rows.shape[1], training.hidden_units, rng=rng, dtype=graph.rows.dtype)
    weights, _ = train(graph, weights, is_labelled=is_labelled, training=training, rng=rng)
    return np.hstack(forward(graph, weights))
