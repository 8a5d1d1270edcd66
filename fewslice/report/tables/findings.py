"""Says in words what the numbers show, and no more than they show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewslice.report.reading.methods import Method
from fewslice.report.tables.statistics import MEAN, best_method, cell, is_comparable, number, paired_difference

MOST_SENTENCES = 4  # of more methods than this, those with the same outcome share a sentence


def finding(methods: Sequence[Method]) -> list[str]:
    """Says what the comparison with the baseline shows, in one sentence per method or, of many, per outcome.

    Args:
        methods: Of one labelled split, see `fewslice.report.reading.methods.by_split`.
    """
    scored = [method for method in methods if method.has_scores]
    baselines = [method for method in scored if method.is_baseline]
    others = [method for method in scored if not method.is_baseline]
    if not scored:
        return ["None of these runs was evaluated on test volumes yet."]
    if len(baselines) != 1 or not others:
        reason = "no baseline among these runs" if not baselines else "nothing to compare with the baseline"
        reason = "more than one baseline among these runs" if len(baselines) > 1 else reason
        listed = "; ".join(f"{m.label}: mean Dice {number(cell(m, 'dice', MEAN).value)}" for m in scored)
        return [f"{listed}. There is {reason}, so nothing is said about the gain."]
    if len(others) > MOST_SENTENCES:
        return _summary(others, baselines[0])
    return [_sentence(method, baselines[0]) for method in others]


def _summary(others: Sequence[Method], baseline: Method) -> list[str]:
    """Returns a sentence on the best of many methods and one per outcome on the rest."""
    rest = {"better": [], "unclear": [], "worse": [], "": []}
    comparable = [method for method in others if is_comparable(method, baseline)]
    best = best_method(comparable)
    for method in others:
        if method is not best:
            pair = paired_difference(method, baseline) if method in comparable else None
            one = ", one seed" if pair and len(pair.by_seed) == 1 else ""
            mean = f" ({number(pair.mean, signed=True)}{one})" if pair and pair.by_volume else ""
            rest[pair.verdict if mean else ""].append(f"{method.label}{mean}")
    is_also = best is not None and paired_difference(best, baseline).verdict == "better"
    heads = {
        "better": f"{'Also better' if is_also else 'Better'} than the baseline by more than twice the standard error, "
        "all seeds agreeing",
        "unclear": "May be chance (within twice the standard error over volumes, or the seeds disagree)",
        "worse": "Worse than the baseline by more than twice the standard error",
        "": "Not compared (other labelled volumes, other steps or no test volume in common)",
    }
    listed = [f"{heads[name]}: {'; '.join(labels)}." for name, labels in rest.items() if labels]
    if best is None:
        return listed
    note = f" It is the best of {len(comparable)} methods on these volumes, which flatters it."
    return [_sentence(best, baseline) + note, *listed]


def _steps(method: Method, baseline: Method) -> str:
    ours, theirs = method.protocol[2], baseline.protocol[2]
    return f", after {ours} further steps" if method.continues_a_baseline and ours != theirs else ""


def _sentence(method: Method, baseline: Method) -> str:
    if not is_comparable(method, baseline):
        return f"{method.label}: other labelled volumes or steps than the baseline, so the two are not compared."
    difference = paired_difference(method, baseline)
    count = len(difference.by_volume)
    if not count:
        return f"{method.label}: no test volume in common with the baseline, so the two cannot be compared."
    ours, theirs = cell(method, "dice", MEAN).value, cell(baseline, "dice", MEAN).value
    seeds = len(difference.by_seed)
    head = (
        f"{method.label}: mean Dice {number(ours)} against {number(theirs)} for the baseline"
        f"{_steps(method, baseline)}, {number(difference.mean, signed=True)} on {count} test volume{'s' * (count != 1)}"
        f"{f' and {seeds} seeds' if seeds > 1 else ''} (better on {difference.num_better} of {count})."
    )
    error = number(difference.standard_error)
    if difference.verdict == "better":
        return f"{head} That is more than twice the standard error over volumes ({error})." + _one_seed(seeds)
    if difference.verdict == "worse":
        return f"{head} Worse than the baseline, by more than twice the standard error ({error})." + _one_seed(seeds)
    if not math.isfinite(difference.standard_error):
        return f"{head} One volume says nothing about a difference."
    if any(value * difference.mean <= 0 for value in difference.by_seed):
        return f"{head} The seeds disagree about the sign, so this may be chance."
    return f"{head} That is within the spread between volumes (standard error {error}), so it may be chance."


def _one_seed(seeds: int) -> str:
    return "" if seeds > 1 else " With one seed, the spread between repeated trainings is unknown."
