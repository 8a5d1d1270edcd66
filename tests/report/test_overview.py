"""Many methods and several labelled splits. Expected numbers: by hand from Dice values that are typed."""

from __future__ import annotations

import pytest

from fewslice.report.figures.curves import plot_curves
from fewslice.report.figures.figures import compared, save_figures
from fewslice.report.figures.outlines import plot_methods, shown_runs
from fewslice.report.figures.overview import plot_overview
from fewslice.report.figures.style import colour_of
from fewslice.report.pages.trainings import write_training_report
from fewslice.report.reading.methods import by_setup, read_methods
from fewslice.report.tables import trainings as tables
from tests.report.run_dirs import STRUCTURES, volume, write_curve, write_prediction, write_run, write_scores

BASE, JOINT = "tr_baseline", "prop_method_joint_tr_rand_init"
CASES = ("001_ED", "002_ED", "003_ED")
# Name of a joint method -> what it adds to the baseline's Dice on the three volumes.
GAINS = {
    "m_a": (0.10, 0.11, 0.12), "m_b": (0.2, 0.21, 0.22), "m_c": (-0.1, -0.11, -0.12), "m_d": (0.1, -0.1, 0.02),
    "m_e": (0.05, 0.051, 0.052),
}  # fmt: skip


def scored(run, gains=(0, 0, 0), base=0.5):
    write_scores(run, {case: (base + gain,) * 3 for case, gain in zip(CASES, gains, strict=True)})
    write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, base])
    return run


def many(root, split="tr1", base=0.5, **settings):
    """Writes the baseline and the five joint methods of one split."""
    runs = [scored(write_run(root, BASE, no_of_tr_imgs=split, **settings), base=base)]
    for name, gains in GAINS.items():
        run = write_run(root, JOINT, method=name, teacher_sha256="t", no_of_tr_imgs=split, **settings)
        runs.append(scored(run, gains, base))
    return runs


def test_many_methods_are_rows_of_a_table_per_metric(tmp_path):
    methods = read_methods(many(tmp_path))
    (table,) = tables.result_tables(methods)
    assert table.header == ("Dice", "RV", "MYO", "LV", "mean")
    assert table.rows[:2] == (("1  Baseline", *["0.500"] * 4), ("2  m a", *["0.610"] * 4))
    assert table.best == {(2, column) for column in (1, 2, 3, 4)}
    volumes = tables.volume_table(methods)
    assert volumes.header[:3] == ("Volume", "Baseline", "Δ m a") and volumes.short[:3] == ("Volume", "1", "Δ 2")
    assert volumes.rows[0] == ("001_ED", "0.500", "+0.100", "+0.200", "−0.100", "+0.100", "+0.050")
    assert len(tables.result_tables(methods[:5])) == 1
    assert tables.result_tables(methods[:5])[0].header[1] == "Baseline"


def test_lines_for_the_terminal_stay_short_whatever_the_names(tmp_path):
    runs = [*many(tmp_path), *(many(tmp_path, a_setting_with_a_long_name=1)[1:])]
    table = tables.volume_table(read_methods(runs))
    assert max(len(line) for line in table.text().splitlines()) < 110


def test_the_best_of_many_is_called_biased(tmp_path):
    methods = read_methods(many(tmp_path))
    # m a: (.1 + .11 + .12) / 3 = .11; deviation .01, error .01 / sqrt(3) = .0058
    _, first, *others = tables.comparison_table(methods).rows
    assert first == ("m a", "0.610", "+0.110", "0.006", "3 of 3", "1", "better")
    assert [row[-1] for row in others] == ["better", "worse", "may be chance", "better"]
    assert tables.remarks(methods)[0] == (
        "Highest mean Dice: m b, 0.710 (best of 5 methods on these volumes; optimistically biased)."
    )


