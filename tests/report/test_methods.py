"""How runs are put together, called and compared. Expected labels: typed by hand."""

from __future__ import annotations

import shutil

import pytest

from fewslice.core import files
from fewslice.report.reading.methods import by_setup, group_runs, read_methods
from fewslice.report.reading.runs import find_experiments, read_experiments, read_run
from fewslice.report.tables.trainings import facts, volume_table
from fewslice.settings.facts import of_experiment, of_training
from tests.report.experiment_dirs import write_experiment, write_round
from tests.report.run_dirs import write_run, write_scores

BASE, JOINT = "tr_baseline", "prop_method_joint_tr_rand_init"


def joint(root, method="contrastive", exp_no=1, *, start="teacher", **settings):
    """Writes a run of the joint stage that has the baseline `teacher` and starts from the weights `start`."""
    named = {} if method is None else {"method": method}
    values = {**named, "local_loss_exp_no": exp_no, **settings}
    return write_run(root, JOINT, teacher_sha256="teacher", initial_weights=start, **values)


def labels(runs):
    return [method.label for method in read_methods(runs)]


@pytest.mark.parametrize(
    ("method", "exp_no", "start", "label"),
    [
        ("contrastive", 0, "teacher", "Joint training, intra-image"),
        ("contrastive", 1, "teacher", "Joint training, inter-image"),
        (None, 1, "teacher", "Joint training, inter-image"),  # before there were other methods
        ("unimatch", 1, "teacher", "UniMatch"),
        ("copy_paste", 1, "teacher", "Copy-paste"),
        ("contrastive", 1, "decoder", "Joint training, inter-image, from pretrained weights"),
        ("unimatch", 1, "decoder", "UniMatch, from pretrained weights"),
        ("contrastive", 0, "", "Joint training, intra-image, from random weights"),  # --init_from=none
        ("cross_teaching", 1, "teacher", "cross teaching"),  # of a later version
    ],
)
def test_the_title_says_the_method_and_where_it_starts(tmp_path, method, exp_no, start, label):
    assert labels([joint(tmp_path, method, exp_no, start=start)]) == [label]


def test_a_fine_tuned_network_as_teacher_is_a_pretrained_start(tmp_path):
    fine_tuned = joint(tmp_path, "unimatch", teacher_stage="ft_pretr_encoder_decoder_net_local_loss")
    assert labels([fine_tuned]) == ["UniMatch, from pretrained weights"]
    assert labels([joint(tmp_path, "unimatch", teacher_stage=BASE)]) == ["UniMatch"]


def test_other_methods_are_not_told_apart_by_each_others_flags(tmp_path):
    runs = [write_run(tmp_path, BASE, initial_weights="")]
    runs += [joint(tmp_path, name, lamda_local=value) for name, value in (("copy_paste", 0), ("unimatch", 0.2))]
    runs += [joint(tmp_path, exp_no=0), joint(tmp_path, exp_no=1), joint(tmp_path, start="decoder")]
    inter = "Joint training, inter-image"
    assert labels(runs) == [
        "Baseline", inter, f"{inter}, from pretrained weights", "Joint training, intra-image", "UniMatch", "Copy-paste",
    ]  # fmt: skip


def test_one_method_with_other_settings_is_told_apart_by_them(tmp_path):
    runs = [joint(tmp_path, temp_fac=value) for value in (0.1, 0.5)]
    runs += [joint(tmp_path, "unimatch", confidence=value) for value in (0.9, 0.95)]
    inter = "Joint training, inter-image"
    assert sorted(labels(runs)) == [
        f"{inter} (temp_fac 0.1)", f"{inter} (temp_fac 0.5)", "UniMatch (confidence 0.9)", "UniMatch (confidence 0.95)",
    ]  # fmt: skip


def test_other_starts_are_other_methods_whatever_the_seeds(tmp_path):
    runs = [joint(tmp_path, seed=seed, start=start) for seed, start in enumerate(("teacher", "decoder", ""))]
    inter = "Joint training, inter-image"
    assert labels(runs) == [inter, f"{inter}, from pretrained weights", f"{inter}, from random weights"]


