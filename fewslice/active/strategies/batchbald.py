"""The batch of units about which the dropout passes together disagree most."""

from __future__ import annotations

import numpy as np
from scipy.special import entr

from fewslice.active.query import Choice, Query, register
from fewslice.settings.declare import Count
from fewslice.settings.experiment import PASS_MEANS

_CELLS = 2**22  # joint probabilities at a time


@register("batchbald", needs=(PASS_MEANS,), obeys_rules=True)
def batchbald(query: Query, *, configurations: Count = 4096) -> Choice:
    """Takes units one after the other, each time that which adds most to the mutual information of classes and passes.

    Two units that the passes disagree about in the same way tell little more than one of them. The class of a unit is
    drawn from its mean class probabilities, in each pass (`pass_means`). Of equal units the first is taken. The values
    are the joint mutual information of what is chosen so far, in nats.

    Args:
        configurations: Joint classes of the chosen units that are looked at: all, as long as there are no more
            (classes ** units), otherwise so many, drawn at random (seeded).

    Time and memory: about configurations x T x N x C products a unit, 2^22 numbers at a time.

    Source: Kirsch et al., 2019, arXiv 1906.08158.

    Notes:
        Differs from baal 2.1.0, which returns one unit more than asked for, in reverse order, so that the best one may
        be left out.

    Example:
        >>> sure, torn, same = [[1, 0], [1, 0]], [[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.2, 0.8]]
        >>> fewslice.select("batchbald", pass_means=[sure, torn, same, [[0.2, 0.8], [0.6, 0.4]]], budget=2).tolist()
        [1, 2]
    """
    left = query.candidates
    means = np.asarray(query.pass_means, np.float64)  # (N, T, C)
    conditional = entr(means).sum(axis=2).mean(axis=1)
    joint = np.ones((1, means.shape[1]))  # of each configuration of the chosen units, in each pass
    share, chosen, values, spent = np.ones(1), [], [], 0.0
    while len(left) and len(chosen) < query.budget:
        gains = joint_entropies(joint, share, means[left]) - spent - conditional[left]
        ranked = query.balanced(np.array([*chosen, *left[np.argsort(-gains, kind="stable")]]))
        unit = int(ranked[~np.isin(ranked, chosen)][0])
        values.append(gains[left == unit].item())
        chosen.append(unit)
        left = query.allowed_after(left, chosen)
        spent += conditional[unit]
        joint = (joint[:, None] * means[unit].T).reshape(-1, means.shape[1])
        share = np.repeat(share, means.shape[2])
        if len(joint) > configurations:
            weights = joint.mean(axis=1) * share
            drawn = query.rng.choice(len(joint), configurations, p=weights / weights.sum())
            joint = joint[drawn]
            share = weights.sum() / (configurations * joint.mean(axis=1))
    return Choice(np.array(chosen), np.array(values))


def joint_entropies(joint: np.ndarray, share: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns (n,) the entropy in nats of the classes of some units together with those of each candidate.

    Args:
        joint: (S, T) probability in each pass of the configurations that are looked at.
        share: (S,) how much of the whole each stands for: 1 / (probability that it was drawn), 1 if it was not drawn.
        means: (n, T, C) class probabilities of the candidates in each pass.
    """
    count, passes, classes = means.shape
    found, step = np.empty(count), max(1, _CELLS // (len(joint) * classes))
    for start in range(0, count, step):
        block = means[start : start + step].transpose(1, 0, 2).reshape(passes, -1)
        both = (joint @ block / passes).reshape(len(joint), -1, classes)
        found[start : start + step] = share @ entr(both).sum(axis=2)
    return found
