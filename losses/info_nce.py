"""The one kernel of all contrastive losses: cosine similarities, masks, log-sum-exp.

For an anchor a, a positive b and a set of negatives, with s(a, b) = <a, b> / (|a| |b| temperature),

    l(a, b) = -log( e^s(a,b) / (e^s(a,b) + sum over negatives r of e^s(a,r)) )
            = softplus( logsumexp over r of s(a,r)  -  s(a,b) ).

A loss is a choice of masks. Whatever the dtype of the embeddings, all is computed in float32 (float64 stays float64),
the log-sum-exp subtracts the largest masked-in logit, and masked-out logits are replaced before `exp`, so that neither
values nor gradients overflow at any temperature or become NaN where a row has no positive or no negative.

Reference: Chaitanya et al., 2020, https://arxiv.org/abs/2006.10511, equation 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

EMPTY = -1e9  # the log-sum-exp of no element: far below any logit, and still finite in float32
_MIN_SQUARED_NORM = 1e-12
_HUGE = 1e15  # from here on squares are scaled first, float32 overflows at 1.8e19


def at_least_float32(x: Any) -> Any:
    """Returns `x` as a float32 tensor, or unchanged as float64 if it is that."""
    x = ops.convert_to_tensor(x)
    return x if keras.backend.standardize_dtype(x.dtype) == "float64" else ops.cast(x, "float32")


def normalise(z: Any) -> Any:
    """Scales embeddings to length one: z / sqrt(max(|z|^2, 1e-12)), over the last axis.

    Args:
        z: (..., D) embeddings of any floating dtype. A zero vector stays zero and has a finite gradient.

    Returns:
        (..., D) float32 (float64 if `z` is).
    """
    z = at_least_float32(z)
    largest = ops.stop_gradient(ops.max(ops.abs(z), axis=-1, keepdims=True))
    scale = ops.where(largest > _HUGE, largest, ops.ones_like(largest))
    z = z / scale  # the result does not depend on `scale`, which only keeps the squares finite
    squared_norm = ops.sum(ops.square(z), axis=-1, keepdims=True)
    return z / ops.sqrt(ops.maximum(squared_norm, _MIN_SQUARED_NORM))


def masked_logsumexp(logits: Any, mask: Any, *, axis: int = -1) -> Any:
    """Returns log(sum of exp(logits) where `mask`) over an axis, `EMPTY` where no element is masked in.

    Args:
        logits: (..., P) float.
        mask: Boolean, broadcastable to `logits`.
        axis: The axis to sum over.

    Returns:
        (...) float, without the axis. The gradient of an empty row is zero.
    """
    logits = ops.where(mask, logits, EMPTY)
    largest = ops.stop_gradient(ops.max(logits, axis=axis, keepdims=True))
    exps = ops.where(mask, ops.exp(logits - largest), 0.0)
    total = ops.sum(exps, axis=axis)  # >= 1 unless empty
    is_empty = total < 0.5
    return ops.where(is_empty, EMPTY, ops.log(ops.where(is_empty, 1.0, total)) + ops.squeeze(largest, axis))


def info_nce_terms(positive_logits: Any, negative_lse: Any) -> Any:
    """Returns l(a, b) from s(a, b) and the log-sum-exp over the anchor's negatives; shapes broadcast.

    Without negatives (`EMPTY`) the term and its gradient are zero.
    """
    return ops.softplus(negative_lse - positive_logits)


def info_nce_rows(embeddings: Any, masks: Iterable[tuple[Any, Any]], *, temperature: float) -> Any:
    """Returns for each anchor the weighted sum of its terms, sum over masks and b of weight(a, b) l(a, b).

    Args:
        embeddings: (N, D), not normalised, any floating dtype.
        masks: Pairs of (N, N) weights, how often row b counts as positive of anchor a (0 for no), and (N, N) boolean,
            whether row r is a negative of anchor a.
        temperature: Positive number that divides the cosines.

    Returns:
        (N,) float32 (float64 if `embeddings` is).
    """
    anchors = normalise(embeddings)
    logits = ops.matmul(anchors, ops.transpose(anchors)) / temperature  # (N, N)
    rows = 0.0
    for positive_weights, negative_mask in masks:
        terms = info_nce_terms(logits, masked_logsumexp(logits, negative_mask)[:, None])
        rows = rows + ops.sum(ops.cast(positive_weights, terms.dtype) * terms, axis=-1)
    return rows


def softmax_terms(logits: Any, candidate_mask: Any) -> Any:
    """Returns l(a, b) of every candidate b, all other candidates being the negatives: cross-entropies of one softmax.

    Unlike in `info_nce_rows`, several positives of an anchor are negatives of each other.

    Args:
        logits: (..., P) s(a, r) of an anchor and its candidates.
        candidate_mask: Boolean, broadcastable to `logits`, which candidates there are.

    Returns:
        (..., P) float, finite also for candidates that are masked out; zero where there is no other candidate.
    """
    is_other = ops.logical_not(ops.eye(logits.shape[-1], dtype="bool"))  # (P, P): positive, negative
    negatives = ops.logical_and(ops.expand_dims(candidate_mask, -2), is_other)
    return info_nce_terms(logits, masked_logsumexp(ops.expand_dims(logits, -2), negatives))
