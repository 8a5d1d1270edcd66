"""The figure of pseudo-labels. Expected values: means of two volumes, by hand; column names typed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewslice.core.errors import DataError
from fewslice.report.figures.pseudo_curves import plot_pseudo_labels, read_rounds
from fewslice.report.figures.style import colour_of
from fewslice.report.reading.methods import read_methods
from fewslice.report.reading.runs import read_run
from tests.report.run_dirs import write_rounds, write_run

JOINT = "prop_method_joint_tr_rand_init"


def truth(after, before):
    return {"dice": after, "dice_before": before}


# Means: .5 and .6 after, .45 and .55 before refinement.
TWO_ROUNDS = {0: [truth(0.4, 0.35), truth(0.6, 0.55)], 5000: [truth(0.5, 0.45), truth(0.7, 0.65)]}


def joint(root, rounds, *, seed=0, exp_no=1):
    run = write_run(root, JOINT, seed=seed, method="contrastive", local_loss_exp_no=exp_no)
    write_rounds(run, rounds)
    return run


def plot(runs):
    methods = read_methods(runs)
    return plot_pseudo_labels(methods, colour_of(methods))


def drawn(axes):
    """Returns (x, y, linestyle) of the lines."""
    return [(list(a.get_xdata()), pytest.approx(list(a.get_ydata())), a.get_linestyle()) for a in axes.lines]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_rounds_are_means_over_volumes_with_a_truth(tmp_path):
    rounds = {
        0: [truth(0.4, 0.2) | {"changed": 0.01}, {"changed": 0.03, "accepted": False}],
        50: [truth(math.nan, math.nan), truth(0.8, 0.9)],
    }
    found = read_rounds(read_run(joint(tmp_path, rounds)))
    expected = {"step": [0, 50], "dice": [0.4, 0.8], "dice_before": [0.2, 0.9], "changed": [0.02, 0]}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values)
    assert found["left_out"].tolist() == [True, False]
    assert read_rounds(read_run(write_run(tmp_path, "tr_baseline"))) is None


def test_a_panel_per_method_and_a_line_per_seed(tmp_path):
    higher = {step: [truth(0.9, 0.85)] for step in TWO_ROUNDS}
    runs = [write_run(tmp_path, "tr_baseline"), joint(tmp_path, TWO_ROUNDS, seed=0), joint(tmp_path, higher, seed=1)]
    runs += [joint(tmp_path, {0: [truth(0.5, 0.5)]}, exp_no=0)]
    ((kind, figure, has_left_out),) = plot(runs)
    inter, intra = figure.axes
    assert intra.get_title(loc="left") == "Joint training, intra-image" and len(drawn(intra)) == 1
    assert drawn(inter) == [
        ([0, 5000], [0.45, 0.55], "--"), ([0, 5000], [0.5, 0.6], "-"),
        ([0, 5000], [0.85, 0.85], "--"), ([0, 5000], [0.9, 0.9], "-"),
    ]  # fmt: skip
    methods = read_methods(runs)
    assert {a.get_color() for a in inter.lines} == {colour_of(methods)["Joint training, inter-image"]}
    assert inter.lines[1].get_marker() == intra.lines[0].get_marker() != inter.lines[3].get_marker(), "the seed's own"
    assert legend(figure) == ["before refinement", "seed 0", "seed 1"]
    assert kind == "dice" and not has_left_out


def test_without_truth_the_share_of_changed_pixels_is_shown(tmp_path):
    rounds = {0: [{"changed": 0.01}, {"changed": 0.03}], 50: [{"changed": 0.0}, {"accepted": False}]}
    runs = [joint(tmp_path, rounds), joint(tmp_path, TWO_ROUNDS, exp_no=0)]
    (_, dice, _), (kind, changed, has_left_out) = plot(runs)
    assert len(drawn(dice.axes[0])) == 2 and drawn(changed.axes[0]) == [([0, 50], [0.02, 0], "-")]
    assert kind == "changed" and has_left_out


@pytest.mark.parametrize(
    ("text", "words"),
    [("step,dice\n0,many\n", "a number or an empty cell in line 2"), ("dice\n0.5\n", "no step")],
)
def test_a_damaged_table_is_refused(tmp_path, text, words):
    run = joint(tmp_path, TWO_ROUNDS)
    (run / "logs" / "pseudo_labels.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        plot([run])
