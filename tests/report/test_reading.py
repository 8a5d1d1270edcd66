"""What is read of run directories, and what is said of missing and damaged files. Expected values: by hand."""

import errno
import io
import math
import re
import shutil

import pytest

from fewslice.core import done, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.report.reading import runs as reading
from fewslice.report.reading.methods import read_methods
from fewslice.report.reading.openings import openings
from fewslice.report.reading.runs import not_vouched, read_experiments, read_run, read_runs, refuse_damaged
from fewslice.report.tables.openings import openings_table, settings_of
from tests.report import run_dirs
from tests.report.experiment_dirs import write_curve, write_experiment, write_gallery, write_round, write_volumes
from tests.report.run_dirs import write_run

BASE = "tr_baseline"


def test_one_round_is_read(tmp_path):
    run = write_experiment(tmp_path, "mfc", seed=3)
    members = [{"val_dice": 0.4, "test_dice": 0.2}, {"val_dice": 0.7, "test_dice": 0.5}]
    folder = write_round(run, 0, 0.01, 0.7, queried=[12, 19], members=members, chosen=1, test_hd95_mm=None)
    write_volumes(folder, {"101_ED": (0.5, 0.7)}, member=1)
    write_volumes(folder, {"101_ED": (0.1, 0.1)}, member=0)
    write_gallery(folder)
    one = read_run(run)
    assert (one.facts["method"], one.seed, one.dataset, one.is_finished, one.problems) == (
        "mfc", 3, "acdc_h5", True, (),
    )  # fmt: skip
    first = one.rounds[0]
    assert (first.fraction, first.units, first.annotated_pixels, first.chosen) == (0.01, 2, 2000, 1)
    assert first.picks[["patient", "volume", "position"]].values.tolist() == [["p00", "v01", 2], ["p00", "v01", 9]]
    assert one.pool["share"]["v01_slice_9"] == 1.0 and one.pool["share"]["v01_slice_0"] == 0.0
    assert first.metrics["test_dice"] == pytest.approx(0.6) and math.isnan(first.metrics["test_hd95_mm"])
    assert first.scores.query("metric == 'dice'")["value"].tolist() == [0.5, 0.7]  # of member 1
    assert first.gallery.name == "gallery.png" and first.total_seconds == 60 and first.num_members == 2


def test_member_of_the_best_validation_counts_where_it_is_not_named(tmp_path):
    folder = write_round(run := write_experiment(tmp_path, "mfc"), 0, 0.01, 0.7)
    members = [{"val_dice": 0.4, "test_dice": 0.9}, {"val_dice": None}, {"val_dice": 0.6, "test_dice": 0.5}]
    files.write_json(folder / "metrics.json", {"round": 0, "fraction": 0.01, "units": 2, "members": members})
    first = read_run(run).rounds[0]
    assert first.chosen == 2 and first.metrics["val_dice"] == 0.6 and first.metrics["test_dice"] == 0.5


def test_rounds_without_training_and_without_numbers(tmp_path):
    run = write_experiment(tmp_path, "random")
    write_round(run, 0, 0.01, None, queried=[0, 1])
    write_round(run, 1, 0.02, 0.5, queried=[2, 3], test_dice=None)
    files.write_json(run / "rounds/001/plan.json", {"fraction": 0.02, "query": {"strategy": {"name": "mfc"}}})
    one = read_run(run)
    assert one.rounds[0].is_skipped and one.rounds[1].strategy == "mfc" and one.problems == ()
    assert one.values("val_dice") == {0.02: 0.5} and one.values("test_dice") == {}
    assert one.labelled(0.01) == {"v00_slice_0", "v00_slice_1"} and len(one.labelled(0.02)) == 4


