"""Expected values are worked out by hand; the arithmetic stands beside each. Quantiles of t are from printed tables."""

import math

import numpy as np
import pytest
from fewslice.report.figures.experiment_picks import (
    chance,
    distinct,
    histogram,
    last_common,
    overlap,
    position_shares,
)
from fewslice.report.reading.experiment_methods import group_experiments
from fewslice.report.reading.experiments import find_experiments, read_experiments
from fewslice.report.tables.budget_tables import columns, dice_table, difference_table, finding, percent

from fewslice.report.tables import budget_statistics as stats
from tests.report.experiment_dirs import write_curve, write_experiment, write_round

NAN = math.nan


def _methods(root):
    return group_experiments(read_experiments(find_experiments(root, "acdc_h5"))[0])


def _write(root, curves):
    """Writes strategy -> one validation curve per seed; test Dice is 0.1 lower."""
    for strategy, seeds in curves.items():
        for seed, curve in enumerate(seeds):
            write_curve(write_experiment(root, strategy, seed=seed), curve)
    return _methods(root)


@pytest.mark.parametrize(
    "values, mean, deviation, half_width",
    [
        ([], NAN, NAN, NAN),
        ([0.5], 0.5, NAN, NAN),
        ([0.4, 0.6], 0.5, math.sqrt(0.02), NAN),
        # deviations -.1 0 .1: variance .02 / 2; t(.975, 2) = 4.3027; 4.3027 * .1 / sqrt(3)
        ([0.4, 0.5, 0.6, NAN], 0.5, 0.1, 4.302653 * 0.1 / math.sqrt(3)),
        # t(.975, 4) = 2.7764
        ([1, 2, 3, 4, 5], 3, math.sqrt(2.5), 2.776445 * math.sqrt(2.5 / 5)),
    ],
)
def test_mean_and_interval(values, mean, deviation, half_width):
    found = stats.spread(values)
    assert [found.mean, found.deviation, found.half_width] == pytest.approx([mean, deviation, half_width], nan_ok=True)
    assert found.excludes_zero == (len(found.values) >= 3)


def test_area_is_a_mean_over_the_budget():
    # from 1 to 2 %: .01 * (.2 + .4) / 2 = .003; from 2 to 5 %: .03 * (.4 + .6) / 2 = .015; .018 / .04
    assert stats.area({0.01: 0.2, 0.02: 0.4, 0.05: 0.6}, (0.01, 0.02, 0.05)) == pytest.approx(0.45)
    assert stats.area({0.01: 0.3, 0.4: 0.3}, (0.01, 0.4)) == pytest.approx(0.3)
    assert math.isnan(stats.area({0.01: 0.3}, (0.01,)))
    assert math.isnan(stats.area({0.01: 0.3, 0.05: 0.4}, (0.01, 0.02, 0.05)))


def test_tables_by_hand(tmp_path):
    methods = _write(tmp_path, {
        "random": [{0.01: 0.3, 0.02: 0.5}, {0.01: 0.5, 0.02: 0.7}, {0.01: 0.4, 0.02: 0.6}],
        "mfc": [{0.01: 0.4, 0.02: 0.7}, {0.01: 0.5, 0.02: 0.8}, {0.01: 0.45, 0.02: 0.75}],
    })  # fmt: skip
    # test Dice is .1 lower. area = mean of both budgets: random .3 .5 .4, mfc .45 .55 .5
    table = dice_table(methods, stats.TEST)
    assert table.header == ("", "seeds", "area", "1 %", "2 %")
    assert table.rows == (
        ("random", "3", ".400 ± .100", ".300 ± .100", ".500 ± .100"),
        ("mfc", "3", ".500 ± .050", ".350 ± .050", ".650 ± .050"),
    )
    assert table.best == {(1, 2), (1, 3), (1, 4)}
    # differences of the area: .15 .05 .1, mean .1, sd .05, half width 4.3027 * .05 / sqrt(3) = .124
    # at 1 %: .1 0 .05 -> .05 ± .124; at 2 %: .2 .1 .15 -> .15 ± .124, which excludes 0
    table = difference_table(methods, stats.TEST)
    assert table.rows == (("mfc", "3", "+.100 ± .124", "+.050 ± .124", "+.150 ± .124"),)
    assert table.best == {(0, 4)}
    lines = finding(methods, stats.TEST)
    assert lines[0].startswith("mfc: mean test Dice over the budget .500 (seeds: 3), the highest of 2 methods")
    assert lines[1] == "May be chance (the interval holds 0): mfc (+.100 ± .124)."


def test_mean_of_the_published_tables(tmp_path):
    curve = {0.01: 0.1, 0.02: 0.4, 0.03: 0.5, 0.04: 0.6, 0.05: 0.9}
    methods = _write(tmp_path, {"mfc": [curve, {k: v for k, v in curve.items() if k < 0.05}]})
    # (.3 + .4 + .5 + .8) / 4; the second seed lacks 5 %
    assert stats.papers_means(methods[0], stats.TEST) == pytest.approx({0: 0.5})
    assert "mean 2–5 %" in columns(methods, stats.TEST)
    assert dice_table(methods, stats.TEST).rows[0][3] == ".500 (1)"


