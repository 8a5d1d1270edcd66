"""Figures are checked for being there, for what they draw and for the geometry of slices; shapes by hand."""

import io

import numpy as np
import pytest

from fewslice.core.errors import DataError, FewSliceError
from fewslice.report.figures import contours, outlines, style
from fewslice.report.figures.budget_curves import plot_fractions, plot_pixels
from fewslice.report.figures.curves import plot_curves
from fewslice.report.figures.overview import plot_overview
from fewslice.report.reading.methods import by_setup, group_runs, read_methods
from fewslice.report.reading.runs import read_experiments
from fewslice.report.tables import trainings
from tests.report.experiment_dirs import write_curve as write_budgets
from tests.report.experiment_dirs import write_experiment
from tests.report.run_dirs import SHAPE, STRUCTURES, volume, write_curve, write_prediction, write_run, write_scores

JOINT = "prop_method_joint_tr_rand_init"


def _pixels(figure):
    from PIL import Image

    png = style.png_bytes(figure, dpi=60)
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_curves_with_random_level(tmp_path):
    run = write_run(tmp_path, "pretr_encoder_global_contrastive_loss")
    write_curve(run, loss=[3.0, 1.0], random_level=[3.58, 3.58], effective_rank=[1.0, 4.0])
    figure = plot_curves(read_methods([run]))
    loss, rank = figure.axes
    dashed = [line for line in loss.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert dashed[0].get_ydata()[0] == pytest.approx(3.58)
    assert rank.get_title(loc="left") == "Effective rank of the embeddings"
    assert _pixels(figure).std() > 5


def test_curves_mark_the_best_validation_and_skip_empty_cells(tmp_path):
    runs = [write_run(tmp_path, "tr_baseline", seed=seed) for seed in (0, 1)]
    for run in runs:
        write_curve(run, loss=[0.9, 0.5, 0.4], val_dice=[0.1, 0.6, None])
    axes = plot_curves(read_methods(runs)).axes[1]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [(100, 0.6)] * 2


def test_curves_mark_the_last_validation_where_the_last_weights_count(tmp_path):
    run = write_run(tmp_path, "tr_baseline", keep="last")
    write_curve(run, loss=[0.9, 0.5, 0.4], val_dice=[0.6, 0.3, None])
    (point,) = [line for line in plot_curves(read_methods([run])).axes[1].lines if line.get_marker() == "o"]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (100, 0.3)


def test_curves_of_one_axis_without_validation(tmp_path):
    run = write_run(tmp_path, "tr_baseline")
    write_curve(run, loss=[0.9, 0.5])
    assert len(plot_curves(read_methods([run])).axes) == 1


def test_curves_without_log_say_so(tmp_path):
    with pytest.raises(FewSliceError, match="no training log"):
        plot_curves(read_methods([write_run(tmp_path, "tr_baseline")]))


def test_one_volume_keeps_its_aspect():
    rows = contours.case_rows(volume(), {"net": volume(1).label}, STRUCTURES)
    figure = contours.plot_rows(rows, STRUCTURES)
    assert len(figure.axes) == 4
    # Rows of the picture are the second axis of the array (2 mm), columns the first (1 mm).
    assert all(axes.get_aspect() == 2.0 for axes in figure.axes)
    assert "RV 0." in figure.axes[0].get_title()
    assert _pixels(figure).std() > 5


def test_a_picture_is_shown_as_it_is_stored():
    picture = volume()
    picture.case.image_path = picture.case.image_path.with_name("001.png")
    (row,) = contours.case_rows(picture, {"net": picture.label}, STRUCTURES)
    np.testing.assert_array_equal(row.image[..., 0], picture.image[..., 0].T)  # shown with its first axis from the left
    np.testing.assert_array_equal(row.truth, row.prediction)
    assert row.truth.shape == (SHAPE[1], SHAPE[0], SHAPE[2])


def test_slices_and_window_follow_the_labels():
    label = volume().label
    assert contours.choose_slices(label, np.zeros_like(label)) == (1, 2, 4, 5)
    assert contours.choose_slices(np.zeros_like(label), np.zeros_like(label), 2) == (0, 5)
    # Labels fill 4..15 of 24 (1 mm) and 4..12 of 20 (2 mm): 12 and 18 mm; 18 + 2 * 1 mm is 20 and 10 voxels.
    first, second = contours.choose_window([label], (1.0, 2.0, 8.0), margin_mm=1)
    assert (first.stop - first.start, second.stop - second.start) == (20, 10)
    assert first.start <= 4 and first.stop >= 16 and second.start <= 4 and second.stop >= 13


def test_empty_label_shows_the_whole_plane():
    window = contours.choose_window([np.zeros(SHAPE, np.uint8)], (1.0, 2.0, 8.0))
    assert window == (slice(0, 24), slice(0, 20))


@pytest.mark.parametrize(
    "values, chosen",
    [
        ({"a": 0.1, "b": 0.9, "c": 0.5}, {"best": "b", "median": "c", "worst": "a"}),
        ({"a": 0.1, "b": 0.9}, {"best": "b", "median": "a"}),
        ({"a": 0.1, "b": float("nan")}, {"best": "a"}),
        ({}, {}),
    ],
)
def test_best_median_worst(values, chosen):
    assert outlines.best_median_worst(values) == chosen


def _evaluated(tmp_path, stage, shifts):
    run = write_run(tmp_path, stage)
    write_scores(run, {case: (1 - 0.2 * shift,) * 3 for case, shift in shifts.items()})
    for case, shift in shifts.items():
        write_prediction(run, case, shift)
    return run


def test_unusable_predictions_are_refused(tmp_path):
    run = _evaluated(tmp_path, "tr_baseline", {"001_ED": 0})
    methods = read_methods([run])
    smaller = volume()
    smaller.image, smaller.label = smaller.image[:-1], smaller.label[:-1]
    with pytest.raises(FewSliceError, match="Was the dataset changed"):
        outlines.plot_methods(methods, lambda case: smaller, STRUCTURES)
    (run / "eval" / "predictions" / "001_ED.nii.gz").unlink()
    with pytest.raises(DataError, match="no such file"):
        outlines.plot_methods(methods, lambda case: volume(), STRUCTURES)


# --- many methods and several splits ---


def many(root, count=6, split="tr1", **settings):
    """Writes the baseline and other methods of one split; m3 has the highest Dice."""
    runs = [write_run(root, "tr_baseline", no_of_tr_imgs=split, **settings)]
    runs += [write_run(root, JOINT, method=f"m{n}", no_of_tr_imgs=split, **settings) for n in range(1, count)]
    for number, run in enumerate(runs):
        write_scores(run, {case: (0.9 if number == 3 else 0.5,) * 3 for case in ("001_ED", "002_ED")})
        write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, 0.5])
    return runs


