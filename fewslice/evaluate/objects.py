"""Scores of objects: whether each gland, cell or lesion is found, how well it is covered, how far its border is off.

Definitions of the GlaS challenge (Sirinukunwattana et al. 2017, https://arxiv.org/abs/1603.00275, section 3). G are the
objects of the truth, S those of the prediction; the partner of an object is the one of the other side that shares most
voxels with it, of equal ones the one with the lowest number.

  object F1         S is right if it covers at least half of its partner. Others are wrong, and each G that no right S
                    has for its partner is missed. F1 = 2 P R / (P + R) of precision and recall.
  object Dice       half of the sums, over G and over S, of the Dice of an object and its partner (0 without one),
                    weighted by the object's share of the voxels of its side.
  object Hausdorff  the same sums of the Hausdorff distance of all voxels, between voxel centres, in voxels; an object
                    without partner takes the nearest one of the other side by that distance.

Without objects on either side all three are undefined (NaN). With objects on one side only F1 and Dice are 0 and the
distance is undefined.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.spatial.distance

from fewslice.evaluate.metrics import METRICS

DEFINITIONS = {
    "object_f1": "F1 of objects; right is what covers half of its partner; undefined without objects on both sides",
    "object_dice": "Dice of objects and their partners, weighted by size; undefined without objects on both sides",
    "object_hausdorff_voxels": "Hausdorff distance of objects and their partners, weighted by size; undefined without "
    "objects on one side",
}


_SPECK = 12  # border voxels up to which all distances are faster than a tree


class Overlaps(NamedTuple):
    """What the objects of two sides share.

    Attributes:
        common: (G, S) int64 voxels that two objects share.
        truth: (G,) int64 sizes of the objects of the truth, all positive.
        prediction: (S,) int64 sizes of the predicted ones, all positive.
    """

    common: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def parts(mask: np.ndarray, neighbours: str = "all") -> np.ndarray:
    """Returns the connected parts of a mask, numbered from 1, 0 outside.

    Args:
        mask: Bool, any shape.
        neighbours: "all": voxels that touch by a corner are connected (8 in a slice); "faces": by a face only (4).
    """
    return scipy.ndimage.label(mask, np.ones((3,) * mask.ndim) if neighbours == "all" else None)[0]


def overlaps(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    """Returns sizes and shared voxels of two arrays of object numbers, in the order of their numbers."""
    (gs, g), (ss, s) = (np.unique(np.append(each, 0), return_inverse=True) for each in (truth, prediction))
    table = np.bincount(g[:-1] * len(ss) + s[:-1], minlength=len(gs) * len(ss)).reshape(len(gs), len(ss))
    return Overlaps(table[1:, 1:], table.sum(axis=1)[1:], table.sum(axis=0)[1:])


def object_f1(found: Overlaps) -> float:
    """Returns the F1 of objects, 0 to 1."""
    num_truth, num_predicted = found.common.shape
    if not (num_truth and num_predicted):
        return float("nan") if num_truth == num_predicted else 0.0
    partner = found.common.argmax(axis=0)
    shared = found.common[partner, np.arange(num_predicted)]
    is_right = (shared > 0) & (2 * shared >= found.truth[partner])
    missed = num_truth - len(set(partner[is_right].tolist()))
    right, wrong = int(is_right.sum()), int((~is_right).sum())
    if not right:
        return 0.0
    precision, recall = right / (right + wrong), right / (right + missed)
    return 2 * precision * recall / (precision + recall)


def object_dice(found: Overlaps) -> float:
    """Returns the Dice of objects, 0 to 1."""
    if not (found.truth.size and found.prediction.size):
        return float("nan") if found.truth.size == found.prediction.size else 0.0
    total = 0.0
    for common, own, other in ((found.common, found.truth, found.prediction), (found.common.T, *found[:0:-1])):
        partner = common.argmax(axis=1)
        dice = 2 * common.max(axis=1) / (own + other[partner])
        total += float((own / own.sum()) @ dice) / 2
    return total


def object_hausdorff(truth: np.ndarray, prediction: np.ndarray, found: Overlaps) -> float:
    """Returns the Hausdorff distance of objects in voxels.

    Args:
        truth: Numbers of objects, 0 outside.
        prediction: The same shape.
        found: Their `overlaps`.
    """
    if not (found.truth.size and found.prediction.size):
        return float("nan")
    sides = [_Points(truth), _Points(prediction)]
    distance = functools.cache(
        lambda g, s: max(_directed(sides[0], g, sides[1], s), _directed(sides[1], s, sides[0], g))
    )
    bounds, total = sides[0].at_least(sides[1]), 0.0
    for own, common, sizes in ((0, found.common, found.truth), (1, found.common.T, found.prediction)):
        distances = []
        for place, shared in enumerate(common):
            partners = (
                [shared.argmax()] if shared.any() else np.argsort(bounds[place] if own == 0 else bounds[:, place])
            )
            nearest = np.inf
            for partner in map(int, partners):
                pair = (place, partner) if own == 0 else (partner, place)
                if bounds[pair] >= nearest:
                    break
                nearest = min(nearest, distance(*pair))
            distances.append(nearest)
        total += float((sizes / sizes.sum()) @ np.array(distances)) / 2
    return total


class _Points:
    """The voxels of the objects of one side, and a tree of the border of each, made when it is asked for."""

    def __init__(self, numbers: np.ndarray):
        self.numbers = numbers
        self._names = np.unique(numbers[numbers > 0])
        self._boxes = scipy.ndimage.find_objects(numbers)
        self.voxels = functools.cache(self._voxels)
        self.tree = functools.cache(self._tree)

    def name(self, place: int) -> int:
        return int(self._names[place])

    def _mask(self, place: int) -> tuple[np.ndarray, list[int]]:
        box = self._boxes[self.name(place) - 1]
        return self.numbers[box] == self.name(place), [each.start for each in box]

    def _voxels(self, place: int) -> np.ndarray:
        mask, start = self._mask(place)
        return np.argwhere(mask) + start

    def _tree(self, place: int) -> scipy.spatial.cKDTree:
        """The nearest voxel of an object from outside is one of its border."""
        mask, start = self._mask(place)
        return scipy.spatial.cKDTree(np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask)) + start)

    def at_least(self, other: _Points) -> np.ndarray:
        """Returns (G, S) distances that are not larger than the Hausdorff ones: of the extents in some directions."""
        axes = np.array([each for each in itertools.product((-1, 0, 1), repeat=self.numbers.ndim) if any(each)])
        axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        extents = [
            np.array([(each.voxels(place) @ axes.T).max(axis=0) for place in range(len(each._names))])
            for each in (self, other)
        ]
        apart = (np.abs(np.subtract.outer(*pair)) for pair in zip(extents[0].T, extents[1].T, strict=True))
        return functools.reduce(np.maximum, apart) - 1e-9


def _directed(one: _Points, place: int, other: _Points, to: int) -> float:
    """Returns the largest distance from a voxel of one object to the nearest of the other."""
    voxels, tree = one.voxels(place), other.tree(to)
    if tree.n <= _SPECK:
        return float(scipy.spatial.distance.cdist(voxels, other.voxels(to), "sqeuclidean").min(axis=1).max() ** 0.5)
    outside = voxels[other.numbers[tuple(voxels.T)] != other.name(to)]
    return float(tree.query(outside)[0].max()) if len(outside) else 0.0


@METRICS.register("objects", definitions=DEFINITIONS, needs_all=True, pool=None)
def objects(
    truth: np.ndarray, prediction: np.ndarray, instances: np.ndarray | None, num_classes: int, neighbours: str = "all"
) -> dict[str, np.ndarray]:
    """Returns the three scores of each structure; `neighbours` tells how predictions fall into `parts`."""
    scores = []
    for label in range(1, num_classes):
        numbers = parts(truth == label, neighbours) if instances is None else np.where(truth == label, instances, 0)
        pair = numbers.astype(np.int32), parts(prediction == label, neighbours)
        pair = tuple(each[..., 0] if each.shape[-1] == 1 else each for each in pair)
        found = overlaps(*pair)
        scores.append((object_f1(found), object_dice(found), object_hausdorff(*pair, found)))
    return dict(zip(DEFINITIONS, np.array(scores, np.float64).T, strict=True))


@METRICS.register("objects_by_faces", definitions=DEFINITIONS, needs_all=True, pool=None)
def objects_by_faces(
    truth: np.ndarray, prediction: np.ndarray, instances: np.ndarray | None, num_classes: int
) -> dict[str, np.ndarray]:
    """Returns what `objects` does where parts that touch by a corner only are objects of their own."""
    return objects(truth, prediction, instances, num_classes, neighbours="faces")
