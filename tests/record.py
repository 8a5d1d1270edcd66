"""Records what the software computes, to show that a change of its code did not change its results.

For developers who move or rewrite code. Make a record before and after, on the same machine with the same versions of
the libraries, since weights are compared bit for bit:

    python tests/record.py --checkout=. --out=before.json --keep=before_runs     the old code; some minutes
    python tests/record.py --checkout=. --out=after.json                         the new code
    python tests/record.py --compare before.json after.json                      one line per difference
    python tests/record.py --checkout=. --out=again.json --repeat=before_runs    old run folders under the new code

A record has three parts, of which `--only` makes one:

plans   what each round of each shipped experiment would do: strategy, options, features, scores, budgets
runs    what the commands write on small data: names of run folders, settings, picks, metrics, tables and the SHA-256 of
        every array of weights, each stage at least once. Commands are called as a user calls them.
again   with `--repeat`: for each command, given a folder of `--keep`, whether it says that it has finished already, and
        which results it wrote anew. The folder itself stays as it is. Reports are made of the old runs.

Times, versions, pictures and log texts are left out. `plans` alone calls our own API, in `plans_of_*_code`.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import yaml

POOLS = (270, 1000)  # units for which budgets are worked out
TIMES = ("seconds", "steps_per_s")
SKIPPED = ("versions.json", "command.txt", ".lock")
THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

# --- small data ---------------------------------------------------------------------------------------------------

INIT = """
layout = "acdc"
data_path_tr = "tiny"
data_path_tr_cropped = "cropped/tiny"
how_to_get = "tests/record.py makes it."
img_size_x = 32
img_size_y = 32
target_resolution = (1.5, 1.5)
num_classes = 3
struct_name = ("rv", "lv")
class_weights = (0.1, 0.4, 0.5)
phases = ("ED",)
unlabeled_phases = ("ED",)
unlabeled_split = "al"
scribbles = "simulated"
mtask_bs = 2
batch_size_ft = 2
val_step_update = 2
"""
SPLITS = """
train = {"tr1": {"c1": ["001"]}, "al": {"c1": ["001", "002", "003", "004"]}}
val = {"tr1": {"*": ["005"]}, "al": {"*": ["005"]}}
test = ["006", "007"]
unlabeled = ("al",)
"""


def write_data(root: Path, checkout: Path) -> None:
    """Writes seven tiny patients in ACDC's layout to `root/data`, settings and experiments to `root/settings`."""
    settings = root / "settings"
    settings.mkdir(parents=True)
    for kind in ("init", "data_cfg"):
        shutil.copy(checkout / "experiment_init" / f"{kind}_phantom.py", settings)
    (settings / "init_tiny.py").write_text(INIT)
    (settings / "data_cfg_tiny.py").write_text(SPLITS)
    for name, groups in EXPERIMENTS.items():
        (settings / f"{name}.yml").write_text(yaml.safe_dump({**groups, "exp_dir": name}))
    for number in range(1, 8):
        write_patient(root / "data" / "tiny" / f"patient{number:03d}", number)


def write_patient(folder: Path, number: int) -> None:
    """Writes one volume of four slices with two discs, whose size and noise depend on the patient."""
    rng = np.random.default_rng(number)
    shape = (30 + number, 34 - number, 4)
    x, y = np.meshgrid(*(np.arange(n) - n / 2 for n in shape[:2]), indexing="ij")
    label = np.zeros(shape, np.uint8)
    for index in range(shape[2]):
        radius = 5 + number % 3 - index
        label[(x + 3) ** 2 + y**2 < radius**2, index] = 1
        label[(x - 6) ** 2 + y**2 < radius**2, index] = 2
    image = (100 * label + 30 * rng.random(shape)).astype(np.float32)
    side = 1.4 + 0.05 * number
    affine = np.diag([-side, -side, 8.0, 1.0])
    affine[:3, 3] = (11.0, -7.0, 3.0)
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\n")
    for suffix, array in (("", image), ("_gt", label)):
        content = nibabel.Nifti1Image(array, affine).to_bytes()
        path = folder / f"{folder.name}_frame01{suffix}.nii.gz"
        path.write_bytes(gzip.compress(content, mtime=0))


