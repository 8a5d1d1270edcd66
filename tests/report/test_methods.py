"""How runs are put together, called and compared. Expected labels: typed by hand."""

from __future__ import annotations

import shutil

import pytest

from fewslice.core import files
from fewslice.report.reading.methods import by_setup, group_runs, read_methods
from fewslice.report.reading.runs import find_experiments, read_experiments, read_run
from fewslice.report.tables.trainings import facts
from fewslice.settings.facts import of_experiment, of_training
from tests.report.experiment_dirs import write_experiment, write_round
from tests.report.run_dirs import write_run

BASE, JOINT = "tr_baseline", "prop_method_joint_tr_rand_init"


def joint(root, method="contrastive", *, start="teacher", **settings):
    """Writes a run of the joint stage that has the baseline `teacher` and starts from the weights `start`."""
    values = ({} if method is None else {"method": method}) | {"local_loss_exp_no": 1, **settings}
    return write_run(root, JOINT, teacher_sha256="teacher", initial_weights=start, **values)


def labels(runs):
    return [method.label for method in read_methods(runs)]


INTER, INTRA, DECODER = (
    "Joint training, inter-image",
    "Joint training, intra-image",
    "ft_pretr_encoder_decoder_net_local_loss",
)
BASELINE = {"stage": BASE}
TITLES = [
    ({"local_loss_exp_no": 0}, INTRA),
    ({"local_loss_exp_no": 1}, INTER),
    ({"method": None}, INTER),  # before there were other methods
    ({"method": "unimatch"}, "UniMatch"),
    ({"method": "copy_paste"}, "Copy-paste"),
    ({"start": "decoder"}, f"{INTER}, from pretrained weights"),
    ({"method": "unimatch", "start": "decoder"}, "UniMatch, from pretrained weights"),
    ({"local_loss_exp_no": 0, "start": ""}, f"{INTRA}, from random weights"),  # --init_from=none
    ({"method": "cross_teaching"}, "cross teaching"),  # of a later version
    ({"method": "unimatch", "teacher_stage": DECODER}, "UniMatch, from pretrained weights"),  # a fine-tuned teacher
    ({"method": "unimatch", "teacher_stage": BASE}, "UniMatch"),
]
LABELS = {
    "flags of other methods do not count": (
        [{"method": "copy_paste", "lamda_local": 0}, {"method": "unimatch", "lamda_local": 0.2}, {}],
        ["Copy-paste", "UniMatch", INTER],
    ),
    "settings that differ": (
        [{"temp_fac": 0.1}, {"temp_fac": 0.5}, {"method": "unimatch", "confidence": 0.9}],
        [f"{INTER} (temp_fac 0.1)", f"{INTER} (temp_fac 0.5)", "UniMatch"],
    ),
    "other starts, whatever the seeds": (
        [{"seed": seed, "start": start} for seed, start in enumerate(("teacher", "decoder", ""))],
        [INTER, f"{INTER}, from pretrained weights", f"{INTER}, from random weights"],
    ),
    "seeds are one method although their weights differ": (
        [{"seed": seed, "start": f"decoder {seed}"} for seed in (0, 1, 2)],
        [f"{INTER}, from pretrained weights"],
    ),
    "runs from before there were methods": (
        [{"method": None, "temp_fac": 0.1}, {"temp_fac": 0.5}, {"method": "unimatch", "temp_fac": 1}],
        [f"{INTER} (temp_fac 0.1)", f"{INTER} (temp_fac 0.5)", "UniMatch"],
    ),
    "different pretrained stages": (
        [{"teacher_stage": stage} for stage in ("ft_pretr_encoder_net_global_loss", DECODER)],
        [f"{INTER}, from pretrained weights (from pretrained encoder{more})" for more in ("", " + decoder")],
    ),
    "an older run that fits two methods is put to neither": (
        [{"soft_labels": 0}, {"soft_labels": 1}, {"seed": 1}],
        [f"{INTER} (soft_labels {what})" for what in ("0", "1", "not recorded")],
    ),
    "mixup is recorded where it is on": (
        [BASELINE, BASELINE | {"seed": 1}, BASELINE | {"mixup": 0.1}],
        ["Baseline (mixup 0.0)", "Baseline (mixup 0.1)"],
    ),
    "before the flag was there, pseudo-labels came from the best network": (
        [{}, {"seed": 1}, {"refresh_from": "last"}],
        [f"{INTER} (refresh_from best)", f"{INTER} (refresh_from last)"],
    ),
    "before the flag was there, copy-paste kept every component": (
        [{"method": "copy_paste"}, {"method": "copy_paste", "seed": 1, "largest_component": 1}],
        ["Copy-paste (largest_component 0)", "Copy-paste (largest_component 1)"],
    ),
    "settings of other methods do not count": ([{"confidence": 0.9}, {"seed": 1, "confidence": 0.95}], [INTER]),
    "more than three settings are counted": (
        [{name: value for name in "abcd"} for value in (1, 2)],
        [f"{INTER} (a {n}, b {n}, c {n}, 1 more)" for n in (1, 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("runs", "expected"), [*LABELS.values(), *(([run], [title]) for run, title in TITLES)])
def test_labels(tmp_path, runs, expected):
    written = [(write_run if "stage" in run else joint)(tmp_path, **run) for run in runs]
    assert sorted(labels(written)) == sorted(expected)


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


def test_a_setting_that_an_older_run_does_not_record_is_no_difference(tmp_path):
    runs = [joint(tmp_path, seed=0, temp_fac=0.1), joint(tmp_path, seed=1, temp_fac=0.1, soft_labels=0)]
    (method,) = read_methods(runs)
    assert method.label == "Joint training, inter-image" and [run.seed for run in method.runs] == [0, 1]
    assert dict(facts([method]))["Not recorded"] == "soft_labels by older runs"


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
        write_experiment(tmp_path, "mfc", seed=seed, policy={"seed": seed, "tag": f"t{seed}"}, old_digest=f"d{seed}")
        write_experiment(tmp_path, "random", seed=seed)
    methods = group_runs(read_all(find_experiments(tmp_path, "acdc_h5")))
    assert [(m.label, [one.seed for one in m.runs]) for m in methods] == [("random", [0, 1]), ("mfc", [0, 1])]
    assert [m.is_baseline for m in methods] == [True, False]


def test_methods_of_one_strategy_are_told_apart_by_what_differs(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", data_geometry={"label_wt": w, "k": 3}) for w in (1, 2)]
    again = write_experiment(tmp_path, "mfc", data_geometry={"label_wt": 1, "k": 3}, ver=2)
    found = experiment_labels([*runs, again])
    assert {label.partition(" [")[0] for label, *_ in found} == {"mfc (label_wt 1)", "mfc (label_wt 2)"}
    assert [count for *_, count in found] == [1, 1, 1]


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
    ("networks", "headings"),
    [
        (({"lr": 1, "k": 3}, {"lr": 2, "k": 3}), {"lr 1", "lr 2"}),
        (({"name": "a", "depth": 5, "cosine": False}, {"name": "b", "width": 7}), {"name a", "name b"}),
        (({"name": "a", "loss": "dice"}, {"name": "a"}), {"loss dice", "no loss"}),
        (
            ({"name": "a", "depth": 5}, {"name": "a", "depth": 6}, {"name": "b"}),
            {"depth 5, name a", "depth 6, name a", "name b"},
        ),
        (({"k": 1}, {"k": 1, "d": 1}, {"k": 1, "d": 2}), {"no d", "d 1", "d 2"}),
    ],
)
def test_a_heading_names_the_settings_in_which_setups_differ(tmp_path, networks, headings):
    """Options that only another network has are named where nothing else tells two set-ups apart."""
    runs = [write_experiment(tmp_path, "mfc", network=network, members=5) for network in networks]
    assert set(by_setup(group_runs(read_all(runs)))) == headings


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


def recorded(run, run_facts):
    """Gives a run the facts that a run of today records."""
    files.write_json(run / "config.json", {**files.read_json(run / "config.json"), "report": run_facts})
    return run


def test_what_config_json_says_counts(tmp_path):
    own = {"kind": "training", "method": "Mine", "settings": {"a": 1}, "setup": {"labelled split": "few"}, "seed": 7}
    run = recorded(write_run(tmp_path, BASE, method="x"), {**own, "budget_unit": "images", "is_baseline": False})
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