def test_experiments_say_how_far_they_are(tmp_path):
    runs = [write_experiment(tmp_path, "mfc", seed=seed) for seed in range(6)]
    for run in runs[:4]:
        (run / "DONE").unlink()
    write_round(runs[1], 0, 0.01, None, queried=[1])
    for number in (0, 1):
        folder = write_round(runs[2 + number], number, 0.01, None, queried=[1])
        files.write_text(folder / "to_annotate" / "slices.csv", "")
    (folder / "annotations.npy").touch()  # back already
    write_round(runs[4], 0, 0.01, None, queried=[1])
    assert [read_run(run).state for run in runs] == [
        "not finished, stopped before its first round",
        "not finished, round 0 has begun",
        "waits for annotations in round 0",
        "not finished, round 1 has begun",
        "finished; its rounds train nothing",
        "finished without test or validation numbers",
    ]
    found, waiting = reading.split_results(read_experiments(runs)[0])
    assert [one.path for one in found] == [runs[4]] and len(waiting) == 5
    assert reading.split_results(read_experiments(runs[:2])[0])[0] == []
    write_curve(runs[0], {0.01: 0.5})
    experiments, warnings = read_experiments(runs)
    assert [one.path for one in reading.split_results(experiments)[0]] == [runs[0]]
    assert len(warnings) == 1 and "not finished (no DONE): 1 round has scores so far" in warnings[0]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("rounds/001/metrics.json", "{", "metrics.json; expected: .*no valid JSON.*keeps the rest"),
        ("rounds/001/metrics.json", "[1]", "a list"),
        ("rounds/001/metrics.json", '{"test_dice": "high"}', "a number `test_dice`.*'high'"),
        ("rounds/001/metrics.json", '{"members": 3}', "a list `members`"),
        ("rounds/001/metrics.json", '{"per_structure": {"rv": 1}}', "a table `per_structure`"),
        ("rounds/001/metrics.json", '{"chosen": -1}', "is no member"),
        ("rounds/001/query.csv", "order,index\n1,2\n", "no unit_id, patient, volume, position"),
        ("rounds/001/query.csv", "unit_id,patient,volume,position\na,b,c,deep\n", "'deep'"),
        ("rounds/001/query.csv", "unit_id,patient,volume,position\na,b\n", "too few cells in line 2"),
        ("rounds/001/query.csv", b"\xff\xfe\x00", "no table"),
        ("rounds/001/gallery.png", b"\x89PNG\r\n\x1a\nhalf", "only a part"),
        ("rounds/001/member_0/eval/test/per_volume.csv", "case_id\n1\n", "no structure, metric, value"),
        ("pool.csv", "unit_id\n1\n", "no volume, position, depth"),
        ("versions.json", "[]", "versions.json.*a list"),
    ],
)
def test_damage_in_an_experiment_is_named_and_the_rest_is_reported(tmp_path, name, content, words):
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6, 0.03: 0.7})
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    experiments, warnings = read_experiments([run])
    assert len(warnings) == 1 and "remedy" in warnings[0] and re.search(words, warnings[0]), warnings
    assert {0.01, 0.03} <= set(experiments[0].values("test_dice"))


