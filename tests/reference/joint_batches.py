"""The published table of pairs, and the published sampling of slices and pixels as plain loops."""

from typing import NamedTuple

import numpy as np

ABSENT = 1000  # the published code's mark of a position that was not drawn

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


class PublishedPositions(NamedTuple):
    """What the published code draws, (row, column), `ABSENT` where nothing was drawn.

    Attributes:
        pos1: (B, K - 1, n_pos, 2) int32, sampled pixels of the first images.
        pos2: The same of the second images.
        neg1: (B, K - 1, n_neg (K - 2), 2) int32, pixels of the other foreground classes, first images.
        neg2: The same of the second images.
    """

    pos1: np.ndarray
    pos2: np.ndarray
    neg1: np.ndarray
    neg2: np.ndarray


def published_positions(
    labels_a: np.ndarray,
    labels_b: np.ndarray,
    num_classes: int,
    *,
    n_pos: int,
    n_neg: int,
    rng: np.random.RandomState,
) -> PublishedPositions:
    """Draws as the published code does, number for number, negatives included, which its loss never reads.

    Args:
        labels_a: (B, H, W) integers, classes of the first images.
        labels_b: (B, H, W) the same of the second images.
        num_classes: K, background included.
        n_pos: Pixels per class and image.
        n_neg: Pixels per class, other class and image.
        rng: NumPy's legacy generator, for instance `numpy.random.RandomState(77)`.
    """
    num_pairs, num_foreground = len(labels_a), num_classes - 1
    found = PublishedPositions(
        *(np.full((num_pairs, num_foreground, n_pos, 2), ABSENT, np.int32) for _ in range(2)),
        *(np.full((num_pairs, num_foreground, n_neg * (num_classes - 2), 2), ABSENT, np.int32) for _ in range(2)),
    )

    def draw(places: np.ndarray, count: int) -> np.ndarray:
        flat = places[rng.randint(0, len(places), size=count)]
        return np.stack(np.divmod(flat, np.shape(labels_a)[2]), axis=-1)

    for pair, images in enumerate(zip(labels_a, labels_b, strict=True)):
        places = [[np.flatnonzero(image.ravel() == c) for c in range(1, num_classes)] for image in images]
        for row in range(num_foreground):
            if not all(len(image[row]) for image in places):
                continue
            for image, positives in zip(places, (found.pos1, found.pos2), strict=True):
                positives[pair, row] = draw(image[row], n_pos)
            for image, negatives in zip(places, (found.neg1, found.neg2), strict=True):
                others = [other for other in range(num_foreground) if other != row]
                for block, other in enumerate(others):
                    if len(image[other]):
                        negatives[pair, row, block * n_neg : (block + 1) * n_neg] = draw(image[other], n_neg)
    return found