def test_a_method_has_one_colour_in_all_splits_and_no_two_share_one(tmp_path):
    methods = read_methods([*many(tmp_path), *many(tmp_path, split="tr2"), *many(tmp_path, extra=1)[1:]])
    colours = style.colour_of(methods)
    assert len(colours) == len(set(colours.values())) == 11
    (axes,) = plot_overview(methods).axes
    assert [text.get_text().replace("\n", " ") for text in axes.get_yticklabels()] == list(colours)
    table = trainings.volume_table(by_setup(methods)["labelled split tr1 c1"])
    assert max(len(line) for line in table.text().splitlines()) < 110  # whatever the names


def test_many_methods_have_a_panel_each(tmp_path):
    methods = read_methods(many(tmp_path))
    panels = [axes for axes in plot_curves(methods).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [method.label for method in methods]
    assert panels[1].lines[-1].get_color() == style.colour_of(methods)[methods[1].label], "its own dot lies on top"
    assert len(plot_curves(methods[:5]).axes) == 2


def test_the_baseline_and_the_best_method_are_drawn_of_a_seed_that_all_have(tmp_path):
    methods = read_methods(many(tmp_path))
    assert [[m.label for m in outlines.compared(part)] for part in (methods, methods[:1], methods[3:])] == [
        ["Baseline", "m3"], ["Baseline"], ["m3"],
    ]  # fmt: skip
    runs = [*many(tmp_path, 1, seed=2), *many(tmp_path, 1, seed=3)]
    other = many(tmp_path, 2, seed=3)[1]
    assert [run.seed for run in outlines.shown_runs(read_methods([*runs, other]))] == [3, 3]
    other = many(tmp_path, 2, seed=4)[1]
    assert [run.seed for run in outlines.shown_runs(read_methods([*runs, other]))] == [2, 4]


def test_other_methods_show_the_same_slices_in_figures_of_their_own(tmp_path):
    runs = many(tmp_path, 4)
    for run in runs:
        for shift, case in enumerate(("001_ED", "002_ED")):
            write_prediction(run, case, shift)
    same = read_methods(runs)
    figures = outlines.plot_methods([same[0], same[3]], lambda case: volume(), STRUCTURES, more=[same[1]])
    assert [len(figure.axes) for figure in figures] == [4 * 4, 2 * 4]
    titles = [[axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] for figure in figures]
    assert titles[0][1] == "best: 001_ED\nm3\nDice 0.900" and titles[1][0] == "best: 001_ED\nm1\nDice 0.500"
    slices = [[axes.get_title().partition(":")[0] for axes in figure.axes[:4]] for figure in figures]
    assert slices[0] == slices[1]


# --- experiments ---


@pytest.mark.parametrize("count, panels", [(2, 1), (7, 7)])
def test_learning_curves(tmp_path, count, panels):
    runs = []
    for index in range(count):
        for seed in range((2, 3)[index] if index < 2 else 1):
            runs.append(write_experiment(tmp_path, f"m{index}", seed=seed))
            write_budgets(runs[-1], {0.01: 0.5 + 0.01 * index, 0.02: 0.6 + 0.01 * seed, 0.4: 0.7})
    methods = group_runs(read_experiments(runs)[0])
    figure = plot_fractions(methods, "test_dice", style.colour_of(methods))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == panels and visible[0].get_xscale() == "log"  # 1 to 40 %
    lines = visible[0].get_lines()
    mean = next(line for line in lines if line.get_label() == "m0")
    assert mean.get_ydata() == pytest.approx([0.4, 0.505, 0.6]) and mean.get_xdata() == pytest.approx([1, 2, 40])
    assert sum(line.get_alpha() == 0.55 for line in lines) == 2  # two seeds are too few for an interval
    pixels = plot_pixels(methods, "test_dice", style.colour_of(methods)).axes[0].get_lines()
    mean = next(line for line in pixels if line.get_label() == "m0")
    assert mean.get_xdata() == pytest.approx([2000, 4000, 80000])
    assert plot_fractions(methods, "nothing", style.colour_of(methods)) is None