def test_splits_side_by_side(tmp_path):
    methods = read_methods([*many(tmp_path), *many(tmp_path, "tr2", 0.6)[:2]])
    assert tables.needs_overview(methods) and not tables.needs_overview(methods[:1])
    table = tables.overview_table(methods)
    assert table.header == ("Mean Dice", "tr1 c1", "Δ baseline", "tr2 c1", "Δ baseline")
    assert table.rows[:3] == (
        ("Baseline", "0.500", "", "0.600", ""),
        ("m a", "0.610", "+0.110", "0.710", "+0.110"),
        ("m b", "0.710", "+0.210", "", ""),
    )
    assert table.best == {(2, 1), (1, 3)}
    (axes,) = plot_overview(methods).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [row[0] for row in table.rows]
    text = tables.text_report(methods)
    assert text.index("Labelled split tr1 c1") < text.index("Labelled split tr2 c1")


def test_a_method_has_one_colour_in_all_splits_and_no_two_share_one(tmp_path):
    methods = read_methods([*many(tmp_path), *many(tmp_path, "tr2"), *many(tmp_path, extra=1)[1:]])
    colours = colour_of(methods)
    assert len(colours) == len(set(colours.values())) == 11


def test_many_methods_have_a_panel_each(tmp_path):
    methods = read_methods(many(tmp_path))
    panels = [axes for axes in plot_curves(methods).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [method.label for method in methods]
    assert panels[1].lines[-1].get_color() == colour_of(methods)[methods[1].label], "its own dot lies on top"
    assert len(plot_curves(methods[:5]).axes) == 2


def test_the_best_method_is_drawn_wherever_it_stands(tmp_path):
    methods = read_methods(many(tmp_path))
    assert [method.label for method in compared(methods)] == ["Baseline", "m b"]
    assert [method.label for method in compared(methods[:1])] == ["Baseline"]
    assert [method.label for method in compared(methods[1:3])] == ["m b"]


def test_a_seed_that_all_have_is_drawn(tmp_path):
    runs = [scored(write_run(tmp_path, BASE, seed=seed)) for seed in (0, 1)]
    runs.append(scored(write_run(tmp_path, JOINT, seed=1)))
    assert [run.seed for run in shown_runs(read_methods(runs))] == [1, 1]
    runs[2] = scored(write_run(tmp_path, JOINT, seed=3))
    assert [run.seed for run in shown_runs(read_methods(runs))] == [0, 3]


@pytest.fixture
def drawn(tmp_path):
    """The baseline and three methods of two splits, with predictions."""
    runs = [*many(tmp_path)[:4], *many(tmp_path, "tr2", 0.6)[:2]]
    for run in runs:
        for shift, case in enumerate(CASES):
            write_prediction(run, case, shift)
    return runs


def test_other_methods_show_the_same_slices_in_figures_of_their_own(drawn):
    same = by_setup(read_methods(drawn))["labelled split tr1 c1"]
    figures = plot_methods([same[0], same[2]], lambda case: volume(), STRUCTURES, more=[same[1], same[3]])
    assert [len(figure.axes) for figure in figures] == [6 * 4, 3 * 4, 3 * 4]
    titles = [[axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] for figure in figures]
    assert titles[0][1] == "best: 003_ED\nm b\nDice 0.720" and titles[1][0] == "best: 003_ED\nm a\nDice 0.620"
    slices = [[axes.get_title().partition(":")[0] for axes in figure.axes[:4]] for figure in figures]
    assert slices[0] == slices[1] == slices[2]


def test_the_page_has_a_part_per_split(drawn, tmp_path):
    path = write_training_report(read_methods(drawn), tmp_path / "r.html", fetch=lambda case: volume())
    page = path.read_text(encoding="utf-8")
    assert page.index("All methods") < page.index("Labelled split tr1 c1") < page.index("Labelled split tr2 c1")
    # Overview; outlines of the best and of two others, curves; outlines and curves of the second split.
    assert page.count("<img") == 1 + 3 + 1 + 2 and page.count("<details>") == 2
    assert "Chosen by the mean Dice of the method with the best mean Dice, “m b”" in page


def test_figures_of_several_splits_have_names_of_their_own(drawn, tmp_path):
    paths = save_figures(read_methods(drawn), lambda case: volume(), tmp_path / "figures")
    assert [path.name for path in paths] == [
        "overview.png", "curves_tr1_c1.png", "contours_tr1_c1.png", "curves_tr2_c1.png", "contours_tr2_c1.png",
    ]  # fmt: skip
