"""CHAOS, the CT part: livers, 20 labelled patients, as .h5 slices and volumes.

Paper   A. E. Kavur et al., CHAOS Challenge: combined (CT-MR) healthy abdominal organ segmentation, Medical Image
        Analysis 69, 2021, https://doi.org/10.1016/j.media.2020.101950
Used by Vepa et al. 2024 (https://arxiv.org/abs/2411.15763), whose sizes and splits these are.
What    `image`: 189 x 189 pixels of 1.89 mm, window 40 +- 100 HU as -1..1; `label` 0..1. 2351 training slices
        of 15 patients. There are no scribbles; they can be simulated from the labels.
Layout  <data root>/wsl4mis_data/CHAOS/CT_LIVER/training_slices/patient_10_slice_0.h5 ...
                                                val_volumes/patient_14.h5 ...
                                                testing_volumes/patient_22.h5 ...
"""

# Where the scans are, below the data root: the folder FEWSLICE_DATA, or data_root/ in the checkout.
layout = "slices_h5"
data_path_tr = "wsl4mis_data/CHAOS/CT_LIVER"
patient_pattern = r"patient_?(\d+)(?:_volume)?"
how_to_get = (
    "Take the CT training set of CHAOS from https://doi.org/10.5281/zenodo.3431873 (CC BY-SA 4.0), and write "
    "each patient into .h5 files as init_chaos_ct.py describes. A csv table named by `spacing_table` "
    "with the columns volume, spacing_x_mm, spacing_y_mm and spacing_z_mm gives voxel sizes."
)

# Prepared slices, as published: stretched to this size (multiples of 32) by the nearest pixel, intensities as stored.
img_size_x = 256
img_size_y = 256
grid = "stretch"
intensity = "as_stored"

# Classes: 0 background, 1 liver.
num_classes = 2
struct_name = ("liver",)
scribbles = "simulated"

unlabeled_split = "al"  # of data_cfg_chaos_ct.py; pretraining uses it unless --no_of_tr_imgs says otherwise
mtask_bs = 6  # slices per step
val_step_update = 200  # steps from one validation to the next
