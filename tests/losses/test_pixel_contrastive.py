"""Expected values: by hand, and loops over pairs, classes and samples in tests/reference/pixel_contrastive.py."""

import numpy as np
import pytest
from keras import ops

from losses.pixel_contrastive import PixelContrastive, pixel_targets
from tests.backend import evaluate, value_and_grad
from tests.reference import pixel_contrastive as reference


class Case:
    """Random maps; every class is in every image unless it is taken out."""

    def __init__(self, num_pairs=2, num_classes=4, n_pos=3, side=6, channels=5, seed=0):
        rng = np.random.default_rng(seed)
        self.num_classes, self.n_pos = num_classes, n_pos
        rows = 2 * num_pairs
        self.maps = rng.normal(size=(rows, side, side + 1, channels)).astype(np.float32)
        labels = rng.integers(num_classes, size=(rows, side * (side + 1)))
        labels[:, :num_classes] = np.arange(num_classes)
        self.labels = rng.permuted(labels, axis=1).reshape(rows, side, side + 1).astype(np.uint8)
        self.positions = np.zeros((rows, num_classes - 1, n_pos, 2), np.int32)
        self.valid = np.ones((rows, num_classes - 1, n_pos), bool)
        for row in range(rows):
            for c in range(1, num_classes):
                found = np.argwhere(self.labels[row] == c)
                self.positions[row, c - 1] = found[rng.integers(len(found), size=n_pos)]

    def remove(self, image, c, samples_of=()):
        """Makes class c of an image background, and its samples invalid, also in further images."""
        self.labels[image][self.labels[image] == c] = 0
        for row in (image, *samples_of):
            self.valid[row, c - 1] = False
            self.positions[row, c - 1] = 1000
        return self

    @property
    def targets(self):
        return pixel_targets(self.labels, self.positions, self.valid)

    def loss(self, exp_no, **kwargs):
        return PixelContrastive(exp_no, self.num_classes, n_pos=self.n_pos, **kwargs)

    def expected(self, exp_no, temperature=0.1, nested=False, weights=None):
        samples = [
            [
                [tuple(p) if ok else None for p, ok in zip(places, oks, strict=True)]
                for places, oks in zip(of_image, valid, strict=True)
            ]
            for of_image, valid in zip(self.positions.tolist(), self.valid, strict=True)
        ]
        settings = exp_no, self.maps, self.labels, samples, self.num_classes, temperature, nested
        return reference.loss(*settings, weights=weights)


def two_pixels():
    """A pair of maps of a pixel of class 1 and one of class 2, orthogonal, the same in both images."""
    maps = np.array([[[[1, 0], [0, 1]]], [[[3, 0], [0, 2]]]], np.float32)
    labels = np.array([[[1, 2]], [[1, 2]]])
    positions = np.array([[[[0, 0]], [[0, 1]]]] * 2)
    return pixel_targets(labels, positions, np.ones((2, 2, 1), bool)), maps


@pytest.mark.parametrize(
    "exp_no, term, count, divisor",
    # A pixel is its own prototype, cosine 1, and orthogonal to the other: 4 pixels, one or two terms each.
    [(0, np.log(1 + np.exp(-1.0)), 4, 2), (1, np.log(2 + 2 * np.exp(-1.0)), 8, 4)],
)
def test_a_pair_by_hand(exp_no, term, count, divisor):
    targets, maps = two_pixels()
    loss = PixelContrastive(exp_no, 3, n_pos=1, temperature=1.0)
    assert evaluate(loss, targets, maps) == pytest.approx(count * term / divisor, rel=1e-6)


def test_the_mean_is_that_of_all_pixels_of_the_class_by_hand():
    # Class 1: pixels (1, 0) and (0, 1), mean at 45 degrees to both; class 2: (0, 1).
    maps = np.array([[[[1, 0], [0, 1], [0, 1], [5, 5]]]] * 2, np.float32)
    labels = np.array([[[1, 1, 2, 0]]] * 2)
    positions = np.array([[[[0, 0]], [[0, 2]]]] * 2)
    targets = pixel_targets(labels, positions, np.array([[[True], [False]]] * 2))
    expected = np.log1p(np.exp(-np.sqrt(0.5)))  # logits sqrt(1/2) and 0; 2 terms, divided by 2
    assert evaluate(PixelContrastive(0, 3, n_pos=1, temperature=1.0), targets, maps) == pytest.approx(expected)


