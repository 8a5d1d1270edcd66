"""Dice and cross-entropy as loops over images, classes and pixels; logits and labels are (N, H, W, K)."""

import numpy as np


def softmax(logits):
    """Returns the softmax of a vector of K logits."""
    exps = [np.exp(value - max(logits)) for value in logits]
    return [value / sum(exps) for value in exps]


def dice_loss(logits, labels, first_class):
    """1 - mean over images and classes from `first_class` of 2 sum(p y) / (sum(p) + sum(y) + 1e-10)."""
    scores = []
    for image, truth in zip(logits, labels, strict=True):
        for k in range(first_class, logits.shape[-1]):
            overlap = size = 0.0
            for place in np.ndindex(image.shape[:2]):
                p, y = softmax(image[place])[k], truth[place][k]
                overlap += p * y
                size += p + y
            scores.append(2 * overlap / (size + 1e-10))
    return 1 - sum(scores) / len(scores)


def cross_entropy(logits, labels, weights=None):
    """Mean over pixels of (sum of weight y) (-sum of y log p); weight 1 without `weights`."""
    terms = []
    for place in np.ndindex(logits.shape[:-1]):
        p, y = softmax(logits[place]), labels[place]
        weight = 1.0 if weights is None else sum(w * value for w, value in zip(weights, y, strict=True))
        terms.append(-weight * sum(value * np.log(q) for value, q in zip(y, p, strict=True)))
    return sum(terms) / len(terms)
