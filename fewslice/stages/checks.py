"""Refusals before Keras is imported: settings that do not fit each other, volumes and runs that are not there."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Collection, Sequence

from fewslice.augment.crop_resize import REFERENCE_SIDE_PX, crop_limits
from fewslice.augment.standard import known_transforms, listed
from fewslice.core import limits
from fewslice.core.errors import ConfigError
from fewslice.core.registry import unknown_name
from fewslice.data import cache
from fewslice.data.batches.contrastive import BatchPlan, check_number_of_volumes, plan_global_batch, plan_local_batch
from fewslice.data.batches.group import GroupPlan, SliceHierarchy
from fewslice.data.batches.joint import pair_table
from fewslice.data.readers import find_cases, get_reader
from fewslice.data.readers.patients import warn_of_shared_names
from fewslice.data.readers.selection import find_readable, patient_names, resolve_patients
from fewslice.data.volume import Case
from fewslice.settings.datasets import DatasetConfig
from fewslice.settings.group_contrastive import GroupContrastive
from fewslice.settings.stage_flags import (
    GlobalPretraining,
    GroupPretraining,
    JointTraining,
    LocalPretraining,
    Segmentation,
    Training,
    UNet,
)
from fewslice.train import upstream


def check(args: Training, dataset: DatasetConfig) -> None:
    """Refuses what can be refused of a stage; with `--check_only` the runs that it starts from may still be missing.

    Raises:
        ConfigError: settings that do not fit each other, or no upstream run.
        DataError: volumes that are missing or wrong.
    """
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs the package tensorboard. Install it: pip install -e '.[tensorboard]'")
    check_settings(args, dataset)
    _check_volumes(args, dataset)
    upstream.check(args, dataset)
    if isinstance(args, GroupPretraining) and not args.check_only:
        open_hierarchy(args, dataset).check(group_plan(args))


def _check_volumes(args: Training, dataset: DatasetConfig) -> None:
    """Finds every volume that the stage will read, which takes no time.

    Two spellings of one patient ("7" and "007") may not stand in two lists: the check of the tables compares texts.
    """
    reader = get_reader(dataset)
    patient_names(reader, [*args.train_ids, *args.val_ids, *dataset.splits.test])
    warn_of_shared_names(reader, args.train_ids, args.val_ids)
    if isinstance(args, Segmentation):
        for patients in filter(None, (args.train_ids, args.val_ids, dataset.splits.test)):
            find_cases(reader, patients, dataset.phases)
    else:
        cases = find_cases(reader, args.train_ids, dataset.unlabeled_phases)
        if isinstance(args, GroupPretraining):
            check_groups(args, cases)
        elif isinstance(args, (GlobalPretraining, LocalPretraining)):
            plan = contrastive_plan(args, dataset)
            if plan.use_partitions:
                check_number_of_volumes(plan.num_slots, len(cases))
    if isinstance(args, JointTraining):
        patients = dataset.splits.train_ids(args.unl_no_of_tr_imgs, args.unl_comb_tr_imgs)
        find_cases(reader, patients, dataset.unlabeled_phases)
        refuse_test_patients(dataset, args.unl_no_of_tr_imgs, patients)
        unlabelled_cases(args, dataset)


def refuse_test_patients(dataset: DatasetConfig, split: str, patients: Sequence[str]) -> None:
    """Refuses a list that contains a test patient, however it is written ("7" and "007" are one).

    Raises:
        ConfigError: names them.
    """
    reader = get_reader(dataset)
    tested = resolve_patients(reader, dataset.splits.test) if dataset.splits.test else set()
    leaked = [name for name in patients if resolve_patients(reader, [name]) & tested]
    if leaked:
        raise ConfigError(
            f"The list {split} of {dataset.name} contains the test patients {', '.join(leaked)}. Remove them from "
            f"data_cfg_{dataset.name}.py."
        )


def unlabelled_cases(args: JointTraining, dataset: DatasetConfig, complete: Collection[str] = ()) -> list[Case]:
    """Returns the volumes that joint training uses without their labels.

    Validation patients are left out, and labelled volumes, unless `--published_lists` asks for them; where labels may
    be partial, those of the cases in `complete` only.

    Raises:
        ConfigError: none is left.
    """
    reader = get_reader(dataset)
    patients = dataset.splits.train_ids(args.unl_no_of_tr_imgs, args.unl_comb_tr_imgs)
    cases = find_cases(reader, patients, dataset.unlabeled_phases)
    if not args.published_lists:
        held_out = sorted(resolve_patients(reader, args.val_ids)) if args.val_ids else []
        labelled = find_readable(reader, args.train_ids, dataset.phases, with_label=True)
        validation = find_cases(reader, held_out, dataset.unlabeled_phases) if held_out else []
        left_out = {case.case_id for case in (*labelled, *validation)}
        if dataset.ignore_label is not None:
            left_out = {case.case_id for case in validation}.union(complete)
        cases = [case for case in cases if case.case_id not in left_out]
    if not cases:
        raise ConfigError(
            f"The list {args.unl_no_of_tr_imgs} {args.unl_comb_tr_imgs} of {dataset.name} holds no volume but labelled "
            "and validation ones. Choose a longer one with --unl_no_of_tr_imgs."
        )
    return cases


def check_settings(args: Training, dataset: DatasetConfig) -> None:
    """Refuses settings that a stage cannot work with."""
    sizes = [getattr(args, name, None) or 1 for name in ("bt_size", "batch_size", "unlabelled_bs", "n_parts")]
    refuse_large_batch(dataset, max(dataset.mtask_bs, dataset.batch_size_ft, *sizes))
    if not isinstance(args, Segmentation) and args.devices > 1:
        raise ConfigError(
            f"--devices={args.devices}: a contrastive loss needs every image of the batch as a negative, and split "
            "over devices each would see a part. Run this stage with --devices=1; fine-tuning can use several."
        )
    if isinstance(args, UNet):
        _check_network(args, dataset)
    if isinstance(args, Segmentation):
        for name in listed(args.augment):
            if name not in known_transforms():
                raise ConfigError(f"--augment: {unknown_name('transform', name, known_transforms())}")
    match args:
        case GroupPretraining():
            args.check()
        case GlobalPretraining():
            contrastive_plan(args, dataset)
            _check_box(args.bbox_dim, dataset)
        case LocalPretraining():
            contrastive_plan(args, dataset)
        case JointTraining():
            _check_joint(args, dataset)
        case Segmentation() if dataset.mtask_bs % args.devices:
            raise ConfigError(
                f"--devices={args.devices} must divide the batch of {dataset.mtask_bs} slices evenly (mtask_bs in "
                f"init_{dataset.name}.py, or --set mtask_bs=...), so that the loss stays that of the whole batch."
            )


def _check_network(args: UNet, dataset: DatasetConfig) -> None:
    """Refuses a U-Net that halves slices more often than they can be halved, or fewer levels than are pretrained."""
    blocks = args.unet.count(",") if args.unet else 5
    if any(side % 2**blocks for side in dataset.size):
        raise ConfigError(
            f"--unet={args.unet} halves slices {blocks} times; the {dataset.size} pixels (img_size_x, img_size_y) of "
            f"{dataset.name} are no multiples of {2**blocks}. Name fewer levels."
        )
    if getattr(args, "no_of_decoder_blocks", 1) > blocks:
        raise ConfigError(
            f"--no_of_decoder_blocks={args.no_of_decoder_blocks}: the U-Net {args.unet} has {blocks}. Name fewer."
        )


def refuse_large_batch(dataset: DatasetConfig, slices: int) -> None:
    """Refuses, with `ConfigError`, a batch whose images alone take more than the limit."""
    if found := limits.exceeded(4.0 * slices * math.prod(dataset.size) * dataset.num_channels):
        raise ConfigError(
            f"A batch of {slices} slices of {dataset.size} pixels (`img_size_x`, `img_size_y`; init_{dataset.name}.py) "
            f"needs too much memory: {found}. Choose fewer pixels, or fewer slices in a batch."
        )


def _check_box(box: int, dataset: DatasetConfig) -> None:
    """Refuses a crop that is larger than a slice, or of less than two pixels after scaling to a small slice."""
    for name, side in (("img_size_x", dataset.img_size_x), ("img_size_y", dataset.img_size_y)):
        try:
            scaled = crop_limits(side, box=box)[0]
        except ConfigError as error:
            raise ConfigError(f"`bbox_dim`={box} does not fit {name}={side} of {dataset.name}. {error}") from error
        if scaled > side:
            note = "" if scaled == box else f" ({scaled} px after scaling from a side of {REFERENCE_SIDE_PX} px)"
            raise ConfigError(
                f"`bbox_dim` must not exceed the side of a slice, since a crop is a part of it: {name}={side} in "
                f"{dataset.name}. Received: bbox_dim={box}{note}. Give a smaller --bbox_dim."
            )


def contrastive_plan(args: GlobalPretraining | LocalPretraining, dataset: DatasetConfig) -> BatchPlan:
    """Returns the batches of a contrastive stage.

    Raises:
        ConfigError: sizes that do not fit each other.
    """
    if isinstance(args, GlobalPretraining):
        return plan_global_batch(args.global_loss_exp_no, args.bt_size, args.n_parts)
    bt_size = 3 * args.n_parts if args.local_loss_exp_no == 1 else dataset.batch_size_ft  # variant 1: three volumes
    return plan_local_batch(args.local_loss_exp_no, bt_size, args.n_parts)


def group_plan(settings: GroupContrastive) -> GroupPlan:
    """Returns the batches of group contrastive training.

    Raises:
        ConfigError: a batch that is no multiple of the groups.
    """
    return GroupPlan(settings.batch_size, **{name: True for name in settings.partners})


def check_groups(settings: GroupContrastive, cases: Sequence[Case]) -> None:
    """Refuses, with `ConfigError`, batches of more patients than there are; slices are counted once prepared."""
    deep_enough = [settings.batch_size] * len(cases)
    SliceHierarchy(deep_enough, [case.patient_id for case in cases]).check(group_plan(settings))


def hierarchy(volumes: Sequence[cache.PreparedVolume]) -> SliceHierarchy:
    """Returns which slices belong to which volume and patient."""
    cases = [volume.case for volume in volumes]
    depths = [len(volume.image) for volume in volumes]
    return SliceHierarchy(depths, [case.patient_id for case in cases], names=[case.case_id for case in cases])


def open_hierarchy(args: GroupPretraining, dataset: DatasetConfig) -> SliceHierarchy:
    """Returns the slices of a group stage, after preparing the volumes that are not prepared yet."""
    cases = find_cases(get_reader(dataset), args.train_ids, dataset.unlabeled_phases)
    return hierarchy(cache.open_cache(dataset, cases, with_label=False))


def _check_joint(args: JointTraining, dataset: DatasetConfig) -> None:
    if args.devices > 1:
        raise ConfigError(
            f"--devices={args.devices}: the rows of a batch belong together in pairs, which devices would tear apart. "
            "Run this stage with --devices=1."
        )
    if args.method == "contrastive":
        _check_contrastive(args, dataset)
    elif (args.unlabelled_bs or dataset.mtask_bs) < 2:  # a single slice has no other one to be mixed with
        cause = f"mtask_bs={dataset.mtask_bs} in {dataset.name}, " if not args.unlabelled_bs else ""
        raise ConfigError(
            f"--unlabelled_bs={args.unlabelled_bs}: {cause}and --method={args.method} mixes slices with each other. "
            "Give --unlabelled_bs=2 or more."
        )


def _check_contrastive(args: JointTraining, dataset: DatasetConfig) -> None:
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
            "--lamda_local=0 or --method=unimatch, or use the other stages."
        )
    pair_table(args.bt_size, args.local_loss_exp_no)
