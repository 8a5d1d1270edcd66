"""A graph network of two layers that learns to tell annotated units from the others, in NumPy.

Caramalau et al., 2021, arXiv 2006.10219. The graph is that of `fewslice.active.measures.graph`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import expit

from fewslice.active.measures.graph import SimilarityGraph
from fewslice.core.errors import ConfigError

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
