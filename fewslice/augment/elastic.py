"""Elastic deformation of slices and their one-hot labels.

Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511: displacements are drawn on a 3 x 3 grid, enlarged to
the image by cubic splines, and image and one-hot label are sampled bilinearly, so that the labels become soft
at borders.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

from fewslice.augment.interpolate import BilinearSampler, read_only

GRID = 3


@lru_cache(maxsize=64)
def _spline_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Returns (n_out, n_in) float32: cubic B-spline resize with half-pixel centres and mirrored borders."""
    columns = [
        ndimage.zoom(row, n_out / n_in, order=3, mode="mirror", prefilter=True, grid_mode=True) for row in np.eye(n_in)
    ]
    return read_only(np.stack(columns, axis=1).astype(np.float32))[0]


def enlarge_grids(grids: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Enlarges coarse displacement grids to the size of the image.

    Args:
        grids: (batch, 2, g, g), displacements in pixels, along rows and along columns.
        shape: (H, W).

    Returns:
        (batch, 2, H, W) float32, each map within the range of its own grid.
    """
    grids = np.asarray(grids, np.float32)
    rows = _spline_matrix(grids.shape[2], shape[0])
    columns = _spline_matrix(grids.shape[3], shape[1])
    half = np.einsum("bcij,wj->bciw", grids, columns)
    fields = np.empty((*grids.shape[:2], *shape), np.float32)
    scratch = np.empty(shape, np.float32)
    for index in np.ndindex(grids.shape[:2]):
        field = fields[index]
        # A sum of g outer products: no BLAS, so the same bits whatever its number of threads.
        np.multiply(rows[:, :1], half[index][0], out=field)
        for knot in range(1, grids.shape[2]):
            np.multiply(rows[:, knot : knot + 1], half[index][knot], out=scratch)
            field += scratch
        np.clip(field, grids[index].min(), grids[index].max(), out=field)
    return fields


def warp_pairs(images: np.ndarray, onehot: np.ndarray, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves images and their one-hot labels by the same fields: out[r, c] = maps at (r - field[0], c - field[1]).

    Values are bilinear; outside the image its edge is repeated.

    Args:
        images: (batch, H, W, C) float32.
        onehot: (batch, H, W, K) float32.
        fields: (batch, 2, H, W) float32, in pixels.

    Returns:
        New arrays of the same shapes; labels are non-negative and sum to 1.
    """
    out_images, out_onehot = np.empty_like(images), np.empty_like(onehot)
    num_classes = onehot.shape[-1]
    height, width = images.shape[1:3]
    sampler = BilinearSampler((height, width))
    down, across = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    for index, field in enumerate(fields):
        operator = sampler.operator(down - field[0], across - field[1])
        for channel in range(images.shape[-1]):
            moved = operator @ images[index, ..., channel].reshape(-1)
            out_images[index, ..., channel] = moved.reshape(height, width)
        out_onehot[index].reshape(-1, num_classes)[:] = operator @ onehot[index].reshape(-1, num_classes)
    return out_images, out_onehot


def draw_grids(rng: np.random.Generator | int, batch: int, *, sigma: float) -> np.ndarray:
    """Draws displacements N(0, sigma) in pixels: (batch, 2, 3, 3) float32, rows before columns."""
    return (np.random.default_rng(rng).standard_normal((batch, 2, GRID, GRID)) * sigma).astype(np.float32)
