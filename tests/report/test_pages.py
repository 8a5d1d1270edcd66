"""The pages are parsed with the standard library's parser; what they must contain is stated by hand."""

import csv

import pytest

from fewslice.core.errors import ConfigError, DataError
from fewslice.report.figures.budget_curves import plot_fractions, plot_pixels
from fewslice.report.figures.style import colour_of
from fewslice.report.pages.experiments import results_path, write_experiment_report
from fewslice.report.pages.trainings import write_training_report
from fewslice.report.reading.methods import group_runs, read_methods
from fewslice.report.reading.runs import find_experiments, read_experiments, split_results
from fewslice.report.tables.experiments import text_report
from tests.report import run_dirs
from tests.report.experiment_dirs import write_curve, write_experiment, write_gallery, write_round, write_volumes
from tests.report.html_page import Page
from tests.report.run_dirs import volume, write_prediction, write_run, write_scores

BASE, FINE = "tr_baseline", "ft_pretr_encoder_net_global_loss"
EVIL = "<script>alert('x')</script>"


def _trainings(tmp_path, cases=("001_ED", "002_ED", "003_ED")):
    runs = []
    for stage, shifts in ((BASE, (1, 2, 3)), (FINE, (0, 1, 2))):
        run = write_run(tmp_path, stage)
        run_dirs.write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, 0.6], seconds=[1.0, 1.0])
        write_scores(run, {case: (0.9 - 0.1 * s,) * 3 for case, s in zip(cases, shifts, strict=True)})
        for case, shift in zip(cases, shifts, strict=True):
            if "/" not in case:
                write_prediction(run, case, shift)
        runs.append(run)
    return runs


def _page_of(runs, tmp_path, **how):
    return Page(write_training_report(read_methods(runs), tmp_path / "r.html", **how).read_text(encoding="utf-8"))


def test_report_of_trainings_is_one_file_with_everything(tmp_path):
    runs = _trainings(tmp_path)
    out = write_training_report(read_methods(runs), tmp_path / "report.html", title="Demo", fetch=lambda case: volume())
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    words = " ".join(page.words)
    assert page.tags.count("img") == 2  # outlines and curves
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "") and len(text) < 2_000_000
    for part in ("Demo", "Result", "Outlines", "Training", "Test volumes", "What was done", "keras 3.15.0"):
        assert part in words
    assert page.tables[0] == [
        ["", "mean Dice", "Δ baseline", "st. error", "better on", "seeds", "verdict"],
        ["Baseline", "0.700", "", "", "", "", ""],
        ["Pretrained encoder", "0.800", "+0.100", "0.000", "3 of 3", "1", "better"],
    ]
    assert page.tables[1][1:] == [[f"Dice {name}", "0.700", "0.800"] for name in ("RV", "MYO", "LV", "mean")]
    assert page.tables[2][1:] == [
        ["001_ED", "0.800", "0.900", "+0.100"], ["002_ED", "0.700", "0.800", "+0.100"],
        ["003_ED", "0.600", "0.700", "+0.100"],
    ]  # fmt: skip
    assert page.tables[4][1][:5] == ["Baseline", "tr1 c1", "0", "100", "2 s"]
    assert "With one seed" in words and "What is missing" not in words


def test_every_string_is_escaped(tmp_path):
    runs = _trainings(tmp_path, cases=("001_ED", "002_ED", EVIL))
    runs.append(write_run(tmp_path, BASE, seed=5, comb_tr_imgs=EVIL, no_of_tr_imgs='"><img src=x>'))
    (runs[0] / "command.txt").write_text(f"python x.py --dataset={EVIL}")
    (runs[0] / "versions.json").write_text('{"<b>keras": "</pre><i>"}')
    page = _page_of(runs, tmp_path, title=EVIL, fetch=lambda case: volume())
    assert not {"script", "b", "i"} & set(page.tags)
    assert all(source.startswith("data:") for source in page.sources)
    assert EVIL in " ".join(page.words)


