"""The page is parsed with the standard library's parser; what it must contain is stated by hand."""

import csv

import pytest
from fewslice.report.pages.experiment_html import results_path, text_report, write_experiment_report
from fewslice.report.reading.experiment_methods import group_experiments
from fewslice.report.reading.experiments import find_experiments, read_experiments, split_results

from fewslice.core.errors import ConfigError
from fewslice.report.figures.budget_curves import palette, plot_fractions, plot_pixels
from tests.report.experiment_dirs import write_curve, write_experiment, write_gallery, write_round, write_volumes
from tests.report.html_page import Page

EVIL = "<script>alert('x')</script>"


def _report(runs, out):
    page = Page(write_experiment_report(runs, out).read_text(encoding="utf-8"))
    return page, " ".join(page.words)


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_report_of_a_comparison(tmp_path):
    for strategy, gain in (("random", 0.0), ("mfc", 0.1)):
        for seed in range(3):
            run = write_experiment(tmp_path, strategy, seed=seed)
            write_curve(run, {0.01: 0.5 + gain, 0.02: 0.6 + gain + 0.01 * seed}, start=seed)
            write_volumes(run / "rounds" / "001", {"101_ED": (0.5, 0.75), "102_ED": (0.3, float("nan"))})
            write_gallery(run / "rounds" / "001")
    page, words = _report(find_experiments(tmp_path, "acdc_h5"), tmp_path / "report.html")
    assert page.tags.count("img") == 7  # two curves, places, patients and volumes, overlap, a gallery per method
    assert all(source.startswith("data:image/") for source in page.sources)
    for part in ("Dice against the budget", "95 % t interval", "Difference from random", "annotated pixels",
                 "Better than random choice", "+.100", "mfc, seed 2: 2 rounds, test Dice .620 at 2 %", "101_ED", ".625",
                 "The picture of what was bought", "keras 3.15.0", "--seed=2"):  # fmt: skip
        assert part in words, part
    assert "What is missing" not in words
    rows = _rows(tmp_path / "results.csv")
    one = [row for row in rows if (row["method"], row["seed"], row["round"]) == ("mfc", "1", "1")]
    found = {(row["set"], row["structure"], row["metric"]): row["value"] for row in one}
    assert float(found["test", "mean", "dice"]) == pytest.approx(0.61) and found["test", "rv", "hd95_mm"] == "9.0"
    assert float(found["val", "mean", "dice"]) == pytest.approx(0.71) and found["", "", "seconds"] == "60.0"
    assert one[0]["units"] == "4" and one[0]["annotated_pixels"] == "4000" and one[0]["fraction"] == "0.02"
    assert len(rows) == 2 * 3 * 2 * (4 + 4 + 1)


