"""Joint training with pseudo-labels from its flags to its results, on seven tiny patients.

Expected values: the files that docs/joint_training.md lists, pseudo-labels predicted here with the weights that a round
keeps, and runs compared with each other.
"""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.core.errors import ConfigError, DataError
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
    from fewslice.stages.joint import pools

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


def test_new_pseudo_labels_can_come_from_the_last_network(again, eager, monkeypatch):
    """Every validation is worse than the one before, so that the first, after 2 steps, stays the best."""
    from fewslice.train import evaluation

    scores = iter((0.5, 0.4, 0.3))
    monkeypatch.setattr(evaluation, "validation_of", lambda *args, **kwargs: lambda: {"val_dice": next(scores)})
    folder = again("--refresh_from=last")
    assert read(folder / "DONE")["best_step"] == 2
    assert read(folder / "pseudo_labels" / "round_01" / "round.json")["teacher_step"] == 4


def test_pseudo_labels_are_what_the_kept_network_predicts_refined(house, data):
    import models
    from fewslice.core import checkpoint
    from fewslice.refine.dense_crf import parameter_set, refine
    from fewslice.train.predict import predictor

    image = volume_of("003")
    network = models.build_unet((32, 32, 1), 3)
    for name in ("round_00", "round_01"):
        folder = house.joint / "pseudo_labels" / name
        models.copy_by_name(network, checkpoint.load_arrays(folder / "teacher.npz")[0])
        probabilities = predictor(network, 2)(image[..., None])
        expected = refine(probabilities, image, parameter_set("corrected"))[0]
        np.testing.assert_array_equal(np.load(folder / "labels" / "003_ED.npy"), expected)


def test_the_log_holds_both_losses_and_their_weighted_sum(house):
    rows = tiny.log(house.joint)
    assert [int(row["step"]) for row in rows] == [2, 4, 6]
    for row in rows:
        parts = float(row["logits_loss"]) + 0.1 * float(row["embeddings_loss"])
        assert float(row["loss"]) == pytest.approx(parts, rel=1e-5)
        assert float(row["embeddings_loss"]) > 0


def test_encoder_and_decoder_start_from_the_baseline_and_the_heads_do_not(house, again, monkeypatch):
    from fewslice.train import trainer

    found = {}
    monkeypatch.setattr(trainer.Trainer, "train", lambda self: found.update(tiny_weights(self.model)) or 1 / 0)
    baseline = tiny.weights(house.baseline, "best.npz")
    for head, flags in ((False, ()), (True, ("--copy_head=1",))):
        with pytest.raises(ZeroDivisionError):
            again("--noresume", *flags)
        for name in ("enc_c1_a/kernel", "dec_c1_a/kernel", "seg_fin_layer/kernel"):
            same = np.array_equal(found[name], baseline[name.replace("/", "|")])
            assert same == (head or not name.startswith("seg")), name


def tiny_weights(model):
    import models

    return {name: np.array(value) for name, value in models.read_weights(model).items()}


@pytest.fixture
def finished(house, tmp_path):
    """A copy of the finished run, where `again` continues it."""
    return shutil.copytree(house.joint, tmp_path / "runs" / "tiny" / tiny.JOINT / house.joint.name)


def test_changed_pseudo_labels_are_refused(again, finished):
    path = finished / "pseudo_labels" / "round_01" / "labels" / "002_ED.npy"
    labels = np.load(path)
    np.save(path, 2 - np.minimum(labels, 2))
    with pytest.raises(DataError, match="(?s)002_ED.npy.*another content.*Delete .*round.json"):
        again("--n_iter=8")


@pytest.fixture
def unlabelled(again, monkeypatch):
    """A function (*flags) that returns the case ids which would get pseudo-labels, without training."""
    from fewslice.stages.joint import stage as joint
    from fewslice.train import setup

    def run(*flags):
        found, real = [], joint.open_all

        def opened(*arguments):
            found.extend(setup.case_ids(real(*arguments).unlabeled))
            raise Interrupted("seen enough")

        monkeypatch.setattr(joint, "open_all", opened)
        with pytest.raises(Interrupted):
            again(*flags)
        return found

    return run


