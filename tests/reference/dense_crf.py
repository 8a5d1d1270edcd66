"""Mean field of a fully connected CRF as loops over pairs of pixels, float64, for images of a few hundred pixels.

https://arxiv.org/abs/1210.5644, equations 1 to 3 and algorithm 1, with the Potts model; every pair is written out,
the pixel with itself too. Each kernel is divided by the square roots of its row and its column sum.
"""

import math

import numpy as np


def smoothness(image, sigma_px):
    """Returns the (P, P) matrix of the Gaussian kernel over the pixels of (H, W), row by row."""
    return _matrix(image, lambda squared, _: math.exp(-squared / (2 * sigma_px**2)))


def appearance(image, sigma_px, sigma_intensity):
    """Returns the (P, P) matrix of the bilateral kernel."""
    return _matrix(
        image,
        lambda squared, difference: math.exp(-squared / (2 * sigma_px**2) - difference**2 / (2 * sigma_intensity**2)),
    )


def _matrix(image, kernel):
    height, width = image.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    matrix = np.zeros((len(pixels), len(pixels)))
    for i, (row, column) in enumerate(pixels):
        for j, (other_row, other_column) in enumerate(pixels):
            squared = (row - other_row) ** 2 + (column - other_column) ** 2
            matrix[i, j] = kernel(squared, float(image[row, column]) - float(image[other_row, other_column]))
    return matrix


def normalised(matrix):
    """Returns K_ij / sqrt(n_i n_j) with n_i = sum_j K_ij."""
    sums = [sum(row) for row in matrix.tolist()]
    result = np.zeros_like(matrix)
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            result[i, j] = matrix[i, j] / math.sqrt(sums[i] * sums[j])
    return result


def mean_field(probabilities, weighted_kernels, iterations):
    """Returns marginals (H, W, K) of one slice.

    Args:
        probabilities: (H, W, K).
        weighted_kernels: Pairs (weight, normalised (P, P) matrix).
        iterations: Parallel updates.
    """
    height, width, num_classes = probabilities.shape
    unary = [
        [-math.log(min(max(float(p), 1e-5), 1.0)) for p in pixel] for pixel in probabilities.reshape(-1, num_classes)
    ]
    q = [_softmax([-u for u in pixel]) for pixel in unary]
    for _ in range(iterations):
        updated = []
        for i in range(len(q)):
            scores = [-u for u in unary[i]]
            for weight, kernel in weighted_kernels:
                for k in range(num_classes):
                    scores[k] += weight * sum(kernel[i, j] * q[j][k] for j in range(len(q)))
            updated.append(_softmax(scores))
        q = updated
    return np.array(q).reshape(height, width, num_classes)


def _softmax(scores):
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    return [value / sum(exponentials) for value in exponentials]
