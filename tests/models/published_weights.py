"""Reads the weight file of the golden numbers into our networks.

Names there: `<conv>/W:0`, `<conv>/b:0`, `<conv>/<conv>_bn/beta:0` and so on (spec 1.7); heads carry a prefix such
as "unet|".
"""

from __future__ import annotations

import numpy as np

MEAN = "{0}/{0}_bn/{0}/{0}_bn/moments/Squeeze/ExponentialMovingAverage:0"
VARIANCE = "{0}/{0}_bn/{0}/{0}_bn/moments/Squeeze_1/ExponentialMovingAverage:0"
# Head g2 has names of its own here; there it re-uses those of the segmentation head.
RENAMED = {"loc_c1_a": "seg_c1_a", "loc_c1_b": "seg_c1_b"}


def published_name(name: str) -> str:
    """Returns the published name of one of our weights ("enc_c1_a_bn/gamma" -> "enc_c1_a/enc_c1_a_bn/gamma:0")."""
    layer, weight = name.split("/")
    conv = layer.removesuffix("_bn")
    there = RENAMED.get(conv, conv)
    if layer.endswith("_bn"):
        patterns = {"bias": "{0}/b:0", "moving_mean": MEAN, "moving_variance": VARIANCE}
        return patterns.get(weight, "{0}/{0}_bn/" + weight + ":0").format(there)
    return f"{there}/kernel:0" if layer.startswith("reg_") else f"{there}/W:0"


def load(archive: dict[str, np.ndarray], names, head: str) -> dict[str, np.ndarray]:
    """Returns our weight name -> published values.

    `head` is the prefix of the head's keys: "unet", "g1", "g2_blocks3".
    """
    weights = {}
    for name in names:
        there = published_name(name)
        weights[name] = archive[there if there in archive else f"{head}|{there}"].astype(np.float32)
    return weights


def scribble_unet_key(name: str) -> str:
    """Returns the PyTorch key of one of the scribble U-Net's weights ("enc1.bn2/gamma", "main.up0.conv1/kernel").

    A block there is convolution 0, normalisation 1, convolution 4, normalisation 5; decoder steps count from 1, the
    coarsest; the bias of a convolution is that of our normalisation.
    """
    layer, weight = name.split("/")
    *place, last = layer.removeprefix("main.").split(".")
    there = {
        "gamma": "weight",
        "beta": "bias",
        "kernel": "weight",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }.get(weight, weight)
    if last == "out":
        return f"decoder.out_conv.{there}"
    if place[0].startswith("enc"):
        level = int(place[0].removeprefix("enc"))
        block = "encoder.in_conv" if level == 0 else f"encoder.down{level}.maxpool_conv.1"
    else:
        block = f"decoder.up{4 - int(place[0].removeprefix('up'))}"
        if last == "conv1x1":
            return f"{block}.conv1x1.{there}"
        block = f"{block}.conv"
    index = 4 * (int(last[-1]) - 1) + (last.startswith("bn") and weight != "bias")
    return f"{block}.conv_conv.{index}.{there}"
