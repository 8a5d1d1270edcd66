"""The encoder of an experiment: group contrastive pretraining with the settings of its key `encoder`.

It is a run of the stage `pretr_encoder_group_contrastive_loss` like any other, so experiments with the same settings
share it, and an interrupted one resumes. Its `ver` is the number of epochs: an encoder that is trained longer for
another experiment lies beside it and does not take its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewslice.data import cache
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets
from fewslice.settings.declare import settings_of
from fewslice.settings.experiment import Experiment
from fewslice.settings.flag_table import GROUP
from fewslice.settings.flags import read_flags_from
from fewslice.settings.group_contrastive import GroupContrastive


def encoder_flags(experiment: Experiment, *, overrides: Sequence[str]) -> list[str]:
    """Returns the flags of the stage, but for its length.

    Args:
        experiment: The experiment.
        overrides: Attributes of the dataset, "name=value".
    """
    encoder = experiment.encoder
    flags = {
        "dataset": experiment.dataset,
        "no_of_tr_imgs": experiment.split,
        "comb_tr_imgs": experiment.comb,
        "mixed_precision": str(experiment.mixed_precision).lower(),
        **{name: getattr(encoder, name) for name in settings_of(GroupContrastive)},
        "seed": experiment.seed,
        "ver": encoder.epochs,
    }
    return [f"--{name}={value}" for name, value in flags.items()] + [f"--set={text}" for text in overrides]


def train_encoder(experiment: Experiment, *, overrides: Sequence[str], runs_dir: str) -> Path:
    """Returns the run directory of the pretrained encoder, after training it where it is not finished.

    Raises:
        ConfigError: settings that do not fit each other.
        Interrupted: Ctrl-C or a termination signal; the state is saved.
    """
    from fewslice.stages.group_contrastive import pretrain_group_encoder

    texts = [*encoder_flags(experiment, overrides=overrides), f"--runs_dir={runs_dir}"]
    args, dataset = read_flags_from(GROUP, texts)
    steps = experiment.encoder.epochs * _batches_of_an_epoch(args, dataset)
    args, dataset = read_flags_from(GROUP, [*texts, f"--n_iter={steps}"])
    return pretrain_group_encoder(args, dataset)


def _batches_of_an_epoch(args: object, dataset: datasets.DatasetConfig) -> int:
    from fewslice.data.batches.group import GroupSampler
    from fewslice.stages import checks

    cases = find_cases(get_reader(dataset), args.train_ids, dataset.unlabeled_phases)
    volumes = cache.open_cache(dataset, cases, with_label=False)
    slices = checks.hierarchy(cases, [len(volume.image) for volume in volumes])
    return len(GroupSampler(slices, checks.group_plan(args), seed=args.seed).batches(0))
