"""The selection of slices from its flags to its folder, on the 16 slices of tiny's four unlabelled patients.

Encoders are untrained networks, written as runs are. Expected values: by hand; embeddings by the network itself;
selections compared with each other.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags as absl_flags

from fewslice.active.pool import SLICES, Crops, open_pool
from fewslice.active.selection_files import read_query
from fewslice.core import checkpoint, files
from fewslice.core.errors import ConfigError, DataError, FewSliceError
from fewslice.data import cache
from fewslice.data.io.nifti import read_nifti
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets
from fewslice.settings.al_flags import SelectArgs
from tests.train_model import tiny


def execute(*more):
    """Runs the script in this process with flags of its own."""
    tiny.execute("select_slices", ["--dataset=tiny", *more])


def write_run(folder, stage, model, name="last.npz", **settings):
    """Writes a network as a run of a stage would."""
    import models

    dataset_config = datasets.config_dict(datasets.load_dataset_config("tiny"))
    files.write_json(folder / "config.json", {"stage": stage, "dataset_config": dataset_config, **settings})
    checkpoint.save_arrays(folder / "checkpoints" / name, models.read_weights(model), {"step": 4})
    return folder


@pytest.fixture(scope="module")
def house(tiny_root, tmp_path_factory):
    """Runs with a ResNet, a U-Net's encoder with head and a U-Net, and the pool."""
    import models

    root = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSLICE_DATA", str(tiny_root))
        patch.setenv("FEWSLICE_EXPERIMENTS", str(tiny_root / "experiments"))
        dataset = datasets.load_dataset_config("tiny")
        cases = find_cases(get_reader(dataset), ("001", "002", "003", "004"), ("ED",))
        volumes = cache.open_cache(dataset, cases, with_label=False, progress=False)
        resnet = models.build_group_encoder((32, 32, 1), projection_size=8)
        sizes = {"encoder": "resnet18", "projection_dim": 8}
        write_run(root / "group", tiny.GROUP, resnet, **sizes)
        write_run(root / "encoder", tiny.GLOBAL, models.build_global_net((32, 32, 1)))
        write_run(root / "baseline", tiny.BASELINE, models.build_unet((32, 32, 1), 3), "best.npz")
    networks = {name: str(root / name) for name in ("group", "encoder", "baseline")}
    return SimpleNamespace(resnet=resnet, volumes=volumes, pool=open_pool(volumes, SLICES), dataset=dataset, **networks)


@pytest.fixture
def select(data, tmp_path):
    """A function (*flags) that selects and returns the folder that was written last."""

    def run(*more, runs=tmp_path / "runs"):
        execute(f"--runs_dir={runs}", *more)
        done = (runs / "tiny" / "select_slices").glob("*/DONE")
        return max(done, key=lambda path: path.stat().st_mtime_ns).parent

    return run


def test_mfc_without_scribbles(house, select, caplog):
    folder = select("--encoder", house.group, "--budget=20%", "--batch_size=5")
    choice = read_query(folder / "query.csv", house.pool)
    assert folder.name.startswith("mfc-") and len(choice.indices) == 3 and np.isfinite(choice.values[1:]).all()
    found = files.read_json(folder / "selection.json")
    assert (found["pool_units"], found["labelled_units"], found["fraction_chosen"]) == (16, 0, 3 / 16)
    assert found["settings"]["options"] == {"use_labels": False} and "no scribbles" in found["notes"][0]
    assert found["versions"]["numpy"] == np.__version__
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {
        "plan.json", "query.csv", "selection.json", "gallery.png", "embedding_map.png", "config.json", "versions.json",
        "command.txt", "logs", "DONE", "to_annotate", "annotated", "stands_for.csv",
    }  # fmt: skip
    assert "is not finished (step 4)" in found["notes"][1]
    assert "all pixels weigh the same" in (folder / "logs" / "run.log").read_text()
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert select("--encoder", house.group, "--budget=20%", "--batch_size=7") == folder
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_what_a_person_paints(house, select, caplog):
    """Files beside the choice, its next command; a finished selection can still write them, begun by a prediction."""
    random = ("--strategy=random", "--budget=3")
    folder = select(*random, "--annotation=none")
    assert not (folder / "to_annotate").exists()
    done = (folder / "DONE").stat().st_mtime_ns
    with pytest.raises(ConfigError, match="--prefill begins masks. Let the annotation be `mask`"):
        select(*random, "--annotation=scribble", "--prefill", house.baseline)
    assert select(*random, "--prefill", house.baseline) == folder and (folder / "DONE").stat().st_mtime_ns == done
    then = f"python ../scripts/add_annotations.py --dataset=tiny --from={folder}"
    assert f"Paint the masks of {folder / 'to_annotate'}" in caplog.text and f"then: {then}" in caplog.text
    assert f"5. When all are there: {then}" in (folder / "to_annotate" / "README.txt").read_text()
    rows = tiny.content(folder / "to_annotate" / "slices.csv")
    chosen = read_query(folder / "query.csv", house.pool).indices
    assert [row["unit_id"] for row in rows] == house.pool.unit_ids[chosen].tolist()
    assert all(len(row["prefilled"]) == 12 for row in rows)
    for row in rows:
        array = read_nifti(folder / "to_annotate" / row["file"], is_label=True).array
        assert (array[..., int(row["slice"])] < 3).all()


