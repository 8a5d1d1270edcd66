"""Run directories are written by the test; what must be read, grouped and warned of is stated by hand."""

import math
import shutil

import pytest
from fewslice.report.reading.experiment_methods import by_setup, group_experiments
from fewslice.report.reading.experiments import (
    choose_experiments,
    find_experiments,
    read_experiment,
    read_experiments,
    split_results,
)

from fewslice.core import files
from fewslice.core.errors import ConfigError
from tests.report.experiment_dirs import write_curve, write_experiment, write_gallery, write_round, write_volumes


def _labels(runs):
    return [(method.label, method.setup, len(method.experiments)) for method in group_experiments(read_all(runs))]


def read_all(runs):
    return read_experiments(runs)[0]


def test_one_round_is_read(tmp_path):
    run = write_experiment(tmp_path, "mfc", seed=3)
    members = [{"val_dice": 0.4, "test_dice": 0.2}, {"val_dice": 0.7, "test_dice": 0.5}]
    folder = write_round(run, 0, 0.01, 0.7, bought=[12, 19], members=members, chosen=1, test_hd95_mm=None)
    write_volumes(folder, {"101_ED": (0.5, 0.7)}, member=1)
    write_volumes(folder, {"101_ED": (0.1, 0.1)}, member=0)
    write_gallery(folder)
    one = read_experiment(run)
    assert (one.strategy, one.seed, one.dataset, one.is_finished, one.problems) == ("mfc", 3, "acdc_h5", True, ())
    first = one.rounds[0]
    assert (first.fraction, first.units, first.annotated_pixels, first.chosen, first.num_members) == (
        0.01,
        2,
        2000,
        1,
        2,
    )
    assert [(pick.patient, pick.volume, pick.position) for pick in first.picks] == [
        ("p00", "v01", 2),
        ("p00", "v01", 9),
    ]
    assert one.pool["v01_slice_9"].share == 1.0 and one.pool["v01_slice_0"].share == 0.0
    assert first.metrics["test_dice"] == pytest.approx(0.6) and math.isnan(first.metrics["test_hd95_mm"])
    assert [score.value for score in first.scores if score.metric == "dice"] == [0.5, 0.7]  # of member 1
    assert first.gallery.name == "gallery.png" and first.total_seconds == 60


def test_member_of_the_best_validation_counts_where_it_is_not_named(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    folder = write_round(run, 0, 0.01, 0.7)
    members = [{"val_dice": 0.4, "test_dice": 0.9}, {"val_dice": None}, {"val_dice": 0.6, "test_dice": 0.5}]
    files.write_json(folder / "metrics.json", {"round": 0, "fraction": 0.01, "units": 2, "members": members})
    first = read_experiment(run).rounds[0]
    assert first.chosen == 2 and first.metrics["val_dice"] == 0.6 and first.metrics["test_dice"] == 0.5


def test_rounds_without_training_and_without_numbers(tmp_path):
    run = write_experiment(tmp_path, "random")
    write_round(run, 0, 0.01, None, bought=[0, 1])
    write_round(run, 1, 0.02, 0.5, bought=[2, 3], test_dice=None)
    one = read_experiment(run)
    assert one.rounds[0].is_skipped and one.problems == ()
    assert one.values("val_dice") == {0.02: 0.5} and one.values("test_dice") == {}
    assert one.labelled(0.01) == {"v00_slice_0", "v00_slice_1"} and len(one.labelled(0.02)) == 4


def test_unfinished_experiments_are_reported_with_a_warning(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5})
    (run / "DONE").unlink()
    empty = write_experiment(tmp_path, "mfc", seed=1)
    experiments, warnings = read_experiments(find_experiments(tmp_path, "acdc_h5"))
    assert len(experiments) == 2 and len(warnings) == 1
    assert "not finished (no DONE): 1 round has scores so far" in warnings[0]
    found, waiting = split_results(experiments)
    assert [one.path for one in found] == [run] and [one.path for one in waiting] == [empty]