def test_a_round_that_lost_its_record_is_made_again_by_the_network_that_it_keeps(again, finished, monkeypatch):
    from fewslice.train import trainer

    first = finished / "pseudo_labels" / "round_01"
    labels = {path.name: path.read_bytes() for path in (first / "labels").iterdir()}
    record = read(first / "round.json")
    (first / "round.json").write_text("{")
    with pytest.raises(DataError, match="(?s)round.json.*Delete this file"):
        again("--n_iter=7")
    (first / "round.json").unlink()
    monkeypatch.setattr(trainer, "StepBatches", lambda *_args: 1 / 0)  # wanted once the round is made
    with pytest.raises(ZeroDivisionError):
        again("--n_iter=7")
    assert read(first / "round.json") == record
    assert {path.name: path.read_bytes() for path in (first / "labels").iterdir()} == labels


def test_ctrl_c_while_pseudo_labels_are_made_stops_after_a_volume(again, eager, monkeypatch):
    import os
    import signal

    from fewslice.core import files
    from fewslice.refine import pseudo_labels

    written, real = [], files.write_array

    def write(path, array):
        written.append(path)
        real(path, array)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(pseudo_labels.files, "write_array", write)
    with pytest.raises(Interrupted, match="pseudo-labels"):
        again()
    assert len(written) == 1


def test_few_pseudo_labelled_slices_with_all_classes_are_told_and_others_are_taken(again, eager, monkeypatch, caplog):
    from fewslice.refine import pseudo_labels

    real = pseudo_labels._one

    def without_class_2(*arguments):
        row, before, after, certainty = real(*arguments)
        return row, before, np.where(np.arange(32) < 16, 1, 0).astype(np.uint8) * np.ones_like(after), certainty

    monkeypatch.setattr(pseudo_labels, "_one", without_class_2)
    again("--n_iter=2")
    assert "No slice shows 3 classes in its (pseudo-)labels; the contrastive loss takes those with 2." in caplog.text
    assert "12 of 12 pseudo-labelled slices show 2 classes." in caplog.text


@pytest.fixture
def fourth_patient(data, monkeypatch, tmp_path):
    """A function that puts another patient in the place of the fourth of the unlabelled list."""

    def replace(patient):
        experiments = tmp_path / "experiments"
        shutil.copytree(data / "experiments", experiments)
        text = (experiments / "data_cfg_tiny.py").read_text()
        (experiments / "data_cfg_tiny.py").write_text(text.replace('"003", "004"]', f'"003", "{patient}"]'))
        monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(experiments))

    return replace


def test_a_test_patient_in_the_unlabelled_list_is_refused(again, fourth_patient):
    fourth_patient("7")
    with pytest.raises(ConfigError, match="contains the test patients 7"):
        again()


def test_published_lists_give_pseudo_labels_to_labelled_volumes_too(unlabelled):
    assert unlabelled("--published_lists=1") == ["001_ED", "002_ED", "003_ED", "004_ED"]


def test_validation_patients_get_no_pseudo_labels(unlabelled, fourth_patient):
    fourth_patient("005")
    assert unlabelled() == ["002_ED", "003_ED"]


