"""What can be refused before Keras is imported, from the flags and the dataset's settings alone."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from fewslice.augment.crop_resize import REFERENCE_SIDE_PX, crop_limits
from fewslice.core.errors import ConfigError
from fewslice.data.batches.contrastive import BatchPlan, check_number_of_volumes, plan_global_batch, plan_local_batch
from fewslice.data.batches.group import GroupPlan, SliceHierarchy
from fewslice.data.batches.joint import pair_table
from fewslice.data.volume import Case
from fewslice.settings.flag_specs_group import positions
from fewslice.settings.flag_table import GROUP, JOINT, LABELED_STAGES
from fewslice.train.upstream import GLOBAL_STAGE


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
        if args.stage == GROUP:
            deep_enough = [group_plan(args).batch_size] * len(cases)
            hierarchy(cases, deep_enough).check(group_plan(args))
        elif (plan := contrastive_plan(args, dataset)).use_partitions:
            check_number_of_volumes(plan.num_slots, len(cases))
    if args.stage == JOINT:
        patients = dataset.splits.train_ids(args.unl_no_of_tr_imgs, args.unl_comb_tr_imgs)
        find_cases(reader, patients, dataset.unlabeled_phases)
        tested = resolve_patients(reader, dataset.splits.test_ids())
        leaked = [name for name in patients if resolve_patients(reader, [name]) & tested]
        if leaked:
            raise ConfigError(
                f"The unlabelled list {args.unl_no_of_tr_imgs} of {dataset.name} contains the test patients "
                f"{', '.join(leaked)}. Remove them from data_cfg_{dataset.name}.py."
            )
        unlabelled_cases(args, dataset)


def unlabelled_cases(args: Any, dataset: Any) -> list[Case]:
    """Returns the volumes that joint training uses without their labels.

    Validation patients are left out, and labelled volumes, unless `--published_lists` asks for them.

    Raises:
        ConfigError: none is left.
    """
    from fewslice.data.readers import find_cases, get_reader
    from fewslice.data.readers.selection import resolve_patients

    reader = get_reader(dataset)
    patients = dataset.splits.train_ids(args.unl_no_of_tr_imgs, args.unl_comb_tr_imgs)
    cases = find_cases(reader, patients, dataset.unlabeled_phases)
    if not args.published_lists:
        held_out = sorted(resolve_patients(reader, args.val_ids))
        labelled = find_cases(reader, args.train_ids, dataset.phases)
        validation = find_cases(reader, held_out, dataset.unlabeled_phases)
        left_out = {case.case_id for case in (*labelled, *validation)}
        cases = [case for case in cases if case.case_id not in left_out]
    if not cases:
        raise ConfigError(
            f"The list {args.unl_no_of_tr_imgs} {args.unl_comb_tr_imgs} of {dataset.name} holds no volume but labelled "
            "and validation ones. Choose a longer one with --unl_no_of_tr_imgs."
        )
    return cases


def check_stage(args: Any, dataset: Any) -> None:
    """Refuses settings that a stage cannot work with."""
    if args.stage.startswith("pretr_"):
        _refuse_devices(args.devices)
        group_plan(args) if args.stage == GROUP else contrastive_plan(args, dataset)
    if args.stage == GLOBAL_STAGE:
        _check_box(args.bbox_dim, dataset)
    elif args.stage == JOINT:
        _check_joint(args, dataset)
    elif args.stage in LABELED_STAGES and dataset.mtask_bs % args.devices:
        raise ConfigError(
            f"--devices={args.devices} must divide the batch of {dataset.mtask_bs} slices evenly (mtask_bs in "
            f"init_{dataset.name}.py, or --set mtask_bs=...), so that the loss stays that of the whole batch."
        )


def _refuse_devices(devices: int) -> None:
    if devices > 1:
        raise ConfigError(
            f"--devices={devices}: a contrastive loss needs every image of the batch as a negative, and split over "
            "devices each would see a part. Run this stage with --devices=1; fine-tuning can use several."
        )


def _check_box(box: int, dataset: Any) -> None:
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


def contrastive_plan(args: Any, dataset: Any) -> BatchPlan:
    """Returns the batches of a contrastive stage.

    Raises:
        ConfigError: sizes that do not fit each other.
    """
    if args.stage == GLOBAL_STAGE:
        return plan_global_batch(args.global_loss_exp_no, args.bt_size, args.n_parts)
    return plan_local_batch(args.local_loss_exp_no, local_bt_size(args, dataset), args.n_parts)


def local_bt_size(args: Any, dataset: Any) -> int:
    """Returns the slices of a step of the local stage: 3 volumes for variant 1, else `batch_size_ft` slices."""
    return 3 * args.n_parts if args.local_loss_exp_no == 1 else dataset.batch_size_ft


def group_plan(args: Any) -> GroupPlan:
    """Returns the batches of group contrastive training.

    Raises:
        ConfigError: a batch that is no multiple of the groups, groups that no term uses, terms without groups.
    """
    partners = {name: bool(getattr(args, name)) for name in ("use_slice_pos", "use_phase", "use_patient")}
    terms = {name: getattr(args, name) for name in ("neg_loss_wt", "pos_loss1_wt", "pos_loss2_wt", "pos_loss3_wt")}
    used = [f"--{name}={value}" for name, value in terms.items() if value]
    if not used and not args.loss_wt:
        raise ConfigError("All terms of the loss have the weight 0. Give --loss_wt=1, or a weight of a group term.")
    if used and not any(partners.values()):
        raise ConfigError(
            f"{', '.join(used)}: a group term needs groups, and no partner is on. For SimCLR give "
            f"{' '.join(text.partition('=')[0] + '=0' for text in used)}; else --use_slice_pos=1, --use_phase=1 or "
            "--use_patient=1."
        )
    if any(partners.values()) and not used:
        on = [f"--{name}" for name, is_on in partners.items() if is_on]
        raise ConfigError(
            f"{'=1, '.join(on)}=1: groups have no effect where no group term has a weight. For SimCLR give "
            f"{'=0 '.join(on)}=0; else a weight, such as --pos_loss1_wt=0.35."
        )
    plan = GroupPlan(args.batch_size, **partners)
    for number in (1, 2, 3) if args.positives == "group" else ():
        mask = getattr(args, f"pos_loss{number}_mask")
        if terms[f"pos_loss{number}_wt"] and set(range(plan.group_size)) <= set(positions(mask)):
            raise ConfigError(
                f"--pos_loss{number}_mask={mask} leaves out all {plan.group_size} positions of a group: its term "
                f"compares nothing. Name fewer, or give --pos_loss{number}_wt=0."
            )
    return plan


def hierarchy(cases: Sequence[Case], depths: Sequence[int]) -> SliceHierarchy:
    """Returns which slices belong to which volume and patient, from the volumes and their numbers of slices."""
    return SliceHierarchy(depths, [case.patient_id for case in cases], names=[case.case_id for case in cases])


def check_groups(args: Any, dataset: Any) -> None:
    """Refuses volumes with too few slices for their groups, which prepares volumes that are not prepared yet."""
    if args.stage != GROUP:
        return
    from fewslice.data.cache import open_cache
    from fewslice.data.readers import find_cases, get_reader

    cases = find_cases(get_reader(dataset), args.train_ids, dataset.unlabeled_phases)
    volumes = open_cache(dataset, cases, with_label=False)
    hierarchy(cases, [len(volume.image) for volume in volumes]).check(group_plan(args))


def _check_joint(args: Any, dataset: Any) -> None:
    if args.devices > 1:
        raise ConfigError(
            f"--devices={args.devices}: the rows of a batch belong together in pairs, which devices would tear apart. "
            "Run this stage with --devices=1."
        )
    if args.method == "contrastive":
        _check_contrastive(args, dataset)
    else:
        _check_taught(args, dataset)


def _check_taught(args: Any, dataset: Any) -> None:
    """Refuses a single unlabelled slice: CutMix would paste it into itself, and one half of copy-paste be left out."""
    if (args.unlabelled_bs or dataset.mtask_bs) < 2:
        cause = f"mtask_bs={dataset.mtask_bs} in {dataset.name}, " if not args.unlabelled_bs else ""
        raise ConfigError(
            f"--unlabelled_bs={args.unlabelled_bs}: {cause}and --method={args.method} mixes slices with each other. "
            "Give --unlabelled_bs=2 or more."
        )


def _check_contrastive(args: Any, dataset: Any) -> None:
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
