"""Scribbles made from dense labels, for data sets whose annotators drew none.

Each class of each slice, the background included, is drawn as somebody would who goes along the middle of a structure:
its region is eroded where it is large, thinned to a skeleton, one branch of each piece of the skeleton is kept by a
random walk, drawn with a pen of two pixels, and moved a little where the region is large.
"""

from __future__ import annotations

import hashlib

import numpy as np
import scipy.ndimage

LARGE_PX = 900  # a region of more pixels is eroded first
MOST_EROSIONS = 10
BRANCHED_PX = 15  # of a skeleton's piece of more pixels one branch is kept
MOVED_PX = 1000  # the scribble of a region of more pixels is shifted and turned
SHIFT_PX = 6
TURN_DEGREES = 15
ROUND_PX = 100  # a region of more pixels whose skeleton is nearly a point gets a ring instead

_BLOCK = np.ones((3, 3), bool)
_NEIGHBOURS = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)


def case_generator(case_id: str) -> np.random.Generator:
    """Returns the source of randomness of one volume: the same for the same name, whatever was drawn before."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8], "little"))


def simulate_scribbles(label: np.ndarray, num_classes: int, *, rng: np.random.Generator | int) -> np.ndarray:
    """Draws one scribble per class and slice.

    Args:
        label: (X, Y, Z) uint8, classes 0 to num_classes - 1.
        num_classes: Classes including the background.
        rng: Draws erosion, branches and movements, slice by slice.

    Returns:
        (X, Y, Z) uint8: classes, and num_classes = not annotated. A class that a slice has gets a pixel of it at least,
        and no pixel has another class than in `label`.

    Source:
        Luo et al. 2022, "Scribble-supervised medical image segmentation via dual-branch network and dynamically mixed
        pseudo labels supervision" (arXiv 2203.02106), which simulates scribbles by the rules of the module's text.

    Notes:
        Differs from the published code: the skeleton of a round region is nearly a point, with which a network learns
        little of a ventricle; such a region gets a ring half-way to its middle, as annotators draw it. A walk starts
        anywhere and is followed in both directions; the scribble is turned about its own centre, not the slice's; a
        movement that would leave nothing within the region is not made. The pen is as thin as in ACDC's scribbles.
    """
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    result = np.full(label.shape, num_classes, np.uint8)
    for index in range(label.shape[2]):
        for number in range(num_classes):
            region = label[..., index] == number
            if region.any():
                rows, columns = scipy.ndimage.find_objects(region.astype(np.uint8))[0]  # its bounding box
                result[rows, columns, index][scribble_of_region(region[rows, columns], rng)] = number
    return result


def scribble_of_region(region: np.ndarray, rng: np.random.Generator | int) -> np.ndarray:
    """Returns the scribble of one region of a slice; both are (H, W) bool and not empty, and it lies within."""
    rng = np.random.default_rng(rng) if isinstance(rng, int) else rng
    from skimage.morphology import skeletonize

    size = int(region.sum())
    core = _eroded(region, int(rng.integers(1, MOST_EROSIONS + 1))) if size > LARGE_PX else region
    skeleton = skeletonize(core, method="lee") > 0
    if size > ROUND_PX and skeleton.sum() < np.sqrt(size):
        skeleton = _ring(region)
    path = _branches(skeleton if skeleton.any() else core, rng)
    shift, angle = rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2), rng.uniform(-TURN_DEGREES, TURN_DEGREES)
    if size > MOVED_PX:
        moved = _moved(path, shift, np.deg2rad(angle)) & region
        path = moved if moved.any() else path
    pen = np.ones((2, 1) if rng.integers(2) else (1, 2), bool)
    return scipy.ndimage.binary_dilation(path, pen) & region


def _eroded(region: np.ndarray, times: int) -> np.ndarray:
    """Erodes a region as often as asked for, but not to nothing; the edge of the slice does not wear off."""
    for _ in range(times):
        smaller = scipy.ndimage.binary_erosion(region, border_value=1)
        if not smaller.any():
            break
        region = smaller
    return region


def _ring(region: np.ndarray) -> np.ndarray:
    """Returns the outline of the pixels that are at least half as deep in a region as its deepest one."""
    depth = scipy.ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    inner = depth >= depth.max() / 2
    return inner & ~scipy.ndimage.binary_erosion(inner)


def _branches(skeleton: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keeps one branch of every large piece of a skeleton; small pieces stay as they are."""
    pieces, count = scipy.ndimage.label(skeleton, _BLOCK)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    result = (pieces > 0) & (sizes <= BRANCHED_PX)[pieces]
    for number in np.flatnonzero(sizes[1:] > BRANCHED_PX) + 1:
        pixels = np.argwhere(pieces == number)
        walked = _walk({(int(x), int(y)) for x, y in pixels}, tuple(pixels[rng.integers(len(pixels))].tolist()), rng)
        result[tuple(np.array(walked).T)] = True
    return result


def _walk(free: set[tuple[int, int]], start: tuple[int, int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Walks at random over pixels that were not visited, from `start` until stuck, and from there the other way."""
    walked = [start]
    free.discard(start)
    for _ in range(2):
        x, y = start
        while True:
            ways = [(x + i, y + j) for i, j in _NEIGHBOURS if (x + i, y + j) in free]
            if not ways:
                break
            x, y = ways[rng.integers(len(ways))]
            free.discard((x, y))
            walked.append((x, y))
    return walked


def _moved(path: np.ndarray, shift: np.ndarray, angle: float) -> np.ndarray:
    """Turns the pixels of a path about their centre and shifts them; what leaves the array is lost."""
    pixels = np.argwhere(path)
    centre = pixels.mean(axis=0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = np.rint((pixels - centre) @ turn.T + centre + shift).astype(int)
    inside = ((places >= 0) & (places < path.shape)).all(axis=1)
    result = np.zeros_like(path)
    result[tuple(places[inside].T)] = True
    return result
