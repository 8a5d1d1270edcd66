"""Runs experiments of active learning one after the other, each in a process that may kill itself on the way.

Command: python -m tests.train_model.kill_al_driver JOBS.json

As `kill_driver`, with the moments of an experiment and networks of a few channels.
"""

from __future__ import annotations

import sys

import pytest

from tests.train_model import kill_driver, tiny_al
from tests.train_model.kill_driver import any_call, die, named

CSV, JSON = ("fewslice.core.files", "write_csv"), ("fewslice.core.files", "write_json")
MOMENTS = {
    "in the embedding": (*JSON, named("embeddings.partial.json"), die, None),
    "in the scores": ("fewslice.learner.scores", "_check_logits", any_call, die, None),
    "after the scores": (*CSV, named("scores.csv"), None, die),
    "in the selection": ("fewslice.active.loop", "select", any_call, die, None),
    "before the choice": (*CSV, named("query.csv"), die, None),
    "after the choice": (*CSV, named("query.csv"), None, die),
    "in the purchase": ("fewslice.core.files", "write_array", named("labels.npy"), die, None),
    "after the purchase": ("fewslice.core.files", "write_array", named("labels.npy"), None, die),
    "after the member": (*JSON, named("member.json"), None, die),
    "before the metrics": (*JSON, named("metrics.json"), die, None),
    "before the round is done": (*JSON, named("DONE"), die, None),
    "within the report": ("fewslice.report.pages.experiments", "write_csv", named("results.csv"), die, None),
}


def execute(job: dict) -> None:
    """Runs one experiment."""
    tiny_al.use_small_networks(pytest.MonkeyPatch())
    tiny_al.execute(job["argv"])


def main(path: str) -> None:
    from fewslice.stages import active, group_contrastive  # noqa: F401  imported once, for all children

    kill_driver.MOMENTS |= MOMENTS
    kill_driver.run_jobs(path, execute)


if __name__ == "__main__":
    main(sys.argv[1])