@pytest.mark.parametrize("normalisation", ["mean", "nested"])
@pytest.mark.parametrize("exp_no", [0, 1])
@pytest.mark.parametrize("sizes", [(1, 2, 1), (2, 4, 3), (3, 8, 2)], ids=str)
def test_equals_the_loops(sizes, exp_no, normalisation):
    case, is_nested = Case(*sizes), normalisation == "nested"
    temperature, tolerance = (0.005, 1e-5) if sizes[0] == 3 else (0.1, 2e-6)
    loss = case.loss(exp_no, normalisation=normalisation, temperature=temperature)
    assert loss.divisor == sizes[2] * (sizes[1] - 1) * (1 + exp_no)
    expected = case.expected(exp_no, temperature, nested=is_nested)
    assert evaluate(loss, case.targets, case.maps) == pytest.approx(expected, rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("exp_no", [0, 1])
def test_absent_classes_zero_pixels_and_zero_prototypes_equal_the_loops(exp_no):
    case = Case(4).remove(0, 2, samples_of=(4,)).remove(5, 1, samples_of=(1,))  # pairs (0, 4) and (1, 5)
    case.maps[2][tuple(case.positions[2, 0, 1])] = 0
    case.maps[6][case.labels[6] == 3] = 0  # pixels and prototype of a class
    for c in (1, 2, 3):
        case.remove(3, c, samples_of=(7,))  # an image of background only
    value, (grad,) = value_and_grad(lambda m: case.loss(exp_no)(case.targets, m), case.maps)
    assert value == pytest.approx(case.expected(exp_no), rel=2e-6)
    assert np.all(np.isfinite(grad)) and np.all(grad[3] == 0)
    assert np.all(grad[2][tuple(case.positions[2, 0, 1])] != 0), "a zero pixel still belongs to its class's mean"


def test_a_class_that_only_one_image_has_is_a_prototype_all_the_same():
    case = Case(1).remove(0, 2, samples_of=(1,))
    full = evaluate(case.loss(1), case.targets, case.maps)
    assert full == pytest.approx(case.expected(1), rel=2e-6)
    without = case.remove(1, 2)
    assert evaluate(without.loss(1), without.targets, without.maps) < full


@pytest.mark.parametrize("exp_no", [0, 1])
def test_gradient_equals_that_of_the_loops(exp_no):
    case = Case(1, 3, 2, side=3, channels=2)
    _, (grad,) = value_and_grad(lambda m: case.loss(exp_no)(case.targets, m), case.maps)
    maps, step = case.maps.astype(np.float64), 1e-5
    for place in [(0, 0, 0, 0), (0, 1, 2, 1), (1, 2, 3, 0), (1, *case.positions[1, 1, 0], 1)]:
        values = []
        for sign in (1, -1):
            case.maps = maps.copy()
            case.maps[place] += sign * step
            values.append(case.expected(exp_no))
        assert grad[place] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e25])
@pytest.mark.parametrize("exp_no", [0, 1])
def test_gradient_is_finite_at_low_temperature(exp_no, scale):
    case = Case(2).remove(0, 2, samples_of=(2,))
    loss = case.loss(exp_no, temperature=0.005)
    value, (grad,) = value_and_grad(lambda m: loss(case.targets, m), case.maps * np.float32(scale))
    assert np.isfinite(value) and np.all(np.isfinite(grad))
    assert scale > 0 or (value == 0 and np.all(grad == 0))


@pytest.mark.parametrize("exp_no", [0, 1])
def test_order_of_pairs_and_exchange_of_their_images_do_not_matter(exp_no):
    case = Case(3)
    loss = case.loss(exp_no)
    expected = pytest.approx(evaluate(loss, case.targets, case.maps), rel=1e-5)
    for order in ([1, 2, 0, 4, 5, 3], [3, 4, 5, 0, 1, 2], [3, 1, 2, 0, 4, 5]):
        assert evaluate(loss, case.targets[order], case.maps[order]) == expected
    torn = [0, 1, 2, 4, 5, 3]
    other = evaluate(loss, case.targets[torn], case.maps[torn])
    assert (other == expected) == (exp_no == 0), "only the inter-image variant looks at the partner"


