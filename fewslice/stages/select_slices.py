"""Choosing slices once: which slices of some volumes to annotate first, or next. One round without a learner.

    runs/<dataset>/select_slices/<strategy>-<digest>/
      plan.json  query.csv  checksums.json  scores.csv  selection.json  gallery.png  embedding_map.png  stands_for.csv
      config.json  versions.json  command.txt  logs/  DONE
      to_annotate/  annotated/    files for a person, see `fewslice.active.annotators.file_exchange`
    runs/<dataset>/select_slices/embeddings/<digest>.npy    embeddings, shared by the selections with this encoder

What can be refused without a network is refused before Keras is imported.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.active import query as query_lib
from fewslice.active.annotators import ANNOTATIONS, Task
from fewslice.active.annotators.file_exchange import BACK, HANDED_OUT, FileExchange
from fewslice.active.labels import Labels
from fewslice.active.loop import Loop
from fewslice.active.pool import SCRIBBLE, SLICES, Crops, open_pool
from fewslice.active.query import FEATURES, GRADIENTS, MASKS, SCORES, STRATEGIES, Choice
from fewslice.active.round_files import SUMS
from fewslice.active.selection_files import budget_units, read_labelled, read_query, write_selection
from fewslice.active.stand_ins import EQUAL, NAME, doubts, write_stand_ins
from fewslice.active.units import Units
from fewslice.core import backend, files
from fewslice.core.errors import ConfigError, DataError, few
from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.segment import predict_volume
from fewslice.data.volume import Case
from fewslice.learner.kinds import image_key
from fewslice.learner.trained import find_segmentation
from fewslice.report.figures import embedding_map, gallery
from fewslice.settings import datasets, facts
from fewslice.settings.al_flags import SelectArgs
from fewslice.settings.experiment import PASS_MEANS, Named, QuerySettings, RoundPlan
from fewslice.settings.splits import val_patients
from fewslice.stages.checks import refuse_test_patients
from fewslice.train import encoder_runs
from fewslice.train.encoder_runs import NONE, PIXELS, EncoderRun, find_encoder

_THUMBNAIL = (24, 24)  # of the map without an encoder
_USE_LABELS = "use_labels"  # option of strategies that look at annotations


def select_slices(args: SelectArgs, dataset: datasets.DatasetConfig) -> Path:
    """Chooses slices, writes them with their pictures, and returns the folder. Nothing is done where it is finished.

    Raises:
        ConfigError: something that does not fit, all of it before any network is built.
        DataError: a file that is missing or wrong.
        FewSliceError: the file system refuses.
    """
    selection = Selection(args, dataset)
    with selection.open_run() as run:
        selection.folder = run.dir
        if run.is_done:
            logging.info("Already finished: %s", run.dir)
            selection.hand_out()
            return run.dir
        backend.configure(seed=args.seed, mixed_precision=args.mixed_precision)
        versions = backend.versions()
        run.start(versions)
        selection.notes += selection.differences()
        for note in selection.notes:
            logging.info("%s", note)
        choice = selection.choose()
        looked_at = selection.features if FEATURES in STRATEGIES.get(args.strategy).needs else None
        for note in (found := doubts(selection.pool, choice.indices, looked_at)):
            if note != EQUAL:  # the query has said so
                logging.warning("%s", note)
        selection.notes += found
        selection.draw(choice)
        known = {"settings": selection.settings, "versions": versions, "notes": selection.notes}
        known |= {"encoder": args.encoder, "network": args.network, "budget": args.budget}
        write_selection(run.dir / "selection.json", selection.pool, selection.is_labelled, choice, facts=known)
        del selection.features
        shutil.rmtree(run.dir / "cache", ignore_errors=True)
        (run.dir / SUMS).unlink(missing_ok=True)  # DONE vouches from now on
        run.finish({"units": len(choice.indices)})
        count, pool = len(choice.indices), selection.pool
        text = "Chose %d of %d slices (%.1f%%), from %d of %d volumes: %s, with pictures beside it."
        volumes = len(np.unique(pool.case_of(choice.indices))), len(pool.cases)
        logging.info(text, count, len(pool), 100 * count / len(pool), *volumes, run.dir / "query.csv")
        selection.hand_out()
    return run.dir


class Selection:
    """A checked request: pool, strategy, encoder. Prepares missing volumes of the pool.

    Attributes:
        pool: All slices of `volumes`.
        is_labelled: (N,) bool.
        budget: Slices to choose.
        options: Of the strategy, as it will get them.
        encoder: The encoder's run, "pixels" or None.
        network: The segmentation network's run, or None.
        notes: What the user should know about the choice, in words.
        folder: Where the result comes to lie.

    Raises:
        ConfigError: an unknown strategy or option, something the strategy needs and that was not given, wrong runs.
        DataError: volumes or files that are missing or wrong.
    """

    folder: Path

    def __init__(self, args: SelectArgs, dataset: datasets.DatasetConfig):
        self.args, self.dataset = args, dataset
        self.options, self.notes = check_strategy(args)
        self.encoder = PIXELS if args.encoder == PIXELS else find_encoder(args.encoder, dataset)
        self.network = find_segmentation(args.network, dataset) if args.network else None
        self.prefill = prefiller(args.prefill, dataset, is_dense=args.annotation == "mask")
        if args.labelled and not Path(args.labelled).is_file():
            remedy = "Give a CSV file with a column unit_id, such as the query.csv of an earlier selection."
            raise DataError(args.labelled, expected="a list of annotated slices", found="no such file", remedy=remedy)
        cases, reader = _cases(args, dataset), get_reader(dataset)
        self.volumes = cache.open_cache(dataset, cases, with_label=False, with_scribble=args.with_scribbles)
        self.pool: Units = open_pool(self.volumes, SLICES, [reader.patient_facts(case) for case in cases])
        self.is_labelled = np.zeros(len(self.pool), bool)
        if args.labelled:
            self.is_labelled[read_labelled(Path(args.labelled), self.pool)] = True
        self.budget = budget_units(args.budget, len(self.pool))
        if not self.budget:
            raise ConfigError(f"--budget={args.budget} chooses no slice. Give 1 or more, or a share such as 5%.")

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the choice depends on, as JSON values."""
        args, flags = self.args, ("dataset", "split", "comb_tr_imgs", "strategy", "seed")
        return {
            "stage": SelectArgs.stage,
            **{name: getattr(args, name) for name in (*flags, "with_scribbles", "mixed_precision")},
            "dataset_config": datasets.config_dict(self.dataset),
            "cases": [volume.case.case_id for volume in self.volumes],
            "scans_digest": self.volumes.digest,
            "labelled": files.digest(self.pool.unit_ids[self.is_labelled].tolist()),
            "options": dict(self.options),
            "units": self.budget,
            "encoder": self.encoder.digest if isinstance(self.encoder, EncoderRun) else self.encoder or NONE,
            "network": self.network.digest if self.network else None,
            "score": args.score if self.network else None,
            **({"annotation": args.annotation} if args.annotation == "scribble" else {}),  # so that its reader knows
        }

    def open_run(self) -> Run:
        """Returns the run directory, or `--output` with the files of one."""
        args = self.args
        where = (args.runs_dir, args.dataset, SelectArgs.stage, args.strategy)
        run = Run(*where, self.settings, n_iter=1, facts=facts.of_selection(self.settings))
        if args.output:
            run.dir, run.logs = Path(args.output), Path(args.output) / "logs"
            config = files.read_record(run.dir / "config.json") if (run.dir / "config.json").exists() else None
            if config is not None and config.get("digest") != run.digest:
                raise ConfigError(f"--output={run.dir} holds the result of other settings. Choose another folder.")
        return run

    def differences(self) -> list[str]:
        """Returns sentences on how the slices differ from those of the encoder's training, and on what this lacks."""
        is_run = isinstance(self.encoder, EncoderRun)
        differing = encoder_runs.differences(self.encoder, self.dataset) if is_run else []
        notes = [f"The encoder was trained for other slices: {'; '.join(differing)}."] if differing else []
        return notes + (encoder_runs.doubts(self.encoder) if is_run else [])

    def choose(self) -> Choice:
        """Returns the choice on disk, if there is one, or a new one, which is written."""
        from fewslice.learner.evidence import PoolEvidence

        args, count = self.args, int(self.is_labelled.sum()) + self.budget
        score = Named(args.score) if self.network else None
        query = QuerySettings(strategy=Named(args.strategy, self.options), score=score)
        plan = RoundPlan(0, count / len(self.pool), count, query, train=False, seed=args.seed)
        parts = (self.dataset, self.volumes, self.pool, self.folder / "cache")
        evidence = PoolEvidence(*parts, lambda: self.encoder, self, batch_size=args.batch_size)
        table = evidence.table() | {FEATURES: lambda _: self.features}
        loop = Loop(self.folder, self.pool, table, self.dataset.num_classes)
        nothing = Labels(self.pool, self.dataset.num_classes)
        loop.round(self.folder, plan, labels=nothing, is_labelled=self.is_labelled)
        return read_query(self.folder / "query.csv", self.pool)

    @cached_property
    def features(self) -> np.ndarray | None:
        """Embeddings of all slices; None without an encoder. Those of a run are shared and stay."""
        if self.encoder is None:
            return None
        from fewslice.learner.features import embed

        path, args, settings = self.folder / "cache" / "features.npy", self.args, self.settings
        if isinstance(self.encoder, EncoderRun):
            names = ("dataset_config", "cases", "scans_digest", "encoder", "mixed_precision")
            digest = files.digest({name: settings[name] for name in names})
            path = Path(args.runs_dir) / args.dataset / SelectArgs.stage / "embeddings" / f"{digest}.npy"
        how = {"batch_size": args.batch_size, "path": path, "mixed_precision": args.mixed_precision}
        key = image_key(self.volumes, self.pool, self.dataset)
        return embed(self.encoder, Crops(self.volumes, self.pool), self.dataset, key=key, **how)

    def best(self, _situation: Any) -> tuple[Any, Any]:
        """Returns the kind of network and `--network`; see `fewslice.learner.evidence`."""
        from fewslice.learner.learner import load_network

        return self.network.network, load_network(self.network.network, self.dataset, self.network.weights)

    def members(self, situation: Any) -> tuple[Any, list[tuple[Any, int]]]:
        """Returns the kind of network, and the network with its seed."""
        network, model = self.best(situation)
        return network, [(model, self.args.seed)]

    def hand_out(self) -> None:
        """Writes the files that a person paints, unless they are there, and says which command takes them."""
        args, dataset, folder = self.args, self.dataset, self.folder
        if args.annotation == "none":
            return
        then = f"python ../scripts/add_annotations.py --dataset={args.dataset} --from={folder}"
        annotation = ANNOTATIONS.get(args.annotation)
        exchange = FileExchange(Task(self.pool, self.volumes, dataset, annotation, prefill=self.prefill))
        exchange.hand_out(folder, read_query(folder / "query.csv", self.pool).indices, then=then)
        text = "Paint the %ss of %s (its README.txt says how), put them into %s, then: %s"
        logging.info(text, args.annotation, folder / HANDED_OUT, folder / BACK, then)

    def draw(self, choice: Choice) -> None:
        """Draws the choice, and where it lies in the pool."""
        args, shown = self.args, choice.indices[: gallery.MOST]
        what = f"{len(choice.indices)} of {len(self.pool)} slices of {args.dataset} by {args.strategy}"

        def planes(crops: Crops) -> list[np.ndarray]:
            cases = (self.volumes[self.pool.box(int(unit)).case].case for unit in shown)
            return [gallery.upright(crop, case) for crop, case in zip(crops.take(shown), cases, strict=True)]

        scribbles = planes(Crops(self.volumes, self.pool, SCRIBBLE)) if args.with_scribbles else None
        features, source = self.features, "pixels" if self.encoder == PIXELS else "embeddings"
        if features is None:
            thumbnails = Crops(self.volumes, self.pool, size=_THUMBNAIL).take(range(len(self.pool)))
            features = thumbnails.reshape(len(self.pool), -1)
            source = f"pixels at {_THUMBNAIL[0]} x {_THUMBNAIL[1]}"
        counts = write_stand_ins(self.folder / NAME, self.pool, choice.indices, features)
        gallery.draw_gallery(
            self.folder / "gallery.png",
            planes(Crops(self.volumes, self.pool)),
            gallery.pick_titles(self.pool.unit_ids[choice.indices], choice.values, counts),
            annotations=scribbles,
            num_classes=self.dataset.num_classes,
            names=self.dataset.struct_name,
            heading=gallery.with_value_note(what, choice.values, counts),
        )
        projection = embedding_map.project(features, seed=args.seed)
        projection = dataclasses.replace(projection, note=f"{source}: {projection.note}")
        share = self.pool.positions / np.maximum(self.pool.depths - 1, 1)
        marks = {"share": share, "is_labelled": self.is_labelled, "chosen": choice.indices}
        embedding_map.draw_embedding_map(self.folder / "embedding_map.png", projection, title=what, **marks)


