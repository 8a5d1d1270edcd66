"""How often the test volumes of a dataset were scored: counted in the runs, each of which holds the scores it made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fewslice.core import done
from fewslice.core.errors import FewSliceError
from fewslice.report.reading.earlier_runs import facts_of_earlier_run
from fewslice.report.reading.runs import Run
from fewslice.settings.facts import FACTS

_DEEPEST = 4  # folders from that of a dataset to a run, at most


class Opening(NamedTuple):
    """The scores of test volumes in one run: its folder, its facts, and how many networks were scored."""

    run: Path
    facts: dict[str, Any]
    networks: int


def openings(runs: Iterable[Run]) -> list[Opening]:
    """Returns the scores of test volumes in all runs of the dataset beside these, reported or not, finished or not.

    A run that was tested, then extended and tested again, counts twice, one that was removed or begun afresh does not.
    """
    found: dict[Path, int] = {}
    for home in {_home(run) for run in runs}:
        for path in home.rglob("per_volume.csv"):
            run = next((each for each in path.parents if (each / "config.json").is_file()), None)
            if run is not None and "val" not in path.relative_to(run).parts:
                found[run] = found.get(run, 0) + 1
    return [Opening(run, *_read(run, count)) for run, count in sorted(found.items())]


def _home(run: Run) -> Path:
    path = run.path.absolute()
    return next((each for each in list(path.parents)[:_DEEPEST] if each.name == run.dataset), path)


def _read(run: Path, count: int) -> tuple[dict[str, Any], int]:
    try:
        config, earlier = done.read_config(run / "config.json"), done.read(run).get(done.TESTED_AFTER, ())[:-1]
        return config.get(FACTS) or facts_of_earlier_run(run, config, ""), count + len(earlier)
    except FewSliceError:
        return {"method": f"{run.name} (damaged)", "settings": {"run": str(run)}, "setup": {}}, count
