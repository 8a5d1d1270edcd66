"""Fetches the images that the report draws, from the dataset that the runs were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewslice.core.errors import DataError
from fewslice.report.figures.contours import Fetch, Native
from fewslice.report.reading.methods import read_methods
from fewslice.settings.datasets import DatasetConfig, load_dataset_config


def fetch_from(dataset: DatasetConfig) -> Fetch:
    """Returns case_id -> volume on its original grid. Nothing is read before the first call."""
    known = {}

    def fetch(case_id: str) -> Native:
        from fewslice.data.readers import get_reader

        if not known:
            reader = get_reader(dataset)
            known.update({case.case_id: (reader, case) for case in reader.cases()})
        if case_id not in known:
            raise DataError(
                dataset.name,
                expected=f"the volume {case_id}, which a run was tested on",
                found=f"{len(known)} other volumes",
                remedy="Point to the data that the run used (FEWSLICE_DATA, --data_root).",
            )
        reader, case = known[case_id]
        return reader.read(case)

    return fetch


def fetch_for(run_dirs: Sequence[str | Path], data_root: str | Path | None = None) -> Fetch:
    """Returns case_id -> volume for the one dataset that all of the runs belong to, below `data_root`.

    Raises:
        ConfigError: no run, runs of several datasets, or a dataset that is not known here.
    """
    return fetch_from(load_dataset_config(read_methods(run_dirs)[0].runs[0].dataset, data_root=data_root))