def test_experiments_without_results_say_how_far_they_are(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", seed=seed) for seed in range(6)]
    for run in runs[:4]:
        (run / "DONE").unlink()
    write_round(runs[1], 0, 0.01, None, bought=[1])
    for number in (0, 1):
        folder = write_round(runs[2 + number], number, 0.01, None, bought=[1])
        files.write_text(folder / "to_annotate" / "slices.csv", "")
    (folder / "annotations.npy").touch()  # back already
    write_round(runs[4], 0, 0.01, None, bought=[1])
    states = [read_experiment(run).state for run in runs]
    assert states == [
        "not finished, stopped before its first round",
        "not finished, round 0 has begun",
        "waits for annotations in round 0",
        "not finished, round 1 has begun",
        "finished; its rounds only buy",
        "finished without test or validation numbers",
    ]
    found, waiting = split_results(read_all(runs))
    assert [one.path for one in found] == [runs[4]] and len(waiting) == 5
    assert split_results(read_all(runs[:2]))[0] == []
    write_curve(runs[0], {0.01: 0.5})
    assert [one.path for one in split_results(read_all(runs))[0]] == [runs[0]]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("rounds/001/metrics.json", "{", "metrics.json; expected: .*no valid JSON.*delete the folder of this round"),
        ("rounds/001/metrics.json", "[1]", "a list"),
        ("rounds/001/metrics.json", '{"test_dice": "high"}', "test_dice: 'high' is no number"),
        ("rounds/001/metrics.json", '{"members": 3}', "members that are no list"),
        ("rounds/001/metrics.json", '{"per_structure": {"rv": 1}}', "no table of tables"),
        ("rounds/001/metrics.json", '{"chosen": -1}', "is no member"),
        ("rounds/001/query.csv", "order,index\n1,2\n", "no unit_id, patient, volume, position"),
        ("rounds/001/query.csv", "unit_id,patient,volume,position\na,b,c,deep\n", "'deep'"),
        ("rounds/001/query.csv", "unit_id,patient,volume,position\na,b\n", "too few cells in line 2"),
        ("rounds/001/query.csv", b"\xff\xfe\x00", "no table"),
        ("rounds/001/gallery.png", b"\x89PNG\r\n\x1a\nhalf", "only a part"),
        ("rounds/001/member_0/eval/test/per_volume.csv", "case_id\n1\n", "no structure, metric, value"),
        ("pool.csv", "unit_id\n1\n", "no volume, position, depth"),
        ("versions.json", "?", "no valid JSON"),
    ],
)
def test_damage_is_named_and_the_rest_is_reported(tmp_path, name, content, words):
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6, 0.03: 0.7})
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    experiments, warnings = read_experiments([run])
    assert len(warnings) == 1 and "remedy" in warnings[0]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(warnings[0])
    assert {0.01, 0.03} <= set(experiments[0].values("test_dice"))


def test_lost_files_are_named(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6})
    (run / "rounds" / "000" / "metrics.json").unlink()
    (run / "rounds" / "001" / "plan.json").unlink()  # metrics.json says the same
    shutil.rmtree(run / "rounds" / "001" / "member_0", ignore_errors=True)
    (run / "pool.csv").unlink()
    one = read_experiment(run)
    assert one.values("val_dice") == {0.02: 0.6}
    assert one.problems == (
        "No scores (metrics.json) in rounds/000. Delete DONE there and repeat the experiment's command.",
    )


def test_broken_config_leaves_one_experiment_out(tmp_path):
    good, bad = write_experiment(tmp_path, "mfc"), write_experiment(tmp_path, "random")
    write_curve(good, {0.01: 0.5})
    (bad / "config.json").write_text("{")
    experiments, warnings = read_experiments([good, bad, tmp_path / "nowhere"])
    assert [one.path for one in experiments] == [good]
    assert all(text.startswith("Left out: ") for text in warnings) and "no such folder" in warnings[1]
    with pytest.raises(ConfigError, match="no experiment that can be reported"):
        read_experiments([bad])


def test_finding_and_naming(tmp_path):
    with pytest.raises(ConfigError, match="no experiment of acdc_h5 below.*--experiments"):
        choose_experiments([], tmp_path, "acdc_h5")
    run = write_experiment(tmp_path, "mfc")
    files.write_json(run / "rounds" / "000" / "member_0" / "config.json", {})  # no experiment of its own
    nested = write_experiment(tmp_path / "x", "random")
    shutil.move(nested, run.parent / "folder" / nested.name)
    assert find_experiments(tmp_path, "acdc_h5") == [run.parent / "folder" / nested.name, run]
    assert choose_experiments([str(run), "", f" {run}"], tmp_path, "acdc_h5") == [run]
    other = write_experiment(tmp_path, "mfc", dataset="chaos")
    with pytest.raises(ConfigError, match="acdc_h5, chaos"):
        read_experiments([run, other])


def test_experiments_that_differ_in_seed_only_are_one_method(tmp_path):
    for seed in (1, 0):
        write_experiment(tmp_path, "mfc", seed=seed, policy={"seed": seed, "tag": f"t{seed}"}, digest=f"d{seed}")
        write_experiment(tmp_path, "random", seed=seed)
    methods = group_experiments(read_all(find_experiments(tmp_path, "acdc_h5")))
    assert [(m.label, [one.seed for one in m.experiments]) for m in methods] == [("random", [0, 1]), ("mfc", [0, 1])]
    assert [m.is_random for m in methods] == [True, False]