def test_missing_pieces_are_named_instead_of_drawn(tmp_path):
    run = write_run(tmp_path, BASE)
    run_dirs.write_curve(run, loss=[0.9, 0.5])
    words = " ".join(_page_of([run], tmp_path).words)
    assert "None of these runs was evaluated" in words
    assert "No validation was logged" in words and "not evaluated on test volumes" in words


def test_no_images_at_hand(tmp_path):
    def fetch(case):
        raise DataError("data_root/phantom", expected="scans", found="nothing", remedy="Make them.")

    runs = _trainings(tmp_path)
    for how in (None, fetch):
        words = " ".join(_page_of(runs, tmp_path, fetch=how).words)
        assert "No pictures" in words and "Test volumes" in words


def test_pretraining_only(tmp_path):
    run = write_run(tmp_path, "pretr_encoder_global_contrastive_loss")
    run_dirs.write_curve(run, loss=[3.0, 1.0], random_level=[3.5, 3.5])
    page = _page_of([run], tmp_path)
    assert page.tags.count("img") == 1 and "Encoder pretraining (global loss)" in " ".join(page.words)


# --- experiments ---


def _report(runs, out):
    page = Page(write_experiment_report(runs, out).read_text(encoding="utf-8"))
    return page, " ".join(page.words)


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _methods(root):
    return group_runs(read_experiments(find_experiments(root, "acdc_h5"))[0])


# results.csv of one round, after the columns that name the experiment.
ONE_ROUND = """\
1,0.02,4,4000,0,val,mean,dice,0.71
1,0.02,4,4000,0,test,mean,dice,0.61
1,0.02,4,4000,0,test,mean,hd95_mm,
1,0.02,4,4000,0,test,mean,hd95_voxels,
1,0.02,4,4000,0,test,lv,dice,0.61
1,0.02,4,4000,0,test,lv,hd95_mm,9.0
1,0.02,4,4000,0,test,rv,dice,0.61
1,0.02,4,4000,0,test,rv,hd95_mm,9.0
1,0.02,4,4000,0,,,seconds,60.0
"""


def test_report_of_a_comparison(tmp_path):
    for strategy, gain in (("random", 0.0), ("mfc", 0.1)):
        for seed in range(3):
            run = write_experiment(tmp_path, strategy, seed=seed)
            write_curve(run, {0.01: 0.5 + gain, 0.02: round(0.6 + gain + 0.01 * seed, 2)}, start=seed)
            write_volumes(run / "rounds" / "001", {"101_ED": (0.5, 0.75), "102_ED": (0.3, float("nan"))})
            write_gallery(run / "rounds" / "001")
    page, words = _report(find_experiments(tmp_path, "acdc_h5"), tmp_path / "report.html")
    assert page.tags.count("img") == 7  # two curves, places, patients and volumes, overlap, a gallery per method
    assert all(source.startswith("data:image/") for source in page.sources)
    for part in ("Dice against the budget", "95 % t interval", "annotated pixels", "optimistically biased",
                 "mfc, seed 2: 2 rounds, test Dice 0.620 at 2 %", "The picture of what was chosen", "keras 3.15.0",
                 "--seed=2"):  # fmt: skip
        assert part in words, part
    assert "What is missing" not in words
    # at 2 % test Dice .5 .51 .52 and .6 .61 .62: deviation .01; areas .45 .455 .46: deviation .005
    assert page.tables[0][1:] == [
        ["random", "3", "0.455 ± 0.005", "0.400 ± 0.000", "0.510 ± 0.010"],
        ["mfc", "3", "0.555 ± 0.005", "0.500 ± 0.000", "0.610 ± 0.010"],
    ]
    assert page.tables[1] == [
        ["Difference from random", "seeds", "verdict (area)", "area", "1 %", "2 %"],
        ["mfc", "3", "better", "+0.100 ± 0.000", "+0.100 ± 0.000", "+0.100 ± 0.000"],
    ]
    assert page.tables[2][2] == ["1", "2 %", "4", "2", "1", "random", "4 000", "0.600", "0.500", "1 min 0 s"]
    assert page.tables[4][1:] == [
        ["101_ED", "0.500", "0.750", "0.625", "3.8"], ["102_ED", "0.300", "–", "0.300", "7.0"],
    ]  # fmt: skip
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert rows[0].startswith("experiment,method,setup,strategy,seed,round,fraction,units,annotated_pixels,member,set,")
    own = [row.split(",", 5)[5] for row in rows if ",mfc,,mfc,1,1," in row]
    assert "\n".join(own) + "\n" == ONE_ROUND and len(rows) == 1 + 2 * 3 * 2 * 9


