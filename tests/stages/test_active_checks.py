"""Overrides of an experiment and its dataset; expected values follow from the docstrings of `active_checks`."""

import pytest

from fewslice.errors import ConfigError
from fewslice.stages.active_checks import split_overrides


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
