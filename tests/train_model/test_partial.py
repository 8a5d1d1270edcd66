"""Trainings on labels that are known in part, on tiny patients of whom one slice each is annotated.

Expected values: runs compared with each other; what is annotated, by hand.
"""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml

from fewslice.core.errors import ConfigError
from tests.train_model import tiny, tiny_al

IGNORE = 9


def painted(root, folder):
    """A copy of the tiny dataset whose patients are annotated in slice 1 alone, and have no test list."""
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns("cropped"))
    for path in folder.rglob("*_gt.nii.gz"):
        label = nib.load(path)
        codes = np.full(label.shape, IGNORE, np.uint8)
        codes[..., 1] = np.asarray(label.dataobj)[..., 1]
        nib.save(nib.Nifti1Image(codes, None, label.header), path)
    init, lists = (folder / "experiments" / f"{name}_tiny.py" for name in ("init", "data_cfg"))
    init.write_text(f"{init.read_text()}ignore_label = {IGNORE}\n")
    lists.write_text(
        'train = {"tr1": {"c1": ["001", "002"]}, "tr4": {"*": ["001", "002", "003", "004"]}}\n'
        'train["al"] = {"*": ["001", "002", "003"]}\n'
        'val = {"tr1": {"*": ["005"]}, "al": {"*": ["005"]}}\n'
        'test = []\nunlabeled = ("tr4",)\n'
    )
    return folder


@pytest.fixture(scope="module")
def partial_root(tiny_root, tmp_path_factory):
    return painted(tiny_root, tmp_path_factory.mktemp("partial") / "root")


@pytest.fixture
def on_partial(partial_root, monkeypatch, tmp_path):
    """A function (script, *flags) that runs it on the partly annotated dataset and returns its run directory."""
    for name, value in tiny.environment(partial_root).items():
        monkeypatch.setenv(name, value)

    def run(script, *more):
        tiny.execute(script, tiny.arguments(script, tmp_path / "runs", *more))
        return tiny.run_dir(tmp_path / "runs", script)

    return run


def test_full_labels_with_an_ignore_label_give_the_same_weights(run_script, trained_baseline):
    run = run_script(tiny.BASELINE, f"--set=ignore_label={IGNORE}")
    assert run.name != trained_baseline.name
    tiny.assert_same_run(run, trained_baseline)


def test_the_baseline_trains_and_is_scored_where_slices_are_annotated(on_partial, caplog):
    run = on_partial(tiny.BASELINE, "--dsc_loss=4")
    assert "2 of 8 slices are annotated" in caplog.text
    assert "no test list; the validation volumes, which chose the weights, are scored" in caplog.text
    rows = tiny.content(run / "eval" / "val" / "per_volume.csv")
    assert {row["note"] for row in rows} == {"annotated in 1 of 4 slices: no surface distances"}
    assert "test_dice" not in json.loads((run / "DONE").read_text())
    assert all(np.isfinite(float(row["loss"])) for row in tiny.log(run))


@pytest.mark.parametrize("method", ["contrastive", "unimatch", "copy_paste"])
def test_joint_training(method, on_partial):
    """The unpainted slices of painted volumes are unlabelled ones too."""
    flags = [f"--method={method}", "--crf=none", "--unlabelled_bs=2", "--n_iter=2", "--refresh_every=2"]
    if method == "contrastive":
        on_partial(tiny.BASELINE)
    else:
        flags.append("--init_from=none")
    run = on_partial(tiny.JOINT, *flags)
    rows = tiny.log(run)
    assert len(rows) == 1 and all(np.isfinite(float(row["loss"])) for row in rows)
    config = json.loads((run / "config.json").read_text())
    assert {"001_ED", "002_ED"} < {*config["cases"]["unlabeled"]} and config["cases"]["test"] == []


def test_an_experiment_starts_from_what_is_painted(on_partial, tiny_root, tmp_path, caplog, monkeypatch):
    tiny_al.use_small_networks(monkeypatch)
    path = tmp_path / "mine.yml"
    network = {"name": "dmpls", "batch_size": 2, "steps": 4, "val_every": 2}
    experiment = {"name": "mine", "dataset": "tiny", "network": network, "rounds": [2, 2], "annotator": "files"}
    path.write_text(yaml.safe_dump(experiment))
    argv = [f"--config={path}", f"--runs_dir={tmp_path / 'runs'}"]
    tiny.execute(tiny_al.SCRIPT, argv)
    run = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT)
    start = tiny_al.table(run / "rounds" / "start" / "query.csv")
    assert [row["unit_id"] for row in start] == [f"00{n}_ED_slice_01" for n in (1, 2, 3)]
    assert json.loads((run / "rounds" / "000" / "plan.json").read_text())["units"] == 5
    asked = tiny_al.table(run / "rounds" / "000" / "query.csv")
    assert len(asked) == 2 and not {row["position"] for row in asked} & {"1"}
    assert "3 units are painted already" in caplog.text
    for volume in {row["volume"] for row in asked}:
        truth = np.asarray(nib.load(next(tiny_root.rglob(f"patient{volume[:3]}_*_gt.nii.gz"))).dataobj)
        blank = nib.load(run / "rounds" / "000" / "to_annotate" / f"{volume}_annotation.nii.gz")
        back = run / "rounds" / "000" / "annotated" / f"{volume}_annotation.nii.gz"
        nib.save(nib.Nifti1Image(truth, None, blank.header), back)
    tiny.execute(tiny_al.SCRIPT, argv)
    first = json.loads((run / "rounds" / "000" / "metrics.json").read_text())
    assert first["units"] == 5 and np.isfinite(first["val_dice"]) and "test_dice" not in first
    known = tiny_al.table(run / "rounds" / "000" / "labelled.csv")
    assert [row["round"] for row in known] == ["-1", "-1", "-1", "0", "0"]
    with pytest.raises(ConfigError, match="are annotated in part only. Write `annotator: files`"):
        path.write_text(yaml.safe_dump({**experiment, "name": "other", "annotator": "simulated"}))
        tiny.execute(tiny_al.SCRIPT, argv)
