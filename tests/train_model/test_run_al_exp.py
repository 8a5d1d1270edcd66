"""Experiments of active learning from their file to their report, on the 16 slices of tiny's four pool patients.

Networks have a few channels. Expected values: by hand; runs compared with each other; annotations with the dataset's.
"""

from __future__ import annotations

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from fewslice.active import round_files
from fewslice.core import checkpoint, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.evaluate.scores import VolumeScore
from fewslice.settings import datasets
from tests.scripts.running import run
from tests.train_model import tiny, tiny_al

UNCERTAIN = {"model_uncertainty_type": "ensemble", "score_func": "entropy_w_label_probs"}
SCORES = ("dice", "hd95_mm", "hd95_voxels", "assd_mm", "nsd")
NUMBERS = {f"{role}_{name}" for role in ("val", "test") for name in SCORES}
OF_MEMBERS = NUMBERS | {"best_step", "per_structure", "val_per_structure"}


def header(path):
    return path.read_text().splitlines()[0]


@pytest.fixture(scope="module")
def uncertain(al_settings, tmp_path_factory):
    """Two rounds of two networks, the second queried by their entropy: (function that runs it again, its folder)."""
    root = tmp_path_factory.mktemp("uncertain")

    def go(*more, runs=root / "runs", rounds=tiny_al.THREE[:2]):
        path = tiny_al.write_experiment(
            root / "entropy.yml",
            model={"ensemble_size": 2, "max_iterations": 8},
            policy={"policy_type": "ranked", "rounds": rounds},
            model_uncertainty=UNCERTAIN,
        )
        tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={runs}", *more])
        return tiny.run_dir(runs, tiny_al.SCRIPT)

    return go, go()


def test_files_of_an_experiment(uncertain):
    _, folder = uncertain
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "DONE", "command.txt", "config.json", "logs", "pool.csv", "report.html", "results.csv", "rounds",
        "versions.json",
    }  # fmt: skip
    found = json.loads((folder / "config.json").read_text())
    assert (found["seed"], found["strategy"], found["n_iter"]) == (0, "uncertainty", 2)
    assert header(folder / "pool.csv") == "index,unit_id,patient,volume,position,depth"
    pool = tiny_al.table(folder / "pool.csv")
    assert list(pool[5].values()) == ["5", "002_ED_slice_01", "002", "002_ED", "1", "4"] and len(pool) == 16
    first, second = tiny_al.rounds(folder)
    own = {"plan.json", "query.csv", "labels.npy", "labelled.csv", "gallery.png", "metrics.json", "DONE"}
    assert {path.name for path in first.iterdir()} == own | {"member_0", "member_1"}
    assert {path.name for path in second.iterdir()} == own | {"member_0", "member_1", "scores.csv"}
    assert header(second / "query.csv") == "order,index,unit_id,patient,volume,position,value"
    assert header(second / "scores.csv") == "unit_id,score"
    plan = json.loads((second / "plan.json").read_text())
    assert (plan["fraction"], plan["units"], plan["query"]["strategy"]["name"]) == (0.5, 8, "uncertainty")
    for path, strategy in ((first, "random"), (second, "uncertainty")):
        assert json.loads((path / "plan.json").read_text())["query"]["strategy"]["name"] == strategy
    assert np.load(second / "labels.npy").shape == (4 * 32 * 32,)
    assert "Finished" in (folder / "logs" / "run.log").read_text()


def test_members_and_metrics(uncertain):
    for number, (one, found) in enumerate(
        zip(tiny_al.rounds(uncertain[1]), tiny_al.metrics(uncertain[1]), strict=True)
    ):
        assert set(found) == OF_MEMBERS | {"round", "fraction", "units", "annotated_pixels", "members", "chosen"}
        assert (found["round"], found["units"], len(found["members"])) == (number, 4 * (number + 1), 2)
        assert [member["steps"] for member in found["members"]] == [2 * (number + 1)] * 2
        values = [member["val_dice"] for member in found["members"]]
        assert found["val_dice"] == max(values) == values[found["chosen"]]
        assert set(found["per_structure"]) == {"rv", "lv"}
        assert set(found["per_structure"]["lv"]) == set(SCORES)
        drawn = np.concatenate([np.load(path / "labels.npy") for path in tiny_al.rounds(uncertain[1])[: number + 1]])
        assert found["annotated_pixels"] == (drawn != 3).sum() and 0 < (drawn != 3).mean() < 0.5
        for place in ("val", "test"):
            path = one / "member_1" / "eval" / place / "per_volume.csv"
            assert header(path) == "case_id,patient_id,phase,structure,metric,value,note"
            assert len(tiny_al.table(path)) == {"val": 1, "test": 2}[place] * 2 * 5


