"""Fetches the images that the report draws, from the dataset that the runs were trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fewslice.core.errors import DataError
from fewslice.settings.datasets import load_dataset_config

if TYPE_CHECKING:
    from fewslice.data.volume import Volume

Fetch = Callable[[str], "Volume"]  # case_id -> volume on its original grid


def fetch_from(dataset: str, root: str | Path | None = None) -> Fetch:
    """Returns case_id -> volume on its original grid. No image is read before the first call.

    Raises:
        ConfigError: the dataset is not known here.
    """
    config, known = load_dataset_config(dataset, {"orientation": "as_stored"}, data_root=root), {}  # as predictions lie

    def fetch(case_id: str) -> Volume:
        from fewslice.data.readers import get_reader

        if not known:
            reader = get_reader(config)
            known.update({case.case_id: (reader, case) for case in reader.cases()})
        if case_id not in known:
            expected = f"the volume {case_id}, which a run was tested on"
            remedy = "Point to the data that the run used (FEWSLICE_DATA, --data_root)."
            raise DataError(dataset, expected=expected, found=f"{len(known)} other volumes", remedy=remedy)
        reader, case = known[case_id]
        return reader.read(case)

    return fetch
