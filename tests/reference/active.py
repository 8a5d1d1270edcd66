"""Plain loops over the formulas of active learning, and over what the published code did where that differs.

Vepa et al., 2024, arXiv 2411.15763; Hacohen et al., 2022, arXiv 2202.02794; Yehuda et al., 2022, arXiv 2205.11320; Bae
et al., 2024, arXiv 2407.12212; Caramalau et al., 2021, arXiv 2006.10219.
"""

import math
import random

import numpy as np

# Uncertainty. Passes are (M, C, H, W) as published.


def entropy(vector):
    return -sum(float(p) * math.log(float(p) + 1e-10) for p in vector)


def pixel_vectors(passes):
    """Yields for each pixel its (M, C) vectors."""
    for row in range(passes.shape[2]):
        for column in range(passes.shape[3]):
            yield passes[:, :, row, column]


def average(values):
    values = list(values)
    return sum(values) / len(values)


def predictive_entropy(passes):
    return average(entropy(vectors.mean(axis=0)) for vectors in pixel_vectors(passes))


def expected_entropy(passes):
    return average(average(entropy(vector) for vector in vectors) for vectors in pixel_vectors(passes))


def bald(passes):
    return predictive_entropy(passes) - expected_entropy(passes)


def votes(vectors):
    """Returns how often each class is the most probable one, the first among equals."""
    counts = [0] * vectors.shape[1]
    for vector in vectors:
        counts[list(vector).index(max(vector))] += 1
    return counts


def variance_ratio(passes):
    return average(1 - max(votes(vectors)) / len(vectors) for vectors in pixel_vectors(passes))


def vote_entropy(passes):
    return average(entropy([count / len(vectors) for count in votes(vectors)]) for vectors in pixel_vectors(passes))


def ensemble_variance(passes):
    return average(
        average(average((p - vectors[:, c].mean()) ** 2 for p in vectors[:, c]) for c in range(vectors.shape[1]))
        for vectors in pixel_vectors(passes)
    )


def least_confidence(passes):
    return average(1 - max(vectors.mean(axis=0)) for vectors in pixel_vectors(passes))


def margin(passes):
    tops = (sorted(vectors.mean(axis=0)) for vectors in pixel_vectors(passes))
    return average(1 - (top[-1] - top[-2]) for top in tops)


def label_count_entropy(labels):
    """The published score of (M, H, W) hard labels."""
    total = 0.0
    for row in range(labels.shape[1]):
        for column in range(labels.shape[2]):
            values = labels[:, row, column].tolist()
            shares = [values.count(value) / len(values) for value in sorted(set(values))]
            total -= sum(share * math.log(share) for share in shares)
    return total / labels[0].size


def written(value, dtype=np.float32):
    """What the published code wrote into its score file: 7 decimals, of a float32 where it came from a network."""
    return str(np.round(dtype(value), 7))