MODEL = {"model_type": "dmpls", "dataset": "tiny", "batch_size": 2, "max_iterations": 8, "val_every": 2}
MASKS = {"model_type": "strong", "dataset": "tiny", "ann_type": "label", "batch_size": 2, "max_iterations": 8}
RESNET = {"model_type": "lvm_med", "dataset": "tiny", "ann_type": "label", "batch_size": 2, "encoder_name": "resnet18"}
RANDOM, ONE_ROUND = {"rounds": [[0.25, 0, "random"], [0.25, 0]]}, {"policy_type": "random", "rounds": [[0.25, 0]]}
ENTROPY = {"model_uncertainty_type": "ensemble", "score_func": "entropy_w_label_probs"}
STOCHASTIC = {"model_uncertainty_type": "stochastic", "score_func": "entropy", "sbatch_size": 4}
TYPICLUST = {"features": "pooled_map", "min_cluster_size": 0, "max_num_clusters": 8, "k_nn": 3}
COREGCN = {"use_model_features": True, "starting_sample": 2, "num_epochs_gcn": 5, "hidden_units": 8}
VAAL = {"latent_dim": 4, "width": 4, "batch_size": 4, "num_epochs": 1}


def experiment(model: Mapping[str, Any], policy: Mapping[str, Any] | None = None, **groups: Any) -> dict[str, Any]:
    """Returns a small experiment in the published form: two rounds buy four of the 16 slices each."""
    usual = {"policy_type": "ranked", "rounds": [[0.25, 0], [0.25, 0]], "ensemble_kwargs": {"inf_test": True}}
    return {"model": dict(model), "policy": usual | (policy or {}), **groups}


# Name -> content of the file.
EXPERIMENTS = {
    "entropy": experiment(MASKS | {"model_type": "db_strong", "ensemble_size": 2, "T": 3}, model_uncertainty=ENTROPY),
    "stochastic": experiment(MODEL, model_uncertainty=STOCHASTIC),
    "typiclust": experiment(MODEL, data_geometry={"data_geometry_type": "typiclust", **TYPICLUST}),
    "vaal": experiment(MODEL, RANDOM, data_geometry={"data_geometry_type": "vaal", **VAAL}),
    "badge": experiment(MASKS, data_geometry={"data_geometry_type": "badge"}),
    "coregcn": experiment(
        MODEL | {"inf_train_type": "features"}, data_geometry={"data_geometry_type": "coregcn", **COREGCN}
    ),
    "person": experiment(MASKS, ONE_ROUND | {"annotator": "files"}),
    "resnet": experiment(RESNET | {"in_chns": 1, "num_epochs": 2}, ONE_ROUND),
}

# --- commands -----------------------------------------------------------------------------------------------------

