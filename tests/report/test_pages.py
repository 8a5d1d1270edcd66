"""One small study of each kind: page, text and numbers as they stand in golden/, read by eye when they were written.

The numbers follow from Dice values that are typed here; `test_statistics.py` works such numbers out by hand. Pictures
are left out (`test_figures.py`), and the folder of the test is called ROOT. FEWSLICE_WRITE_GOLDEN=1 writes the files
anew.
"""

import html
import json
import math
import os
import re
from pathlib import Path

import pytest

from fewslice.core import files
from fewslice.core.errors import ConfigError, DataError
from fewslice.report.figures import outlines, style
from fewslice.report.pages import experiments, trainings
from fewslice.report.reading.methods import group_runs, read_methods
from fewslice.report.reading.runs import find_experiments, read_experiments, split_results
from tests.report import run_dirs
from tests.report.experiment_dirs import write_curve, write_experiment, write_gallery, write_round, write_volumes
from tests.report.run_dirs import volume, write_prediction, write_rounds, write_run, write_scores

GOLDEN = Path(__file__).parent / "golden"
BASE, JOINT = "tr_baseline", "prop_method_joint_tr_rand_init"
EVIL = "<script>alert('x')</script>"
CASES = ("001_ED", "002_ED", "003_ED")
# Name of a joint method -> what it adds to the baseline's Dice on the three volumes.
GAINS = {
    "contrastive": (0.10, 0.11, 0.12), "unimatch": (0.2, 0.21, 0.22), "copy_paste": (-0.1, -0.11, -0.12),
    "m_d": (0.1, -0.1, 0.02), "m_e": (0.05, 0.051, 0.052),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr(style, "png_bytes", lambda figure, **how: b"picture")
    monkeypatch.setattr(outlines, "plot_rows", lambda rows, structures: style.new_figure(1, 1))


def check(name, text, root):
    text = re.sub(r'src="data:image/(\w+);base64,[^"]+"', r'src="\1"', text.replace(str(root), "ROOT")) + "\n"
    text = re.sub("<style>.*</style>", "<style></style>", text, flags=re.DOTALL)
    if os.environ.get("FEWSLICE_WRITE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def scored(run, gains=(0, 0, 0), base=0.5):
    write_scores(run, {case: (base + gain,) * 3 for case, gain in zip(CASES, gains, strict=True)})
    run_dirs.write_curve(run, loss=[0.9, 0.5], val_dice=[0.2, base], seconds=[40.0, 50.0])
    for shift, case in enumerate(CASES):
        write_prediction(run, case, shift)
    return run


def joint(root, method, **settings):
    return write_run(root, JOINT, method=method, teacher_sha256="t", initial_weights="t", **settings)


def study_of_trainings(root):
    """Six methods of a split; two of another with two seeds, one volume without a structure; one run unfinished."""
    runs = [write_run(root, "pretr_encoder_global_contrastive_loss")]
    run_dirs.write_curve(runs[0], loss=[3.0, 1.0], random_level=[3.58, 3.58], effective_rank=[1.0, 4.0])
    runs += [scored(write_run(root, BASE))]
    dice = {"val_dice": 0.5, "test_dice": 0.5, "test_dice_last": 0.4, "tested_after": [50, 100]}
    files.write_json(runs[-1] / "DONE", {"n_iter": 100, **dice})
    runs += [*(scored(joint(root, name), gains) for name, gains in GAINS.items())]
    for seed, gain in ((0, 0.1), (1, 0.2)):
        runs.append(scored(write_run(root, BASE, no_of_tr_imgs="tr2", seed=seed)))
        runs.append(scored(joint(root, "unimatch", no_of_tr_imgs="tr2", seed=seed), (gain, gain, gain + 0.05)))
        write_scores(runs[-1], {"001_ED": (0.5 + gain,) * 3, "002_ED": (0.6, math.nan, 0.7 + gain)})
        truth = {"dice": 0.4 + gain, "dice_before": 0.3, "changed": 0.1, "accepted": not seed}
        write_rounds(runs[-1], {0: [truth], 5000: [truth]})
    runs.append(joint(root, "copy_paste", no_of_tr_imgs="tr2"))
    write_rounds(runs[-1], {0: [{"changed": 0.02}]})
    (runs[-1] / "DONE").unlink()
    return runs


def test_trainings(tmp_path):
    methods = read_methods(study_of_trainings(tmp_path))
    page = trainings.write_training_report(methods, tmp_path / "r.html", title="A study", fetch=lambda case: volume())
    check("trainings.html", page.read_text(encoding="utf-8"), tmp_path)
    check("trainings.txt", trainings.text_report(methods), tmp_path)
    assert [path.name for path in trainings.save_figures(methods, lambda case: volume(), tmp_path / "figures")] == [
        "overview.png", "curves_tr1_c1.png", "contours_tr1_c1.png", "curves_tr2_c1.png", "contours_tr2_c1.png",
    ]  # fmt: skip


def test_pretraining_only_images_that_are_not_at_hand_and_escaping(tmp_path):
    def fetch(case):
        raise DataError("data_root/phantom", expected="scans", found=EVIL, remedy="Make them.")

    runs = study_of_trainings(tmp_path)
    write_scores(runs[1], {"001_ED": (0.5, 0.5, 0.5), EVIL: (0.5, 0.5, math.nan)})
    (runs[1] / "command.txt").write_text(f"python x.py --dataset={EVIL}")
    (runs[1] / "versions.json").write_text(json.dumps({EVIL: EVIL}))
    broken = write_run(tmp_path, BASE, seed=5, comb_tr_imgs=EVIL, no_of_tr_imgs='"><img src=x>')
    page = tmp_path / "r.html"
    pages = [
        trainings.write_training_report(read_methods(chosen), page, title=EVIL, fetch=how).read_text(encoding="utf-8")
        for chosen, how in ((runs[:1], None), (runs[1:3], None), ([*runs[1:3], broken], fetch))
    ]
    assert pages[0].count("<img") == 1 and "None of these runs was evaluated" in pages[0]
    assert "were not at hand" in pages[1] and "Make them." in pages[2]
    assert not any(text in page for page in pages for text in (EVIL, "<img src=x>"))
    assert all(html.escape(EVIL, quote=False).replace("'", "&#39;") in page for page in pages)
    assert pages[2].count("<img") == pages[2].count('<img src="data:') == pages[2].count("<figure")


def study_of_experiments(root):
    """Two methods with three seeds, one unfinished; another setup; one damaged; one that waits for annotations."""
    for strategy, gain in (("random", 0.0), ("mfc", 0.1)):
        for seed in range(3):
            run = write_experiment(root, strategy, seed=seed, model={"ann_type": "label"})
            write_curve(run, {0.01: 0.5 + gain, 0.02: round(0.6 + gain + 0.01 * seed, 2)}, start=seed)
            write_volumes(run / "rounds" / "001", {"101_ED": (0.5, 0.75), "102_ED": (0.3, math.nan)})
            write_gallery(run / "rounds" / "001")
    (run / "DONE").unlink()
    (run / "rounds" / "001" / "gallery.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for strategy in ("random", "bald"):
        run = write_experiment(root, strategy, model={"ann_type": "scribble"})
        write_round(run, 0, 0.01, None, queried=[3, 4])
        write_round(run, 1, 0.02, 0.5, seconds={"choose": 5, "train": 70}, members=[{"val_dice": 0.4}, {}], chosen=0)
    write_curve(write_experiment(root, "coreset", model={"ann_type": "label"}), {0.01: 0.9, 0.02: 0.9})
    (write_experiment(root, "entropy") / "config.json").write_text("[]")
    run = write_experiment(root, "typiclust")
    (run / "DONE").unlink()
    (write_round(run, 0, 0.01, None, queried=[3, 4]) / "to_annotate").mkdir()
    (run / "rounds" / "000" / "to_annotate" / "slices.csv").touch()
    return find_experiments(root, "acdc_h5")


def test_experiments(tmp_path):
    runs = study_of_experiments(tmp_path)
    page = experiments.write_experiment_report(runs, tmp_path / "report.html", title="A study")
    check("experiments.html", page.read_text(encoding="utf-8"), tmp_path)
    check("results.csv", (tmp_path / "results.csv").read_text(), tmp_path)
    found, waiting = split_results(read_experiments(runs)[0])
    check("experiments.txt", experiments.text_report(group_runs(found), waiting), tmp_path)


def test_one_experiment(tmp_path):
    """One round with nulls, on validation volumes, with a picture that cannot be read."""
    run = write_experiment(tmp_path, "mfc")
    nulls = {"test_dice": None, "annotated_pixels": None, "seconds": None, "per_structure": {"rv": {"dice": None}}}
    folder = write_round(run, 0, 0.01, 0.5, **nulls)
    write_volumes(folder, {"101_ED": (0.5, 0.75)}, where="val")
    (folder / "gallery.png").write_bytes(b"\x89PNG\r\n\x1a\nIEND" + bytes(8))  # looks whole, is not
    page = experiments.write_experiment_report([run], tmp_path / "one.html").read_text(encoding="utf-8")
    page = re.sub(r"cannot be read \([^)]*\)", "cannot be read ()", page)
    check("one_experiment.html", page, tmp_path)
    check("one_experiment.csv", (tmp_path / "one.csv").read_text(), tmp_path)


def test_rounds_that_train_nothing_and_escaping(tmp_path):
    run = write_experiment(tmp_path, EVIL.replace("/", "|"), note=EVIL)
    write_round(run, 0, 0.01, None, queried=[3, 4])
    (run / "command.txt").write_text(EVIL)
    bad = write_experiment(tmp_path, "random")
    (bad / "config.json").write_text("[")
    page = experiments.write_experiment_report([run, bad], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "None of these experiments has scores yet." in page and "v00_slice_3" in page
    assert "<script" not in page and "&lt;script&gt;" in page and "Left out" in page
    with pytest.raises(ConfigError):
        experiments.write_experiment_report([bad], tmp_path / "never.html")
    assert not (tmp_path / "never.html").exists()


def test_an_early_end_is_told(tmp_path):
    why = "`stop.metric: val_dice` has not changed for 1 rounds (0.5)."
    for seed, record in enumerate(({"ended_early": why}, {})):
        run = write_experiment(tmp_path, "mfc", seed=seed, n_iter=5)
        write_curve(run, {0.01: 0.5, 0.02: 0.5})
        files.write_json(run / "DONE", {"n_iter": 5, **record})
    page = experiments.write_experiment_report(find_experiments(tmp_path, "acdc_h5"), tmp_path / "r.html")
    text = " ".join(html.unescape(page.read_text(encoding="utf-8")).split())
    assert f"after round 1; 5 rounds were planned, 0 to 4. The reason: {why}" in text
    assert text.count("(ended early)") == text.count("The reason") == 1


def test_results_path():
    assert experiments.results_path("a/report.html").name == "results.csv"
    assert experiments.results_path("a/two.html").name == "two.csv"
