"""Scores of objects: whether each gland, cell or lesion is found, how well it is covered, how far its border is off.

Definitions of the GlaS challenge (Sirinukunwattana et al. 2017, https://arxiv.org/abs/1603.00275, section 3). G are the
objects of the truth, S those of the prediction; the partner of an object is the one of the other side that shares most
voxels with it, of equal ones the one with the lowest number.

  object F1         S is right if it covers at least half of its partner, else wrong; a G that is partner of no right S
                    is missed. F1 = 2 P R / (P + R) of precision and recall.
  object Dice       half of the sums, over G and over S, of the Dice of an object and its partner (0 without one),
                    weighted by the object's share of the voxels of its side.
  object Hausdorff  the same sums of the Hausdorff distance of all voxels, between voxel centres, in voxels; an object
                    without partner takes the nearest one of the other side by that distance.

Without objects on both sides all three are undefined (NaN). With objects on one side F1 and Dice are 0 and the distance
is undefined.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import scipy.ndimage
import scipy.spatial.distance

from fewslice.evaluate.metrics import METRICS

_UNDEFINED = "undefined without objects on"
DEFINITIONS = {
    "object_f1": f"F1 of objects; right is what covers half of its partner; {_UNDEFINED} both sides",
    "object_dice": f"Dice of objects and their partners, weighted by size; {_UNDEFINED} both sides",
    "object_hausdorff_voxels": f"Hausdorff distance of objects and their partners, by size; {_UNDEFINED} one side",
}
_SPECK = 32  # voxels up to which all distances are faster than a tree
_FAR = 50  # voxels of the image per voxel from which a tree is faster than a distance transform


def parts(mask: np.ndarray) -> np.ndarray:
    """Returns the connected parts of a mask, numbered from 1; corners connect (8 neighbours in a slice)."""
    return scipy.ndimage.label(mask, np.ones((3,) * mask.ndim))[0]


def overlaps(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns voxels shared by the objects (G, S) of two arrays of their numbers, and sizes (G,) and (S,)."""
    (gs, g), (ss, s) = (np.unique(np.append(0, each), return_inverse=True) for each in (truth, prediction))
    table = np.bincount(g[1:] * len(ss) + s[1:], minlength=len(gs) * len(ss)).reshape(len(gs), len(ss))
    return table[1:, 1:], table.sum(axis=1)[1:], table.sum(axis=0)[1:]


def object_f1(shared: np.ndarray, truth: np.ndarray) -> float:
    """Returns the F1 of objects from `overlaps`, both sides having some."""
    partner, most = shared.argmax(axis=0), shared.max(axis=0)
    is_right = (most > 0) & (2 * most >= truth[partner])
    if not is_right.any():
        return 0.0
    precision, recall = is_right.mean(), is_right.sum()
    recall = recall / (recall + len(truth) - len(np.unique(partner[is_right])))
    return float(2 * precision * recall / (precision + recall))


def object_dice(shared: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> float:
    """Returns the Dice of objects from `overlaps`, both sides having some."""
    sides = (shared, truth, prediction), (shared.T, prediction, truth)
    terms = (
        own @ (2 * both.max(axis=1) / (own + other[both.argmax(axis=1)])) / own.sum() for both, own, other in sides
    )
    return float(sum(terms) / 2)


def object_hausdorff(truth: np.ndarray, prediction: np.ndarray, shared: np.ndarray) -> float:
    """Returns the Hausdorff distance of objects in voxels, from their numbers and what they share (`overlaps`)."""
    sides, total = (_Side(truth), _Side(prediction)), 0.0
    extents = [np.array([(border @ _directions(truth.ndim)).max(axis=0) for border in side.borders]) for side in sides]
    least = scipy.spatial.distance.cdist(*extents, "chebyshev") - 1e-9  # no Hausdorff distance is smaller
    measured = functools.cache(lambda g, s: max(sides[0].farthest(g, sides[1], s), sides[1].farthest(s, sides[0], g)))
    for own, (both, bounds) in enumerate(((shared, least), (shared.T, least.T))):
        for place, found in enumerate(both):
            nearest = np.inf
            for other in [int(found.argmax())] if found.any() else np.argsort(bounds[place]).tolist():
                if bounds[place, other] >= nearest:
                    break
                nearest = min(nearest, measured(*((other, place) if own else (place, other))))
            total += nearest * sides[own].shares[place] / 2
    return total


def _directions(axes: int) -> np.ndarray:
    steps = np.array([each for each in itertools.product((-1, 0, 1), repeat=axes) if any(each)])
    return steps.T / np.linalg.norm(steps, axis=1)


class _Side:
    """The objects of truth or prediction, counted from 0 in the order of their numbers."""

    def __init__(self, numbers: np.ndarray):
        self.numbers = np.unique(np.append(0, numbers), return_inverse=True)[1][1:].reshape(numbers.shape) - 1
        sizes, self.borders = np.bincount(self.numbers[self.numbers >= 0]), []
        self.boxes, self.shares = scipy.ndimage.find_objects(self.numbers + 1), sizes / sizes.sum()
        for place, box in enumerate(self.boxes):
            mask = self.numbers[box] == place
            self.borders.append(np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask)) + [each.start for each in box])
        self.tree = functools.cache(lambda place: scipy.spatial.cKDTree(self.borders[place]))

    def farthest(self, place: int, other: _Side, to: int) -> float:
        """Returns the largest distance from a voxel of an object to the nearest of one of the other side.

        Beyond the box around that one a step away from it leads farther from all of it, so that only the object's
        border counts there; from outside, the nearest voxel is one of the border.
        """
        box = other.boxes[to]
        within = np.argwhere(self.numbers[box] == place) + [each.start for each in box]
        voxels = np.concatenate([self.borders[place], within])
        voxels = voxels[other.numbers[tuple(voxels.T)] != to]
        if not len(voxels):
            return 0.0
        if len(other.borders[to]) <= _SPECK:
            return float(scipy.spatial.distance.cdist(voxels, other.borders[to]).min(axis=1).max())
        if _FAR * len(voxels) > self.numbers.size:
            return float(scipy.ndimage.distance_transform_edt(other.numbers != to)[tuple(voxels.T)].max())
        return float(other.tree(to).query(voxels)[0].max())


@METRICS.register("objects", definitions=DEFINITIONS, needs_all=True, pool=None)
def objects(
    truth: np.ndarray, prediction: np.ndarray, instances: np.ndarray | None, num_classes: int
) -> dict[str, np.ndarray]:
    """Returns the three scores of each structure; masks fall into `parts`."""
    scores = np.full((num_classes - 1, 3), np.nan)
    for row, label in zip(scores, range(1, num_classes), strict=True):
        numbers = parts(truth == label) if instances is None else np.where(truth == label, instances, 0)
        pair = [numbers.astype(np.int64), parts(prediction == label)]
        pair = [each[..., 0] if each.shape[-1] == 1 else each for each in pair]  # all of a slice would be border
        shared, *sizes = overlaps(*pair)
        if shared.size:
            row[:] = object_f1(shared, sizes[0]), object_dice(shared, *sizes), object_hausdorff(*pair, shared)
        elif shared.shape != (0, 0):
            row[:2] = 0
    return dict(zip(DEFINITIONS, scores.T, strict=True))
