"""A demonstration in minutes: does pretraining without labels help a network that sees one labelled volume?

Writes the synthetic `phantom` dataset, pretrains on its unlabelled volumes, shows which slices the pretrained encoder
would have annotated, trains the same network with and without that pretraining (same seed, same steps, same labelled
volume), and compares them on ten test volumes.

Command:
    python scripts/demo.py [--output=demo_output]      (what `make demo` runs)

A repeated command resumes an interrupted demonstration, and only rebuilds the report of a finished one.
"""

from __future__ import annotations

import time
from pathlib import Path

from absl import flags, logging

from fewslice.core import app
from fewslice.core.console import duration
from fewslice.settings.declare import settings_of
from fewslice.settings.flags import define, read_from
from fewslice.settings.stage_flags import (
    Baseline,
    DecoderFineTuning,
    EncoderFineTuning,
    GlobalPretraining,
    LocalPretraining,
    Training,
)

FLAGS = flags.FLAGS
define(Training, "seed")
flags.DEFINE_string("output", None, "Folder for data, runs and report. Default: demo_output/ in the checkout.")
flags.DEFINE_integer("global_n_iter", 700, "Steps of global pretraining.", lower_bound=1)
flags.DEFINE_integer("local_n_iter", 60, "Steps of local pretraining.", lower_bound=1)
flags.DEFINE_integer("seg_n_iter", 250, "Steps of each training with labels.", lower_bound=1)
flags.DEFINE_integer("num_patients", 40, "Synthetic patients; the split lists need 40.", lower_bound=40)

# Many small steps bring more than few large ones in the same time.
LABELS = ("--no_of_tr_imgs=tr1", "--comb_tr_imgs=c1", "--average_decay=0.95", "--set=mtask_bs=10")


def stages() -> list[tuple[str, type[Training], list[str]]]:
    """Returns (title, class of flags, flags) of the five trainings."""
    from_global, from_local = (f"--pretr_n_iter={steps}" for steps in (FLAGS.global_n_iter, FLAGS.local_n_iter))
    labelled = [*LABELS, f"--n_iter={FLAGS.seg_n_iter}"]
    local = [f"--n_iter={FLAGS.local_n_iter}", from_global]
    return [
        ("Baseline: one labelled volume, random weights", Baseline, labelled),
        ("Global pretraining of the encoder, without labels", GlobalPretraining, [f"--n_iter={FLAGS.global_n_iter}"]),
        ("Fine-tuning from that encoder, same labelled volume", EncoderFineTuning, [*labelled, from_global]),
        ("Local pretraining of the decoder, without labels", LocalPretraining, local),
        ("Fine-tuning from both, same labelled volume", DecoderFineTuning, [*labelled, from_local]),
    ]


def main(_) -> None:
    from fewslice.core import backend
    from fewslice.core.progress import Progress
    from fewslice.data.phantom.dataset import generate_phantom
    from fewslice.settings import dataset_files

    started = time.monotonic()
    output = Path(FLAGS.output or dataset_files.checkout() / "demo_output")
    common = ["--dataset=phantom", f"--data_root={output / 'data'}", f"--runs_dir={output / 'runs'}"]
    common += [f"--seed={FLAGS.seed}", "--bt_size=6"]
    if backend.has_bfloat16_units():
        common.append("--mixed_precision")
    logging.info("Writing %d synthetic patients to %s", FLAGS.num_patients, output / "data" / "phantom")
    with Progress(FLAGS.num_patients, "Synthetic patients") as progress:
        folder = output / "data" / "phantom"
        generate_phantom(folder, FLAGS.num_patients, seed=FLAGS.seed, progress=lambda *_: progress.update())
    logging.info("Loading TensorFlow ...")
    backend.load()
    from fewslice.stages import begin, contrastive, segmentation

    functions = {
        Baseline: segmentation.train_baseline,
        GlobalPretraining: contrastive.pretrain_encoder,
        EncoderFineTuning: segmentation.fine_tune_encoder,
        LocalPretraining: contrastive.pretrain_decoder,
        DecoderFineTuning: segmentation.fine_tune_encoder_decoder,
    }
    for number, (title, stage, values) in enumerate(stages(), start=1):
        logging.info("\n[%d/5] %s (%s)", number, title, duration(time.monotonic() - started))
        known = [text for text in common if text.partition("=")[0][2:] in settings_of(stage)]
        functions[stage](*begin(*read_from(stage, known + values)))
    select(output, common)
    report(output)
    logging.info("\nDone in %s.", duration(time.monotonic() - started))


def select(output: Path, common: list[str]) -> None:
    """Chooses twelve slices that stand for the pool, by what the pretrained encoder learned, and draws them."""
    from fewslice.settings.al_flags import SelectArgs
    from fewslice.stages.select_slices import select_slices

    logging.info("\nWhich slices would be worth annotating? (k-center on the encoder's embeddings)")
    stage = output / "runs" / "phantom" / GlobalPretraining.stage
    encoder = max(stage.glob("*/DONE"), key=lambda path: path.stat().st_mtime_ns).parent
    known = [text for text in common if not text.startswith("--bt_size")]
    folder = select_slices(
        *read_from(SelectArgs, [*known, f"--encoder={encoder}", "--strategy=kcenter", "--budget=12"])
    )
    print(f"Slices: {(folder / 'gallery.png').resolve()}\nMap:    {(folder / 'embedding_map.png').resolve()}")


def report(output: Path) -> None:
    """Prints the table and writes the figures and the report of the finished runs."""
    from fewslice.report.figures.native import fetch_from
    from fewslice.report.pages.trainings import save_figures, text_report, write_training_report
    from fewslice.report.reading.methods import read_methods
    from fewslice.report.reading.runs import choose_trainings

    methods = read_methods(choose_trainings([], output / "runs", "phantom"))
    fetch = fetch_from("phantom", output / "data")
    print("\n" + text_report(methods))
    for figure in save_figures(methods, fetch, output / "figures"):
        print(f"Figure: {figure.resolve()}")
    path = write_training_report(methods, output / "report.html", title="FewSlice demonstration", fetch=fetch)
    print(f"Report: {path.resolve()}")


if __name__ == "__main__":
    app.run(main)
