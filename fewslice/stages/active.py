"""A whole experiment of active learning: from its settings to its run directory.

runs/<dataset>/run_al_exp/<exp_dir>-<digest>/
    config.json versions.json command.txt DONE logs/run.log report.html
    pool.csv        index, unit_id, patient, volume, position, depth
    cache/          embeddings and pixels of the pool
    rounds/000/     see `fewslice.active.loop`
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from absl import logging

from fewslice.active import annotators, round_files, strategies
from fewslice.active.annotators import MASK, SCRIBBLE, Task, WaitingForAnnotations
from fewslice.active.annotators.file_exchange import BACK
from fewslice.active.budgets import cumulative_budgets, cumulative_fractions, training_shares
from fewslice.active.loop import Loop, RoundPlan
from fewslice.active.query import Choice
from fewslice.active.slices import SliceStack, pool_of_volumes
from fewslice.active.strategies.vaal import VaalOptions
from fewslice.active.units import Pool
from fewslice.core import backend, files
from fewslice.core.errors import ConfigError, FewSliceError
from fewslice.core.run import Run
from fewslice.data.readers import get_reader
from fewslice.learner.evidence import Sources
from fewslice.learner.learner import Learner
from fewslice.report.figures.gallery import draw_gallery, pick_titles
from fewslice.report.pages.experiment_html import results_path, write_experiment_report
from fewslice.settings import datasets
from fewslice.settings.compat.al_config import Experiment
from fewslice.settings.compat.al_selection import vaal_options
from fewslice.stages.active_checks import Job, named_runs
from fewslice.stages.active_encoder import initial_weights, train_encoder
from fewslice.train import setup
from fewslice.train.encoder_runs import find_encoder

STAGE = "run_al_exp"
_POOL_COLUMNS = ("index", "unit_id", "patient", "volume", "position", "depth")
_SCORING_BATCH = 16  # slices scored at a time


def run_and_report(job: Job, *, runs_dir: str, resume: bool = True) -> None:
    """Runs all rounds of an experiment, continuing where an earlier call was interrupted, and writes its report.

    Args:
        job: The experiment.
        runs_dir: Folder of all runs.
        resume: Continue what is there; otherwise it is removed first.

    Raises:
        FewSliceError: what the user can mend.
        Interrupted: Ctrl-C or a termination signal; everything is saved.
    """
    parts = _Parts(job, runs_dir)
    plans = round_plans(job.experiment, len(parts.pool))
    with parts.open_run(resume) as run:
        report = run.dir / "report.html"
        results = results_path(report)
        round_files.check_plans(run.dir, [dataclasses.asdict(plan) for plan in plans])
        if run.is_done and round_files.are_finished(run.dir, parts.pool, len(plans)):
            if not (report.exists() and results.exists()):  # killed before they were written
                write_experiment_report([run.dir], report)
            logging.info("Already finished: %s", report)
            return
        backend.configure(seed=job.experiment.seed, mixed_precision=job.experiment.model.is_half_precision)
        run.start(backend.versions())
        text = "%s: a pool of %d slices of %d volumes, %d rounds up to %d slices."
        logging.info(text, run.dir, len(parts.pool), len(parts.volumes), len(plans), plans[-1].units)
        _write_pool(run.dir / "pool.csv", parts.pool)
        try:
            parts.loop(run.dir).run(plans)
        except WaitingForAnnotations as work:
            logging.info("%s", work)
            return
        results.unlink(missing_ok=True)  # of fewer rounds
        run.finish({"units": plans[-1].units})
        write_experiment_report([run.dir], report)
        logging.info("Finished: %s", report)


class _Parts:
    """What takes part in an experiment."""

    def __init__(self, job: Job, runs_dir: str):
        self.experiment, self.dataset, self.overrides = job.experiment, job.dataset, job.overrides
        self.runs_dir, experiment, dataset, roles = runs_dir, job.experiment, job.dataset, job.roles
        annotators.load_all()
        is_simulated = getattr(annotators.ANNOTATORS.get(experiment.policy.annotator), "reads_labels", False)
        wants_masks = any(selection.masks for selection in experiment.selections)
        kind, phases = experiment.model.ann_type, dataset.unlabeled_phases
        self.volumes = setup.open_volumes(
            dataset,
            roles.pool,
            phases,
            with_label=is_simulated and kind == MASK,
            with_scribble=is_simulated and (kind == SCRIBBLE or wants_masks),
        )
        self.val = setup.open_volumes(dataset, roles.val, phases, with_label=True)
        has_test = experiment.policy.ensemble_kwargs.inf_test
        self.test = setup.open_volumes(dataset, roles.test, phases, with_label=True) if has_test else None
        reader = get_reader(dataset)
        self.pool = pool_of_volumes(self.volumes, [reader.patient_facts(volume.case) for volume in self.volumes])

    def open_run(self, resume: bool) -> Run:
        """Returns the run directory. Rounds can be added later, so they are no part of its digest.

        Raises:
            FewSliceError: it is to be started afresh, but holds what a person has annotated.
        """
        settings = self.experiment.settings()
        settings["policy"] = {name: value for name, value in settings["policy"].items() if name != "rounds"}
        roles = {"pool": self.volumes, "val": self.val} | ({"test": self.test} if self.test is not None else {})
        settings |= {
            "stage": STAGE,
            "dataset_config": datasets.config_dict(self.dataset),
            "cases": {role: setup.case_ids(prepared) for role, prepared in roles.items()},
            "scans_digest": {role: prepared.digest for role, prepared in roles.items()},
            "backend": backend.versions()["backend"],
            "annotator": self.experiment.policy.annotator,
            "weights_sha256": self._named_weights(),
        }
        if self.experiment.model.is_half_precision:
            settings["half_precision_networks"] = True  # runs without this say so too, but were trained in float32
        rounds = len(self.experiment.policy.all_rounds)
        name = self.experiment.exp_dir
        run = Run(self.runs_dir, self.dataset.name, STAGE, name, settings, n_iter=rounds, resume=resume)
        drawn = [] if resume else sorted((run.dir / "rounds").glob(f"*/{BACK}/*"))
        if drawn:
            raise FewSliceError(
                f"--noresume would delete what a person has annotated, {len(drawn)} files such as {drawn[0]}. Move "
                "them elsewhere, or choose another `exp_dir`."
            )
        return run

    def _named_weights(self) -> dict[str, str]:
        """Returns the key of every run that the experiment names -> what stands for its weights."""
        runs = named_runs(self.experiment).items()
        return {key: find_encoder(path, self.dataset, flag=f"set {key}").digest for key, path in runs}

    def loop(self, folder: Path) -> Loop:
        """Returns the loop of rounds with everything that takes part."""
        experiment, model = self.experiment, self.experiment.model
        strategies.load_all()
        task = Task(self.pool, self.volumes, self.dataset, model.ann_type)
        sources = Sources(
            model,
            self.dataset,
            self.volumes,
            experiment.selections,
            folder / "cache",
            self._encoder,
            embedding_batch=experiment.geometry.feature_model_params.inf_batch_size if experiment.geometry else 1,
            batch_size=_SCORING_BATCH,
            seed=experiment.seed,
            vaal=VaalOptions(**vaal_options(experiment.geometry)) if experiment.geometry is not None else None,
        )
        origin = initial_weights(model, self.dataset, self._encoder)
        return Loop(
            folder=folder,
            pool=self.pool,
            sources=sources.table(),
            annotator=annotators.ANNOTATORS.get(experiment.policy.annotator)(task),
            learner=Learner(model, self.dataset, self.volumes, self.val, self.test, experiment.seed, origin),
            seed=experiment.seed,
            ignore_value=self.dataset.num_classes,
            optional=("scores",),
            picture=self._draw,
        )

    def _encoder(self) -> Path:
        params = self.experiment.geometry.feature_model_params
        if params.cl_prev_path:
            return Path(params.cl_prev_path)
        return train_encoder(
            params,
            self.experiment.model,
            seed=self.experiment.seed,
            overrides=self.overrides,
            data_root=self.dataset.data_root,
            runs_dir=self.runs_dir,
        )

    def _draw(self, path: Path, choice: Choice, masks: np.ndarray) -> None:
        images = SliceStack(self.volumes)
        draw_gallery(
            path,
            [images[unit] for unit in choice.indices[:60]],
            pick_titles(self.pool, choice),
            annotations=masks,
            num_classes=self.dataset.num_classes,
            names=self.dataset.struct_name,
            heading=f"Round {int(path.parent.name)}: {len(choice.indices)} slices",
        )


def round_plans(experiment: Experiment, count: int) -> list[RoundPlan]:
    """Returns what each round does in a pool of `count` units.

    Raises:
        ConfigError: a round would train on nothing.
    """
    rounds, selections = experiment.policy.all_rounds, experiment.selections
    shares = [one.oracle for one in rounds]
    units = cumulative_budgets(shares, count)
    fractions = cumulative_fractions(shares)
    empty = [number for number, one in enumerate(rounds) if not units[number] and not one.skip_training]
    if empty:
        raise ConfigError(
            f"Round {empty[0]} would train on nothing: {fractions[empty[0]]:g} of {count} slices is less than one. "
            "Give `policy.rounds` a larger share there, or skip its training."
        )
    lengths = training_shares(shares, [one.pseudo for one in rounds])
    return [
        RoundPlan(
            number,
            fractions[number],
            units[number],
            selection.strategy,
            dict(selection.options),
            one.skip_training,
            lengths[number],
        )
        for number, (one, selection) in enumerate(zip(rounds, selections, strict=True))
    ]


def _write_pool(path: Path, pool: Pool) -> None:
    names = ("unit_ids", "patients", "volumes", "positions", "depths")
    columns = zip(*(getattr(pool, name).tolist() for name in names), strict=True)
    rows = [dict(zip(_POOL_COLUMNS, (index, *values), strict=True)) for index, values in enumerate(columns)]
    files.write_csv(path, rows, _POOL_COLUMNS)
