"""The loop of active learning: query, annotate, train, again; with everything on disk, so that it can be interrupted.

    rounds/000/plan.json        everything that decides this round
               uncertainty.json the mean score of the units to choose from, where it can end the experiment
               scores.csv       the score of each unit, where the strategy looks at scores; not of patches
               query.csv        the chosen units, in order
               labels.npy       the labels of their boxes, see `fewslice.active.labels`
               labelled.csv     everything annotated after this round
               gallery.png      the query as a picture
               metrics.json     scores of the networks that were trained on everything annotated
               checksums.json   of query.csv, labels.npy, networks and metrics.json, while the round is not finished
               DONE             checksums of all that but scores.csv and the picture; written last

Each file is complete or absent, and each step begins by looking for its own. Randomness comes from (seed, round) only.
So a command that was killed at any moment and repeated chooses the same units and trains the same networks as one that
was not. Networks enter as callables: nothing here knows about them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from fewslice.active import round_files, stopping
from fewslice.active.annotators import Annotator, WaitingForAnnotations
from fewslice.active.labels import Labels, join
from fewslice.active.query import CLASSES, SCORES, STRATEGIES, Choice, Query, select
from fewslice.active.safe import select_safely
from fewslice.active.selection_files import read_query, write_query
from fewslice.active.units import Units
from fewslice.core import files, later
from fewslice.core.errors import few
from fewslice.settings.declare import plain
from fewslice.settings.experiment import RoundPlan, Stop


@dataclasses.dataclass(frozen=True, eq=False)
class Situation:
    """State of an experiment before a query: plan, labels, last trained round.

    Attributes:
        is_labelled: (N,) bool.
        trained: Folder of the last round that trained networks, or None.
    """

    plan: RoundPlan
    folder: Path
    is_labelled: np.ndarray
    trained: Path | None
    labels: Labels


Evidence = Callable[[Situation], Any]
Learner = Callable[[Path, RoundPlan, Labels], Mapping[str, Any]]
Picture = Callable[[Path, Choice, Sequence[np.ndarray] | None], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """The rounds of an experiment.

    Attributes:
        folder: The run directory; the rounds are below it.
        evidence: Need of strategies ("features", "scores", "pixels", "masks", "gradients", "pass_means") -> the
            function that makes it; called only where the strategy of the round needs it (scores also where it can use
            them). "classes" gives those predicted for all units, None before a network is trained.
        annotator: Annotates what was chosen; None ends a round after its query.
        learner: Trains and scores networks on what is annotated; gets the round's folder, its plan and the labels, and
            returns what goes into metrics.json. It resumes where it was interrupted. None trains nothing.
        picture: Draws the query: path, choice, the labels of its boxes (None while a person has them). None draws
            nothing.
        start: What was annotated before the first round; None: nothing.
        stop: What ends the experiment before its last round; None: nothing.
    """

    folder: Path
    pool: Units
    evidence: Mapping[str, Evidence]
    ignore_value: int
    start: Labels | None = None
    stop: Stop | None = None
    annotator: Annotator | None = None
    learner: Learner | None = None
    picture: Picture | None = None

    def run(self, plans: Sequence[RoundPlan]) -> tuple[Labels, str]:
        """Runs the rounds, resuming where an earlier call was interrupted.

        Returns:
            What is annotated then, and why it ended before the last one (`stop`); "" if it did not.

        Raises:
            ConfigError: a round on disk was planned differently, or a strategy lacks something.
            DataError: a file of a round is damaged or was changed.
            WaitingForAnnotations: the annotator has handed out work.
        """
        round_files.check_plans(self.folder, plans)
        labels, trained = self.start or Labels(self.pool, self.ignore_value), None
        for plan in plans:
            folder = round_files.folder_of(self.folder, plan.number)
            if (folder / "DONE").exists():
                labels = round_files.read_finished(folder, labels)
                logging.info("Round %d is finished: %d units.", plan.number, len(labels))
            else:
                labels = self.round(folder, plan, trained=trained, labels=labels)
            if plan.train:
                trained = folder
            if plan is not plans[-1] and (why := stopping.reason(self.stop, self.folder, labels)):
                logging.info("The experiment ends after %d of %d rounds: %s", plan.number + 1, len(plans), why)
                return labels, why
        return labels, ""

    def round(
        self,
        folder: Path,
        plan: RoundPlan,
        *,
        labels: Labels,
        trained: Path | None = None,
        is_labelled: np.ndarray | None = None,
    ) -> Labels:
        """Does one round and returns the labels after it.

        Args:
            trained: Folder of the last round that trained networks.
            is_labelled: (N,) bool, units that count as annotated; default: those of `labels`.
        """
        round_files.check_plan(folder, plan)
        files.write_json(folder / "plan.json", plain(plan))
        if is_labelled is None:
            is_labelled = np.zeros(len(self.pool), bool)
            is_labelled[labels.units] = True
        choice = self._choose(Situation(plan, folder, is_labelled, trained, labels))
        if self.annotator is None:
            return labels
        gallery, is_new = folder / "gallery.png", not (folder / round_files.LABELS).exists()
        draw = self.picture if len(choice.indices) else None
        try:
            round_files.write_once(
                folder,
                round_files.LABELS,
                lambda path: files.write_array(path, join(self.annotator.annotate(folder, choice.indices))),
            )
        except WaitingForAnnotations:
            if draw is not None and not gallery.exists():
                draw(gallery, choice, None)
            raise
        labels = labels.extended(round_files.read_revealed(folder, labels))
        round_files.write_labelled(folder, labels)
        if draw is not None and (is_new or not gallery.exists()):
            revealed = labels.rounds[-1]
            draw(gallery, choice, [revealed.labels(n) for n in range(len(revealed.boxes))])
        if self.learner is not None and plan.train:
            known = {"round": plan.number, "fraction": plan.fraction, "units": len(labels)}
            known["annotated_pixels"] = labels.count_voxels()
            round_files.write_once(
                folder,
                round_files.METRICS,
                lambda path: files.write_json(path, known | dict(self.learner(folder, plan, labels))),
            )
        round_files.finish(folder)
        return labels

    def _choose(self, situation: Situation) -> Choice:
        """Returns the query of the round: the one on disk, or a new one, which is written."""
        path = situation.folder / round_files.QUERY
        plan, budget = situation.plan, max(0, situation.plan.units - int(situation.is_labelled.sum()))
        round_files.write_once(
            situation.folder, path.name, lambda path: write_query(path, self.pool, self._select(situation, budget))
        )
        choice = read_query(path, self.pool)
        round_files.check_choice(path, choice, self._query(situation, budget))
        shown, strategy = few([self.pool.name(unit) for unit in choice.indices], 5), plan.query.strategy.name
        logging.info("Round %d: %d units by %s: %s", plan.number, len(choice.indices), strategy, shown)
        return choice

    def _query(self, situation: Situation, budget: int, **evidence: Any) -> Query:
        return Query(
            pool=self.pool,
            is_labelled=situation.is_labelled,
            budget=budget,
            rng=np.random.default_rng([situation.plan.seed, situation.plan.number]),
            ignore_value=self.ignore_value,
            annotated=situation.labels.boxes,
            case_cap=situation.plan.query.case_cap,
            **{"per_label": situation.plan.query.per_label} | evidence,
        )

    def _select(self, situation: Situation, budget: int) -> Choice:
        query, strategy = situation.plan.query, situation.plan.query.strategy
        ranks = 0 < budget < int((~situation.is_labelled).sum())  # else nothing or everything is taken
        needs = {*STRATEGIES.get(strategy.name).needs, *([SCORES] if query.score else [])} if ranks else set()
        rules = self._balance(situation) if ranks else {}  # before `evidence`: both may use one file of features
        evidence = {need: self.evidence[need](situation) for need in sorted(needs & set(self.evidence))}
        scores = evidence.get(SCORES)
        if scores is not None:
            if not self.pool.can_overlap:  # the names of a lattice are not written out
                rows = [{"unit_id": self.pool.name(unit), "score": value} for unit, value in enumerate(scores.tolist())]
                files.write_csv(situation.folder / round_files.SCORE_TABLE, rows, ("unit_id", "score"))
            evidence[SCORES] = -scores if query.ascending else scores
            if self.stop is not None and self.stop.uncertainty is not None:
                mean = scores[self._query(situation, budget).candidates].mean(dtype=np.float64)
                files.write_json(situation.folder / round_files.UNCERTAINTY, {"mean": float(mean)})
        context = self._query(situation, budget, **evidence, **rules)
        choose = select_safely if query.safe else select
        chosen = choose(strategy.name, context, strategy.options) if ranks else select("random", context)
        later.settle()
        return chosen

    def _balance(self, situation: Situation) -> dict[str, Any]:
        """Returns what differs in the rules of the query where classes are predicted."""
        query = situation.plan.query
        if not query.per_label or query.balance == "known" or self.pool.labels is None:
            return {}
        classes = self.evidence[CLASSES](situation)
        if classes is None:
            logging.info("No network predicts classes yet: this round is not balanced (`balance: known` would be).")
        return {"per_label": 0} if classes is None else {"classes": classes}