_FIND = ("--n_parts=2", "--bt_size=2")
_JOINT = ("--no_of_tr_imgs=tr1", "--n_iter=6", "--pretr_n_iter=4", "--bt_size=2", "--refresh_every=4")
_TAUGHT = ("--no_of_tr_imgs=tr1", "--n_iter=4", "--pretr_n_iter=4", "--bt_size=2", "--unlabelled_bs=2")
_PHANTOM = (
    "img_size_x=32", "img_size_y=32", "target_resolution=6,6", "model.max_iterations=100", "model.val_every=2",
    "policy.rounds=[[0.02, 0], [0.02, 0]]", "policy.ensemble_kwargs.inf_test=false",
    "data_geometry.feature_model_params.batch_size=60",
)  # fmt: skip
_NATIVE = {  # the same in the words of a file with native keys
    "model.max_iterations=100": "network.steps=100", "model.val_every=2": "network.val_every=2",
    "policy.rounds=[[0.02, 0], [0.02, 0]]": "rounds=[0.02, 0.02]",
    "policy.ensemble_kwargs.inf_test=false": "test=false",
    "data_geometry.feature_model_params.batch_size=60": "encoder.batch_size=60",
}  # fmt: skip
# Differences that are meant -> why. They are counted, not listed.
MEANT = {
    r"settings > report( >|$)|settings_sha256$": "facts for the report, outside the digest",
    r"run_al_exp > (settings >|folder$)": "experiments are recorded by native keys, so that their digest differs",
    r"rounds/\d+/plan\.json|select_slices > files > (plan\.json|scores\.csv)": "complete plans; see the part `plans`",
    r"results\.csv > \d+ > (experiment|setup|strategy)$": "name of the run folder, keys of the setup, VAAL as a score",
    r"summary\.json > postprocess$": "an option that no stage set",
    r"slices\.csv > \d+ > last_slice$": "a column for patches",
    r"rounds/\d+/(annotations|labels)\.npy$|cache/\w+\.json > ": "labels of boxes one after the other: the same bytes",
}
GLOBAL, LOCAL = "pretr_encoder_global_contrastive_loss", "pretr_decoder_local_contrastive_loss"
GROUP, JOINT = "pretr_encoder_group_contrastive_loss", "prop_method_joint_tr_rand_init"
# Name -> script and flags. "{run:<stage>}" is the run folder of a stage, "{settings}" that of the experiments.
COMMANDS: dict[str, tuple[str, ...]] = {
    "global": (GLOBAL, *_FIND, "--bbox_dim=20", "--n_iter=4"),
    "local": (LOCAL, *_FIND, "--n_iter=4", "--pretr_n_iter=4", "--pretr_bbox_dim=20"),
    "group": (GROUP, "--n_iter=4"),
    "fine-tuned encoder": (
        "ft_pretr_encoder_net_global_loss", *_FIND, "--bbox_dim=20", "--n_iter=4", "--pretr_n_iter=4",
    ),
    "fine-tuned both": ("ft_pretr_encoder_decoder_net_local_loss", "--n_parts=2", "--n_iter=4", "--pretr_n_iter=4"),
    "baseline": ("tr_baseline", "--no_of_tr_imgs=tr1", "--n_iter=4"),
    "joint": (JOINT, *_JOINT),
    "unimatch": (JOINT, "--method=unimatch", "--confidence=0.3", *_TAUGHT),
    "copy_paste": (JOINT, "--method=copy_paste", *_TAUGHT),
    "select random": ("select_slices", "--strategy=random", "--budget=3"),
    "select kcenter": ("select_slices", "--strategy=kcenter", "--encoder=pixels", "--budget=25%"),
    "select mfc": ("select_slices", "--encoder={run:" + GROUP + "}", "--budget=4"),
    "select mfc scribbles": ("select_slices", "--encoder=pixels", "--with_scribbles", "--budget=5"),
    "select typiclust": (
        "select_slices", "--strategy=typiclust", "--encoder={run:" + GLOBAL + "}", "--budget=3",
        "--options=min_cluster_size=0", "--labelled={run:select_slices/random-}/query.csv",
    ),
    "select uncertainty": (
        "select_slices", "--strategy=uncertainty", "--network={run:tr_baseline}", "--score=margin", "--budget=3",
    ),
    "select badge": ("select_slices", "--strategy=badge", "--network={run:tr_baseline}", "--budget=3", "--seed=1"),
    **{f"al {name}": ("run_al_exp", f"--config={{settings}}/{name}.yml") for name in EXPERIMENTS},
    "al phantom_quick": (
        "run_al_exp", "--config={experiment:phantom_quick}", *(f"--set={text}" for text in _PHANTOM),
    ),
}  # fmt: skip
WITHOUT_DATASET = ("run_al_exp",)


class Answer(NamedTuple):
    """What a command printed and logged, and whether it succeeded."""

    printed: str
    log: str
    is_ok: bool


