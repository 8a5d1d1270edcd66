"""The losses on integer labels of which some are missing, as loops; logits (N, H, W, K), labels (N, H, W)."""

from __future__ import annotations

import numpy as np

from tests.reference.taught import dice
from tests.reference.taught import softmax as probabilities


def partial_cross_entropy(logits, labels, ignore):
    p = probabilities(logits)
    terms = [-np.log(p[place][labels[place]]) for place in np.ndindex(labels.shape) if labels[place] != ignore]
    return sum(terms) / len(terms) if terms else 0.0


def squared_dice(p, labels, ignore=None):
    """One minus the mean over classes of (2 sum p y + 1e-5) / (sum p^2 + sum y^2 + 1e-5) over known pixels."""
    known = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    return dice(p, np.eye(p.shape[-1])[np.where(known, labels, 0)], known)


def published_partial_dice(p, labels, ignore):
    """As published: for every pair of images, the sums of the one count where the other is annotated."""
    scores = []
    for k in range(p.shape[-1]):
        overlap = total = 0.0
        for mask in labels != ignore:
            for n, r, c in np.ndindex(labels.shape):
                if mask[r, c]:
                    y = float(labels[n, r, c] == k)
                    overlap += p[n, r, c, k] * y
                    total += p[n, r, c, k] ** 2 + y**2
        scores.append((2 * overlap + 1e-5) / (total + 1e-5))
    return 1 - sum(scores) / len(scores)


def pseudo_label(p_1, p_2, share):
    return (share * p_1 + (1 - share) * p_2).argmax(axis=-1)


def dynamic_pseudo_label(logits_1, logits_2, labels, share, ignore, *, partial_weight=1.0, pseudo_weight=0.5):
    both = probabilities(logits_1), probabilities(logits_2)
    pseudo = pseudo_label(*both, share)
    partial = sum(partial_cross_entropy(logits, labels, ignore) for logits in (logits_1, logits_2)) / 2
    return partial_weight * partial + pseudo_weight * sum(squared_dice(p, pseudo) for p in both) / 2


def strong_segmentation(logits, labels, ignore=None):
    dice = squared_dice(probabilities(logits), labels, ignore)
    return (partial_cross_entropy(logits, labels, ignore) + dice) / 2


def cross_entropy_dice(logits, labels, ignore=None):
    p = probabilities(logits)
    scores = []
    for k in range(p.shape[-1]):
        known = [place for place in np.ndindex(labels.shape) if labels[place] != ignore]
        overlap = sum(p[place][k] for place in known if labels[place] == k)
        total = sum(p[place][k] + float(labels[place] == k) for place in known)
        scores.append((2 * overlap + 1e-6) / (total + 1e-6))
    return partial_cross_entropy(logits, labels, ignore) + 1 - sum(scores) / len(scores)
