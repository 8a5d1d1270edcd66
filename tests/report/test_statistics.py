"""Expected values are worked out by hand; the arithmetic stands beside each. Quantiles of t are from printed tables."""

import math

import numpy as np
import pandas as pd
import pytest

from fewslice.core import files
from fewslice.report.figures import picks
from fewslice.report.pages.experiments import text_report as text_of_experiments
from fewslice.report.pages.trainings import text_report as text_of_trainings
from fewslice.report.reading.methods import group_runs, read_methods
from fewslice.report.reading.runs import find_experiments, find_trainings, read_experiments
from fewslice.report.tables import experiments, trainings
from fewslice.report.tables import statistics as stats
from fewslice.report.tables.table import MEAN, number, percent
from tests.report.experiment_dirs import write_curve, write_experiment, write_round
from tests.report.run_dirs import write_run, write_scores

BASE, FINE, JOINT = "tr_baseline", "ft_pretr_encoder_net_global_loss", "prop_method_joint_tr_rand_init"
NAN = math.nan
TEST, VALIDATION = "test_dice", "val_dice"


@pytest.fixture
def two_by_two(tmp_path):
    """Baseline and pretrained encoder, two seeds, two volumes; one structure is missing in 002_ED."""
    for seed, (base, fine) in enumerate([(0.5, 0.7), (0.6, 0.9)]):
        write_scores(write_run(tmp_path, BASE, seed=seed), {"001_ED": (base, base, base), "002_ED": (0.2, NAN, 0.4)})
        run = write_run(tmp_path, FINE, seed=seed, parent_digest=f"differs by seed {seed}")
        write_scores(run, {"001_ED": (fine, fine, fine), "002_ED": (0.4, NAN, 0.8)})
    return read_methods(find_trainings(tmp_path, "phantom"))


def test_means_over_structures_then_volumes_then_seeds(two_by_two):
    assert [(m.label, len(m.runs), m.is_baseline) for m in two_by_two] == [
        ("Baseline", 2, True), ("Pretrained encoder", 2, False),
    ]  # fmt: skip
    spread = stats.over_seeds(stats.means(two_by_two))
    mean, deviation = spread.mean.loc["Baseline", "dice"], spread.deviation.loc["Baseline", "dice"]
    # rv: seed 0 (.5 + .2) / 2 = .35, seed 1 (.6 + .2) / 2 = .4; mean .375, sd .05 / sqrt(2)
    assert mean["rv"] == pytest.approx(0.375) and deviation["rv"] == pytest.approx(0.05 / math.sqrt(2))
    # myo: the undefined volume does not count: (.5 + .6) / 2; mean: volume means .5 and .3 -> .4; .6 and .3 -> .45
    assert mean["myo"] == pytest.approx(0.55) and mean[MEAN] == pytest.approx(0.425)


def test_paired_difference_by_hand(two_by_two):
    found = stats.difference(stats.volume_dice(two_by_two), "Pretrained encoder", "Baseline")
    # 001: .8 - .55 = .25; 002: .6 - .3 = .3; mean .275; sd .05 / sqrt(2), error sd / sqrt(2) = .025
    assert found.by_volume.to_dict() == pytest.approx({"001_ED": 0.25, "002_ED": 0.3})
    assert found.mean == pytest.approx(0.275) and found.standard_error == pytest.approx(0.025)
    # seeds: (.2 + .3) / 2 and (.3 + .3) / 2
    assert found.by_seed.to_dict() == pytest.approx({0: 0.25, 1: 0.3}) and found.verdict == "better"


@pytest.mark.parametrize(
    "base, fine, verdict",
    [
        ([[0.5, 0.5, 0.5]], [[0.6, 0.62, 0.61]], "better"),
        ([[0.5, 0.5, 0.5]], [[0.4, 0.38, 0.39]], "worse"),
        ([[0.5, 0.5, 0.5]], [[0.9, 0.1, 0.6]], "may be chance"),
        ([[0.5, 0.5], [0.5, 0.5]], [[0.7, 0.71], [0.49, 0.49]], "may be chance: seeds disagree"),
        ([[0.5]], [[0.9]], "one volume says nothing"),
    ],
)
def test_the_verdict_says_no_more_than_the_numbers(tmp_path, base, fine, verdict):
    for stage, seeds in ((BASE, base), (FINE, fine)):
        for seed, values in enumerate(seeds):
            write_scores(write_run(tmp_path, stage, seed=seed), {f"00{i}_ED": (v,) * 3 for i, v in enumerate(values)})
    methods = read_methods(find_trainings(tmp_path, "phantom"))
    assert trainings.comparison_table(methods).rows[1][-1] == verdict


