"""What each training script does, from its flags to its finished run directory."""

from __future__ import annotations

from typing import Any


def run_stage(args: Any, dataset: Any) -> None:
    """Runs the stage that `args.stage` names, with the settings that `fewslice.flags.read_flags` returned.

    Keras is imported here and not before, so that a script answers wrong flags at once.
    """
    from fewslice.stages import contrastive, segmentation

    {
        "pretr_encoder_global_contrastive_loss": contrastive.pretrain_encoder,
        "pretr_decoder_local_contrastive_loss": contrastive.pretrain_decoder,
        "ft_pretr_encoder_net_global_loss": segmentation.fine_tune_encoder,
        "ft_pretr_encoder_decoder_net_local_loss": segmentation.fine_tune_encoder_decoder,
        "tr_baseline": segmentation.train_baseline,
    }[args.stage](args, dataset)