def check_strategy(args: SelectArgs) -> tuple[dict[str, Any], list[str]]:
    """Returns the options of the strategy as it will get them, and what the user should know about them.

    Raises:
        ConfigError: unknown strategy or options; something it needs is not given.
    """
    strategy = STRATEGIES.get(args.strategy)
    query_lib.check_options(args.strategy, args.strategy_options)
    options, notes, needs = dict(args.strategy_options), [], strategy.needs
    if args.strategy == "vaal":
        raise ConfigError(
            "The strategy 'vaal' needs a discriminator that is trained on what is annotated, so it belongs to rounds "
            "of training (run_al_exp.py). Choose another one."
        )
    if PASS_MEANS in needs:
        text = f"The strategy {args.strategy!r} compares dropout passes, so it belongs to rounds of training "
        raise ConfigError(text + "(run_al_exp.py). Choose another one, such as power.")
    for need, given in ((FEATURES, args.encoder != NONE), (SCORES, args.network), (GRADIENTS, args.network)):
        if need in needs and not given:
            raise query_lib.lacking(args.strategy, need)
    if MASKS in needs and not args.with_scribbles:
        if _USE_LABELS not in query_lib.strategy_options(args.strategy) or options.get(_USE_LABELS):
            raise ConfigError(
                f"The strategy {args.strategy!r} looks at annotations that exist before anything is chosen. Where the "
                f"dataset has scribbles give --with_scribbles; otherwise --options {_USE_LABELS}=false."
            )
        if _USE_LABELS not in options:
            notes.append(
                "There are no scribbles before anything is annotated: all pixels weigh the same (use_labels=false). "
                "--with_scribbles uses those that the dataset has."
            )
        options[_USE_LABELS] = False
    if args.network and not set(needs) & {SCORES, GRADIENTS} and not options.get("uncertainty_wt"):
        notes.append(f"--network has no effect: {args.strategy} looks neither at scores nor at gradients.")
    if args.with_scribbles and not (MASKS in needs and options.get(_USE_LABELS, True)):
        notes.append(f"--with_scribbles has no effect: {args.strategy} looks at no scribbles.")
    return options, notes


