"""Euclidean distance as `greedy` takes it, without bounds: the definition."""

import numpy as np

from fewslice.active.measures.kcenter import chunks, row_distances


class PlainDistance:
    """Float64 differences of (N, D) rows."""

    def __init__(self, features):
        self.features = features

    def __len__(self):
        return len(self.features)

    def bounds(self, centre):
        values = self.exact(np.arange(len(self)), centre)
        return values, values

    def exact(self, rows, centre):
        parts = chunks(rows, self.features.shape[1])
        return np.concatenate([row_distances(self.features[part], self.features[centre]) for part in parts])
