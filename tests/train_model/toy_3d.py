"""3D patches from a plugin's point of view: a network and a strategy that the software does not have.

Synthetic volumes of different shapes, patches on a lattice of stride 4, no overlap, a cap per case, partial labels,
three rounds. Expected values: by hand, and the volumes.
"""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import yaml

from fewslice.active.pool import make_pool
from fewslice.active.units import Case
from fewslice.data.io.nifti import read_nifti, write_nifti
from fewslice.settings.experiment import Named
from tests.train_model import tiny_al

SHAPES = [(21, 25, 9), (32, 18, 12), (16, 27, 7), (24, 24, 10), (19, 30, 8)]  # (x, y, z): three of the pool, val, test
SIZE, STRIDE, CAP, ROUNDS = (3, 8, 8), 4, 2, (4, 3, 3)
INIT = """
layout = "acdc"
data_path_tr = "toy"
how_to_get = "The test makes it."
grid = "native"
img_size_x = 32
img_size_y = 32
num_classes = 3
struct_name = ("ball", "shell")
phases = ("ED",)
unlabeled_split = "al"
"""
SPLITS = """
train = {"al": {"c1": ["001", "002", "003"]}}
val = {"al": {"*": ["004"]}}
test = ["005"]
unlabeled = ("al",)
"""
EXPERIMENT = {
    "name": "toy",
    "dataset": "toy",
    "network": {"name": "toy_net3d", "steps": 4, "window": [4, 12, 12]},
    "unit": {"name": "patch", "size": list(SIZE), "stride": STRIDE},
    "rounds": list(ROUNDS),
    "query": {"strategy": {"name": "toy_softened", "spread": 0.5}, "score": "bald", "passes": 2, "case_cap": CAP},
    "first_query": {"strategy": "random", "case_cap": CAP},
    "members": 2,
}
PLUGIN = '''
"""A network of 3D windows and a strategy for patches."""

from typing import Annotated

import numpy as np

from fewslice.active.query import Choice, register
from fewslice.learner.networks import NETWORKS, Schedule, WindowNetwork
from fewslice.settings.declare import Count, Help, declared


@NETWORKS.register("toy_net3d")
@declared
class ToyNet(WindowNetwork):
    """Two convolutions."""

    batch_size: Annotated[Count, Help("Windows per step.")] = 2
    steps: Annotated[Count, Help("Steps per round.")] = 4
    window: Annotated[tuple[int, int, int], Help("Voxels of a window.")] = (4, 8, 8)

    drops = True

    def build(self, shape, classes, *, seed, dropout="Dropout"):
        import keras
        from keras import layers
        from models.dropout import ActiveDropout

        drop = ActiveDropout if dropout == "active" else layers.Dropout
        start = lambda n: keras.initializers.GlorotUniform(seed=seed + n)
        inputs = keras.Input(shape)
        x = layers.Conv3D(4, 3, padding="same", activation="relu", kernel_initializer=start(0), name="a")(inputs)
        x = drop(0.3, seed=seed, name="drop")(x)
        return keras.Model(inputs, layers.Conv3D(classes, 3, padding="same", kernel_initializer=start(1), name="b")(x))

    def dropping(self, model):
        found = self.build(model.input_shape[1:], model.output_shape[-1], seed=0, dropout="active")
        for layer in found.layers:
            if layer.weights and layer.name != "drop":
                layer.set_weights(model.get_layer(layer.name).get_weights())
        return found

    def make_loss(self, ignore_value):
        import losses

        return losses.get("partial_cross_entropy")(ignore_value)

    def make_optimizer(self, steps):
        import keras

        return keras.optimizers.Adam(0.01)

    def schedule(self, plan, count):
        return Schedule(self.steps, 2)


@register("toy_softened", needs=("scores",), obeys_rules=True)
def softened(query, *, spread: float = 1.0):
    """Takes the largest scores with Gumbel noise."""
    units = query.candidates
    noisy = query.scores[units] / (query.scores[units].std() + 1e-12) + spread * query.rng.gumbel(size=len(units))
    chosen = query.first_allowed(units[np.argsort(-noisy)])
    return Choice(chosen, query.scores[chosen].astype(float))

'''