def test_one_experiment_of_one_round_with_nulls(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    structures = {"rv": {"dice": None}}
    write_round(run, 0, 0.01, 0.5, test_dice=None, annotated_pixels=None, per_structure=structures, seconds=None)
    _, words = _report([run], tmp_path / "own.html")
    assert "Highest validation Dice at 1 %: mfc, 0.500 over 1 seed." in words and "annotated pixels" not in words
    rows = {(row["set"], row["structure"], row["metric"]): row["value"] for row in _rows(tmp_path / "own.csv")}
    assert rows["val", "mean", "dice"] == "0.5" and rows["val", "rv", "dice"] == "" and ("", "", "seconds") not in rows


def test_nothing_trained_yet_and_stages(tmp_path):
    run = write_experiment(tmp_path, "mfc")
    write_round(run, 0, 0.01, None, queried=[3, 4])
    _, words = _report([run], tmp_path / "report.html")
    assert "None of these experiments has scores yet." in words and "not trained" in words and "v00_slice_3" in words
    write_round(run, 1, 0.02, 0.5, seconds={"choose": 5, "train": 70})
    _, words = _report([run], tmp_path / "report.html")
    assert "choose" in words and "1 min 10 s" in words and "1 min 15 s" in words


def test_experiments_without_results_stand_apart(tmp_path):
    runs = [write_experiment(tmp_path, "random", seed=seed) for seed in range(2)]
    (runs[1] / "DONE").unlink()
    folder = write_round(runs[1], 0, 0.01, None, queried=[3, 4])
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
    assert text_report(group_runs(found), waiting).endswith(f"No results yet:\n  {line}")


def test_what_is_missing_is_named_and_everything_escaped_in_experiments(tmp_path):
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
def test_learning_curves(tmp_path, count, panels):
    for index in range(count):
        for seed in range(3 if index else 2):
            run = write_experiment(tmp_path, f"m{index}", seed=seed)
            write_curve(run, {0.01: 0.5 + 0.01 * index, 0.02: 0.6 + 0.01 * seed, 0.4: 0.7})
    methods = _methods(tmp_path)
    figure = plot_fractions(methods, "test_dice", colour_of(methods))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == panels and visible[0].get_xscale() == "log"  # 1 to 40 %
    lines = visible[0].get_lines()
    mean = next(line for line in lines if line.get_label() == "m0")
    assert mean.get_ydata() == pytest.approx([0.4, 0.505, 0.6]) and mean.get_xdata() == pytest.approx([1, 2, 40])
    assert sum(line.get_alpha() == 0.55 for line in lines) == 2  # two seeds are too few for an interval
    pixels = plot_pixels(methods, "test_dice", colour_of(methods)).axes[0].get_lines()
    mean = next(line for line in pixels if line.get_label() == "m0")
    assert mean.get_xdata() == pytest.approx([2000, 4000, 80000])
    assert plot_fractions(methods, "nothing", colour_of(methods)) is None


def test_results_path():
    assert results_path("a/report.html").name == "results.csv" and results_path("a/two.html").name == "two.csv"
