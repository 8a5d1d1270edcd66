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
from dataclasses import dataclass
from pathlib import Path

from absl import flags, logging

from fewslice.core import app
from fewslice.core.console import duration
from fewslice.settings import dataset_files
from fewslice.settings.al_flags import SelectArgs
from fewslice.settings.declare import settings_of
from fewslice.settings.flags import define, read_from
from fewslice.settings.predict_flags import PredictArgs
from fewslice.settings.stage_flags import (
    Baseline,
    DecoderFineTuning,
    GlobalPretraining,
    JointTraining,
    LocalPretraining,
    Training,
)

FLAGS = flags.FLAGS
define(Training, "seed")
flags.DEFINE_string("output", None, "Folder for data, runs and report. Default: demo_output/ in the checkout.")
flags.DEFINE_integer("global_n_iter", 500, "Steps of global pretraining.", lower_bound=1)
flags.DEFINE_integer("local_n_iter", 60, "Steps of local pretraining.", lower_bound=1)
flags.DEFINE_integer("seg_n_iter", 200, "Steps of each training with labels.", lower_bound=1)
flags.DEFINE_integer("unimatch_n_iter", 100, "Steps of UniMatch.", lower_bound=1)

POOL, VALIDATION, TEST = 28, 2, 10  # hearts without labels, with masks to choose weights by, with masks to compare on
NEW = POOL + VALIDATION + TEST + 1  # the heart that no training sees
SLICES = 12  # that are painted, of about 250
STRUCTURES = ("rv", "myo", "lv")
CHOSEN, RANDOM = "hearts", "hearts_random"  # two datasets of the same scans, since their painted slices differ
STRATEGIES = {CHOSEN: "typiclust", RANDOM: "random"}
SMALL = ("img_size_x=96", "img_size_y=96", "target_resolution=2,2", "mtask_bs=10", "val_step_update=50")
AVERAGED = "--average_decay=0.95"  # many small steps bring more than few large ones in the same time


@dataclass(frozen=True)
class Job:
    """A training. It starts from the run of the job `start`, or from random weights."""

    label: str
    cls: type[Training]
    dataset: str
    flags: tuple[str, ...]
    start: str = ""


def jobs() -> list[Job]:
    """Returns the trainings in their order."""
    encoder, decoder, chosen = "Encoder pretraining", "Encoder + decoder pretraining", "Chosen slices, pretrained"
    labelled = ("--no_of_tr_imgs=trall", f"--n_iter={FLAGS.seg_n_iter}", AVERAGED)
    joint = ("--no_of_tr_imgs=trall", f"--n_iter={FLAGS.unimatch_n_iter}", AVERAGED, "--method=unimatch")
    return [
        Job(encoder, GlobalPretraining, CHOSEN, (f"--n_iter={FLAGS.global_n_iter}", "--bt_size=6")),
        Job(decoder, LocalPretraining, CHOSEN, (f"--n_iter={FLAGS.local_n_iter}", "--bt_size=6"), encoder),
        Job("Random slices, random weights", Baseline, RANDOM, labelled),
        Job("Random slices, pretrained", DecoderFineTuning, RANDOM, labelled, decoder),
        Job(chosen, DecoderFineTuning, CHOSEN, labelled, decoder),
        Job("Chosen slices, then UniMatch", JointTraining, CHOSEN, joint, chosen),
    ]


def main(_) -> None:
    started = time.monotonic()
    output = Path(FLAGS.output or dataset_files.checkout() / "demo_output").absolute()
    os.environ |= {"FEWSLICE_EXPERIMENTS": str(output / "experiments"), "FEWSLICE_DATA": str(output / "data")}
    encoder, decoder, *trainings = jobs()
    steps = [
        ("Synthetic scans", lambda: write_scans(output)),
        ("The scans become datasets without labels", lambda: add_datasets(output)),
        (f"{encoder.label} on {POOL} scans without labels", lambda: train(output, encoder)),
        (f"{decoder.label} on the same", lambda: train(output, decoder)),
        (f"Which {SLICES} slices to paint? By that encoder, and at random", lambda: choose(output, encoder)),
        ("Painted files become labels; scans with masks come to validate and test", lambda: annotate(output)),
        *((f"Training: {job.label}", lambda job=job: train(output, job)) for job in trainings),
        ("A scan that no training has seen", lambda: segment(output, trainings[-1])),
        ("Report", lambda: report(output)),
    ]
    for number, (title, step) in enumerate(steps, start=1):
        logging.info("\n[%d/%d] %s (%s)", number, len(steps), title, duration(time.monotonic() - started))
        step()
    print(CLOSING.format(output=output, experiments=output / "experiments"))
    logging.info("Done in %s.", duration(time.monotonic() - started))


