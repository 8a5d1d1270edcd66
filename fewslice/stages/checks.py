"""What can be refused before Keras is imported, from the flags and the dataset's settings alone."""

from __future__ import annotations

import importlib.util
from typing import Any

from fewslice.data.joint_batches import pair_table
from fewslice.data.sampling_indices import check_number_of_volumes
from fewslice.data.sampling_plan import BatchPlan, plan_global_batch, plan_local_batch
from fewslice.errors import ConfigError


def check_extras(args: Any) -> None:
    """Refuses `--tensorboard` where it is not installed."""
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs the package tensorboard. Install it: pip install -e '.[tensorboard]'")


def check_volumes(args: Any, dataset: Any) -> None:
    """Finds every volume that the stage will read, which takes no time.

    Two spellings of one patient ("7" and "007") may not stand in two lists: the check of the tables compares texts.
    """
    from fewslice.data.readers import find_cases, get_reader
    from fewslice.data.readers.selection import patient_names, resolve_patients

    reader = get_reader(dataset)
    patient_names(reader, [*args.train_ids, *args.val_ids, *dataset.splits.test])
    if args.val_ids:
        for patients in (args.train_ids, args.val_ids, dataset.splits.test_ids()):
            find_cases(reader, patients, dataset.phases)
    else:
        cases = find_cases(reader, args.train_ids, dataset.unlabeled_phases)
        plan = contrastive_plan(args, dataset)
        if plan.use_partitions:
            check_number_of_volumes(plan.num_slots, len(cases))
    if hasattr(args, "unl_no_of_tr_imgs"):
        patients = dataset.splits.train_ids(args.unl_no_of_tr_imgs, args.unl_comb_tr_imgs)
        find_cases(reader, patients, dataset.unlabeled_phases)
        tested = resolve_patients(reader, dataset.splits.test_ids())
        leaked = [name for name in patients if resolve_patients(reader, [name]) & tested]
        if leaked:
            raise ConfigError(
                f"The unlabelled list {args.unl_no_of_tr_imgs} of {dataset.name} contains the test patients "
                f"{', '.join(leaked)}. Remove them from data_cfg_{dataset.name}.py."
            )


def check_stage(args: Any, dataset: Any) -> None:
    """Refuses settings that a stage cannot work with."""
    if args.stage.startswith("pretr_"):
        contrastive_plan(args, dataset)
    elif args.stage == "prop_method_joint_tr_rand_init":
        _check_joint(args, dataset)


def contrastive_plan(args: Any, dataset: Any) -> BatchPlan:
    """Returns the batches of a contrastive stage.

    Raises:
        ConfigError: sizes that do not fit each other.
    """
    if args.stage == "pretr_encoder_global_contrastive_loss":
        return plan_global_batch(args.global_loss_exp_no, args.bt_size, args.n_parts)
    return plan_local_batch(args.local_loss_exp_no, local_bt_size(args, dataset), args.n_parts)


def local_bt_size(args: Any, dataset: Any) -> int:
    """Returns the slices of a step of the local stage: 3 volumes for variant 1, else `batch_size_ft` slices."""
    return 3 * args.n_parts if args.local_loss_exp_no == 1 else dataset.batch_size_ft


def _check_joint(args: Any, dataset: Any) -> None:
    if args.devices > 1:
        raise ConfigError(
            f"--devices={args.devices}: the rows of a batch belong together in pairs, which devices would tear apart. "
            "Run this stage with --devices=1."
        )
    if args.refresh_every % dataset.val_step_update:
        raise ConfigError(
            f"--refresh_every={args.refresh_every} must be a multiple of the {dataset.val_step_update} steps between "
            f"two validations (val_step_update in init_{dataset.name}.py)."
        )
    if args.min_classes > dataset.num_classes:
        raise ConfigError(f"--min_classes={args.min_classes}: {dataset.name} has {dataset.num_classes} classes.")
    if dataset.num_classes < 3 and args.lamda_local:
        raise ConfigError(
            f"{dataset.name} has one structure, and the pixel contrastive loss tells structures from each other. Give "
            "--lamda_local=0, or use the other stages."
        )
    pair_table(args.bt_size, args.local_loss_exp_no)
