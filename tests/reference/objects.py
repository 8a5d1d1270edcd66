"""Object scores of the GlaS challenge (https://arxiv.org/abs/1603.00275, section 3) in plain loops."""

import math


def pixels_of(numbers):
    """Returns number -> set of (row, column)."""
    found = {}
    for row, line in enumerate(numbers.tolist()):
        for column, number in enumerate(line):
            if number:
                found.setdefault(number, set()).add((row, column))
    return dict(sorted(found.items()))


def partner(own, others):
    """Returns the pixels of the object of `others` that shares most with `own`; None if none shares any."""
    best, most = None, 0
    for other in others.values():
        if len(own & other) > most:
            best, most = other, len(own & other)
    return best


def f1(truth, prediction):
    hits, right, wrong = [], 0, 0
    for predicted in prediction.values():
        true = partner(predicted, truth)
        if true is not None and len(predicted & true) / len(true) >= 0.5:
            right += 1
            hits.append(true)
        else:
            wrong += 1
    missed = sum(true not in hits for true in truth.values())
    if not right:
        return 0.0
    precision, recall = right / (right + wrong), right / (right + missed)
    return 2 * precision * recall / (precision + recall)


def dice(truth, prediction):
    total = 0.0
    for ours, theirs in ((truth, prediction), (prediction, truth)):
        size = sum(map(len, ours.values()))
        for own in ours.values():
            other = partner(own, theirs)
            if other is not None:
                total += len(own) / size * 2 * len(own & other) / (len(own) + len(other)) / 2
    return total


def hausdorff_of(one, other):
    return max(max(min(math.dist(a, b) for b in y) for a in x) for x, y in ((one, other), (other, one)))


def hausdorff(truth, prediction):
    total = 0.0
    for ours, theirs in ((truth, prediction), (prediction, truth)):
        size = sum(map(len, ours.values()))
        for own in ours.values():
            other = partner(own, theirs)
            nearest = hausdorff_of(own, other) if other else min(hausdorff_of(own, each) for each in theirs.values())
            total += len(own) / size * nearest / 2
    return total
