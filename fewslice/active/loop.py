"""The loop of active learning: choose, annotate, train, again; with everything on disk, so that it can stop anywhere.

    rounds/000/plan.json        what this round buys, and by which strategy
               scores.csv       what the strategy was told about each unit, where it looks at scores
               query.csv        the choice, in order
               annotations.npy  (bought, NX, NY) uint8, in that order
               labelled.csv     everything annotated after this round
               gallery.png      the choice as a picture
               metrics.json     what the networks trained on `labelled.csv` reached
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

from fewslice.active import round_files
from fewslice.active.annotators import Annotator
from fewslice.active.query import SCORES, STRATEGIES, Choice, Query, select
from fewslice.active.round_files import Annotations
from fewslice.active.selection_files import read_query, write_query
from fewslice.active.units import Pool
from fewslice.core import files


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """What one round does.

    Attributes:
        number: From 0.
        fraction: Share of the pool that is annotated after this round.
        units: The same as a number of units.
        strategy: Registered name of the strategy that chooses.
        options: Its options.
        skip_training: Whether the round only buys.
        training_share: Share of the whole schedule that the networks of this round are trained for.
    """

    number: int
    fraction: float
    units: int
    strategy: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    skip_training: bool = False
    training_share: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Situation:
    """What is known when a round chooses; sources of features, scores, ... get it.

    Attributes:
        plan: The round.
        folder: Its folder.
        is_labelled: (N,) bool.
        trained: Folder of the last round that trained networks, or None.
        annotations: What was annotated before.
    """

    plan: RoundPlan
    folder: Path
    is_labelled: np.ndarray
    trained: Path | None
    annotations: Annotations


Source = Callable[[Situation], Any]
Learner = Callable[[Path, RoundPlan, Annotations], Mapping[str, Any]]
Picture = Callable[[Path, Choice, np.ndarray], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """Everything that takes part.

    Attributes:
        folder: The run directory; the rounds are below it.
        pool: All units.
        sources: Name of a need of strategies ("features", "scores", "pixels", "masks", "gradients") -> what makes it.
            It is asked only where the strategy of the round needs it (scores also where it can use them).
        annotator: Annotates what was chosen.
        learner: Trains and scores networks on what is annotated; gets the round's folder, its plan and the annotations,
            and returns what goes into metrics.json. It continues where it was interrupted.
        seed: Of everything random in choosing.
        ignore_value: Value of annotations where nothing is drawn.
        optional: Needs that are also given where a strategy does not demand them.
        picture: Draws the choice: path, choice, its annotations (bought, NX, NY). None draws nothing.
    """

    folder: Path
    pool: Pool
    sources: Mapping[str, Source]
    annotator: Annotator
    learner: Learner
    seed: int
    ignore_value: int
    optional: Sequence[str] = ()
    picture: Picture | None = None

    def run(self, plans: Sequence[RoundPlan]) -> None:
        """Works through the rounds, continuing where an earlier call was interrupted.

        Raises:
            ConfigError: a round on disk was planned differently, or a strategy lacks something.
            DataError: a file of a round is damaged or was changed.
            WaitingForAnnotations: the annotator has handed out work.
        """
        round_files.check_plans(self.folder, [dataclasses.asdict(plan) for plan in plans])
        annotations, trained = Annotations(()), None
        for plan in plans:
            folder = round_files.folder_of(self.folder, plan.number)
            if (folder / "DONE").exists():
                annotations = round_files.read_finished(folder, self.pool, annotations)
                logging.info("Round %d is finished: %d units.", plan.number, len(annotations))
            else:
                annotations = self._round(folder, plan, trained, annotations)
            if not plan.skip_training:
                trained = folder

    def _round(self, folder: Path, plan: RoundPlan, trained: Path | None, annotations: Annotations) -> Annotations:
        files.write_json(folder / "plan.json", dataclasses.asdict(plan))
        is_labelled = np.zeros(len(self.pool), bool)
        is_labelled[annotations.units] = True
        choice = self._choose(Situation(plan, folder, is_labelled, trained, annotations))
        if not (folder / round_files.ANNOTATIONS).exists():
            found = self.annotator.annotate(folder, choice.indices)
            files.write_array(folder / round_files.ANNOTATIONS, found)
        annotations = annotations.extended(round_files.read_bought(folder, self.pool))
        round_files.write_labelled(folder, self.pool, annotations)
        if self.picture is not None and len(choice.indices) and not (folder / "gallery.png").exists():
            self.picture(folder / "gallery.png", choice, annotations.parts[-1].masks)
        if not plan.skip_training and not (folder / "metrics.json").exists():
            metrics = {"round": plan.number, "fraction": plan.fraction, "units": len(annotations)}
            metrics["annotated_pixels"] = annotations.count_pixels(self.ignore_value)
            files.write_json(folder / "metrics.json", metrics | dict(self.learner(folder, plan, annotations)))
        round_files.finish(folder)
        return annotations

    def _choose(self, situation: Situation) -> Choice:
        """Returns the choice of the round: the one on disk, or a new one, which is written."""
        path = situation.folder / "query.csv"
        plan, budget = situation.plan, max(0, situation.plan.units - int(situation.is_labelled.sum()))
        if not path.exists():
            write_query(path, self.pool, self._select(situation, budget))
        choice = read_query(path, self.pool)
        round_files.check_choice(path, choice, situation.is_labelled, budget)
        shown = ", ".join(self.pool.unit_ids[choice.indices[:5]]) + (" ..." if len(choice.indices) > 5 else "")
        logging.info("Round %d buys %d units by %s: %s", plan.number, len(choice.indices), plan.strategy, shown)
        return choice

    def _select(self, situation: Situation, budget: int) -> Choice:
        plan, left = situation.plan, int((~situation.is_labelled).sum())
        ranks = 0 < budget < left  # else nothing or everything is taken, and nothing needs to be known
        wanted = set(STRATEGIES.get(plan.strategy).needs) | set(self.optional) if ranks else set()
        given = {need: self.sources[need](situation) for need in sorted(wanted & set(self.sources))}
        if given.get(SCORES) is not None:
            rows = zip(self.pool.unit_ids, given[SCORES].tolist(), strict=True)
            table = [{"unit_id": name, "score": value} for name, value in rows]
            files.write_csv(situation.folder / "scores.csv", table, ("unit_id", "score"))
        rng = np.random.default_rng([self.seed, plan.number])
        query = Query(self.pool, situation.is_labelled, budget, rng, ignore_value=self.ignore_value, **given)
        return select(plan.strategy, query, plan.options) if ranks else select("random", query)
