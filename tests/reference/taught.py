"""The losses of unlabelled images that a teacher labels, as plain loops."""

from __future__ import annotations

import numpy as np

from tests.reference.components import largest_components


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def dice(probabilities, labels, weights):
    """All (N, H, W, K) but `weights` (N, H, W)."""
    scores = []
    for k in range(probabilities.shape[-1]):
        overlap = total = 0.0
        for n, r, c in np.ndindex(weights.shape):
            p, y, w = probabilities[n, r, c, k], labels[n, r, c, k], weights[n, r, c]
            overlap += w * p * y
            total += w * (p * p + y * y)
        scores.append((2 * overlap + 1e-5) / (total + 1e-5))
    return 1 - np.mean(scores)


def _targets(logits, soft, threshold):
    probabilities = softmax(logits)
    hard = np.eye(logits.shape[-1])[probabilities.argmax(-1)]
    certainty = probabilities.max(-1)
    return (probabilities, certainty) if soft else (hard, (certainty >= threshold).astype(float))


def weak_to_strong(boxes, logits, *, confidence, soft, drops_features):
    u = len(boxes)
    labels, weights = _targets(logits[:u], soft, confidence)
    total = 0.5 * dice(softmax(logits[u : 2 * u]), labels, weights) if drops_features else 0.0
    for view in (0, 1):
        start = (view + 1 + drops_features) * u
        mixed, mixed_weights = labels.copy(), weights.copy()
        for n, r, c in np.ndindex(boxes.shape[:3]):
            if boxes[n, r, c, view]:
                mixed[n, r, c], mixed_weights[n, r, c] = labels[n - 1, r, c], weights[n - 1, r, c]
        total += 0.25 * dice(softmax(logits[start : start + u]), mixed, mixed_weights)
    return total


def copy_paste(known, logits, *, alpha, soft, largest_component):
    u = len(known)
    labels, certainty = _targets(logits[:u], soft, 0.0)  # without `soft` every pixel is certain
    if largest_component and not soft:
        labels = np.eye(logits.shape[-1])[largest_components(labels.argmax(-1))]
    weights = np.ones(known.shape[:3])
    for n, r, c in np.ndindex(weights.shape):
        if known[n, r, c, -1]:
            weights[n, r, c] = alpha * certainty[n, r, c]
        else:
            labels[n, r, c] = known[n, r, c, :-1]
    probabilities = softmax(logits[u:])
    entropy = sum(
        -weights[n, r, c] * labels[n, r, c, k] * np.log(probabilities[n, r, c, k])
        for n, r, c, k in np.ndindex(probabilities.shape)
    )
    return 0.5 * (dice(probabilities, labels, weights) + entropy / max(weights.sum(), 1))
