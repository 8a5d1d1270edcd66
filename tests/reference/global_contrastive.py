"""Global contrastive losses as loops over pairs, NumPy float64; https://arxiv.org/abs/2006.10511, section 3.1.

`paper_loss` works on (volume, partition, view) of each row. `published_loss` is what the published code computes, by
row numbers: tuples of rows `i, i + n, ...` that wrap around, with the accidents that follow where the batch is no
multiple of a group. `published_counts` are its pairs where the partitions are right.
"""

import numpy as np

from tests.reference.info_nce import term

WITHIN = {0: [(0, 1)], 1: [(0, 1), (0, 2), (1, 2)], 2: [(0, 1)], 3: [(0, 1), (1, 2)], 4: [(0, 1), (1, 2)]}
ACROSS = {0: [], 1: [], 2: [0, 1], 3: [0], 4: [0, 1, 2]}
TUPLE_PAIRS = {
    2: [(0, 1), (0, 2), (2, 3), (1, 3)],
    3: [(0, 1), (1, 2), (0, 3), (3, 4), (4, 5)],
    4: [(0, 1), (1, 2), (0, 3), (3, 4), (4, 5), (1, 4), (2, 5)],
}


def _pair_value(z, first, second, negatives, temperature):
    vectors = [z[row] for row in negatives]
    return term(z[first], z[second], vectors, temperature) + term(z[second], z[first], vectors, temperature)


def paper_pairs(exp_no, ids):
    """Returns the distinct unordered positive pairs (row, row) of a batch."""
    num_slots = max(slot for slot, _, _ in ids) + 1
    pairs = []
    for first in range(len(ids)):
        for second in range(first + 1, len(ids)):
            slot_1, part_1, view_1 = ids[first]
            slot_2, part_2, view_2 = ids[second]
            if part_1 != part_2:
                continue
            views = (min(view_1, view_2), max(view_1, view_2))
            if slot_1 == slot_2 and views in WITHIN[exp_no]:
                pairs.append((first, second))
            chained = (slot_1 + 1) % num_slots == slot_2 or (slot_2 + 1) % num_slots == slot_1
            if slot_1 != slot_2 and chained and view_1 == view_2 and view_1 in ACROSS[exp_no]:
                pairs.append((first, second))
    return pairs


def paper_loss(exp_no, z, ids, temperature):
    """Mean over the positive pairs of l(a, b) + l(b, a); negatives: other images (0), other partitions."""
    ids = [tuple(int(value) for value in row) for row in ids]
    pairs = paper_pairs(exp_no, ids)
    total = 0.0
    for first, second in pairs:
        if exp_no == 0:
            negatives = [row for row in range(len(ids)) if row not in (first, second)]
        else:
            negatives = [row for row in range(len(ids)) if ids[row][1] != ids[first][1]]
        total += _pair_value(z, first, second, negatives, temperature)
    return total / len(pairs)


def published_divisor(exp_no, batch_size):
    return (2, 3, 4, 6, 6)[exp_no] * batch_size


def published_counts(exp_no, ids):
    """Returns (N, N), how often the tuples of the published code contain each pair of rows, by their ids.

    A tuple starts at every block (volume, view) of view 0 and holds the blocks that follow it; blocks are numbered
    volume * number of views + view and wrap around.
    """
    num_views = (2, 3, 2, 3, 3)[exp_no]
    blocks = [int(slot) * num_views + int(view) for slot, _, view in ids]
    num_blocks = max(blocks) + 1
    counts = np.zeros((len(ids), len(ids)), np.float32)
    for first, second in TUPLE_PAIRS.get(exp_no, WITHIN[exp_no]):
        for a, block in enumerate(blocks):
            start = (block - first) % num_blocks
            for b in range(len(ids)) if start % num_views == 0 else ():
                if blocks[b] == (start + second) % num_blocks and ids[a][1] == ids[b][1]:
                    counts[a, b] += 1
                    counts[b, a] += 1
    return counts


def published_loss(exp_no, z, batch_size, n_parts, temperature):
    """What the published code computes from N embeddings in its row order."""
    divisor = published_divisor(exp_no, batch_size)
    num_rows = len(z)
    total = 0.0
    if exp_no == 0:
        for image in range(batch_size):
            pair = (2 * image, 2 * image + 1)
            negatives = [row for row in range(num_rows) if row not in pair]
            total += _pair_value(z, *pair, negatives, temperature)
        return total / divisor
    if exp_no == 1:
        for i in range(batch_size):
            start = i % n_parts
            negatives = [r for r in range(num_rows) if not (r >= start and (r - start) % 4 == 0)]
            rows = (i, batch_size + i, 2 * batch_size + i)
            for x, y in [(0, 1), (0, 2), (1, 2)]:
                total += _pair_value(z, rows[x], rows[y], negatives, temperature)
        return total / divisor
    reach = excluded_blocks(batch_size, n_parts)
    length = 2 if exp_no == 2 else 3
    for i in range(num_rows):
        if i % (length * n_parts) >= n_parts:
            continue
        excluded = {(i + k * n_parts) % num_rows for k in range(reach)}
        negatives = [row for row in range(num_rows) if row not in excluded]
        for x, y in TUPLE_PAIRS[exp_no]:
            first, second = (i + x * n_parts) % num_rows, (i + y * n_parts) % num_rows
            total += _pair_value(z, first, second, negatives, temperature)
    return total / divisor


def excluded_blocks(batch_size, n_parts):
    """How many blocks of n_parts rows after a tuple's start are no negatives of it (exp_no 2 to 4)."""
    factor = {3: 5, 6: 2}.get(n_parts, 4 if batch_size == 12 else 40)
    return factor * n_parts


def is_partition_right(exp_no, num_rows, batch_size, n_parts):
    """Whether the row arithmetic of the published code gives the partitions that it means."""
    if exp_no == 0:
        return True
    if exp_no == 1:
        return n_parts == 4 and batch_size % 4 == 0
    if num_rows % n_parts:
        return False
    return excluded_blocks(batch_size, n_parts) * n_parts >= num_rows


def is_role_right(exp_no, num_rows, batch_size, n_parts):
    """Whether, moreover, the batch is a whole number of groups, so that all positives have the right role."""
    group = {0: 1, 1: 1, 2: 2 * n_parts}.get(exp_no, 3 * n_parts)
    return is_partition_right(exp_no, num_rows, batch_size, n_parts) and num_rows % group == 0