def test_unfinished_method_does_not_shorten_the_common_range(tmp_path):
    methods = _write(tmp_path, {"random": [{0.01: 0.3, 0.02: 0.5, 0.05: 0.6}], "mfc": [{0.01: 0.4}]})
    assert stats.common_budgets(methods, stats.TEST) == (0.01,)
    (methods[1].experiments[0].path / "DONE").unlink()
    methods = _methods(tmp_path)
    assert stats.common_budgets(methods, stats.TEST) == (0.01, 0.02, 0.05)
    assert stats.areas(methods[1], stats.TEST, (0.01, 0.02, 0.05)) == {}
    assert difference_table(methods, stats.TEST).rows == (("mfc", "1", "–", "+.100", "–", "–"),)
    (methods[0].experiments[0].path / "DONE").unlink()
    assert stats.common_budgets(_methods(tmp_path), stats.TEST) == (0.01,)


def test_one_round_has_no_area_and_null_no_value(tmp_path):
    methods = _write(tmp_path, {"random": [{0.05: 0.5}], "mfc": [{0.05: 0.6}]})
    assert list(columns(methods, stats.TEST)) == ["5 %"]
    assert finding(methods, stats.TEST)[1].startswith("Too few seeds in common")
    run = write_experiment(tmp_path, "coreset")
    write_round(run, 0, 0.05, 0.5, test_dice=None)
    assert dice_table(_methods(tmp_path), stats.TEST).rows[1] == ("coreset", "1", "–")


def test_only_seeds_that_both_have_are_paired(tmp_path):
    methods = _write(tmp_path, {"random": [{0.05: 0.5}, {0.05: 0.7}]})
    for seed, dice in ((1, 0.8), (2, 0.1)):
        write_curve(write_experiment(tmp_path, "mfc", seed=seed), {0.05: dice})
    methods = _methods(tmp_path)
    found = stats.paired(*(stats.at(method, stats.TEST, 0.05) for method in methods[::-1]))
    assert found.values == pytest.approx((0.1,)) and math.isnan(found.half_width)


def test_validation_counts_where_nothing_was_tested(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_round(run, 0, 0.01, 0.5, test_dice=None)
    assert stats.metric_of(_methods(tmp_path)) == stats.VALIDATION
    assert finding(_methods(tmp_path), stats.VALIDATION) == [
        "mfc: validation Dice at 1 % .500 (seeds: 1). There is nothing to compare it with."
    ]
    assert finding(_methods(tmp_path), stats.TEST) == ["None of these experiments has scores yet."]


def test_the_best_has_as_many_seeds_as_any(tmp_path):
    methods = _write(tmp_path, {"random": [{0.05: 0.5}, {0.05: 0.6}], "mfc": [{0.05: 0.9}], "bald": [{0.05: 0.6}] * 2})
    assert dice_table(methods, stats.TEST).best == {(1, 2)}  # bald .5, random .45; mfc has one seed
    assert finding(methods, stats.TEST)[0] == (
        "bald: test Dice at 5 % .500 (seeds: 2), the highest of 2 methods, which flatters it (1 more have fewer seeds)."
    )


def test_what_was_bought(tmp_path):
    for seed, start in ((0, 0), (1, 2)):
        write_curve(write_experiment(tmp_path, "random", seed=seed), {0.01: 0.4, 0.02: 0.5}, start=start)
    write_curve(write_experiment(tmp_path, "mfc"), {0.01: 0.4, 0.02: 0.5}, start=1)
    random, mfc = _methods(tmp_path)
    assert last_common([random, mfc]) == 0.02
    # seeds: slices 0-3 and 2-5 share 2 of 4; random seed 0 and mfc seed 0: 0-3 and 1-4 share 3
    assert overlap(random, random, 0.02) == 0.5 and overlap(random, mfc, 0.02) == 0.75
    assert math.isnan(overlap(mfc, mfc, 0.02)) and chance([random], 0.02) == 4 / 200
    assert position_shares(mfc.experiments[0]) == pytest.approx(np.array([1, 2, 3, 4]) / 9)
    assert histogram(np.array([0.0, 0.05, 0.1, 1.0])).tolist() == [0.5, 0.25, 0, 0, 0, 0, 0, 0, 0, 0.25]
    run = write_experiment(tmp_path, "bald")
    write_round(run, 0, 0.01, None, bought=[0, 10])
    write_round(run, 1, 0.02, 0.5, bought=[20, 1])
    bald = next(method.experiments[0] for method in _methods(tmp_path) if method.label == "bald")
    assert distinct(bald, "volume") == {0.01: 2, 0.02: 3} and distinct(bald, "patient") == {0.01: 1, 0.02: 2}


def test_percent():
    assert [percent(value) for value in (0.01, 0.025, 0.15000000000000002, 1.0)] == ["1 %", "2.5 %", "15 %", "100 %"]
