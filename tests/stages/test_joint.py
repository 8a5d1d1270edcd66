"""Joint training: its lists of methods, the weights it starts from, the average it keeps.

Expected values: by hand. Networks are U-Nets of other seeds, so that every kernel tells where it comes from.
"""

from __future__ import annotations

import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import models
from fewslice.report.reading.methods import JOINT_TITLES
from fewslice.settings.declare import settings_of
from fewslice.settings.stage_flags import JointTraining
from fewslice.stages.joint import mean_teacher, stage
from fewslice.stages.joint.job import Job
from fewslice.train.setup import Origin

ENCODER, DECODER, HEAD = "enc_c1_a/kernel", "dec_c1_a/kernel", "seg_fin_layer/kernel"


def unet(seed):
    """Of three levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.unet, "ENCODER_FILTERS", (4,) * 3)
        return models.build_unet((32, 32, 1), 3, seed=seed)


@pytest.fixture(scope="module")
def origins():
    """The baseline, another network, the same without a head, and random weights (--init_from=none)."""
    baseline, other = ({n: np.array(v) for n, v in models.read_weights(unet(seed)).items()} for seed in (1, 2))
    headless = {name: value for name, value in other.items() if not name.startswith("seg_")}
    found = {"baseline": baseline, "other": other, "headless": headless}
    return {name: Origin(Path(name), weights) for name, weights in found.items()} | {"none": Origin()}


@pytest.mark.parametrize(
    ("origin", "heads", "body", "head"),
    [
        ("baseline", ("baseline",), "baseline", "baseline"),
        ("baseline", (), "baseline", "new"),
        ("other", ("other",), "other", "other"),
        ("other", ("other", "baseline"), "other", "other"),
        ("other", (), "other", "new"),
        ("headless", ("headless",), "other", "new"),
        ("headless", ("headless", "baseline"), "other", "baseline"),
        ("none", ("none", "baseline"), "new", "new"),
    ],
)
def test_the_head_comes_from_where_encoder_and_decoder_do_if_there_is_one(origins, origin, heads, body, head, caplog):
    model = unet(0)
    expected = {name: made.weights for name, made in origins.items()}
    expected["new"] = {name: np.array(value) for name, value in models.read_weights(model).items()}
    job = Job(None, None, None, None, origins["baseline"], origins[origin])
    with caplog.at_level("INFO", logger="absl"):
        job.start_weights(model, heads=[origins[name] for name in heads])
    found = models.read_weights(model)
    for name in found:
        source = head if name.startswith("seg_") else body
        np.testing.assert_array_equal(found[name], expected[source][name], err_msg=name)
    assert {ENCODER, DECODER, HEAD} <= set(found)
    told = "has no segmentation head; it starts from random weights" in caplog.text
    assert told == (origin == "headless" and "baseline" not in heads)


def test_every_list_of_methods_holds_the_same_ones():
    methods = typing.get_args(settings_of(JointTraining)["method"].kind)
    assert tuple(stage.METHODS) == methods
    assert tuple(JOINT_TITLES) == methods


@pytest.mark.parametrize(
    ("average", "teacher", "decay", "told"),
    [
        (0.5, 0.99, 0.5, r"0.5 (--average_decay)"),
        (0.0, 0.99, 0.99, "0.99 (--teacher_decay)"),
        (0.0, 0.0, 0.0, "as they are"),
    ],
)
def test_the_average_is_that_of_its_flag_or_else_the_teachers(average, teacher, decay, told, caplog):
    with caplog.at_level("INFO", logger="absl"):
        found = mean_teacher._average_decay(SimpleNamespace(average_decay=average, teacher_decay=teacher))
    assert found == decay
    assert told in caplog.text


@pytest.mark.parametrize("published", [0, 1])
def test_a_labelled_volume_is_among_the_unlabelled_once(published, monkeypatch):
    """The published lists hold the labelled 001 themselves."""
    volumes = {name: SimpleNamespace(case=SimpleNamespace(case_id=name)) for name in ("001", "002", "003")}
    unlabeled = [volumes[name] for name in (("002", "003", "001") if published else ("002", "003"))]
    args = SimpleNamespace(
        published_lists=published,
        seed=0,
        n_iter=1,
        hours=None,
        average_decay=0.0,
        teacher_decay=0.0,
        tensorboard=False,
        method="unimatch",
        confidence=0.9,
        oversample=0.0,
    )
    dataset = SimpleNamespace(val_step_update=1, num_classes=3)
    job = Job(args, dataset, SimpleNamespace(train=[volumes["001"]], unlabeled=unlabeled, val=[]), None, None, None)
    monkeypatch.setattr(mean_teacher.segmentation, "augmentation_of", lambda args: None)
    monkeypatch.setattr(mean_teacher.evaluation, "validation_of", lambda *args, confidence: asked.append(confidence))
    seen, asked = [], []

    def taught_batch(rng, labelled, others, *args, **kwargs):
        seen.extend(volume.case.case_id for volume in others)
        return SimpleNamespace(images=None, labels=None, targets=None)

    monkeypatch.setattr(mean_teacher, "taught_batch", taught_batch)
    mean_teacher.plan(job, None, None, (2, 2)).make_batch(0)
    assert seen == ["002", "003", "001"]
    assert asked == [0.9]
