"""Settings of the contrastive stages that cannot be used. Expected values: by hand, from the rule in `crop_limits`."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from fewslice.errors import ConfigError
from fewslice.stages import contrastive
from tests.data.layouts import dataset


class Begun(Exception):
    """The stage went on after its checks."""


@pytest.fixture
def start(monkeypatch):
    """Returns a function (bbox_dim, (rows, columns)) that starts the global stage up to its first step."""

    def begin(*_args, **_kwargs):
        raise Begun

    monkeypatch.setattr(contrastive.common, "find_origin", begin)

    def run(box, size):
        settings = dataclasses.replace(dataset("acdc"), img_size_x=size[0], img_size_y=size[1])
        contrastive.pretrain_encoder(SimpleNamespace(bbox_dim=box, strong_views=0), settings)

    return run


@pytest.mark.parametrize(
    "box, size", [(192, (192, 192)), (160, (160, 160)), (100, (64, 64)), (192, (64, 64)), (20, (32, 32))]
)
def test_crop_that_fits(start, box, size):
    with pytest.raises(Begun):
        start(box, size)


@pytest.mark.parametrize(
    "box, size, words",
    [
        (193, (192, 192), "img_size_x=192 in acdc. Received: bbox_dim=193. Give a smaller"),
        (193, (224, 192), "img_size_y=192 in acdc. Received: bbox_dim=193. Give a smaller"),
        (1000, (192, 192), "must not exceed the side of a slice, since a crop is a part of it"),
        # 200 * 64 / 192 = 66.7
        (200, (64, 64), r"img_size_x=64 in acdc. Received: bbox_dim=200 \(67 px after scaling from a side of 192 px\)"),
        # 2 * 32 / 192 = 0.3
        (2, (32, 32), "`bbox_dim`=2 does not fit img_size_x=32 of acdc. .* at least 2 px"),
    ],
)
def test_crop_that_does_not_fit(start, box, size, words):
    with pytest.raises(ConfigError, match=words):
        start(box, size)