def test_embeddings_are_those_before_the_head(house, select):
    import models

    folder = select("--encoder", house.group, "--budget=2", "--strategy=kcenter", "--batch_size=3")
    (path,) = (folder.parent / "embeddings").glob("*.npy")
    images = Crops(house.volumes, house.pool).take(range(16))
    expected = models.embedding_part(house.resnet).predict_on_batch(images)
    np.testing.assert_allclose(np.load(path), expected, rtol=2e-4, atol=2e-4)
    distances = np.linalg.norm(np.load(path)[:, None].astype(float) - np.load(path)[None], axis=2)
    first, second = read_query(folder / "query.csv", house.pool).indices
    assert distances[first, second] == pytest.approx(distances[first].max())


def test_equal_embeddings_are_told_once(house, select, tmp_path, caplog):
    import models

    resnet = models.build_group_encoder((32, 32, 1), projection_size=8)
    resnet.set_weights([np.zeros_like(each) for each in resnet.get_weights()])
    encoder = write_run(tmp_path / "zeros", tiny.GROUP, resnet, encoder="resnet18", projection_dim=8)
    folder = select("--encoder", str(encoder), "--budget=2", "--strategy=kcenter")
    assert caplog.text.count("no more than a random one") == 1
    assert "All embeddings are equal" in files.read_json(folder / "selection.json")["notes"][-1]


def test_a_killed_embedding_resumes(house, data, tmp_path, monkeypatch):
    from fewslice.core import rowfile
    from fewslice.learner import features

    seen = []

    def stop_once(_run, _dataset, _is_half):
        def encode(images):
            seen.append(len(images))
            if len(seen) == 3:
                raise KeyboardInterrupt
            return images.reshape(len(images), -1)

        return encode

    monkeypatch.setattr(features, "_encoder", stop_once)
    monkeypatch.setattr(rowfile, "SAVE_EVERY", 1)
    images = Crops(house.volumes, house.pool)
    given = {"key": {"of": 1}, "batch_size": 5, "path": tmp_path / "embeddings.npy"}
    with pytest.raises(KeyboardInterrupt):
        features.embed("pixels", images, house.dataset, **given)
    assert not (tmp_path / "embeddings.npy").exists()
    found = features.embed("pixels", images, house.dataset, **given)
    assert seen == [5] * 5 and isinstance(found, np.memmap)
    assert np.array_equal(found, images.take(range(16)).reshape(16, -1))
    features.embed("pixels", images, house.dataset, **given)
    assert len(seen) == 5, "a finished file is opened again"
    features.embed("pixels", images, house.dataset, **(given | {"key": {"of": 2}}))
    assert len(seen) == 9, "other images are embedded anew"


def test_unet_encoder_and_what_is_annotated(house, select, tmp_path):
    flags = ("--strategy=typiclust", "--budget=3", "--encoder", house.encoder)
    first = select(*flags)
    (path,) = (first.parent / "embeddings").glob("*.npy")
    assert np.load(path).shape == (16, tiny.FILTERS[-1])
    second = select(*flags, f"--labelled={first / 'query.csv'}")
    one, other = (read_query(folder / "query.csv", house.pool) for folder in (first, second))
    assert not set(one.indices) & set(other.indices)
    assert json.loads((second / "selection.json").read_text())["labelled_units"] == 3


def test_uncertainty_of_a_network(house, select):
    folder = select("--strategy=uncertainty", "--network", house.baseline, "--budget=2", "--score=margin")
    values = read_query(folder / "query.csv", house.pool).values
    assert 1 >= values[0] >= values[1] >= 0
    assert json.loads((folder / "config.json").read_text())["score"] == "margin"


def test_gradients_of_a_network(house, select):
    folder = select("--strategy=badge", "--network", house.baseline, "--budget=3")
    assert len(read_query(folder / "query.csv", house.pool).indices) == 3


def test_nothing_and_everything(house, select):
    for nothing in ("0", "0%"):
        with pytest.raises(ConfigError, match=f"--budget={nothing} chooses no slice"):
            select("--strategy=random", f"--budget={nothing}")
    folder = select("--strategy=random", "--budget=99")
    assert len(read_query(folder / "query.csv", house.pool).indices) == 16
    assert (folder / "gallery.png").exists() and (folder / "embedding_map.png").exists()