@pytest.mark.parametrize("pattern", ["member_1/logs/*.csv", "member_0/eval/test/*.csv", "member_1/eval/val/*.json"])
def test_logs_and_scores_of_members_are_vouched_for(uncertain, tmp_path, pattern):
    folder = shutil.copytree(tiny_al.rounds(uncertain[1])[0], tmp_path / "000")
    round_files.verify(folder)
    path = next(folder.glob(pattern))
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    with pytest.raises(DataError, match=path.name):
        round_files.verify(folder)


def test_the_most_uncertain_are_queried(uncertain):
    first, second = tiny_al.rounds(uncertain[1])
    scores = {row["unit_id"]: float(row["score"]) for row in tiny_al.table(second / "scores.csv")}
    queried = tiny_al.picks(uncertain[1])
    left = sorted(set(scores) - set(queried[0]), key=lambda name: -scores[name])
    assert len(scores) == 16 and queried[1] == left[:4]
    labelled = [(row["unit_id"], row["round"]) for row in tiny_al.table(second / "labelled.csv")]
    assert labelled == [(name, "0") for name in queried[0]] + [(name, "1") for name in queried[1]]


def test_repeated_and_continued(uncertain, tmp_path):
    """The same command does nothing; a round can be added, here one that only queries; none taken away or changed."""
    go, folder = uncertain
    shutil.copytree(folder.parents[2], tmp_path / "runs")
    copy, before = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT), tiny_al.times(folder)
    go()
    assert tiny_al.times(folder) == before
    kept = {path: time for path, time in tiny_al.times(copy).items() if "rounds" in path.parts}
    go(runs=tmp_path / "runs", rounds=[*tiny_al.THREE[:2], [0.125, 0, None, True]])
    after = tiny_al.times(copy)
    assert {path: after[path] for path in kept} == kept
    assert [len(names) for names in tiny_al.picks(copy)] == [4, 4, 2]
    assert (copy / "rounds" / "002" / "scores.csv").exists() and (copy / "DONE").exists()
    with pytest.raises(ConfigError, match="has begun 3 rounds; the experiment has 2 now"):
        go(runs=tmp_path / "runs")
    with pytest.raises(ConfigError, match="units: 10 then, 12 now"):
        go(runs=tmp_path / "runs", rounds=tiny_al.THREE)
    assert tiny_al.times(copy) == after


def change_weights(folder, change):
    """Changes the weights of both networks of round 0 and takes the round after it away."""
    for path in (folder / "rounds" / "000").rglob("best.npz"):
        weights, record = checkpoint.load_arrays(path)
        checkpoint.save_arrays(path, {name: change(name, value) for name, value in weights.items()}, record)
    round_files.finish(folder / "rounds" / "000")
    (folder / "DONE").unlink()
    shutil.rmtree(folder / "rounds" / "001")


def test_equal_scores_are_queried_by_chance_that_repeats(uncertain, tmp_path, monkeypatch):
    """A network without weights is equally uncertain of all slices."""
    from fewslice.learner.learner import Learner

    monkeypatch.setattr(Learner, "__call__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    found = []
    for name in ("one", "other"):
        shutil.copytree(uncertain[1].parents[2], tmp_path / name)
        folder = tiny.run_dir(tmp_path / name, tiny_al.SCRIPT)
        change_weights(folder, lambda _name, value: np.zeros_like(value))
        with pytest.raises(KeyboardInterrupt):
            uncertain[0](runs=tmp_path / name)
        scores = {row["score"] for row in tiny_al.table(folder / "rounds" / "001" / "scores.csv")}
        assert len(scores) == 1
        found.append(tiny_al.picks(folder))
    assert found[0] == found[1] and sorted(found[0][1]) != found[0][1]


def test_NaN_scores_are_refused(uncertain, tmp_path):
    shutil.copytree(uncertain[1].parents[2], tmp_path / "runs")
    folder = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT)
    change_weights(folder, lambda name, value: value * np.nan if name.startswith("main.out") else value)
    with pytest.raises(FewSliceError, match="answer to slice 0 of the pool is not finite"):
        uncertain[0](runs=tmp_path / "runs")
    assert not (folder / "rounds" / "001" / "query.csv").exists()


