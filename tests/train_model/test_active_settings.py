"""Experiments before any network is built. Expected values follow from the docstrings of `fewslice.stages.active`."""

from __future__ import annotations

import pytest
import yaml

from fewslice.core.errors import ConfigError
from fewslice.stages.active import prepare
from tests.train_model import tiny_al

NATIVE = {"name": "own", "dataset": "tiny", "network": "dmpls", "annotation": "scribble", "rounds": [0.25, 0.25]}


@pytest.fixture
def path(tiny_root, monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSLICE_DATA", str(tiny_root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_al.write_settings(tmp_path / "settings")))
    file = tmp_path / "own.yml"
    file.write_text(yaml.safe_dump(NATIVE))
    return file


def test_overrides_go_where_they_belong(path):
    given = {"seed": "1", "name": "mine", "network.steps": "7", "img_size_x": "64", "batch_size_ft": "3"}
    job = prepare(str(path), given)
    assert (job.experiment.seed, job.experiment.name, job.experiment.network.options["steps"]) == (1, "mine", 7)
    assert job.dataset.size == (64, 32) and job.dataset.batch_size_ft == 3
    assert job.overrides == ["img_size_x=64", "batch_size_ft=3"]
    assert job.describe() == "mine: tiny, 2 rounds by random; 1 x dmpls on scribbles of 4 patients, 1 validate, 2 test."


def test_the_size_of_the_input_is_given_once(path):
    assert prepare(str(path), {"size": "[64, 96]"}).dataset.size == (64, 96)
    with pytest.raises(ConfigError, match="img_size_x=32, but the experiment says 64. Give one of them"):
        prepare(str(path), {"size": "[64, 96]", "img_size_x": "32"})


@pytest.mark.parametrize(
    ("name", "words"),
    [("sed", "'sed'.*Did you mean 'seed'"), ("img_size_z", "img_size_z"), ("split", "The pool: .*'1'"),
     ("warm_start", "set warm_start=1: expected a run folder")],
)  # fmt: skip
def test_a_wrong_override_is_named(path, name, words):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        prepare(str(path), {name: "'1'"})


def test_an_encoder_whose_batches_do_not_fit_is_refused_before_keras(path):
    own = {**NATIVE, "query": {"strategy": "kcenter", "features": "encoder"}, "encoder": {"batch_size": 15}}
    path.write_text(yaml.safe_dump(own))
    with pytest.raises(ConfigError, match="a batch takes 5 different patients, but there are 4; use batch_size=12"):
        prepare(str(path), {})
    path.write_text(yaml.safe_dump({**own, "encoder": {"batch_size": 3_000_000}}))
    with pytest.raises(ConfigError, match="A batch of 3000000 slices .* needs too much memory"):
        prepare(str(path), {})
