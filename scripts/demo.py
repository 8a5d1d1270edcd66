"""A demonstration in minutes: from a folder of scans to segmentations, with twelve painted slices.

Walks the path of docs/from_slices_to_network.md on synthetic hearts: pretrains on scans without labels, chooses slices
by what the encoder learned and as many at random, paints both (the synthetic truth stands in for a person), trains on
either, lets UniMatch learn from the slices that nobody painted, segments a scan that it has not seen, and compares all
on ten test scans.

Command:
    python scripts/demo.py [--output=demo_output]      (what `make demo` runs)

A repeated command resumes an interrupted demonstration, and only rebuilds the report of a finished one.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from logging import getLogger
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import nibabel as nib
import numpy as np
from absl import flags, logging

from fewslice.core import app, backend
from fewslice.core.console import duration
from fewslice.settings import dataset_files
from fewslice.settings import stage_flags as stages
from fewslice.settings.al_flags import SelectArgs
from fewslice.settings.declare import settings_of
from fewslice.settings.flags import define, read_from
from fewslice.settings.predict_flags import PredictArgs
from fewslice.stages import run

FLAGS = flags.FLAGS
define(stages.Training, "seed")
flags.DEFINE_string("output", None, "Folder for data, runs and report. Default: demo_output/ in the checkout.")
flags.DEFINE_integer("global_n_iter", 300, "Steps of global pretraining.", lower_bound=1)
flags.DEFINE_integer("local_n_iter", 40, "Steps of local pretraining.", lower_bound=1)
flags.DEFINE_integer("seg_n_iter", 200, "Steps of each training with labels.", lower_bound=1)
flags.DEFINE_integer("unimatch_n_iter", 60, "Steps of UniMatch.", lower_bound=1)

POOL, VALIDATION, TEST = 28, 2, 10  # hearts without labels; with masks, to choose weights by; to compare on
NEW = POOL + VALIDATION + TEST + 1  # the heart that no training sees
SLICES = 12  # that are painted, of 266
STRUCTURES = ("rv", "myo", "lv")
STRATEGIES = {"hearts": "typiclust", "hearts_random": "random"}  # the same scans, painted in other slices
# A small network, normalised by each image itself: after few steps, gathered statistics are those of random weights.
NETWORK = ("--unet=8,16,32,64,64", "--normalisation=instance")
SMALL = ("img_size_x=64", "img_size_y=64", "target_resolution=3,3", "mtask_bs=5", "val_step_update=100")
CLOSING = """
Open
  {0}/report.html                 all methods side by side
  {0}/slices/hearts/gallery.png   the slices that were chosen; embedding_map.png: where they lie in the pool
  {0}/new_scan.png                the scan that no training has seen
The same with your own scans, in the checkout (docs/from_slices_to_network.md):
  python scripts/add_dataset.py --name=liver --images=scans/images --images_only --struct_names=liver,cyst
  python train_model/pretr_encoder_global_contrastive_loss.py --dataset=liver
  python train_model/select_slices.py --dataset=liver --budget=20 --strategy=typiclust --encoder=<run>
  python scripts/add_annotations.py --dataset=liver --from=<selection>       # once its slices are painted
  python train_model/ft_pretr_encoder_net_global_loss.py --dataset=liver --no_of_tr_imgs=trall
  python scripts/predict.py --run=<run> --images=new_scans --output=segmentations
