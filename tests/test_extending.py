"""The examples of docs/extending.md, as a user has them: files outside the checkout that commands are given.

One command runs in a process of its own, with `--plugin` and FEWSLICE_PLUGINS; the others have the files loaded here.
Expected values: by hand, on the tiny dataset.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from fewslice.active import uncertainty
from fewslice.core import plugins, registry
from fewslice.core.errors import ConfigError
from tests.golden_files import REPOSITORY
from tests.registries import temporary
from tests.scripts.running import run
from tests.train_model import tiny, tiny_al

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r'^```python\n("""(\w+\.py): .*?)^```', PAGE, re.M | re.S))
EXAMPLES = {name: text for text, name in EXAMPLES.items()}
KINDS = {
    "outermost.py": ("strategy", "outermost"),
    "gini.py": ("uncertainty score", "gini"),
    "brightness.py": ("kind of features", "brightness"),
    "no_borders.py": ("annotator", "no_borders"),
    "focal.py": ("loss", "focal"),
    "plain_cnn.py": ("network", "plain_cnn"),
    "t1_pairs.py": ("layout", "t1_pairs"),
}
EXPERIMENT = {
    "name": "own",
    "dataset": "tiny",
    "network": {"name": "plain_cnn", "width": 4, "steps": 8, "val_every": 2, "batch_size": 2},
    "annotation": "mask",
    "annotator": "no_borders",
    "rounds": [
        {"add": 4, "query": {"strategy": {"name": "outermost", "share": 0.0}}},
        {"add": 2, "query": {"strategy": "kcenter", "features": "brightness"}},
        {"add": 2, "query": {"strategy": "uncertainty", "score": "gini"}},
    ],
}


@pytest.fixture
def examples(tmp_path):
    """A folder outside the checkout with every example."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def loaded(examples, monkeypatch):
    """A function (name) that loads an example into this process until the test ends."""
    import fewslice.stages.active  # noqa: F401  with these two all tables are there
    import losses  # noqa: F401

    monkeypatch.setattr(plugins, "_loaded", {})
    with contextlib.ExitStack() as stack:
        for table in registry.tables():
            stack.enter_context(temporary(table))
        yield lambda name: plugins.load([str(examples / name)])


@pytest.fixture
def tiny_data(tiny_root, monkeypatch):
    """Points the library of this process to the tiny dataset."""
    for name, value in tiny.environment(tiny_root).items():
        monkeypatch.setenv(name, value)


def test_there_is_an_example_of_every_kind():
    assert EXAMPLES.keys() == KINDS.keys()


@pytest.mark.slow
def test_an_experiment_of_plugins(examples, tiny_root, tmp_path):
    """In a process of its own, as a user starts it."""
    settings = tiny_al.write_settings(tmp_path / "settings")
    (examples / "own.yml").write_text(yaml.safe_dump(EXPERIMENT))
    environment = {"FEWSLICE_DATA": str(tiny_root), "FEWSLICE_EXPERIMENTS": str(settings)}
    environment["FEWSLICE_PLUGINS"] = f"focal.py{os.pathsep}plain_cnn.py"
    names = ("outermost.py", "gini.py", "brightness.py", "no_borders.py")
    flags = ["--config=own.yml", f"--runs_dir={tmp_path / 'runs'}", *(f"--plugin={name}" for name in names)]
    call = [sys.executable, str(REPOSITORY / "train_model" / "run_al_exp.py"), *flags]
    done = subprocess.run(call, cwd=examples, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folder = tiny.run_dir(tmp_path / "runs", tiny_al.SCRIPT)
    picks = tiny_al.picks(folder)
    assert picks[0] == [f"00{number}_ED_slice_03" for number in (1, 2, 3, 4)] and len(set(sum(picks, []))) == 8
    assert set(np.unique(np.load(folder / "rounds" / "000" / "labels.npy"))) == {0, 1, 2, 3}  # 3: not annotated
    assert np.isfinite(float(tiny.log(folder / "rounds" / "002" / "member_0")[-1]["loss"]))
    told = {name.rpartition("/")[2]: text for name, text in json.loads((folder / "versions.json").read_text()).items()}
    for name in ("focal.py", "plain_cnn.py", *names):
        assert re.fullmatch(rf"sha256 [0-9a-f]{{64}}: {' '.join(KINDS[name])}", told[name])


def test_a_wrong_option_of_a_network_of_ones_own(examples, loaded, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_al.write_settings(tmp_path / "settings")))
    for name in KINDS:
        loaded(name)
    (examples / "own.yml").write_text(yaml.safe_dump(EXPERIMENT))
    flags = [f"--config={examples / 'own.yml'}", f"--runs_dir={tmp_path / 'runs'}", "--check_only"]
    tiny.execute(tiny_al.SCRIPT, flags)
    with pytest.raises(ConfigError, match="(?s)widht.*Did you mean 'width'"):
        tiny.execute(tiny_al.SCRIPT, [*flags, "--set=network.widht=3"])


def test_a_selection_with_a_strategy_of_ones_own(loaded, tiny_data, tmp_path):
    loaded("outermost.py")
    flags = ["--dataset=tiny", "--budget=4", f"--runs_dir={tmp_path}", "--strategy=outermost"]
    tiny.execute("select_slices", [*flags, "--options", "share=0"])
    with open(tiny.run_dir(tmp_path, "select_slices") / "query.csv", newline="") as file:
        assert {row["unit_id"] for row in csv.DictReader(file)} == {f"00{n}_ED_slice_03" for n in (1, 2, 3, 4)}


def test_a_reader_of_ones_own(loaded, tiny_root, tmp_path, monkeypatch):
    for folder in ("settings", "data/pairs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "settings" / "init_pairs.py").write_text(
        tiny.INIT.replace('"acdc"', '"t1_pairs"').replace('"tiny"', '"pairs"').replace('("ED",)', '("",)')
    )
    (tmp_path / "settings" / "data_cfg_pairs.py").write_text(tiny.SPLITS)
    for source in (tiny_root / "tiny").glob("*/*.nii.gz"):
        new = "seg" if source.name.endswith("_gt.nii.gz") else "t1"
        shutil.copy(source, tmp_path / "data" / "pairs" / f"{source.parent.name.removeprefix('patient')}_{new}.nii.gz")
    monkeypatch.setenv("FEWSLICE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tmp_path / "settings"))
    without = run("verify_dataset", "--dataset=pairs")
    assert without.returncode == 1 and "Unknown layout 't1_pairs'" in without.stderr
    loaded("t1_pairs.py")
    done = run("verify_dataset", "--dataset=pairs")
    assert done.returncode == 0 and "7" in done.stdout, done.stderr + done.stdout


def test_a_loss_of_ones_own(loaded):
    import keras

    import losses

    loaded("focal.py")
    loss = losses.get("focal")(9)
    labels, logits = np.array([[0, 9]]), np.log(np.array([[[0.8, 0.2], [0.5, 0.5]]]))
    np.testing.assert_allclose(float(loss(labels, logits)), -(0.2**2) * np.log(0.8), rtol=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()


def test_a_score_of_ones_own(loaded):
    loaded("gini.py")
    statistics = uncertainty.PassStatistics(["gini"])
    for passed in ((1.0, 0.0), (0.5, 0.5)):
        statistics.update(np.array([[[passed]]]))
    np.testing.assert_allclose(uncertainty.SCORES.get("gini")(statistics), 1 - 0.75**2 - 0.25**2)