def test_multi_feature_coreset_on_a_given_encoder(run_al, tmp_path, compiled):
    """Networks are compiled here, as users run them; the encoder is an untrained one, written as its stage does."""
    import models

    dataset_config = datasets.config_dict(datasets.load_dataset_config("tiny"))
    settings = {"encoder": "resnet18", "projection_dim": 64, "stage": tiny.GROUP, "dataset_config": dataset_config}
    files.write_json(tmp_path / "encoder" / "config.json", settings)
    weights = models.read_weights(models.build_group_encoder((32, 32, 1)))
    checkpoint.save_arrays(tmp_path / "encoder" / "checkpoints" / "last.npz", weights, {"step": 4})
    geometry = {
        "data_geometry_type": "kcenter_greedy",
        "feature_model": True,
        "feature_model_params": {"cl_prev_path": str(tmp_path / "encoder"), "fuse_image_data": True},
        "use_labels": True,
    }
    given = {"policy": {"policy_type": "ranked", "rounds": [[0.25, 0]]}, "data_geometry": geometry}
    folder = run_al("mfc", model={"max_iterations": 8}, **given)
    assert json.loads((folder / "rounds" / "000" / "plan.json").read_text())["query"]["strategy"]["name"] == "mfc"
    assert np.load(folder / "cache" / "embeddings.npy").shape == (16, 16)
    assert not (folder.parents[1] / tiny.GROUP).exists(), "nothing was pretrained"
    values = [float(row["value"] or "nan") for row in tiny_al.table(folder / "rounds" / "000" / "query.csv")]
    assert values[1:] == sorted(values[1:], reverse=True) and tiny_al.metrics(folder)[0]["units"] == 4


def paint(folder):
    """Does a person's work: puts the dataset's labels into the slices that were handed out."""
    data = datasets.data_root() / "tiny"
    for row in tiny_al.table(folder / "to_annotate" / "slices.csv"):
        patient = f"patient{row['volume'].split('_')[0]}"
        truth = read_nifti(data / patient / f"{patient}_frame01_gt.nii.gz", is_label=True).array
        back = folder / "annotated" / row["file"]
        image = read_nifti(back if back.exists() else folder / "to_annotate" / row["file"], is_label=True)
        array = np.array(image.array, np.uint8)
        array[..., int(row["slice"])] = truth[..., int(row["slice"])]
        write_nifti(back, array, like=None, affine=image.affine, spacing_mm=image.spacing_mm)


def test_a_person_annotates(run_al, tmp_path, caplog):
    """The images of 32 x 32 mm lie within the scans, so that painted masks are those of the dataset."""
    size = ("--set=target_resolution=1,1",)
    same = {"model": tiny_al.MASKS | {"max_iterations": 4}}
    policy = {"rounds": [[0.25, 0], [0.25, 0]], "ensemble_kwargs": {}}
    simulated = run_al("person", *size, policy=policy, **same, runs=tmp_path / "simulated")
    given = {"policy": policy | {"annotator": "files"}, **same}
    for number in range(2):
        caplog.clear()
        folder = run_al("person", *size, **given)
        assert "wait for their annotation in" in caplog.text and "Repeat this command when they are" in caplog.text
        place = folder / "rounds" / f"{number:03d}"
        assert not (place / "labels.npy").exists() and not (folder / "DONE").exists()
        assert (place / "gallery.png").exists(), "what was chosen can be looked at meanwhile"
        waiting = (place / "gallery.png").read_bytes()
        before = tiny_al.times(place / "to_annotate")
        paint(place)
        if number == 0:
            (kept := sorted((place / "annotated").iterdir())[0]).rename(place / kept.name)
            caplog.clear()
            run_al("person", *size, **given)
            assert f"Not back yet: {kept.name.split('_annotation')[0]}." in caplog.text
            (place / kept.name).rename(kept)
        assert tiny_al.times(place / "to_annotate") == before, "handed out once"
    assert run_al("person", *size, **given) == folder and (folder / "DONE").exists()
    tiny_al.assert_same_experiment(simulated, folder)
    assert (place / "gallery.png").read_bytes() != waiting, "drawn again with the masks"
    with pytest.raises(FewSliceError, match="would delete what a person has annotated, [4-8] files"):
        run_al("person", *size, "--noresume", **given)
    assert (folder / "DONE").exists()
    correct_round_0(lambda *more: run_al("person", *size, *more, **given), folder, caplog)
    with pytest.raises(ConfigError, match="`annotator: simulated` the labels are those of the dataset"):
        run_al("person", *size, "--redo_round=0", policy=policy, **same, runs=tmp_path / "simulated")


