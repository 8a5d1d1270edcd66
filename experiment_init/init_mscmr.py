"""MS-CMR: late gadolinium enhancement MRI of the heart, 45 patients, as .h5 slices and volumes with scribbles.

Paper   X. Zhuang, Multivariate mixture model for myocardial segmentation combining multi-source images, IEEE TPAMI
        41(12), 2019, https://doi.org/10.1109/TPAMI.2018.2869576 (the scans); K. Zhang, X. Zhuang, CycleMix, CVPR
        2022, https://arxiv.org/abs/2203.01475 (the scribbles)
Used by Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), whose sizes and splits these are.
What    `image`: 212 x 212 pixels of 1.36719 mm, zero mean and unit variance per volume. The training slices have
        `scribble` (0..3, 4 = not annotated) and no `label`, so they train on scribbles only; the volumes have
        `label`. 382 training slices of 25 patients.
Layout  <data root>/wsl4mis_data/MSCMR/training_slices/patient_13_slice_0.h5 ...
                                       val_volumes/patient_1.h5 ...
                                       testing_volumes/patient_10.h5 ...
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "slices_h5"
data_path_tr = "wsl4mis_data/MSCMR"
patient_pattern = r"patient_?(\d+)"
how_to_get = (
    "Take scans and scribbles from https://github.com/BWGZK/CycleMix (after registering for the scans at "
    "https://zmiclab.github.io/zxh/0/mscmrseg19/), and write each patient into .h5 files as init_mscmr.py "
    "describes. A csv table named by `spacing_table` "
    "with the columns volume, spacing_x_mm, spacing_y_mm and spacing_z_mm gives voxel sizes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

# Classes, in the order of CycleMix's evaluation: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle.
num_classes = 4
struct_name = ("rv", "myo", "lv")

unlabeled_split = "al"  # of data_cfg_mscmr.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
