"""Records what the software computes, to show that a change of its code did not change its results.

For developers who move or rewrite code. Make a record with each checkout, on the same machine with the same versions of
the libraries, since weights are compared bit for bit:

    python tests/record.py --checkout=OLD --out=before.json        some minutes
    python tests/record.py --checkout=. --out=after.json
    python tests/record.py --compare before.json after.json        one line per difference

A record has two parts, of which `--only` makes one:

plans   what each round of each shipped experiment would do: strategy, options, features, scores, budgets
runs    what the commands write on small data: names of run folders, settings, queries, metrics, tables and the SHA-256
        of every array of weights, each stage at least once. Commands are called as a user calls them.

Times, versions, pictures and log texts are left out. `describe_plan` alone calls our own API.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
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
from typing import Any

import nibabel
import numpy as np
import yaml

POOLS = (270, 1000)  # units for which budgets are worked out
TIMES = ("seconds", "steps_per_s")
SKIPPED = ("versions.json", "command.txt", ".lock")
THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}

# --- small data ---------------------------------------------------------------------------------------------------

# The dataset "tiny": volumes of the phantom with few pixels in small splits.
INIT = """
data_path_tr_cropped = "cropped/tiny"
img_size_x = img_size_y = 32
target_resolution = (6.0, 6.0)
unlabeled_phases = ("ED",)
unlabeled_split = "al"
mtask_bs = batch_size_ft = val_step_update = 2
"""
SPLITS = """
train = {"tr1": {"c1": ["001"]}, "al": {"c1": ["001", "002", "003", "004"]}}
val = {"tr1": {"*": ["005"]}, "al": {"*": ["005"]}}
test = ["006", "007"]
unlabeled = ("al",)
"""


def write_settings(folder: Path, checkout: Path) -> None:
    """Writes the settings of both datasets and the small experiments."""
    folder.mkdir(parents=True)
    for kind, text in (("init", INIT), ("data_cfg", SPLITS)):
        source = checkout / "experiment_init" / f"{kind}_phantom.py"
        shutil.copy(source, folder)
        (folder / f"{kind}_tiny.py").write_text(source.read_text() + text)
    for name, groups in EXPERIMENTS.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump({**groups, "exp_dir": name}))


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
    """Returns a small experiment in the published form: each of two rounds queries a quarter of the slices."""
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
    "img_size_x=32", "img_size_y=32", "target_resolution=6,6", "network.steps=100", "network.val_every=2",
    "rounds=[0.02, 0.02]", "test=false", "encoder.batch_size=60",
)  # fmt: skip
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


class Place:
    """A folder with data, settings and runs, in which the commands of a checkout are called."""

    def __init__(self, root: Path, checkout: Path):
        self.root, self.checkout, self.runs = root, checkout, root / "runs"
        places = {"FEWSLICE_DATA": root / "data", "FEWSLICE_EXPERIMENTS": root / "settings", "PYTHONPATH": checkout}
        self.environment = os.environ | THREADS | QUIET | {name: str(path) for name, path in places.items()}

    def call(self, folder: str, script: str, *flags: str) -> dict[str, str]:
        """Calls a script. Returns what it printed and how it failed, without the path of this folder."""
        command = [sys.executable, f"{script}.py", *flags]
        where = {"cwd": self.checkout / folder, "env": self.environment}
        done = subprocess.run(command, **where, capture_output=True, text=True, check=False)
        if not done.returncode:
            return {"printed": self.shown(done.stdout)}
        print(f"FAILED: {' '.join([script, *flags])}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}", flush=True)
        return {"printed": self.shown(done.stdout), "failed": self.shown(done.stderr[-1000:])}

    def train(self, name: str) -> dict[str, str]:
        """Calls one of `COMMANDS`."""
        script, *flags = COMMANDS[name]
        dataset = [] if script == "run_al_exp" else ["--dataset=tiny"]
        flags = [re.sub(r"{(\w+):?([^}]*)}", self._named, flag) for flag in flags]
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
        return str(newest.parent)


# --- runs ---------------------------------------------------------------------------------------------------------


def record_runs(place: Place) -> dict[str, Any]:
    """Writes the data, calls all commands and returns what they left, by command, and the reports."""
    write_settings(place.root / "settings", place.checkout)
    place.call("scripts", "make_phantom")
    record: dict[str, Any] = {}
    for name in COMMANDS:
        before, started = set(place.run_dirs()), time.monotonic()
        answer = place.train(name)
        new = [path for path in place.run_dirs() if path not in before]
        record[name] = {path.parent.name: describe_run(path, place) for path in new}
        record[name] |= {"failed": answer["failed"]} if "failed" in answer else {}
        print(f"{name}: {len(new)} new run folder(s), {time.monotonic() - started:.0f} s", flush=True)
    for script, dataset in (("make_report", "tiny"), ("make_al_report", "tiny"), ("make_al_report", "phantom")):
        answer = place.call("scripts", script, f"--dataset={dataset}", f"--runs_dir={place.runs}")
        record[f"{script} {dataset}"] = answer | {"printed": answer["printed"].splitlines()}
    tables = sorted(place.runs.glob("*/run_al_exp/*.csv"))
    return record | {path.relative_to(place.runs).as_posix(): read_table(path) for path in tables}


def describe_run(folder: Path, place: Place) -> dict[str, Any]:
    """Returns the content of a run folder: its name, its settings, and one entry per result."""
    settings = json.loads(place.shown((folder / "config.json").read_text()))
    return {"folder": folder.name, "settings": settings, "files": dict(describe_files(folder, place))}


def describe_files(folder: Path, place: Place) -> Iterator[tuple[str, Any]]:
    """Yields (path in the folder, content without times, or checksums of arrays) of each file with results."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in SKIPPED or name == "config.json" or (path.name == "DONE" and "rounds" in path.parts):
            continue  # a round's DONE has checksums of files that hold times
        if path.suffix == ".csv":
            yield name, read_table(path)
        elif path.suffix == ".json" or path.name == "DONE":
            found = untimed(json.loads(place.shown(path.read_text())))
            of_times = ("sha256", "digest") if path.name == "DONE" else ()  # checksums of files that hold times
            yield name, {key: value for key, value in found.items() if key not in of_times} if of_times else found
        elif path.suffix == ".npz":
            with np.load(path) as archive:
                yield name, {key: describe_array(archive[key], key) for key in sorted(archive.files)}
        elif path.suffix == ".npy":
            yield name, describe_array(np.load(path))
        elif path.name.endswith((".nii", ".nii.gz")):
            image = nibabel.load(path)
            yield name, {"values": describe_array(np.asarray(image.dataobj)), "affine": image.affine.tolist()}


