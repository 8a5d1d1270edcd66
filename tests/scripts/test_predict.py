"""Prediction of new scans. Networks have random weights, so that labels show every class.

Expected values: the network itself, called on the prepared slices; predictions compared with each other.
"""

from __future__ import annotations

import json
import re
import shutil

import keras
import nibabel as nib
import numpy as np
import pytest
import scipy.ndimage

import models
from fewslice.core import files
from fewslice.core.checkpoint import load_arrays
from fewslice.core.errors import ConfigError
from fewslice.data.readers.loose import find_scans
from fewslice.data.volume import image_to_grid, label_from_grid
from fewslice.learner import trained
from fewslice.settings.datasets import config_of_run
from fewslice.stages import predict as stage
from fewslice.train.predict import softmax
from tests.scripts import trained_runs
from tests.scripts.running import run
from tests.scripts.trained_runs import read
from tests.train_model import tiny


@pytest.fixture
def predict(house, tmp_path):
    """A function (run, *flags) that segments the two scans. Returns what the script did, and the folder."""

    def go(*runs, images=house.scans, output=tmp_path / "out", more=()):
        named = [f"--run={each}" for each in runs]
        result = run("predict", *named, f"--images={images}", f"--output={output}", *more)
        return result, output

    return go


def test_labels_are_those_of_the_network_on_the_grid_of_the_scan(house, predict):
    result, output = predict(house.a)
    assert result.returncode == 0, result.stderr
    assert "2 segmented, 0 there already, 0 refused" in result.stdout
    (one,) = trained.find_trained(str(house.a))
    dataset = config_of_run(one.config, "a")
    model = one.network.build((32, 32, 1), 3, seed=0)
    models.set_weights(model, load_arrays(one.weights)[0])
    for reader, case in find_scans([str(house.scans)], dataset):
        volume = reader.read(case, with_label=False)
        images = image_to_grid(volume.image, volume.spacing_mm, dataset)[..., np.newaxis]
        logits = keras.ops.convert_to_numpy(model(images, training=False))
        expected = label_from_grid(softmax(logits), volume.image.shape, volume.spacing_mm, dataset)
        stored, scan = nib.load(output / f"{case.case_id}.nii.gz"), nib.load(case.image_path)
        assert volume.axes == (-1, -2, 3)
        np.testing.assert_array_equal(read(stored.get_filename()), expected[::-1, ::-1])
        np.testing.assert_array_equal(stored.affine, scan.affine)
        assert stored.header.get_zooms() == scan.header.get_zooms() and stored.get_data_dtype() == np.uint8
        assert len(np.unique(expected)) == 3


def test_the_orientation_of_the_file_changes_nothing(house, predict, tmp_path):
    for axis in (0, 1, 2):
        trained_runs.flipped(house.scans / "one.nii.gz", tmp_path / "turned" / f"one{axis}.nii.gz", axis)
    _, plain = predict(house.a)
    result, turned = predict(house.a, images=tmp_path / "turned", output=tmp_path / "out2")
    assert result.returncode == 0, result.stderr
    for axis in (0, 1, 2):
        np.testing.assert_array_equal(read(turned / f"one{axis}.nii.gz"), np.flip(read(plain / "one.nii.gz"), axis))


