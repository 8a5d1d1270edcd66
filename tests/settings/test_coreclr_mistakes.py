"""Experiments of active learning: keys, defaults, mistakes with their lines, and what they make strategies get.

Expected values: the published tables of keys with their defaults (Vepa et al. 2024, as in the specification), lines
counted by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fewslice.active.query import STRATEGIES, register
from fewslice.core.errors import ConfigError, DataError
from fewslice.settings.compat import al_config
from fewslice.settings.compat.al_config import load_experiment
from fewslice.settings.compat.al_groups import GROUPS, INNER
from fewslice.settings.compat.al_schema import keys_of
from fewslice.settings.compat.al_schema_geometry import FeatureModelParams
from fewslice.settings.compat.al_selection import Selection, encoder_arguments, vaal_options
from fewslice.settings.yaml import YamlFile

BASE = {
    "model": {"model_type": "dmpls"},
    "policy": {"policy_type": "ranked", "rounds": [[0.01, 0], [0.01, 0]]},
    "exp_dir": "mine",
}
KCENTER = {"data_geometry_type": "kcenter_greedy"}
ENCODER = {**KCENTER, "feature_model": True, "contrastive": True}
ENSEMBLE = {"model_uncertainty_type": "ensemble", "score_func": "entropy_w_label_probs"}


@pytest.fixture
def load(tmp_path):
    """Returns a function that loads a text, or the base experiment with other keys: JSON is YAML."""

    def load_text(text=None, overrides=None, **groups):
        if text is None:
            given = {name: {**BASE.get(name, {}), **keys} for name, keys in groups.items() if isinstance(keys, dict)}
            text = json.dumps({**BASE, **given, **{k: v for k, v in groups.items() if not isinstance(v, dict)}})
        (tmp_path / "mine.yml").write_text(text)
        return load_experiment(tmp_path / "mine.yml", overrides)

    return load_text


def problem(load, *args, **groups):
    with pytest.raises(ConfigError) as caught:
        load(*args, **groups)
    return str(caught.value)


def test_published_defaults(load):
    experiment = load(data_geometry=ENCODER)
    model, geometry, policy = experiment.model, experiment.geometry, experiment.policy
    assert (model.dataset, model.ann_type, model.ensemble_size, model.in_chns) == ("ACDC", "scribble", 1, 1)
    assert (model.seg_model, model.batch_size, model.base_lr, model.max_iterations) == ("unet_cct", 6, 0.01, 60000)
    assert (model.inf_train_type, model.feature_decoder_index, model.seed, model.T) == ("preds", 0, 0, 40)
    assert (policy.seed, policy.resume, policy.rank_type) == (0, False, "desc")
    assert policy.save_im_score_file == "scores.txt" and not policy.ensemble_kwargs.inf_test
    assert (geometry.alg_string, geometry.metric, geometry.pos_wt) == ("kcenter_greedy", "euclidean", 1.0)
    assert (geometry.label_wt, geometry.default_pos_val, geometry.uncertainty_wt) == (1.0, 1.0, 0.0)
    assert (geometry.extra_feature_wt, geometry.max_dist, geometry.wt_max_dist_mult) == (1.0, None, 1.0)
    params = geometry.feature_model_params
    assert (params.encoder, params.batch_size, params.temperature, params.projection_dim) == ("resnet18", 64, 0.5, 64)
    assert (params.lr, params.weight_decay, params.num_epochs, params.inf_batch_size) == (3e-4, 1e-6, 100, 128)
    assert (params.loss_wt, params.pos_loss1, params.pos_loss1_wt, params.pos_loss1_mask) == (1.0, None, 0.1, ())
    assert (params.patience, params.tol, params.fuse_image_data_size_prop) == (5, 0.01, 0.1)
    assert experiment.dataset_name == "acdc_wsl4mis" and experiment.notes == ()


@pytest.mark.parametrize(
    "kind, extra, expected",
    [
        ("strong", {}, ("label", 1, "unet", 6, 0.01)),
        ("db_dmpls", {"db_score_func": "bald_score"}, ("scribble", 1, "unet_cct", 6, 0.01)),
        ("db_strong", {}, ("label", 1, "unet", 6, 0.01)),
        ("lvm_med", {"ann_type": "label"}, ("label", 3, None, 8, 1e-4)),
    ],
)
def test_defaults_of_the_other_models(load, kind, extra, expected):
    model = load(model={"model_type": kind, **extra}, policy={"policy_type": "random"}).model
    assert (model.ann_type, model.in_chns, model.seg_model, model.batch_size, model.base_lr) == expected
    assert (model.encoder_name, model.val_epoch, model.num_epochs) == ("resnet50", 1, 50)
    assert (model.base_original_checkpoint, model.train_beta1, model.train_scheduler) == ("scratch", 0.9, 0)


@pytest.mark.parametrize(
    "published, ours",
    [
        ("ACDC", "acdc_wsl4mis"), ("CHAOS_CT", "chaos_ct"), ("LVSC", "lvsc"), ("MSCMR", "mscmr"),
        ("phantom", "phantom"), ("acdc_h5", "acdc_h5"),
    ],
)  # fmt: skip
def test_names_of_datasets(load, published, ours):
    assert load(model={"dataset": published}, data_geometry=KCENTER).dataset_name == ours


@pytest.mark.parametrize("value, read", [(1e4, 10000), (200.0, 200)])
def test_whole_numbers_may_have_an_exponent(load, value, read):
    steps = load(model={"max_iterations": value}, data_geometry=KCENTER).model.max_iterations
    assert steps == read and isinstance(steps, int)


def test_a_wrong_key_is_answered_with_the_keys_of_its_type(load):
    with pytest.raises(ConfigError, match="Did you mean 'latent_dim'") as caught:
        load(data_geometry={"data_geometry_type": "vaal", "latent_dmi": 3})
    assert "vae_beta" in str(caught.value) and "label_wt" not in str(caught.value)


LINES = """\
# an experiment
model:
  model_type: dmpls
  ensemble_size: 2
