"""The pixel contrastive loss as loops over pairs, images, classes and samples, NumPy float64.

https://arxiv.org/abs/2112.09645, the local loss within (exp_no 0) and across (exp_no 1) images. A pair is maps p
and B + p. Samples are lists: samples[image][c - 1] holds (row, column), or None for a sample that is not there.
"""

import numpy as np

from tests.reference.info_nce import term


def class_mean(image, labels, c, weights=None):
    """Returns the (weighted) mean of (H, W, C) over the pixels of class c, or None if there is none or it is zero."""
    if weights is not None:
        pairs = [(weights[place], image[place]) for place in np.ndindex(labels.shape) if labels[place] == c]
        total = sum(weight for weight, _ in pairs)
        mean = sum(weight * np.asarray(pixel, np.float64) for weight, pixel in pairs) / total if total else 0.0
        return mean if np.any(mean != 0) else None
    rows, columns = np.nonzero(np.asarray(labels) == c)
    if len(rows) == 0:
        return None
    mean = sum(np.asarray(image[row, column], np.float64) for row, column in zip(rows, columns, strict=True))
    mean = mean / len(rows)
    return mean if np.any(mean != 0) else None


def pair_sum(exp_no, images, labels, samples, num_classes, temperature, weights=(None, None)):
    """Returns S_p of one pair.

    Args:
        images: Two maps (H, W, C).
        labels: Two class maps (H, W).
        samples: For each image K - 1 lists.
        weights: Two maps (H, W), how much a pixel counts, or None.
    """
    total = 0.0
    means = [[class_mean(images[i], labels[i], c, weights[i]) for c in range(1, num_classes)] for i in range(2)]
    for i in range(2):
        sets = [means[i], means[1 - i]] if exp_no == 1 else [means[i]]
        prototypes = [(which, c) for which, found in enumerate(sets) for c in range(num_classes - 1)]
        prototypes = [(which, c) for which, c in prototypes if sets[which][c] is not None]
        for c in range(num_classes - 1):
            for sample in samples[i][c]:
                if sample is None or not np.any(images[i][sample] != 0):
                    continue
                for which in range(len(sets)):
                    if (which, c) in prototypes:
                        others = [sets[w][k] for w, k in prototypes if (w, k) != (which, c)]
                        weight = 1.0 if weights[i] is None else weights[i][sample]
                        total += weight * term(images[i][sample], sets[which][c], others, temperature)
    return total


def loss(exp_no, maps, labels, samples, num_classes, temperature, nested=False, weights=None):
    """Returns the loss of 2B maps, the weight (lambda) left out; `weights` (2B, H, W) of the pixels or None."""
    half = len(maps) // 2
    n_pos = len(samples[0][0])
    divisor = n_pos * (num_classes - 1) * (2 if exp_no == 1 else 1)
    total = 0.0
    for p in range(half):
        both = [p, half + p]
        found = pair_sum(
            exp_no,
            [maps[i] for i in both],
            [labels[i] for i in both],
            [samples[i] for i in both],
            num_classes,
            temperature,
            [None if weights is None else weights[i] for i in both],
        )
        total = (total + found) / divisor if nested else total + found / divisor
    return total / half