def test_a_repeated_command_segments_what_is_missing(house, predict, monkeypatch):
    finish = stage.Record.finish

    def interrupt(self, case, *rest):
        if case.case_id == "two":
            raise KeyboardInterrupt
        finish(self, case, *rest)

    monkeypatch.setattr(stage.Record, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(house.a)
    monkeypatch.undo()
    result, output = predict(house.a)
    assert "1 segmented, 1 there already" in result.stdout and result.returncode == 0
    (output / "one.nii.gz").unlink()
    times = {path: path.stat().st_mtime_ns for path in output.glob("two*")}
    assert "1 segmented, 1 there already" in predict(house.a)[0].stdout
    assert times == {path: path.stat().st_mtime_ns for path in output.glob("two*")}
    assert "2 segmented" in predict(house.a, more=["--probabilities"])[0].stdout  # these were not there
    record = json.loads((output / "predictions.json").read_text())
    assert record["settings"]["labels"] == {"background": 0, "rv": 1, "lv": 2}
    assert record["settings"]["networks"][0]["name"] == "a" and str(house.root) not in json.dumps(record)
    sums = {name: sha for scan in record["scans"].values() for name, sha in scan["files"].items()}
    assert len(sums) == 4 and all(files.sha256(output / name) == sha for name, sha in sums.items())


def test_nothing_of_others_is_overwritten(house, predict):
    _, output = predict(house.a)
    corrected = (output / "two.nii.gz").read_bytes() + b"\0"
    (output / "two.nii.gz").write_bytes(corrected)
    result, _ = predict(house.a)
    assert result.returncode == 1 and "perhaps corrected by hand" in result.stdout
    assert (output / "two.nii.gz").read_bytes() == corrected
    other, _ = predict(house.trainings / "b")
    assert other.returncode == 1 and "holds predictions of a" in other.stderr and "--output" in other.stderr
    (output / "predictions.json").unlink()
    foreign, _ = predict(house.a)
    assert foreign.returncode == 1 and "another file" in foreign.stdout
    assert (output / "two.nii.gz").read_bytes() == corrected


def test_bad_scans_are_named_and_the_rest_is_done(house, predict, tmp_path):
    folder = tmp_path / "scans"
    shutil.copytree(house.scans, folder)
    whole = (folder / "one.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "other.nii").write_text("no scan")
    result, output = predict(house.a, images=folder)
    assert result.returncode == 1 and "2 segmented, 0 there already, 2 refused" in result.stdout
    assert re.search(r"refused cut: .*cut.nii.gz\n +expected", result.stdout) and "refused other" in result.stdout
    assert {path.name for path in output.glob("*.nii.gz")} == {"one.nii.gz", "two.nii.gz"}
    shutil.copy(folder / "one.nii.gz", folder / "cut.nii.gz")
    (folder / "other.nii").unlink()
    result, _ = predict(house.a, images=folder)
    assert result.returncode == 0 and "1 segmented, 2 there already, 0 refused" in result.stdout


def probabilities(predict, output, *runs, more=()):
    result, folder = predict(*runs, output=output, more=["--probabilities", *more])
    assert result.returncode == 0, result.stderr
    return {name: read(folder / f"{name}_probabilities.nii.gz") for name in ("one", "two")}, folder


def test_several_runs_average_their_probabilities(house, predict, tmp_path):
    one, _ = probabilities(predict, tmp_path / "a", house.a)
    other, _ = probabilities(predict, tmp_path / "b", house.trainings / "b")
    both, folder = probabilities(predict, tmp_path / "both", house.trainings)
    named, _ = probabilities(
        predict, tmp_path / "named", house.a, house.trainings / "b", more=["--probability_bits=16"]
    )
    for name, maps in both.items():
        difference = abs(maps - (one[name] + other[name]) / 2)
        assert difference.mean() < 1e-6 and difference.max() < 2e-3  # ranges of slices are clipped after the mean
        np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(maps.argmax(axis=-1), read(folder / f"{name}.nii.gz"))
        np.testing.assert_allclose(named[name], maps, atol=1e-5)
    assert not np.allclose(one["one"], other["one"], atol=0.05)


def test_an_experiment_predicts_with_all_members_of_its_last_round(house, predict, tmp_path):
    last = house.experiment / "rounds" / "000"
    names = [each.name for each in trained.find_trained(str(house.experiment))]
    assert names == ["experiment/rounds/000/member_0", "experiment/rounds/000/member_1"]
    whole, _ = probabilities(predict, tmp_path / "whole", house.experiment)
    of_round, _ = probabilities(predict, tmp_path / "round", last)
    members = [probabilities(predict, tmp_path / f"{n}", last / f"member_{n}")[0] for n in (0, 1)]
    np.testing.assert_array_equal(whole["one"], of_round["one"])
    np.testing.assert_allclose(whole["one"], (members[0]["one"] + members[1]["one"]) / 2, atol=1e-5)
    by_weights = trained.find_trained(str(last / "member_1" / "checkpoints" / "best.npz"))
    assert [each.path for each in by_weights] == [last / "member_1"]


def test_mirroring_makes_prediction_and_flip_exchangeable(house, predict, tmp_path):
    scans = tmp_path / "scans"
    path = trained_runs.write_scan(scans / "one.nii.gz", shape=(32, 32, 2), spacing=(1.4, 1.4, 8.0))
    trained_runs.flipped(path, scans / "two.nii.gz", 1)
    as_stored = house.root / "as_stored"
    trained_runs.write_training(as_stored, orientation="as_stored", target_resolution=[1.4, 1.4])
    found = {}
    for more in ((), ("--mirroring",)):
        result, output = predict(
            as_stored, images=scans, output=tmp_path / f"out{len(more)}", more=["--probabilities", *more]
        )
        assert result.returncode == 0, result.stderr
        one, two = (read(output / f"{name}_probabilities.nii.gz") for name in ("one", "two"))
        found[more] = abs(np.flip(one, 1) - two).max()
    assert found["--mirroring",] < 1e-5 < 0.05 < found[()]


def test_largest_component_and_label_codes(house, predict, tmp_path):
    mapped = trained_runs.write_training(tmp_path / "mapped", label_map=[[0, 0], [205, 1], [420, 2], [421, 2]])
    _, plain = predict(mapped)
    result, changed = predict(mapped, output=tmp_path / "out2", more=["--largest_component", "--label_codes"])
    assert result.returncode == 0, result.stderr
    for name in ("one", "two"):
        label, codes = read(plain / f"{name}.nii.gz"), read(changed / f"{name}.nii.gz")
        assert set(np.unique(codes)) == {0, 205, 420}
        for value, code in ((1, 205), (2, 420)):
            parts, _ = scipy.ndimage.label(label == value)
            largest = np.bincount(parts[parts > 0]).max()
            assert np.count_nonzero(codes == code) == largest and (label[codes == code] == value).all()
            assert scipy.ndimage.label(codes == code)[1] == 1
    assert json.loads((changed / "predictions.json").read_text())["settings"]["labels"]["lv"] == 420


def test_colour_images(house, predict, tmp_path):
    colour = trained_runs.write_training(tmp_path / "colour", num_channels=3)
    image = np.zeros((32, 30, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rng = np.random.default_rng(0)
    for name in "RGB":
        image[name] = rng.integers(0, 255, image.shape)
    scans = tmp_path / "scans"
    scans.mkdir()
    nib.save(nib.Nifti1Image(image, np.diag([1.5, 1.5, 5, 1])), scans / "rgb.nii.gz")
    shutil.copy(house.scans / "one.nii.gz", scans)
    result, output = predict(colour, images=scans)
    assert result.returncode == 1 and "1 segmented" in result.stdout and "3 channels" in result.stdout
    assert read(output / "rgb.nii.gz").shape == (32, 30, 2)


def test_wrong_commands_are_refused_before_keras_is_needed(house, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(stage.backend, "configure", lambda **_: pytest.fail("Keras is configured"))
    runs = {
        "pretraining": trained_runs.config_of() | {"stage": tiny.GLOBAL},
        "early": trained_runs.config_of(orientation=None),
        "fine": trained_runs.config_of(target_resolution=[1.0, 1.0]),
    }
    for name, config in runs.items():
        files.write_json(tmp_path / name / "config.json", config)
        shutil.copytree(house.a / "checkpoints", tmp_path / name / "checkpoints")
    (tmp_path / "empty").mkdir()
    cases = [
        ((tmp_path / "nothing",), {}, r"expected a run folder .*Found: nothing"),
        ((tmp_path / "pretraining",), {}, r"is a run of pretr_encoder_global_contrastive_loss"),
        ((tmp_path / "early",), {}, r"--orientation=canonical or as_stored"),
        ((house.a, tmp_path / "fine"), {}, r"cannot predict together: target_resolution \[1.5, 1.5\] and \[1.0, 1.0\]"),
        ((house.a,), {"images": tmp_path / "none"}, r"expected a folder, a file \(.*\) or a pattern"),
        ((house.a,), {"images": tmp_path / "empty"}, r"expected: +scans \(.*\n +found: +no volume"),
        ((house.a,), {"more": ["--batch_size=1000000000"]}, r"A batch of 1000000000 slices .*the limit of 2.5 GB"),
        ((house.a,), {"output": house.scans}, r"Choose a folder of its own"),
        ((), {}, r"Add --run="),
    ]
    for named, places, message in cases:
        result, _ = predict(*named, **places)
        assert result.returncode == 1 and re.search(message, result.stderr, re.DOTALL), (message, result.stderr)
    (tmp_path / "twin").mkdir()
    shutil.copy(house.scans / "one.nii.gz", tmp_path / "twin")
    with pytest.raises(ConfigError, match="1 names occur twice"):
        dataset = config_of_run(trained_runs.config_of(), "x")
        find_scans([str(house.scans), str(tmp_path / "twin" / "*.nii.gz")], dataset)
