"""A gauge of collapse: how many dimensions embeddings use."""

from __future__ import annotations

import numpy as np


def effective_rank(embeddings: np.ndarray) -> float:
    """Returns the effective rank of embeddings scaled to unit length.

    exp(H(p)), where p are the singular values divided by their sum: 1 if all embeddings point the same way,
    min(n, d) if they spread evenly over all directions.

    Args:
        embeddings: (n, d) float. Rows of zeros stay zero.

    Reference: Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    >>> round(effective_rank(np.eye(3)), 6), round(effective_rank(np.ones((4, 2))), 6)
    (3.0, 1.0)
    """
    rows = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    singular = np.linalg.svd(rows / np.maximum(lengths, 1e-12), compute_uv=False)
    if not singular.sum() > 0:
        return 0.0
    p = singular / singular.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))
