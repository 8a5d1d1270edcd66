"""Prostate: T2 and ADC MRI, 48 volumes, of which 32 have labels (Medical Segmentation Decathlon, Task05).

Paper   M. Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13, 2022,
        https://doi.org/10.1038/s41467-022-30695-9
Used by Chaitanya et al. 2020 (https://arxiv.org/abs/2006.10511) and 2021 (https://arxiv.org/abs/2112.09645),
        whose sizes and splits these are.
Layout  <data root>/Task05_Prostate/dataset.json
                                    imagesTr/prostate_00.nii.gz   4-D image; channel 0 is T2
                                    labelsTr/prostate_00.nii.gz   mask
Try     python train_model/tr_baseline.py --dataset=prostate_md --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "msd"
data_path_tr = "Task05_Prostate"
how_to_get = (
    "Download Task05_Prostate.tar (about 230 MB, CC BY-SA 4.0) from http://medicaldecathlon.com and "
    "unpack it into the data root."
)
orientation = "as_stored"  # as the published code takes arrays; "canonical" turns them as the headers say

# Prepared slices: pixels (multiples of 32) and mm per pixel. Of the 4-D volumes, channel 0 is T2.
img_size_x = 192
img_size_y = 192
target_resolution = (0.625, 0.625)
image_channel = 0

# Classes: 0 background, 1 peripheral zone, 2 central gland. A comment of the original code says the reverse;
# the data set's own dataset.json and the list of names agree with this order.
num_classes = 3
struct_name = ("pz", "cz")
class_weights = (0.1, 0.45, 0.45)  # background first; used by --dsc_loss=0 and 4

unlabeled_split = "tr22"  # of data_cfg_prostate_md.py; pretraining uses it unless --no_of_tr_imgs says otherwise
