"""Overrides of an experiment and its dataset; expected values follow from the docstrings of `active_checks`."""

import pytest

from fewslice.core.errors import ConfigError
from fewslice.stages.active_checks import prepare, split_overrides
from tests.train_model import tiny_al


def test_overrides_go_where_they_belong():
    given = {"policy.seed": "1", "exp_dir": "mine", "data_geometry": "null", "img_size_x": "96", "batch_size_ft": "2"}
    experiment, dataset = split_overrides(given)
    assert list(experiment) == ["policy.seed", "exp_dir", "data_geometry"]
    assert list(dataset) == ["img_size_x", "batch_size_ft"]


@pytest.mark.parametrize(
    "name, text",
    [
        ("polcy.seed", "Unknown group 'polcy'. Did you mean 'policy'?"),
        ("rounds", "Write --set policy.rounds=1"),
        ("ensemble_size", "Write --set model.ensemble_size=1"),
    ],
)
def test_a_missing_or_wrong_group_is_named(name, text):
    with pytest.raises(ConfigError) as error:
        split_overrides({name: "1"})
    assert text in str(error.value) and f"--set {name}=1" in str(error.value)


def test_features_that_would_not_enter_the_distance(tiny_root, monkeypatch, tmp_path):
    """Probabilities of 32 x 32 x 3 values beside 65536 pixels: a share of .046 repeats them less than once."""
    monkeypatch.setenv("FEWSLICE_DATA", str(tiny_root))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_al.write_settings(tmp_path / "settings")))
    geometry = {
        "data_geometry_type": "kcenter_greedy",
        "feature_model": True,
        "contrastive": True,
        "use_model_features": True,
        "feature_model_params": {"fuse_image_data": True},
    }
    path = tiny_al.write_experiment(tmp_path / "fused.yml", policy={"policy_type": "ranked"}, data_geometry=geometry)
    share = "data_geometry.feature_model_params.fuse_image_data_size_prop"
    assert prepare(str(path), {share: "0.047"}).experiment.selections[1].features == "predictions"
    with pytest.raises(ConfigError, match="predictions of the network hold 3072 values.*65536.*at least 0.05, or"):
        prepare(str(path), {share: "0.046"})