def test_one_experiment_of_one_round_with_nulls(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    structures = {"rv": {"dice": None}}
    write_round(run, 0, 0.01, 0.5, test_dice=None, annotated_pixels=None, per_structure=structures, seconds=None)
    _, words = _report([run], tmp_path / "own.html")
    assert "validation Dice at 1 % .500 (seeds: 1). There is nothing to compare it with." in words
    assert "annotated pixels" not in words
    rows = {(row["set"], row["structure"], row["metric"]): row["value"] for row in _rows(tmp_path / "own.csv")}
    assert rows["val", "mean", "dice"] == "0.5" and rows["val", "rv", "dice"] == "" and ("", "", "seconds") not in rows


def test_nothing_trained_yet_and_stages(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_round(run, 0, 0.01, None, bought=[3, 4])
    _, words = _report([run], tmp_path / "report.html")
    assert "None of these experiments has scores yet." in words and "not trained" in words and "v00_slice_3" in words
    write_round(run, 1, 0.02, 0.5, seconds={"choose": 5, "train": 70})
    _, words = _report([run], tmp_path / "report.html")
    assert "choose" in words and "1 min 10 s" in words and "1 min 15 s" in words


def test_experiments_without_results_stand_apart(tmp_path):
    runs = [write_experiment(tmp_path, "random", seed=seed) for seed in range(2)]
    (runs[1] / "DONE").unlink()
    folder = write_round(runs[1], 0, 0.01, None, bought=[3, 4])
    (folder / "to_annotate").mkdir()
    (folder / "to_annotate" / "slices.csv").touch()
    line = f"{runs[1].name}: waits for annotations in round 0"
    _, words = _report(runs[1:], tmp_path / "report.html")  # nothing to compare at all
    assert line in words and "v00_slice_3" in words and "Dice against the budget" not in words
    write_curve(runs[0], {0.01: 0.5})
    _, words = _report(runs, tmp_path / "report.html")
    assert "No results yet" in words and line in words and "2 experiments (1 without results yet)" in words
    assert {row["experiment"] for row in _rows(tmp_path / "results.csv")} == {runs[0].name}
    found, waiting = split_results(read_experiments(runs)[0])
    assert text_report(group_experiments(found), waiting).endswith(f"No results yet:\n  {line}")


def test_what_is_missing_is_named_and_everything_escaped(tmp_path):
    run = write_experiment(tmp_path, EVIL.replace("/", "|"), note=EVIL)
    write_curve(run, {0.01: 0.5})
    (run / "command.txt").write_text(EVIL)
    (run / "rounds" / "000" / "gallery.png").write_bytes(b"\x89PNG\r\n\x1a\nIEND" + bytes(8))  # looks whole, is not
    bad = write_experiment(tmp_path, "random")
    (bad / "config.json").write_text("[")
    page, words = _report([run, bad], tmp_path / "r.html")
    assert "script" not in page.tags and EVIL in words
    assert "What is missing" in words and "Left out" in words and "cannot be read" in words
    with pytest.raises(ConfigError):
        write_experiment_report([bad], tmp_path / "never.html")
    assert not (tmp_path / "never.html").exists()


def test_setups_stand_apart(tmp_path):
    for kind in ("scribble", "label"):
        for strategy in ("random", "mfc"):
            write_curve(write_experiment(tmp_path, strategy, model={"ann_type": kind}), {0.01: 0.5, 0.02: 0.6})
    _, words = _report(find_experiments(tmp_path, "acdc_h5"), tmp_path / "report.html")
    assert "ann_type scribble" in words and "ann_type label" in words and words.count("Dice against the budget") == 2


@pytest.mark.parametrize("count, panels", [(2, 1), (7, 7)])
def test_curves(tmp_path, count, panels):
    for index in range(count):
        for seed in range(3 if index else 2):
            run = write_experiment(tmp_path, f"m{index}", seed=seed)
            write_curve(run, {0.01: 0.5 + 0.01 * index, 0.02: 0.6 + 0.01 * seed, 0.4: 0.7})
    methods = group_experiments(read_experiments(find_experiments(tmp_path, "acdc_h5"))[0])
    figure = plot_fractions(methods, "test_dice", palette(methods))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == panels and visible[0].get_xscale() == "log"  # 1 to 40 %
    lines = visible[0].get_lines()
    mean = next(line for line in lines if line.get_label() == "m0")
    assert mean.get_ydata() == pytest.approx([0.4, 0.505, 0.6]) and mean.get_xdata() == pytest.approx([1, 2, 40])
    assert sum(line.get_alpha() == 0.55 for line in lines) == 2  # two seeds are too few for an interval
    pixels = plot_pixels(methods, "test_dice", palette(methods)).axes[0].get_lines()
    mean = next(line for line in pixels if line.get_label() == "m0")
    assert mean.get_xdata() == pytest.approx([2000, 4000, 80000])
    assert plot_fractions(methods, "nothing", palette(methods)) is None


def test_results_path():
    assert results_path("a/report.html").name == "results.csv" and results_path("a/two.html").name == "two.csv"
