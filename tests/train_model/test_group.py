"""Group contrastive training from its flags to its run directory, on four of the tiny patients.

tiny has 4 slices in each of its 4 unlabelled volumes, one volume per patient. Expected values: by hand; the loss of
embeddings that say nothing by its formula; runs compared with each other.
"""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.core.errors import ConfigError
from fewslice.settings.stage_flags import digest_values
from fewslice.stages import checks
from tests.train_model import tiny, tiny_al

SIMCLR = ("--use_slice_pos=0", "--use_phase=0", "--use_patient=0", "--pos_loss1_wt=0", "--pos_loss2_wt=0")
# Log of 1 + number of negatives: 16 for NT-Xent of 18 rows, 12 rows of other groups for both group-positive terms.
LEVEL = math.log(17) + 0.4 * math.log(13)


@pytest.fixture(scope="module")
def house(train, tmp_path_factory):
    """The stage, run once with a narrow encoder."""
    runs = tmp_path_factory.mktemp("group")
    with pytest.MonkeyPatch.context() as patch:
        tiny_al.use_small_networks(patch)
        train(runs, tiny.GROUP)
    return SimpleNamespace(runs=runs, dir=tiny.run_dir(runs, tiny.GROUP))


@pytest.fixture
def narrow(monkeypatch):
    """The encoder is that of `house`."""
    tiny_al.use_small_networks(monkeypatch)


def test_run_directory(house):
    done = json.loads((house.dir / "DONE").read_text())
    assert house.dir.name.startswith("resnet18_vp_bs9_s0-") and done["n_iter"] == 4
    assert done["random_level"] == pytest.approx(LEVEL)
    text = (house.dir / "logs" / "run.log").read_text()
    assert re.search(r"4 volumes, 18 rows a step\. 16 slices, [45] batches an epoch\.", text), "3 of 4 patients each"
    assert f"Loss of random embeddings: {LEVEL:.3f}" in text
    assert "Group-positive term 1, weight 0.35, draws together: anchor, volume partner." in text
    assert "Group-positive term 2, weight 0.05, draws together: anchor, volume partner, patient partner." in text


def test_log(house):
    rows = tiny.log(house.dir)
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        assert set(row) == {"step", "loss", "random_level", "effective_rank"}
        assert 0 < float(row["loss"]) < 3 * LEVEL and 1 <= float(row["effective_rank"]) <= 18
        assert float(row["random_level"]) == pytest.approx(LEVEL)
    assert not (house.dir / "checkpoints" / "best.npz").exists()


@pytest.mark.usefixtures("narrow")
def test_weights_are_those_of_the_network_and_of_the_embedding(house):
    import models
    from fewslice.core.checkpoint import load_arrays

    kept, _ = load_arrays(house.dir / "checkpoints" / "last.npz")
    model = models.build_group_encoder((32, 32, 1), seed=5)
    report = models.copy_by_name(model, kept)
    assert set(report.copied) == set(kept) and not report.missing and not report.mismatched
    h = models.embedding_part(model).predict_on_batch(np.ones((2, 32, 32, 1), np.float32))
    assert h.shape == (2, 16) and np.isfinite(h).all()


@pytest.mark.usefixtures("narrow")
def test_simclr_from_the_pretrained_weights(house, run_script):
    folder = run_script(tiny.GROUP, *SIMCLR, "--batch_size=4", "--n_iter=1", f"--init_from={house.dir}")
    assert folder.name.startswith("resnet18_simclr_bs4_s0-")
    assert json.loads((folder / "DONE").read_text())["random_level"] == pytest.approx(math.log(7))  # 6 negatives
    text = (folder / "logs" / "run.log").read_text()
    assert "8 rows a step. 16 slices, 4 batches an epoch." in text and "Group-positive" not in text
    assert "Weights from" in text


