"""Colour images of different sizes, each a unit, chosen evenly from two image-level classes by the same engine.

The layout is a plugin's. Expected values: by hand, and the written images.
"""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import yaml
from PIL import Image

from fewslice.core import plugins
from fewslice.core.errors import ConfigError
from fewslice.data.readers import READERS
from fewslice.report.figures import uncertainty
from fewslice.stages.histology import write_results
from tests.registries import temporary
from tests.train_model import tiny, tiny_al

SIZES = [(40, 52), (36, 30), (64, 44), (33, 61), (48, 48), (50, 38), (42, 57), (31, 45), (60, 35), (37, 37)]
GRADES = "bbbbmbmmbb"  # of the pool the first seven: five benign, two malignant; then validation and test
INIT = """
layout = "toy_png"
data_path_tr = "glands"
how_to_get = "The test makes it."
grid = "stretch"
img_size_x = 32
img_size_y = 32
num_channels = 3
num_classes = 2
struct_name = ("gland",)
unlabeled_split = "al"
mtask_bs = 2
"""
SPLITS = """
train = {"al": {"c1": ["0", "1", "2", "3", "4", "5", "6"]}}
val = {"al": {"*": ["7"]}}
test = ["8", "9"]
unlabeled = ("al",)
"""
EXPERIMENT = {
    "name": "glands",
    "dataset": "glands",
    "network": {"name": "scribble_unet", "batch_size": 2, "steps": 8, "val_every": 2},
    "unit": {"name": "image", "label": "group"},
    "rounds": [2, 2, 2],
    "query": {"strategy": "uncertainty", "score": "bald", "passes": 2, "per_label": 1, "balance": "known"},
    "first_query": {"strategy": "random", "per_label": 1, "balance": "known"},
}
READER = '''
"""Colour images as PNG, with their grade in the name."""

import nibabel
import numpy as np
from PIL import Image

from fewslice.data.readers.base import READERS, Grid, Reader, visible
from fewslice.data.volume import Case


@READERS.register("toy_png")
class PngReader(Reader):
    """Reads <id>_<grade>.png and <id>_<grade>_label.png."""

    expects = "images <id>_<grade>.png"

    def _find(self):
        stems = [path.stem for path in visible(self.folder) if not path.stem.endswith("_label")]
        files = {stem: [self.folder / f"{stem}{suffix}.png" for suffix in ("", "_label")] for stem in stems}
        return [Case(stem, stem.split("_")[0], "", *paths) for stem, paths in files.items()]

    def patient_facts(self, case):
        return {"group": case.case_id.split("_")[1]}

    def _read_image(self, case):
        return self._grid(np.asarray(Image.open(case.image_path), np.float32)[:, :, None] / 255)

    def _read_label(self, case):
        return self._grid(np.asarray(Image.open(case.label_path), np.int32)[:, :, None])

    def _grid(self, array):
        return Grid(array, (1.0, 1.0, 1.0), np.eye(4))
'''


@pytest.fixture
def glands(al_settings, tmp_path, monkeypatch):
    """A function (**experiment) that runs an experiment on the images."""
    (tmp_path / "glands").mkdir()
    for number, (size, grade) in enumerate(zip(SIZES, GRADES, strict=True)):
        rng = np.random.default_rng(number)
        rows, columns = np.meshgrid(*map(np.arange, size), indexing="ij")
        label = ((rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < (min(size) / 3) ** 2).astype(np.uint8)
        image = np.clip(label[..., None] * [90, 140, 60] + rng.integers(0, 90, (*size, 3)), 0, 255).astype(np.uint8)
        stem = tmp_path / "glands" / f"{number}_{'benign' if grade == 'b' else 'malignant'}"
        Image.fromarray(image).save(f"{stem}.png")
        Image.fromarray(label).save(f"{stem}_label.png")
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "init_glands.py").write_text(INIT)
    (settings / "data_cfg_glands.py").write_text(SPLITS)
    (tmp_path / "png_reader.py").write_text(READER)
    monkeypatch.setenv("FEWSLICE_DATA", str(tmp_path))
    monkeypatch.setenv("FEWSLICE_EXPERIMENTS", str(settings))
    monkeypatch.setattr(plugins, "_loaded", {})

    def run(**changes):
        path = tmp_path / "glands.yml"
        path.write_text(yaml.safe_dump(EXPERIMENT | changes))
        tiny.execute(tiny_al.SCRIPT, [f"--config={path}", f"--runs_dir={tmp_path / 'runs'}"])
        (folder,) = (tmp_path / "runs" / "glands" / "run_al_exp").glob(f"{changes.get('name', 'glands')}-*")
        return folder

    with temporary(READERS):
        plugins.load([str(tmp_path / "png_reader.py")])
        yield run


