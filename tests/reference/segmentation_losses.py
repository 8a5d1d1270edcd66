"""Dice and cross-entropy as loops over images, classes and pixels; logits and labels are (N, H, W, K)."""

import numpy as np


def softmax(logits):
    """Returns the softmax of a vector of K logits."""
    exps = [np.exp(value - max(logits)) for value in logits]
    return [value / sum(exps) for value in exps]


def dice_loss(logits, labels, first_class):
    """1 - mean over images and classes from `first_class` of 2 sum(p y) / (sum(p) + sum(y) + 1e-10)."""
    num_images, height, width, num_classes = logits.shape
    scores = []
    for image in range(num_images):
        for class_index in range(first_class, num_classes):
            overlap = size = 0.0
            for row in range(height):
                for column in range(width):
                    p = softmax(logits[image, row, column])[class_index]
                    y = labels[image, row, column, class_index]
                    overlap += p * y
                    size += p + y
            scores.append(2 * overlap / (size + 1e-10))
    return 1 - sum(scores) / len(scores)


def cross_entropy(logits, labels, weights=None):
    """Mean over pixels of (sum of weight y) (-sum of y log p); weight 1 without `weights`."""
    num_images, height, width, num_classes = logits.shape
    total = 0.0
    for image in range(num_images):
        for row in range(height):
            for column in range(width):
                p, y = softmax(logits[image, row, column]), labels[image, row, column]
                pixel = -sum(y[k] * np.log(p[k]) for k in range(num_classes))
                weight = 1.0 if weights is None else sum(weights[k] * y[k] for k in range(num_classes))
                total += weight * pixel
    return total / (num_images * height * width)