data_geometry:
  data_geometry_type: kcenter_greedy
  feature_model: true
  contrastive: true
  feature_model_params:
    batch_size: 9
policy:
  policy_type: ranked
  rounds:
    - [0.01, 0]
    - [0.01, 0, random]
exp_dir: mine
"""


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("ensemble_size: 2", "ensemble_size: two", 4, "`model.ensemble_size` must be a whole number, 1 or larger"),
        ("ensemble_size: 2", "ensemble_size: 0", 4, "1 or larger. Received: 0"),
        ("ensemble_size: 2", "ensemble_size: 1e-4", 4, "whole number, 1 or larger. Received: 0.0001"),
        ("ensemble_size: 2", "ensemble_size: true", 4, "Received: true"),
        ("ensemble_size: 2", "ensemble_size: '2'", 4, "Write it without quotes"),
        ("ensemble_size: 2", "base_lr: 0,01", 4, "Write the decimal point as a dot"),
        ("ensemble_size: 2", "base_lr: .nan", 4, "must be a number above 0"),
        ("ensemble_size: 2", "base_lr: null", 4, "Received: null"),
        ("ensemble_size: 2", "patch_size: [250, 256]", 4, "multiples of 16"),
        ("ensemble_size: 2", "patch_size: 256", 4, "[rows, columns]"),
        ("ensemble_size: 2", "ensemble_sise: 2", 4, "Did you mean 'ensemble_size'?"),
        ("ensemble_size: 2", "model_type: strong", 4, "`model_type` stands twice, first in line 3"),
        ("ensemble_size: 2", "rounds: []", 4, "'rounds' stands in the group `policy`"),
        ("ensemble_size: 2", "pos_loss1: true", 4, "`data_geometry.feature_model_params`"),
        ("ensemble_size: 2", "dataset: ACDCC", 4, "Did you mean 'ACDC'?"),
        ("ensemble_size: 2", "in_chns: 2", 4, "must be 1 or 3"),
        ("ensemble_size: 2", "val_epoch: 2", 4, "counts only for lvm_med, and this is dmpls. Remove it."),
        ("ensemble_size: 2", "T: 10", 4, "counts only for db_dmpls or db_strong"),
        ("ensemble_size: 2", "tag: ../../x", 4, "outside the run directory. Write 'x'."),
        ("ensemble_size: 2", "seg_model: pnet", 4, "Write unet_cct."),
        ("ensemble_size: 2", "seg_model: unet", 4, "does not fit dmpls"),
        ("ensemble_size: 2", "in_chns: 3", 4, "1 channels. Write `in_chns: 1`"),
        ("ensemble_size: 2", "warm_start: runs/x", 4, "pretrainable_unet"),
        ("model_type: dmpls", "model_type: dmpl", 3, "must be one of dmpls, strong"),
        ("model_type: dmpls", "model_type: spml_mv", 3, "never ran"),
        ("model_type: dmpls", "seed: 3", 2, "`model.model_type` is missing"),
        ("model:\n", "model: 3\nmodl:\n", 2, "must hold keys with values"),
        ("model:\n", "mdel:\n", 2, "Unknown group 'mdel'. Did you mean 'model'?"),
        ("feature_model: true", "feature_model: yes", 7, "Write true."),
        ("feature_model: true", "feature_model: False\n  metric: off", 8, "must be one of euclidean, cosine, dot"),
        ("feature_model: true", "feature_model: 1", 7, "must be true or false. Received: 1"),
        ("feature_model: true", "feature_model: false", 8, "needs `feature_model: true`"),
        ("contrastive: true", "contrastive: false", 7, "ImageNet weights"),
        ("contrastive: true", "contrastive: true\n  use_labels: true", 9, "`fuse_image_data: true`"),
        ("contrastive: true", "contrastive: true\n  features: encodr", 9, "Did you mean 'encoder'?"),
        ("contrastive: true", "contrastive: true\n  features: pixels", 9, "does not look at the encoder"),
        ("feature_model: true", "features: encoder", 7, "encoder needs an encoder"),
        (
            "contrastive: true",
            "contrastive: true\n  use_model_features: true\n  features: predictions",
            10,
            "otherwise than `use_model_features: true`",
        ),
        ("contrastive: true", "contrastive: true\n  use_uncertainty: true", 9, "uncertainty_wt"),
        (
            "contrastive: true",
            "contrastive: true\n  use_uncertainty: true\n  uncertainty_wt: 1",
            9,
            "Add the group model_uncertainty",
        ),
        ("contrastive: true", "contrastive: true\n  uncertainty_wt: 1", 9, "without `use_uncertainty: true`"),
        (
            "contrastive: true",
            "contrastive: true\n  pos_wt: 1500",
            9,
            "`feature_model_params: {fuse_image_data: true}`",
        ),
        ("contrastive: true", "contrastive: true\n  uncertainty_score_file: a/b.txt", 9, "Write 'b.txt'"),
        ("contrastive: true", "contrastive: true\n  dataset_type: MSCMR", 9, "that of model.dataset, ACDC"),
        ("contrastive: true", "contrastive: true\n  alg_string: pkcenter_greedy\n  patient_wt: 1", 9, "plain features"),
        ("contrastive: true", "contrastive: true\n  k_nn: 3", 9, "counts only for typiclust"),
        ("contrastive: true", "contrastive: true\n  fuse_image_data: true", 9, "feature_model_params`. Move it there"),
        (
            "data_geometry_type: kcenter_greedy",
            "data_geometry_type: kcentre_greedy",
            6,
            "Did you mean 'kcenter_greedy'",
        ),
        ("batch_size: 9", "pretrained: true", 10, "not part of this software"),
        ("batch_size: 9", "cl_model_save_name: /x/y.pt", 10, "Write 'y.pt'"),
        ("batch_size: 9", "in_chns: 3", 10, "1 channels"),
        ("batch_size: 9", "pos_loss1: true", 10, "needs groups"),
        ("batch_size: 9", "use_phase: true", 10, "without a group term"),
        ("batch_size: 9", "loss_wt: 0", 10, "all terms of the loss"),
        ("batch_size: 9", "pos_loss1_mask: 2", 10, "a list of positions from 0 to 3"),
        (
            "batch_size: 9",
            "batch_size: 9\n    pos_loss1: true\n    use_phase: true",
            10,
            "multiple of the group size, 2",
        ),
        (
            "batch_size: 9",
            "batch_size: 8\n    pos_loss1: true\n    use_phase: true\n    pos_loss1_mask: [0, 1]",
            13,
            "leaves out all 2 positions",
        ),
        ("batch_size: 9", "batch_sise: 9", 10, "key of data_geometry.feature_model_params 'batch_sise'"),
        ("policy_type: ranked", "policy_type: rank", 12, "one of random, ranked"),
        ("policy_type: ranked", "policy_type: ranked\n  rank_type: inc", 13, "Remove it"),
        ("policy_type: ranked", "policy_type: ranked\n  seed: -1", 13, "from 0"),
        ("policy_type: ranked", "policy_type: ranked\n  save_im_score_file: ~/s.txt", 13, "Write 's.txt'"),
        ("policy_type: ranked", "policy_type: ranked\n  ensemble_kwargs: {inf_val: false}", 13, "must be true"),
        ("policy_type: ranked", "policy_type: ranked\n  geometry_kwargs: {skip: true}", 13, "[share, 0, random]"),
        ("policy_type: ranked", "policy_type: ranked\n  exp_dir: x", 13, "at the beginning of a line"),
        ("- [0.01, 0]\n", "- [0.01]\n", 14, "Round 0 is [0.01]"),
        ("- [0.01, 0]\n", "- [2, 0]\n", 14, "oracle share of round 0"),
        ("- [0.01, 0]\n", "- [0, 0]\n", 14, "buys nothing"),
        ("[0.01, 0, random]", "[0.01, 0, ranked]", 15, "must be random or null"),
        ("[0.01, 0, random]", "[0.01, 0, random, yes]", 15, "skip_training of round 1"),
        ("[0.01, 0, random]", "[0.01, -1]", 15, "pseudo share of round 1"),
        ("[0.01, 0, random]", "[0.995, 0]", 13, "at most 1"),
        ("exp_dir: mine", "exp_dir: ../mine", 16, "Write 'mine'"),
        ("exp_dir: mine", "exp_dir: /tmp/mine", 16, "outside the run directory"),
        ("exp_dir: mine", "exp_dir: ~", 16, "`exp_dir` is missing"),
        ("exp_dir: mine", "exp_dir: ~/mine", 16, "outside the run directory"),
        ("exp_dir: mine", "exp_dir: 'a b'", 16, "Use letters"),
        ("exp_dir: mine", "", 2, "`exp_dir` is missing"),
        ("exp_dir: mine", "exp_dir: 3", 16, "Put it in quotes"),
        ("exp_dir: mine", "exp_dir: .", 16, "outside the run directory"),
        ("exp_dir: mine", "exp_dir: mine\nmodel_uncertainty: {model_uncertainty_type: ensemble}", 17, "ranks alone"),
        ("exp_dir: mine", "exp_dir: mine\nmodel_uncertainty: []", 17, "must hold keys"),
    ],
)
def test_every_mistake_is_named_with_its_line(load, old, new, line, words):
    assert LINES.count(old) == 1 or old in ("model:\n", "feature_model: true")
    message = problem(load, LINES.replace(old, new, 1))
    assert f"mine.yml:{line}: " in message and words in message


def test_the_text_that_the_mistakes_are_put_into_is_right(load):
    assert load(LINES).selections == (Selection("kcenter", features="encoder"), Selection("random"))


def test_all_mistakes_at_once_in_the_order_of_lines(load):
    text = LINES.replace("ensemble_size: 2", "ensemble_size: 0").replace("exp_dir: mine", "exp_dir: /x\nexp_dir: y")
    lines = problem(load, text.replace("batch_size: 9", "batch: 9")).splitlines()
    assert "has 4 problems" in lines[0]
    assert [line.split("mine.yml:")[1].split(":")[0] for line in lines[1:]] == ["4", "10", "16", "17"]


def test_problems_of_values_and_of_repeated_keys_come_together(load):
    text = LINES.replace("contrastive: true", "contrastive: true\n  use_labels: true\n  use_labels: false")
    message = problem(load, text)
    assert "mine.yml:9: " in message and "mine.yml:10: " in message


def test_missing_groups_and_files(load, tmp_path):
    message = problem(load, "data_geometry: {data_geometry_type: vaal}\n")
    assert all(f"`{name}` is missing" in message for name in ("model", "policy", "exp_dir"))
    with pytest.raises(DataError, match="experiments/acdc_weak_ours.yml"):
        load_experiment(tmp_path / "absent.yml")


def test_overrides(load):
    overrides = {
        "policy.seed": "3",
        "model.base_lr": "1e-4",
        "policy.rounds": "[[0.1, 0], [0.2, 0]]",
        "policy.ensemble_kwargs.inf_test": "true",
    }
    experiment = load(overrides=overrides, data_geometry=KCENTER)
    assert (experiment.seed, experiment.model.base_lr) == (3, 1e-4)
    assert [one.oracle for one in experiment.policy.rounds] == [0.1, 0.2]
    assert experiment.policy.ensemble_kwargs.inf_test
    assert load(overrides={"data_geometry": "null", "policy.policy_type": "random"}, data_geometry=KCENTER)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("policy.sed", "3", "policy.sed=3: Unknown key of policy 'sed'. Did you mean 'seed'?"),
        ("policy.seed", "x", "policy.seed=x: `policy.seed` must be a whole number"),
        ("polic.seed", "3", "Did you mean 'policy'?"),
        ("policy.seed.x", "3", "`seed` holds no keys"),
        ("policy.rounds", "[[", "YAML cannot read this"),
        ("exp_dir", "../x", "exp_dir=../x: "),
        ("seed", "3", "Unknown group 'seed'"),
    ],
)
def test_wrong_overrides(load, name, text, words):
    policy = {**BASE["policy"], "seed": 0}
    assert words in problem(load, overrides={name: text}, data_geometry=KCENTER, policy=policy)


def test_keys_without_effect_are_noted(load):
    geometry = {**KCENTER, "gpus": "cuda:1", "seed": 4}
    experiment = load(data_geometry=geometry, model={"deterministic": 0}, policy={"resume": True})
    named = " ".join(experiment.notes)
    keys = ("model.deterministic", "data_geometry.gpus", "data_geometry.seed", "policy.resume")
    assert len(experiment.notes) == 4 and all(f"{key} (" in named for key in keys)
    assert experiment.settings() == load(data_geometry=KCENTER).settings()


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("policy.rank_type", {"policy": {"policy_type": "random", "rank_type": "inc"}}),
        ("model.inf_train_type", {"model": {"inf_train_type": "features"}, "data_geometry": ENCODER}),
        ("model.feature_decoder_index", {"model": {"feature_decoder_index": 2}, "data_geometry": ENCODER}),
        ("model.T", {"model": {"model_type": "db_dmpls", "T": 3}, "data_geometry": ENCODER}),
        ("data_geometry.max_dist", {"data_geometry": {**KCENTER, "max_dist": 2}}),
        ("data_geometry.coreset_kwargs.temp_init", {"data_geometry": {**KCENTER, "coreset_kwargs": {"temp_init": 2}}}),
    ],
)
def test_keys_that_count_only_with_others_are_noted(load, key, groups):
    (note,) = load(**groups).notes
    assert note.startswith(f"{key} (") and " has no effect: " in note


def test_settings_of_an_encoder_that_is_only_read_are_noted_together(load):
    params = {"cl_prev_path": "runs/x", "encoder": "resnet50", "num_epochs": 3, "inf_batch_size": 4}
    (note,) = load(data_geometry={**ENCODER, "feature_model_params": params}).notes
    assert "no effect have encoder, num_epochs: `cl_prev_path`" in note


def test_keys_that_count_are_not_noted(load):
    geometry = {**ENCODER, "features": "pooled_map", "patient_wt": 0.5, "max_dist": 2}
    assert load(model={"feature_decoder_index": 2}, data_geometry=geometry).notes == ()
    model = {"model_type": "lvm_med", "ann_type": "label", "in_chns": 1}
    rounds = {"policy_type": "ranked", "rounds": [[0.01, 0.5], [0.01, 0]]}
    assert "trains for epochs" in load(model=model, data_geometry=KCENTER, policy=rounds).notes[0]


def test_adding_rounds_keeps_the_settings(load):
    """So that a finished experiment goes on in its folder; a first round by scores is random."""
    settings = []
    for rounds in ([[0.1, 0]], [[0.1, 0], [0.1, 0]]):
        policy = {"policy_type": "ranked", "rounds": rounds}
        settings.append(load(policy=policy, model_uncertainty=ENSEMBLE).settings())
        settings[-1]["policy"].pop("rounds")
    assert settings[0] == settings[1] and settings[0]["strategy"] == "uncertainty"


def test_a_random_policy_leaves_groups_idle(load):
    experiment = load(policy={"policy_type": "random"}, data_geometry=KCENTER)
    assert experiment.notes[0].startswith("data_geometry (") and {s.strategy for s in experiment.selections} == {
        "random"
    }


@pytest.mark.parametrize(
    "groups, words",
    [
        ({}, "ranked needs a data_geometry or model_uncertainty"),
        ({"data_geometry": {"data_geometry_type": "mid_slice", "feature_model": True}}, "looks at no features"),
        ({"data_geometry": {**ENCODER, "feature_model_params": {"pos_loss2_wt": 0.1}}}, "without `pos_loss2: true`"),
        ({"data_geometry": {**ENCODER, "feature_model_params": {"cl_prev_path": "none"}}}, "must be a run directory"),
        ({"data_geometry": {"data_geometry_type": "mfc", "uncertainty_wt": 1}}, "`use_uncertainty: true` for the same"),
        (
            {
                "data_geometry": {**KCENTER, "use_labels": True},
                "model": {"model_type": "strong"},
                "policy": {"annotator": "files"},
            },
            "weigh all pixels alike",
        ),
        (
            {"data_geometry": {"data_geometry_type": "vaal"}, "model": {"network_size": [48, 48]}},
            "multiples of 32. Received: [48, 48]",
        ),
        (
            {
                "data_geometry": {**KCENTER, "features": "pooled_map"},
                "model": {"model_type": "strong", "seg_model": "pretrainable_unet"},
            },
            "maps of the encoder can be had of `unet` and `unet_cct` only",
        ),
        (
            {
                "data_geometry": {**ENCODER, "feature_model_params": {"pretrained": True}},
                "model": {"model_type": "lvm_med", "ann_type": "label", "base_original_checkpoint": "gcl"},
                "policy": {"policy_type": "random"},
            },
            "ImageNet weights",
        ),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "mean_score"}}, "mean_score averages"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "ensemble_variance_ratio"}}, "`ensemble_size: 2` or more"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "bald"}}, "0 everywhere"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "entrpy"}}, "Did you mean 'entropy'?"),
        ({"model_uncertainty": {**ENSEMBLE, "sbatch_size": 3}}, "only for stochastic"),
        (
            {"model": {"model_type": "db_dmpls"}, "model_uncertainty": {**ENSEMBLE, "score_func": "mean_score"}},
            "`db_score_func: bald_score`",
        ),
        (
            {"model": {"model_type": "db_dmpls", "db_score_func": "bald_score"}, "model_uncertainty": ENSEMBLE},
            "Write `mean_score`, or `db_score_func: pass_probs`",
        ),
        ({"model": {"dataset": "MSCMR", "model_type": "strong"}, "data_geometry": KCENTER}, "scribbles only"),
        ({"model": {"dataset": "DAVIS", "in_chns": 3}, "data_geometry": KCENTER}, "full masks only"),
        ({"model": {"dataset": "DAVIS", "model_type": "strong"}, "data_geometry": KCENTER}, "Write `in_chns: 3`"),
        ({"model": {"model_type": "lvm_med"}, "data_geometry": KCENTER}, "Write `ann_type: label`"),
        (
            {
                "model": {"model_type": "lvm_med", "ann_type": "label", "base_original_checkpoint": "lvm-med-resnet"},
                "data_geometry": KCENTER,
            },
            "not part of this software",
        ),
        (
            {
                "model": {"model_type": "lvm_med", "ann_type": "label", "base_original_checkpoint": "gcl"},
                "data_geometry": ENCODER,
            },
            "is a resnet18. Write it in both places",
        ),
        ({"model": {"patch_size": [64, 64], "network_size": [32, 64]}, "data_geometry": KCENTER}, "Remove one"),
        ({"data_geometry": {"data_geometry_type": "vaal"}}, "[0.01, 0, random]"),
        ({"data_geometry": {"data_geometry_type": "uncertainty"}}, "needs scores of networks"),
        ({"data_geometry": {"data_geometry_type": "typiclust", "use_labels": True}}, "only for kcenter_greedy"),
        ({"data_geometry": {"data_geometry_type": "probcover", "deltaa": 1}}, "Did you mean 'delta'?"),
        ({"data_geometry": {"data_geometry_type": "probcover", "delta": "x"}}, "must be a number"),
        ({"data_geometry": {"data_geometry_type": "mfc", "metric": "manhattan"}}, "metric"),
        ({"model": {"dataset": "MSCMR"}, "data_geometry": {**KCENTER, "height_wt": 1}}, "no such metadata"),
    ],
)
def test_keys_that_do_not_fit_each_other(load, groups, words):
    assert words in problem(load, **groups)


MFC = {
    "metric": "euclidean", "use_labels": False, "label_wt": 1.0, "default_pos_val": 1.0, "pos_wt": 1.0,
    "normalize_pos_by_label_ct": False, "fuse_image_data": False, "fuse_image_data_size_prop": 0.1,
    "extra_feature_wt": 1.0, "patient_wt": 0.0, "phase_wt": 0.0, "group_wt": 0.0, "height_wt": 0.0, "weight_wt": 0.0,
    "slice_rel_pos_wt": 0.0, "slice_mid_wt": 0.0, "slice_pos_wt": 0.0, "uncertainty_wt": 0.0, "max_dist": None,
    "wt_max_dist_mult": 1.0,
}  # fmt: skip
MFC_PIXELS = {name: value for name, value in MFC.items() if not name.startswith("fuse")}


@pytest.mark.parametrize(
    "groups, first, second",
    [
        ({"data_geometry": KCENTER}, Selection("coreset"), None),
        ({"data_geometry": {**KCENTER, "alg_string": "gpu_kcenter_greedy"}}, Selection("coreset"), None),
        ({"data_geometry": ENCODER}, Selection("kcenter", features="encoder"), None),
        (
            {"data_geometry": {**KCENTER, "alg_string": "pkcenter_greedy", "coreset_kwargs": {"temp_init": 2}}},
            Selection("pkcenter", {"temp_init": 2.0, "temp_scale": None}, features="pixels"),
            None,
        ),
        (
            {"data_geometry": {**ENCODER, "metric": "cosine", "patient_wt": 0.5}},
            Selection("mfc", MFC | {"metric": "cosine", "patient_wt": 0.5}, features="encoder"),
            None,
        ),
        (
            {
                "data_geometry": {**KCENTER, "use_uncertainty": True, "uncertainty_wt": 2},
                "model_uncertainty": ENSEMBLE,
            },
            Selection("coreset"),
            Selection("mfc", MFC | {"uncertainty_wt": 2.0}, features="pixels", scores="entropy"),
        ),
        (
            {"data_geometry": {**ENCODER, "use_model_features": True}, "model": {"inf_train_type": "features"}},
            Selection("kcenter", features="encoder"),
            Selection("kcenter", features="encoder_map"),
        ),
        (
            {"data_geometry": {**ENCODER, "features": "pooled_map"}, "model": {"feature_decoder_index": 4}},
            Selection("kcenter", features="encoder", feature_map=4),
            Selection("kcenter", features="pooled_map", feature_map=4),
        ),
        (
            {"data_geometry": {**KCENTER, "use_labels": True, "default_pos_val": 0.5}},
            Selection("mfc_pixels", MFC_PIXELS | {"use_labels": True, "default_pos_val": 0.5}, masks=True),
            None,
        ),
        (
            {"data_geometry": {"data_geometry_type": "typiclust", "k_nn": 3}},
            Selection("typiclust", {"min_cluster_size": 5, "max_num_clusters": 500, "k_nn": 3}, features="pixels"),
            None,
        ),
        (
            {"model_uncertainty": ENSEMBLE, "policy": {"rank_type": "inc"}},
            Selection("random"),
            Selection("uncertainty", scores="entropy", descending=False),
        ),
        (
            {"model_uncertainty": {"model_uncertainty_type": "stochastic", "score_func": "margin", "sbatch_size": 4}},
            Selection("random"),
            Selection("stochastic_batches", {"sbatch_size": 4}, scores="margin"),
        ),
        (
            {
                "model": {"model_type": "db_strong", "db_score_func": "bald_score", "T": 7},
                "model_uncertainty": {"model_uncertainty_type": "ensemble", "score_func": "mean_score"},
            },
            Selection("random"),
            Selection("uncertainty", scores="bald", passes=7, combine="mean_scores"),
        ),
        (
            {
                "model": {"model_type": "db_strong", "db_score_func": "pass_probs"},
                "model_uncertainty": {"model_uncertainty_type": "ensemble"},
            },
            Selection("random"),
            Selection("uncertainty", scores="vote_entropy", passes=40),
        ),
        (
            {"data_geometry": {"data_geometry_type": "badge"}},
            Selection("random"),
            Selection("badge", gradients=True),
        ),
        (
            {
                "data_geometry": {"data_geometry_type": "uncertainty_herding", "bandwidth": 2},
                "model_uncertainty": ENSEMBLE,
            },
            Selection("random"),
            Selection("uncertainty_herding", {"bandwidth": 2.0}, features="pixels", scores="entropy"),
        ),
    ],
)
def test_what_each_round_gets(load, groups, first, second):
    assert load(**groups).selections == (first, second or first)


def test_coregcn_and_vaal_get_their_published_settings(load):
    geometry = {"data_geometry_type": "coregcn", "lr_gcn": 1e-2, "starting_sample": 10, "s_margin": 0.2}
    chosen = load(data_geometry=geometry).selections[0]
    assert chosen.options["lr_gcn"] == 1e-2 and chosen.options["starting_sample"] == 10
    assert chosen.options["wdecay"] == 5e-4 and "s_margin" not in chosen.options
    rounds = [[0.01, 0, "random", True], [0.01, 0]]
    experiment = load(data_geometry={"data_geometry_type": "vaal"}, policy={"rounds": rounds})
    assert experiment.selections[1] == Selection("vaal", scores="vaal")
    options = vaal_options(experiment.geometry)
    assert (options["latent_dim"], options["batch_size"], options["num_epochs"]) == (32, 128, 50)
    assert (options["vae_steps_per"], options["discriminator_steps_per"], options["vae_beta"]) == (2, 1, 1.0)


def test_a_round_that_does_not_train_leaves_no_network(load):
    rounds = [[0.01, 0, None, True], [0.01, 0], [0.01, 0]]
    chosen = load(policy={"rounds": rounds}, model_uncertainty=ENSEMBLE).selections
    assert [one.strategy for one in chosen] == ["random", "random", "uncertainty"]
    kwargs = {"rounds": rounds, "ensemble_kwargs": {"skip": True}}
    experiment = load(policy=kwargs, model_uncertainty=ENSEMBLE)
    assert all(one.skip_training for one in experiment.policy.all_rounds)
    assert {one.strategy for one in experiment.selections} == {"random"}


def test_pass_is_as_no_group(load):
    groups = {"data_geometry": {"data_geometry_type": "pass"}, "model_uncertainty": ENSEMBLE}
    experiment = load(**groups)
    assert experiment.geometry is None and experiment.selections[1].strategy == "uncertainty"


def test_arguments_of_the_encoder():
    params = FeatureModelParams(
        batch_size=9, pos_loss1=True, pos_loss1_wt=0.35, pos_loss1_mask=(2,), pos_loss2=False, use_phase=True
    )
    found = encoder_arguments(params, 5)
    assert (found["pos_loss1_wt"], found["pos_loss1_mask"], found["pos_loss2_wt"]) == (0.35, "2", 0.0)
    assert (found["neg_loss_wt"], found["use_phase"], found["use_patient"], found["seed"]) == (0.0, 1, 0, 5)
    from fewslice.settings.flag_specs_group import GROUP_SPECS

    assert set(found) == set(GROUP_SPECS) | {"seed"}
    assert all(GROUP_SPECS[name].is_right is None or GROUP_SPECS[name].is_right(found[name]) for name in GROUP_SPECS)


def test_options_are_those_that_the_strategies_take(load):
    from fewslice.active.query import check_options

    for geometry in (
        {"data_geometry_type": "coregcn"},
        {"data_geometry_type": "typiclust"},
        {**ENCODER, "metric": "dot"},
        {**KCENTER, "alg_string": "pkcenter_greedy"},
    ):
        for one in load(data_geometry=geometry).selections:
            check_options(one.strategy, one.options)


def test_a_new_strategy_needs_nothing_else(load):
    @register("my_own", needs=("features", "scores"))
    def my_own(query, *, share: float = 0.5, name: str = "x", many: int):
        return query.candidates[: query.budget]

    try:
        geometry = {"data_geometry_type": "my_own", "share": 1, "many": 3, "feature_model": False}
        experiment = load(data_geometry=geometry, model_uncertainty=ENSEMBLE)
        options = {"share": 1.0, "many": 3}
        assert experiment.selections == (
            Selection("random"),
            Selection("my_own", options, features="pixels", scores="entropy"),
        )
        assert experiment.settings()["data_geometry"]["options"] == options
        assert experiment.settings()["strategy"] == "my_own"
        for wrong, words in [
            ({"shar": 1}, "Did you mean 'share'"),
            ({"share": "x"}, "must be a number"),
            ({"many": None}, "must be a whole number"),
            ({"pos_wt": 3}, "only for kcenter_greedy"),
        ]:
            assert words in problem(load, data_geometry={**geometry, **wrong}, model_uncertainty=ENSEMBLE)
        del geometry["many"]
        assert "'many' must be given" in problem(load, data_geometry=geometry, model_uncertainty=ENSEMBLE)
    finally:
        STRATEGIES._objects.pop("my_own")


def test_settings_are_plain_and_decide(load):
    first, again = load(data_geometry=ENCODER).settings(), load(data_geometry=ENCODER, exp_dir="other").settings()
    assert first == again == json.loads(json.dumps(first))
    assert (first["seed"], first["strategy"], first["dataset"]) == (0, "kcenter", "acdc_wsl4mis")
    assert load(data_geometry=ENCODER, policy={"seed": 1}).settings() != first


def test_no_network_library_is_needed():
    code = (
        "import sys, fewslice.settings.compat.al_config as c; "
        "c.load_experiment('experiments/acdc_weak_ours.yml').selections; "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch', 'sklearn') if m in sys.modules])"
    )
    from fewslice.settings.dataset_files import checkout

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=checkout(), check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["model", "data_geometry", "model_uncertainty", "policy"])
def test_any_value_of_any_key_is_read_or_refused(monkeypatch, name):
    values = [None, "x", "", [], [[1]], [2, 3], {}, {"a": {}}, -1, 0, 3, 1e300, True, "../x", 1 << 40]
    keys = [(name, key) for key in keys_of(GROUPS[name])]
    for inner, group in INNER.items():
        keys += [(*inner.split("."), key) for key in keys_of(group) if inner.split(".")[0] == name]
    refused = 0
    for place in keys:
        for value in values:
            whole = json.loads(json.dumps({**BASE, "data_geometry": ENCODER, "model_uncertainty": ENSEMBLE}))
            target = whole
            for part in place[:-1]:
                target = target.setdefault(part, {})
            target[place[-1]] = value
            monkeypatch.setattr(al_config, "read_yaml", lambda path, values=whole: YamlFile(path, values, {}, ()))
            try:
                load_experiment("mine.yml").settings()
            except ConfigError as error:
                assert "mine.yml:1: " in str(error)
                refused += 1
    assert refused > 5 * len(keys)