def test_lost_files_are_named(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6})
    (run / "rounds" / "000" / "metrics.json").unlink()
    (run / "rounds" / "001" / "plan.json").unlink()  # metrics.json says the same
    (run / "pool.csv").unlink()
    one = read_run(run)
    assert one.values("val_dice") == {0.02: 0.6}
    assert one.problems == (
        "No scores (metrics.json) in rounds/000. Move DONE away there and repeat the experiment's command.",
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
        reading.choose_experiments([], tmp_path, "acdc_h5")
    run = write_experiment(tmp_path, "mfc")
    files.write_json(run / "rounds" / "000" / "member_0" / "config.json", {})  # no experiment of its own
    nested = write_experiment(tmp_path / "x", "random")
    shutil.move(nested, run.parent / "folder" / nested.name)
    assert reading.find_experiments(tmp_path, "acdc_h5") == [run.parent / "folder" / nested.name, run]
    assert reading.choose_experiments([str(run), "", f" {run}"], tmp_path, "acdc_h5") == [run]
    training = write_run(tmp_path, BASE, dataset="acdc_h5")
    files.write_json(tmp_path / "acdc_h5/select_slices/x-0123456789/config.json", {"strategy": "mfc"})
    files.write_json(tmp_path / "acdc_h5/select_slices/x-0123456789/DONE", {})
    assert reading.find_trainings(tmp_path, "acdc_h5") == [training]
    with pytest.raises(ConfigError, match="acdc_h5, chaos"):
        read_experiments([run, write_experiment(tmp_path, "mfc", dataset="chaos")])


def test_missing_pieces_of_a_training_are_named(tmp_path):
    run = write_run(tmp_path, BASE)
    (run / "DONE").unlink()
    run_dirs.write_curve(run, loss=[1.0, 0.5], val_dice=[None, None])
    problems = " ".join(read_run(run).problems)
    assert "not finished" in problems and "No validation" in problems and "not evaluated" in problems


def test_pretraining_needs_neither_validation_nor_evaluation(tmp_path):
    run = write_run(tmp_path, "pretr_encoder_global_contrastive_loss")
    run_dirs.write_curve(run, loss=[1.0, 0.5], random_level=[3.5, 3.5], seconds=[2.0, 3.0])
    assert read_run(run).problems == () and read_run(run).is_pretraining and read_run(run).seconds == 5


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("logs/train.csv", "step,loss\n50,abc\n", "a number or an empty cell in line 2"),
        ("logs/train.csv", "loss\n1\n", "no step"),
        ("logs/train.csv", "step,loss\n,1\n", "a step in every line"),
        ("eval/per_volume.csv", "case_id,structure\n1,rv\n", "no metric, value"),
    ],
)
def test_damaged_tables_of_a_training_are_refused(tmp_path, name, text, words):
    run = write_run(tmp_path, BASE)
    (run / name).parent.mkdir()
    (run / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_run(run)


def test_what_cannot_be_reported(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_run(tmp_path / "absent")
    with pytest.raises(ConfigError, match="There is no run to report"):
        read_methods([])
    with pytest.raises(ConfigError, match="no finished run of phantom"):
        reading.choose_trainings([], tmp_path, "phantom")
    runs = [write_run(tmp_path, BASE, dataset=name) for name in ("acdc", "phantom")]
    with pytest.raises(ConfigError, match="runs of one dataset. Received runs of: acdc, phantom"):
        read_methods(runs)


def vouched_run(root, seed=0):
    """A finished training with scores, that vouches for its files."""
    run = write_run(root, BASE, seed=seed)
    run_dirs.write_curve(run, loss=[1.0, 0.5], val_dice=[0.2, 0.6])
    run_dirs.write_scores(run, {"001_ED": (0.5, 0.5, 0.5)})
    done.write(run, {"n_iter": 100}, ("*.json", "command.txt", "logs/*.csv", "eval/*"))
    return run


def replaced(old, new):
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("eval/per_volume.csv", replaced("0.5", "0.9"), "another content than when it was finished"),
        ("eval/per_volume.csv", lambda path: path.unlink(), "no such file"),
        ("logs/train.csv", replaced("0.6", "0.7"), "another content"),
        ("config.json", lambda path: path.unlink(), "no such file"),
        ("config.json", lambda path: path.write_text("[]"), "a table in JSON; found: a list"),
        ("config.json", lambda path: path.write_text("{}"), "another content"),
        ("config.json", replaced('"n_iter": 100', '"n_iter": 900'), "another content"),
        ("DONE", lambda path: path.write_text("[]"), "DONE; expected: a table in JSON; found: a list"),
        ("DONE", replaced('"n_iter": 100', '"n_iter": 900'), "DONE; expected"),
        ("versions.json", lambda path: path.write_text("[]"), "versions.json; expected"),
    ],
)
def test_a_training_that_is_not_what_it_wrote_is_left_out(tmp_path, name, change, words):
    bad, good = vouched_run(tmp_path, 0), vouched_run(tmp_path, 1)
    change(bad / name)
    paths = reading.choose_trainings([], tmp_path, "phantom")
    runs, left_out = read_runs(paths)
    assert [run.path for run in runs] == [good] and len(left_out) == 1
    assert re.search(f"Left out: .*{bad.name}.*{words}.*remedy: Restore it", left_out[0]), left_out
    with pytest.raises(FewSliceError, match=f"(?s)ATTENTION: 1 of 2 are damaged.*{bad.name}"):
        refuse_damaged(paths, runs)
    refuse_damaged([good], runs)


@pytest.mark.parametrize("facts", ["[1]", "3", '{"kind": 3}', '{"kind": "training", "method": "m", "settings": []}'])
def test_facts_of_another_shape(tmp_path, facts):
    run = write_run(tmp_path, BASE)
    (run / "config.json").write_text('{"seed": 0, "report": ' + facts + "}")
    with pytest.raises(DataError, match=r"config.json\n.*`report"):
        read_run(run)


def test_runs_from_before_there_were_checksums_are_named_in_one_line(tmp_path):
    runs = [read_run(path) for path in (vouched_run(tmp_path), *(write_run(tmp_path, BASE, seed=n) for n in (1, 2)))]
    (line,) = not_vouched(runs)
    assert runs[1].path.name in line and runs[0].path.name not in line
    assert not_vouched(runs[:1]) == []