class Place:
    """A folder with data, settings and runs, in which the commands of a checkout are called."""

    def __init__(self, root: Path, checkout: Path):
        self.root, self.checkout, self.runs = root, checkout, root / "runs"
        places = {"FEWSLICE_DATA": root / "data", "FEWSLICE_EXPERIMENTS": root / "settings", "PYTHONPATH": checkout}
        self.environment = os.environ | THREADS | QUIET | {name: str(path) for name, path in places.items()}

    def call(self, folder: str, script: str, *flags: str) -> Answer:
        """Calls a script. Texts are without the path of this folder; if it failed, they are shown."""
        command = [sys.executable, f"{script}.py", *flags]
        where = {"cwd": self.checkout / folder, "env": self.environment}
        done = subprocess.run(command, **where, capture_output=True, text=True, check=False)
        answer = Answer(self.shown(done.stdout), self.shown(done.stderr), done.returncode == 0)
        if not answer.is_ok:
            print(f"FAILED: {' '.join([script, *flags])}\n{answer.printed[-1000:]}\n{answer.log[-3000:]}", flush=True)
        return answer

    def train(self, name: str) -> Answer:
        """Calls one of `COMMANDS`."""
        script, *flags = COMMANDS[name]
        dataset = [] if script in WITHOUT_DATASET else ["--dataset=tiny"]
        flags = [re.sub(r"{(\w+):?([^}]*)}", self._named, flag) for flag in flags]
        if flags[0].endswith("phantom_quick.yml") and "\nmodel:" not in Path(flags[0].split("=")[1]).read_text():
            flags = [f"--set={_NATIVE.get(flag[6:], flag[6:])}" if flag[:6] == "--set=" else flag for flag in flags]
        return self.call("train_model", script, *dataset, f"--runs_dir={self.runs}", *flags)

    def shown(self, text: str) -> str:
        """Returns a text in which this folder has no path."""
        return text.replace(str(self.root.resolve()), "<root>").replace(str(self.root), "<root>")

    def run_dirs(self) -> list[Path]:
        """Returns all run folders."""
        return sorted(path.parent for path in self.runs.rglob("config.json"))

    def _named(self, match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "settings":
            return str(self.root / "settings")
        if kind == "experiment":
            return str(experiment_files(self.checkout)[name])
        stage, _, start = name.partition("/")
        found = (self.runs / "tiny" / stage).glob(f"{start}*/config.json")
        newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=self.runs / "missing" / "config.json")
        return str(newest.parent)  # of several after --repeat, the one that this code made


# --- runs ---------------------------------------------------------------------------------------------------------


def record_runs(place: Place) -> dict[str, Any]:
    """Writes the data, calls all commands and returns what they left, by command and stage, and the reports."""
    write_data(place.root, place.checkout)
    place.call("scripts", "make_phantom")
    found: dict[str, Any] = {}
    for name in COMMANDS:
        before, started = set(place.run_dirs()), time.monotonic()
        answer = place.train(name)
        new = [path for path in place.run_dirs() if path not in before]
        found[name] = {path.parent.name: describe_run(path, place) for path in new} | failure(answer)
        print(f"{name}: {len(new)} new run folder(s), {time.monotonic() - started:.0f} s", flush=True)
    return found | {"reports": record_reports(place)}


def failure(answer: Answer) -> dict[str, str]:
    """Returns how a command failed, nothing if it did not."""
    return {} if answer.is_ok else {"failed": answer.log[-1000:]}


def record_reports(place: Place) -> dict[str, Any]:
    """Returns the tables that the reports print, and the numbers of the experiments."""
    found: dict[str, Any] = {}
    for script, dataset in (("make_report", "tiny"), ("make_al_report", "tiny"), ("make_al_report", "phantom")):
        answer = place.call("scripts", script, f"--dataset={dataset}", f"--runs_dir={place.runs}")
        found[f"{script} {dataset}"] = {"printed": answer.printed.splitlines()} | failure(answer)
    for path in sorted(place.runs.glob("*/run_al_exp/*.csv")):
        found[path.relative_to(place.runs).as_posix()] = read_table(path)
    return found


def describe_run(folder: Path, place: Place) -> dict[str, Any]:
    """Returns the content of a run folder: its name, its settings and their digest, and one entry per result."""
    settings = json.loads(place.shown((folder / "config.json").read_text()))
    found = {
        "folder": folder.name,
        "settings": settings,
        "settings_sha256": sha256(json.dumps(settings, sort_keys=True).encode()),
    }
    return found | {"files": dict(describe_files(folder, place))}


