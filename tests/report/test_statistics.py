"""Expected values are worked out by hand; the arithmetic stands beside each."""

import math

import pytest
from fewslice.report.tables.findings import finding
from fewslice.report.tables.result_tables import difference_table, result_table
from fewslice.report.tables.tables import facts, text_report

from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError
from fewslice.report.reading.methods import group_runs, read_methods
from fewslice.report.reading.runs import choose_run_dirs, find_run_dirs, read_run
from fewslice.report.tables.statistics import MEAN, cell, number, paired_difference, volume_means
from tests.report.run_dirs import write_curve, write_run, write_scores

BASE, FINE = "tr_baseline", "ft_pretr_encoder_net_global_loss"
NAN = float("nan")


@pytest.fixture
def two_by_two(tmp_path):
    """Baseline and pretrained encoder, two seeds, two volumes; one structure is missing in 002_ED."""
    for seed, (base, fine) in enumerate([(0.5, 0.7), (0.6, 0.9)]):
        write_scores(write_run(tmp_path, BASE, seed=seed), {"001_ED": (base, base, base), "002_ED": (0.2, NAN, 0.4)})
        run = write_run(tmp_path, FINE, seed=seed, former_digest=f"differs by seed {seed}")
        write_scores(run, {"001_ED": (fine, fine, fine), "002_ED": (0.4, NAN, 0.8)})
    return find_run_dirs(tmp_path, "phantom")


def test_runs_that_differ_in_seed_only_are_one_method(two_by_two):
    methods = read_methods(two_by_two)
    assert [(m.label, len(m.runs), m.is_baseline) for m in methods] == [
        ("Baseline", 2, True),
        ("Pretrained encoder", 2, False),
    ]


def test_other_settings_are_another_method_named_after_them(tmp_path):
    runs = [write_run(tmp_path, BASE, lr_seg=value) for value in (0.1, 0.01)]
    assert sorted(m.label for m in read_methods(runs)) == ["Baseline (lr_seg 0.01)", "Baseline (lr_seg 0.1)"]


def test_cells_average_volumes_then_seeds(two_by_two):
    baseline = read_methods(two_by_two)[0]
    # rv: seed 0 (.5 + .2) / 2 = .35, seed 1 (.6 + .2) / 2 = .4; mean .375, sd .05 / sqrt(2)
    rv = cell(baseline, "dice", "rv")
    assert rv.value == pytest.approx(0.375) and rv.sd_seeds == pytest.approx(0.05 / math.sqrt(2))
    # myo: the undefined volume does not count: (.5 + .6) / 2
    myo = cell(baseline, "dice", "myo")
    assert myo.value == pytest.approx(0.55) and (myo.num_volumes, myo.num_undefined) == (1, 1)
    # mean: volume means .5 and .3 -> .4; .6 and .3 -> .45
    assert cell(baseline, "dice", MEAN).value == pytest.approx(0.425)
    assert volume_means(baseline) == pytest.approx({"001_ED": 0.55, "002_ED": 0.3})


def test_paired_difference_by_hand(two_by_two):
    baseline, fine = read_methods(two_by_two)
    difference = paired_difference(fine, baseline)
    # 001: .8 - .55 = .25; 002: .6 - .3 = .3; mean .275; sd .05 / sqrt(2), error sd / sqrt(2) = .025
    assert difference.by_volume == pytest.approx({"001_ED": 0.25, "002_ED": 0.3})
    assert difference.mean == pytest.approx(0.275) and difference.standard_error == pytest.approx(0.025)
    # seeds: (.2 + .3) / 2 and (.3 + .3) / 2
    assert difference.by_seed == pytest.approx((0.25, 0.3))
    assert difference.verdict == "better" and difference.num_better == 2


def _pair(tmp_path, base, fine):
    """One seed per entry; each entry lists the volumes' Dice."""
    for stage, seeds in ((BASE, base), (FINE, fine)):
        for seed, values in enumerate(seeds):
            scores = {f"00{i}_ED": (v, v, v) for i, v in enumerate(values)}
            write_scores(write_run(tmp_path, stage, seed=seed), scores)
    return read_methods(find_run_dirs(tmp_path))


@pytest.mark.parametrize(
    "base, fine, words",
    [
        ([[0.5, 0.5, 0.5]], [[0.6, 0.62, 0.61]], "more than twice the standard error.*With one seed"),
        ([[0.5, 0.5, 0.5]], [[0.4, 0.38, 0.39]], "Worse than the baseline"),
        ([[0.5, 0.5, 0.5]], [[0.9, 0.1, 0.6]], "may be chance"),
        ([[0.5, 0.5], [0.5, 0.5]], [[0.7, 0.71], [0.49, 0.49]], "seeds disagree"),
        ([[0.5]], [[0.9]], "One volume says nothing"),
    ],
    ids=["better", "worse", "unclear", "seeds disagree", "one volume"],
)
def test_finding_says_no_more_than_the_numbers(tmp_path, base, fine, words):
    import re

    (sentence,) = finding(_pair(tmp_path, base, fine))
    assert re.search(words, sentence), sentence
    assert ("may be chance" in sentence) == (words in ("may be chance", "seeds disagree"))


