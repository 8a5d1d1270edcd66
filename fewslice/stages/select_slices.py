"""Chooses slices once: which slices of a folder of volumes to annotate first, or next.

    runs/<dataset>/select_slices/<strategy>-<digest>/
      query.csv  selection.json  gallery.png  embedding_map.png  config.json  versions.json  command.txt  logs/  DONE
    runs/<dataset>/select_slices/embeddings/<digest>.npy    vectors, shared by the selections with this encoder

Keras is imported after everything that can be refused without it has been checked.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.active import query as query_lib
from fewslice.active.measures.mfc import GRID
from fewslice.active.query import Choice, Query
from fewslice.active.selection_files import read_query, write_query, write_selection
from fewslice.active.slices import SCRIBBLE, SliceStack, open_pixels
from fewslice.active.units import Pool
from fewslice.core import backend, files
from fewslice.core.console import without_native_messages
from fewslice.core.errors import ConfigError
from fewslice.core.run import Run
from fewslice.data.cache import PreparedSet
from fewslice.report.figures import embedding_map, gallery
from fewslice.settings import datasets
from fewslice.settings.al_flags import SelectArgs
from fewslice.train.encoder_runs import NONE, EncoderRun, differences

_THUMBNAIL = (24, 24)  # of the map without an encoder


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """What was asked for, checked.

    Attributes:
        args: The flags.
        dataset: The dataset's settings.
        volumes: The prepared volumes, with scribbles if they are used.
        pool: Their slices.
        is_labelled: (N,) bool.
        budget: Slices to choose.
        options: Of the strategy, as it will get them.
        encoder: The encoder's run, "pixels" or None.
        network: The segmentation network's run, or None.
        notes: What the user should know about the choice, in words.
    """

    args: SelectArgs
    dataset: datasets.DatasetConfig
    volumes: PreparedSet
    pool: Pool
    is_labelled: np.ndarray
    budget: int
    options: Mapping[str, Any]
    encoder: EncoderRun | str | None
    network: EncoderRun | None
    notes: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """What the strategy needs."""
        return query_lib.STRATEGIES.get(self.args.strategy).needs

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the choice depends on, as JSON values."""
        args = self.args
        return {
            "stage": SelectArgs.stage,
            "dataset": args.dataset,
            "dataset_config": datasets.config_dict(self.dataset),
            "split": args.split,
            "comb_tr_imgs": args.comb_tr_imgs,
            "cases": [volume.case.case_id for volume in self.volumes],
            "scans_digest": self.volumes.digest,
            "labelled": files.digest(self.pool.unit_ids[self.is_labelled].tolist()),
            "strategy": args.strategy,
            "options": dict(self.options),
            "units": self.budget,
            "seed": args.seed,
            "encoder": self.encoder.digest if isinstance(self.encoder, EncoderRun) else self.encoder or NONE,
            "network": self.network.digest if self.network else None,
            "score": args.score if self.network else None,
            "with_scribbles": args.with_scribbles,
            "mixed_precision": args.mixed_precision,
        }


def select_slices(args: SelectArgs, dataset: datasets.DatasetConfig) -> Path:
    """Chooses slices, writes them with their pictures, and returns the folder. Nothing is done where it is finished.

    Raises:
        ConfigError: something that does not fit, all of it before any network is built.
        DataError: a file that is missing or wrong.
        FewSliceError: the file system refuses.
    """
    from fewslice.stages.selection_checks import check_selection

    selection = check_selection(args, dataset)
    with _open_run(selection) as run:
        if run.is_done:
            logging.info("Already finished: %s", run.dir)
            return run.dir
        with without_native_messages():  # Keras is imported here
            backend.configure(seed=args.seed, mixed_precision=args.mixed_precision)
            versions = backend.versions()
        run.start(versions)
        for note in (*selection.notes, *_encoder_notes(selection)):
            logging.info("%s", note)
        features = _features(selection, run.dir)
        choice = _choose(selection, features, run.dir)
        _draw(selection, features, choice, run.dir)
        facts = {"settings": selection.settings, "versions": versions, "notes": list(selection.notes)}
        facts |= {"encoder": args.encoder, "network": args.network, "budget": args.budget}
        write_selection(run.dir / "selection.json", selection.pool, selection.is_labelled, choice, facts=facts)
        del features
        shutil.rmtree(run.dir / "cache", ignore_errors=True)
        run.finish({"units": len(choice.indices)})
        _tell(selection, choice, run.dir)
    return run.dir


def _open_run(selection: Selection) -> Run:
    args = selection.args
    run = Run(args.runs_dir, args.dataset, SelectArgs.stage, args.strategy, selection.settings, n_iter=1)
    if args.output:
        folder = Path(args.output)
        if (folder / "config.json").exists():
            found = files.read_json(folder / "config.json")
            if not isinstance(found, dict) or found.get("digest") != run.digest:
                raise ConfigError(f"--output={folder} holds the result of other settings. Choose another folder.")
        run.dir, run.logs = folder, folder / "logs"
    return run


def _encoder_notes(selection: Selection) -> list[str]:
    if not isinstance(selection.encoder, EncoderRun):
        return []
    found = differences(selection.encoder, selection.dataset)
    return [f"The encoder was trained for other slices: {'; '.join(found)}."] if found else []