def describe_files(folder: Path, place: Place) -> Iterator[tuple[str, Any]]:
    """Yields (path in the folder, content without times, or checksums of arrays) of each file with results."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in SKIPPED or name == "config.json" or (path.name == "DONE" and "rounds" in path.parts):
            continue  # a round's DONE has checksums of files that hold times
        if path.suffix == ".csv":
            yield name, read_table(path)
        elif path.suffix == ".json" or path.name == "DONE":
            yield name, untimed(json.loads(place.shown(path.read_text())))
        elif path.suffix == ".npz":
            yield name, dict(describe_archive(path))
        elif path.suffix == ".npy":
            yield name, array_sha256(np.load(path))
        elif path.name.endswith((".nii", ".nii.gz")):
            image = nibabel.load(path)
            yield name, {"values": array_sha256(np.asarray(image.dataobj)), "affine": image.affine.tolist()}


def describe_archive(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields (name, checksum) of the arrays of a .npz file; the JSON record among them as it is, without times."""
    with np.load(path) as archive:
        for name in sorted(archive.files):
            array = archive[name]
            if name == "record.json":
                yield name, untimed(json.loads(array.tobytes()))
            else:
                yield name, array_sha256(array)


def read_table(path: Path) -> list[dict[str, str]]:
    """Returns the lines of a CSV file without the times, be they columns or lines of their own."""
    with open(path, newline="") as file:
        return [untimed(row) for row in csv.DictReader(file) if row.get("metric") not in TIMES]


