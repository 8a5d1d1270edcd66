"""Local contrastive losses as loops over maps and regions, NumPy float64.

https://arxiv.org/abs/2006.10511, section 3.2. Regions and negatives are lists of (row, column) corners, so
that the position tables are no part of this file.
"""

import numpy as np

from tests.reference.info_nce import term


def region_vector(feature_map, corner, size, kernel=None):
    """Returns the size x size window at `corner` of (S, S, C), row-major, channel fastest, times `kernel`."""
    row, column = corner
    values = [
        feature_map[row + down, column + right, channel]
        for down in range(size)
        for right in range(size)
        for channel in range(feature_map.shape[-1])
    ]
    vector = np.array(values, np.float64)
    return vector if kernel is None else vector @ np.asarray(kernel, np.float64)


def region_term(anchor, partner, region, negatives, temperature, extra=()):
    """Returns one term; `anchor`, `partner` map corners to vectors; `negatives` corners, `extra` vectors."""
    vectors = [image[corner] for image in (anchor, partner) for corner in negatives]
    return term(anchor[region], partner[region], vectors + list(extra), temperature)


def paper_loss(exp_no, maps, ids, regions, negatives, temperature, batch_negatives=False):
    """Mean over positive pairs of maps and over regions of both directions.

    Args:
        maps: One dictionary corner -> vector per row of the batch.
        ids: (volume_slot, partition, view) per row.
        regions: Corners, R of them.
        negatives: R lists of corners.
    """
    ids = [tuple(int(value) for value in row) for row in ids]
    total, count = 0.0, 0
    for a in range(len(ids)):
        for b in range(len(ids)):
            same_image = ids[a][:2] == ids[b][:2] and ids[a][2] != ids[b][2]
            across = ids[a][0] != ids[b][0] and ids[a][1:] == ids[b][1:]
            if not (same_image or (exp_no == 1 and across)):
                continue
            count += 1
            for region, around in zip(regions, negatives, strict=True):
                extra = []
                if batch_negatives and exp_no == 0:
                    extra = [maps[c][region] for c in range(len(ids)) if ids[c][:2] != ids[a][:2]]
                elif batch_negatives:
                    extra = [maps[c][region] for c in range(len(ids)) if ids[c][1] != ids[a][1]]
                total += region_term(maps[a], maps[b], region, around, temperature, extra)
    return total / (count / 2 * len(regions))


def published_loss(exp_no, maps, regions, negatives, temperature):
    """What the published code computes from 2B interleaved (exp_no 0) or 24 stacked maps (exp_no 1)."""
    num_maps = len(maps)
    if exp_no == 0:
        pairs = [(j, j + 1) for j in range(0, num_maps, 2)]
        pairs += [(j + 1, j) for j in range(0, num_maps, 2)]
    else:
        pairs = [(i, b) for i in range(12) for b in (12 + i, (i + 4) % 12, (i + 8) % 12)]
    total = 0.0
    for a, b in pairs:
        for region, around in zip(regions, negatives, strict=True):
            total += region_term(maps[a], maps[b], region, around, temperature)
    return total / (num_maps * len(regions))