@pytest.fixture
def start(data, tmp_path):
    """A function (*flags) that makes the checks of the stage before Keras is imported."""
    return lambda *more: checks.check(*tiny.read(tiny.GROUP, tmp_path, *more))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_size=8"], "`batch_size` must be a multiple of the group size, 3, and at least 6. Received: 8"),
        (["--batch_size=3"], "`batch_size` must be a multiple of the group size, 3, and at least 6. Received: 3"),
        (["--batch_size=15"], "a batch takes 5 different patients, but there are 4; use batch_size=12 or less"),
        (["--use_phase=0", "--use_patient=0"], "--pos_loss1_wt=0.35, --pos_loss2_wt=0.05: .*For SimCLR give "),
        ([*SIMCLR, "--neg_loss_wt=1"], "--neg_loss_wt=1.0: a group term needs groups.* give --neg_loss_wt=0;"),
        (["--pos_loss1_wt=0", "--pos_loss2_wt=0"], "--use_phase=1, --use_patient=1: groups have no effect"),
        ([*SIMCLR, "--loss_wt=0"], "All terms of the loss have the weight 0"),
        ([*SIMCLR, "--batch_size=17"], "a batch takes 17 slices, but there are 16"),
        (["--pos_loss1_mask=0,1,2"], "--pos_loss1_mask=0,1,2 leaves out all 3 positions"),
        (["--devices=2"], "--devices=2: a contrastive loss needs every image"),
        (["--init_from=nowhere"], "--init_from=nowhere: expected a run folder"),
    ],
)
def test_refused_before_keras(start, flags, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        start(*flags)


def test_volumes_with_too_few_slices_are_refused_before_keras(start, monkeypatch):
    """Volumes of 4 slices hold groups of 4 (anchor, neighbour, volume and patient partner); one of 3 does not."""
    start_with = ("--use_slice_pos=1", "--batch_size=8")
    start(*start_with)
    from fewslice.data import cache

    opened = cache.open_cache

    def shorter(*args, **kwargs):
        volumes = list(opened(*args, **kwargs))
        volumes[1] = SimpleNamespace(image=volumes[1].image[:3], case=volumes[1].case)
        return volumes

    monkeypatch.setattr(cache, "open_cache", shorter)
    with pytest.raises(ConfigError, match=r"4 different slices of a patient, but there are fewer in .* of 002_ED"):
        start(*start_with)


@pytest.mark.parametrize(
    "flags", [(), SIMCLR, ("--positives=all", "--pos_loss1_mask=0,1,2"), ("--pos_loss3_mask=0,1,2",)]
)
def test_what_is_right_begins(start, flags):
    start(*flags)


def test_the_loss_has_the_terms_with_a_weight(data, tmp_path):
    from fewslice.stages.contrastive import group_loss

    def loss(*flags):
        return group_loss(tiny.read(tiny.GROUP, tmp_path, *flags)[0])

    published = loss()
    assert (published.temperature, published.loss_wt, published.neg_loss_wt) == (0.5, 1.0, 0.0)
    assert (published.pos_loss_wts, published.pos_loss_masks) == ((0.35, 0.05), ((2,), ()))
    third = loss("--pos_loss1_wt=0", "--pos_loss3_wt=.2", "--pos_loss3_mask=2,3", "--positives=all")
    assert (third.pos_loss_wts, third.pos_loss_masks) == ((0.05, 0.2), ((), (2, 3)))
    assert third.positives == "all" and loss(*SIMCLR).pos_loss_wts == ()


def test_digest_depends_on_the_flags(data, tmp_path):
    def values(*flags):
        return digest_values(tiny.read(tiny.GROUP, tmp_path, *flags)[0])

    for flag in ("--weight_decay=0", "--positives=all", "--pos_loss1_mask=", "--reset_sampler_every_epoch=1"):
        assert values() != values(flag)
    assert values() == values("--n_iter=9")


def test_sizes_decay_and_rate_reach_network_and_optimizer(data, tmp_path, monkeypatch):
    from fewslice.stages import contrastive

    calls = []
    monkeypatch.setattr(contrastive, "pretrain", lambda *parts: calls.append(parts))
    flags = ("--lr=0.002", "--weight_decay=0.5", "--projection_dim=8", "--encoder=resnet50", "--init_from=none")
    contrastive.pretrain_group_encoder(*tiny.read(tiny.GROUP, tmp_path, *flags))
    ((_args, _dataset, method, _origin, make, _loss, _batches, rate, make_optimizer),) = calls
    optimizer, model = make_optimizer(rate), make()
    assert type(optimizer).__name__ == "CoupledAdam" and optimizer.l2 == 0.5
    assert float(optimizer.learning_rate) == pytest.approx(0.002)
    assert model.output_shape == (None, 8) and model.get_layer("proj_nn1").units == 2048
    assert method == "resnet50_vp_bs9_s0"