def untimed(value: Any) -> Any:
    """Returns a JSON value without what depends on the clock or the versions of libraries."""
    if isinstance(value, dict):
        return {name: untimed(item) for name, item in value.items() if name not in (*TIMES, "versions")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def array_sha256(array: np.ndarray) -> str:
    """Returns type, shape and checksum of an array."""
    return f"{array.dtype} {array.shape} {sha256(np.ascontiguousarray(array).tobytes())}"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- again --------------------------------------------------------------------------------------------------------


def record_again(kept: Path, root: Path, checkout: Path) -> dict[str, Any]:
    """Repeats all commands on a copy of a kept folder, and makes the reports of it.

    Returns:
        For each command whether it says that it has finished already, run folders that are new, and results that were
        written anew. For "reports" what the reports of the kept runs print, before any command.
    """
    shutil.copytree(kept, root, dirs_exist_ok=True)
    place = Place(root, checkout)
    found: dict[str, Any] = {"reports": record_reports(place)}
    for name in COMMANDS:
        before, folders = write_times(place), set(place.run_dirs())
        answer = place.train(name)
        found[name] = {
            "already finished": "Already finished" in answer.printed + answer.log,
            "new run folders": [place.shown(str(path)) for path in place.run_dirs() if path not in folders],
            "written anew": sorted(path for path, at in write_times(place).items() if before.get(path) != at),
        } | failure(answer)
        print(f"{name}: {'finished already' if found[name]['already finished'] else 'NOT finished'}", flush=True)
    return found


def write_times(place: Place) -> dict[str, int]:
    """Returns when each result was written: weights, arrays, picks and metrics."""
    kinds = ("*.npz", "*.npy", "query.csv", "metrics.json", "per_volume.csv")
    paths = (path for kind in kinds for path in place.runs.rglob(kind))
    return {str(path.relative_to(place.runs)): path.stat().st_mtime_ns for path in paths}


# --- plans --------------------------------------------------------------------------------------------------------


def experiment_files(checkout: Path) -> dict[str, Path]:
    """Returns name -> path of every shipped experiment; of two with one name, the one deeper below `experiments/`."""
    paths = sorted((checkout / "experiments").rglob("*.yml"), key=lambda path: (len(path.parts), path))
    return {path.stem: path for path in paths}


def record_plans(checkout: Path) -> dict[str, Any]:
    """Returns what each shipped experiment does, in words that belong to neither code."""
    sys.path.insert(0, str(checkout))
    os.environ.update(QUIET)
    is_new = (checkout / "fewslice" / "settings" / "experiment.py").exists()
    return (plans_of_new_code if is_new else plans_of_old_code)(checkout)


def plans_of_old_code(checkout: Path) -> dict[str, Any]:
    """Returns name of the experiment -> its plan, by `fewslice.al_config`."""
    from fewslice.al_config import load_experiment
    from fewslice.al_selection import encoder_arguments, vaal_options

    from fewslice.active.query import strategy_options
    from fewslice.stages.active import round_plans

    def describe(path: Path) -> dict[str, Any]:
        one = load_experiment(path)
        plans = [round_plans(one, count) for count in POOLS]
        model, test = one.model, one.policy.ensemble_kwargs.inf_test
        found = {"dataset": one.dataset_name, "split": model.split, "comb": model.comb, "seed": one.seed}
        found |= {"annotator": one.policy.annotator, "test": test, "name": one.exp_dir, "network": _old_network(model)}
        return found | {"rounds": [describe_round(one, *parts) for parts in zip(one.selections, *plans, strict=True)]}

    def describe_round(one: Any, selection: Any, *plans: Any) -> dict[str, Any]:
        found = {item.name: getattr(selection, item.name) for item in dataclasses.fields(selection)}
        known = {name: default for name, (_, default) in strategy_options(selection.strategy).items()}
        found["options"] = {} if selection.strategy == "vaal" else known | dict(selection.options)
        found |= {name: getattr(plans[0], name) for name in ("fraction", "skip_training", "training_share")}
        found |= {f"units of {count}": plan.units for count, plan in zip(POOLS, plans, strict=True)}
        if selection.strategy == "vaal":
            found["vaal"] = vaal_options(one.geometry)
        if selection.features == "encoder":
            params = one.geometry.feature_model_params
            more = {"epochs": params.num_epochs, "given": params.cl_prev_path}
            found["encoder"] = encoder_arguments(params, one.seed) | more
        if selection.features == "encoder":
            found["embedded at once"] = one.geometry.feature_model_params.inf_batch_size
        return found

    return {name: describe(path) for name, path in experiment_files(checkout).items()}


def _old_network(model: Any) -> dict[str, Any]:
    is_unet = model.seg_model is not None  # others count epochs
    return {
        "name": f"{model.model_type} {model.seg_model}" if is_unet else model.model_type,
        "members": model.ensemble_size,
        "annotation": model.ann_type,
        "batch_size": model.batch_size,
        "learning_rate": model.base_lr,
        "steps of the whole pool": model.max_iterations if is_unet else None,
        "epochs": None if is_unet else model.num_epochs,
        "validation every": model.val_every if is_unet else model.val_epoch,
        "steady_statistics": model.steady_statistics,
        "mixed_precision": model.is_half_precision,
        "size": model.size,
        "starts from": model.warm_start or (None if is_unet else model.base_original_checkpoint),
        "encoder": None if is_unet else model.encoder_name,
        "adam": None if is_unet else [model.train_beta1, model.train_beta2, model.train_weight_decay],
        "cosine": None if is_unet else bool(model.train_scheduler),
    }


def plans_of_new_code(checkout: Path) -> dict[str, Any]:
    """Returns what `plans_of_old_code` returns, key by key, by `fewslice.settings.load`."""
    from fewslice import active, learner  # noqa: F401  all names
    from fewslice.active import annotators  # noqa: F401
    from fewslice.settings.load import load_experiment

    return {name: describe_plan(load_experiment(path)) for name, path in experiment_files(checkout).items()}


def describe_plan(one: Any) -> dict[str, Any]:
    """Returns the plan of an experiment in the words of a record."""
    plans = [one.plans(count) for count in POOLS]
    found = {"dataset": one.dataset, "split": one.split, "comb": one.comb, "seed": one.seed}
    found |= {"annotator": one.annotator, "test": one.test, "name": one.name, "network": _new_network(one)}
    return found | {"rounds": [_new_round(one, *parts) for parts in zip(*plans, strict=True)]}


def _new_round(one: Any, *plans: Any) -> dict[str, Any]:
    from fewslice.core import registry

    plan, query = plans[0], plans[0].query
    is_vaal = query.score is not None and query.score.name == "vaal"
    options, features = dict(query.strategy.options), query.features.name if query.features else "none"
    needs = registry.of("strategy").get(query.strategy.name).needs
    found = {
        "strategy": "vaal" if is_vaal else query.strategy.name,
        "options": {} if is_vaal else options,
        "features": features,
        "scores": query.score.name if query.score else None,
        "passes": query.passes,
        "combine": query.combine,
        "masks": "masks" in needs and options.get("use_labels", True),
        "gradients": "gradients" in needs,
        "feature_map": query.features.options.get("level", 0) if query.features else 0,
        "descending": not query.ascending,
        "fraction": plan.fraction,
        "skip_training": not plan.train,
        "training_share": plan.training_share,
    }
    found |= {f"units of {count}": one.units for count, one in zip(POOLS, plans, strict=True)}
    if is_vaal:
        found["vaal"] = dict(query.score.options)
    if features == "encoder":
        settings = {item.name: getattr(plan.encoder, item.name) for item in dataclasses.fields(plan.encoder)}
        found["encoder"] = settings | {"given": settings.pop("run") or None, "seed": plan.seed}
    if features == "encoder":
        found["embedded at once"] = query.features.options["batch_size"]
    return found


def _new_network(one: Any) -> dict[str, Any]:
    names = {"dmpls": "dmpls unet_cct", "scribble_unet": "strong unet", "pretrainable_unet": "strong pretrainable_unet"}
    name, options = one.network.name, one.network.options
    is_unet = name in names
    drops = is_unet and any(query.passes > 1 for _, query in one.queries())
    return {
        "name": ("db_" if drops else "") + names[name] if is_unet else "lvm_med",
        "members": one.members.count,
        "annotation": {"mask": "label"}.get(one.annotation, one.annotation),
        "batch_size": options["batch_size"],
        "learning_rate": options["learning_rate"],
        "steps of the whole pool": options.get("steps"),
        "epochs": options.get("epochs"),
        "validation every": options.get("val_every", options.get("val_epochs")),
        "steady_statistics": options.get("recompute_bn_statistics", False),
        "mixed_precision": one.mixed_precision,
        "size": one.size,
        "starts from": {"encoder": "gcl", "": None if is_unet else "scratch"}.get(one.warm_start, one.warm_start),
        "encoder": options.get("encoder"),
        "adam": None if is_unet else [options["beta_1"], options["beta_2"], options["weight_decay"]],
        "cosine": options.get("cosine"),
    }


# --- compare ------------------------------------------------------------------------------------------------------


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, value) of every value in a JSON tree; empty tables and lists count as values."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from flatten(item, f"{path} > {name}" if path else str(name))
    else:
        yield path, value