def test_seeds_are_one_method_although_their_pretrained_weights_differ(tmp_path):
    runs = [joint(tmp_path, seed=seed, start=f"decoder {seed}") for seed in (0, 1)]
    (method,) = read_methods([*runs, joint(tmp_path, seed=2, start="decoder 2")])
    assert [run.seed for run in method.runs] == [0, 1, 2]


def test_runs_from_before_there_were_methods_are_compared_with_contrastive_ones(tmp_path):
    runs = [joint(tmp_path, None, temp_fac=0.1), joint(tmp_path, temp_fac=0.5), joint(tmp_path, "unimatch", temp_fac=1)]
    inter = "Joint training, inter-image"
    assert sorted(labels(runs)) == [f"{inter} (temp_fac 0.1)", f"{inter} (temp_fac 0.5)", "UniMatch"]


def test_a_name_keeps_its_capital_in_the_table_of_differences(tmp_path):
    runs = [write_run(tmp_path, BASE), joint(tmp_path, "unimatch"), joint(tmp_path, "copy_paste"), joint(tmp_path)]
    for run in runs:
        write_scores(run, {"001_ED": (0.5, 0.5, 0.5)})
    assert volume_table(read_methods(runs)).header[5:] == (
        "Δ joint training, inter-image", "Δ UniMatch", "Δ copy-paste",
    )  # fmt: skip


def old(run, *, command="", **versions):
    """Gives a run another command or other versions of the software than `write_run` does."""
    if command:
        (run / "command.txt").write_text(command)
    if versions:
        files.write_json(run / "versions.json", versions)
    return run


@pytest.mark.parametrize(
    ("command", "label"),
    [
        ("x.py --teacher=/r/ft_pretr_encoder_decoder_net_local_loss/a-1 --ver=5", "UniMatch, from pretrained weights"),
        ("x.py --teacher '/runs/a/ft_pretr_encoder_net_global_loss/r-1'", "UniMatch, from pretrained weights"),
        ("x.py --teacher=/runs/a/tr_baseline/r-1", "UniMatch"),
        ("x.py --n_iter=5", "UniMatch"),
        ("x.py --teacher=weights.npz", "UniMatch"),
    ],
)  # fmt: skip
def test_an_older_run_names_its_start_in_its_command(tmp_path, command, label):
    assert labels([old(joint(tmp_path, "unimatch"), command=command)]) == [label]


def test_starts_from_different_pretrained_stages_are_told_apart(tmp_path):
    stages = ("ft_pretr_encoder_net_global_loss", "ft_pretr_encoder_decoder_net_local_loss")
    runs = [joint(tmp_path, "unimatch", teacher_stage=stage) for stage in stages]
    name = "UniMatch, from pretrained weights"
    assert sorted(labels(runs)) == [f"{name} (from pretrained encoder + decoder)", f"{name} (from pretrained encoder)"]


def test_a_setting_that_an_older_run_does_not_record_is_no_difference(tmp_path):
    runs = [joint(tmp_path, seed=0, temp_fac=0.1), joint(tmp_path, seed=1, temp_fac=0.1, soft_labels=0)]
    (method,) = read_methods(runs)
    assert method.label == "Joint training, inter-image" and [run.seed for run in method.runs] == [0, 1]
    assert dict(facts([method]))["Not recorded"] == "soft_labels by older runs"


def test_an_older_run_that_fits_two_methods_is_put_to_neither(tmp_path):
    runs = [joint(tmp_path, seed=0, soft_labels=value) for value in (0, 1)] + [joint(tmp_path, seed=1)]
    name = "Joint training, inter-image"
    assert sorted(labels(runs)) == [f"{name} (soft_labels {what})" for what in ("0", "1", "not recorded")]


def test_mixup_is_recorded_where_it_is_on(tmp_path):
    runs = [write_run(tmp_path, BASE, seed=seed) for seed in (0, 1)] + [write_run(tmp_path, BASE, seed=0, mixup=0.1)]
    assert sorted(labels(runs)) == ["Baseline (mixup 0.0)", "Baseline (mixup 0.1)"]