def read_table(path: Path) -> list[dict[str, str]]:
    """Returns the lines of a CSV file without the times, be they columns or lines of their own."""
    with open(path, newline="") as file:
        return [untimed(row) for row in csv.DictReader(file) if row.get("metric") not in TIMES]


def untimed(value: Any) -> Any:
    """Returns a JSON value without what depends on the clock or the versions of libraries."""
    if isinstance(value, dict):
        return {name: untimed(item) for name, item in value.items() if name not in (*TIMES, "versions")}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def describe_array(array: np.ndarray, name: str = "") -> Any:
    """Returns type, shape and checksum of an array; of the JSON record in an archive its content without times."""
    if name == "record.json":
        found = untimed(json.loads(array.tobytes()))
        later = ("run", "sha256 of record and arrays")  # not in those of older versions
        return {key: value for key, value in found.items() if key not in later}
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype} {array.shape} {digest}"


# --- plans --------------------------------------------------------------------------------------------------------


def experiment_files(checkout: Path) -> dict[str, Path]:
    """Returns name -> path of every shipped experiment; of two with one name, the one deeper below `experiments/`."""
    paths = sorted((checkout / "experiments").rglob("*.yml"), key=lambda path: (len(path.parts), path))
    return {path.stem: path for path in paths}


def record_plans(checkout: Path) -> dict[str, Any]:
    """Returns name -> plan of each shipped experiment."""
    sys.path.insert(0, str(checkout))
    os.environ.update(QUIET)
    from fewslice import active, learner  # noqa: F401  all names
    from fewslice.active import annotators  # noqa: F401
    from fewslice.settings.load import load_experiment

    return {name: describe_plan(load_experiment(path)) for name, path in experiment_files(checkout).items()}


def describe_plan(one: Any) -> dict[str, Any]:
    """Returns the plan of an experiment in the words of a record."""
    plans = [one.plans(count) for count in POOLS]
    plan = {"dataset": one.dataset, "split": one.split, "comb": one.comb, "seed": one.seed}
    plan |= {"annotator": one.annotator, "test": one.test, "name": one.name, "network": _describe_network(one)}
    return plan | {"rounds": [_describe_round(one, *parts) for parts in zip(*plans, strict=True)]}


def _describe_round(one: Any, *plans: Any) -> dict[str, Any]:
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
        found["embedded at once"] = query.features.options["batch_size"]
    return found


def _describe_network(one: Any) -> dict[str, Any]:
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


def compare(paths: list[Path], ignored: str) -> int:
    """Prints the differences between two records, without those whose path matches `ignored`. Returns their number."""
    before, after = (dict(flatten(json.loads(path.read_text()))) for path in paths)
    lines, meant = [], 0
    for path in dict.fromkeys([*before, *after]):
        one, other = (json.dumps(side[path]) if path in side else "(absent)" for side in (before, after))
        if one != other and ignored and re.search(ignored, path):
            meant += 1
        elif one != other:
            lines.append(f"{path}: {one} -> {other}")
    count = f"{len(lines) or 'no'} differences, {meant} ignored"
    print(*lines, f"{len(before)} and {len(after)} values compared: {count}.", sep="\n")
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).resolve().parents[1], help="the code")
    parser.add_argument("--out", type=Path, help="the record, a JSON file")
    parser.add_argument("--only", choices=("plans", "runs"), help="one part")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two records")
    parser.add_argument("--ignore", default="", metavar="REGEX", help="with --compare: paths of intended differences")
    args = parser.parse_args()
    if args.compare:
        sys.exit(bool(compare(args.compare, args.ignore)))
    if not args.out:
        parser.error("Give --out=<file>, or --compare.")
    checkout = args.checkout.resolve()
    record: dict[str, Any] = {}
    if args.only != "runs":
        record["plans"] = record_plans(checkout)
    if args.only != "plans":
        with tempfile.TemporaryDirectory() as folder:
            record["runs"] = record_runs(Place(Path(folder) / "record", checkout))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{sum(1 for _ in flatten(record))} values: {args.out}")


if __name__ == "__main__":
    main()