@pytest.mark.parametrize(
    ("name", "change", "left"),
    [
        ("rounds/001/metrics.json", replaced("0.5", "0.9"), {0.01, 0.03}),
        ("rounds/001/metrics.json", lambda path: path.write_text("{}"), {0.01, 0.03}),
        ("rounds/001/metrics.json", lambda path: path.unlink(), {0.01, 0.03}),
        ("rounds/001/query.csv", replaced("v00", "v01"), {0.01, 0.02, 0.03}),
        ("rounds/001/DONE", lambda path: path.write_text("{}"), {0.01, 0.03}),
        ("rounds/001/DONE", lambda path: path.write_text('{"sha256": []}'), {0.01, 0.03}),
        ("rounds/001/DONE", lambda path: path.unlink(), {0.01, 0.03}),
        ("rounds/001/member_0/eval/test/per_volume.csv", replaced("0.5", "0.9"), {0.01, 0.02, 0.03}),
        ("pool.csv", replaced("9", "8"), {0.01, 0.02, 0.03}),
    ],
)
def test_an_experiment_that_is_not_what_it_wrote(tmp_path, name, change, left):
    """The numbers of the file are left out; the rest is reported, and the command fails."""
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6, 0.03: 0.7})
    for number in range(3):
        folder = run / "rounds" / f"{number:03d}"
        write_volumes(folder, {"001_ED": (0.5, 0.5)})
        done.write(folder, {}, ("*.json", "*.csv", "member_*/eval/*/*.csv"))
    done.write(run, {"n_iter": 3}, ("*.json", "*.csv", "rounds/*/DONE"))
    assert read_run(run).problems == () and read_run(run).is_vouched
    change(run / name)
    experiments, warnings = read_experiments([run])
    assert set(experiments[0].values("test_dice")) == left
    assert name.rpartition("/")[2] in warnings[0] and "remedy" in warnings[0]
    with pytest.raises(FewSliceError, match="ATTENTION: 1 of 1"):
        refuse_damaged([run], experiments)


def test_a_round_copied_over_another_is_noticed(tmp_path):
    """Consistent by itself, but not the round that the experiment finished."""
    run = write_experiment(tmp_path, "mfc")
    write_curve(run, {0.01: 0.5, 0.02: 0.6})
    for folder in (run / "rounds").iterdir():
        done.write(folder, {}, ("*.json", "*.csv"))
    done.write(run, {"n_iter": 2}, ("*.json", "*.csv", "rounds/*/DONE"))
    shutil.copytree(run / "rounds" / "000", run / "rounds" / "001", dirs_exist_ok=True)
    one = read_run(run)
    assert one.is_damaged and set(one.values("test_dice")) == {0.01}


@pytest.mark.parametrize("name", ["config.json", "per_volume.csv", "DONE", "command.txt"])
def test_files_without_permission_are_named(tmp_path, monkeypatch, name):
    """Simulated, since tests may run as root."""
    bad, good = vouched_run(tmp_path, 0), vouched_run(tmp_path, 1)
    opened = io.open

    def refuse(file, *args, **options):
        if str(file).startswith(str(bad)) and str(file).endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return opened(file, *args, **options)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    runs, left_out = read_runs([bad, good])
    assert [run.path for run in runs] == [good]
    assert name in left_out[0] and "Permission denied" in left_out[0]


def test_scores_of_test_volumes_are_counted_in_every_run_of_the_dataset(tmp_path):
    cases = {"train": ["005_ED"], "test": ["001_ED", "002_ED"]}
    runs = [write_run(tmp_path, BASE, seed=seed, lr_seg=lr, cases=cases) for seed, lr in ((0, 1), (1, 1), (0, 2))]
    for run in runs:
        run_dirs.write_scores(run, {"001_ED": (0.5,) * 3})
    (runs[0] / "eval" / "last").mkdir()
    shutil.copy(runs[0] / "eval" / "per_volume.csv", runs[0] / "eval" / "last")
    files.write_json(runs[1] / "DONE", {"n_iter": 100, done.TESTED_AFTER: [50, 70, 100]})
    sealed = write_run(tmp_path, BASE, seed=7)
    run_dirs.write_scores(sealed, {"003_ED": (0.5,) * 3})
    (sealed / "eval").rename(sealed / "val")
    (sealed / "eval").mkdir()
    (sealed / "val").rename(sealed / "eval" / "val")
    experiment = write_experiment(tmp_path, "mfc", dataset="phantom")
    for number in (0, 1):
        folder = write_round(experiment, number, 0.01 * (1 + number), 0.5)
        write_volumes(folder, {"001_ED": (0.5, 0.7)})
        write_volumes(folder, {"001_ED": (0.5, 0.7)}, member=1)
        write_volumes(folder, {"003_ED": (0.5, 0.7)}, where="val")
    (write_experiment(tmp_path, "bald") / "rounds").mkdir()  # of another dataset
    found = openings([read_run(sealed)])
    assert [(one.run, one.networks) for one in found] == sorted(
        [(runs[0], 2), (runs[1], 3), (runs[2], 1), (experiment, 4)]
    )
    assert settings_of(found) == 3
    assert [row[:2] + row[3:] for row in openings_table(found).rows] == [
        ("Baseline", "tr1 c1", "2", "3", "6"), ("mfc", "–", "1", "1", "4"),
    ]  # fmt: skip
    assert openings_table(found).rows[0][2].startswith("2 volumes (")
    (runs[2] / "config.json").write_text("[")
    assert settings_of(openings([read_run(sealed)])) == 3, "a damaged run opened them as well"
    assert openings_table(openings([read_run(write_run(tmp_path / "new", BASE))])) is None