"""


class Job(NamedTuple):
    """A training. It starts from the run of the job `start`, or from random weights."""

    label: str
    cls: type[stages.Training]
    dataset: str
    flags: tuple[str, ...]
    start: str = ""


def jobs() -> list[Job]:
    """Returns the trainings in their order."""
    encoder, decoder, chosen = "Encoder pretraining", "Decoder pretraining", "Chosen slices, pretrained"
    batch, labels = "--bt_size=6", ("--no_of_tr_imgs=trall", "--average_decay=0.95", "--dsc_loss=3")
    supervised, joint = (*labels, f"--n_iter={FLAGS.seg_n_iter}"), (*labels, f"--n_iter={FLAGS.unimatch_n_iter}")
    return [
        Job(encoder, stages.GlobalPretraining, "hearts", (batch, f"--n_iter={FLAGS.global_n_iter}")),
        Job(decoder, stages.LocalPretraining, "hearts", (batch, f"--n_iter={FLAGS.local_n_iter}"), encoder),
        Job("Random slices, random weights", stages.Baseline, "hearts_random", supervised),
        Job("Random slices, pretrained", stages.DecoderFineTuning, "hearts_random", supervised, decoder),
        Job(chosen, stages.DecoderFineTuning, "hearts", supervised, decoder),
        Job("Chosen slices, then UniMatch", stages.JointTraining, "hearts", (*joint, "--method=unimatch"), chosen),
    ]


def main(_) -> None:
    started, (encoder, decoder, *trainings) = time.monotonic(), jobs()
    getLogger("tensorflow").setLevel("ERROR")  # it warns of many networks in one process
    os.environ |= {"FEWSLICE_EXPERIMENTS": str(at("experiments")), "FEWSLICE_DATA": str(at("data"))}
    steps = [
        ("Synthetic hearts become two datasets without labels", add_scans),
        (f"{encoder.label}, without labels", partial(train, encoder)),
        (f"{decoder.label}, without labels", partial(train, decoder)),
        (f"Which {SLICES} slices to paint? By that encoder, and at random", partial(choose, encoder)),
        ("Painted slices become labels; other scans come with masks, to validate and test", annotate),
        *((f"Training: {job.label}", partial(train, job)) for job in trainings),
        ("A scan that no training has seen", partial(segment, trainings[-1])),
        ("Report", report),
    ]
    for number, (title, step) in enumerate(steps, start=1):
        logging.info("\n[%d/%d] %s (%s)", number, len(steps), title, duration(time.monotonic() - started))
        step()
    print(CLOSING.format(at()))
    logging.info("Done in %s.", duration(time.monotonic() - started))


def at(*parts: str) -> Path:
    """Returns a place in the folder of the demonstration."""
    return Path(FLAGS.output or dataset_files.checkout() / "demo_output").absolute().joinpath(*parts)


def phantom(heart: int, ending: str = "") -> Path:
    """Returns the file of a synthetic scan, or with the ending _gt of its true labels."""
    return at("data", "phantom", f"patient{heart:03d}", f"patient{heart:03d}_frame01{ending}.nii.gz")


def copy(source: Path, *folder: str) -> Path:
    """Copies the file of patient007 as heart007.nii.gz into a folder and returns its path."""
    target = at(*folder, source.parent.name.replace("patient", "heart") + ".nii.gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, target))


def call(script: str, *arguments: str) -> None:
    """Runs a script of this folder as a user does."""
    print(f"$ python scripts/{script} {' '.join(arguments)}", flush=True)
    path = Path(__file__).with_name(script)
    if status := subprocess.run([sys.executable, path, *arguments, f"--seed={FLAGS.seed}"], check=False).returncode:
        sys.exit(status)


def add_scans() -> None:
    from fewslice.data.phantom.dataset import generate_phantom

    generate_phantom(at("data", "phantom"), NEW, seed=FLAGS.seed)
    for dataset in STRATEGIES:
        if not at("experiments", f"init_{dataset}.py").exists():
            for heart in range(1, POOL + 1):
                images = copy(phantom(heart), "data", dataset, "images").parent
            structures = f"--struct_names={','.join(STRUCTURES)}"
            call("add_dataset.py", f"--name={dataset}", f"--images={images}", "--images_only", structures)


def arguments(cls: type[stages.ScriptFlags], dataset: str, *more: str) -> list[str]:
    """Returns flags of a stage with those that all share, as far as it has them."""
    texts = [f"--dataset={dataset}", f"--runs_dir={at('runs')}", f"--seed={FLAGS.seed}"]
    texts += [*NETWORK, *(f"--set={text}" for text in SMALL)] + ["--mixed_precision"] * backend.has_bfloat16_units()
    return [*(text for text in texts if text.partition("=")[0][2:] in settings_of(cls)), *more]


def train(job: Job) -> None:
    flag = "teacher" if job.cls is stages.JointTraining else "init_from"
    start = [f"--{flag}={run_of(other)}" for other in jobs() if other.label == job.start]
    run(*read_from(job.cls, arguments(job.cls, job.dataset, *job.flags, *start)))


def run_of(job: Job) -> Path:
    """Returns the folder of a finished training."""
    finished = at("runs", job.dataset, job.cls.stage).glob("*/DONE")
    return max(finished, key=lambda path: path.stat().st_mtime_ns).parent


def choose(encoder: Job) -> None:
    """Chooses slices for either dataset, draws them and writes the files to paint."""
    from fewslice.stages.select_slices import select_slices

    for dataset, strategy in STRATEGIES.items():
        how = [f"--strategy={strategy}", f"--budget={SLICES}", f"--encoder={run_of(encoder)}"]
        texts = arguments(SelectArgs, dataset, *how, f"--output={at('slices', dataset)}")
        select_slices(*read_from(SelectArgs, texts))


def paint(folder: Path) -> None:
    """Paints the listed slices of the files of a selection with the truth, as a person would."""
    with open(folder / "to_annotate" / "slices.csv", encoding="utf-8-sig", newline="") as file:
        listed = [(row["volume"], int(row["slice"])) for row in csv.DictReader(file)]
    for volume in {volume for volume, _ in listed}:
        blank = nib.load(folder / "to_annotate" / f"{volume}_annotation.nii.gz")
        truth, slices = voxels(phantom(int(volume[-3:]), "_gt")), [index for name, index in listed if name == volume]
        painted = np.asarray(blank.dataobj).copy()
        painted[..., slices] = truth[..., slices]
        nib.save(nib.Nifti1Image(painted, None, blank.header), folder / "annotated" / f"{volume}_annotation.nii.gz")


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def annotate() -> None:
    for dataset in STRATEGIES:
        paint(at("slices", dataset))
        call("add_annotations.py", f"--dataset={dataset}", f"--from={at('slices', dataset)}", "--val=0")
        for heart in range(POOL + 1, NEW):
            copy(phantom(heart), "data", dataset, "images")
            masks = copy(phantom(heart, "_gt"), "data", dataset, "masks").parent
        counts = "--sparse_labels=full", f"--val={VALIDATION}", f"--test={TEST}"
        call("add_annotations.py", f"--dataset={dataset}", f"--from={masks}", *counts)


def segment(job: Job) -> None:
    """Segments the new scan and draws it, beside the truth that a synthetic heart has."""
    from fewslice.core.files import write_bytes
    from fewslice.report.figures import contours, style
    from fewslice.stages.predict import predict

    scan, folder = copy(phantom(NEW), "new_scans"), at("segmentations")
    shutil.rmtree(folder, ignore_errors=True)  # may be of another number of steps
    texts = (f"--run={run_of(job)}", f"--images={scan}", f"--output={folder}")
    print(predict(read_from(PredictArgs, texts)).describe())
    spacing, case = nib.load(scan).header.get_zooms(), SimpleNamespace(image_path=scan)
    native = SimpleNamespace(case=case, image=voxels(scan), label=voxels(phantom(NEW, "_gt")), spacing_mm=spacing)
    rows = contours.case_rows(native, {"New scan": voxels(folder / scan.name)}, STRUCTURES)
    write_bytes(at("new_scan.png"), style.png_bytes(contours.plot_rows(rows, STRUCTURES)))


def report() -> None:
    """Prints the table and writes the figures and the report."""
    from fewslice.report.figures.native import fetch_from
    from fewslice.report.pages.trainings import save_figures, text_report, write_training_report
    from fewslice.report.reading.methods import Method
    from fewslice.report.reading.runs import read_run

    methods, fetch = [Method(job.label, (read_run(run_of(job)),)) for job in jobs()], fetch_from("hearts")
    print("\n" + text_report(methods))
    save_figures(methods, fetch, at("figures"))
    write_training_report(methods, at("report.html"), title="FewSlice demonstration", fetch=fetch)


if __name__ == "__main__":
    app.run(main)