def test_images_are_chosen_evenly_until_a_class_runs_out(glands):
    folder = glands()
    picks = [[name.split("_")[1] for name in names] for names in tiny_al.picks(folder)]
    assert [Counter(one) for one in picks] == [Counter(benign=1, malignant=1)] * 2 + [Counter(benign=2)]
    names = sum(tiny_al.picks(folder), [])
    assert len(set(names)) == 6
    last = {row["unit_id"]: float(row["score"]) for row in tiny_al.table(folder / "rounds" / "002" / "scores.csv")}
    left = sorted(set(last) - set(names[:4]), key=lambda name: -last[name])
    assert tiny_al.picks(folder)[2] == left[:2]
    found = tiny_al.metrics(folder)
    assert [one["units"] for one in found] == [2, 4, 6]
    assert [one["annotated_pixels"] for one in found] == [2048, 4096, 6144]
    assert all(0 <= one["test_dice"] <= 1 for one in found)
    pool = tiny_al.table(folder / "pool.csv")
    assert [row["unit_id"] for row in pool] == sorted({row["volume"] for row in pool}) and len(pool) == 7
    assert (folder / "rounds" / "000" / "gallery.png").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["unit"] == {"name": "image", "options": {"label": "group"}}


def test_classes_are_predicted_and_it_ends_early(glands, caplog):
    """A run by an alias, over foreground, balanced by predicted classes; then BatchBALD on its networks' passes."""
    caplog.set_level("INFO")
    mc = {"strategy": "uncertainty", "score": "mc", "passes": 3, "per_label": 1, "reduce": "foreground"}
    batch = {"strategy": "batchbald", "passes": 3}
    changes = {"first_query": {"strategy": "first", "per_label": 1}, "query": mc}
    changes |= {"rounds": [2, 2, {"add": 1, "query": batch}, 1], "stop": {"budget": 3}}
    folder = glands(**changes)
    picks = tiny_al.picks(folder)
    assert picks[0] == ["0_benign", "1_benign"] and [len(one) for one in picks] == [2, 2, 1]
    assert "this round is not balanced" in caplog.text and "ends after 3 of 4 rounds: 3 units" in caplog.text
    assert caplog.text.count("score `mc` is `vote_variance`") == 1
    record = json.loads((folder / "DONE").read_text())
    assert record["units"] == 5 and record["ended_early"].startswith("3 units were annotated after the first round")
    plan = json.loads((folder / "rounds" / "001" / "plan.json").read_text())["query"]
    assert plan["score"] == {"name": "vote_variance", "options": {}} and plan["reduce"] == "foreground"
    assert "balance" not in plan and (folder / "report.html").exists()
    scores = [float(row["score"]) for row in tiny_al.table(folder / "rounds" / "001" / "scores.csv")]
    assert len(scores) == 7 and 0 <= min(scores) and max(scores) <= 0.25
    before = (folder / "DONE").read_bytes()
    glands(**changes)
    assert "Already finished" in caplog.text and "it ended early" in caplog.text
    assert (folder / "DONE").read_bytes() == before
    glands(**changes | {"stop": None})
    assert [len(one) for one in tiny_al.picks(folder)] == [2, 2, 1, 1]