def prefiller(
    run: str | None, dataset: datasets.DatasetConfig, *, is_dense: bool
) -> Callable[[cache.PreparedVolume], np.ndarray] | None:
    """Returns prepared volume -> labels with which masks begin, see `Task`; None without a run of `--prefill`.

    The network is built at the first call.

    Raises:
        ConfigError: no run of a segmentation network; what is painted are no masks.
    """
    if not run:
        return None
    if not is_dense:
        raise ConfigError("--prefill begins masks. Let the annotation be `mask`, or leave it out.")
    found = find_segmentation(run, dataset, flag="prefill")

    @functools.cache
    def network() -> Callable[[np.ndarray], np.ndarray]:
        from fewslice.learner.learner import load_ensemble

        return load_ensemble([found], dataset, dataset.mtask_bs)

    return lambda volume: predict_volume(volume, network(), dataset=dataset)[1]


def _cases(args: SelectArgs, dataset: datasets.DatasetConfig) -> list[Case]:
    """Returns the volumes of the pool; refuses test patients, and logs validation ones."""
    patients = dataset.splits.train_ids(args.split, args.comb_tr_imgs)
    cases = find_cases(get_reader(dataset), patients, args.phases)
    refuse_test_patients(dataset, args.split, patients)
    shared = sorted(set(patients) & val_patients(dataset.splits))
    if shared:
        text = "%s holds validation patients (%s). Slices of these that are chosen should not be trained on."
        logging.info(text, args.split, few(shared))
    return cases