def correct_round_0(run, folder, caplog):
    """A corrected file opens its round on request only; what was is kept; a repeated command changes nothing more."""
    first, second = tiny_al.rounds(folder)
    before = {name: (first / name).read_bytes() for name in ("query.csv", "labels.npy", "metrics.json", "DONE")}
    path = sorted((first / "annotated").iterdir())[0]
    image = read_nifti(path, is_label=True)
    array = np.where(image.array == 1, 2, image.array).astype(np.uint8)
    write_nifti(path, array, affine=image.affine, spacing_mm=image.spacing_mm)
    stamp = (first / "labels.npy").stat().st_mtime + 9
    os.utime(path, (stamp, stamp))
    caplog.clear()
    run()
    assert f"{path.name}. --redo_round=0 takes what is there now" in caplog.text and (folder / "DONE").exists()
    run("--redo_round=0")
    kept = folder / "replaced" / "1"
    assert {name: (kept / "000" / name).read_bytes() for name in before} == before
    assert (kept / "000" / "member_0").is_dir() and (kept / "001" / "annotated").is_dir()
    assert (first / "DONE").exists() and (first / "query.csv").read_bytes() == before["query.csv"]
    assert not np.array_equal(np.load(first / "labels.npy"), np.load(kept / "000" / "labels.npy"))
    assert (second / "to_annotate" / "slices.csv").exists() and not (second / "labels.npy").exists(), "it waits again"
    times = tiny_al.times(first)
    caplog.clear()
    run("--redo_round=0")
    assert "Round 0 has the labels of the files" in caplog.text and tiny_al.times(first) == times
    assert not (folder / "replaced" / "2").exists()
    with pytest.raises(ConfigError, match="has not begun this round"):
        run("--redo_round=2")


def test_nothing_everything_and_absent_structures(run_al, tmp_path, monkeypatch):
    """No queried slice shows rv, which the test volumes have; nothing anywhere shows ghost. Round 1 queries nothing."""
    root = tiny.write_dataset(tmp_path / "data")
    for path in sorted((root / "tiny").rglob("*_gt.nii.gz"))[:4]:
        image = read_nifti(path, is_label=True)
        array = np.where(image.array == 1, 0, image.array).astype(np.uint8)
        write_nifti(path, array, like=None, affine=image.affine, spacing_mm=image.spacing_mm)
    text = tiny_al.INIT.replace("num_classes = 3", "num_classes = 4").replace('("rv", "lv")', '("rv", "lv", "ghost")')
    text = text.replace("(0.1, 0.4, 0.5)", "(0.1, 0.3, 0.3, 0.3)")
    (tiny_al.write_settings(tmp_path / "settings") / "init_tiny.py").write_text(text)
    monkeypatch.setenv("FEWSLICE_DATA", str(root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path / "settings"))
    rounds = [[0.25, 0], [0.0, 0], [0.75, 0]]
    folder = run_al("absent", model=tiny_al.MASKS | {"max_iterations": 4}, policy={"rounds": rounds})
    assert [len(names) for names in tiny_al.picks(folder)] == [4, 0, 12]
    found = tiny_al.metrics(folder)
    assert [one["units"] for one in found] == [4, 4, 16]
    assert [one["annotated_pixels"] for one in found] == [4 * 32 * 32, 4 * 32 * 32, 16 * 32 * 32]
    for one in found:
        rv, ghost = one["per_structure"]["rv"], one["per_structure"]["ghost"]
        assert 0 <= rv["dice"] <= 1 and ghost["dice"] in (None, 0.0) and ghost["hd95_mm"] is None
        assert 0 <= one["val_dice"] <= 1 and 0 <= one["test_dice"] <= 1
    assert (folder / "report.html").exists() and not (folder / "rounds" / "001" / "gallery.png").exists()