def test_what_counts_in_the_gradient():
    case = Case(1)
    _, (grad,) = value_and_grad(lambda m: case.loss(1)(case.targets, m), case.maps)
    np.testing.assert_array_equal(np.any(grad != 0, axis=-1), case.labels > 0)  # background is never contrasted


def test_nested_gives_all_but_the_last_pair_next_to_nothing():
    case = Case(3)
    _, (grad,) = value_and_grad(lambda m: case.loss(1, normalisation="nested")(case.targets, m), case.maps)
    sizes = np.abs(grad).max(axis=(1, 2, 3)).reshape(2, 3).max(axis=0)
    assert sizes[2] > 5 * sizes[1] > 25 * sizes[0]


@pytest.mark.parametrize("exp_no, num_classes, expected", [(0, 4, 2 * np.log(3)), (1, 4, 2 * np.log(6)), (0, 2, 0.0)])
def test_random_level_is_the_loss_of_equal_embeddings(exp_no, num_classes, expected):
    case = Case(3, num_classes)
    loss = case.loss(exp_no)
    assert loss.random_level(case.targets) == pytest.approx(expected, rel=1e-6)
    assert evaluate(loss, case.targets, np.ones_like(case.maps)) == pytest.approx(expected, rel=1e-6)


def test_rows_average_to_the_loss_and_places_survive_float32():
    case = Case(1, 3, 1, side=192, channels=2)
    case.labels[:, -1, -1] = 2
    case.positions[:, 1, 0] = (191, 192)
    loss = case.loss(1, reduction=None)
    rows = ops.convert_to_numpy(loss(case.targets, case.maps))
    assert rows.shape == (2,) and rows.mean() == pytest.approx(case.expected(1), rel=1e-5)


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((2, 4), {}, "`exp_no` must be one of 0, 1. Received: exp_no=2"),
        ((0, 1), {}, "`num_classes` must be an integer of at least 2. Received: num_classes=1"),
        ((0, 4), {"n_pos": 0}, "`n_pos` must be an integer of at least 1"),
        ((0, 4), {"temperature": 0}, "`temperature` must be a positive finite number"),
        ((0, 4), {"normalisation": "sum"}, "`normalisation` must be one of 'mean', 'nested'"),
    ],
)
def test_wrong_arguments(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        PixelContrastive(*args, **kwargs)


def test_targets_must_fit_the_maps():
    case = Case(2)
    for loss, targets, maps in [
        (PixelContrastive(1, 5), case.targets, case.maps),
        (case.loss(1), case.targets[:3], case.maps[:3]),
        (case.loss(1), case.targets, case.maps[:, 1:]),
    ]:
        with pytest.raises(ValueError, match=r"an even number of maps.*`pixel_targets` with"):
            loss(targets, maps)
    case.positions[0, 0, 0] = (0, 7)
    with pytest.raises(ValueError, match="`positions` must lie within maps of"):
        pixel_targets(case.labels, case.positions, case.valid)
    with pytest.raises(ValueError, match="must have shapes"):
        pixel_targets(case.labels, case.positions[:, :1], case.valid)


@pytest.mark.parametrize("exp_no", [0, 1])
def test_pixels_count_by_their_confidence(exp_no):
    case = Case(num_pairs=2, seed=5)
    confidence = np.random.default_rng(1).integers(0, 256, case.labels.shape).astype(np.uint8)
    confidence[0][case.labels[0] == 2] = 0  # a class without any confidence is as good as absent
    targets = pixel_targets(case.labels, case.positions, case.valid, confidence=confidence)
    expected = case.expected(exp_no, weights=confidence / 255)
    assert float(case.loss(exp_no)(targets, case.maps)) == pytest.approx(expected, rel=1e-4)
    assert expected != pytest.approx(case.expected(exp_no), rel=0.05)


def test_full_confidence_is_packed_as_none():
    case = Case()
    full = np.full(case.labels.shape, 255, np.uint8)
    packed = pixel_targets(case.labels, case.positions, case.valid, confidence=full)
    np.testing.assert_array_equal(packed, case.targets)
