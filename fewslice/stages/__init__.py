"""What each training script does, from its flags to its finished run directory."""

from __future__ import annotations

from typing import Any

from fewslice.console import without_native_messages


def run_stage(args: Any, dataset: Any) -> None:
    """Runs the stage that `args.stage` names, with the settings that `fewslice.flags.read_flags` returned.

    Keras is imported here and not before, so that a script answers wrong flags at once.
    """
    from fewslice.stages import checks, former

    checks.check_extras(args)
    checks.check_stage(args, dataset)
    checks.check_volumes(args, dataset)
    former.check_named(args)
    if getattr(args, "check_only", False):
        return
    former.check_former(args, dataset)
    checks.check_groups(args, dataset)
    with without_native_messages():
        from fewslice.stages import contrastive, group_contrastive, joint, segmentation

    {
        "pretr_encoder_global_contrastive_loss": contrastive.pretrain_encoder,
        "pretr_decoder_local_contrastive_loss": contrastive.pretrain_decoder,
        "pretr_encoder_group_contrastive_loss": group_contrastive.pretrain_group_encoder,
        "ft_pretr_encoder_net_global_loss": segmentation.fine_tune_encoder,
        "ft_pretr_encoder_decoder_net_local_loss": segmentation.fine_tune_encoder_decoder,
        "tr_baseline": segmentation.train_baseline,
        "prop_method_joint_tr_rand_init": joint.train_joint,
    }[args.stage](args, dataset)
