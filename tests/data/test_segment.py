"""The largest parts of a label, and its codes. Expected values: SciPy's labelling, hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage

from fewslice.core.errors import ConfigError
from fewslice.data.segment import class_codes, largest_components


def test_largest_components():
    label = np.random.default_rng(0).choice([0, 1, 2], (24, 20, 6), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    label[12:, :10, 2] = 1
    found = largest_components(label)
    for value in (1, 2):
        parts, _ = scipy.ndimage.label(label == value)
        first_of_largest = 1 + np.bincount(parts.ravel())[1:].argmax()  # parts are numbered by their first voxel
        np.testing.assert_array_equal(found == value, parts == first_of_largest)
    assert not largest_components(np.zeros((2, 3, 1), np.uint8)).any()


def test_a_winding_path_is_one_component():
    label = np.zeros((41, 41, 1), np.uint8)
    label[::2] = 1
    label[1::4, 40] = label[3::4, 0] = 1
    np.testing.assert_array_equal(largest_components(label), label)


@pytest.mark.parametrize(
    "label_map, codes, dtype",
    [
        ((), [0, 1, 2], "uint8"),
        (((0, 0), (205, 1), (420, 2), (421, 2)), [0, 205, 420], "uint16"),
        (((-3, 1), (7, 2)), [0, -3, 7], "int32"),
    ],
)
def test_codes_of_label_files(label_map, codes, dtype):
    dataset = SimpleNamespace(num_classes=3, label_map=label_map)
    found = class_codes(dataset, as_in_files=True)
    assert found.tolist() == codes and found.dtype == dtype
    assert class_codes(dataset, as_in_files=False).tolist() == [0, 1, 2]


def test_two_classes_of_one_code_are_refused():
    with pytest.raises(ConfigError, match="two classes would have one code"):
        class_codes(SimpleNamespace(num_classes=3, label_map=((2, 1),)), as_in_files=True)
