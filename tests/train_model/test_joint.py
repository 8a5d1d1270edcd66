"""Joint training with pseudo-labels from its flags to its results, on seven tiny patients.

Expected values: the files that docs/joint_training.md lists, pseudo-labels predicted here with the weights that a round
keeps, and runs compared with each other.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import models
from fewslice.core import checkpoint, files
from fewslice.core.errors import ConfigError, DataError
from fewslice.data import cache
from fewslice.refine import pseudo_labels
from fewslice.refine.dense_crf import parameter_set, refine
from fewslice.settings import datasets
from fewslice.stages.joint import pools
from fewslice.train import evaluation, trainer
from fewslice.train.predict import predictor
from fewslice.train.trainer import Interrupted
from tests.train_model import tiny


@pytest.fixture(scope="module")
def house(train, with_baseline, tmp_path_factory):
    """The joint training, run once."""
    runs = tmp_path_factory.mktemp("joint")
    train(with_baseline(runs), tiny.JOINT)
    joint, baseline = (tiny.run_dir(runs, script) for script in (tiny.JOINT, tiny.BASELINE))
    return SimpleNamespace(joint=joint, baseline=baseline)


@pytest.fixture
def again(with_baseline, run_script, tmp_path, monkeypatch):
    """A function that runs the joint training beside a copy of the baseline, with further flags and without drawing."""
    with_baseline(tmp_path / "runs")
    monkeypatch.setattr(pools, "draw_gallery", lambda *_args, **_names: None)
    return lambda *flags: run_script(tiny.JOINT, *flags)


def read(path):
    return json.loads(path.read_text())


def rounds(folder):
    return sorted(path.name for path in (folder / "pseudo_labels").iterdir())


def test_a_run_leaves_scores_two_rounds_and_their_statistics(house):
    done = read(house.joint / "DONE")
    assert done["n_iter"] == 6 and 0 <= done["test_dice"] <= 1
    assert rounds(house.joint) == ["round_00", "round_01"]
    for index, step in enumerate((0, 4)):
        folder = house.joint / "pseudo_labels" / f"round_{index:02d}"
        record = read(folder / "round.json")
        assert (record["index"], record["step"]) == (index, step)
        # Of the list of four patients one is labelled and none validates (005): three get pseudo-labels.
        assert [row["case_id"] for row in record["volumes"]] == ["002_ED", "003_ED", "004_ED"]
        assert sorted(path.stem for path in (folder / "labels").iterdir()) == ["002_ED", "003_ED", "004_ED"]
        assert (folder / "gallery.png").stat().st_size > 1000
        for row in record["volumes"]:
            labels = np.load(folder / "labels" / f"{row['case_id']}.npy")
            assert labels.dtype == np.uint8 and labels.shape[1:] == (32, 32)
            assert [row[f"pixels_{name}"] for name in ("rv", "lv")] == [int((labels == c).sum()) for c in (1, 2)]
    with open(house.joint / "logs" / "pseudo_labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["round"], row["step"]) for row in rows] == [("0", "0")] * 3 + [("1", "4")] * 3
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)


def test_the_first_round_is_the_baselines_best_network_the_second_that_of_the_run(house):
    first, second = (house.joint / "pseudo_labels" / name / "teacher.npz" for name in ("round_00", "round_01"))
    assert first.read_bytes() == (house.baseline / "checkpoints" / "best.npz").read_bytes()
    with np.load(second) as archive:
        assert "cont_c1_a/kernel" in {name.replace("|", "/") for name in archive.files}


def test_new_pseudo_labels_can_come_from_the_last_network(again, tmp_path, monkeypatch):
    """Of two validations the second is worse, so that the first, after 2 steps, stays the best; no third comes."""
    scores, real = iter((0.5, 0.4)), trainer.StepBatches
    monkeypatch.setattr(evaluation, "validation_of", lambda *args, **kwargs: lambda: {"val_dice": next(scores)})
    monkeypatch.setattr(trainer, "StepBatches", lambda make, step, end: real(make, step, end) if step < 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        again("--refresh_from=last")
    folder = tiny.run_dir(tmp_path / "runs", tiny.JOINT)
    assert checkpoint.load_arrays(folder / "checkpoints" / "best.npz")[1]["step"] == 2
    assert read(folder / "pseudo_labels" / "round_01" / "round.json")["teacher_step"] == 4


def refined(folder):
    """Returns labels and marginals of the volume 003 by the network that a round keeps and the default CRF."""
    dataset = datasets.load_dataset_config("tiny", {})
    (volume,) = cache.open_volumes(dataset, ["003"], ("ED",), with_label=False)
    network = models.build_unet((32, 32, 1), 3)
    models.copy_by_name(network, checkpoint.load_arrays(folder / "teacher.npz")[0])
    image = np.asarray(volume.image, np.float32)
    return refine(predictor(network, 2)(image[..., None]), image, parameter_set("corrected"))


def test_pseudo_labels_are_what_the_kept_network_predicts_refined(house, data):
    for name in ("round_00", "round_01"):
        folder = house.joint / "pseudo_labels" / name
        np.testing.assert_array_equal(np.load(folder / "labels" / "003_ED.npy"), refined(folder)[0])


def test_predict_repeats_the_predictions(house, data, tmp_path):
    tiny.assert_predict_repeats(house.joint, data, tmp_path)


def test_the_log_holds_both_losses_and_their_weighted_sum(house):
    rows = tiny.log(house.joint)
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    for row in rows:
        parts = float(row["logits_loss"]) + 0.1 * float(row["embeddings_loss"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)
        assert float(row["embeddings_loss"]) > 0


@pytest.mark.parametrize(("flags", "copies_head"), [((), False), (("--copy_head=1",), True)])
def test_encoder_and_decoder_start_from_the_baseline(house, again, monkeypatch, flags, copies_head):
    seen = []
    monkeypatch.setattr(trainer.Trainer, "train", lambda self: seen.append(self.model) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        again(*flags)
    weights, (baseline, _) = (
        models.read_weights(seen[0]),
        checkpoint.load_arrays(house.baseline / "checkpoints/best.npz"),
    )
    for name in ("enc_c1_a/kernel", "dec_c1_a/kernel", "seg_fin_layer/kernel"):
        assert np.array_equal(weights[name], baseline[name]) == (copies_head or not name.startswith("seg")), name


def test_a_damaged_round_is_refused_and_made_again_by_the_network_that_it_keeps(house, again, tmp_path, monkeypatch):
    finished = shutil.copytree(house.joint, tmp_path / "runs" / "tiny" / tiny.JOINT / house.joint.name)
    folder = finished / "pseudo_labels" / "round_01"
    labels = {path.name: path.read_bytes() for path in (folder / "labels").iterdir()}
    record = read(folder / "round.json")
    np.save(folder / "labels" / "002_ED.npy", 2 - np.minimum(np.load(folder / "labels" / "002_ED.npy"), 2))
    with pytest.raises(DataError, match="(?s)002_ED.npy.*another content.*ove .*round.json elsewhere"):
        again("--n_iter=7")
    (folder / "round.json").write_text("{")
    with pytest.raises(DataError, match="(?s)round.json.*move this file elsewhere"):
        again("--n_iter=7")
    (folder / "round.json").unlink()
    monkeypatch.setattr(trainer, "StepBatches", lambda *_args: 1 / 0)  # asked for once the round is made
    with pytest.raises(ZeroDivisionError):
        again("--n_iter=7")
    assert read(folder / "round.json") == record
    assert {path.name: path.read_bytes() for path in (folder / "labels").iterdir()} == labels


def test_ctrl_c_while_pseudo_labels_are_made_stops_after_a_volume(again, monkeypatch):
    written, real = [], files.write_array

    def write(path, array):
        real(path, array)
        if path.parent.name == "labels":
            written.append(path)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "write_array", write)
    with pytest.raises(Interrupted, match="pseudo-labels"):
        again()
    assert len(written) == 1


def test_slices_with_fewer_classes_are_taken_where_none_has_all(again, monkeypatch, caplog):
    real = pseudo_labels._one

    def without_class_2(*arguments):
        row, before, after, certainty = real(*arguments)
        return row, before, np.where(np.arange(32) < 16, 1, 0).astype(np.uint8) * np.ones_like(after), certainty

    monkeypatch.setattr(pseudo_labels, "_one", without_class_2)
    again("--n_iter=2")
    assert "No slice shows 3 classes in its (pseudo-)labels; the contrastive loss takes those with 2." in caplog.text
    assert "12 of 12 pseudo-labelled slices show 2 classes." in caplog.text


@pytest.fixture
def first_round(again, tmp_path, monkeypatch):
    """A function (*flags) that makes the first round of pseudo-labels and trains nothing. Returns the run's folder."""

    def run(*flags):
        monkeypatch.setattr(trainer, "StepBatches", lambda *_args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            again("--noresume", *flags)
        return max((tmp_path / "runs" / "tiny" / tiny.JOINT).iterdir(), key=lambda path: path.stat().st_mtime_ns)

    return run


def test_volumes_whose_views_disagree_are_left_out_and_none_left_is_an_error(again, first_round):
    with pytest.raises(ConfigError, match="(?s)test_f1_threshold=0.999.*Lower"):
        again("--test_aug_overlap=1", "--test_f1_threshold=0.999")
    folder = first_round("--crf=published", "--test_aug_overlap=1", "--test_f1_threshold=0.0")
    record = read(folder / "pseudo_labels" / "round_00" / "round.json")
    rows = record["volumes"]
    assert all(row["accepted"] == ((row["agreement_of_views"] or 0) > 0) for row in rows)
    assert record["settings"]["crf"]["iterations"] == 30 and any(row["changed"] > 0 for row in rows)


def test_intra_image_mixed_precision_average_and_another_start(house, again, compiled):
    start = house.baseline / "checkpoints" / "last.npz"
    flags = ("--local_loss_exp_no=0", "--mixed_precision", "--average_decay=0.9", f"--init_from={start}", "--n_iter=2")
    folder = again(*flags, f"--teacher={house.baseline}")
    (row,) = tiny.log(folder)
    assert np.isfinite(float(row["loss"])) and "val_dice_raw" in row


def test_soft_labels_keep_the_probability_of_each_label_and_weigh_by_it(house, again):
    """The marginal of the CRF."""
    folder = again("--soft_labels=1", "--n_iter=2")
    first = folder / "pseudo_labels" / "round_00"
    labels, confidence = (np.load(first / kind / "003_ED.npy") for kind in ("labels", "confidence"))
    chosen = np.take_along_axis(refined(first)[1], labels[..., None].astype(int), axis=-1)[..., 0]
    assert confidence.dtype == np.uint8
    np.testing.assert_array_equal(confidence, np.rint(255 * chosen).astype(np.uint8))
    loss, without_weights = (float(tiny.log(run)[0]["embeddings_loss"]) for run in (folder, house.joint))
    assert loss != pytest.approx(without_weights, rel=1e-4)
    (first / "confidence" / "003_ED.npy").unlink()
    with pytest.raises(DataError, match="(?s)003_ED.npy.*nothing"):
        again("--soft_labels=1", "--n_iter=4")