def half_precision_bald(passes):
    """The published BALD where it computes in float16 and 1e-10 is 0: 0 log 0 is no number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = passes.mean(axis=0)
        tiny = passes.dtype.type(1e-10)
        whole = -(mean * np.log(mean + tiny)).sum(axis=0)
        parts = -(passes * np.log(passes + tiny)).sum(axis=1).mean(axis=0)
        return float((whole - parts).mean())


# Purchase as published: Python's generator, files in order of their names, equal scores in order of the file.


def random_purchases(count, sizes, seed):
    """Returns what is bought in each round, as places among all units."""
    generator, left, rounds = random.Random(seed), list(range(count)), []
    for size in sizes:
        bought = [left[place] for place in generator.sample(range(len(left)), size)]
        rounds.append(bought)
        left = [place for place in left if place not in set(bought)]
    return rounds


def ranked_purchase(scores, budget, already):
    """Returns the names bought, in the order of the list of unlabelled files (all names sorted)."""
    ranked = sorted(scores, key=lambda item: item[1], reverse=True)
    names = [name for name, _ in ranked if not any(name in path for path in already)][:budget]
    return sorted(names)


def shuffled_batches(scores, size, seed):
    """Returns [(name, batch mean)] in the order in which names were dealt."""
    dealt = random.Random(seed).sample(scores, len(scores))
    found = []
    for start in range(0, len(dealt), size):
        batch = dealt[start : start + size]
        mean = sum(score for _, score in batch) / len(batch)
        found += [(name, mean) for name, _ in batch]
    return found


# TypiClust.


def typicality(features, neighbours):
    """Returns 1 / (mean distance to the nearest others + 1e-5); without neighbours no number, as published."""
    found = []
    for i, row in enumerate(features.astype(np.float64)):
        others = sorted(math.dist(row, other) for j, other in enumerate(features.astype(np.float64)) if j != i)
        found.append(1 / (average(others[:neighbours]) + 1e-5) if neighbours else math.nan)
    return found


def published_neighbours(count, k_nn):
    """Returns how many members the published code looks at, the unit itself included."""
    if count == 2:
        number = 1
    else:
        number = max(min(k_nn, count // 2), 1)
    if number == count:
        number -= 1
    if count - number > 1:
        number += 1
    return number


def typiclust(features, clusters, labelled, budget, *, min_cluster_size, k_nn):
    """Returns the published choice and how many of it were drawn to fill up; two members: the first."""
    labelled, chosen, misses = set(labelled), [], 0
    members = {c: [i for i, label in enumerate(clusters) if label == c] for c in sorted(set(clusters.tolist()))}
    kept = [c for c in members if len(members[c]) > min_cluster_size]
    kept.sort(key=lambda c: (sum(i in labelled for i in members[c]), -len(members[c])))
    for turn in range(budget):
        free = [i for i in members[kept[turn % len(kept)]] if i not in labelled and i not in chosen]
        if not free:
            misses += 1
            continue
        values = typicality(features[free], published_neighbours(len(free), k_nn) - 1) if len(free) > 1 else [0.0]
        chosen.append(free[0] if math.isnan(values[0]) else free[values.index(max(values))])
    rest = [i for i in range(len(features)) if i not in labelled and i not in chosen]
    return chosen + np.random.RandomState(0).choice(rest, misses, replace=False).tolist(), misses


# Coverage and k-center, recomputed from scratch for each pick; equal values: the lowest index.


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))


def first_best(values):
    """Returns the place of the largest of {place: value}, where values within 1e-12 are equal."""
    top = max(values.values())
    return min(place for place, value in values.items() if value >= top - 1e-12)


def ball_cover(rows, radius, labelled, budget):
    inside = [
        {j for j in range(len(rows)) if squared_distance(rows[i], rows[j]) <= radius**2} for i in range(len(rows))
    ]
    taken, chosen, shares = list(labelled), [], []
    for _ in range(budget):
        covered = set().union(*(inside[i] for i in taken))
        new = {i: len(inside[i] - covered) for i in range(len(rows)) if i not in taken}
        chosen.append(first_best(new))
        shares.append(new[chosen[-1]] / len(rows))
        taken.append(chosen[-1])
    return chosen, shares


def kernel_cover(rows, bandwidth, weights, labelled, budget):
    kernel = [[math.exp(-squared_distance(a, b) / (2 * bandwidth**2)) for b in rows] for a in rows]

    def coverage(taken):
        nearest = (max((kernel[s][n] for s in taken), default=0.0) for n in range(len(rows)))
        return average(weight * value for weight, value in zip(weights, nearest, strict=True))

    taken, chosen, added = list(labelled), [], []
    for _ in range(budget):
        gain = {i: coverage([*taken, i]) - coverage(taken) for i in range(len(rows)) if i not in taken}
        chosen.append(first_best(gain))
        added.append(gain[chosen[-1]])
        taken.append(chosen[-1])
    return chosen, added


def pure_share(rows, clusters, radius):
    """Returns the share of units within whose radius all units are of their own cluster."""
    pure = 0
    for i in range(len(rows)):
        near = [j for j in range(len(rows)) if squared_distance(rows[i], rows[j]) <= radius**2]
        pure += all(clusters[j] == clusters[i] for j in near)
    return pure / len(rows)


def k_center(rows, centres, budget):
    centres, chosen = list(centres), []
    for _ in range(budget):
        nearest = {
            i: min(squared_distance(rows[i], rows[c]) for c in centres) for i in range(len(rows)) if i not in centres
        }
        chosen.append(first_best(nearest))
        centres.append(chosen[-1])
    return chosen


# CoreGCN with the whole matrix, and gradients by differences.


def slice_weight(one, other, name):
    apart = abs(one - other)
    if name == "k_slice_wt":
        return 1.0 if apart <= 1 else 0.0
    if apart <= 1:
        return 1.0
    return 1.0 / apart if name == "inv_slice_wt" else math.exp(-(apart - 1))


def gcn_matrix(features, positions=None, weighting=None):
    rows = np.array([row / math.sqrt(sum(x * x for x in row.tolist())) for row in features.astype(np.float64)])
    count = len(rows)
    similarity = np.array([[float(a @ b) for b in rows] for a in rows])
    if weighting is not None:
        similarity *= [[slice_weight(int(one), int(two), weighting) for two in positions] for one in positions]
    similarity -= np.eye(count)
    matrix = np.empty((count, count))
    for j in range(count):
        matrix[:, j] = similarity[:, j] / (sum(similarity[:, j].tolist()) + 1e-10)
    return rows, matrix + np.eye(count)


def gcn_forward(features, weights):
    rows, matrix = gcn_matrix(features)
    hidden = np.maximum(matrix @ rows @ weights[0] + weights[1], 0)
    return hidden, matrix @ hidden @ weights[2] + weights[3]


def gcn_loss(scores, labelled, lambda_loss):
    yes = [-math.log(float(y) + 1e-10) for i, y in enumerate(scores.ravel()) if i in labelled]
    no = [-math.log(1 - float(y) + 1e-10) for i, y in enumerate(scores.ravel()) if i not in labelled]
    return average(yes) + lambda_loss * average(no)


def gcn_train(features, weights, labelled, epochs, *, learning_rate, weight_decay, lambda_loss):
    """Returns the weights after Adam with decay, and the loss before each step."""
    weights, losses = [weight.copy() for weight in weights], []
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]

    def loss():
        return gcn_loss(1 / (1 + np.exp(-gcn_forward(features, weights)[1])), labelled, lambda_loss)

    for step in range(1, epochs + 1):
        losses.append(loss())
        slopes = [np.empty_like(weight) for weight in weights]
        for weight, slope in zip(weights, slopes, strict=True):
            for place in np.ndindex(weight.shape):
                value = weight[place]
                weight[place] = value + 1e-6
                above = loss()
                weight[place] = value - 1e-6
                slope[place] = (above - loss()) / 2e-6
                weight[place] = value
        for weight, slope, m, v in zip(weights, slopes, first, second, strict=True):
            slope += weight_decay * weight
            m[...] = 0.9 * m + 0.1 * slope
            v[...] = 0.999 * v + 0.001 * slope**2
            weight -= learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return weights, losses
