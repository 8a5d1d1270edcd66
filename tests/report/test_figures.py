"""Figures are checked for being there, for what they draw and for the geometry of slices; shapes by hand."""

import io

import numpy as np
import pytest

from fewslice.core.errors import DataError, FewSliceError
from fewslice.report.figures import contours, outlines, style
from fewslice.report.figures.curves import plot_curves
from fewslice.report.reading.methods import read_methods
from tests.report.run_dirs import (
    SHAPE,
    STRUCTURES,
    volume,
    write_curve,
    write_prediction,
    write_run,
    write_scores,
)


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


def test_curves_of_one_axis_without_validation(tmp_path):
    run = write_run(tmp_path, "tr_baseline")
    write_curve(run, loss=[0.9, 0.5])
    assert len(plot_curves(read_methods([run])).axes) == 1


def test_curves_without_log_say_so(tmp_path):
    with pytest.raises(FewSliceError, match="no training log"):
        plot_curves(read_methods([write_run(tmp_path, "tr_baseline")]))


def test_one_volume_keeps_its_aspect():
    rows = contours.case_rows(volume(), {"net": volume(1).label}, STRUCTURES, title="001_ED")
    figure = contours.plot_rows(rows, STRUCTURES)
    assert len(figure.axes) == 4
    # Rows of the picture are the second axis of the array (2 mm), columns the first (1 mm).
    assert all(axes.get_aspect() == 2.0 for axes in figure.axes)
    assert "RV 0." in figure.axes[0].get_title()
    assert _pixels(figure).std() > 5


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


def test_methods_side_by_side(tmp_path):
    shifts = {"001_ED": 0, "002_ED": 1, "003_ED": 2, "004_ED": 3}
    runs = [_evaluated(tmp_path, stage, shifts) for stage in ("tr_baseline", "ft_pretr_encoder_net_global_loss")]
    figure = outlines.plot_methods(read_methods(runs), lambda case: volume(), STRUCTURES)[0]
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert [label.split("\n")[0] for label in labels] == [
        "best: 001_ED", "best: 001_ED", "median: 003_ED", "median: 003_ED", "worst: 004_ED", "worst: 004_ED",
    ]  # fmt: skip
    assert labels[0].split("\n")[1:] == ["Baseline", "Dice 1.000"]


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
