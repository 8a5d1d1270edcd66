"""The native form of an experiment of active learning, and the plan of each of its rounds.

An experiment file in `experiments/` has the keys of `Experiment`; published files are translated into it
(`fewslice.settings.compat`). Every name of a strategy, score, kind of features, annotator or network is looked up in
the registries of `fewslice.core.registry`, so that plugins count as much as what comes with the software.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le, Len, MultipleOf

from fewslice.core import registry
from fewslice.core.errors import ConfigError
from fewslice.core.options import Place
from fewslice.settings import budgets
from fewslice.settings.declare import Aside, Count, Later, Must, Positive, declared, plain, settings_of
from fewslice.settings.group_contrastive import GroupContrastive
from fewslice.settings.yaml import Named, Registered

STRATEGY, SCORE, FEATURES = "strategy", "uncertainty score", "kind of features"
PASS_MEANS = "pass_means"  # evidence of strategies that compare dropout passes themselves
_OF_SCORES = "`passes`, `combine`, `reduce`, `ascending`, `save_maps` and `save_uncerts`"
ENCODER = "encoder"  # `warm_start` from the experiment's own encoder
Side = Annotated[int, Ge(16), MultipleOf(16)]


def outside_problem(name: str) -> str:
    """Returns why writing to `name` could leave the run directory, and the remedy; "" if it is a plain name.

    >>> outside_problem("scores.txt"), outside_problem("a b")
    ('', 'Use letters, digits, dots, hyphens and underscores.')
    """
    last = PurePath(name.replace("\\", "/")).name
    if re.fullmatch(r"[A-Za-z0-9_][\w.-]*", name, re.ASCII):
        return ""
    if "/" in name or "\\" in name or name.startswith(("~", ".")):
        suggestion = f" Write {last!r}." if re.fullmatch(r"[A-Za-z0-9_][\w.-]*", last, re.ASCII) else ""
        return f"It would be written outside the run directory.{suggestion}"
    return "Use letters, digits, dots, hyphens and underscores."


PlainName = Annotated[
    str, Must(lambda value: not outside_problem(value), "a plain name without folders", outside_problem)
]


@declared
class QuerySettings:
    """A query: strategy, features, score and rules. In files: the strategy alone, or a mapping."""

    SHORT: ClassVar[str] = "strategy"
    strategy: Annotated[Named, Registered(STRATEGY), "Strategy that chooses, with its options."] = Named("random")
    features: Annotated[Named | None, Registered(FEATURES), "Kind of features that the strategy sees."] = None
    score: Annotated[Named | None, Registered(SCORE), "Uncertainty score that the strategy sees, with its options."] = (
        None
    )
    passes: Annotated[Count, "MC-dropout passes of each network; 1 is one pass without dropout."] = 1
    combine: Annotated[
        Literal["mean_probabilities", "mean_scores"],
        "One score of the mean probabilities of all networks and passes, or the mean of one score per network.",
    ] = "mean_probabilities"
    ascending: Annotated[bool, "true: the lowest scores are chosen."] = False
    reduce: Annotated[
        Literal["mean", "sum", "foreground"] | None,
        Later(
            "What a unit's score is of the map: its mean, sum, or mean over predicted foreground (0 without any). "
            "Default: the score's own, `mean` for most."
        ),
    ] = None
    save_maps: Annotated[bool, Later("Writes the map of each case as .npy, and a picture of it.")] = False
    save_uncerts: Annotated[bool, Later("Draws the distribution of the scores.")] = False
    safe: Annotated[
        bool,
        Later(
            "A hedge: half of the units at equal distances (`equispaced`), half by the strategy, and of no volume more "
            "than twice its equal share."
        ),
    ] = False
    case_cap: Annotated[int | None, Ge(1), "Units of one case per round at most."] = None
    per_label: Annotated[
        int, Ge(0), "Units of each image-level class that come first; what is left is filled by rank."
    ] = 0
    balance: Annotated[
        Literal["predicted", "known"],
        Later(
            "The classes of `per_label`: `predicted` by the last network, which annotated unit looks most alike (none "
            "before one is trained), or `known` of all units beforehand."
        ),
    ] = "predicted"

    @property
    def needs_network(self) -> bool:
        """Whether it looks at a trained segmentation network."""
        of_features = self.features is not None and registry.of(FEATURES).get(self.features.name).needs_network
        of_passes = self.score is not None and registry.of(SCORE).get(self.score.name).source == "passes"
        needs = registry.of(STRATEGY).get(self.strategy.name).needs
        return of_features or of_passes or bool({"gradients", PASS_MEANS} & set(needs))


@declared
class Round:
    """One round. In files: the amount alone, or a mapping."""

    SHORT: ClassVar[str] = "add"
    add: Annotated[
        float | int,
        Must(lambda value: value >= 0, "a share of the pool such as 0.05, or a number of units such as 20"),
        "Units to annotate: a share of the pool (0.05) or a number (20).",
    ]
    query: Annotated[QuerySettings | None, "How this round chooses, in place of the experiment's `query`."] = None
    train: Annotated[bool, "false: the round only annotates."] = True
    longer: Annotated[float, Ge(0), Le(1), "Share by which the training of this and later rounds is lengthened."] = 0.0


@declared
class Members:
    """The networks of a round. In files: their number alone, or a mapping."""

    SHORT: ClassVar[str] = "count"
    kind: Annotated[str, Registered("kind of members"), "How members differ; `seeds`: same data, other seeds."] = (
        "seeds"
    )
    count: Annotated[Count, "Networks per round; the one with the best validation Dice is tested."] = 1


@declared
class Stop:
    """When an experiment ends before its last round: after the first round that meets one of these."""

    budget: Annotated[int | None, Ge(1), "At least so many units were annotated since the first round."] = None
    uncertainty: Annotated[float | None, "The mean score of the units to choose from was below this."] = None
    metric: Annotated[
        str | None,
        Must(lambda value: value is None or not value.startswith("test"), "no number of the test volumes"),
        "This number of metrics.json, such as `val_dice`, no longer changes.",
    ] = None
    patience: Annotated[Count, "Rounds for which it has not changed."] = 10
    epsilon: Annotated[Positive, "Smallest difference that is a change."] = 1e-4


@declared
class Encoder(GroupContrastive):
    """The encoder that gives embeddings, pretrained as `pretr_encoder_group_contrastive_loss.py` does, or its run."""

    SHORT: ClassVar[str] = "run"
    run: Annotated[
        str, "Run directory of a pretrained encoder that is used as it is; the other keys are idle then."
    ] = ""
    epochs: Annotated[Count, "Epochs of pretraining."] = 100


@declared
class Experiment:
    """An experiment of active learning."""

    name: Annotated[PlainName, Aside("Name of the run.")]
    dataset: Annotated[str, "Dataset, as `--dataset`."]
    network: Annotated[
        Named, Registered("network"), "Segmentation network with its options: batch size, learning rate, steps, ..."
    ]
    rounds: Annotated[tuple[Round, ...], Len(1), Aside("The rounds; some can be added later.")]
    query: Annotated[QuerySettings, "How units are chosen once a network is trained."] = QuerySettings()
    first_query: Annotated[
        QuerySettings | None,
        "How units are chosen until then. Default: `query`, or `random` where that needs a trained network.",
    ] = None
    stop: Annotated[Stop | None, Aside("What ends it before the last round; null: nothing.")] = None
    unit: Annotated[
        Named, Registered("unit"), "What is annotated: slice, image, volume, or patch with its size and stride."
    ] = Named("slice")
    annotation: Annotated[str, Registered("annotation"), "What an annotator draws: `mask` or `scribble`."] = "mask"
    annotator: Annotated[
        str, Registered("annotator"), Aside("`simulated` takes the stored labels, `files` waits for a person's.")
    ] = "simulated"
    members: Annotated[Members, "The networks of a round."] = Members()
    encoder: Annotated[Encoder | None, "Self-supervised encoder that gives embeddings, or its run."] = None
    warm_start: Annotated[
        str, "Run directory whose weights every network starts from; `encoder` for the one above."
    ] = ""
    split: Annotated[str, "List of `data_cfg_<dataset>.py` whose training cases are the pool."] = "al"
    comb: Annotated[str, "Its combination."] = "c1"
    size: Annotated[tuple[Side, Side] | None, "Rows and columns of the network's input; null: the dataset's."] = None
    test: Annotated[bool, "Scores the test volumes after each round."] = True
    mixed_precision: Annotated[bool, "Computes in half precision where that is exact enough."] = False
    seed: Annotated[int, Ge(0), Le(2**31 - 1), "Seeds choices, encoder and networks."] = 0

    def queries(self) -> Iterator[tuple[Place, QuerySettings]]:
        """Yields the place of each query in the file, and the query."""
        yield ("query",), self.query
        if self.first_query is not None:
            yield ("first_query",), self.first_query
        for number, one in enumerate(self.rounds):
            if one.query is not None:
                yield ("rounds", number, "query"), one.query

    def round_queries(self) -> list[QuerySettings]:
        """Returns the query of each round."""
        first = self.first_query or (QuerySettings() if self.query.needs_network else self.query)
        found, has_network = [], False
        for one in self.rounds:
            found.append(one.query or (self.query if has_network else first))
            has_network |= one.train
        return found

    def plans(self, pool_size: int, painted: int = 0) -> list[RoundPlan]:
        """Returns the plan of each round in a pool of so many units, of which `painted` are annotated before.

        Raises:
            ConfigError: a round would train on nothing, or the rounds add more than the pool.
        """
        amounts = [one.add for one in self.rounds]
        units = budgets.cumulative_budgets(amounts, pool_size)
        shares = budgets.cumulative_shares(amounts, pool_size)
        if painted:
            units = [min(count + painted, pool_size) for count in units]
            shares = [min(share + Fraction(painted, pool_size), Fraction(1)) for share in shares]
        empty = [number for number, one in enumerate(self.rounds) if one.train and not units[number]]
        if empty:
            raise ConfigError(
                f"Round {empty[0]} would train on nothing: {float(shares[empty[0]]):g} of {pool_size} units is less "
                "than one. Let it add more, or only annotate."
            )
        shared = {each.name: getattr(self, each.name) for each in dataclasses.fields(RoundPlan) if each.kw_only}
        longer = itertools.accumulate(Fraction(repr(float(one.longer))) for one in self.rounds)
        return [
            RoundPlan(number, float(share), count, query, one.train, float(share + more), **shared)
            for number, (one, count, share, more, query) in enumerate(
                zip(self.rounds, units, shares, longer, self.round_queries(), strict=True)
            )
        ]

    def settings(self) -> dict[str, Any]:
        """Returns everything that decides what is computed, as JSON values, for config.json and its digest.

        The name of the run is not among them, nor the rounds, which can be added to, nor who annotates.
        """
        names = [name for name, setting in settings_of(Experiment).items() if setting.help.in_digest]
        found = {name: getattr(self, name) for name in names} | {"strategy": self.query.strategy.name}
        return json.loads(json.dumps(plain(found)))

    def problems(self) -> Iterator[tuple[Place, str]]:
        """Yields (place, message) of settings that do not fit each other."""
        yield from self._round_problems()
        for place, query in self.queries():
            yield from self._query_problems(place, query)
        kinds = [registry.of(FEATURES).get(query.features.name) for _, query in self.queries() if query.features]
        is_used = self.warm_start == ENCODER or any(kind.needs_encoder for kind in kinds)
        if self.encoder is None and self.warm_start == ENCODER:
            yield ("warm_start",), "the weights of the experiment's encoder need the key `encoder`. Add it."
        if self.encoder is not None and not is_used:
            yield (ENCODER,), "no query looks at the encoder. Let `features` be `encoder`, or remove it."
        if self.stop is not None and self.stop.uncertainty is not None and not any(q.score for _, q in self.queries()):
            yield ("stop", "uncertainty"), "no query looks at scores. Remove it, or add `score` to `query`."
        if self.encoder is not None and not self.encoder.run:
            yield from (((ENCODER, name), text.replace("=", ": ")) for name, text in self.encoder.problems().items())

    def _round_problems(self) -> Iterator[tuple[Place, str]]:
        try:
            budgets.cumulative_shares([one.add for one in self.rounds])
        except ConfigError as error:
            yield ("rounds",), str(error)
        if not self.rounds[0].add:
            yield ("rounds", 0), "the first round annotates nothing. Give it a share above 0."
        first = self.round_queries()[0]
        named = [(STRATEGY, first.strategy), *((SCORE, score) for score in (first.score,) if score)]
        for kind, one in named:
            if getattr(registry.of(kind).get(one.name), "needs_labelled", False):
                yield ("rounds", 0), f"{one.name} needs annotated units. Let the first round choose at random."

    def _query_problems(self, place: Place, query: QuerySettings) -> Iterator[tuple[Place, str]]:
        name, given = query.strategy.name, query.strategy.options
        needs = registry.of(STRATEGY).get(name).needs
        if query.features is None and "features" in needs:
            yield (*place, "strategy"), f"{name} compares features. Add `features`, such as `encoder` or `pixels`."
        if query.features is not None and "features" not in needs:
            yield (*place, "features"), f"{name} looks at no features. Remove it."
        if query.features is not None and self.encoder is None:
            if registry.of(FEATURES).get(query.features.name).needs_encoder:
                text = f"{query.features.name} needs an encoder. Add the key `encoder`."
                yield (*place, "features"), text
        rules = [rule for rule in ("per_label", "case_cap") if getattr(query, rule)]
        if rules and not registry.of(STRATEGY).get(name).obeys_rules:
            text = f"{name} obeys no `{rules[0]}`. Remove it, or take another strategy."
            yield (*place, "strategy"), text
        if rules and query.safe:
            yield (*place, "safe"), f"it obeys no `{rules[0]}`. Remove one of the two."
        weight = given.get("uncertainty_wt", 0)
        if query.score is None and ("scores" in needs or weight):
            yield (*place, "strategy"), f"{name} needs scores of networks. Add `score`, such as `entropy`."
        idle = query.combine != QuerySettings().combine or query.ascending or query.reduce
        idle = idle or query.save_maps or query.save_uncerts
        if query.score is None and (idle or (query.passes > 1 and PASS_MEANS not in needs)):
            yield place, f"{_OF_SCORES} have no effect without `score`. Remove them."
        if query.balance != QuerySettings().balance and not query.per_label:
            yield (*place, "balance"), "it has no effect without `per_label`. Remove it."
        if PASS_MEANS in needs and query.passes == 1 and self.members.count == 1:
            text = f"{name} compares networks or dropout passes. Add `passes`, such as 20, or train several `members`."
            yield (*place, "strategy"), text
        is_asked = query.passes > 1 and (query.score is not None or PASS_MEANS in needs)
        if is_asked and not registry.of("network").get(self.network.name).drops:
            yield (*place, "passes"), f"{self.network.name} has no dropout, so that all its passes are the same."
        if query.score is not None:
            yield from self._score_problems(place, query, is_used="scores" in needs or bool(weight))
        is_simulated = getattr(registry.of("annotator").get(self.annotator), "reads_labels", False)
        if given.get("use_labels") and not is_simulated and registry.of("annotation").get(self.annotation).is_dense:
            text = "full masks drawn by a person weigh all pixels alike. Write `use_labels: false`, or "
            yield (*place, "strategy", "use_labels"), text + "`annotator: simulated`."

    def _score_problems(self, place: Place, query: QuerySettings, *, is_used: bool) -> Iterator[tuple[Place, str]]:
        score = registry.of(SCORE).get(query.score.name)
        if not is_used:
            more = " or give it a weight by `uncertainty_wt`" if "uncertainty_wt" in query.strategy.options else ""
            yield (*place, "score"), f"{query.strategy.name} looks at no scores. Remove it{more}."
        if query.reduce and score.source != "passes":
            yield (*place, "reduce"), f"{query.score.name} is no map that could be reduced. Remove it."
        if getattr(score, "compares", False) and query.passes == 1 and self.members.count == 1:
            text = f"{query.score.name} of a single network is 0 everywhere. Train two or more, or take passes with "
            yield (*place, "score"), text + "dropout."


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """Everything that decides what one round does; written to `rounds/<number>/plan.json`.

    Attributes:
        number: From 0.
        fraction: Share of the pool that is annotated after this round.
        training_share: Share of the whole schedule that these networks are trained for.

    The others are those of `Experiment`.
    """

    number: int
    fraction: float
    units: int
    query: QuerySettings = QuerySettings()
    train: bool = True
    training_share: float = 1.0
    _: dataclasses.KW_ONLY
    network: Named | None = None
    members: Members = Members()
    encoder: Encoder | None = None
    warm_start: str = ""
    unit: Named = Named("slice")
    annotation: str = "mask"
    annotator: str = "simulated"
    size: tuple[int, int] | None = None
    mixed_precision: bool = False
    seed: int = 0