def test_what_is_not_known_is_told(glands):
    with pytest.raises(ConfigError, match="label: stain.*0_benign and 6 more cases have no such fact.*: group, phase"):
        glands(name="stain", unit={"name": "image", "label": "stain"})
    with pytest.raises(ConfigError, match="`per_label` needs units with an image-level class.*label: group"):
        glands(name="plain", unit="image")


NATIVE = {
    "name": "native",
    "network": {
        "name": "strided_unet", "width": 2, "patch": 32, "batch_size": 3, "repeats": 1, "epochs": 2, "drop_epochs": 1,
        "passes": 1,
    },
    "rounds": [2, 2],
    "query": EXPERIMENT["query"] | {"save_maps": True, "save_uncerts": True},
}  # fmt: skip


def test_images_of_different_sizes_learn_from_crops_and_are_seen_whole(glands, tmp_path, monkeypatch):
    (tmp_path / "settings" / "init_glands.py").write_text(INIT.replace('"stretch"', '"native"'))
    panels, draw = {}, uncertainty.draw_panel

    def recorded(path, image, *arrays, **how):
        panels[path.stem] = (image, how["score"], how["scores"], how["title"])
        draw(path, image, *arrays, **how)

    monkeypatch.setattr(uncertainty, "draw_panel", recorded)
    folder = glands(**NATIVE)
    picks = tiny_al.picks(folder)
    sizes = [[SIZES[int(name.split("_")[0])] for name in names] for names in (picks[0], sum(picks, []))]
    found = tiny_al.metrics(folder)
    assert [one["annotated_pixels"] for one in found] == [sum(map(math.prod, each)) for each in sizes]
    assert all(0 <= one["test_dice"] <= 1 and 0 <= one["val_dice"] <= 1 for one in found)
    scores = tiny_al.table(folder / "rounds" / "001" / "scores.csv")
    assert len({row["score"] for row in scores}) == len(scores) == 7 and all(float(row["score"]) > 0 for row in scores)
    log = tiny_al.table(folder / "rounds" / "001" / "member_0" / "logs" / "train.csv")
    losses = {int(row["step"]): float(row["val_dice_loss"]) for row in log}
    assert list(losses) == [2, 4], "four images, three a step"
    lowest = min(losses.values())
    assert found[1]["best_step"] == max(step for step, loss in losses.items() if loss == lowest)
    assert found[1]["val_dice_loss"] == lowest
    written = sorted((folder / "rounds" / "001" / "member_0" / "eval" / "test" / "predictions").iterdir())
    assert [np.asarray(Image.open(path)).shape for path in written] == [SIZES[8], SIZES[9]]
    _check_pictures(folder / "rounds" / "001", scores)
    assert all(image.shape == (*SIZES[int(name[0])][::-1], 3) for name, (image, *_) in panels.items()), "upright"
    assert {name for name, (_, score, *_) in panels.items() if math.isnan(score)} == set(picks[0]), "no candidates"
    assert {len(shown) for _, _, shown, _ in panels.values()} == {5}
    assert {name for name, (*_, title) in panels.items() if title.endswith("chosen")} == set(picks[1])
    write_results(folder, tmp_path / "results" / "bald_0.npy")
    dice = np.load(tmp_path / "results" / "bald_0.npy")
    assert dice.dtype == np.float32 and dice.tolist() == pytest.approx([one["test_dice"] for one in found], abs=1e-6)


def _check_pictures(folder, scores):
    """A map of each image, of its size and with its score as the mean; pictures of all, and of the scores."""
    for row in scores:
        found = np.load(folder / "maps" / f"{row['unit_id']}.npy")
        assert found.shape == (1, *SIZES[int(row["unit_id"].split("_")[0])])
        assert float(row["score"]) == pytest.approx(found.mean(), rel=1e-4)
        classes = np.load(folder / "maps" / f"{row['unit_id']}_prediction.npy")
        assert classes.shape == found.shape and set(np.unique(classes)) <= {0, 1}
    assert len(list((folder / "maps").glob("*.png"))) == len(scores) and (folder / "scores.png").exists()
    assert not (folder.parent / "000" / "maps").exists(), "the first round chooses at random"