def test_an_older_run_did_what_was_done_before_the_flag_was_there(tmp_path):
    """Pseudo-labels came from the best network, and copy-paste kept every component."""
    runs = [joint(tmp_path, seed=seed) for seed in (0, 1)] + [joint(tmp_path, seed=0, refresh_from="last")]
    name = "Joint training, inter-image"
    assert sorted(labels(runs)) == [f"{name} (refresh_from best)", f"{name} (refresh_from last)"]
    runs = [joint(tmp_path, "copy_paste", seed=0), joint(tmp_path, "copy_paste", seed=1, largest_component=1)]
    name = "Copy-paste"
    assert sorted(labels(runs)) == [f"{name} (largest_component {value})" for value in (0, 1)]


def test_settings_of_other_methods_do_not_count(tmp_path):
    runs = [joint(tmp_path, seed=seed, confidence=value) for seed, value in ((0, 0.9), (1, 0.95))]
    assert labels(runs) == ["Joint training, inter-image"]


def test_more_than_three_differing_settings_are_counted(tmp_path):
    runs = [joint(tmp_path, a=value, b=value, c=value, d=value) for value in (1, 2)]
    name = "Joint training, inter-image"
    assert sorted(labels(runs)) == [f"{name} (a {n}, b {n}, c {n}, 1 more)" for n in (1, 2)]


def test_repetitions_are_called_after_what_is_recorded_of_them(tmp_path):
    def repeated(folder, **settings):
        return [write_run(tmp_path / folder / "a", BASE), write_run(tmp_path / folder / "b", BASE, **settings)]

    assert labels(repeated("same")) == ["Baseline", "Baseline [repeat 2]"]
    assert labels(repeated("ver", ver=1)) == ["Baseline", "Baseline [repeat 2]"], "the first does not record --ver"
    runs = [write_run(tmp_path / "vers", BASE, ver=ver) for ver in (0, 1, 2)]
    assert labels(runs) == ["Baseline", "Baseline [ver 1]", "Baseline [ver 2]"]
    runs = repeated("software")
    old(runs[1], keras="3.16.0", numpy="2.0")
    assert labels(runs) == ["Baseline", "Baseline [keras 3.16.0]"]
    runs = [joint(tmp_path / "w", start=start) for start in ("abcdefghij", "klmnopqrst")]
    first, second = labels(runs)
    name = "Joint training, inter-image, from pretrained weights"
    assert first == name and second in (f"{name} [start abcdefgh]", f"{name} [start klmnopqr]")


def test_labelled_splits_share_labels_and_are_ordered_by_size(tmp_path):
    runs = [write_run(tmp_path, BASE, no_of_tr_imgs=name, train_ids=[name]) for name in ("tr10", "tr2")]
    runs += [joint(tmp_path, no_of_tr_imgs=name, temp_fac=0.1) for name in ("tr10", "tr2")]
    runs += [joint(tmp_path, no_of_tr_imgs="tr2", temp_fac=0.5), write_run(tmp_path, "pretr_encoder_x")]
    splits = by_setup(read_methods(runs))
    assert list(splits) == ["", "labelled split tr2 c1", "labelled split tr10 c1"]
    name = "Joint training, inter-image"
    assert [m.label for m in splits["labelled split tr10 c1"]] == ["Baseline", f"{name} (temp_fac 0.1)"]
    assert {m.label for m in splits["labelled split tr2 c1"]} == {
        "Baseline",
        f"{name} (temp_fac 0.1)",
        f"{name} (temp_fac 0.5)",
    }


def read_all(runs):
    return read_experiments(runs)[0]


def experiment_labels(runs):
    return [(method.label, method.setup, len(method.runs)) for method in group_runs(read_all(runs))]


def test_experiments_that_differ_in_seed_only_are_one_method(tmp_path):
    for seed in (1, 0):
        write_experiment(tmp_path, "mfc", seed=seed, policy={"seed": seed, "tag": f"t{seed}"}, digest=f"d{seed}")
        write_experiment(tmp_path, "random", seed=seed)
    methods = group_runs(read_all(find_experiments(tmp_path, "acdc_h5")))
    assert [(m.label, [one.seed for one in m.runs]) for m in methods] == [("random", [0, 1]), ("mfc", [0, 1])]
    assert [m.is_baseline for m in methods] == [True, False]