@pytest.fixture
def first_round(again, eager, tmp_path, monkeypatch):
    """A function (*flags) that makes the first round of pseudo-labels and trains nothing. Returns the run's folder."""
    from fewslice.train import trainer

    def run(*flags):
        monkeypatch.setattr(trainer, "StepBatches", lambda *_args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            again("--noresume", *flags)
        return max((tmp_path / "runs" / "tiny" / tiny.JOINT).iterdir(), key=lambda path: path.stat().st_mtime_ns)

    return run


def test_refinement_is_applied_and_its_effect_counted(first_round):
    folder = first_round("--crf=published")
    record = read(folder / "pseudo_labels" / "round_00" / "round.json")
    assert record["settings"]["crf"]["iterations"] == 30
    assert any(row["changed"] > 0 for row in record["volumes"])


def test_volumes_whose_views_disagree_are_left_out_and_none_left_is_an_error(again, first_round):
    with pytest.raises(ConfigError, match="(?s)test_f1_threshold=0.999.*Lower"):
        again("--test_aug_overlap=1", "--test_f1_threshold=0.999")
    folder = first_round("--test_aug_overlap=1", "--test_f1_threshold=0.0")
    rows = read(folder / "pseudo_labels" / "round_00" / "round.json")["volumes"]
    assert all(row["accepted"] == ((row["agreement_of_views"] or 0) > 0) for row in rows)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--refresh_every=3",), "--refresh_every=3 must be a multiple of the 2 steps"),
        (("--bt_size=1",), "bt_size"),
        (("--devices=2",), "--devices=2.*pairs"),
        (("--min_classes=4",), "--min_classes=4: tiny has 3 classes"),
        (("--pretr_n_iter=5",), "No run of tr_baseline with .*n_iter=5"),
        (("--seed=1",), "No run of tr_baseline with .*seed=1"),
        (("--teacher=nowhere",), "--teacher=nowhere: expected a run folder.*nothing"),
        (("--check_only", "--init_from=nowhere"), "--init_from=nowhere: expected a run folder.*nothing"),
        (("--unl_no_of_tr_imgs=tr9",), "Unknown split --unl_no_of_tr_imgs 'tr9'"),
        (
            ("--set=num_classes=2", "--set=struct_name=rv", "--set=class_weights=.1,.9"),
            "one structure.*--lamda_local=0",
        ),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(again, flags, message):
    with pytest.raises((ConfigError, DataError), match=f"(?s){message}"):
        again(*flags)


def test_intra_image_mixed_precision_average_and_another_start(house, again, eager):
    start = house.baseline / "checkpoints" / "last.npz"
    flags = ("--local_loss_exp_no=0", "--mixed_precision", "--average_decay=0.9", f"--init_from={start}", "--n_iter=2")
    folder = again(*flags, f"--teacher={house.baseline}")
    (row,) = tiny.log(folder)
    assert np.isfinite(float(row["loss"])) and "val_dice_raw" in row


@pytest.mark.parametrize("crf", ["corrected"])
def test_soft_labels_keep_the_probability_of_each_label_and_weigh_by_it(house, again, eager, crf):
    """That of the network, or the marginal of the CRF where one refines; `corrected` is the default."""
    import models
    from fewslice.core import checkpoint
    from fewslice.refine.dense_crf import parameter_set, refine
    from fewslice.train.predict import predictor

    folder = again("--soft_labels=1", "--n_iter=2", f"--crf={crf}")
    first = folder / "pseudo_labels" / "round_00"
    labels, found = (np.load(first / kind / "003_ED.npy") for kind in ("labels", "confidence"))
    network = models.build_unet((32, 32, 1), 3)
    models.copy_by_name(network, checkpoint.load_arrays(first / "teacher.npz")[0])
    assert found.dtype == np.uint8 and found.shape == labels.shape
    image = volume_of("003").astype(np.float32)
    probabilities = predictor(network, 2)(image[..., None])
    if crf != "none":
        probabilities = refine(probabilities, image, parameter_set(crf))[1]
    chosen = np.take_along_axis(probabilities, labels[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_array_equal(found, np.rint(255 * chosen).astype(np.uint8))
    rows, plain = tiny.log(folder), tiny.log(house.joint)
    loss, without_weights = (float(lines[0]["embeddings_loss"]) for lines in (rows, plain))
    assert loss != pytest.approx(without_weights, rel=1e-4)
    (first / "confidence" / "003_ED.npy").unlink()
    with pytest.raises(DataError, match="(?s)003_ED.npy.*nothing"):
        again("--soft_labels=1", "--n_iter=4", f"--crf={crf}")


def volume_of(patient):
    from fewslice.data import cache
    from fewslice.data.readers import find_cases, get_reader
    from fewslice.settings import datasets

    dataset = datasets.load_dataset_config("tiny", {})
    (volume,) = cache.open_cache(dataset, find_cases(get_reader(dataset), [patient], ("ED",)), with_label=False)
    return np.asarray(volume.image)
