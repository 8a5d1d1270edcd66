"""The encoder of an experiment: group contrastive pretraining as `data_geometry.feature_model_params` describes it.

It is a run of the stage `pretr_encoder_group_contrastive_loss` like any other, so experiments with the same settings
share it, and an interrupted one goes on. Its `ver` is the number of epochs: an encoder that is trained longer for
another experiment lies beside it and does not take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fewslice.core import checkpoint, files
from fewslice.data.batches.group import GroupSampler
from fewslice.data.readers import find_cases, get_reader
from fewslice.settings import datasets
from fewslice.settings.compat.al_schema_geometry import FeatureModelParams
from fewslice.settings.compat.al_schema_model import OWN_ENCODER, ModelConfig
from fewslice.settings.compat.al_selection import encoder_arguments
from fewslice.settings.flags import read_from
from fewslice.settings.stage_flags import GroupPretraining
from fewslice.stages import checks
from fewslice.stages.active_checks import named_weights
from fewslice.train import setup
from fewslice.train.encoder_runs import find_encoder


def encoder_flags(params: FeatureModelParams, model: ModelConfig, *, seed: int, overrides: Sequence[str]) -> list[str]:
    """Returns the flags of the stage, but for its length.

    Args:
        params: The encoder and its training.
        model: Says which slices, and whether to compute in half precision.
        seed: Seed of everything.
        overrides: Attributes of the dataset, "name=value".
    """
    flags = {
        "dataset": model.dataset_name,
        "no_of_tr_imgs": model.split,
        "comb_tr_imgs": model.comb,
        "mixed_precision": str(model.is_half_precision).lower(),
        **encoder_arguments(params, seed),
        "ver": params.num_epochs,
    }
    return [f"--{name}={value}" for name, value in flags.items()] + [f"--set={text}" for text in overrides]


def train_encoder(
    params: FeatureModelParams,
    model: ModelConfig,
    *,
    seed: int,
    overrides: Sequence[str],
    data_root: Path,
    runs_dir: str,
) -> Path:
    """Returns the run directory of the pretrained encoder, after training it where it is not finished.

    Raises:
        ConfigError: settings that do not fit each other.
        Interrupted: Ctrl-C or a termination signal; the state is saved.
    """
    from fewslice.stages.group_contrastive import pretrain_group_encoder

    texts = encoder_flags(params, model, seed=seed, overrides=overrides)
    texts += [f"--data_root={data_root}", f"--runs_dir={runs_dir}"]
    args, dataset = read_from(GroupPretraining, texts)
    steps = params.num_epochs * _batches_of_an_epoch(args, dataset)
    args, dataset = read_from(GroupPretraining, [*texts, f"--n_iter={steps}"])
    return pretrain_group_encoder(args, dataset)


def _batches_of_an_epoch(args: GroupPretraining, dataset: datasets.DatasetConfig) -> int:
    cases = find_cases(get_reader(dataset), args.train_ids, dataset.unlabeled_phases)
    volumes = setup.open_volumes(dataset, args.train_ids, dataset.unlabeled_phases, with_label=False)
    slices = checks.hierarchy(cases, [len(volume.image) for volume in volumes])
    return len(GroupSampler(slices, checks.group_plan(args), seed=args.seed).batches(0))


def initial_weights(model: ModelConfig, dataset: datasets.DatasetConfig, find_own: Callable[[], Path]) -> setup.Origin:
    """Returns the weights from which every network of an experiment starts.

    Args:
        model: Names them.
        dataset: The dataset's settings.
        find_own: Returns the run directory of the experiment's own encoder; trains it at its first call.

    Raises:
        ConfigError: no such run, or one that does not fit.
        DataError: damaged weights.
    """
    key, value = named_weights(model)
    if not key:
        return setup.Origin()
    value = str(find_own()) if value == OWN_ENCODER else value
    run = find_encoder(value, dataset, flag=f"set {key}")
    weights, record = checkpoint.load_arrays(run.weights)
    return setup.Origin(run.weights, weights, files.sha256(run.weights), record.get("step", "unknown"))
