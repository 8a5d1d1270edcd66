"""The terms of the group contrastive loss as loops over rows, and the margin loss, in float64."""

from __future__ import annotations

import math

import numpy as np


def _similarities(z, temperature):
    z = np.asarray(z, np.float64)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T / temperature


def _term(s, a, positive, negatives):
    return -s[a, positive] + math.log(math.exp(s[a, positive]) + sum(math.exp(s[a, k]) for k in negatives))


def _mean(z, ids, temperature, *, same, apart, mask=()):
    """Mean of the terms of a row and each other one with the same id in column `same`, neither position in `mask`.

    Negatives are the rows with another id in column `apart`. Columns: 0 image, 1 group.
    """
    s, rows, terms = _similarities(z, temperature), range(len(z)), []
    for a in rows:
        negatives = [k for k in rows if ids[k][apart] != ids[a][apart]]
        for j in rows:
            if j != a and ids[j][same] == ids[a][same] and ids[a][2] not in mask and ids[j][2] not in mask:
                terms.append(_term(s, a, j, negatives))
    return sum(terms) / len(terms) if terms else 0.0


def nt_xent(z, ids, temperature):
    """Mean of the terms of a row and the other view of its image; negatives are the other images."""
    return _mean(z, ids, temperature, same=0, apart=0)


def group_negative(z, ids, temperature):
    """As `nt_xent`, with the rows of other groups as negatives."""
    return _mean(z, ids, temperature, same=0, apart=1)


def group_positive(z, ids, temperature, mask=()):
    """Mean over pairs of a group whose positions are both allowed; negatives are the other groups."""
    return _mean(z, ids, temperature, same=1, apart=1, mask=mask)


def published_positive(z, ids, temperature, mask=()):
    """The published accident: every other row is a positive, whatever the mask; divided by n (n - 1)."""
    del mask
    s, n = _similarities(z, temperature), len(z)
    group = [row[1] for row in ids]
    total = 0.0
    for a in range(n):
        negatives = [k for k in range(n) if group[k] != group[a]]
        total += sum(_term(s, a, j, negatives) for j in range(n) if j != a)
    return total / (n * (n - 1))


def margin_loss(a, b, label, margin):
    """The margin loss that the published code defines and never uses, with its gradients; label 0 for similar pairs."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    value, grad = 0.0, np.zeros_like(a)
    for row in range(len(a)):
        difference = a[row] - b[row] + 1e-6
        distance = math.sqrt(sum(difference**2))
        gap = max(margin - distance, 0.0)
        value += (1 - label[row]) * distance**2 + label[row] * gap**2
        slope = (1 - label[row]) * 2 * distance - label[row] * 2 * gap
        grad[row] = slope * difference / distance
    return value / len(a), grad / len(a), -grad / len(a)
