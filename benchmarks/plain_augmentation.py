"""Augmentation by SciPy, one image after the other, on the thread that trains."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def _affine(rng: np.random.Generator, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of five operations: small rotation, scaling, mirroring, rotation by a multiple of 45 degrees, nothing."""
    operation = rng.integers(5)
    if operation in (0, 3):
        angle = rng.uniform(-15, 15) if operation == 0 else 45 * rng.integers(8)
        return tuple(ndimage.rotate(a, angle, reshape=False, order=k) for a, k in ((image, 1), (label, 0)))
    if operation == 1:
        factor = 1 / rng.uniform(0.95, 1.05)
        matrix, offset = np.diag([factor] * 2), (np.array(image.shape) - 1) / 2 * (1 - factor)
        return tuple(ndimage.affine_transform(a, matrix, offset, order=k) for a, k in ((image, 1), (label, 0)))
    if operation == 2 and rng.integers(2):
        return image[:, ::-1], label[:, ::-1]
    return image, label


def _deform(rng: np.random.Generator, image: np.ndarray, masks: list[np.ndarray]) -> list[np.ndarray]:
    """Moves an image and the masks of its classes by a 3 x 3 grid of displacements, N(0, 5) pixels."""
    sides = image.shape
    fields = [ndimage.zoom(rng.normal(0, 5, (3, 3)), [side / 3 for side in sides], order=3) for _ in sides]
    places = np.meshgrid(*map(np.arange, sides), indexing="ij")
    where = [place - field for place, field in zip(places, fields, strict=True)]
    return [ndimage.map_coordinates(plane, where, order=1, mode="nearest") for plane in (image, *masks)]


def augmented_batch(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Augments a batch: every row affinely; rows from a random one on are deformed and changed in intensity too.

    Args:
        rng: Draws everything.
        images: (batch, H, W, 1) float32.
        labels: (batch, H, W) integer classes.
        num_classes: Classes including the background.

    Returns:
        (batch, H, W, 1) float32 images and (batch, H, W, num_classes) float32 soft labels.
    """
    split = rng.integers(1, max(len(images) - 1, 2))
    rows = []
    for index in range(len(images)):
        image, label = _affine(rng, images[index, ..., 0], labels[index])
        masks = [(label == k).astype(np.float32) for k in range(num_classes)]
        if index >= split:
            image, *masks = _deform(rng, image, masks)
            image = (image - image.mean()) * rng.uniform(0.8, 1.2) + image.mean() + rng.uniform(-0.1, 0.1)
        rows.append((image[..., None], np.stack(masks, axis=-1)))
    return tuple(np.stack(part).astype(np.float32) for part in zip(*rows, strict=True))


def joint_rows(
    rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, *, num_classes: int, n_pos: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes rows for the pixel contrastive loss: labels rescaled (by 1, as published), intensity changed.

    Args:
        rng: Draws everything.
        images: (rows, H, W, 1) float32.
        labels: (rows, H, W) integer classes, each in every image.
        num_classes: Classes including the background.
        n_pos: Pixels per class and image.

    Returns:
        (rows, H, W, 1) float32 images, (rows, H, W, num_classes) float32 masks and (rows, num_classes - 1, n_pos, 2)
        rows and columns of pixels.
    """
    changed, masks, positions = [], [], []
    for image, label in zip(images[..., 0], labels, strict=True):
        view = image + rng.uniform(-0.3, 0.3)
        changed.append(np.clip((view - view.mean()) * rng.uniform(0.7, 1.3) + view.mean(), 0, 1.5))
        label = ndimage.zoom(label, 1.0, order=0)
        masks.append(np.stack([label == k for k in range(num_classes)], axis=-1).astype(np.float32))
        inside = [np.argwhere(label == k) for k in range(1, num_classes)]
        positions.append([places[rng.integers(len(places), size=n_pos)] for places in inside])
    return np.stack(changed)[..., None].astype(np.float32), np.stack(masks), np.array(positions)


def contrastive_batch(rng: np.random.Generator, images: np.ndarray, box: int) -> np.ndarray:
    """Returns each image followed by a view of it: a random box, enlarged, brightness and contrast changed.

    Args:
        rng: Draws everything.
        images: (batch, H, W, 1) float32.
        box: Side of the box in pixels.
    """
    rows = []
    for image in images[..., 0]:
        top, left = rng.integers(image.shape[0] - box + 1), rng.integers(image.shape[1] - box + 1)
        crop = image[top : top + box, left : left + box]
        view = ndimage.zoom(crop, [side / box for side in image.shape], order=1) + rng.uniform(-0.3, 0.3)
        view = np.clip((view - view.mean()) * rng.uniform(0.7, 1.3) + view.mean(), 0, 1.5)
        rows += [image, view]
    return np.stack(rows)[..., None].astype(np.float32)
