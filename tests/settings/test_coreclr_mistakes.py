"""CoreCLR files: mistakes with their lines, keys without effect, and what the keys become in the native form.

Expected values: the published tables of keys with their defaults (Vepa et al. 2024, as in the specification), lines
counted by hand. One row per mechanism.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fewslice import learner  # noqa: F401  names of networks, members and features
from fewslice.active import annotators  # noqa: F401
from fewslice.active.query import STRATEGIES, register
from fewslice.core import options
from fewslice.core.errors import ConfigError, DataError
from fewslice.settings import load
from fewslice.settings.compat import coreclr
from fewslice.settings.experiment import QuerySettings
from fewslice.settings.load import load_experiment
from fewslice.settings.yaml import Named, YamlFile
from tests.registries import temporary

BASE = {
    "model": {"model_type": "dmpls"},
    "policy": {"policy_type": "ranked", "rounds": [[0.01, 0], [0.01, 0]]},
    "exp_dir": "mine",
}
KCENTER = {"data_geometry_type": "kcenter_greedy"}
ENCODER = {**KCENTER, "feature_model": True, "contrastive": True}
ENSEMBLE = {"model_uncertainty_type": "ensemble", "score_func": "entropy_w_label_probs"}
LVM = {"model_type": "lvm_med", "ann_type": "label"}


@pytest.fixture
def read(tmp_path):
    """Returns a function that loads a text, or the base experiment with other keys: JSON is YAML."""

    def read_text(text=None, overrides=None, **groups):
        if text is None:
            given = {name: {**BASE.get(name, {}), **keys} for name, keys in groups.items() if isinstance(keys, dict)}
            text = json.dumps({**BASE, **given, **{k: v for k, v in groups.items() if not isinstance(v, dict)}})
        (tmp_path / "mine.yml").write_text(text)
        return load_experiment(tmp_path / "mine.yml", overrides)

    return read_text


def problem(read, *args, **groups):
    with pytest.raises(ConfigError) as caught:
        read(*args, **groups)
    return str(caught.value)


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
        ("ensemble_size: 2", "ensemble_size: 0", 4, "a whole number, 1 or larger. Received: 0"),
        ("ensemble_size: 2", "patch_size: [250, 256]", 4, "multiples of 16"),
        ("ensemble_size: 2", "model_type: strong", 4, "duplicate key `model_type`, first in line 3"),
        ("ensemble_size: 2", "rounds: []", 4, "'rounds' stands in the group `policy`"),
        ("ensemble_size: 2", "dataset: ACDCC", 4, "Did you mean 'ACDC'?"),
        ("ensemble_size: 2", "val_epoch: 2", 4, "`model.val_epoch` counts only for lvm_med. Remove it."),
        ("ensemble_size: 2", "tag: ../../x", 4, "outside the run directory. Write 'x'."),
        ("ensemble_size: 2", "seg_model: pnet", 4, "Write unet_cct."),
        ("model_type: dmpls", "model_type: dmpl", 3, "Unknown type 'dmpl'. Did you mean 'dmpls'?"),
        ("model_type: dmpls", "model_type: spml_mv", 3, "no longer exists"),
        ("contrastive: true", "contrastive: true\n  metric: off", 9, "one of euclidean, cosine, dot"),
        ("contrastive: true", "contrastive: true\n  k_nn: 3", 9, "counts only for typiclust"),
        ("contrastive: true", "contrastive: false", 7, "ImageNet weights"),
        ("batch_size: 9", "use_phase: true", 10, "use_phase: true: groups have no effect"),
        ("- [0.01, 0]\n", "- [2, 0]\n", 14, "two shares from 0 to 1"),
        ("exp_dir: mine", "exp_dir: mine\nmodel_uncertainty: {model_uncertainty_type: ensemble}", 17, "ranks alone"),
    ],
)
def test_every_mistake_is_named_with_its_line(read, old, new, line, words):
    assert LINES.count(old) == 1
    message = problem(read, LINES.replace(old, new, 1))
    assert f"mine.yml:{line}: " in message and words in message


def test_the_text_that_the_mistakes_are_put_into_is_right(read):
    kcenter = QuerySettings(strategy=Named("kcenter"), features=Named("encoder", {"batch_size": 128}))
    assert read(LINES).round_queries() == [kcenter, RANDOM]


def test_all_mistakes_at_once_in_the_order_of_lines(read):
    text = LINES.replace("ensemble_size: 2", "ensemble_size: 0").replace("exp_dir: mine", "exp_dir: /x\nexp_dir: y")
    lines = problem(read, text.replace("batch_size: 9", "batch: 9")).splitlines()
    assert "has 4 problems" in lines[0]
    assert [line.split("mine.yml:")[1].split(":")[0] for line in lines[1:]] == ["4", "10", "16", "17"]


def test_missing_groups_and_files(read, tmp_path):
    message = problem(read, "model: {model_type: dmpls}\n")
    assert all(f"`{name}` must be given" in message for name in ("policy", "exp_dir"))
    with pytest.raises(DataError, match="experiments/phantom_quick.yml"):
        load_experiment(tmp_path / "absent.yml")


def test_overrides(read):
    overrides = {"policy.seed": "3", "model.base_lr": "1e-4", "policy.rounds": "[[0.1, 0], [0.2, 0]]"}
    found = read(overrides=overrides | {"policy.ensemble_kwargs.inf_test": "true"}, data_geometry=KCENTER)
    assert (found.seed, found.network.options["learning_rate"], found.test) == (3, 1e-4, True)
    assert [one.add for one in found.rounds] == [0.1, 0.2]
    assert read(overrides={"data_geometry": "null", "policy.policy_type": "random"}, data_geometry=KCENTER)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("policy.sed", "3", "--set policy.sed=3: Unknown key of policy 'sed'. Did you mean 'seed'?"),
        ("policy.seed", "x", "--set policy.seed=x: `policy.seed` must be a whole number"),
        ("policy.seed.x", "3", "`seed` holds no keys"),
        ("policy.rounds", "[[", "YAML cannot read this"),
        ("seed", "3", "'seed' stands in the group `policy`"),
    ],
)
def test_wrong_overrides(read, name, text, words):
    policy = {**BASE["policy"], "seed": 0}
    assert words in problem(read, overrides={name: text}, data_geometry=KCENTER, policy=policy)


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ("data_geometry.gpus, data_geometry.seed, model.deterministic, policy.resume",
         {"data_geometry": {**KCENTER, "gpus": "cuda:1", "seed": 4}, "model": {"deterministic": 0},
          "policy": {"resume": True}}),
        ("data_geometry, policy.rank_type",
         {"policy": {"policy_type": "random", "rank_type": "inc"}, "data_geometry": KCENTER}),
        ("model.T, model.inf_train_type",
         {"model": {"model_type": "db_dmpls", "T": 3, "inf_train_type": "features"}, "data_geometry": ENCODER}),
        ("policy.rounds", {"model": LVM, "data_geometry": KCENTER, "policy": {"rounds": [[0.01, 0.5]]}}),
        ("data_geometry.max_dist", {"data_geometry": {**KCENTER, "max_dist": 2}}),
        ("data_geometry.feature_model_params.encoder, data_geometry.feature_model_params.num_epochs",
         {"data_geometry": {**ENCODER, "feature_model_params": {
             "cl_prev_path": "runs/x", "encoder": "resnet50", "num_epochs": 3, "inf_batch_size": 4}}}),
        ("", {"model": {"feature_decoder_index": 2},
              "data_geometry": {**ENCODER, "features": "pooled_map", "patient_wt": 0.5, "max_dist": 2}}),
    ],
)  # fmt: skip
def test_keys_without_effect_are_named_in_one_line(read, monkeypatch, keys, groups):
    lines = []
    monkeypatch.setattr(coreclr.logging, "info", lambda text, *values: lines.append(text % values))
    read(**groups)
    assert [line.split(" (")[0] for line in lines] == ([f"No effect here: {keys}"] if keys else [])


@pytest.mark.parametrize(
    "groups, words",
    [
        ({}, "ranked needs a data_geometry or model_uncertainty"),
        ({"data_geometry": {"data_geometry_type": "mid_slice", "feature_model": True}}, "looks at no features"),
        ({"data_geometry": {**ENCODER, "feature_model_params": {"pos_loss2_wt": 0.1}}}, "without `pos_loss2: true`"),
        ({"data_geometry": {"data_geometry_type": "mfc", "uncertainty_wt": 1}}, "`use_uncertainty: true` for the same"),
        ({"data_geometry": {**KCENTER, "use_labels": True}, "model": {"model_type": "strong"},
          "policy": {"annotator": "files"}}, "weigh all pixels alike"),
        ({"data_geometry": {"data_geometry_type": "vaal"}, "model": {"network_size": [48, 48]}}, "multiples of 32"),
        ({"data_geometry": {**KCENTER, "features": "pooled_map"},
          "model": {"model_type": "strong", "seg_model": "pretrainable_unet"}}, "maps of the encoder can be had"),
        ({"data_geometry": {**ENCODER, "feature_model_params": {"pretrained": True}},
          "model": {**LVM, "base_original_checkpoint": "gcl"}, "policy": {"policy_type": "random"}}, "ImageNet"),
        ({"data_geometry": ENCODER, "model": {**LVM, "base_original_checkpoint": "gcl"}}, "is a resnet18"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "mean_score"}}, "mean_score averages"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "bald"}}, "0 everywhere"),
        ({"model_uncertainty": {**ENSEMBLE, "score_func": "entrpy"}}, "Did you mean 'entropy'?"),
        ({"model": {"model_type": "db_dmpls", "db_score_func": "bald_score"}, "model_uncertainty": ENSEMBLE},
         "Write `mean_score`, or `db_score_func: pass_probs`"),
        ({"model": {"dataset": "MSCMR", "model_type": "strong"}, "data_geometry": KCENTER}, "scribbles only"),
        ({"model": {"dataset": "DAVIS", "model_type": "strong"}, "data_geometry": KCENTER}, "Write `in_chns: 3`"),
        ({"model": {"patch_size": [64, 64], "network_size": [32, 64]}, "data_geometry": KCENTER}, "Remove one"),
        ({"data_geometry": {"data_geometry_type": "vaal"}}, "needs annotated units"),
        ({"data_geometry": {"data_geometry_type": "uncertainty"}}, "needs scores of networks"),
        ({"data_geometry": {"data_geometry_type": "probcover", "deltaa": 1}}, "Did you mean 'delta'?"),
        ({"data_geometry": {**KCENTER, "label_wt": -1, "use_labels": True}}, "label_wt` must be a number, 0 or larger"),
        ({"model": {"dataset": "MSCMR"}, "data_geometry": {**KCENTER, "height_wt": 1}}, "no such metadata"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_each_other(read, groups, words):
    assert words in problem(read, **groups)


MFC = {
    "metric": "euclidean", "use_labels": False, "label_wt": 1.0, "default_pos_val": 1.0, "pos_wt": 1.0,
    "normalize_pos_by_label_ct": False, "fuse_image_data": False, "fuse_image_data_size_prop": 0.1,
    "extra_feature_wt": 1.0, "patient_wt": 0.0, "phase_wt": 0.0, "group_wt": 0.0, "height_wt": 0.0, "weight_wt": 0.0,
    "slice_rel_pos_wt": 0.0, "slice_mid_wt": 0.0, "slice_pos_wt": 0.0, "uncertainty_wt": 0.0, "max_dist": None,
    "wt_max_dist_mult": 1.0,
}  # fmt: skip
EMBEDDINGS, PIXELS = Named("encoder", {"batch_size": 128}), Named("pixels")


def query(strategy, given=None, *, score=None, **rest):
    """Returns a query with all options of its strategy."""
    complete, wrong = options.registered_options("strategy", strategy, STRATEGIES.get(strategy), given or {})
    assert wrong == []
    return QuerySettings(strategy=Named(strategy, complete), score=Named(score) if score else None, **rest)


RANDOM = query("random")


@pytest.mark.parametrize(
    "groups, first, second",
    [
        ({"data_geometry": {**KCENTER, "alg_string": "gpu_kcenter_greedy"}}, query("coreset"), None),
        ({"data_geometry": ENCODER}, query("kcenter", features=EMBEDDINGS), None),
        ({"data_geometry": {**KCENTER, "alg_string": "pkcenter_greedy", "coreset_kwargs": {"temp_init": 2}}},
         query("pkcenter", {"temp_init": 2.0, "temp_scale": None}, features=PIXELS), None),
        ({"data_geometry": {**ENCODER, "metric": "cosine", "patient_wt": 0.5}},
         query("mfc", MFC | {"metric": "cosine", "patient_wt": 0.5}, features=EMBEDDINGS), None),
        ({"data_geometry": {**KCENTER, "use_uncertainty": True, "uncertainty_wt": 2}, "model_uncertainty": ENSEMBLE},
         query("coreset"), query("mfc", MFC | {"uncertainty_wt": 2.0}, features=PIXELS, score="entropy")),
        ({"data_geometry": {**ENCODER, "use_model_features": True}, "model": {"inf_train_type": "features"}},
         query("kcenter", features=EMBEDDINGS), query("kcenter", features=Named("encoder_map", {"level": 0}))),
        ({"data_geometry": {**ENCODER, "features": "pooled_map"}, "model": {"feature_decoder_index": 4}},
         query("kcenter", features=EMBEDDINGS), query("kcenter", features=Named("pooled_map", {"level": 4}))),
        ({"data_geometry": {**KCENTER, "use_labels": True, "default_pos_val": 0.5}},
         query("mfc_pixels", MFC | {"use_labels": True, "default_pos_val": 0.5, "fuse_image_data": True}), None),
        ({"data_geometry": {"data_geometry_type": "typiclust", "k_nn": 3}},
         query("typiclust", {"min_cluster_size": 5, "max_num_clusters": 500, "k_nn": 3}, features=PIXELS), None),
        ({"model_uncertainty": ENSEMBLE, "policy": {"rank_type": "inc"}},
         RANDOM, query("uncertainty", score="entropy", ascending=True)),
        ({"model_uncertainty": {"model_uncertainty_type": "stochastic", "score_func": "margin", "sbatch_size": 4}},
         RANDOM, query("stochastic_batches", {"sbatch_size": 4}, score="margin")),
        ({"model": {"model_type": "db_strong", "db_score_func": "bald_score", "T": 7},
          "model_uncertainty": {"model_uncertainty_type": "ensemble", "score_func": "mean_score"}},
         RANDOM, query("uncertainty", score="bald", passes=7, combine="mean_scores")),
        ({"model": {"model_type": "db_strong"}, "model_uncertainty": {"model_uncertainty_type": "ensemble"}},
         RANDOM, query("uncertainty", score="vote_entropy", passes=40)),
        ({"data_geometry": {"data_geometry_type": "badge"}}, RANDOM, query("badge", {"first": "uniform"})),
        ({"data_geometry": {"data_geometry_type": "pass"}, "model_uncertainty": ENSEMBLE},
         RANDOM, query("uncertainty", score="entropy")),
    ],
)  # fmt: skip
def test_what_each_round_gets(read, groups, first, second):
    assert read(**groups).round_queries() == [first, second or first]


def test_vaal_is_a_score(read):
    geometry, rounds = {"data_geometry_type": "vaal", "latent_dim": 8}, [[0.01, 0, "random", True], [0.01, 0]]
    chosen = read(data_geometry=geometry, policy={"rounds": rounds}).round_queries()[1]
    wanted = {"latent_dim": 8, "batch_size": 128, "num_epochs": 50}
    assert (chosen.strategy.name, chosen.score.name) == ("uncertainty", "vaal")
    assert chosen.score.options | wanted == chosen.score.options


def test_a_round_that_does_not_train_leaves_no_network(read):
    rounds = [[0.01, 0, None, True], [0.01, 0], [0.01, 0]]
    chosen = read(policy={"rounds": rounds}, model_uncertainty=ENSEMBLE).round_queries()
    assert [one.strategy.name for one in chosen] == ["random", "random", "uncertainty"]
    policy = {"rounds": rounds, "ensemble_kwargs": {"skip": True}}
    experiment = read(policy=policy, model_uncertainty=ENSEMBLE)
    assert not any(one.train for one in experiment.rounds) and experiment.round_queries() == [RANDOM] * 3


@pytest.mark.parametrize(
    "model, network, wanted",
    [
        ({"steady_statistics": True}, "dmpls", {"batch_size": 6, "steps": 60000, "recompute_bn_statistics": True}),
        ({"model_type": "strong", "max_iterations": 1e4}, "scribble_unet",
         {"loss": "strong_segmentation", "steps": 10000}),
        ({"model_type": "db_strong", "ann_type": "scribble"}, "scribble_unet", {"loss": "partial_cross_entropy"}),
        ({"model_type": "strong", "seg_model": "pretrainable_unet"}, "pretrainable_unet", {"learning_rate": 0.01}),
        ({**LVM, "val_epoch": 5}, "resnet_unet",
         {"encoder": "resnet50", "batch_size": 8, "learning_rate": 1e-4, "epochs": 50, "val_epochs": 5}),
    ],
)  # fmt: skip
def test_networks(read, model, network, wanted):
    found = read(model=model, policy={"policy_type": "random"}).network
    assert found.name == network and found.options | wanted == found.options


def test_the_encoder(read):
    terms = {"pos_loss1": True, "pos_loss1_wt": 0.35, "pos_loss1_mask": [2, 2, 1], "pos_loss2": False}
    params = {"batch_size": 9, "use_phase": True, "use_patient": True, **terms}
    encoder = read(data_geometry={**ENCODER, "feature_model_params": params}, policy={"seed": 5}).encoder
    assert (encoder.pos_loss1_wt, encoder.pos_loss1_mask, encoder.pos_loss2_wt) == (0.35, "1,2", 0.0)
    assert (encoder.neg_loss_wt, encoder.loss_wt, encoder.partners) == (0.0, 1.0, ("use_phase", "use_patient"))
    assert (encoder.epochs, encoder.run) == (100, "")


def test_a_new_strategy_needs_nothing_else(read):
    with temporary(STRATEGIES):

        @register("my_own", needs=("features", "scores"))
        def my_own(query, *, share: float = 0.5, seed: int = 3, many: int):
            return query.candidates[: query.budget]

        geometry = {"data_geometry_type": "my_own", "share": 1, "many": 3, "feature_model": False}
        found = read(data_geometry=geometry, model_uncertainty=ENSEMBLE)
        wanted = query("my_own", {"share": 1.0, "seed": 3, "many": 3}, features=PIXELS, score="entropy")
        assert found.round_queries() == [RANDOM, wanted]
        for wrong, words in [
            ({"shar": 1}, "Did you mean 'share'"),
            ({"share": "x"}, "must be a number"),
            ({"many": None}, "must be a whole number"),
            ({"seed": "x"}, "must be a whole number"),
            ({"pos_wt": 3}, "only for kcenter_greedy"),
        ]:
            assert words in problem(read, data_geometry={**geometry, **wrong}, model_uncertainty=ENSEMBLE)
        del geometry["many"]
        assert "`data_geometry.many` must be given" in problem(read, data_geometry=geometry, model_uncertainty=ENSEMBLE)


def test_no_network_library_is_needed():
    code = (
        "import sys; from fewslice import learner; from fewslice.active import annotators; "
        "from fewslice.settings.load import load_experiment as load; "
        "load('experiments/published/acdc_weak_ours.yml').plans(100); load('experiments/phantom_quick.yml'); "
        "print([m for m in ('keras', 'tensorflow', 'jax', 'torch') if m in sys.modules])"
    )
    from fewslice.settings.dataset_files import checkout

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=checkout(), check=True)
    assert found.stdout.strip() == "[]"


GROUPS = {
    ("model",): coreclr.Dmpls, ("data_geometry",): coreclr.KCenter, (*coreclr._PARAMS,): coreclr.Params,
    ("model_uncertainty",): coreclr.Ensemble, ("policy",): coreclr.Policy,
    ("policy", "ensemble_kwargs"): coreclr.EnsembleKwargs,
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[-1])
def test_any_value_of_any_key_is_read_or_refused(monkeypatch, group):
    values = [None, "x", "", [], [[1]], [2, 3], {}, {"a": {}}, -1, 0, 3, 1e300, True, "../x", 1 << 40]
    names, refused = options.fields_of(GROUPS[group]), 0
    for name in names:
        for value in values:
            whole = json.loads(json.dumps({**BASE, "data_geometry": ENCODER, "model_uncertainty": ENSEMBLE}))
            target = whole
            for part in group:
                target = target.setdefault(part, {})
            target[name] = value
            monkeypatch.setattr(load, "read_yaml", lambda path, values=whole: YamlFile(path, values, {}, ()))
            try:
                json.dumps(load_experiment("mine.yml").settings())
            except ConfigError as error:
                assert "mine.yml:1: " in str(error)
                refused += 1
    assert refused > 5 * len(names)


def test_a_group_that_only_an_override_makes_is_told_of_the_override(read, tmp_path):
    text = problem(read, overrides={"data_geometry.alg_string": "kcenter_greedy"})
    assert "--set data_geometry.alg_string=kcenter_greedy: `data_geometry.data_geometry_type`: it must be given" in text
