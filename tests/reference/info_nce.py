"""One contrastive term in plain NumPy, float64; https://arxiv.org/abs/2006.10511, equation 1.

l(a, b) = -log( e^s(a,b) / (e^s(a,b) + sum over r of e^s(a,r)) ), s(a, b) = cosine(a, b) / temperature.
"""

import numpy as np


def unit(vector):
    """Returns vector / sqrt(max(|vector|^2, 1e-12))."""
    vector = np.asarray(vector, np.float64)
    return vector / np.sqrt(max(float(np.dot(vector, vector)), 1e-12))


def term(anchor, positive, negatives, temperature):
    """Returns l(anchor, positive) for vectors of shape (D,), `negatives` a list of them."""
    anchor = unit(anchor)
    target = np.dot(anchor, unit(positive)) / temperature
    logits = [target] + [np.dot(anchor, unit(negative)) / temperature for negative in negatives]
    largest = max(logits)
    return largest + np.log(sum(np.exp(logit - largest) for logit in logits)) - target
