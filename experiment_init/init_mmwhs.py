"""MM-WHS: whole-heart MRI, 20 labelled volumes (MICCAI 2017).

Paper   X. Zhuang, J. Shen, Multi-scale patch and multi-modality atlases for whole heart segmentation of MRI,
        Medical Image Analysis 31, 2016, https://doi.org/10.1016/j.media.2016.02.006
Used by Chaitanya et al. 2020 (https://arxiv.org/abs/2006.10511) and 2021 (https://arxiv.org/abs/2112.09645),
        whose sizes and splits these are. They trimmed the volumes beforehand in a way that is not described.
Layout  <data root>/mmwhs/mr_train_1001_image.nii.gz
                          mr_train_1001_label.nii.gz ... to 1020; a subfolder mr_train/ is fine
Try     python train_model/tr_baseline.py --dataset=mmwhs --no_of_tr_imgs=tr1 --comb_tr_imgs=c1
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "mmwhs"
data_path_tr = "mmwhs"
how_to_get = (
    "Register at http://www.sdspeople.fudan.edu.cn/zhuangxiahai/0/mmwhs/ and download the MR training set "
    "(20 volumes). Put mr_train_<id>_image.nii.gz and mr_train_<id>_label.nii.gz into the folder named above."
)
orientation = "as_stored"  # as the published code takes arrays; "canonical" turns them as the headers say

# Prepared slices: pixels (multiples of 32) and mm per pixel.
img_size_x = 160
img_size_y = 160
target_resolution = (1.5, 1.5)

# Classes: 0 background, then myocardium, left atrium, left ventricle, right atrium, right ventricle,
# ascending aorta, pulmonary artery. The label files hold the codes on the left. Masks that are already 0 to
# 7: label_map = {}.
num_classes = 8
struct_name = ("myo", "la", "lv", "ra", "rv", "aa", "pa")
label_map = {205: 1, 420: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7}
class_weights = (0.09, 0.13, 0.13, 0.13, 0.13, 0.13, 0.13, 0.13)  # background first; for --dsc_loss=0 and 4

unlabeled_split = "tr10"  # of data_cfg_mmwhs.py; pretraining uses it unless --no_of_tr_imgs says otherwise