def test_methods_of_one_strategy_are_told_apart_by_what_differs(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", data_geometry={"label_wt": w, "k": 3}) for w in (1, 2)]
    assert [label for label, *_ in experiment_labels(runs)] == ["mfc (label_wt 1)", "mfc (label_wt 2)"]
    again = write_experiment(tmp_path, "mfc", data_geometry={"label_wt": 1, "k": 3}, ver=2)
    assert [count for *_, count in experiment_labels([*runs, again])] == [1, 1, 1]


def test_other_annotation_is_another_setup_but_dropout_is_not(tmp_path):
    model = {"ann_type": "scribble", "model_type": "dmpls"}
    runs = [
        write_experiment(tmp_path, "random", model=model),
        write_experiment(tmp_path, "bald", model={**model, "model_type": "db_dmpls", "T": 40}),
        write_experiment(tmp_path, "random", model={"ann_type": "label", "model_type": "strong"}),
    ]
    found = by_setup(group_runs(read_all(runs)))
    labels = {setup: [method.label for method in methods] for setup, methods in found.items()}
    assert sorted(labels.values()) == [["random"], ["random", "bald (model_type db_dmpls)"]]
    assert set(labels) == {"ann_type label, model_type strong", "ann_type scribble, model_type dmpls and db_dmpls"}
    alone = by_setup(group_runs(read_all(runs[1:])))
    assert "ann_type scribble, model_type db_dmpls" in alone


@pytest.mark.parametrize(
    "strategy, score, passes, label",
    [
        ("uncertainty", "entropy", "pass_probs", "entropy"),
        ("uncertainty", "entropy_w_label_counts", None, "vote_entropy"),
        ("uncertainty", "mean_score", "bald_score", "bald"),
        ("stochastic_batches", "mean_score", "entropy_score", "stochastic_batches entropy"),
        ("mfc", "entropy", None, "mfc"),
    ],
)
def test_methods_that_look_at_scores_alone_have_their_names(tmp_path, strategy, score, passes, label):
    tables = {"model": {"db_score_func": passes}, "model_uncertainty": {"score_func": score}}
    assert experiment_labels([write_experiment(tmp_path, strategy, **tables)]) == [(label, "", 1)]


def test_scores_are_methods(tmp_path):
    runs = [
        write_experiment(tmp_path, "uncertainty", model_uncertainty={"score_func": score, "T": 3})
        for score in ("margin", "entropy")
    ]
    assert [label for label, *_ in experiment_labels(runs)] == ["entropy", "margin"]


def test_annotators_scans_and_cases_are_named(tmp_path):
    common = {"annotator": "files", "scans_digest": {"pool": "aaaa1"}, "cases": {"pool": ["a", "b"]}}
    by_hand = write_experiment(tmp_path, "mfc", **common)
    simulated = write_experiment(tmp_path, "mfc", **common | {"annotator": "simulated", "scans_digest": {"pool": "b"}})
    assert {label for label, *_ in experiment_labels([by_hand, simulated])} == {
        "mfc (annotator files)",
        "mfc (annotator simulated)",
    }
    old = write_experiment(tmp_path, "mfc", **{name: common[name] for name in ("scans_digest", "cases")})
    assert read_run(old).facts["settings"]["annotator"] == "simulated"
    files.write_text(write_round(old, 0, 0.01, 0.5) / "to_annotate" / "slices.csv", "")
    assert read_run(old).facts["settings"]["annotator"] == "files"
    other = write_experiment(tmp_path, "mfc", **common | {"scans_digest": {"pool": "cccc2"}})
    assert {label for label, *_ in experiment_labels([by_hand, other])} == {
        "mfc (pool scans aaaa)",
        "mfc (pool scans cccc)",
    }
    fewer = write_experiment(tmp_path, "mfc", **common | {"scans_digest": {"pool": "d"}, "cases": {"pool": ["a"]}})
    assert all(
        label.startswith(f"mfc ({count} pool cases, list ") and "scans" not in label
        for count, (label, *_) in zip((1, 2), sorted(experiment_labels([by_hand, fewer])), strict=True)
    )


def test_weights_do_not_make_a_method(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", seed=s, weights_sha256={"model.warm_start": f"w{s}"}) for s in (0, 1)]
    assert experiment_labels(runs) == [("mfc", "", 2)]
    again = write_experiment(tmp_path, "mfc", seed=0, weights_sha256={"model.warm_start": "w9"})
    found = [label for label, *_ in experiment_labels([*runs, again])]
    assert found[0] == "mfc" and found[1].startswith("mfc [other weights, mfc_s0-")


def test_runs_that_an_experiment_names_count_with_their_settings(tmp_path):
    encoders = {}
    for seed, loss in ((0, "group"), (1, "group"), (2, "nt_xent")):
        encoders[seed] = tmp_path / "acdc_h5" / "pretr" / f"al_c1_s{seed}-{seed}123456789"
        files.write_json(encoders[seed] / "config.json", {"loss": loss, "seed": seed, "digest": f"{seed}123456789"})
    runs = [write_experiment(tmp_path, "mfc", seed=s, encoder=str(path)) for s, path in encoders.items()]
    assert sorted(experiment_labels(runs)) == [("mfc (loss group)", "", 2), ("mfc (loss nt_xent)", "", 1)]
    for path in encoders.values():
        shutil.rmtree(path)
    assert experiment_labels(runs) == [("mfc", "", 3)]  # only the names are left, which differ by seed and digest


def recorded(run, told):
    """Gives a run the facts that a run of today records."""
    files.write_json(run / "config.json", {**files.read_json(run / "config.json"), "report": told})
    return run


def test_what_config_json_says_counts(tmp_path):
    told = {"kind": "training", "method": "Mine", "settings": {"a": 1}, "setup": {"labelled split": "few"}, "seed": 7}
    run = recorded(write_run(tmp_path, BASE, method="x"), {**told, "budget_unit": "images", "is_baseline": False})
    (method,) = read_methods([run])
    assert (method.label, method.runs[0].seed, method.is_baseline) == ("Mine", 7, False)
    assert dict(facts([method]))["Unit of budget"] == "images"


def test_runs_of_before_and_of_today_are_one_method(tmp_path):
    runs = [joint(tmp_path, "unimatch", seed=seed, teacher_stage=BASE, confidence=0.9) for seed in (0, 1)]
    config = files.read_json(runs[1] / "config.json")
    recorded(runs[1], of_training({**config, "start_stage": BASE}))
    assert [(method.label, len(method.runs)) for method in read_methods(runs)] == [("UniMatch", 2)]
    runs = [write_experiment(tmp_path, "mfc", seed=seed, annotator="simulated") for seed in (0, 1)]
    recorded(runs[1], of_experiment(files.read_json(runs[1] / "config.json")))
    assert experiment_labels(runs) == [("mfc", "", 2)]


@pytest.mark.parametrize(
    ("query", "method"),
    [
        ({"strategy": {"name": "uncertainty"}, "score": {"name": "bald"}}, "bald"),
        ({"strategy": {"name": "stochastic_batches"}, "score": {"name": "entropy"}}, "stochastic_batches entropy"),
        ({"strategy": {"name": "mfc"}, "score": None}, "mfc"),
    ],
)
def test_facts_of_a_native_experiment(query, method):
    config = {"dataset": "acdc_h5", "strategy": query["strategy"]["name"], "query": query, "seed": 2, "n_iter": 3}
    config |= {"network": {"name": "dmpls", "options": {"batch_size": 2}}, "members": {"kind": "seeds", "count": 1}}
    found = of_experiment(config, unit="patches")
    assert (found["method"], found["seed"], found["budget_unit"]) == (method, 2, "patches")
    assert found["setup"] == {"dataset": "acdc_h5", "network.name": "dmpls", "network.options.batch_size": 2,
                              "members.kind": "seeds", "members.count": 1}  # fmt: skip
