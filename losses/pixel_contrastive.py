"""Pixel contrastive loss of joint training: sampled pixels against the class means of their image or pair of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from losses import checks
from losses.info_nce import at_least_float32, normalise, softmax_terms
from losses.registry import Loss, register

CERTAIN = 255


def pixel_targets(
    labels: np.ndarray, positions: np.ndarray, valid: np.ndarray, *, confidence: np.ndarray | None = None
) -> np.ndarray:
    """Packs what `PixelContrastive` needs to know of each map into one row, since Keras hands a loss one array.

    Args:
        labels: (M, H, W) integers, the class of every pixel.
        positions: (M, K - 1, n_pos, 2) integers, row and column of the sampled pixels of class 1, 2, ....
        valid: (M, K - 1, n_pos) boolean; where False the position is not read.
        confidence: (M, H, W) uint8, 255 where a label is certain and less where it is not; None: all are.

    Returns:
        (M, H * W + (K - 1) * n_pos) int32: the labels row by row, each plus 256 times (255 - confidence), then
        row * W + column of the samples, -1 where there is none.

    Raises:
        ValueError: Shapes that do not belong together, or a valid position outside the map.

    >>> pixel_targets(np.array([[[0, 1]]]), np.array([[[[0, 1], [0, 0]]]]), np.array([[[True, False]]])).tolist()
    [[0, 1, 1, -1]]
    """
    labels, positions, valid = np.asarray(labels), np.asarray(positions), np.asarray(valid, bool)
    if labels.ndim != 3 or positions.shape != (*valid.shape, 2) or len(valid) != len(labels) or valid.ndim != 3:
        raise ValueError(
            "`labels`, `positions`, `valid` must have shapes (maps, height, width), (maps, classes - 1, samples, 2), "
            f"(maps, classes - 1, samples). Received: {labels.shape}, {positions.shape}, {valid.shape}"
        )
    if np.any(valid[..., None] & ((positions < 0) | (positions >= labels.shape[1:]))):
        raise ValueError(f"`positions` must lie within maps of {labels.shape[1:]} pixels wherever they are valid.")
    if confidence is not None:
        labels = labels + 256 * (CERTAIN - np.asarray(confidence, np.int32))
    flat = positions[..., 0].astype(np.int32) * labels.shape[2] + positions[..., 1]
    rows = [labels.reshape(len(labels), -1), np.where(valid, flat, -1).reshape(len(labels), -1)]
    return np.concatenate(rows, axis=1, dtype=np.int32)


@register("pixel_contrastive")
class PixelContrastive(Loss):
    """Draws pixels to the mean of their class; `y_true` are packed targets (2B, T), `y_pred` maps (2B, H, W, C).

    Row p and row B + p are a pair of images. The sampled pixels x of the foreground classes of an image are classified
    by a softmax over prototypes, the means of the embeddings of the foreground classes, with cosine / temperature as
    logit. Per pixel the terms are

        exp_no 0 (intra-image)  -log softmax of the class's mean among the means of the same image
        exp_no 1 (inter-image)  -log softmax of the class's mean in the same image, and of that in the other image, both
                                among the means of both images.

    With S_p the sum of all terms of a pair, the loss is 1 / (B D) times the sum over p of S_p, where D = n_pos (K - 1),
    twice that for `exp_no` 1: half the number of terms, as published, since the published weight of the loss belongs to
    it. The weight (`--lamda_local`) is not part of the loss: give it to `compile` as `loss_weights`.

    Pixels and means that are exactly zero, samples marked as invalid, and classes that an image lacks drop out, as
    terms and from denominators; the divisor stays. Where the targets hold confidences, a pixel counts by its own in the
    mean of its class and as a sample.

    Args:
        exp_no: 0 or 1.
        num_classes: K, background included.
        n_pos: Sampled pixels per class and image (`--no_of_pos_eles`).
        temperature: Divides the cosines; positive, 0.005 is fine.
        normalisation: "mean", or "nested" for the published accident, see Notes.
        **kwargs: As in `losses.registry.Loss`. `call` returns (2B,) values whose mean is the loss.

    Notes:
        The published code divides the running sum by D inside its loop over pairs, so that the terms of pair p get the
        weight D^-(B - p) instead of 1 / D and all but the last pair vanish; "nested" restores that. It also drops a
        term whose cosine is exactly zero, which here only a zero embedding causes. It marked missing samples by a
        position outside the image and relied on such reads giving zero. Pairs must not be torn apart: data parallelism,
        which splits the rows, does not fit this loss.

    Source:
        Chaitanya et al., 2021, https://arxiv.org/abs/2112.09645, the local contrastive loss within and across images.

    Example:
        >>> labels = np.random.default_rng(0).integers(4, size=(2, 8, 8))
        >>> inside = [[np.argwhere(image == c)[:3] for c in (1, 2, 3)] for image in labels]
        >>> targets = pixel_targets(labels, np.array(inside), np.ones((2, 3, 3), bool))
        >>> loss = PixelContrastive(1, num_classes=4)
        >>> value = loss(targets, np.random.default_rng(1).normal(size=(2, 8, 8, 16)))
        >>> start = loss.random_level(targets)  # 2 log 6 = 3.58
    """

    def __init__(
        self,
        exp_no: int,
        num_classes: int,
        *,
        n_pos: int = 3,
        temperature: float = 0.1,
        normalisation: str = "mean",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.exp_no = checks.one_of("exp_no", exp_no, (0, 1))
        self.num_classes = checks.at_least("num_classes", num_classes, 2)
        self.n_pos = checks.at_least("n_pos", n_pos, 1)
        self.temperature = checks.positive("temperature", temperature)
        self.normalisation = checks.one_of("normalisation", normalisation, ("mean", "nested"))

    @property
    def num_samples(self) -> int:
        """Sampled pixels of an image, (K - 1) n_pos."""
        return (self.num_classes - 1) * self.n_pos

    @property
    def divisor(self) -> int:
        """D, half the number of terms of a pair."""
        return self.num_samples * (1 + self.exp_no)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        pixels = self._check_shapes(y_true, y_pred)
        maps = ops.reshape(at_least_float32(y_pred), (-1, pixels, y_pred.shape[-1]))  # (M, P, C)
        y_true = ops.cast(y_true, "int32")
        labels, confidence = _unpack(y_true[:, :pixels], maps.dtype)
        prototypes, is_prototype = self._prototypes(labels, confidence, maps)
        samples, is_sample, weights = _samples(y_true[:, pixels:], maps, confidence)
        logits = ops.matmul(normalise(samples), ops.swapaxes(normalise(prototypes), 1, 2)) / self.temperature
        terms = softmax_terms(logits, is_prototype[:, None, :])  # (M, S, L)
        counts = is_sample[:, :, None] & is_prototype[:, None, :]
        terms = ops.where(ops.logical_and(counts, self._is_target()), terms, 0.0) * weights[:, :, None]
        return 2.0 * ops.sum(terms, axis=(1, 2)) * self._pair_weight(terms)

    def random_level(self, y_true: Any) -> float:
        """Returns the loss of maps that say nothing (all cosines equal); learning falls below it.

        With every class in every image it is 2 log(K - 1) for `exp_no` 0 and 2 log(2 (K - 1)) for 1.

        Args:
            y_true: (2B, T) targets of a batch.
        """
        pixels = y_true.shape[1] - self.num_samples
        return float(self(y_true, np.ones((len(y_true), 1, pixels, 1), np.float32)))

    def _check_shapes(self, y_true: Any, y_pred: Any) -> int:
        """Returns the pixels of a map, or raises `ValueError`."""
        true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
        if len(pred_shape) == 4 and len(true_shape) == 2 and None not in pred_shape[1:]:
            pixels = pred_shape[1] * pred_shape[2]
            is_odd = any(size is not None and size % 2 for size in (true_shape[0], pred_shape[0]))
            if true_shape[1] in (None, pixels + self.num_samples) and not is_odd:
                return pixels
        raise ValueError(
            "`y_pred` must be an even number of maps, shape (2 pairs, height, width, channels), and `y_true` their "
            f"`pixel_targets` with {self.num_classes - 1} classes of {self.n_pos} samples, shape (2 pairs, height * "
            f"width + {self.num_samples}). Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        )

    def _prototypes(self, labels: Any, confidence: Any, maps: Any) -> tuple[Any, Any]:
        """Returns the class means that the pixels of each map are compared with, own ones first.

        Args:
            labels: (M, P) classes.
            confidence: (M, P) weights of the pixels in the means, 0 to 1.
            maps: (M, P, C) embeddings.

        Returns:
            (M, L, C) means, L = K - 1 or 2 (K - 1); (M, L) boolean, which of them count.
        """
        classes = ops.arange(1, self.num_classes, dtype="int32")
        mask = ops.cast(labels[:, None, :] == classes[None, :, None], maps.dtype)  # (M, K - 1, P)
        mask = mask * confidence[:, None, :]
        sizes = ops.sum(mask, axis=-1, keepdims=True)
        means = ops.matmul(mask, maps) / ops.where(sizes > 0, sizes, 1.0)  # (M, K - 1, C)
        exists = _is_nonzero(means)  # a class without pixels has the mean zero
        if self.exp_no == 0:
            return means, exists
        return ops.concatenate([means, _partner(means)], axis=1), ops.concatenate([exists, _partner(exists)], axis=1)

    def _is_target(self) -> np.ndarray:
        """Returns (S, L) boolean, which prototypes have the class of the sample."""
        of_sample = np.repeat(np.arange(self.num_classes - 1), self.n_pos)
        of_prototype = np.tile(np.arange(self.num_classes - 1), 1 + self.exp_no)
        return of_sample[:, None] == of_prototype

    def _pair_weight(self, terms: Any) -> Any:
        """Returns the factor of the sum of a pair: 1 / D, or (M,) D^-(B - p)."""
        if self.normalisation == "mean":
            return 1.0 / self.divisor
        half = ops.ones_like(ops.reshape(terms[:, 0, 0], (2, -1)))  # (2, B)
        steps = ops.cumsum(half, axis=1)  # p + 1
        power = ops.max(steps, axis=1, keepdims=True) + 1.0 - steps  # B - p
        return ops.reshape(ops.exp(-math.log(self.divisor) * power), (-1,))


def _is_nonzero(embeddings: Any) -> Any:
    """Returns (...) boolean, whether an embedding (..., C) has an entry other than exactly zero."""
    return ops.any(embeddings != 0, axis=-1)


def _partner(rows: Any) -> Any:
    """Returns for each row that of the other image of its pair: the halves of the batch change places."""
    return ops.reshape(ops.flip(ops.reshape(rows, (2, -1, *rows.shape[1:])), axis=0), (-1, *rows.shape[1:]))


def _unpack(packed: Any, dtype: Any) -> tuple[Any, Any]:
    """Returns labels (M, P) int32 and confidences (M, P) from 0 to 1; see `pixel_targets`."""
    return ops.mod(packed, 256), 1.0 - ops.cast(ops.floor_divide(packed, 256), dtype) / CERTAIN


def _samples(index: Any, maps: Any, confidence: Any) -> tuple[Any, Any, Any]:
    """Returns the sampled pixels of each map (M, S, C), which of them count, and how much (both (M, S)).

    Args:
        index: (M, S) int32 places of the pixels in a map, negative for none.
        maps: (M, P, C) embeddings.
        confidence: (M, P) weights of the pixels.
    """
    num_maps, pixels = ops.shape(maps)[0], maps.shape[1]
    first = ops.arange(num_maps, dtype="int32")[:, None] * pixels
    rows = ops.reshape(maps, (-1, maps.shape[-1]))  # whole pixels are gathered, which is quick
    place = first + ops.maximum(index, 0)
    samples = ops.take(rows, place, axis=0)
    weights = ops.take(ops.reshape(confidence, (-1,)), place, axis=0)
    return samples, ops.logical_and(index >= 0, _is_nonzero(samples)), weights