def test_joint_training_is_compared_and_its_further_steps_are_named(tmp_path):
    joint = "prop_method_joint_tr_rand_init"
    runs = [write_run(tmp_path, "tr_baseline"), write_run(tmp_path, joint, teacher_sha256="ab")]
    record = files.read_json(runs[1] / "config.json")
    files.write_json(runs[1] / "config.json", {**record, "n_iter": 300})
    for run, value in zip(runs, (0.5, 0.6), strict=True):
        write_scores(run, {"001_ED": (value,) * 3, "002_ED": (value + 0.1,) * 3})
    (text,) = finding(read_methods(runs))
    assert text.startswith(
        "Joint training: mean Dice .650 against .550 for the baseline, after 300 further steps, +.100 on 2"
    )


def test_finding_without_evaluation_or_baseline(tmp_path):
    write_run(tmp_path, BASE)
    assert finding(read_methods(find_run_dirs(tmp_path))) == ["None of these runs was evaluated on test volumes yet."]
    run = write_run(tmp_path / "other", FINE)
    write_scores(run, {"001_ED": (0.5, 0.5, 0.5)})
    assert "no baseline among these runs" in finding(read_methods([run]))[0]


def test_tables_show_these_numbers(two_by_two):
    methods = read_methods(two_by_two)
    table = result_table(methods)
    assert table.header == ("", "Baseline", "Pretrained encoder")
    # encoder, rv: seeds (.7 + .4) / 2 = .55 and (.9 + .4) / 2 = .65; sd .1 / sqrt(2) = .0707
    assert table.rows[0] == ("Dice RV", ".375 ± .035", ".600 ± .071")
    assert table.rows[-1][0] == "Dice mean" and (0, 2) in table.best and (0, 1) not in table.best
    differences = difference_table(methods)
    assert differences.rows[0] == ("001_ED", ".550", ".800", "+.250")
    assert differences.rows[-3:] == (
        ("mean difference", "", "", "+.275"),
        ("standard error", "", "", ".025"),
        ("better on", "", "", "2 of 2"),
    )


def test_text_report_states_where_the_numbers_come_from(two_by_two):
    methods = read_methods(two_by_two)
    named = dict(facts(methods))
    assert named["Dataset"] == "phantom" and named["Labelled split"] == "tr1 c1" and named["Seeds"] == "0, 1"
    assert named["Training steps"] == "100" and named["Tested on"] == "2 volumes of 2 patients"
    assert named["Empty classes"].startswith("1: 002_ED myo: absent in truth and prediction")
    assert all(run.digest in named["Configuration"] for method in methods for run in method.runs)
    text = text_report(methods)
    assert "Unit of budget: labelled volumes" in text and ".375 ± .035" in text


def test_distances_keep_their_zero_and_low_is_best(tmp_path):
    for stage, value in ((BASE, 0.75), (FINE, 0.5)):
        write_scores(write_run(tmp_path, stage), {"001_ED": (value,) * 3}, metric="assd_mm")
    table = result_table(read_methods(find_run_dirs(tmp_path)))
    assert table.rows[0] == ("ASSD (mm) RV", "0.75", "0.50") and (0, 2) in table.best


@pytest.mark.parametrize(
    "value, options, text",
    [
        (0.7449, {}, ".745"),
        (1.0, {}, "1.000"),
        (-0.012, {"signed": True}, "−.012"),
        (0.025, {"signed": True}, "+.025"),
        (-0.0001, {"signed": True}, "+.000"),
        (12.34, {"digits": 1, "unit": True}, "12.3"),
        (NAN, {}, "–"),
    ],
)
def test_number(value, options, text):
    assert number(value, **options) == text


def test_missing_pieces_are_named(tmp_path):
    run = write_run(tmp_path, BASE)
    (run / "DONE").unlink()
    write_curve(run, loss=[1.0, 0.5], val_dice=[None, None])
    problems = " ".join(read_run(run).problems)
    assert "not finished" in problems and "No validation" in problems and "not evaluated" in problems


def test_pretraining_needs_neither_validation_nor_evaluation(tmp_path):
    run = write_run(tmp_path, "pretr_encoder_global_contrastive_loss")
    write_curve(run, loss=[1.0, 0.5], random_level=[3.5, 3.5], seconds=[2.0, 3.0])
    assert read_run(run).problems == () and read_run(run).is_contrastive and read_run(run).seconds == 5


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("logs/train.csv", "step,loss\n50,abc\n", "a number or an empty cell in line 2"),
        ("logs/train.csv", "loss\n1\n", "a column `step`"),
        ("eval/per_volume.csv", "case_id,structure\n1,rv\n", "no metric, value in line 2"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, name, text, words):
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
        choose_run_dirs([], tmp_path, "phantom")
    runs = [write_run(tmp_path, BASE, dataset=name) for name in ("acdc", "phantom")]
    with pytest.raises(ConfigError, match="runs of one dataset. Received runs of: acdc, phantom"):
        read_methods(runs)
    assert len(group_runs([read_run(run) for run in runs])) == 2