def test_further_steps_are_named_and_other_steps_not_compared(tmp_path):
    runs = [write_run(tmp_path, BASE), write_run(tmp_path, JOINT, teacher_sha256="ab"), write_run(tmp_path, FINE)]
    for run, value in zip(runs, (0.5, 0.6, 0.7), strict=True):
        files.write_json(run / "config.json", {**files.read_json(run / "config.json"), "n_iter": 100 * (value > 0.5)})
        write_scores(run, {"001_ED": (value,) * 3, "002_ED": (value + 0.1,) * 3})
    _, fine, joint = trainings.comparison_table(read_methods(runs)).rows
    assert fine == ("Pretrained encoder", "0.750", "", "", "", "", "other number of steps: not compared")
    assert joint[:4] == ("Joint training (after 100 further steps)", "0.650", "+0.100", "0.000")


def test_of_distances_the_low_is_best(tmp_path):
    for stage, value in ((BASE, 0.75), (FINE, 0.5)):
        write_scores(write_run(tmp_path, stage), {"001_ED": (value,) * 3}, metric="assd_mm")
    (table,) = trainings.result_tables(read_methods(find_trainings(tmp_path, "phantom")))
    assert table.rows[0] == ("ASSD (mm) RV", "0.75", "0.50") and (0, 2) in table.best


@pytest.mark.parametrize(
    "value, options, text",
    [
        (0.7449, {}, "0.745"),
        (1.0, {}, "1.000"),
        (-0.012, {"signed": True}, "−0.012"),
        (0.025, {"signed": True}, "+0.025"),
        (-0.0001, {"signed": True}, "+0.000"),
        (12.34, {"digits": 1}, "12.3"),
        (NAN, {}, "–"),
    ],
)
def test_number(value, options, text):
    assert number(value, **options) == text


def test_percent():
    assert [percent(value) for value in (0.01, 0.025, 0.15000000000000002, 1.0)] == ["1 %", "2.5 %", "15 %", "100 %"]


# --- experiments ---


def _methods(root):
    return group_runs(read_experiments(find_experiments(root, "acdc_h5"))[0])


def _write(root, curves):
    """Writes strategy -> one validation curve per seed; test Dice is 0.1 lower."""
    for strategy, seeds in curves.items():
        for seed, curve in enumerate(seeds):
            write_curve(write_experiment(root, strategy, seed=seed), curve)
    return _methods(root)


@pytest.mark.parametrize(
    "values, mean, deviation, half_width",
    [
        ([NAN], NAN, NAN, NAN),
        ([0.5], 0.5, NAN, NAN),
        ([0.4, 0.6], 0.5, math.sqrt(0.02), NAN),
        # deviations -.1 0 .1: variance .02 / 2; t(.975, 2) = 4.3027; 4.3027 * .1 / sqrt(3)
        ([0.4, 0.5, 0.6, NAN], 0.5, 0.1, 4.302653 * 0.1 / math.sqrt(3)),
        # t(.975, 4) = 2.7764
        ([1, 2, 3, 4, 5], 3, math.sqrt(2.5), 2.776445 * math.sqrt(2.5 / 5)),
    ],
)
def test_mean_and_interval(values, mean, deviation, half_width):
    index = pd.MultiIndex.from_product([["m"], range(len(values))], names=["method", "seed"])
    found = stats.over_seeds(pd.DataFrame({"x": values}, index, dtype=float))
    got = [table.at["m", "x"] for table in (found.mean, found.deviation, found.half_width)]
    assert got == pytest.approx([mean, deviation, half_width], nan_ok=True)
    assert found.excludes_zero.at["m", "x"] == (found.count.at["m", "x"] >= 3)


def test_tables_of_experiments_by_hand(tmp_path):
    methods = _write(tmp_path, {
        "random": [{0.01: 0.3, 0.02: 0.5}, {0.01: 0.5, 0.02: 0.7}, {0.01: 0.4, 0.02: 0.6}],
        "mfc": [{0.01: 0.4, 0.02: 0.7}, {0.01: 0.5, 0.02: 0.8}, {0.01: 0.45, 0.02: 0.75}],
    })  # fmt: skip
    # test Dice is .1 lower. area = mean of both budgets: random .3 .5 .4, mfc .45 .55 .5
    table = experiments.dice_table(methods, TEST)
    assert table.header == ("", "seeds", "area", "1 %", "2 %")
    assert table.rows == (
        ("random", "3", "0.400 ± 0.100", "0.300 ± 0.100", "0.500 ± 0.100"),
        ("mfc", "3", "0.500 ± 0.050", "0.350 ± 0.050", "0.650 ± 0.050"),
    )
    assert table.best == {(1, 2), (1, 3), (1, 4)}
    # differences of the area: .15 .05 .1, mean .1, sd .05, half width 4.3027 * .05 / sqrt(3) = .124
    # at 1 %: .1 0 .05 -> .05 ± .124; at 2 %: .2 .1 .15 -> .15 ± .124, which excludes 0
    table = experiments.difference_table(methods, TEST)
    assert table.rows == (
        ("mfc", "3", "may be chance", "0.074", "+0.100 ± 0.124", "+0.050 ± 0.124", "+0.150 ± 0.124"),
    )  # two degrees of freedom: p = 1 - t / sqrt(t² + 2), t = .1 / (.05 / sqrt(3))
    assert table.best == {(0, 6)}
    leader = {"label": "mfc", "mean": pytest.approx(0.5), "seeds": 3, "column": "area", "count": 2, "rivals": 2}
    assert experiments.leader(methods, TEST) == leader


