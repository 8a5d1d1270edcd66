"""The figure of pseudo-labels. Expected values: means of two volumes, by hand; column names typed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewslice.core.errors import DataError
from fewslice.report.figures.curves import plot_curves
from fewslice.report.figures.pseudo_curves import plot_pseudo_labels, read_rounds
from fewslice.report.figures.style import colour_of
from fewslice.report.pages.trainings import write_training_report
from fewslice.report.reading.methods import read_methods
from fewslice.report.reading.runs import read_run
from tests.report.run_dirs import write_curve, write_rounds, write_run

JOINT = "prop_method_joint_tr_rand_init"
INFORMATION = "For information only; nothing is trained on or chosen by it."


def truth(after, before):
    return {"dice": after, "dice_before": before}


# Means: .5 and .6 after, .45 and .55 before refinement.
TWO_ROUNDS = {0: [truth(0.4, 0.35), truth(0.6, 0.55)], 5000: [truth(0.5, 0.45), truth(0.7, 0.65)]}


def joint(root, rounds, *, seed=0, exp_no=1):
    run = write_run(root, JOINT, seed=seed, method="contrastive", local_loss_exp_no=exp_no)
    write_rounds(run, rounds)
    return run


def drawn(axes):
    """Returns (x, y, linestyle, colour) of the lines, without grid lines."""
    return [(list(a.get_xdata()), list(a.get_ydata()), a.get_linestyle(), a.get_color()) for a in axes.lines]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_rounds_are_means_over_volumes_with_a_truth(tmp_path):
    rounds = {
        0: [truth(0.4, 0.2) | {"changed": 0.01}, {"changed": 0.03, "accepted": False}],
        50: [truth(math.nan, math.nan), truth(0.8, 0.9)],
    }
    found = read_rounds(read_run(joint(tmp_path, rounds)))
    np.testing.assert_array_equal(found["step"], [0, 50])
    np.testing.assert_allclose(found["dice"], [0.4, 0.8])
    np.testing.assert_allclose(found["dice_before"], [0.2, 0.9])
    np.testing.assert_allclose(found["changed"], [0.02, 0])
    assert found["left_out"].tolist() == [True, False]
    assert read_rounds(read_run(write_run(tmp_path, "tr_baseline"))) is None


def test_a_line_per_seed_in_the_colour_of_its_method(tmp_path):
    higher = {step: [truth(0.9, 0.85)] for step in TWO_ROUNDS}
    runs = [write_run(tmp_path, "tr_baseline"), write_run(tmp_path, "ft_pretr_encoder_net_global_loss")]
    runs += [joint(tmp_path, TWO_ROUNDS, seed=0), joint(tmp_path, higher, seed=1)]
    runs += [joint(tmp_path, TWO_ROUNDS, exp_no=0)]
    methods = read_methods(runs)
    figure, caption = plot_pseudo_labels(methods)
    (axes,) = figure.axes
    *_, inter, intra = colour_of(methods).values()
    expected = [
        ([0, 5000], [0.45, 0.55], "--", inter), ([0, 5000], [0.5, 0.6], "-", inter),
        ([0, 5000], [0.85, 0.85], "--", inter), ([0, 5000], [0.9, 0.9], "-", inter),
        ([0, 5000], [0.45, 0.55], "--", intra), ([0, 5000], [0.5, 0.6], "-", intra),
    ]  # fmt: skip
    for found, line in zip(drawn(axes), expected, strict=True):
        assert found[0] == line[0] and found[1] == pytest.approx(line[1]) and found[2:] == line[2:]
    markers = [line.get_marker() for line in axes.lines]
    assert markers[0] == markers[1] == markers[4] != markers[2] == markers[3], "the seed's own"
    names = ["Joint training, inter-image", "Joint training, intra-image", "seeds 0, 1", "before refinement"]
    assert legend(figure) == names
    assert caption.startswith("Mean Dice of the pseudo-labels with the truth") and caption.endswith(INFORMATION)
    assert "left out" not in caption


def test_more_than_three_runs_have_a_panel_per_method_with_the_same_axes(tmp_path):
    higher = {step: [truth(0.9, 0.85)] for step in (0, 2000, 5000)}
    runs = [
        joint(tmp_path, rounds, seed=seed, exp_no=n) for seed in (0, 1) for n, rounds in ((0, higher), (1, TWO_ROUNDS))
    ]
    methods = read_methods(runs)
    figure, _ = plot_pseudo_labels(methods)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == [method.label for method in methods]
    assert {a.get_color() for a in first.lines} == {colour_of(methods)[methods[0].label]}
    assert first.get_ylim() == second.get_ylim() and first.get_xlim() == second.get_xlim()
    assert legend(figure) == ["seeds 0, 1", "before refinement"]


def test_one_seed_without_refinement_is_one_line(tmp_path):
    figure, _ = plot_pseudo_labels(read_methods([joint(tmp_path, {0: [truth(0.5, 0.5)]})]))
    assert len(drawn(figure.axes[0])) == 1 and legend(figure) == ["Joint training, inter-image"]


def test_without_truth_the_share_of_changed_pixels_is_shown(tmp_path):
    rounds = {0: [{"changed": 0.01}, {"changed": 0.03}], 50: [{"changed": 0.0}, {"accepted": False}]}
    figure, caption = plot_pseudo_labels(read_methods([joint(tmp_path, rounds)]))
    ((x, y, _, _),) = drawn(figure.axes[0])
    assert (x, y) == ([0, 50], pytest.approx([0.02, 0]))
    assert figure.axes[0].get_title(loc="left") == "Pixels changed by refinement"
    assert caption.startswith("Without a truth") and "left out count too" in caption and caption.endswith(INFORMATION)


def test_some_runs_with_truth_and_some_without(tmp_path):
    runs = [joint(tmp_path, TWO_ROUNDS), joint(tmp_path, {0: [{}]}, exp_no=0)]
    figure, _ = plot_pseudo_labels(read_methods(runs))
    assert [len(drawn(axes)) for axes in figure.axes] == [2, 1]


def test_a_method_has_one_colour_in_all_figures(tmp_path):
    """The method before it has no log, so that it would move up if colours were given to what is drawn."""
    runs = [write_run(tmp_path, "ft_pretr_encoder_net_global_loss"), joint(tmp_path, TWO_ROUNDS)]
    write_curve(runs[1], loss=[0.9, 0.5], val_dice=[0.1, 0.6])
    methods = read_methods(runs)
    here, there = plot_pseudo_labels(methods)[0].axes[0], plot_curves(methods).axes
    assert {a.get_color() for axes in (here, *there) for a in axes.lines} == {
        colour_of(methods)["Joint training, inter-image"]
    }


def test_the_report_shows_it_and_says_what_it_is_for(tmp_path):
    runs = {"joint": joint(tmp_path, TWO_ROUNDS), "other": write_run(tmp_path, "tr_baseline")}
    paths = [write_training_report(read_methods([run]), tmp_path / f"{name}.html") for name, run in runs.items()]
    page, other = (path.read_text(encoding="utf-8") for path in paths)
    assert page.count("<img") == 1 and "<h2>Pseudo-labels</h2>" in page and INFORMATION in page
    assert "Pseudo-labels" not in other


@pytest.mark.parametrize(
    ("text", "words"),
    [("step,dice\n0,many\n", "a number or an empty cell in line 2"), ("dice\n0.5\n", "no step")],
)
def test_a_damaged_table_is_refused(tmp_path, text, words):
    run = joint(tmp_path, TWO_ROUNDS)
    (run / "logs" / "pseudo_labels.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        plot_pseudo_labels(read_methods([run]))
