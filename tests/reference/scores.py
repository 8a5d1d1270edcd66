"""Scores of whole images one pixel and one pass at a time, and the published rules that ours depart from.

Passes of one image are (T, H, W, C) probabilities, as in tests/reference/active.py, whose scores are not repeated.
"""

import itertools
import math

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.special import entr


def votes(passes):
    """(T, H, W): the first most probable class of each pixel."""
    count, height, width, classes = passes.shape
    found = np.zeros((count, height, width), int)
    for t, i, j in np.ndindex(count, height, width):
        found[t, i, j] = max(range(classes), key=lambda c: (passes[t, i, j, c], -c))
    return found


def vote_variance(passes):
    voted = votes(passes)
    found = np.zeros(voted.shape[1:])
    for i, j in np.ndindex(found.shape):
        mean = sum(voted[:, i, j]) / len(voted)
        found[i, j] = sum((vote - mean) ** 2 for vote in voted[:, i, j]) / len(voted)
    return found


def weights(mask):
    """Distance of each pixel of the mask to the nearest other pixel, by trying all, divided by the largest."""
    outside = [place for place in np.ndindex(mask.shape) if not mask[place]]
    if not outside or not mask.any():
        return mask.astype(float)
    found = np.array([[min(math.dist((i, j), each) for each in outside) for j in range(mask.shape[1])]
                      for i in range(mask.shape[0])])  # fmt: skip
    return found / found.max()


def vote_variance_edt(passes):
    return vote_variance(passes) * weights(votes(passes).mean(axis=0) > 0.5)


def axon_myelin(passes, *, edt=True, threshold=0.5):
    foreground = 1 - passes[..., 0]
    variance = ((foreground - foreground.mean(axis=0)) ** 2).mean(axis=0)
    if edt:
        return variance * weights(foreground[-1] < threshold)
    return np.sqrt(variance) * 512 * 512 / (1 + (foreground.mean(axis=0) > 0.5).sum())


def published_vote_variance_edt(voted):
    """The published score of (T, H, W) votes: NaN without foreground, a ramp where there is nothing else."""
    distances = distance_transform_edt(voted.mean(axis=0) > 0.5)
    with np.errstate(invalid="ignore"):
        return (voted.var(axis=0) * (distances / distances.max())).mean()


def published_axon_myelin(foreground):
    """The published map of (T, H, W) foreground probabilities: distances to probabilities of exactly 1, else a ramp."""
    distances = distance_transform_edt((1 - foreground[-1])[None])[0]
    return foreground.var(axis=0) * (distances - distances.min()) / (distances.max() - distances.min())


def published_random(count, seed):
    """The published order: shuffled a thousand times."""
    generator, order = np.random.RandomState(seed), np.arange(count)
    for _ in range(1000):
        generator.shuffle(order)
    return order


def published_stands_still(values, patience, epsilon):
    near = [math.isclose(value, values[-1], rel_tol=1e-5, abs_tol=0) or abs(value - values[-1])
            <= epsilon + 1e-5 * abs(values[-1]) for value in values]  # fmt: skip
    return len(values) >= patience and all(near[-(patience + 1) :])


def entropy(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def joint_information(means, units):
    """Mutual information of the classes of some units and the pass, over all their configurations; means (N, T, C)."""
    passes, classes = means.shape[1:]
    joint = []
    for labels in itertools.product(range(classes), repeat=len(units)):
        each = [
            math.prod(means[unit, t, label] for unit, label in zip(units, labels, strict=True)) for t in range(passes)
        ]
        joint.append(sum(each) / passes)
    given = sum(entropy(means[unit, t]) for unit in units for t in range(passes)) / passes
    return entropy(joint) - given


def batchbald(means, budget):
    """The exact greedy choice, with the joint information after each unit."""
    chosen, values = [], []
    for _ in range(budget):
        gains = [-1.0 if unit in chosen else joint_information(means, [*chosen, unit]) for unit in range(len(means))]
        chosen.append(gains.index(max(gains)))
        values.append(max(gains))
    return chosen, values


# One image as (C, H, W, T) probabilities, by the vectorised formulas of the published code: the reference of speed.
PLAIN = {
    "vote_variance": lambda p: p.argmax(axis=0).var(axis=-1).mean(),
    "entropy": lambda p: entr(p.mean(axis=-1)).sum(axis=0).mean(),
    "expected_entropy": lambda p: entr(p).sum(axis=0).mean(axis=-1).mean(),
    "bald": lambda p: (entr(p.mean(axis=-1)).sum(axis=0) - entr(p).sum(axis=0).mean(axis=-1)).mean(),
    "ensemble_variance": lambda p: p.var(axis=-1).mean(),
    "vote_variance_edt": lambda p: published_vote_variance_edt(np.moveaxis(p.argmax(axis=0), -1, 0)),
}
