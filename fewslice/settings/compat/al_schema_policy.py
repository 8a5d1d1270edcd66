"""The groups `policy` and `model_uncertainty` of an experiment file. Names and defaults are the published ones.

Vepa et al., 2024, https://arxiv.org/abs/2411.15763.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fewslice.active.uncertainty import MEAN_SCORE, PUBLISHED, SCORES
from fewslice.settings.compat.al_schema import (
    REQUIRED,
    ItemError,
    custom,
    file_name,
    flag,
    integer,
    nested,
    text,
    word,
)
from fewslice.settings.compat.al_schema_model import SEED_NOTE

# Published name of a score -> ours; None: the mean of what each network's passes give.
PUBLISHED_SCORES = {**PUBLISHED, MEAN_SCORE: None}
PASS = "pass"
_ROUNDS = "a list with one [oracle, pseudo] per round, such as [[0.01, 0], [0.01, 0, random, true]]"
_STORED = "predictions are never stored"
_RESUMES = "a repeated command always continues where it stopped"


@dataclass(frozen=True)
class Round:
    """One purchase.

    Attributes:
        oracle: Share of the pool that is bought in it.
        pseudo: Share by which the training of this and later rounds is longer, nothing else.
        split_method: "random" draws this purchase at random, None leaves it to the experiment.
        skip_training: Whether it only buys.
    """

    oracle: float
    pseudo: float
    split_method: str | None = None
    skip_training: bool = False


def _rounds(value: Any) -> tuple[Round, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    return tuple(_round(number, item) for number, item in enumerate(value))


def _round(number: int, item: Any) -> Round:
    if not isinstance(item, (list, tuple)) or not 2 <= len(item) <= 4:
        raise ItemError(number, f"Round {number} is {item!r}. Write [oracle, pseudo, split_method, skip_training].")
    for name, value in zip(("oracle", "pseudo"), item, strict=False):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            text = f"The {name} share of round {number} must lie between 0 and 1. Received: {value!r}"
            raise ItemError(number, text)
    method, skip = (*item[2:], *(None, False)[len(item) - 2 :])
    if method not in (None, "random"):
        raise ItemError(number, f"The split method of round {number} must be random or null. Received: {method!r}")
    if not isinstance(skip, bool):
        raise ItemError(number, f"skip_training of round {number} must be true or false. Received: {skip!r}")
    return Round(float(item[0]), float(item[1]), method, skip)


def _score_names() -> list[str]:
    from fewslice.active import scores

    scores.load_all()
    return [*PUBLISHED_SCORES, *SCORES.names()]


def _annotators() -> list[str]:
    from fewslice.active import annotators

    annotators.load_all()
    return annotators.ANNOTATORS.names()


@dataclass(frozen=True)
class EnsembleKwargs:
    """How the networks of a round are trained and evaluated."""

    skip: bool = flag(False, "true: no round trains, only buys.")
    train: bool = flag(True, "false: as `skip: true`.")
    inf_val: bool = flag(True, "Evaluates the validation volumes; only true, since they choose the network.")
    inf_test: bool = flag(False, "Evaluates the test volumes with the network of the best validation.")
    inf_train: bool | None = flag(None, "Predicts the pool.", unused="done where a strategy needs it")
    resume_on_val: bool = flag(True, "", unused=_RESUMES)
    resume_on_test: bool = flag(False, "", unused=_RESUMES)


@dataclass(frozen=True)
class ScoreKwargs:
    """Of the uncertainty and of the geometry."""

    skip: bool = flag(False, "Only false: a round without ranking is [share, 0, random].")
    delete_preds: bool = flag(True, "", unused=_STORED)


@dataclass(frozen=True)
class PolicyConfig:
    """What is bought when. experiments/README.md lists the keys."""

    policy_type: str = word(REQUIRED, "`random`, or `ranked` by geometry or uncertainty.", ("random", "ranked"))
    rounds: tuple[Round, ...] = custom(
        REQUIRED,
        "Per round [share bought, share that only lengthens training, `random` or null, skip_training].",
        _ROUNDS,
        _rounds,
    )
    seed: int = integer(
        0, "Seeds choices, encoder and networks; simulated scribbles are the same for all seeds.", 0, 2**31 - 1
    )
    resume: bool = flag(False, "", unused=_RESUMES)
    ensemble_kwargs: EnsembleKwargs = nested(EnsembleKwargs, "Training and evaluation.")
    uncertainty_kwargs: ScoreKwargs = nested(ScoreKwargs, "Of the uncertainty.")
    geometry_kwargs: ScoreKwargs = nested(ScoreKwargs, "Of the geometry.")
    save_im_score_file: str = file_name("scores.txt", "File of scores.", unused="scores are in scores.csv")
    rank_type: str = word("desc", "`desc` buys the highest scores, `inc` the lowest.", ("desc", "inc"))
    pseudolabels: bool = flag(False, "", unused="the published code does not read it")
    tag: str = text("", "", unused="the published code does not read it")
    annotator: str = word(
        "simulated",
        "Ours: `simulated` takes the stored annotation, `files` waits for a person's; or another one of "
        "`fewslice/active/annotators/`.",
        _annotators,
    )

    @property
    def all_rounds(self) -> tuple[Round, ...]:
        """The rounds, none of which trains if `ensemble_kwargs` says so."""
        if self.ensemble_kwargs.train and not self.ensemble_kwargs.skip:
            return self.rounds
        return tuple(Round(one.oracle, one.pseudo, one.split_method, True) for one in self.rounds)


@dataclass(frozen=True)
class UncertaintyConfig:
    """Scores of the networks of the round before. experiments/README.md lists the keys."""

    model_uncertainty_type: str = word(
        REQUIRED,
        "`ensemble` ranks slices, `stochastic` ranks random batches of them; `pass` is as no group.",
        ("ensemble", "stochastic", PASS),
    )
    score_func: str = word(
        "entropy_w_label_counts",
        "A published score (" + ", ".join(PUBLISHED_SCORES) + ") or one of `fewslice/active/scores/`.",
        _score_names,
    )
    sbatch_size: int = integer(10, "Slices per batch.", 1, types=("stochastic",))
    seed: int = integer(0, "Seed.", 0, types=("stochastic",), unused=SEED_NOTE)