def write_toy(root):
    """Writes the volumes, the settings, the experiment toy.yml and the plugin outside.py."""
    for number, shape in enumerate(SHAPES, 1):
        rng = np.random.default_rng(number)
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) - np.array(shape) / 2.0
        radius = np.linalg.norm(places / (np.array(shape) / 8.0), axis=-1)
        label = np.select([radius < 1.5, radius < 3], [1, 2], 0).astype(np.uint8)
        image = (label * 60.0 + 20 * rng.random(shape)).astype(np.float32)
        folder = root / "toy" / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\n")
        for suffix, array in (("", image), ("_gt", label)):
            path = folder / f"patient{number:03d}_frame01{suffix}.nii.gz"
            write_nifti(path, array, like=None, affine=np.diag([1.0, 1.0, 2.0, 1.0]), spacing_mm=(1.0, 1.0, 2.0))
    (root / "settings").mkdir()
    (root / "settings" / "init_toy.py").write_text(INIT)
    (root / "settings" / "data_cfg_toy.py").write_text(SPLITS)
    (root / "toy.yml").write_text(yaml.safe_dump(EXPERIMENT))
    (root / "outside.py").write_text(PLUGIN)


def check_rounds(root, run):
    """Checks what was chosen and annotated against the volumes."""
    cases = [Case(f"{n:03d}_ED", f"{n:03d}", (z, x, y)) for n, (x, y, z) in enumerate(SHAPES[:3], 1)]
    pool = make_pool(cases, Named("patch", {"size": SIZE, "stride": STRIDE}))
    names = tiny_al.picks(run)
    assert [len(one) for one in names] == list(ROUNDS) and not (run / "pool.csv").exists()
    boxes = [[pool.box(pool.find(name)) for name in one] for one in names]
    for one in boxes:
        assert max(np.bincount([box.case for box in one])) <= CAP
    for one, other in combinations(sum(boxes, []), 2):
        apart = [
            a + m <= b or b + n <= a
            for a, m, b, n in zip(one.start, one.size, other.start, other.size, strict=True)
        ]  # fmt: skip
        assert one.case != other.case or any(apart), "patches share voxels"
    for one, folder in zip(boxes, tiny_al.rounds(run), strict=True):
        truth = [read_truth(root, box.case)[box.slices] for box in one]
        assert np.array_equal(np.load(folder / "labels.npy"), np.concatenate([part.ravel() for part in truth]))
    found = tiny_al.metrics(run)
    assert [one["units"] for one in found] == np.cumsum(ROUNDS).tolist()
    assert [one["annotated_pixels"] for one in found] == (np.cumsum(ROUNDS) * np.prod(SIZE)).tolist()
    assert all(np.isfinite(one["val_dice"]) and len(one["members"]) == 2 for one in found)
    for folder in tiny_al.rounds(run):
        prediction = read_nifti(folder / "member_0" / "eval" / "test" / "predictions" / "005_ED.nii.gz", is_label=True)
        assert prediction.array.shape == SHAPES[4]
    plan = json.loads((tiny_al.rounds(run)[1] / "plan.json").read_text())
    assert plan["query"]["strategy"] == {"name": "toy_softened", "options": {"spread": 0.5}}
    assert plan["unit"]["options"]["stride"] == STRIDE and plan["network"]["options"]["window"] == [4, 12, 12]


def read_truth(root, case):
    """Returns the (slices, rows, columns) label of a case."""
    name = f"patient{case + 1:03d}"
    return np.moveaxis(read_nifti(root / "toy" / name / f"{name}_frame01_gt.nii.gz", is_label=True).array, 2, 0)