def test_numbers_of_absent_structures_by_hand():
    """a: 0.5 and absent; b: missed in both volumes; c: nowhere."""
    from fewslice.learner.learner import summary

    nan = np.nan
    scores = [
        VolumeScore("1", "1", "", np.array([1, 0.5, 0, nan]), *[np.array([2.0, nan, nan])] * 4, ("",) * 3),
        VolumeScore("2", "2", "", np.array([1, nan, 0, nan]), *[np.array([nan, nan, nan])] * 4, ("",) * 3),
    ]
    dataset = SimpleNamespace(struct_name=("a", "b", "c"), metrics=(), score_groups="")
    found = json.loads(files.to_json(summary(scores, dataset, prefix="test")))
    assert found["test_dice"] == (0.25 + 0) / 2 and found["test_hd95_mm"] == 2.0 and "test_per_group" not in found
    distances = ("hd95_mm", "hd95_voxels", "assd_mm", "nsd")
    assert found["per_structure"] == {
        "a": {"dice": 0.5, **dict.fromkeys(distances, 2.0)},
        "b": {"dice": 0.0, **dict.fromkeys(distances)},
        "c": {"dice": None, **dict.fromkeys(distances)},
    }


def test_scores_of_objects_of_both_parts_of_a_test_by_hand():
    """The challenge's scores and the pooled pixels: of test A, of test B, and of both."""
    from fewslice.learner.learner import summary

    def score(name, dice, f1, far, common, both):
        values = {"object_f1": f1, "object_dice": f1, "object_hausdorff_voxels": far, "pixel_dice": dice}
        values |= {"pixels_common": common, "pixels_both": both}
        further = {key: np.array([value]) for key, value in values.items()}
        return VolumeScore(name, name, "", np.array([1, dice]), *[np.array([1.0])] * 4, ("",), further)

    scores = [score("testA_1", 0.8, 1.0, 4, 40, 100), score("testA_2", 0.6, 0.5, 8, 3, 10)]
    scores.append(score("testB_1", 0.4, 0.0, np.nan, 20, 100))
    dataset = SimpleNamespace(struct_name=("gland",), metrics=("pixels", "objects"), score_groups="(testA|testB)_.*")
    found = json.loads(files.to_json(summary(scores, dataset, prefix="test")))
    names = ("dice", "object_f1", "object_hausdorff_voxels", "pooled_pixel_dice")
    numbers = [found[f"test_{name}"] for name in names]
    assert numbers == pytest.approx([0.6, 0.5, 6, 126 / 210])
    groups = {name: [part[each] for each in names] for name, part in found["test_per_group"].items()}
    assert groups["testA"] == pytest.approx([0.7, 0.75, 6, 86 / 110])
    assert groups["testB"] == [0.4, 0.0, None, 0.4] and found["per_structure"]["gland"]["object_dice"] == 0.5


def test_predict_repeats_the_predictions_of_a_member(uncertain, tiny_root, tmp_path):
    member = uncertain[1] / "rounds" / "001" / "member_1"
    scan = tmp_path / "006_ED.nii.gz"
    (scans,) = (tiny_root / "tiny" / "patient006").glob("*frame01.nii.gz")
    shutil.copy(scans, scan)
    for named, output in ((member, tmp_path / "member"), (uncertain[1], tmp_path / "all")):
        result = run("predict", f"--run={named}", f"--images={scan}", f"--output={output}")
        assert result.returncode == 0, result.stderr
    expected = member / "eval" / "test" / "predictions" / scan.name
    assert (tmp_path / "member" / scan.name).read_bytes() == expected.read_bytes()
    record = json.loads((tmp_path / "all" / "predictions.json").read_text())
    assert [each["name"][-19:] for each in record["settings"]["networks"]] == [
        "rounds/001/member_0", "rounds/001/member_1",
    ]  # fmt: skip