CLOSING = """
Open
  {output}/report.html              all methods side by side
  {output}/chosen/gallery.png       the slices that were chosen; embedding_map.png: where they lie
  {output}/new_scan.png             the scan that no training has seen
With your own scans, in the checkout (docs/from_slices_to_network.md):
  python scripts/add_dataset.py --name=liver --images=scans/images --images_only --struct_names=liver,cyst
  python train_model/pretr_encoder_global_contrastive_loss.py --dataset=liver
  python train_model/select_slices.py --dataset=liver --budget=20 --strategy=typiclust --encoder=<run>
  python scripts/add_annotations.py --dataset=liver --from=<selection>      # once they are painted
  python train_model/ft_pretr_encoder_net_global_loss.py --dataset=liver --no_of_tr_imgs=trall
  python scripts/predict.py --run=<run> --images=new_scans --output=segmentations
"""


def name_of(heart: int) -> str:
    return f"heart{heart:03d}"


def phantom(output: Path, heart: int, *, ending: str = "") -> Path:
    """Returns the file of a synthetic scan, or with the ending _gt of its true labels."""
    return output / "data" / "phantom" / f"patient{heart:03d}" / f"patient{heart:03d}_frame01{ending}.nii.gz"


def copy(source: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def write_scans(output: Path) -> None:
    """Writes the hearts, and copies those of the pool into the folders of images."""
    from fewslice.core.progress import Progress
    from fewslice.data.phantom.dataset import generate_phantom

    with Progress(NEW, "Hearts") as progress:
        generate_phantom(output / "data" / "phantom", NEW, seed=FLAGS.seed, progress=lambda *_: progress.update())
    for dataset in STRATEGIES:
        for heart in range(1, POOL + 1):
            copy(phantom(output, heart), output / "data" / dataset / "images" / f"{name_of(heart)}.nii.gz")


def call(script: str, *arguments: str) -> None:
    """Runs a script of this folder as a user does."""
    print(f"$ python scripts/{script} {' '.join(arguments)}", flush=True)
    path = Path(__file__).with_name(script)
    done = subprocess.run([sys.executable, str(path), *arguments, f"--seed={FLAGS.seed}"], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def add_datasets(output: Path) -> None:
    for dataset in STRATEGIES:
        if not (output / "experiments" / f"init_{dataset}.py").exists():
            images = f"--images={output / 'data' / dataset / 'images'}"
            call("add_dataset.py", f"--name={dataset}", images, "--images_only", f"--struct_names={','.join(STRUCTURES)}")


def common(output: Path, cls: type, dataset: str) -> list[str]:
    """Returns the flags that all stages share, as far as a stage has them."""
    from fewslice.core import backend

    texts = [f"--dataset={dataset}", f"--runs_dir={output / 'runs'}", f"--seed={FLAGS.seed}"]
    texts += [f"--set={text}" for text in SMALL] + ["--mixed_precision"] * backend.has_bfloat16_units()
    return [text for text in texts if text.partition("=")[0][2:] in settings_of(cls)]


def train(output: Path, job: Job) -> None:
    from fewslice.core import backend

    backend.load()
    from fewslice.stages import begin, contrastive, segmentation
    from fewslice.stages.joint.stage import train_joint

    functions = {
        GlobalPretraining: contrastive.pretrain_encoder,
        LocalPretraining: contrastive.pretrain_decoder,
        Baseline: segmentation.train_baseline,
        DecoderFineTuning: segmentation.fine_tune_encoder_decoder,
        JointTraining: train_joint,
    }
    start = next((f"--init_from={run_of(output, other)}" for other in jobs() if other.label == job.start), None)
    flags = [*common(output, job.cls, job.dataset), *job.flags, *([start] if start else [])]
    functions[job.cls](*begin(*read_from(job.cls, flags)))


def run_of(output: Path, job: Job) -> Path:
    """Returns the folder of a finished training."""
    finished = (output / "runs" / job.dataset / job.cls.stage).glob("*/DONE")
    return max(finished, key=lambda path: path.stat().st_mtime_ns).parent


def selection_of(output: Path, dataset: str) -> Path:
    return output / {CHOSEN: "chosen", RANDOM: "random"}[dataset]


def choose(output: Path, encoder: Job) -> None:
    """Chooses slices for either dataset, draws them and hands out files to paint."""
    from fewslice.stages.select_slices import select_slices

    for dataset, strategy in STRATEGIES.items():
        flags = [f"--strategy={strategy}", f"--budget={SLICES}", f"--output={selection_of(output, dataset)}"]
        flags += [f"--encoder={run_of(output, encoder)}"]
        select_slices(*read_from(SelectArgs, [*common(output, SelectArgs, dataset), *flags]))


def paint(output: Path, selection: Path) -> None:
    """Paints the listed slices of the files of a selection with the truth, as a person would."""
    import nibabel as nib
    import numpy as np

    with open(selection / "to_annotate" / "slices.csv", encoding="utf-8-sig", newline="") as file:
        listed = list(csv.DictReader(file))
    for name in {row["volume"] for row in listed}:
        slices = [int(row["slice"]) for row in listed if row["volume"] == name]
        blank = nib.load(selection / "to_annotate" / f"{name}_annotation.nii.gz")
        truth = nib.load(phantom(output, int(name.removeprefix("heart")), ending="_gt"))
        painted = np.array(blank.dataobj)
        painted[..., slices] = np.asarray(truth.dataobj)[..., slices]
        nib.save(nib.Nifti1Image(painted, None, blank.header), selection / "annotated" / f"{name}_annotation.nii.gz")


def annotate(output: Path) -> None:
    """Makes labels of the painted slices; then further scans come with masks, to validate and to test."""
    for dataset in STRATEGIES:
        selection, data = selection_of(output, dataset), output / "data" / dataset
        paint(output, selection)
        call("add_annotations.py", f"--dataset={dataset}", f"--from={selection}", "--val=0")
        for heart in range(POOL + 1, NEW):
            copy(phantom(output, heart), data / "images" / f"{name_of(heart)}.nii.gz")
            copy(phantom(output, heart, ending="_gt"), data / "masks" / f"{name_of(heart)}.nii.gz")
        counts = f"--val={VALIDATION}", f"--test={TEST}"
        call("add_annotations.py", f"--dataset={dataset}", f"--from={data / 'masks'}", "--sparse_labels=full", *counts)


def segment(output: Path, job: Job) -> None:
    """Segments the new scan and draws outlines, beside the truth that the synthetic heart has."""
    from types import SimpleNamespace

    import nibabel as nib
    import numpy as np

    from fewslice.core.files import write_bytes
    from fewslice.report.figures import contours, style
    from fewslice.stages.predict import predict

    scan, folder = output / "new_scans" / f"{name_of(NEW)}.nii.gz", output / "segmentations"
    copy(phantom(output, NEW), scan)
    flags = [f"--run={run_of(output, job)}", f"--images={scan}", f"--output={folder}"]
    print(predict(read_from(PredictArgs, flags)).describe())
    image, truth, found = (nib.load(path) for path in (scan, phantom(output, NEW, ending="_gt"), folder / scan.name))
    native = SimpleNamespace(
        image=np.asarray(image.dataobj), label=np.asarray(truth.dataobj), spacing_mm=image.header.get_zooms()
    )
    rows = contours.case_rows(native, {f"{name_of(NEW)}: {job.label}": np.asarray(found.dataobj)}, STRUCTURES)
    write_bytes(output / "new_scan.png", style.png_bytes(contours.plot_rows(rows, STRUCTURES)))


def report(output: Path) -> None:
    """Prints the table and writes the figures and the report of the finished runs."""
    from fewslice.report.figures.native import fetch_from
    from fewslice.report.pages.trainings import save_figures, text_report, write_training_report
    from fewslice.report.reading.methods import Method
    from fewslice.report.reading.runs import read_run

    methods = [Method(job.label, (read_run(run_of(output, job)),)) for job in jobs()]
    fetch = fetch_from(CHOSEN)
    print("\n" + text_report(methods))
    save_figures(methods, fetch, output / "figures")
    write_training_report(methods, output / "report.html", title="FewSlice demonstration", fetch=fetch)


if __name__ == "__main__":
    app.run(main)
