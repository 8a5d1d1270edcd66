"""Loading an experiment of active learning from its file, native or published."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fewslice.settings import dataset_files, datasets
from fewslice.settings.compat.coreclr import read_published
from fewslice.settings.experiment import Experiment
from fewslice.settings.yaml import Reader, YamlFile, read_yaml


def load_experiment(path: str | os.PathLike | YamlFile, overrides: Mapping[str, str] | None = None) -> Experiment:
    """Loads, overrides and checks an experiment.

    Args:
        path: A YAML file with the keys of `Experiment`, or in the published form, which has the groups `model` and
            `policy` (`fewslice.settings.compat`); or what such a file would say.
        overrides: Key -> value as in a file: {"seed": "3", "query.strategy.label_wt": "2"}; in the published form
            {"policy.seed": "3"}.

    Raises:
        DataError: the file cannot be read.
        ConfigError: all that is wrong with it, each with file, line and remedy.
    """
    file = path if isinstance(path, YamlFile) else read_yaml(path)
    if {"model", "policy"} & set(file.values):
        reader = Reader(file, overrides or {})
        found = read_published(reader)
    else:
        reader = Reader(file, overrides or {}, Experiment)
        found = reader.read(Experiment)
        if found is not None:
            if found.dataset not in datasets.dataset_names():
                folder = dataset_files.experiments_folder()
                reader.problem(("dataset",), dataset_files.unknown_dataset(folder, found.dataset))
            reader.problems += found.problems()
    reader.raise_problems()
    return found
