"""Which pixels the pixel contrastive loss compares: some of every foreground class, in both images of each pair.

Reference: Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ABSENT = 1000  # the published code's mark of a position that was not drawn


def draw_positions(
    labels_a: np.ndarray, labels_b: np.ndarray, num_classes: int, n_pos: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pixels of every foreground class, uniformly and with replacement, in both images of each pair.

    A class that one image of a pair lacks is left out in both.

    Args:
        labels_a: (B, H, W) integers, classes of the first images.
        labels_b: (B, H, W) the same of the second images.
        num_classes: K, background included.
        n_pos: Pixels per class and image.
        rng: Draws pair by pair, class by class, first image before second.

    Returns:
        (2B, K - 1, n_pos, 2) int32 rows and columns, first images before second ones, zero where not valid;
        (2B, K - 1, n_pos) boolean, which are valid.
    """
    shape = (len(labels_a), num_classes - 1, n_pos)
    flat, valid = np.zeros((2, *shape), np.int64), np.zeros((2, *shape), bool)
    for pair, images in enumerate(zip(labels_a, labels_b, strict=True)):
        for row, pixels in enumerate(zip(*(_pixels_of_classes(image, num_classes) for image in images), strict=True)):
            if all(map(len, pixels)):
                for side, places in enumerate(pixels):
                    flat[side, pair, row] = places[rng.integers(len(places), size=n_pos)]
                valid[:, pair, row] = True
    positions = np.stack(np.divmod(flat, np.shape(labels_a)[2]), axis=-1).astype(np.int32)
    return positions.reshape(-1, num_classes - 1, n_pos, 2), valid.reshape(-1, num_classes - 1, n_pos)


def _pixels_of_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Returns for classes 1 to K - 1 the places of their pixels in the flattened map, ascending."""
    flat = labels.ravel()
    places = np.flatnonzero(flat)
    classes = flat[places]
    return [places[classes == c] for c in range(1, num_classes)]


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

    Only to reproduce its draws; training uses `draw_positions`.

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
        places = [_pixels_of_classes(image, num_classes) for image in images]
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
