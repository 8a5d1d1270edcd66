"""Keras networks as functional builders with named layers; see README.md in this folder."""
# ruff: noqa: F401  what is imported here is what `models` offers

from models.deep_supervision import at_scales, loss_weights, scales, with_deep_heads
from models.dropout import dropping, split_at_dropout
from models.joint import both_heads, build_joint_net, segmentation_part
from models.resnet import build_group_encoder, embedding_part
from models.resnet_unet import build_resnet_unet
from models.scribble_unet import build_scribble_unet, encoder_maps, main_branch
from models.standard import standard_network
from models.statistics import estimate_statistics
from models.strided_unet import build_strided_unet
from models.teacher import build_copy_paste_net, build_unimatch_net, start_teacher
from models.transfer import TransferReport, copy_by_name, freeze, read_weights, set_weights
from models.unet import Architecture, build_encoder, build_global_net, build_local_net, build_unet, local_map_size
from models.vaal import build_discriminator, build_vae