def compare(paths: list[Path]) -> int:
    """Prints the differences between two records that are not meant. Returns their number."""
    before, after = (dict(flatten(json.loads(path.read_text()))) for path in paths)
    count, meant = 0, dict.fromkeys(MEANT, 0)
    for path in dict.fromkeys([*before, *after]):
        one, other = (json.dumps(side[path]) if path in side else "(absent)" for side in (before, after))
        if one == other:
            continue
        reason = next((pattern for pattern in MEANT if re.search(pattern, path)), None)
        if reason is None:
            count += 1
            print(f"{path}: {one} -> {other}")
        else:
            meant[reason] += 1
    for pattern, number in meant.items():
        print(f"{number} differences that are meant: {MEANT[pattern]}.")
    print(f"{len(before)} and {len(after)} values compared: {count or 'no'} differences.")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parents[1], help="the code")
    parser.add_argument("--out", type=Path, help="the record, a JSON file")
    parser.add_argument("--only", choices=("plans", "runs"), help="one part")
    parser.add_argument("--keep", type=Path, help="an absent folder, where data and runs stay")
    parser.add_argument("--repeat", type=Path, help="a folder of --keep: repeat its commands, record only that")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two records")
    args = parser.parse_args()
    if args.compare:
        sys.exit(bool(compare(args.compare)))
    if not args.out or (args.keep and args.keep.exists()):
        parser.error(f"{args.keep} exists already." if args.out else "Give --out=<file>, or --compare.")
    checkout = args.checkout.resolve()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "record"
        if args.repeat:
            found["again"] = record_again(args.repeat, root, checkout)
        if not args.repeat and args.only != "runs":
            found["plans"] = record_plans(checkout)
        if not args.repeat and args.only != "plans":
            found["runs"] = record_runs(Place(root, checkout))
        if args.keep:
            shutil.copytree(root, args.keep)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{sum(1 for _ in flatten(found))} values: {args.out}")


if __name__ == "__main__":
    main()
