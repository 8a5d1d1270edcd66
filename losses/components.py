"""Connected components of label maps within a compiled training step.

Every pixel points to a pixel of its component. In each round it goes over to the best pixel that the targets of its
neighbours point to, and takes along the one that it pointed to, so that some ten rounds settle even long winding paths,
where a value that moves by one pixel a round would take as many rounds as the path has pixels.

Reference: Zhang, Azad and Hu, 2020, FastSV, https://arxiv.org/abs/1910.05971.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def largest_components(labels: Any, num_classes: int) -> Any:
    """Keeps the largest connected component of every foreground class of every image; the rest becomes background.

    Pixels of a class that touch by an edge or a corner are connected (8 neighbours, connectivity 2, the default of
    scikit-image). Of components of equal size the one stays whose first pixel comes first row by row. No gradient.

    Args:
        labels: (N, H, W) integer in [0, num_classes), 0 is background; N may be unknown until it runs. N * H * W is
            below 2**31.
        num_classes: K, background included.

    Returns:
        (N, H, W) int32.

    Source:
        Bai et al., 2023, https://arxiv.org/abs/2305.00673, section 3.2.
    """
    labels = ops.flip(ops.cast(labels, "int32"), axis=(1, 2))  # the first pixel of a component has its largest id
    roots = _roots(labels)
    count = ops.shape(labels)[0]
    height, width = labels.shape[1:]
    num_pixels = count * height * width
    ids = ops.arange(num_pixels, dtype="int32")
    sizes = ops.segment_sum(ops.ones_like(roots), roots, num_segments=num_pixels)  # at the root; 0 elsewhere
    group = ids // (height * width) * num_classes + ops.reshape(labels, (-1,))  # image and class
    largest = ops.segment_max(sizes, group, num_segments=count * num_classes)
    candidates = ops.where(sizes == ops.take(largest, group), ids, -1)
    winners = ops.segment_max(candidates, group, num_segments=count * num_classes)
    is_kept = ops.reshape(roots == ops.take(winners, group), ops.shape(labels))
    return ops.flip(ops.where(is_kept, labels, 0), axis=(1, 2))


def _roots(labels: Any) -> Any:
    """Returns the largest id (flat index) in the component of each pixel, (N * H * W,) int32; background has its own.

    Args:
        labels: (N, H, W) int32, 0 is background.
    """
    shape = ops.shape(labels)
    height, width = labels.shape[1:]
    num_pixels = shape[0] * height * width

    def neighbours(x: Any) -> list[Any]:
        padded = ops.pad(x, ((0, 0), (1, 1), (1, 1)))
        offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
        return [padded[:, row : row + height, column : column + width] for row, column in offsets]

    is_linked = [ops.cast((labels == other) & (labels > 0), "int32") for other in neighbours(labels)]

    def one_round(parents: Any, is_changed: Any) -> tuple[Any, Any]:
        grandparents = ops.take(parents, parents)
        best = ops.reshape(grandparents, shape)
        for linked, other in zip(is_linked, neighbours(best), strict=True):
            best = ops.maximum(best, linked * other)  # ids are not negative
        best = ops.reshape(best, (-1,))
        updated = ops.maximum(best, ops.segment_max(best, parents, num_segments=num_pixels))
        return updated, ops.any(updated != parents)

    ids = ops.arange(num_pixels, dtype="int32")
    # The largest id moves on by a pixel a round at least, so this bound is never what ends the loop.
    most = height * width + 1
    return ops.while_loop(lambda _, is_changed: is_changed, one_round, (ids, True), maximum_iterations=most)[0]