def test_a_hedge_against_its_halves(tmp_path):
    def write(strategy, seed, dice, *, safe=False, **more):
        query = {"strategy": {"name": strategy, "options": {}}} | ({"safe": True} if safe else {})
        config = {"query": query, "encoder": {"run": "e"}} if strategy == "mfc" else {"query": query}
        write_curve(write_experiment(tmp_path, strategy, seed=seed, **config, **more), {0.01: dice, 0.02: dice + 0.1})

    for seed in (0, 1):
        write("mfc", seed, 0.6 + 0.1 * seed, safe=True)
        write("mfc", seed, 0.5 + 0.3 * seed)
        write("random", seed, 0.3)
    write("equispaced", 0, 0.55)
    write("equispaced", 0, 0.9, stop={"budget": 3})  # another setting beside the query
    methods = _methods(tmp_path)
    assert [method.label for method in methods if method.is_baseline] == ["random"]
    table = experiments.safe_table(methods, TEST)
    assert table.header == ("Safe against its halves", "seeds", "area", "1 %", "2 %")
    # mfc: .1 and -.1 in both budgets; equispaced: .05 with seed 0 only
    assert sorted(row[1:] for row in table.rows) == [
        ("1", "+0.050", "+0.050", "+0.050"), ("2", "+0.000", "+0.000", "+0.000"),
    ]  # fmt: skip
    assert {row[0].partition(" − ")[0] for row in table.rows} == {"safe mfc"}
    assert experiments.safe_table([m for m in methods if not m.label.startswith("safe")], TEST) is None


def test_holm_by_hand():
    # two degrees of freedom: p = 1 - t / sqrt(t² + 2); t of a: .3 / .0577 = 5.196, p = .0351; b: 3.464, p = .0742
    # c: differences all alike, p = 0; d has two seeds only. Of three: c 0 * 3, a .0351 * 2, b max(.0702, .0742 * 1)
    rows = {"a": (0.2, 0.3, 0.4), "b": (0.05, 0.1, 0.15), "c": (0.1, 0.1, 0.1), "d": (0.1, 0.2, np.nan)}
    index = pd.MultiIndex.from_product([rows, range(3)], names=["method", "seed"])
    found = stats.holm(stats.over_seeds(pd.DataFrame({"x": np.concatenate(list(rows.values()))}, index)), "x")
    assert found.to_dict() == pytest.approx({"a": 0.0702, "b": 0.0742, "c": 0.0, "d": math.nan}, abs=1e-4, nan_ok=True)


def test_area_is_a_mean_over_the_budget(tmp_path):
    # test Dice from 1 to 2 %: .01 * (.2 + .4) / 2 = .003; from 2 to 5 %: .03 * (.4 + .6) / 2 = .015; .018 / .04
    (method,) = _write(tmp_path, {"mfc": [{0.01: 0.3, 0.02: 0.5, 0.05: 0.7}]})
    assert stats.columns([method], TEST)["area"].tolist() == pytest.approx([0.45])


def test_mean_of_the_published_tables(tmp_path):
    curve = {0.01: 0.1, 0.02: 0.4, 0.03: 0.5, 0.04: 0.6, 0.05: 0.9}
    methods = _write(tmp_path, {"mfc": [curve, {k: v for k, v in curve.items() if k < 0.05}]})
    # (.3 + .4 + .5 + .8) / 4; the second seed lacks 5 %
    found = stats.columns(methods, TEST)["mean 2–5 %"]
    assert found.loc["mfc", 0] == pytest.approx(0.5) and math.isnan(found.loc["mfc", 1])
    assert experiments.dice_table(methods, TEST).rows[0][3] == "0.500 (1)"


def test_unfinished_method_does_not_shorten_the_common_range(tmp_path):
    methods = _write(tmp_path, {"random": [{0.01: 0.3, 0.02: 0.5, 0.05: 0.6}], "mfc": [{0.01: 0.4}]})
    assert stats.common_budgets(methods, TEST) == [0.01]
    (methods[1].runs[0].path / "DONE").unlink()
    methods = _methods(tmp_path)
    assert stats.common_budgets(methods, TEST) == [0.01, 0.02, 0.05]
    assert experiments.difference_table(methods, TEST).rows == (
        ("mfc", "1", "not compared", "–", "–", "+0.100", "–", "–"),
    )
    (methods[0].runs[0].path / "DONE").unlink()
    assert stats.common_budgets(_methods(tmp_path), TEST) == [0.01]


