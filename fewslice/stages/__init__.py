"""What each training script does, from its flags to its finished run directory."""

from __future__ import annotations

import importlib.util
from typing import Any

from fewslice.console import without_native_messages
from fewslice.errors import ConfigError


def run_stage(args: Any, dataset: Any) -> None:
    """Runs the stage that `args.stage` names, with the settings that `fewslice.flags.read_flags` returned.

    Keras is imported here and not before, so that a script answers wrong flags at once.
    """
    _check_extras(args)
    _check_volumes(args, dataset)
    with without_native_messages():
        from fewslice.stages import contrastive, joint, segmentation

    {
        "pretr_encoder_global_contrastive_loss": contrastive.pretrain_encoder,
        "pretr_decoder_local_contrastive_loss": contrastive.pretrain_decoder,
        "ft_pretr_encoder_net_global_loss": segmentation.fine_tune_encoder,
        "ft_pretr_encoder_decoder_net_local_loss": segmentation.fine_tune_encoder_decoder,
        "tr_baseline": segmentation.train_baseline,
        "prop_method_joint_tr_rand_init": joint.train_joint,
    }[args.stage](args, dataset)


def _check_volumes(args: Any, dataset: Any) -> None:
    """Finds every volume that the stage will read, which takes no time and needs no Keras.

    Two spellings of one patient ("7" and "007") may not stand in two lists: the check of the tables compares texts.
    """
    from fewslice.data.readers import find_cases, get_reader
    from fewslice.data.readers.selection import patient_names

    reader = get_reader(dataset)
    patient_names(reader, [*args.train_ids, *args.val_ids, *dataset.splits.test])
    if args.val_ids:
        for patients in (args.train_ids, args.val_ids, dataset.splits.test_ids()):
            find_cases(reader, patients, dataset.phases)
    else:
        find_cases(reader, args.train_ids, dataset.unlabeled_phases)


def _check_extras(args: Any) -> None:
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs the package tensorboard. Install it: pip install -e '.[tensorboard]'")
