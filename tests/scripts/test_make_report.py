"""The two reports. What they must write is stated in their docstrings."""

from tests.report import experiment_dirs, run_dirs
from tests.scripts.running import run

BASE, FINE = "tr_baseline", "ft_pretr_encoder_net_global_loss"


def test_two_splits_one_of_them_unfinished(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSLICE_DATA", str(tmp_path / "data"))
    common = ("make_report", "--dataset=phantom", f"--runs_dir={tmp_path / 'runs'}")
    result = run(*common)
    assert result.returncode == 1 and "There is no finished run of phantom below" in result.stderr
    runs = [run_dirs.write_run(tmp_path / "runs", BASE), run_dirs.write_run(tmp_path / "runs", FINE)]
    runs.append(run_dirs.write_run(tmp_path / "runs", BASE, no_of_tr_imgs="tr2"))
    for folder, value in zip(runs, (0.5, 0.6, 0.7), strict=True):
        run_dirs.write_curve(folder, loss=[0.9, 0.5], val_dice=[0.2, 0.6])
        run_dirs.write_scores(folder, {case: (value,) * 3 for case in ("001_ED", "002_ED")})
    (runs[2] / "DONE").unlink()
    result = run(*common)
    page = tmp_path / "runs" / "phantom" / "report.html"
    assert result.returncode == 0, result.stderr
    assert "0.600" in result.stdout and f"Report: {page}" in result.stdout
    text = page.read_text(encoding="utf-8")
    assert text.count("tr2") == 1 and "No pictures" in text
    assert "opened for 3 networks of 3 runs" in text, "the unfinished one has scores of test volumes, too"
    result = run(*common, f"--runs={','.join(map(str, runs))}", f"--out={tmp_path / 'all.html'}")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert "Labelled split tr2 c1" in text and "Baseline, tr2 c1, seed 0: The run is not finished" in text


def test_experiments(tmp_path):
    common = ("make_al_report", "--dataset=acdc_h5")
    result = run(*common, f"--runs_dir={tmp_path}")
    assert result.returncode == 1 and "There is no experiment of acdc_h5 below" in result.stderr
    runs = [experiment_dirs.write_experiment(tmp_path, name) for name in ("random", "mfc")]
    for folder, dice in zip(runs, (0.5, 0.6), strict=True):
        experiment_dirs.write_curve(folder, {0.01: dice, 0.02: dice + 0.1})
    (runs[1] / "DONE").unlink()
    result = run(*common, f"--runs_dir={tmp_path}")
    folder = tmp_path / "acdc_h5" / "run_al_exp"
    assert result.returncode == 0, result.stderr
    assert "Difference from random" in result.stdout and "+0.100" in result.stdout
    assert f"Report: {folder / 'report.html'}" in result.stdout and (folder / "results.csv").is_file()
    assert "The experiment is not finished" in result.stderr
    result = run(*common, f"--experiments={runs[0]}", f"--output={tmp_path / 'one.html'}", "--title=Mine")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in text and "mfc" not in text and (tmp_path / "one.csv").is_file()
