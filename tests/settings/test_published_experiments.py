"""The experiments that are shipped. Expected values: the published files as the specification tells them.

Vepa et al., 2024; shares bought, seeds, networks, losses and strategies were copied from there by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fewslice.active.query import check_options
from fewslice.active.strategies import load_all
from fewslice.settings.compat.al_config import load_experiment
from fewslice.settings.compat.al_groups import key_table
from fewslice.settings.compat.al_selection import Selection
from fewslice.settings.datasets import load_dataset_config

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
FILES = sorted(FOLDER.glob("*.yml"))
FIVE = (0.01,) * 5
NINE = (*FIVE, 0.05, 0.05, 0.05, 0.2)
FOUR, TEN, MSCMR = (0.1,) * 4, (0.1,) * 10, (0.1, 0.05, 0.05, 0.05, 0.05)

# file -> dataset, model, networks, seed, shares, strategy of the last round
PUBLISHED = {
    "acdc_weak_ours_uncertainty": ("ACDC", "dmpls", 5, 1, NINE, "mfc"),
    "acdc_weak_ours": ("ACDC", "dmpls", 5, 0, FIVE, "mfc"),
    "acdc_strong_ours": ("ACDC", "strong", 5, 0, FIVE, "mfc"),
    "pretrained_acdc_strong_ours": ("ACDC", "lvm_med", 5, 0, FIVE, "kcenter"),
    "acdc_weak_coreset": ("ACDC", "dmpls", 5, 1, NINE, "coreset"),
    "acdc_strong_coreset": ("ACDC", "strong", 5, 0, FIVE, "coreset"),
    "acdc_weak_random": ("ACDC", "dmpls", 5, 0, NINE, "random"),
    "acdc_weak_bald": ("ACDC", "db_dmpls", 5, 1, NINE, "uncertainty"),
    "acdc_weak_ensemble_var": ("ACDC", "dmpls", 5, 1, NINE, "uncertainty"),
    "acdc_weak_stochastic": ("ACDC", "dmpls", 5, 1, NINE, "stochastic_batches"),
    "acdc_weak_coregcn": ("ACDC", "dmpls", 5, 1, NINE, "coregcn"),
    "acdc_weak_typiclust": ("ACDC", "dmpls", 5, 1, NINE, "typiclust"),
    "acdc_weak_vaal": ("ACDC", "dmpls", 5, 1, NINE, "vaal"),
    "chaos_strong_coreset": ("CHAOS_CT", "strong", 3, 0, NINE, "coreset"),
    "chaos_strong_ensemble_entropy": ("CHAOS_CT", "strong", 3, 0, NINE, "uncertainty"),
    "davis_random": ("DAVIS", "strong", 1, 0, TEN, "random"),
    "davis_coreset": ("DAVIS", "strong", 1, 0, TEN, "coreset"),
    "davis_strong_random": ("DAVIS", "strong", 3, 0, FOUR, "random"),
    "davis_strong_coreset": ("DAVIS", "strong", 3, 0, FOUR, "coreset"),
    "mscmr_random": ("MSCMR", "dmpls", 1, 0, FIVE, "random"),
    "mscmr_coreset": ("MSCMR", "dmpls", 1, 0, MSCMR, "coreset"),
    "mscmr_coreset_cl": ("MSCMR", "dmpls", 1, 0, MSCMR, "mfc"),
    "mscmr_weak_random": ("MSCMR", "dmpls", 5, 0, NINE, "random"),
    "mscmr_weak_coreset": ("MSCMR", "dmpls", 5, 0, NINE, "coreset"),
    "acdc_strong_resnet50_coreset": ("ACDC", "lvm_med", 1, 0, FIVE[:3], "coreset"),
    "acdc_weak_stochastic_two_networks": ("ACDC", "dmpls", 2, 0, (0.1, *FIVE[:4]), "stochastic_batches"),
    "acdc_weak_typiclust_one_network": ("ACDC", "dmpls", 1, 0, (0.05, *FIVE[:4]), "typiclust"),
}
AUTHORS = {
    "authors_acdc_strong_slice_volume_patient": (8, 0.0, (0.33, 0.33, 0.33)),
    "authors_acdc_strong_volume_patient": (9, 1.0, (0.35, 0.05)),
    "authors_mscmr_weak_slice_volume": (9, 1.0, (0.3, 0.1)),
    "authors_mscmr_weak_volume": (8, 1.0, (0.35,)),
    "authors_mscmr_weak_volume_fused": (8, 1.0, (0.35,)),
    "authors_chaos_strong_volume": (8, 1.0, (0.35,)),
    "authors_chaos_strong_slice_volume": (9, 1.0, (0.3, 0.1)),
    "authors_davis_strong_volume": (8, 1.0, (0.35,)),
    "authors_davis_strong_slice_volume": (9, 1.0, (0.3, 0.1)),
}


def shipped(name):
    return load_experiment(FOLDER / f"{name}.yml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_right_and_says_what_it_is(path):
    experiment = load_experiment(path)
    assert experiment.exp_dir == path.stem and experiment.notes == ()
    load_all()
    for one in experiment.selections:
        check_options(one.strategy, one.options)
    remark = path.read_text().split("\n\n")[0].splitlines()
    assert 2 <= len(remark) <= 4 and all(line.startswith("# ") for line in remark)
    load_dataset_config(experiment.dataset_name)


def test_all_published_experiments_are_there():
    assert len(PUBLISHED) == 27
    names = {path.stem for path in FILES}
    assert set(PUBLISHED) | set(AUTHORS) | {"phantom_quick"} <= names


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    experiment, model = shipped(name), shipped(name).model
    dataset, kind, networks, seed, shares, strategy = PUBLISHED[name]
    assert (model.dataset, model.model_type, model.ensemble_size) == (dataset, kind, networks)
    assert experiment.seed == seed and tuple(one.oracle for one in experiment.policy.rounds) == shares
    assert not any(one.pseudo for one in experiment.policy.rounds)
    assert experiment.selections[-1].strategy == strategy
    short = name.startswith(("mscmr_random", "mscmr_coreset")) or name in ("davis_random", "davis_coreset")
    short |= name == "acdc_weak_stochastic_two_networks"
    assert kind == "lvm_med" or model.max_iterations == (30000 if short else 60000)
    assert model.in_chns == (3 if dataset == "DAVIS" or kind == "lvm_med" else 1)
    if dataset == "CHAOS_CT":
        assert not experiment.policy.ensemble_kwargs.inf_test


@pytest.mark.parametrize("name", ["acdc_weak_ours", "acdc_strong_ours"])
def test_the_method(name):
    experiment = shipped(name)
    params, options = experiment.geometry.feature_model_params, experiment.selections[0].options
    assert (params.encoder, params.batch_size, params.partners) == ("resnet18", 9, 2)
    assert params.use_phase and params.use_patient and not params.use_slice_pos
    assert params.group_terms == {"pos_loss1": 0.35, "pos_loss2": 0.05}
    assert (params.pos_loss1_mask, params.pos_loss2_mask, params.loss_wt) == ((2,), (), 1.0)
    assert options["use_labels"] and options["normalize_pos_by_label_ct"] and options["fuse_image_data"]
    assert (options["label_wt"], options["default_pos_val"], options["pos_wt"]) == (1.0, 0.0, 1500.0)
    assert options["fuse_image_data_size_prop"] == 0.1 and options["uncertainty_wt"] == 0.0
    assert {one.features for one in experiment.selections} == {"encoder"} and experiment.uncertainty is None


def test_the_default_experiment_no_longer_stops():
    experiment = shipped("acdc_weak_ours_uncertainty")
    params = experiment.geometry.feature_model_params
    assert params.group_terms == {"pos_loss1": 0.2, "pos_loss2": 0.1, "pos_loss3": 0.05} and params.batch_size == 8
    assert (params.pos_loss1_mask, params.pos_loss2_mask, params.pos_loss3_mask) == ((2, 3), (3,), ())
    first, second = experiment.selections[:2]
    assert (first.scores, first.options["uncertainty_wt"], first.options["label_wt"]) == (None, 0.0, 2.0)
    assert (second.scores, second.options["uncertainty_wt"]) == ("entropy", 1.0)


def test_rivals():
    assert shipped("acdc_weak_bald").selections[1] == Selection(
        "uncertainty", scores="bald", passes=40, combine="mean_scores"
    )
    assert shipped("acdc_weak_ensemble_var").selections[1] == Selection("uncertainty", scores="variance_ratio")
    batches = Selection("stochastic_batches", {"sbatch_size": 10}, scores="entropy")
    assert shipped("acdc_weak_stochastic").selections[1] == batches
    graph = shipped("acdc_weak_coregcn").selections
    assert (graph[0].features, graph[1].features, graph[1].feature_map) == ("pixels", "encoder_map", 0)
    assert graph[1].options["starting_sample"] == 10
    first = shipped("acdc_weak_vaal").policy.rounds[0]
    assert (first.split_method, first.skip_training) == ("random", True)
    typical = shipped("acdc_weak_typiclust").geometry.feature_model_params
    assert (typical.batch_size, typical.num_epochs, typical.partners) == (8, 50, 0)


def test_the_trial_on_mscmr():
    params = shipped("mscmr_coreset_cl").geometry.feature_model_params
    terms = {"neg_loss": 0.8, "pos_loss1": 0.2, "pos_loss2": 0.2, "pos_loss3": 0.2}
    assert params.group_terms == terms and (params.loss_wt, params.num_epochs) == (0.2, 5)


@pytest.mark.parametrize("name", AUTHORS)
def test_configurations_of_the_authors(name):
    experiment, (batch, weight, terms) = shipped(name), AUTHORS[name]
    params = experiment.geometry.feature_model_params
    assert (params.batch_size, params.loss_wt, tuple(params.group_terms.values())) == (batch, weight, terms)
    assert params.fuse_image_data == name.endswith("fused") and experiment.model.ensemble_size == 5
    assert params.in_chns == experiment.model.in_chns == (3 if "davis" in name else 1)


def test_the_quick_one_is_quick():
    experiment = shipped("phantom_quick")
    assert experiment.model.ensemble_size == 1 and len(experiment.policy.rounds) == 3
    total = sum(experiment.model.max_iterations * 0.05 * (number + 1) for number in range(3))
    assert total <= 600 and experiment.geometry.feature_model_params.num_epochs == 1


def test_the_readme_lists_every_key_and_file():
    text = (FOLDER / "README.md").read_text()
    table = text[text.index("| key |") :].strip().splitlines()
    assert table == key_table()
    assert set(re.findall(r"^\| `(\w+)\.yml`", text, re.M)) == {path.stem for path in FILES}


def test_the_strategy_of_the_readme_works():
    import numpy as np

    from fewslice.active.query import STRATEGIES, Query, select
    from fewslice.active.units import make_pool

    text = (FOLDER / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    pool = make_pool([f"u{n}" for n in range(10)], [1] * 10, [1] * 10, range(10))
    with STRATEGIES.temporary():
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
        query = Query(pool, np.zeros(10, bool), 3, np.random.default_rng(0))
        assert select("outermost", query, {"share": 0.0}).indices.tolist() == [9, 8, 7]
