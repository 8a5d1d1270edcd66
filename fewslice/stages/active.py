"""An experiment of active learning: from its settings to its run directory.

runs/<dataset>/run_al_exp/<name>-<digest>/
    config.json versions.json command.txt DONE logs/run.log report.html
    pool.csv        index, unit_id, patient, volume, position, depth; not of patches, which are too many
    cache/          embeddings and pixels of the pool
    rounds/000/     see `fewslice.active.loop`

What can be refused without a network is refused before Keras is imported.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

import fewslice.learner  # noqa: F401  makes all names known
from fewslice.active import round_files, stopping
from fewslice.active.annotators import ANNOTATIONS, ANNOTATORS, Annotator, Task, WaitingForAnnotations
from fewslice.active.annotators.file_exchange import BACK
from fewslice.active.labels import Labels, join
from fewslice.active.loop import Loop
from fewslice.active.pool import Crops, open_pool
from fewslice.active.query import MASKS, STRATEGIES, Choice
from fewslice.active.selection_files import read_labelled, read_query, read_scores
from fewslice.active.units import Units
from fewslice.core import backend, checkpoint, files
from fewslice.core.errors import ConfigError, FewSliceError, few
from fewslice.core.run import Run
from fewslice.data import cache
from fewslice.data.batches.group import GroupSampler
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.readers.base import visible
from fewslice.data.readers.patients import warn_of_shared_names
from fewslice.data.volume import Case, with_channel_axis
from fewslice.report.figures import gallery, uncertainty
from fewslice.report.pages.experiments import results_path, write_experiment_report
from fewslice.settings import datasets, facts
from fewslice.settings.declare import settings_of
from fewslice.settings.experiment import ENCODER, Experiment, RoundPlan
from fewslice.settings.group_contrastive import GroupContrastive
from fewslice.settings.load import load_experiment
from fewslice.settings.stage_flags import GroupPretraining
from fewslice.settings.yaml import YamlFile
from fewslice.stages import checks
from fewslice.stages.select_slices import prefiller
from fewslice.train.encoder_runs import EncoderRun, find_encoder

STAGE = "run_al_exp"
_POOL_COLUMNS = ("index", "unit_id", "patient", "volume", "position", "depth")


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """An experiment that has passed all checks that need no network.

    Attributes:
        overrides: Attributes of the dataset that differ from its file, "name=value".
        pool, val, test: Patients whose units can be annotated, that choose the network, and that score it.
        runs: Key of the experiment -> the run that it names.
    """

    experiment: Experiment
    dataset: datasets.DatasetConfig
    overrides: Sequence[str]
    pool: Sequence[str]
    val: Sequence[str]
    test: Sequence[str]
    runs: Mapping[str, EncoderRun]

    def describe(self) -> str:
        """Returns a sentence on the experiment: dataset, rounds, strategies, networks, patients."""
        experiment, queries = self.experiment, self.experiment.round_queries()
        strategies = ", ".join(dict.fromkeys(query.strategy.name for query in queries))
        return (
            f"{experiment.name}: {self.dataset.name}, {len(queries)} rounds by {strategies}; "
            f"{experiment.members.count} x {experiment.network.name} on {experiment.annotation}s of "
            f"{len(self.pool)} patients, {len(self.val)} validate, {len(self.test)} test."
        )


def prepare(path: str | YamlFile, overrides: Mapping[str, str], *, data_root: str | Path | None = None) -> Job:
    """Loads and checks an experiment and its dataset.

    Args:
        path: The experiment's file, or what it would say.
        overrides: Key of the experiment, or attribute of the dataset -> value as text.
        data_root: Folder below which all datasets lie; default: that of the settings.

    Raises:
        ConfigError, DataError: what is wrong.
    """
    changed = {name: value for name, value in overrides.items() if name in datasets.ATTRIBUTES}
    experiment = load_experiment(path, {name: value for name, value in overrides.items() if name not in changed})
    for name, side in zip(("img_size_x", "img_size_y"), experiment.size or (), strict=False):
        if changed.setdefault(name, str(side)) != str(side):
            raise ConfigError(f"--set {name}={changed[name]}, but the experiment says {side}. Give one of them.")
    dataset = datasets.load_dataset_config(experiment.dataset, changed, data_root=data_root)
    encoder = experiment.encoder if experiment.encoder and not experiment.encoder.run else None
    sizes = experiment.network.options.get("batch_size", 1), encoder.batch_size if encoder else 1
    checks.refuse_large_batch(dataset, max(sizes))
    patients = _patients(experiment, dataset)
    if encoder:
        checks.check_groups(encoder, find_cases(get_reader(dataset), patients[0], dataset.unlabeled_phases))
    named = {"encoder.run": experiment.encoder.run if experiment.encoder else "", "warm_start": experiment.warm_start}
    runs = {
        key: find_encoder(run, dataset, flag=f"set {key}") for key, run in named.items() if run not in ("", ENCODER)
    }
    return Job(experiment, dataset, [f"{name}={value}" for name, value in changed.items()], *patients, runs)


def _patients(experiment: Experiment, dataset: datasets.DatasetConfig) -> tuple[Sequence[str], ...]:
    """Returns the patients of pool, validation and test, after finding all their files."""
    try:
        pool, val = datasets.check_labeled_split(dataset, experiment.split, experiment.comb)
    except ConfigError as error:
        keys = {"split --no_of_tr_imgs": "`split`", "--no_of_tr_imgs": "split", "--comb_tr_imgs": "comb"}
        text = functools.reduce(lambda text, old: text.replace(old, keys[old]), keys, str(error))
        lists = ", ".join(dataset.splits.labelled_keys()) or "none"
        raise ConfigError(f"The pool: {text} Labelled lists of {dataset.name}: {lists}.") from error
    test = dataset.splits.test
    reader = get_reader(dataset)
    for patients in (pool, val, test if experiment.test else ()):
        if patients:
            find_cases(reader, patients, dataset.unlabeled_phases)
    warn_of_shared_names(reader, pool, val)
    return pool, val, test


def run_and_report(
    job: Job,
    *,
    runs_dir: str,
    resume: bool = True,
    prefill: str | None = None,
    accept: Sequence[str] = (),
    redo_round: int | None = None,
) -> Path:
    """Runs all rounds of an experiment, resuming where an earlier call was interrupted, and writes its report.

    Returns the run folder.

    Args:
        prefill, accept, redo_round: See `AlArgs`; for annotators that are persons.

    Raises:
        FewSliceError: what the user can mend.
        Interrupted: Ctrl-C or a termination signal; everything is saved.
    """
    if job.experiment.annotator != "files" and (prefill or accept or redo_round is not None):
        text = "--prefill, --accept and --redo_round are for files that a person paints (`annotator: files`). With"
        raise ConfigError(f"{text} `annotator: {job.experiment.annotator}` the labels are those of the dataset.")
    parts = _Parts(job, runs_dir, prefill, accept)
    run = parts.open_run(resume)
    start, units, values = Labels(parts.pool, job.dataset.num_classes), *parts.painted(run.dir)
    start = round_files.read_start(run.dir, start)
    plans = job.experiment.plans(len(parts.pool), len(start) or len(units))  # refused before anything is written
    with run:
        report = run.dir / "report.html"
        results = results_path(report)
        round_files.check_plans(run.dir, plans)  # of a finished run too
        if redo_round is not None:
            parts.reopen(run.dir, redo_round)
        _log_changed(run.dir)
        is_finished, why = stopping.are_finished(run.dir, start, len(plans), job.experiment.stop)
        if is_finished and run.is_done:
            if not (report.exists() and results.exists()):  # killed before they were written
                write_experiment_report([run.dir], report)
            logging.info("Already finished: %s%s", report, f" (it ended early: {why})" if why else "")
            return run.dir
        backend.configure(seed=job.experiment.seed, mixed_precision=job.experiment.mixed_precision)
        run.start(backend.versions())
        if len(units):
            round_files.write_start(run.dir, start, units, values)
            start = round_files.read_start(run.dir, start)
        if len(start):
            logging.info("%d units are painted already; rounds add to them.", len(start))
        text = "%s: a pool of %d units of %d volumes, %d rounds up to %d units."
        logging.info(text, run.dir, len(parts.pool), len(parts.volumes), len(plans), plans[-1].units)
        if not parts.pool.can_overlap:
            _write_pool(run.dir / "pool.csv", parts.pool)
        try:
            labels, why = parts.loop(run.dir, plans, start).run(plans)
        except WaitingForAnnotations as work:
            logging.info("%s", work)
            return run.dir
        results.unlink(missing_ok=True)  # of fewer rounds
        run.finish({"units": len(labels), "ended_early": why} if why else {"units": plans[-1].units})
        write_experiment_report([run.dir], report)
        logging.info("Finished: %s", report)
    return run.dir


class _Parts:
    """The volumes, the pool, the run directory and the loop of an experiment."""

    def __init__(self, job: Job, runs_dir: str, prefill: str | None = None, accept: Sequence[str] = ()):
        self.job, self.experiment, self.dataset, self.runs_dir = job, job.experiment, job.dataset, runs_dir
        self.annotation, self.accept = ANNOTATIONS.get(self.experiment.annotation), accept
        self.prefill = prefiller(prefill, self.dataset, is_dense=self.annotation.is_dense)
        self.reads_labels = getattr(ANNOTATORS.get(self.experiment.annotator), "reads_labels", False)
        reads, array = self.reads_labels, self.annotation.array
        is_drawn = array == "scribble" or self._looks_at_masks
        self.volumes = self._open(job.pool, with_label=reads and array == "label", with_scribble=reads and is_drawn)
        self.val = self._open(job.val, with_label=True)
        self.test = self._open(job.test, with_label=True) if self.experiment.test and job.test else None
        reader = get_reader(self.dataset)
        self.pool = open_pool(
            self.volumes, self.experiment.unit, [reader.patient_facts(volume.case) for volume in self.volumes]
        )

    @property
    def _looks_at_masks(self) -> bool:
        chosen = [query.strategy for query in self.experiment.round_queries()]
        return any(MASKS in STRATEGIES.get(one.name).needs and one.options.get("use_labels", True) for one in chosen)

    def _open(self, patients: Sequence[str], **annotations: bool) -> cache.PreparedSet:
        return cache.open_volumes(self.dataset, patients, self.dataset.unlabeled_phases, **annotations)

    def open_run(self, resume: bool) -> Run:
        """Returns the run directory. Rounds can be added later, so they are no part of its digest.

        Raises:
            FewSliceError: it is to be started afresh, but holds what a person has annotated.
        """
        experiment = self.experiment
        roles = {"pool": self.volumes, "val": self.val} | ({"test": self.test} if self.test is not None else {})
        settings = experiment.settings() | {
            "stage": STAGE,
            "dataset_config": datasets.config_dict(self.dataset),
            "cases": {role: [volume.case.case_id for volume in prepared] for role, prepared in roles.items()},
            "scans_digest": {role: prepared.digest for role, prepared in roles.items()},
            "backend": backend.name(),
            "annotator": experiment.annotator,
            "weights_sha256": {key: run.digest for key, run in self.job.runs.items()},
        }
        if experiment.mixed_precision:
            settings["half_precision_networks"] = True  # runs without this say so too, but were trained in float32
        count = len(experiment.rounds)
        known = facts.of_experiment({**settings, "n_iter": count}, unit=f"{experiment.unit.name}s")
        known["orientation"] = self.dataset.orientation  # new scans are turned alike
        where = (self.runs_dir, self.dataset.name, STAGE, experiment.name)
        run = Run(*where, settings, n_iter=count, resume=resume, facts=known)
        drawn = [] if resume else sorted((run.dir / "rounds").glob(f"*/{BACK}/*"))
        if drawn:
            raise FewSliceError(
                f"--noresume would delete what a person has annotated, {len(drawn)} files such as {drawn[0]}. Move "
                "them elsewhere, or choose another `name`."
            )
        return run

    def painted(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Returns units (n,) that the dataset's partial labels annotate, and the labels (V,) of their boxes.

        None where a run keeps its own already: labels that are added to the dataset later change nothing in it.

        Raises:
            ConfigError: stored labels are to answer for a person, and there are not enough of them.
        """
        units, found = [], []
        if self.dataset.ignore_label is None or round_files.has_start(folder) or self.pool.can_overlap:
            return np.array(units, np.int64), join(found)
        if self.reads_labels and self.annotation.array == "label":
            open_ones = [volume.case.case_id for volume in self.volumes if not volume.is_complete]
            if open_ones:
                raise ConfigError(
                    f"`annotator: simulated` takes the stored labels of all units, but {few(open_ones)} are annotated "
                    "in part only. Write `annotator: files`: the experiment then starts from what is painted."
                )
            return np.array(units, np.int64), join(found)
        cases = [volume.case for volume in self.volumes if volume.case.label_path is not None]
        labels = {each.case.case_id: each.label for each in cache.open_cache(self.dataset, cases, with_label=True)}
        for unit in range(len(self.pool)):
            box = self.pool.box(unit)
            label = labels.get(self.pool.cases[box.case].case_id)
            if label is not None and (label[box.slices] < self.dataset.num_classes).any():
                units.append(unit)
                found.append(label[box.slices])
        return np.array(units, np.int64), join(found)

    def loop(self, folder: Path, plans: Sequence[RoundPlan], start: Labels) -> Loop:
        """Returns the loop of rounds with everything that takes part; `start` is annotated before them."""
        from fewslice.learner.evidence import PoolEvidence
        from fewslice.learner.learner import Learner

        parts = (self.dataset, self.volumes, self.pool, folder / "cache")
        evidence = PoolEvidence(*parts, lambda: self.encoder)
        return Loop(
            folder=folder,
            pool=self.pool,
            evidence=evidence.table(),
            ignore_value=self.dataset.num_classes,
            start=start,
            stop=self.experiment.stop,
            annotator=self.annotator,
            learner=Learner(self.dataset, self.volumes, self.val, self.test, self._origin(), plans),
            picture=self._draw,
        )

    @cached_property
    def annotator(self) -> Annotator:
        """Who annotates."""
        task = Task(self.pool, self.volumes, self.dataset, self.annotation, self.accept, self.prefill)
        return ANNOTATORS.get(self.experiment.annotator)(task)

    def reopen(self, run: Path, number: int) -> None:
        """Opens a round whose files a person has corrected; see `round_files.reopen`."""
        folder = round_files.folder_of(run, number)
        if not (folder / round_files.QUERY).exists():
            raise ConfigError(f"--redo_round={number}: {run} has not begun this round.")
        if not (folder / round_files.LABELS).exists():
            return  # it waits for its files anyway
        units = read_query(folder / round_files.QUERY, self.pool).indices
        beside = round_files.reopen(folder, join(self.annotator.annotate(folder, units)))
        if beside:
            (run / "DONE").unlink(missing_ok=True)
        kept = f"is done again; it and later rounds as they were lie in {beside}"
        same = f"has the labels of the files in {folder / BACK} already"
        logging.info("Round %d %s.", number, kept if beside else same)

    @cached_property
    def encoder(self) -> EncoderRun:
        """The run of the experiment's encoder, which is trained at the first call."""
        return self.job.runs.get("encoder.run") or find_encoder(str(self._train_encoder()), self.dataset)

    def _train_encoder(self) -> Path:
        """Returns the run directory of the pretrained encoder, after training it where it is not finished.

        It is a run of its stage like any other, so that experiments with the same settings share it. Its `ver` is the
        number of epochs: an encoder that is trained longer for another experiment lies beside it.
        """
        from fewslice.stages.contrastive import pretrain_group_encoder

        experiment, encoder = self.experiment, self.experiment.encoder
        args, dataset = GroupPretraining(
            dataset=experiment.dataset,
            set=tuple(self.job.overrides),
            data_root=str(self.dataset.data_root),
            runs_dir=self.runs_dir,
            no_of_tr_imgs=experiment.split,
            comb_tr_imgs=experiment.comb,
            mixed_precision=experiment.mixed_precision,
            seed=experiment.seed,
            ver=encoder.epochs,
            **{name: getattr(encoder, name) for name in settings_of(GroupContrastive)},
        ).completed()
        sampler = GroupSampler(checks.open_hierarchy(args, dataset), checks.group_plan(args), seed=args.seed)
        steps = encoder.epochs * len(sampler.batches(0))
        return pretrain_group_encoder(dataclasses.replace(args, n_iter=steps), dataset)

    def _origin(self) -> Any:
        """Returns the weights from which every network starts."""
        from fewslice.train.setup import Origin

        first = self.experiment.warm_start
        if not first:
            return Origin()
        run = self.encoder if first == ENCODER else self.job.runs["warm_start"]
        weights, record, sha256 = checkpoint.load_weights(run.weights)
        return Origin(run.weights, weights, sha256, record.get("step", "unknown"))

    def _draw(self, path: Path, choice: Choice, labels: Sequence[np.ndarray] | None) -> None:
        crops, shown = Crops(self.volumes, self.pool, dims=3), range(min(gallery.MOST, len(choice.indices)))
        cases = [self.volumes[self.pool.box(unit).case].case for unit in choice.indices[: gallery.MOST]]
        gallery.draw_gallery(
            path,
            [_middle(crops[choice.indices[place]], cases[place]) for place in shown],
            gallery.pick_titles([self.pool.name(unit) for unit in choice.indices], choice.values),
            annotations=None if labels is None else [_middle(labels[place], cases[place]) for place in shown],
            num_classes=self.dataset.num_classes,
            names=self.dataset.struct_name,
            heading=f"Round {int(path.parent.name)}: {len(choice.indices)} {self.experiment.unit.name} units",
        )
        self._draw_uncertainty(path.parent, choice)

    def _draw_uncertainty(self, folder: Path, choice: Choice) -> None:
        """Draws the maps and the scores of a round, as far as its query asks for them."""
        number = int(folder.name)
        query = self.experiment.round_queries()[number]
        if not (query.save_maps or query.save_uncerts) or not (folder / round_files.SCORE_TABLE).exists():
            return  # the first rounds may choose at random
        scores = read_scores(folder / round_files.SCORE_TABLE)
        before = round_files.folder_of(folder.parents[1], number - 1) / round_files.LABELLED
        for unit in read_labelled(before, self.pool) if number else ():
            scores.pop(self.pool.name(unit), None)  # no candidate
        name, chosen = query.score.name, {self.pool.name(unit) for unit in choice.indices}
        if query.save_uncerts:
            values = [scores[one] for one in chosen], list(scores.values())
            title = f"Round {number}: {len(chosen)} of {len(scores)} {self.experiment.unit.name} units"
            uncertainty.draw_densities(folder / "scores.png", values[1], values[0], name=name, title=title)
        if query.save_maps:
            maps = {
                v.case.case_id: np.load(folder / round_files.MAPS / f"{v.case.case_id}.npy", "r") for v in self.volumes
            }
            limits = min(map(np.min, maps.values())), max(float(np.percentile(one, 99.9)) for one in maps.values())
            for volume in self.volumes:
                case = volume.case.case_id
                predicted = np.load(folder / round_files.MAPS / f"{case}_prediction.npy")
                arrays = (with_channel_axis(volume.image), maps[case], predicted)
                uncertainty.draw_panel(
                    folder / round_files.MAPS / f"{case}.png",
                    *(_middle(array, volume.case) for array in arrays),
                    None if volume.label is None else _middle(volume.label, volume.case).astype(int),
                    limits=limits,
                    scores=list(scores.values()),
                    score=scores.get(case, math.nan),
                    title=f"{case}, round {number}" + (", chosen" if case in chosen else ""),
                    name=name,
                )


def _log_changed(run: Path) -> None:
    """Logs which files of a person changed after their round was read."""
    for labels in sorted(run.glob(f"rounds/*/{round_files.LABELS}")):
        back, read = labels.parent / BACK, labels.stat().st_mtime
        newer = [path.name for path in visible(back) if path.stat().st_mtime > read] if back.is_dir() else []
        if newer:
            text = "Changed in %s since its round was read: %s. --redo_round=%d takes what is there now."
            logging.warning(text, back, few(newer), int(labels.parent.name))


def _middle(box: np.ndarray, case: Case) -> np.ndarray:
    """Returns the middle slice of a box (slices, rows, columns, ...), upright."""
    return gallery.upright(box[len(box) // 2], case)


def _write_pool(path: Path, pool: Units) -> None:
    names = ("unit_ids", "patients", "volumes", "positions", "depths")
    columns = zip(*(getattr(pool, name).tolist() for name in names), strict=True)
    rows = [dict(zip(_POOL_COLUMNS, (index, *values), strict=True)) for index, values in enumerate(columns)]
    files.write_csv(path, rows, _POOL_COLUMNS)
