"""Prediction of new scans, and the exported folder, which gives the same.

Networks have random weights, so that labels show every class; where the network does not matter, thresholds of the
image take its place. Expected values: the network itself, called on the prepared slices; predictions compared with
each other.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import keras
import nibabel as nib
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

import models
from fewslice.api.networks import load_network
from fewslice.core import backend, files
from fewslice.core.checkpoint import load_arrays
from fewslice.core.errors import ConfigError
from fewslice.data import preprocess
from fewslice.data.io import geometry
from fewslice.data.readers.loose import find_scans
from fewslice.data.segment import segment
from fewslice.data.volume import image_to_grid, label_from_grid
from fewslice.export import runner
from fewslice.learner import learner, trained
from fewslice.settings.datasets import config_of_run
from fewslice.stages import export as export_stage
from fewslice.stages import predict as stage
from fewslice.train.predict import ensemble, sliding_window, softmax
from tests.scripts import trained_runs
from tests.scripts.running import run
from tests.scripts.trained_runs import read
from tests.train_model import tiny

SCANS = ("one", "two", "three")  # three is one, stored with other axes


def thresholds(images):
    """Class probabilities that follow from the intensities, in place of a network."""
    first = images[..., 0] - images[..., 1:].sum(axis=-1)
    return softmax(np.stack([-first, -abs(first - 0.2), -abs(first - 0.9)], axis=-1) * 9).astype(np.float32)


@pytest.fixture
def predict(house, tmp_path):
    """A function (run, *flags) that segments the scans. Returns what the script did, and the folder."""

    def go(*runs, images=house.scans, output=tmp_path / "out", more=()):
        named = [f"--run={each}" for each in runs]
        return run("predict", *named, f"--images={images}", f"--output={output}", *more), output

    return go


@pytest.fixture
def quick(monkeypatch):
    """No network is loaded: `thresholds` take its place."""
    monkeypatch.setattr(stage, "_load", lambda *_: thresholds)


@pytest.fixture(scope="module")
def maps(house, tmp_path_factory):
    """A function (*runs) -> name of a scan -> probabilities, and the folder; each is done once."""

    @functools.cache
    def go(*runs, images=house.scans):
        output = tmp_path_factory.mktemp("maps")
        flags = [f"--run={each}" for each in runs]
        result = run("predict", *flags, f"--images={images}", f"--output={output}", "--probabilities")
        assert result.returncode == 0, result.stderr
        ends = "_probabilities.nii.gz"
        return {path.name.removesuffix(ends): read(path) for path in output.glob(f"*{ends}")}, output

    return go


def test_labels_are_those_of_the_network_on_the_grid_of_the_scan(house, maps):
    found, output = maps(house.a)
    (one,) = trained.find_trained(str(house.a))
    dataset = config_of_run(one.config, "a")
    model = learner.load_part(one, dataset)
    arrays, weights = load_arrays(one.weights)[0], models.read_weights(model)
    assert arrays.keys() == weights.keys() and all((weights[name] == array).all() for name, array in arrays.items())
    for reader, case in find_scans([str(house.scans)], dataset):
        volume = reader.read(case, with_label=False)
        images = image_to_grid(volume.image, volume.spacing_mm, dataset)[..., np.newaxis]
        logits = keras.ops.convert_to_numpy(model(images, training=False))
        expected = label_from_grid(softmax(logits), volume.image.shape, volume.spacing_mm, dataset)
        stored, scan = nib.load(output / f"{case.case_id}.nii.gz"), nib.load(case.image_path)
        label = read(stored.get_filename())
        np.testing.assert_array_equal(label, geometry.turned(expected, geometry.inverse(volume.axes)))
        np.testing.assert_array_equal(found[case.case_id].argmax(axis=-1), label)
        np.testing.assert_allclose(found[case.case_id].sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(stored.affine, scan.affine)
        assert stored.header.get_zooms() == scan.header.get_zooms() and stored.get_data_dtype() == np.uint8
        assert len(np.unique(expected)) == 3
    turned = geometry.turned(read(output / "one.nii.gz"), (2, -1, -3))
    np.testing.assert_array_equal(read(output / "three.nii.gz"), turned)


def test_a_repeated_command_segments_what_is_missing(house, predict, monkeypatch, quick):
    finish = stage.Record.finish

    def interrupt(self, case, *rest):
        if case.case_id == "three":
            raise KeyboardInterrupt
        finish(self, case, *rest)

    monkeypatch.setattr(stage.Record, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(house.a)
    monkeypatch.setattr(stage.Record, "finish", finish)
    result, output = predict(house.a)
    assert "2 segmented, 1 there already, 0 refused" in result.stdout and result.returncode == 0
    (output / "one.nii.gz").unlink()
    times = {path: path.stat().st_mtime_ns for path in output.glob("t*")}
    assert "1 segmented, 2 there already" in predict(house.a)[0].stdout
    assert times == {path: path.stat().st_mtime_ns for path in output.glob("t*")}
    assert "3 segmented" in predict(house.a, more=["--probabilities"])[0].stdout  # these were not there
    record = json.loads((output / "predictions.json").read_text())
    assert record["settings"]["labels"] == {"background": 0, "rv": 1, "lv": 2}
    assert record["settings"]["networks"][0]["name"] == "a" and str(house.root) not in json.dumps(record)
    sums = {name: sha for scan in record["scans"].values() for name, sha in scan["files"].items()}
    assert len(sums) == 6 and all(files.sha256(output / name) == sha for name, sha in sums.items())


def test_nothing_of_others_is_overwritten(house, predict, monkeypatch, quick):
    def interrupt(*_, **__):
        (house.root / "late").write_text("")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "segment", interrupt)
        predict(house.a)
    output = predict(house.a, images=house.scans / "one.nii.gz")[1]
    (output / "two.nii.gz").write_text("written by hand after the interruption")
    result, _ = predict(house.a)
    assert result.returncode == 1 and "another file" in result.stdout and "2 segmented" not in result.stdout
    assert (output / "two.nii.gz").read_text() == "written by hand after the interruption"
    corrected = (output / "one.nii.gz").read_bytes() + b"\0"
    (output / "one.nii.gz").write_bytes(corrected)
    result, _ = predict(house.a)
    assert result.returncode == 1 and "perhaps corrected by hand" in result.stdout
    other, _ = predict(house.trainings / "b")
    assert other.returncode == 1 and "holds predictions of a" in other.stderr and "--output" in other.stderr
    (output / "predictions.json").unlink()
    foreign, _ = predict(house.a)
    assert foreign.returncode == 1 and "another file" in foreign.stdout
    assert (output / "one.nii.gz").read_bytes() == corrected


def test_bad_scans_are_named_and_the_rest_is_done(house, predict, tmp_path, quick):
    folder = tmp_path / "scans"
    shutil.copytree(house.scans, folder)
    whole = (folder / "one.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "other.nii").write_text("no scan")
    result, output = predict(house.a, images=folder)
    assert result.returncode == 1 and "3 segmented, 0 there already, 2 refused" in result.stdout
    assert re.search(r"refused cut: .*cut.nii.gz\n +expected", result.stdout) and "refused other" in result.stdout
    assert {path.name for path in output.glob("*.nii.gz")} == {f"{name}.nii.gz" for name in SCANS}
    shutil.copy(folder / "one.nii.gz", folder / "cut.nii.gz")
    (folder / "other.nii").unlink()
    result, _ = predict(house.a, images=folder)
    assert result.returncode == 0 and "1 segmented, 3 there already, 0 refused" in result.stdout


def test_a_changed_series_is_another_content(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    before = stage._sha256(tmp_path)
    (tmp_path / "b").write_text("other")
    assert before and before != stage._sha256(tmp_path) and not stage._sha256(tmp_path / "nothing")


def test_several_runs_average_their_probabilities(house, maps):
    scan = house.scans / "three.nii.gz"
    one, members = maps(house.a)[0]["three"], maps(house.experiment, images=scan)[0]["three"]
    found, folder = maps(house.a, house.experiment, images=scan)
    difference = abs(found["three"] - (one + 2 * members) / 3)  # at the edges values are clipped after the mean
    assert difference.mean() < 1e-3 and difference[2:-2, 2:-2].max() < 1e-5
    np.testing.assert_array_equal(found["three"].argmax(axis=-1), read(folder / "three.nii.gz"))
    assert not np.allclose(one, members, atol=0.05)
    runs, _ = trained.open_runs([str(house.trainings), str(house.a), str(house.trainings / "b")])
    assert [each.name for each in runs] == ["a", "b"]  # what is named twice counts once


def test_an_experiment_predicts_with_all_members_of_its_last_round(house):
    last = house.experiment / "rounds" / "000"
    places = (house.experiment, last, last / "member_1", last / "member_1" / "checkpoints" / "best.npz")
    names = [[each.name for each in trained.find_trained(str(place))] for place in places]
    members = [f"experiment/rounds/000/member_{number}" for number in (0, 1)]
    assert names == [members, members, members[1:], members[1:]]
    named = shutil.copy(places[-1], places[-1].with_name("last.npz"))
    assert [each.weights for each in trained.find_trained(str(named))] == [named]
    named.unlink()
    with pytest.raises(ConfigError, match="no such member, only 0 to 1"):
        trained.find_trained(str(last / "member_7"))


def test_mirroring_makes_prediction_and_flip_exchangeable():
    images = np.random.default_rng(0).random((3, 8, 6, 1), np.float32)

    def shifted(batch, step=1):
        return thresholds(np.roll(batch, step, axis=(1, 2)))

    for call in (shifted, functools.partial(shifted, step=2)):
        for axes in ((1,), (2,), (1, 2)):
            plain, whole = ([np.flip(each(images), axes), each(np.flip(images, axes))] for each in (
                call, ensemble([call], mirroring=True)
            ))  # fmt: skip
            np.testing.assert_allclose(*whole, atol=1e-6)
            assert abs(plain[0] - plain[1]).max() > 0.05
    both = ensemble([shifted, functools.partial(shifted, step=2)])(images)
    np.testing.assert_allclose(both, (shifted(images) + shifted(images, 2)) / 2, atol=1e-6)


def test_largest_component_and_label_codes(house, predict, tmp_path, quick):
    mapped = trained_runs.like(house.a, tmp_path / "mapped", label_map=[[0, 0], [205, 1], [420, 2], [421, 2]])
    _, plain = predict(mapped)
    result, changed = predict(mapped, output=tmp_path / "out2", more=["--largest_component", "--label_codes"])
    assert result.returncode == 0, result.stderr
    for name in SCANS:
        label, codes = read(plain / f"{name}.nii.gz"), read(changed / f"{name}.nii.gz")
        assert set(np.unique(codes)) == {0, 205, 420}
        for value, code in ((1, 205), (2, 420)):
            parts, _ = scipy.ndimage.label(label == value)
            largest = np.bincount(parts[parts > 0]).max()
            assert np.count_nonzero(codes == code) == largest and (label[codes == code] == value).all()
            assert scipy.ndimage.label(codes == code)[1] == 1
    assert json.loads((changed / "predictions.json").read_text())["settings"]["labels"]["lv"] == 420


def write_colours(path, shape=(32, 30, 2)):
    image, rng = np.zeros(shape, [(name, "u1") for name in "RGB"]), np.random.default_rng(0)
    for name in "RGB":
        image[name] = rng.integers(0, 255, shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, np.diag([1.5, 1.5, 5, 1])), path)


def test_colour_images(house, predict, tmp_path, quick):
    colour = trained_runs.like(house.a, tmp_path / "colour", num_channels=3)
    scans = tmp_path / "scans"
    write_colours(scans / "rgb.nii.gz")
    shutil.copy(house.scans / "one.nii.gz", scans)
    result, output = predict(colour, images=scans)
    assert result.returncode == 1 and "1 segmented" in result.stdout and "3 channels" in result.stdout
    assert read(output / "rgb.nii.gz").shape == (32, 30, 2)


def test_wrong_commands_are_refused_before_keras_is_needed(house, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "configure", lambda **_: pytest.fail("Keras is configured"))
    runs = {
        "pretraining": trained_runs.config_of() | {"stage": tiny.GLOBAL},
        "early": trained_runs.config_of(orientation=None),
        "fine": trained_runs.config_of(target_resolution=[1.0, 1.0]),
        "twins": trained_runs.config_of(label_map=[[2, 1]]),
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
        ((tmp_path / "twins",), {"more": ["--label_codes"]}, r"two classes would have one code"),
        ((house.a,), {"images": tmp_path / "none"}, r"expected a folder, a file \(.*\) or a pattern"),
        ((house.a,), {"images": tmp_path / "empty"}, r"expected: +scans \(.*\n +found: +no volume"),
        ((house.a,), {"output": house.scans / ".." / "scans"}, r"Choose a folder of its own"),
        ((house.a,), {"more": ["--batch_size=1000000000"]}, r"A batch of 1000000000 slices .*the limit of 2.5 GB"),
        ((house.a,), {"more": ["--passes=2"]}, r"--passes=2: a predicts in one pass without dropout"),
        ((), {}, r"Add --run="),
    ]
    for named, places, message in cases:
        result, _ = predict(*named, **places)
        assert result.returncode == 1 and re.search(message, result.stderr, re.DOTALL), (message, result.stderr)
    (tmp_path / "two").mkdir()
    for path in (house.a, tmp_path / "fine"):
        shutil.copytree(path, tmp_path / "two" / path.name)
    with pytest.raises(ConfigError, match="cannot predict together"):
        load_network(tmp_path / "two")  # from Python
    (tmp_path / "twin").mkdir()
    shutil.copy(house.scans / "one.nii.gz", tmp_path / "twin")
    with pytest.raises(ConfigError, match="1 names occur twice"):
        dataset = config_of_run(trained_runs.config_of(), "x")
        find_scans([str(house.scans), str(tmp_path / "twin" / "*.nii.gz")], dataset)


# ---- The exported folder


@pytest.fixture
def program(monkeypatch):
    """A function folder -> its program as a module."""

    def go(folder):
        monkeypatch.syspath_prepend(folder)
        spec = importlib.util.spec_from_file_location("exported_predict", folder / "predict.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield go
    for name in [name for name in sys.modules if name.startswith(export_stage.PROGRAM)]:
        del sys.modules[name]


@pytest.fixture
def quick_export(house, tmp_path, monkeypatch):
    """A function (run, *flags) that exports, without the networks, to tmp_path / "export"."""
    network = SimpleNamespace(save=lambda path: path.write_text("network"))
    monkeypatch.setattr(learner, "load_part", lambda *_: None)
    monkeypatch.setattr(models, "standard_network", lambda _: network)
    monkeypatch.setattr(export_stage.importlib.util, "find_spec", lambda _: None)
    return lambda named, *flags: run("export_run", f"--run={named}", f"--output={tmp_path / 'export'}", *flags)


def test_the_folder_predicts_as_predict_does(house, maps, tmp_path, program):
    folder = tmp_path / "export"
    result = run("export_run", f"--run={house.a}", f"--run={house.experiment}", f"--output={folder}")
    assert result.returncode == 0 and "Exported: " in result.stdout, result.stderr
    scan = house.scans / "three.nii.gz"
    given = ["--images", str(scan), "--output", str(tmp_path / "out"), "--probabilities", "--engine=keras"]
    assert program(folder).main(given) == 0
    expected, ours = maps(house.a, house.experiment, images=scan)
    np.testing.assert_allclose(read(tmp_path / "out" / "three_probabilities.nii.gz"), expected["three"], atol=1e-4)
    found = [nib.load(place / "three.nii.gz") for place in (ours, tmp_path / "out")]
    np.testing.assert_array_equal(*(np.asarray(each.dataobj) for each in found))
    assert found[0].header == found[1].header
    for number in range(3):
        with zipfile.ZipFile(folder / f"network_{number}.keras") as archive:
            text = archive.read("config.json").decode()
        assert "fewslice" not in text and str(house.root) not in text


def test_onnx_predicts_as_predict_does(house, maps, tmp_path, program):
    """Where the extra is installed."""
    for name in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(name)
    folder, scan = tmp_path / "export", house.scans / "three.nii.gz"
    result = run("export_run", f"--run={house.a}", f"--run={house.experiment}", f"--output={folder}")
    assert "Written for Keras and as ONNX." in result.stderr and "opset" not in result.stderr
    given = ["--images", str(scan), "--output", str(tmp_path / "out"), "--probabilities", "--engine=onnx"]
    assert program(folder).main(given) == 0
    expected, ours = maps(house.a, house.experiment, images=scan)
    np.testing.assert_allclose(read(tmp_path / "out" / "three_probabilities.nii.gz"), expected["three"], atol=1e-4)
    np.testing.assert_array_equal(read(tmp_path / "out" / "three.nii.gz"), read(ours / "three.nii.gz"))


def test_pictures_of_any_size_by_a_network_with_dropout(small_networks, tmp_path, program, monkeypatch):
    monkeypatch.setattr(models.strided_unet, "LEVELS", 3)
    scans, folder, experiment = (tmp_path / name for name in ("scans", "export", "experiment"))
    settings = {"num_channels": 3, "grid": "native", "target_resolution": [], "intensity": "divide_by_255"}
    network = {"name": "strided_unet", "options": {"width": 2, "passes": 2}}
    model = models.build_strided_unet((None, None, 3), 3, width=2)
    trained_runs.write_experiment(experiment, [model], network, **settings)
    for seed, size in enumerate([(33, 50), (40, 31)]):
        trained_runs.write_picture(scans / f"{seed}.bmp", size, seed)
    result = run("export_run", f"--run={experiment}", f"--output={folder}")
    assert "exported without dropout, as predict.py predicts with --passes=0" in result.stderr
    places = [f"--images={scans}", f"--output={tmp_path / 'ours'}", "--probabilities", "--passes=0"]
    result = run("predict", f"--run={experiment}", *places)
    assert "2 segmented" in result.stdout, result.stderr
    theirs = ["--images", str(scans), "--output", str(tmp_path / "theirs"), "--probabilities", "--engine=keras"]
    assert program(folder).main(theirs) == 0
    for name in ("0", "1"):
        maps, masks = (
            [tmp_path / place / f"{name}{end}" for place in ("ours", "theirs")]
            for end in ("_probabilities.nii.gz", ".png")
        )
        np.testing.assert_allclose(*map(read, maps), atol=1e-4)
        ours, others = (np.asarray(Image.open(path)) for path in masks)
        np.testing.assert_array_equal(ours, others)
        assert len(np.unique(ours)) > 1


def test_what_the_folder_holds(house, quick_export, tmp_path):
    output = tmp_path / "export"
    result = quick_export(house.a, "--largest_component")
    assert result.returncode == 0 and result.stderr.count("No ONNX files: tf2onnx is not installed") == 1
    assert {path.name for path in output.iterdir()} == {
        "README.md", "network_0.keras", "predict.py", "settings.json", export_stage.PROGRAM,
    }  # fmt: skip
    settings = json.loads((output / "settings.json").read_text())
    assert settings["networks"][0]["name"] == "a" and settings["largest_component"] and not settings["mirroring"]
    readme = (output / "README.md").read_text()
    assert "1 rv, 2 lv" in readme and "no .onnx files" in readme
    texts = [path.read_text() for path in output.rglob("*") if path.suffix in (".md", ".json", ".py")]
    assert len(texts) > 10 and not [text for text in texts if str(house.root) in text or str(tmp_path) in text]
    assert settings["sha256"].keys() == {
        path.relative_to(output).as_posix() for path in output.rglob("*.*") if path.name != "settings.json"
    }
    times = [path.stat().st_mtime_ns for path in sorted(output.rglob("*"))]
    again = quick_export(house.a, "--largest_component")
    assert again.returncode == 0 and "Already exported" in again.stderr
    assert times == [path.stat().st_mtime_ns for path in sorted(output.rglob("*"))]
    other = quick_export(house.trainings / "b")
    assert other.returncode == 1 and "is there and is not this export" in other.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["export"], result.stderr


def test_of_an_ensemble_all_networks_are_onnx_or_none(house, quick_export, tmp_path, monkeypatch):
    def write(network, path):
        path.write_text("onnx")
        return "refused" if path.name == "network_0.onnx" else ""

    monkeypatch.setattr(export_stage, "_write_onnx", write)
    assert quick_export(house.experiment).returncode == 0
    assert not list((tmp_path / "export").glob("*.onnx"))
    assert "no .onnx files" in (tmp_path / "export" / "README.md").read_text()


def test_the_program_needs_numpy_and_nibabel_alone(house, predict, quick_export, tmp_path, quick):
    """In another process, which lacks our packages and SciPy; thresholds in place of Keras."""
    quick_export(house.a, "--largest_component")
    (tmp_path / "keras.py").write_text(
        "from types import SimpleNamespace\nimport numpy as np\n"
        "def predict_on_batch(images):\n    x = images[..., 0]\n"
        "    return np.stack([-x, -abs(x - 0.2), -abs(x - 0.9)], axis=-1) * 9\n"
        "network = SimpleNamespace(predict_on_batch=predict_on_batch)\n"
        "saving = SimpleNamespace(load_model=lambda path, compile: network)\n"
    )
    lacking = ("scipy", "absl", "fewslice", "models", "tensorflow", "skimage", "yaml", "pydantic", "annotated_types")
    lacking += ("PIL",)
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({lacking}))\nsys.path.insert(0, {str(tmp_path / 'export')!r})\n"
        "import predict\nsys.exit(predict.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--images", str(house.scans), "--output", str(tmp_path / "theirs")]
    found = subprocess.run(
        [*command, "--probabilities"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    _, ours = predict(house.a, more=["--largest_component", "--probabilities"])
    for path in ours.glob("*.nii.gz"):
        np.testing.assert_allclose(read(tmp_path / "theirs" / path.name), read(path), atol=1e-5)


def test_the_program_names_bad_scans_and_keeps_what_is_there(house, quick_export, tmp_path, capsys, program):
    quick_export(house.a)
    module = program(tmp_path / "export")
    module.load = lambda *_: thresholds
    folder, output = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    whole = (house.scans / "one.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii").write_text("no scan")
    write_colours(folder / "two_channels.nii.gz", (8, 8, 2))
    nib.save(nib.Nifti1Image(np.full((8, 8, 2), np.nan), np.eye(4)), folder / "nan.nii.gz")
    nib.save(nib.Nifti1Image(np.full((8, 8, 2), 3.0), np.eye(4)), folder / "flat.nii.gz")
    for name in ("one", "new"):
        shutil.copy(house.scans / "one.nii.gz", folder / f"{name}.nii.gz")
    output.mkdir()
    (output / "one.nii.gz").write_text("of somebody else")
    given = ["--images", str(folder), "--output", str(output)]
    assert module.main(given) == 1
    said = capsys.readouterr()
    for text in ("cut.nii.gz\n  expected", "text.nii\n  expected", "nan.nii.gz\n  expected"):
        assert text in said.err
    assert "s; the image is constant (3) and becomes zero\n" in said.out
    assert "one: there already" in said.out and (output / "one.nii.gz").read_text() == "of somebody else"
    assert (output / "new.nii.gz").is_file() and "Traceback" not in said.err


@pytest.mark.parametrize(
    "given, message",
    [
        (["--images", "empty"], "Other formats (.nrrd, .mha, DICOM) are not read here"),
        (["--images", "a", "b"], "have one name"),
        (["--images", "channels"], "may be channels of one scan"),
        (["--images", "a", "--output", "a"], "Choose a folder of its own"),
        (["--images", "a", "--engine", "onnx"], "pip install"),
        (["--images", "a", "--engine", "keras"], "the network as it was exported"),
        (["--images", "[c]hannels/x_0000.nii", "--engine", "onnx"], "pip install"),
        (["--images", "[n]othing/*.nii"], "expected a scan"),
        (["--images", "a", "--batch_size", "0"], "must be 1 or more"),
        (["--images", "a", "--batch_size", "9999999"], "GB are more than the limit of 2.5 GB (--max_gb). Choose less"),
    ],
)
def test_messages_of_the_program(tmp_path, monkeypatch, capsys, given, message):
    for path in ("a/x.nii", "b/x.nii", "channels/x_0000.nii", "channels/x_0001.nii", "empty/x.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    settings = stage.preparation(config_of_run(trained_runs.config_of(), "x"))
    (tmp_path / "network_0.keras").write_text("damaged")
    settings |= {"networks": [{"file": "network_0"}], "batch_size": 2, "sha256": {}, "versions": {}}
    settings |= dict.fromkeys(runner.OPTIONS, False)
    files.write_json(tmp_path / "settings.json", settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "__file__", str(tmp_path / "predict.py"))
    given = given if "--output" in given else [*given, "--output", "out"]
    try:
        assert runner.main(given) == 1
    except SystemExit as error:
        assert error.code == 2
    assert message in capsys.readouterr().err


VARIANTS = {
    "resampled": {},
    "as stored": {"orientation": "as_stored"},
    "not smoothed": {"anti_aliasing": "off", "percentiles": [2, 97], "target_resolution": [3.0, 2.0]},
    "padded": {"target_resolution": [0.9, 2.5], "img_size_y": 64},
    "stretched": {"grid": "stretch", "target_resolution": [], "img_size_x": 64},
    "native": {"grid": "native", "target_resolution": [], "intensity": "as_stored"},
    "second channel": {"image_channel": 1},
    "colours": {"num_channels": 3},
    "two channels": {"num_channels": 2},
    "pictures": {"num_channels": 3, "grid": "native", "target_resolution": [], "intensity": "divide_by_255"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_program_prepares_as_the_library_does(house, tmp_path, name, monkeypatch):
    """Every setting of the preparation, through settings.json, and with whole matrices as where SciPy is missing."""
    orientation = VARIANTS[name].get("orientation", "canonical")
    changes = {key: value for key, value in VARIANTS[name].items() if key != "orientation"}
    dataset = config_of_run(trained_runs.config_of(orientation, **changes), "x")
    scans = tmp_path / "scans"
    rng = np.random.default_rng(0)
    if name == "colours":
        write_colours(scans / "a.nii.gz")
    elif name == "pictures":
        trained_runs.write_picture(scans / "a.png")
    else:
        shape = (30, 34, 2, 2) if "channel" in name else (30, 34, 2)
        image = rng.gamma(2.0, 60.0, shape).astype(np.int16)
        image[:6] = -2000  # a scanner's padding
        file = nib.Nifti1Image(image, np.diag([-1.3, 1.4, 5, 1]))
        file.header.set_slope_inter(0.37, -12.5)
        scans.mkdir()
        nib.save(file, scans / "a.nii.gz")
        nib.save(
            nib.Nifti1Image(image[:, :, :1] if image.ndim == 3 else image, np.diag([-1.3, 1.4, 5, 1])),
            scans / "single.nii.gz",
        )
    settings = json.loads(json.dumps(stage.preparation(dataset)))
    theirs = SimpleNamespace(**settings, size=(settings["img_size_x"], settings["img_size_y"]))
    for reader, case in find_scans([str(scans)], dataset):
        volume = reader.read(case, with_label=False)
        expected = segment(volume, thresholds, dataset, with_maps=True)
        with monkeypatch.context() as patch:
            patch.setattr(preprocess, "Matrix", np.asarray)
            preprocess.resize_matrix.cache_clear()
            other = runner.read_scan(case.image_path, theirs)
            label, maps = segment(other, thresholds, theirs, with_maps=True)
        preprocess.resize_matrix.cache_clear()
        assert other.axes == volume.axes and other.spacing_mm == volume.spacing_mm
        np.testing.assert_array_equal(label, expected[0])
        np.testing.assert_allclose(maps, expected[1], atol=1e-6)


def test_networks_of_windows_are_run_in_the_folder(tmp_path, monkeypatch):
    image = np.random.default_rng(0).random((5, 9, 7, 1), np.float32)

    def network(batch):
        return np.concatenate([batch, batch**2, np.roll(batch, 1, axis=2)], axis=-1)

    session = SimpleNamespace(
        run=lambda _, given: [network(given["x"])], get_inputs=lambda: [SimpleNamespace(name="x")]
    )
    onnxruntime = SimpleNamespace(
        InferenceSession=lambda path, providers: session, get_available_providers=lambda: ["CPU"], __spec__=True
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)
    (tmp_path / "network_0.onnx").write_text("")
    settings = {"networks": [{"file": "network_0", "window": [3, 4, 4]}], "batch_size": 2, "mirroring": False}
    settings["sha256"] = {"network_0.onnx": files.sha256(tmp_path / "network_0.onnx")}
    found = runner.load(tmp_path, settings, "onnx")(image)
    np.testing.assert_allclose(found, sliding_window(network, image, (3, 4, 4), batch_size=2), atol=1e-6)
