"""Greedy k-center and the distance of MultiFeature Coreset as plain loops over pairs, from the paper's formulas.

`distinct=False` is the published selection, accidents included: every unit stays a candidate, so that a unit can be
chosen again where a centre keeps a distance to itself.
"""

from __future__ import annotations

import math

import numpy as np


def euclidean(x, c):
    difference = np.asarray(x, float) - np.asarray(c, float)
    return math.sqrt(float(np.sum(difference * difference)))


def dot(x, c):
    return -float(np.sum(np.asarray(x, float) * np.asarray(c, float)))


def cosine(x, c):
    x, c = np.asarray(x, float), np.asarray(c, float)
    return 1 - float(np.sum(x * c)) / math.sqrt(float(np.sum(x * x)) * float(np.sum(c * c)))


def published_cosine(x, c):
    """The similarity: what is nearest counts as farthest."""
    return 1 - cosine(x, c)


def mfc(x, c, *, mask, pos_wt=1.0, normalise=False, repeats=1):
    """x and c are (pixels, embedding); `mask` are the weights of the centre's pixels."""
    total = 0.0
    for weight, a, b in zip(np.ravel(mask), np.ravel(x[0]), np.ravel(c[0]), strict=True):
        total += float(weight) * (float(a) - float(b)) ** 2
    counted = np.count_nonzero(mask) if normalise else 1
    return pos_wt * math.sqrt(total) / counted + math.sqrt(repeats) * euclidean(x[1], c[1])


def terms(x, c, weights):
    """x and c are dicts of one unit each; `weights` names the terms as the configuration does."""
    limit = weights.get("max_dist")
    limit = math.inf if limit is None else limit * weights.get("wt_max_dist_mult", 1.0)

    def weight(name):
        return max(-limit, min(limit, weights.get(name, 0.0)))

    total = weight("patient_wt") * (x["patient"] != c["patient"])
    total += weight("phase_wt") * abs(x["phase"] - c["phase"])
    total += weight("group_wt") * (1 - sum(a * b for a, b in zip(x["group"], c["group"], strict=True)))
    total += weight("height_wt") * abs(x["height"] - c["height"])
    total += weight("weight_wt") * abs(x["weight"] - c["weight"])
    total += weight("slice_rel_pos_wt") * abs(x["slice_rel_pos"] - c["slice_rel_pos"])
    total += weight("slice_mid_wt") * (1 - abs(x["slice_rel_pos"] - 0.5) - abs(c["slice_rel_pos"] - 0.5))
    total += weight("slice_pos_wt") * (x["slice_pos"] != c["slice_pos"])
    return weights.get("extra_feature_wt", 1.0) * total


class Chosen(AssertionError):
    """The published code stops: a unit that is labelled already is farthest."""


def greedy(count, distance, budget, *, already=(), first=None, distinct=True):
    """Returns the chosen units and the final distance of every unit to its nearest centre.

    Args:
        count: Number of units.
        distance: Function (unit, centre, position of the centre in the list of centres).
        budget: Units to choose.
        already: Labelled units.
        first: The first unit if nothing is labelled.
        distinct: Whether labelled and chosen units are left out.
    """
    nearest = [math.inf] * count
    centres, chosen = [], []

    def add(centre):
        centres.append(centre)
        for unit in range(count):
            nearest[unit] = min(nearest[unit], distance(unit, centre, len(centres) - 1))

    for centre in already:
        add(centre)
    while len(chosen) < budget:
        if centres:
            best = None
            for unit in range(count):
                if not (distinct and unit in centres) and (best is None or nearest[unit] > nearest[best]):
                    best = unit
        else:
            best = first
        if best in already:
            raise Chosen(best)
        chosen.append(best)
        add(best)
    return chosen, np.array(nearest)


def probabilistic(features, budget, rng, *, already=(), temp_init=1.0, temp_scale=None, distinct=True):
    """Draws units with probability exp((distance - largest distance) / temperature); `rng` draws with `choice`."""
    count = len(features)
    nearest = np.full(count, math.inf)
    chosen = []

    def add(centre):
        for unit in range(count):
            nearest[unit] = min(nearest[unit], euclidean(features[unit], features[centre]))

    for centre in already:
        add(centre)
    while len(chosen) < budget:
        left_out = [*already, *chosen] if distinct else list(already)
        candidates = np.array([unit for unit in range(count) if unit not in left_out])
        done = len(already) + len(chosen)
        if done:
            temperature = temp_init / (done + 1) if temp_scale == "inv_iter" else temp_init
            weights = np.exp((nearest[candidates] - nearest[candidates].max()) / temperature)
            chosen.append(int(rng.choice(candidates, p=weights / weights.sum())))
        else:
            chosen.append(int(rng.choice(np.arange(count))))
        add(chosen[-1])
    return chosen


def published_sources(size, new):
    """The input index of every output index of the published resize, -1 where it left a black pixel at the end.

    The last position, (new - 1) * ((size - 1) / (new - 1)), can come out just above size - 1 and so outside.
    """
    found = []
    for index in range(new):
        place = index * ((size - 1) / (new - 1))
        found.append(-1 if place > size - 1 else math.floor(place + 0.5))
    return found