def test_methods_of_one_strategy_are_told_apart_by_what_differs(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", data_geometry={"label_wt": w, "k": 3}) for w in (1, 2)]
    assert [label for label, *_ in _labels(runs)] == ["mfc (label_wt 1)", "mfc (label_wt 2)"]
    again = write_experiment(tmp_path, "mfc", data_geometry={"label_wt": 1, "k": 3}, ver=2)
    assert [count for *_, count in _labels([*runs, again])] == [1, 1, 1]


def test_other_annotation_is_another_setup_but_dropout_is_not(tmp_path):
    model = {"ann_type": "scribble", "model_type": "dmpls"}
    runs = [
        write_experiment(tmp_path, "random", model=model),
        write_experiment(tmp_path, "bald", model={**model, "model_type": "db_dmpls", "T": 40}),
        write_experiment(tmp_path, "random", model={"ann_type": "label", "model_type": "strong"}),
    ]
    found = by_setup(group_experiments(read_all(runs)))
    labels = {setup: [method.label for method in methods] for setup, methods in found.items()}
    assert sorted(labels.values()) == [["random"], ["random", "bald (model_type db_dmpls)"]]
    assert set(labels) == {"ann_type label, model_type strong", "ann_type scribble, model_type dmpls and db_dmpls"}
    alone = by_setup(group_experiments(read_all(runs[1:])))
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
    assert _labels([write_experiment(tmp_path, strategy, **tables)]) == [(label, "", 1)]


def test_scores_are_methods(tmp_path):
    runs = [
        write_experiment(tmp_path, "uncertainty", model_uncertainty={"score_func": score, "T": 3})
        for score in ("margin", "entropy")
    ]
    assert [label for label, *_ in _labels(runs)] == ["entropy", "margin"]


def test_annotators_scans_and_cases_are_named(tmp_path):
    common = {"annotator": "files", "scans_digest": {"pool": "aaaa1"}, "cases": {"pool": ["a", "b"]}}
    by_hand = write_experiment(tmp_path, "mfc", **common)
    simulated = write_experiment(tmp_path, "mfc", **common | {"annotator": "simulated", "scans_digest": {"pool": "b"}})
    assert {label for label, *_ in _labels([by_hand, simulated])} == {
        "mfc (annotator files)",
        "mfc (annotator simulated)",
    }
    old = write_experiment(tmp_path, "mfc", **{name: common[name] for name in ("scans_digest", "cases")})
    assert read_experiment(old).annotator == "simulated"
    files.write_text(write_round(old, 0, 0.01, 0.5) / "to_annotate" / "slices.csv", "")
    assert read_experiment(old).annotator == "files"
    other = write_experiment(tmp_path, "mfc", **common | {"scans_digest": {"pool": "cccc2"}})
    assert {label for label, *_ in _labels([by_hand, other])} == {"mfc (pool scans aaaa)", "mfc (pool scans cccc)"}
    fewer = write_experiment(tmp_path, "mfc", **common | {"scans_digest": {"pool": "d"}, "cases": {"pool": ["a"]}})
    assert all(
        label.startswith(f"mfc ({count} pool cases, list ") and "scans" not in label
        for count, (label, *_) in zip((1, 2), sorted(_labels([by_hand, fewer])), strict=True)
    )


def test_weights_do_not_make_a_method(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", seed=s, weights_sha256={"model.warm_start": f"w{s}"}) for s in (0, 1)]
    assert _labels(runs) == [("mfc", "", 2)]
    again = write_experiment(tmp_path, "mfc", seed=0, weights_sha256={"model.warm_start": "w9"})
    labels = [label for label, *_ in _labels([*runs, again])]
    assert labels[0] == "mfc" and labels[1].startswith("mfc [other weights, mfc_s0-")


def test_runs_that_an_experiment_names_count_with_their_settings(tmp_path):
    encoders = {}
    for seed, loss in ((0, "group"), (1, "group"), (2, "nt_xent")):
        encoders[seed] = tmp_path / "acdc_h5" / "pretr" / f"al_c1_s{seed}-{seed}123456789"
        files.write_json(encoders[seed] / "config.json", {"loss": loss, "seed": seed, "digest": f"{seed}123456789"})
    runs = [write_experiment(tmp_path, "mfc", seed=s, encoder=str(path)) for s, path in encoders.items()]
    assert sorted(_labels(runs)) == [("mfc (loss group)", "", 2), ("mfc (loss nt_xent)", "", 1)]
    for path in encoders.values():
        shutil.rmtree(path)
    assert _labels(runs) == [("mfc", "", 3)]  # only the names are left, which differ by seed and digest