def _features(selection: Selection, folder: Path) -> np.ndarray | None:
    """Returns the vectors of all slices; None without an encoder. Those of a run are shared and stay."""
    if selection.encoder is None:
        return None
    from fewslice.learner.embeddings import embed_volumes

    args, settings = selection.args, selection.settings
    path = folder / "cache" / "features.npy"
    if isinstance(selection.encoder, EncoderRun):
        names = ("dataset_config", "cases", "scans_digest", "encoder", "mixed_precision")
        digest = files.digest({name: settings[name] for name in names})
        path = Path(args.runs_dir) / args.dataset / SelectArgs.stage / "embeddings" / f"{digest}.npy"
    return embed_volumes(
        selection.encoder,
        selection.volumes,
        selection.dataset,
        batch_size=args.batch_size,
        out_path=path,
        mixed_precision=args.mixed_precision,
    )


def _choose(selection: Selection, features: np.ndarray | None, folder: Path) -> Choice:
    """Returns the choice on disk, if there is one, or a new one, which is written."""
    path, pool = folder / "query.csv", selection.pool
    if not path.exists():
        given: dict[str, Any] = {"features": features}
        if query_lib.PIXELS in selection.needs:
            given["pixels"] = open_pixels(selection.volumes, folder / "cache", shape=GRID)
        if query_lib.MASKS in selection.needs:
            given["masks"] = _masks(selection)
        if selection.network is not None:
            given |= _ask_network(selection, folder)
        rng = np.random.default_rng([selection.args.seed, 0])
        ignored = selection.dataset.num_classes
        query = Query(pool, selection.is_labelled, selection.budget, rng, ignore_value=ignored, **given)
        write_query(path, pool, query_lib.select(selection.args.strategy, query, selection.options))
    return read_query(path, pool)


def _ask_network(selection: Selection, folder: Path) -> dict[str, np.ndarray]:
    """Returns the uncertainty of all slices and, where they are needed, the gradients."""
    from fewslice.learner.features import gradient_embeddings
    from fewslice.learner.slice_scores import score_slices
    from fewslice.train.networks import segmentation_network

    network = segmentation_network(selection.network, selection.dataset)
    slices, size = SliceStack(selection.volumes), selection.args.batch_size
    found = {"scores": score_slices(network, slices, score=selection.args.score, batch_size=size)}
    if query_lib.GRADIENTS in selection.needs:
        path = folder / "cache" / "gradients.npy"
        found["gradients"] = gradient_embeddings(network, slices, path=path, batch_size=size)
    return found


def _masks(selection: Selection) -> SliceStack | np.ndarray:
    """Returns the scribbles; without them an array of "not annotated" that takes no memory and that nothing reads."""
    if selection.args.with_scribbles:
        return SliceStack(selection.volumes, SCRIBBLE, size=GRID)
    return np.broadcast_to(np.uint8(selection.dataset.num_classes), (len(selection.pool), *GRID))


def _draw(selection: Selection, features: np.ndarray | None, choice: Choice, folder: Path) -> None:
    args, shown = selection.args, choice.indices[: gallery.MOST]
    what = f"{len(choice.indices)} of {len(selection.pool)} slices of {args.dataset} by {args.strategy}"
    scribbles = SliceStack(selection.volumes, SCRIBBLE).take(shown) if args.with_scribbles else None
    gallery.draw_gallery(
        folder / "gallery.png",
        SliceStack(selection.volumes).take(shown),
        gallery.pick_titles(selection.pool, choice),
        annotations=scribbles,
        num_classes=selection.dataset.num_classes,
        names=selection.dataset.struct_name,
        heading=gallery.with_value_note(what, choice),
    )
    source = {None: f"pixels at {_THUMBNAIL[0]} x {_THUMBNAIL[1]}", "pixels": "pixels"}.get(
        selection.encoder if isinstance(selection.encoder, str | None) else "", "embeddings"
    )
    projection = embedding_map.project(_thumbnails(selection.volumes) if features is None else features, seed=args.seed)
    projection = dataclasses.replace(projection, note=f"{source}: {projection.note}")
    marks = {"pool": selection.pool, "is_labelled": selection.is_labelled, "chosen": choice.indices}
    embedding_map.draw_embedding_map(folder / "embedding_map.png", projection, title=what, **marks)


def _thumbnails(volumes: PreparedSet) -> np.ndarray:
    """Returns (N, D) float32 small versions of all slices."""
    stack = SliceStack(volumes, size=_THUMBNAIL)
    return stack.take(range(len(stack))).reshape(len(stack), -1)


def _tell(selection: Selection, choice: Choice, folder: Path) -> None:
    pool = selection.pool
    logging.info(
        "Chose %d of %d slices (%.1f%%), from %d of %d volumes: %s",
        len(choice.indices),
        len(pool),
        100 * len(choice.indices) / len(pool),
        len(np.unique(pool.volumes[choice.indices])),
        len(np.unique(pool.volumes)),
        folder / "query.csv",
    )
    logging.info("Pictures: %s, %s", folder / "gallery.png", folder / "embedding_map.png")
