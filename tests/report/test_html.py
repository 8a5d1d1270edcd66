"""The page is parsed with the standard library's parser; what it must contain is stated by hand."""

import pytest
from fewslice.report.pages.html import build_report

from fewslice.core.errors import ConfigError, DataError
from tests.report.html_page import Page
from tests.report.run_dirs import volume, write_curve, write_prediction, write_run, write_scores

BASE, FINE = "tr_baseline", "ft_pretr_encoder_net_global_loss"
EVIL = "<script>alert('x')</script>"


def _runs(tmp_path, cases=("001_ED", "002_ED", "003_ED")):
    runs = []
    for stage, shifts in ((BASE, (1, 2, 3)), (FINE, (0, 1, 2))):
        run = write_run(tmp_path, stage)
        write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, 0.6], seconds=[1.0, 1.0])
        write_scores(run, {case: (0.9 - 0.1 * s,) * 3 for case, s in zip(cases, shifts, strict=True)})
        for case, shift in zip(cases, shifts, strict=True):
            if "/" not in case:
                write_prediction(run, case, shift)
        runs.append(run)
    return runs


def test_report_is_one_file_with_everything(tmp_path):
    out = build_report(_runs(tmp_path), tmp_path / "report.html", title="Demo", fetch=lambda case: volume())
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    words = " ".join(page.words)
    assert page.tags.count("img") == 2  # outlines and curves
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    for part in ("Demo", "Result", "Outlines", "Training", "Test volumes", "What was done", "keras 3.15.0"):
        assert part in words
    assert "mean Dice .800 against .700 for the baseline, +.100 on 3 test volumes (better on 3 of 3)" in words
    assert "What is missing" not in words
    assert len(text) < 2_000_000


def test_every_string_is_escaped(tmp_path):
    runs = _runs(tmp_path, cases=("001_ED", "002_ED", EVIL))
    runs.append(write_run(tmp_path, BASE, seed=5, comb_tr_imgs=EVIL, no_of_tr_imgs='"><img src=x>'))
    (runs[0] / "command.txt").write_text(f"python x.py --dataset={EVIL}")
    (runs[0] / "versions.json").write_text('{"<b>keras": "</pre><i>"}')
    out = build_report(runs, tmp_path / "r.html", title=EVIL, fetch=lambda case: volume())
    page = Page(out.read_text(encoding="utf-8"))
    assert not {"script", "b", "i"} & set(page.tags)
    assert all(source.startswith("data:") for source in page.sources)
    assert EVIL in " ".join(page.words)


def test_missing_pieces_are_named_instead_of_drawn(tmp_path):
    run = write_run(tmp_path, BASE)
    write_curve(run, loss=[0.9, 0.5])
    words = " ".join(Page(build_report([run], tmp_path / "r.html").read_text(encoding="utf-8")).words)
    assert "None of these runs was evaluated" in words
    assert "No validation was logged" in words and "not evaluated on test volumes" in words


def test_no_images_at_hand(tmp_path):
    def fetch(case):
        raise DataError("data_root/phantom", expected="scans", found="nothing", remedy="Make them.")

    runs = _runs(tmp_path)
    for how in (None, fetch):
        text = build_report(runs, tmp_path / "r.html", fetch=how).read_text(encoding="utf-8")
        assert "No pictures" in text and "Test volumes" in text


def test_pretraining_only(tmp_path):
    run = write_run(tmp_path, "pretr_encoder_global_contrastive_loss")
    write_curve(run, loss=[3.0, 1.0], random_level=[3.5, 3.5])
    page = Page(build_report([run], tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 1 and "Encoder pretraining (global loss)" in " ".join(page.words)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no run to report"):
        build_report([], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
