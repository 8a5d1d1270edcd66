"""The planned recipe as defaults of flags. Expected values: its table in docs/baseline.md, and rules by hand."""

from __future__ import annotations

import logging

import pytest
from absl import flags

from fewslice.augment import standard
from fewslice.settings import recipe
from fewslice.settings.datasets import load_dataset_config
from fewslice.settings.flags import read_from
from fewslice.settings.stage_flags import STAGES, Baseline, GlobalPretraining, JointTraining, digest_values

LABELLED = [cls for cls in STAGES.values() if hasattr(cls, "dsc_loss")]


def read(cls, *given):
    return read_from(cls, ["--dataset=phantom", *given])[0]


@pytest.mark.parametrize("cls", STAGES.values(), ids=STAGES)
def test_published_is_the_default_and_changes_no_digest(cls):
    plain, named = (read(cls, *given) for given in ([], ["--recipe=published"] * hasattr(cls, "recipe")))
    assert digest_values(plain) == digest_values(named)
    new = {"unet", "normalisation", "augment", "deep_supervision", "oversample", "lr_schedule", "keep", "mirroring"}
    assert not new & set(digest_values(plain))


@pytest.mark.parametrize("cls", LABELLED, ids=lambda cls: cls.stage)
def test_planned_sets_every_ingredient_of_every_labelled_stage(cls):
    args = read(cls, "--recipe=planned")
    dataset = load_dataset_config("phantom")
    expected = recipe.planned(dataset, args.val_ids)
    if cls is JointTraining:
        expected.pop("deep_supervision")  # its labelled slices pass no such heads
    assert {name: getattr(args, name) for name in expected} == expected


def test_a_flag_on_the_command_line_counts(caplog):
    args = read(Baseline, "--recipe=planned", "--dsc_loss=2", "--average_decay=0")
    assert (args.dsc_loss, args.average_decay, args.normalisation) == (2, 0, "instance")
    with caplog.at_level(logging.INFO):
        recipe.describe(args, load_dataset_config("phantom"))
    assert "Not as planned, but as asked for: dsc_loss, average_decay." in caplog.text


def test_pretraining_has_the_planned_network_and_no_more():
    args = read(GlobalPretraining, "--recipe=planned")
    assert args.normalisation == "instance" and args.unet and not hasattr(args, "dsc_loss")


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 32), (16, 32, 64)), ((96, 96), (16, 32, 64, 128, 256)), ((64, 256), (16, 32, 64, 128))],
)
def test_levels_end_before_the_coarsest_has_less_than_six_pixels(size, expected):
    assert recipe.widths(size) == expected


@pytest.mark.parametrize(
    ("names", "mirrors"), [(("rv", "myo"), True), (("left_lung", "right_lung"), False), (("leftover",), True)]
)
def test_no_mirroring_where_names_tell_left_from_right(names, mirrors):
    assert ("mirroring" in recipe.transforms(names)) == mirrors


def test_every_planned_transform_is_there():
    assert set(recipe.TRANSFORMS) == set(standard.known_transforms())


def test_the_length_decides_what_a_falling_rate_learns():
    short, long = (digest_values(read(Baseline, "--recipe=planned", f"--n_iter={n}")) for n in (100, 200))
    assert short != long
    short, long = (digest_values(read(Baseline, f"--n_iter={n}")) for n in (100, 200))
    assert short == long


@pytest.mark.parametrize("flag", ["--unet=16", "--unet=16;32", "--recipe=mine", "--keep=both"])
def test_wrong_values_are_refused(flag):
    with pytest.raises(flags.Error, match=flag.split("=")[0][2:]):
        read(Baseline, flag)