def test_scribbles_weigh_the_pixels(house, select):
    """Of simulated scribbles: they are drawn in the gallery, and the choice is another than without them."""
    flags = ("--encoder=pixels", "--budget=5", "--set=scribbles=simulated")
    plain, weighed = select(*flags), select(*flags, "--with_scribbles")
    one, other = (read_query(folder / "query.csv", house.pool) for folder in (plain, weighed))
    assert one.indices.tolist() != other.indices.tolist() or one.values.tolist() != other.values.tolist()
    sizes = [(folder / "gallery.png").stat().st_size for folder in (plain, weighed)]
    assert sizes[0] != sizes[1] and files.read_json(weighed / "selection.json")["notes"] == []
    idle = select("--strategy=kcenter", *flags, "--with_scribbles")
    (note,) = files.read_json(idle / "selection.json")["notes"]
    assert note == "--with_scribbles has no effect: kcenter looks at no scribbles."


def test_an_interrupted_selection_keeps_its_choice(house, select, tmp_path, monkeypatch):
    from fewslice.report.figures import gallery

    flags = ("--strategy=coreset", "--budget=4", f"--output={tmp_path / 'mine'}")
    with monkeypatch.context() as patch:
        patch.setattr(gallery, "draw_gallery", lambda *_args, **_more: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            select(*flags)
    before = (tmp_path / "mine" / "query.csv").stat().st_mtime_ns
    execute(f"--runs_dir={tmp_path / 'runs'}", *flags)
    assert (tmp_path / "mine" / "query.csv").stat().st_mtime_ns == before
    assert (tmp_path / "mine" / "DONE").exists() and not (tmp_path / "mine" / "cache").exists()
    with pytest.raises(ConfigError, match="holds the result of other settings"):
        select(*flags, "--seed=1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--strategy=kcentre"], "Unknown strategy 'kcentre'. Did you mean 'kcenter'?"),
        (["--strategy=kcenter"], "'kcenter' needs features, .* --encoder=<run folder>"),
        (["--strategy=uncertainty"], "needs scores, .* --network=<run folder>"),
        (["--strategy=badge"], "needs gradients, .* --network="),
        (["--strategy=vaal", "--network={baseline}"], "needs a discriminator .*run_al_exp.py"),
        (["--strategy=batchbald", "--network={baseline}"], "compares dropout passes, so .*run_al_exp.py"),
        (["--strategy=random", "--options=k=2"], "[Uu]nknown option of strategy 'random' 'k'"),
        (["--options=use_labels=true", "--encoder=pixels"], "give --with_scribbles; otherwise --options use_labels=f"),
        (["--strategy=random", "--options=k"], "--options must be name=value"),
        (["--strategy=random", "--split=tr9"], "Unknown split --split 'tr9'"),
        (["--strategy=random", "--phases=ES"], "frame09.nii.gz\n.*no such file"),
        (["--strategy=kcenter", "--encoder=nowhere"], "--encoder=nowhere: expected a run folder .* Found: nothing"),
        (["--strategy=kcenter", "--encoder={group}/checkpoints"], "Found: another folder"),
        (["--strategy=uncertainty", "--network={group}"], "is a run of pretr_encoder_group_contrastive_loss. One of"),
        (["--strategy=kcenter", "--encoder={group}", "--set=img_size_x=64"], "img_size_x 32 and not 64.*--set img_siz"),
        (["--strategy=random", "--labelled=nowhere.csv"], "expected: a list of annotated slices"),
        (["--strategy=random", "--budget=101%"], "more than 100% of the pool"),
    ],
)
def test_refused_before_keras(house, select, monkeypatch, flags, message):
    from fewslice.core import backend

    monkeypatch.setattr(backend, "configure", lambda **_: pytest.fail("Keras would be imported now"))
    with pytest.raises(FewSliceError, match=f"(?s){message}"):
        select(*(flag.replace("{", "{0.").format(house) for flag in flags))


def test_a_wrong_budget_is_told_by_the_flag(select):
    with pytest.raises(absl_flags.IllegalFlagValueError, match="a number of slices, such as 12, or a share"):
        select("--strategy=random", "--budget=many")


def test_a_list_of_other_slices(select, tmp_path):
    (tmp_path / "mine.csv").write_text("unit_id\n001_ED_slice_9\n")
    with pytest.raises(DataError, match="Unknown unit '001_ED_slice_9'. Did you mean '001_ED_slice_0"):
        select("--strategy=random", f"--labelled={tmp_path / 'mine.csv'}")


def test_options_are_read_as_what_they_look_like():
    texts = ["a=1", "b=1e-4", "c=true", "d=none", "e=cosine", "f=-.5", "g=all=2"]
    expected = {"a": 1, "b": 1e-4, "c": True, "d": None, "e": "cosine", "f": -0.5, "g": "all=2"}
    found = SelectArgs(options=tuple(texts)).strategy_options
    assert found == expected and type(found["a"]) is int
    with pytest.raises(ConfigError, match="given twice: 1 and 2"):
        _ = SelectArgs(options=("a=1", "a=2")).strategy_options
