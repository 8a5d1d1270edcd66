"""The examples of docstrings and of docs/python.md do what they say."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import fewslice
from fewslice.active.query import STRATEGIES
from fewslice.core.errors import ConfigError
from losses import LOSSES
from tests.train_model import tiny

ROOT = Path(__file__).resolve().parents[1]
STRATEGY_FILES = {path.stem for path in (ROOT / "fewslice/active/strategies").glob("[a-z]*.py")}
MODULES = [
    *(f"losses.{path.stem}" for path in sorted((ROOT / "losses").glob("[a-z]*.py"))),
    *(f"fewslice.active.strategies.{name}" for name in sorted(STRATEGY_FILES)),
    "fewslice.api.arrays",
    "fewslice.train.pace",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(name)
    names = {"np": np, "keras": keras, "fewslice": fewslice}
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in finder.find(module, extraglobs=names):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_every_strategy_and_loss_has_an_example():
    known = [*map(STRATEGIES.get, STRATEGIES.names()), *map(LOSSES.get, LOSSES.names())]
    ours = [each for each in known if each.__module__.split(".")[0] in ("fewslice", "losses")]
    assert len(ours) > 25 and [each.__name__ for each in ours if ">>> " not in (each.__doc__ or "")] == []


@pytest.mark.parametrize("place", ["fewslice/augment", "fewslice/data/batches", "fewslice/active/measures"])
def test_a_seed_is_taken_wherever_a_generator_is(place):
    for path in sorted((ROOT / place).rglob("*.py")):
        for head in re.findall(r"^def [a-z]\w*\([^)]*\brng: [^)]*\).*", path.read_text(encoding="utf-8"), re.M):
            assert "np.random.Generator | int" in head, (path.name, head)


def test_the_import_alone_loads_nothing_heavy():
    code = "import sys, fewslice; print(sorted({'keras', 'numpy', 'pydantic', 'absl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"
    assert set(fewslice.__all__) <= set(dir(fewslice))
    with pytest.raises(AttributeError, match="no attribute 'selct'"):
        fewslice.selct  # noqa: B018


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("badge", {"embeddings": np.eye(3)}, "needs gradients, .*Python: its `gradients`"),
        ("uncertainty", {"embeddings": np.eye(3)}, "needs scores, .*`scores`"),
        ("coreset", {"embeddings": np.eye(3)}, "needs pixels, .*`pixels`"),
        ("mfc", {"volumes": np.arange(3)}, "needs features, .*`embeddings`"),
        ("mcf", {"embeddings": np.eye(3)}, "Did you mean 'mfc'"),
        ("kcenter", {"embeddings": np.eye(3), "volumes": ["a"]}, "3 rows, of {'volumes': 1"),
        ("random", {}, "an array with a row per unit"),
        ("kcenter", {"embeddings": np.eye(3), "labelled": [3]}, "`labelled` .* from 0 to 2"),
    ],
)
def test_choices_that_lack_something_are_refused(name, given, message):
    with pytest.raises(ConfigError, match=message):
        fewslice.select(name, budget=1, **given)


def test_choices_from_arrays_obey_seed_and_labels():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    chosen = fewslice.select("typiclust", rows, budget=5, labelled=[1, 2], rng=3)
    assert len(set(chosen.tolist())) == 5 and not {1, 2} & set(chosen.tolist())
    np.testing.assert_array_equal(chosen, fewslice.select("typiclust", rows, budget=5, labelled=[1, 2], rng=3))
    of_generator = fewslice.select("typiclust", rows, budget=5, labelled=[1, 2], rng=np.random.default_rng(3))
    np.testing.assert_array_equal(chosen, of_generator)


@pytest.fixture(scope="module")
def page_root(tmp_path_factory):
    """The tiny dataset, called acdc as on the page, and a run of the baseline with random weights."""
    import models
    from fewslice.core import checkpoint, files
    from fewslice.settings import datasets

    root = tiny.write_dataset(tmp_path_factory.mktemp("page"))
    for path in (root / "experiments").glob("*_tiny.py"):
        path.rename(path.with_name(path.name.replace("tiny", "acdc")))
    with pytest.MonkeyPatch.context() as patch, tiny.quick_networks():
        for name, value in tiny.environment(root).items():
            patch.setenv(name, value)
        patch.chdir(root)
        dataset = datasets.load_dataset_config("acdc")
        for stage, name, model in (
            (tiny.BASELINE, "best.npz", models.build_unet((32, 32, 1), 3)),
            (tiny.GROUP, "last.npz", models.build_group_encoder((32, 32, 1), projection_size=8)),
        ):
            run, config = root / "runs" / stage, datasets.config_dict(dataset)
            known = {"stage": stage, "encoder": "resnet18", "projection_dim": 8, "dataset_config": config}
            files.write_json(run / "config.json", known | {"report": {"orientation": "canonical"}})
            checkpoint.save_arrays(run / "checkpoints" / name, models.read_weights(model), {"step": 4})
        yield root


def test_the_page_about_python(page_root):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) > 4
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "python.md", None, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not said, "".join(said)


def test_an_array_is_segmented_as_its_file(page_root):
    dataset = fewslice.load_dataset("acdc")
    (volume,) = fewslice.open_volumes(dataset, ["001"])
    network = fewslice.load_network(page_root / "runs" / tiny.BASELINE)
    from fewslice.data.readers import get_reader

    native = get_reader(dataset).read(volume.case, with_label=False, with_scribble=False)
    expected = fewslice.predict(network, volume)
    assert expected.shape == volume.native_shape == native.image.shape and expected.dtype == np.uint8
    np.testing.assert_array_equal(fewslice.predict(network, native.image, native.spacing_mm), expected)
    encoder = fewslice.load_network(page_root / "runs" / tiny.GROUP)
    for args in (
        (encoder, volume),
        (network, native.image),
        (network, native.image[0], (1, 1, 1)),
        ("nowhere", volume),
    ):
        with pytest.raises(ConfigError):
            fewslice.predict(*args)
