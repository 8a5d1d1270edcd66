"""The changes that make views for group contrastive training, as loops over pixels."""

from __future__ import annotations

import math

import numpy as np


def resized_crop(image, box):
    """Linear enlargement of a box of (H, W) to (H, W), half-pixel centres, edge pixels go on outside."""
    top, left, rows, columns = box
    height, width = image.shape
    window = image[top : top + rows, left : left + columns].astype(np.float64)
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * rows / height - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / width - 0.5, 0), columns - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            top_row = (1 - (x - x0)) * window[y0, x0] + (x - x0) * window[y0, x1]
            bottom_row = (1 - (x - x0)) * window[y1, x0] + (x - x0) * window[y1, x1]
            out[i, j] = (1 - (y - y0)) * top_row + (y - y0) * bottom_row
    return out


def affine_nearest(image, degrees, shift, scale, shear):
    """Each output pixel undoes shift, scaling, rotation, shear one after the other and takes the nearest pixel."""
    height, width = image.shape
    angle, slope = math.radians(degrees), math.tan(math.radians(shear))
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x, y = (j - (width - 1) / 2 - shift[0]) / scale, (i - (height - 1) / 2 - shift[1]) / scale
            x, y = math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y
            x += slope * y
            column, row = round(x + (width - 1) / 2), round(y + (height - 1) / 2)
            if 0 <= row < height and 0 <= column < width:
                out[i, j] = image[row, column]
    return out


def blur(image, sigma):
    """5 x 5 Gaussian, mirrored outside without repeating the edge."""
    height, width = image.shape
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-2, 3)]

    def mirror(index, side):
        index = abs(index)
        return 2 * (side - 1) - index if index > side - 1 else index

    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for di in range(-2, 3):
                for dj in range(-2, 3):
                    value = float(image[mirror(i + di, height), mirror(j + dj, width)])
                    out[i, j] += weights[di + 2] * weights[dj + 2] * value
    return out / sum(weights) ** 2
