"""The native form of an experiment of active learning, and the plan of each of its rounds.

An experiment file in `experiments/` has the keys of `Experiment`; published files are translated into it
(`fewslice.settings.compat`). Every name of a strategy, score, kind of features, annotator or network is looked up in
the registries of `fewslice.core.registry`, so that plugins count as much as what comes with the software.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from fewslice.settings.declare import Help, declared


@declared
class Named:
    """A registered object and its options. In files: a name alone, or a mapping with `name` and the options."""

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@declared
class Query:
    """How units are chosen."""

    strategy: Annotated[Named, Help("Strategy that chooses, with its options.")] = Named(name="random")
    features: Annotated[Named | None, Help("Kind of features that the strategy sees.")] = None
    score: Annotated[Named | None, Help("Uncertainty score that the strategy sees, with its options.")] = None
    passes: Annotated[int, Ge(1), Help("MC-dropout passes of each network; 1 is one pass without dropout.")] = 1
    combine: Annotated[
        Literal["mean_probabilities", "mean_scores"],
        Help("One score of the mean probabilities of all networks and passes, or the mean of one score per network."),
    ] = "mean_probabilities"
    ascending: Annotated[bool, Help("true: the lowest scores are chosen.")] = False
    case_cap: Annotated[int | None, Ge(1), Help("Units of one case per round at most.")] = None


@declared
class Round:
    """One round. In files: the amount alone, or a mapping."""

    add: Annotated[float | int, Ge(0), Help("Units to annotate: a share of the pool (0.05) or a number (20).")]
    query: Annotated[Query | None, Help("How this round chooses, in place of the experiment's `query`.")] = None
    train: Annotated[bool, Help("false: the round only annotates.")] = True
    longer: Annotated[
        float, Ge(0), Le(1), Help("Share by which the training of this and later rounds is lengthened.")
    ] = 0.0


@declared
class Members:
    """The networks of a round."""

    kind: Annotated[str, Help("Registered way in which members differ; `seeds`: same data, other seeds.")] = "seeds"
    count: Annotated[int, Ge(1), Help("Networks per round.")] = 1


@declared
class Experiment:
    """An experiment of active learning."""

    name: Annotated[str, Help("Name of the run.", in_digest=False)]
    dataset: Annotated[str, Help("Dataset, as `--dataset`.")]
    network: Annotated[Named, Help("Segmentation network with its options: batch size, learning rate, steps, ...")]
    rounds: Annotated[tuple[Round, ...], Len(1), Help("The rounds.", in_digest=False)]
    query: Annotated[Query, Help("How units are chosen once a network is trained.")] = Query()
    first_query: Annotated[
        Query | None,
        Help("How units are chosen until then. Default: `query`, or `random` where that needs a trained network."),
    ] = None
    unit: Annotated[Named, Help("What is annotated: slice, image, volume, or patch with its size and stride.")] = Named(
        name="slice"
    )
    annotation: Annotated[Literal["mask", "scribble"], Help("What an annotator draws in a unit.")] = "mask"
    annotator: Annotated[str, Help("simulated (stored labels), or files (a person's).", in_digest=False)] = "simulated"
    members: Annotated[Members, Help("The networks of a round.")] = Members()
    encoder: Annotated[Named | None, Help("Self-supervised encoder that gives embeddings, or its run.")] = None
    warm_start: Annotated[str, Help("Run whose weights every network starts from; `encoder` for the one above.")] = ""
    split: Annotated[str, Help("List of data_cfg_<dataset>.py whose training cases are the pool.")] = "al"
    comb: Annotated[str, Help("Its combination.")] = "c1"
    size: Annotated[tuple[int, int] | None, Help("Size of the network's input; default: the dataset's.")] = None
    test: Annotated[bool, Help("Scores the test volumes after each round.")] = True
    mixed_precision: Annotated[bool, Help("Computes in half precision where that is exact enough.")] = False
    seed: Annotated[int, Ge(0), Help("Seeds choices, encoder and networks.")] = 0


@dataclasses.dataclass(frozen=True)
class RoundPlan:
    """Everything that decides what one round does; written to `rounds/<number>/plan.json`.

    Attributes:
        number: From 0.
        fraction: Share of the pool that is annotated after this round.
        units: The same as a number of units.
        query: How they are chosen.
        train: Whether networks are trained on them.
        training_share: Share of the whole schedule that these networks are trained for.
        network, members, unit, annotation, annotator, seed: As in the experiment.
    """

    number: int
    fraction: float
    units: int
    query: Query = Query()
    train: bool = True
    training_share: float = 1.0
    network: Named | None = None
    members: Members = Members()
    unit: Named = Named(name="slice")
    annotation: str = "mask"
    annotator: str = "simulated"
    seed: int = 0
