"""What each training script does, from its flags to its finished run directory."""

from __future__ import annotations

from typing import Any

from fewslice.core.console import without_native_messages


def run_stage(args: Any, dataset: Any) -> None:
    """Runs the stage that `args.stage` names, with the settings that `fewslice.settings.flags.read_flags` returned.

    Keras is imported here and not before, so that a script answers wrong flags at once.
    """
    from fewslice.stages import checks
    from fewslice.train import upstream

    checks.check_extras(args)
    checks.check_stage(args, dataset)
    checks.check_volumes(args, dataset)
    upstream.check_named(args)
    if getattr(args, "check_only", False):
        return
    upstream.check_former(args, dataset)
    checks.check_groups(args, dataset)
    with without_native_messages():
        from fewslice.stages import contrastive, group_contrastive, segmentation
        from fewslice.stages.joint import stage

    {
        "pretr_encoder_global_contrastive_loss": contrastive.pretrain_encoder,
        "pretr_decoder_local_contrastive_loss": contrastive.pretrain_decoder,
        "pretr_encoder_group_contrastive_loss": group_contrastive.pretrain_group_encoder,
        "ft_pretr_encoder_net_global_loss": segmentation.fine_tune_encoder,
        "ft_pretr_encoder_decoder_net_local_loss": segmentation.fine_tune_encoder_decoder,
        "tr_baseline": segmentation.train_baseline,
        "prop_method_joint_tr_rand_init": stage.train_joint,
    }[args.stage](args, dataset)
