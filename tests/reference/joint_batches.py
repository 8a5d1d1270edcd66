"""The published table of pairs, and the published sampling of slices and pixels as plain loops."""

import numpy as np

# (first | second) image of the ten pairs of the inter-image variant.
INTER_10 = "L0|L0 L1|U1 L2|L2 L3|U3 L4|U4 U0|U0 U0|U1 U2|U2 U2|U3 U3|U4"


def pairs(text, half):
    """Returns (2, B) places in [L0, L1, ..., U0, U1, ...] from "L0|U1 ..."."""
    place = {"L": 0, "U": half}
    out = [[place[name[0]] + int(name[1:]) for name in pair.split("|")] for pair in text.split()]
    return [[first for first, _ in out], [second for _, second in out]]


def classes_of(labels):
    """Returns the set of classes of a slice (H, W)."""
    return {int(value) for row in labels for value in row}


def class_pixels(labels, c):
    """Returns the (row, column) of class c, row by row."""
    return [(row, column) for row, line in enumerate(labels) for column, value in enumerate(line) if value == c]


def positions(labels_a, labels_b, num_classes, n_pos, rng):
    """Returns {(image, class): [(row, column), ...]} as drawn pair by pair, class by class, first image first."""
    out, half = {}, len(labels_a)
    for p in range(half):
        for c in range(1, num_classes):
            found = [class_pixels(labels_a[p], c), class_pixels(labels_b[p], c)]
            if not found[0] or not found[1]:
                continue
            for side in range(2):
                index = rng.integers(0, len(found[side]), size=n_pos)
                out[p + side * half, c] = [found[side][int(i)] for i in index]
    return out


def published_slices(rng, labels, wanted, num_classes, pool):
    """The first `wanted` slices that show every class among `pool` drawn ones, or None, which skips the step."""
    drawn = rng.integers(0, len(labels), size=pool)
    good = [int(i) for i in drawn if classes_of(np.asarray(labels[i])) == set(range(num_classes))]
    return good[:wanted] if len(good) >= wanted else None