def test_one_round_has_no_area_and_null_no_value(tmp_path):
    methods = _write(tmp_path, {"random": [{0.05: 0.5}], "mfc": [{0.05: 0.6}]})
    assert list(stats.columns(methods, TEST)) == ["5 %"]
    assert experiments.difference_table(methods, TEST).rows == (("mfc", "1", "too few seeds", "–", "+0.100"),)
    write_round(write_experiment(tmp_path, "coreset"), 0, 0.05, 0.5, test_dice=None)
    assert experiments.dice_table(_methods(tmp_path), TEST).rows[1] == ("coreset", "1", "–")


def test_only_seeds_that_both_have_are_paired(tmp_path):
    _write(tmp_path, {"random": [{0.05: 0.5}, {0.05: 0.7}]})
    for seed, dice in ((1, 0.8), (2, 0.1)):
        write_curve(write_experiment(tmp_path, "mfc", seed=seed), {0.05: dice})
    found = stats.paired(stats.columns(_methods(tmp_path), TEST), "random")["5 %"]
    assert found.loc["mfc", 1] == pytest.approx(0.1) and math.isnan(found.loc["mfc", 2])


def test_the_best_has_as_many_seeds_as_any(tmp_path):
    methods = _write(tmp_path, {"random": [{0.05: 0.5}, {0.05: 0.6}], "mfc": [{0.05: 0.9}], "bald": [{0.05: 0.6}] * 2})
    assert experiments.dice_table(methods, TEST).best == {(1, 2)}  # bald .5, random .45; mfc has one seed
    leader = experiments.leader(methods, TEST)
    assert (leader["label"], leader["seeds"], leader["rivals"], leader["count"]) == ("bald", 2, 2, 3)


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ((), "None of these runs was evaluated on test volumes yet."),
        ((FINE,), "There is no baseline among these runs, so nothing is said about a gain."),
        ((BASE,), "There is nothing but a baseline among these runs"),
        ((BASE, FINE), "With one seed, the spread between repeated trainings is unknown."),
    ],
)
def test_findings_of_trainings(tmp_path, stages, sentence):
    runs = [write_run(tmp_path, stage) for stage in stages] or [write_run(tmp_path, BASE)]
    for run in runs if stages else ():
        write_scores(run, {"001_ED": (0.5, 0.5, 0.5)})
    assert sentence in text_of_trainings(read_methods(runs))


def test_findings_of_experiments(tmp_path):
    write_round(write_experiment(tmp_path, "mfc"), 0, 0.01, 0.5, test_dice=None)
    methods = _methods(tmp_path)
    assert stats.metric_of(methods) == VALIDATION and experiments.leader(methods, TEST) is None
    assert "Validation Dice at 1 %: mfc, 0.500 over 1 seed. There is nothing" in text_of_experiments(methods)
    write_round(write_experiment(tmp_path, "bald"), 0, 0.01, 0.6, test_dice=None)
    assert "There is no random choice of the same setup" in text_of_experiments(_methods(tmp_path))


def test_what_was_chosen(tmp_path):
    for seed, start in ((0, 0), (1, 2)):
        write_curve(write_experiment(tmp_path, "random", seed=seed), {0.01: 0.4, 0.02: 0.5}, start=start)
    write_curve(write_experiment(tmp_path, "mfc"), {0.01: 0.4, 0.02: 0.5}, start=1)
    random, mfc = _methods(tmp_path)
    assert picks.last_common([random, mfc]) == 0.02
    # seeds: slices 0-3 and 2-5 share 2 of 4; random seed 0 and mfc seed 0: 0-3 and 1-4 share 3
    assert picks.overlap(random, random, 0.02) == 0.5 and picks.overlap(random, mfc, 0.02) == 0.75
    assert math.isnan(picks.overlap(mfc, mfc, 0.02)) and picks.chance([random], 0.02) == 4 / 200
    assert picks.position_shares(mfc.runs[0]) == pytest.approx(np.array([1, 2, 3, 4]) / 9)
    assert picks.histogram(np.array([0.0, 0.05, 0.1, 1.0])).tolist() == [0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.25]
    run = write_experiment(tmp_path, "bald")
    write_round(run, 0, 0.01, None, queried=[0, 10])
    write_round(run, 1, 0.02, 0.5, queried=[20, 1])
    bald = next(method.runs[0] for method in _methods(tmp_path) if method.label == "bald")
    assert picks.distinct(bald, "volume") == {0.01: 2, 0.02: 3}
    assert picks.distinct(bald, "patient") == {0.01: 1, 0.02: 2}
